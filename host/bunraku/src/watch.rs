//! Watches the configuration and the files of its plugins, and says when they are to be staged anew.
//!
//! A file is written in pieces: what has changed is acted upon when it looks the same a second time.
//! Files are looked at every two seconds; what a program has renamed into place, put behind a link or
//! mounted is found as well as what it has written to.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often files are looked at.
pub const EVERY: Duration = Duration::from_secs(2);

/// What a file looks like from outside; nothing where it is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    bytes: u64,
    /// Seconds and nanoseconds; both, for a copy may keep the time of its source.
    modified: (i64, i64),
    changed: (i64, i64),
    inode: (u64, u64),
}

impl Look {
    /// Looks at a file, through links.
    pub fn at(path: &Path) -> Option<Look> {
        let found = std::fs::metadata(path).ok()?;
        Some(Look {
            bytes: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
            inode: (found.dev(), found.ino()),
        })
    }
}

/// What all files looked like at one time.
pub type Looks = BTreeMap<PathBuf, Option<Look>>;

/// Looks at files.
pub fn look(files: Vec<PathBuf>) -> Looks {
    let look = |path: PathBuf| {
        let found = Look::at(&path);
        (path, found)
    };
    files.into_iter().map(look).collect()
}

/// What is to be done after a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing has changed since it was last acted upon.
    Rest,
    /// Something has; it may still be at it.
    Wait,
    /// It has, and has come to an end: these files.
    Act(Vec<PathBuf>),
}

/// Tells a change that is over from one that goes on.
#[derive(Clone, Debug)]
pub struct Watch {
    acted: Looks,
    before: Looks,
}

impl Watch {
    /// Starts from what was acted upon already.
    pub fn new(acted: Looks) -> Watch {
        Watch { before: acted.clone(), acted }
    }

    /// The files that are watched.
    pub fn files(&self) -> Vec<PathBuf> {
        self.acted.keys().cloned().collect()
    }

    /// Takes another look at the same files.
    pub fn step(&mut self, now: Looks) -> Step {
        if now == self.acted {
            self.before = now;
            return Step::Rest;
        }
        if now != self.before {
            self.before = now;
            return Step::Wait;
        }
        let differs = |(path, look): (&PathBuf, &Option<Look>)| {
            (self.acted.get(path) != Some(look)).then(|| path.clone())
        };
        let changed = now.iter().filter_map(differs).collect();
        self.acted = now;
        Step::Act(changed)
    }

    /// Watches these files from now on. What is known of them is kept, so that no change between a look
    /// and this is missed; `look` tells of the others, and is to be done before they are read.
    pub fn follow(&mut self, mut files: Looks) {
        for (path, look) in &mut files {
            if let Some(known) = self.acted.get(path) {
                *look = *known;
            }
        }
        *self = Watch::new(files);
    }

    /// Everything was acted upon as it looks now, for another reason.
    pub fn acted(&mut self, now: Looks) {
        *self = Watch::new(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files by name, as they look: a number for a look, none for a file that is not there.
    fn looks(files: &[(&str, Option<i64>)]) -> Looks {
        let look = |n: i64| Look { bytes: 1, modified: (n, 0), changed: (n, 0), inode: (1, 1) };
        files.iter().map(|(name, n)| (PathBuf::from(name), n.map(look))).collect()
    }

    fn act(files: &[&str]) -> Step {
        Step::Act(files.iter().map(PathBuf::from).collect())
    }

    // faults row 57
    #[test]
    fn a_file_is_acted_upon_when_nobody_writes_to_it_any_more() {
        fn check(seen: &[Option<i64>], expected: &[Step]) {
            let mut watch = Watch::new(looks(&[("x", Some(0)), ("y", Some(0))]));
            let steps: Vec<Step> =
                seen.iter().map(|n| watch.step(looks(&[("x", *n), ("y", Some(0))]))).collect();
            assert_eq!(steps, expected, "{seen:?}");
        }
        let (rest, wait) = (|| Step::Rest, || Step::Wait);
        check(&[Some(0), Some(0)], &[rest(), rest()]);
        check(&[Some(1), Some(1), Some(1)], &[wait(), act(&["x"]), rest()]);
        // Still being written.
        check(&[Some(1), Some(2), Some(3), Some(3)], &[wait(), wait(), wait(), act(&["x"])]);
        // Gone for the moment in which it is replaced.
        check(&[None, Some(1), Some(1)], &[wait(), wait(), act(&["x"])]);
        // Gone for good: refused once, and not again.
        check(&[None, None, None], &[wait(), act(&["x"]), rest()]);
        // Put back before anybody acted.
        check(&[Some(1), Some(0), Some(1), Some(1)], &[wait(), rest(), wait(), act(&["x"])]);
    }

    #[test]
    fn another_configuration_is_other_files() {
        let mut watch = Watch::new(looks(&[("config", Some(0)), ("old", Some(0))]));
        let changed = looks(&[("config", Some(1)), ("old", Some(0))]);
        assert_eq!([watch.step(changed.clone()), watch.step(changed)], [Step::Wait, act(&["config"])]);
        // The configuration changed again between the look and now: it is not taken as seen.
        watch.follow(looks(&[("config", Some(2)), ("new", Some(5))]));
        let later = looks(&[("config", Some(2)), ("new", Some(5))]);
        assert_eq!([watch.step(later.clone()), watch.step(later.clone())], [Step::Wait, act(&["config"])]);
        assert_eq!(watch.step(looks(&[("config", Some(2)), ("new", Some(6))])), Step::Wait);
        watch.acted(looks(&[("config", Some(2)), ("new", Some(6))]));
        assert_eq!(watch.step(looks(&[("config", Some(2)), ("new", Some(6))])), Step::Rest);
    }

    #[test]
    fn a_look_tells_a_file_from_its_replacement() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.wasm");
        assert_eq!(Look::at(&file), None);
        std::fs::write(&file, "one").unwrap();
        let first = Look::at(&file).unwrap();
        assert_eq!(Look::at(&file), Some(first));
        // Of the same length and the same time: another file all the same.
        let other = folder.path().join("y.wasm");
        std::fs::write(&other, "two").unwrap();
        let time = std::fs::metadata(&file).unwrap().modified().unwrap();
        std::fs::File::options().write(true).open(&other).unwrap().set_modified(time).unwrap();
        std::fs::rename(&other, &file).unwrap();
        assert_ne!(Look::at(&file), Some(first));
    }
}
