//! Checksums as Puppet names and writes them.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    str::FromStr,
    sync::Mutex,
};

use aws_lc_rs::digest;
use md5::Digest as _;
use serde::Serialize;
use time::OffsetDateTime;

/// How much of a file the `lite` types read.
const LITE_BYTES: u64 = 512;

/// How many digests a generation of the cache keeps; there are two.
const CACHE_ENTRIES: usize = 8192;

/// What a file is compared by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChecksumType {
    /// What agents ask for first.
    #[default]
    Sha256,
    /// The first 512 bytes of the file.
    Sha256lite,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// SHA-224.
    Sha224,
    /// SHA-1.
    Sha1,
    /// The first 512 bytes of the file.
    Sha1lite,
    /// MD5.
    Md5,
    /// The first 512 bytes of the file.
    Md5lite,
    /// When the file's contents were last changed, in UTC.
    Mtime,
    /// When the file was last changed in any way, in UTC.
    Ctime,
    /// Nothing.
    None,
}

impl ChecksumType {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha256lite => "sha256lite",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
            Self::Sha224 => "sha224",
            Self::Sha1 => "sha1",
            Self::Sha1lite => "sha1lite",
            Self::Md5 => "md5",
            Self::Md5lite => "md5lite",
            Self::Mtime => "mtime",
            Self::Ctime => "ctime",
            Self::None => "none",
        }
    }
}

impl FromStr for ChecksumType {
    type Err = ();

    /// Reads one name, or the first that is known of an agent's list, such as `sha256.sha384.md5`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let all = [
            Self::Sha256,
            Self::Sha256lite,
            Self::Sha384,
            Self::Sha512,
            Self::Sha224,
            Self::Sha1,
            Self::Sha1lite,
            Self::Md5,
            Self::Md5lite,
            Self::Mtime,
            Self::Ctime,
            Self::None,
        ];
        text.split('.').find_map(|name| all.into_iter().find(|kind| kind.name() == name)).ok_or(())
    }
}

/// Time of a change as Ruby writes it, such as `2026-11-22 16:36:19 +0000`.
pub fn time(seconds: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, (hour, minute, second)) = (at.date(), at.to_hms());
    format!("{date} {hour:02}:{minute:02}:{second:02} +0000")
}

/// What is the same for as long as a file is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key(ChecksumType, [i128; 7]);

impl Key {
    fn of(kind: ChecksumType, stat: &std::fs::Metadata) -> Self {
        let fields = [stat.mtime(), stat.mtime_nsec(), stat.ctime(), stat.ctime_nsec()].map(i128::from);
        let [mtime, mtime_ns, ctime, ctime_ns] = fields;
        Self(
            kind,
            [stat.dev().into(), stat.ino().into(), stat.len().into(), mtime, mtime_ns, ctime, ctime_ns],
        )
    }
}

/// Digests of files that have not changed since. Bounded: what was not asked for lately goes.
#[derive(Default)]
pub struct Digests(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashMap<Key, Box<str>>,
    old: HashMap<Key, Box<str>>,
}

impl Digests {
    /// A regular file's checksum, without the `{type}` before it.
    pub fn of(
        &self,
        kind: ChecksumType,
        path: &std::path::Path,
        stat: &std::fs::Metadata,
    ) -> io::Result<String> {
        match kind {
            ChecksumType::None => return Ok(String::new()),
            ChecksumType::Mtime => return Ok(time(stat.mtime())),
            ChecksumType::Ctime => return Ok(time(stat.ctime())),
            _ => {}
        }
        let key = Key::of(kind, stat);
        if let Some(digest) = self.get(&key) {
            return Ok(digest.into());
        }
        let file = File::open(path)?;
        let digest = digest_of(kind, &file)?;
        // A file that is being written has a digest that is soon another's.
        if Key::of(kind, &file.metadata()?) == key {
            self.put(key, digest.as_str().into());
        }
        Ok(digest)
    }

    fn get(&self, key: &Key) -> Option<Box<str>> {
        let mut generations = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(digest) = generations.young.get(key) {
            return Some(digest.clone());
        }
        let digest = generations.old.remove(key)?;
        generations.put(*key, digest.clone());
        Some(digest)
    }

    fn put(&self, key: Key, digest: Box<str>) {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).put(key, digest);
    }
}

impl Generations {
    fn put(&mut self, key: Key, digest: Box<str>) {
        if self.young.len() >= CACHE_ENTRIES {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, digest);
    }
}

fn digest_of(kind: ChecksumType, file: &File) -> io::Result<String> {
    let lite = matches!(kind, ChecksumType::Sha256lite | ChecksumType::Sha1lite | ChecksumType::Md5lite);
    let mut bytes = file.take(if lite { LITE_BYTES } else { u64::MAX });
    let algorithm = match kind {
        ChecksumType::Md5 | ChecksumType::Md5lite => {
            let mut md5 = md5::Md5::new();
            each_chunk(&mut bytes, |chunk| md5.update(chunk))?;
            return Ok(hex::encode(md5.finalize()));
        }
        ChecksumType::Sha1 | ChecksumType::Sha1lite => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        ChecksumType::Sha224 => &digest::SHA224,
        ChecksumType::Sha384 => &digest::SHA384,
        ChecksumType::Sha512 => &digest::SHA512,
        _ => &digest::SHA256,
    };
    let mut context = digest::Context::new(algorithm);
    each_chunk(&mut bytes, |chunk| context.update(chunk))?;
    Ok(hex::encode(context.finish()))
}

fn each_chunk(reader: &mut impl Read, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => take(buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::*;

    #[test]
    fn digests_are_those_of_coreutils() {
        let folder = tempfile::tempdir().unwrap();
        let (long, short) = (folder.path().join("long"), folder.path().join("short"));
        let bytes: Vec<u8> = (0..=250).cycle().take(200_000).collect();
        fs::write(&long, &bytes).unwrap();
        fs::write(&short, &bytes[..512]).unwrap();
        let digests = Digests::default();
        let check = |kind: &str, tool: &str, path, same: &std::path::Path| {
            let said = Command::new(tool).arg(same).output().unwrap();
            let expected = String::from_utf8(said.stdout).unwrap();
            let expected = expected.split_whitespace().next().unwrap();
            let kind = kind.parse().unwrap();
            let stat = fs::metadata(path).unwrap();
            assert_eq!(digests.of(kind, path, &stat).unwrap(), expected, "{kind:?}");
            assert_eq!(digests.of(kind, path, &stat).unwrap(), expected, "{kind:?} a second time");
        };
        for (kind, tool) in [
            ("sha256", "sha256sum"),
            ("sha384", "sha384sum"),
            ("sha512", "sha512sum"),
            ("sha224", "sha224sum"),
            ("sha1", "sha1sum"),
            ("md5", "md5sum"),
        ] {
            check(kind, tool, &long, &long);
        }
        for (kind, tool) in [("sha256lite", "sha256sum"), ("sha1lite", "sha1sum"), ("md5lite", "md5sum")] {
            check(kind, tool, &long, &short);
        }
    }

    #[test]
    fn a_changed_file_has_another_digest_though_it_is_as_long() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let digests = Digests::default();
        let digest = |text: &str| {
            // Another inode, so that the test does not lean on how fine the clock of the file system is.
            fs::write(path.with_extension("new"), text).unwrap();
            fs::rename(path.with_extension("new"), &path).unwrap();
            digests.of(ChecksumType::Md5, &path, &fs::metadata(&path).unwrap()).unwrap()
        };
        assert_ne!(digest("one"), digest("two"));
        assert_eq!(digest("one"), digest("one"));
    }

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_asked_for() {
        let cache = Digests::default();
        let key = |n: i128| Key(ChecksumType::Md5, [n; 7]);
        cache.put(key(-1), "kept".into());
        for n in (0..).take(3 * CACHE_ENTRIES) {
            cache.put(key(n), "x".into());
            assert!(cache.get(&key(-1)).is_some(), "{n}");
        }
        let generations = cache.0.lock().unwrap();
        assert!(generations.young.len() + generations.old.len() <= 2 * CACHE_ENTRIES);
        assert!(!generations.old.contains_key(&key(0)) && !generations.young.contains_key(&key(0)));
    }

    #[test]
    fn the_first_type_of_a_list_that_is_known_is_taken() {
        let check = |list: &str, expected| assert_eq!(list.parse(), expected, "{list}");
        check("sha256.sha384.sha512.sha224.md5", Ok(ChecksumType::Sha256));
        check("whirlpool.md5", Ok(ChecksumType::Md5));
        check("none", Ok(ChecksumType::None));
        check("", Err(()));
        check("SHA256", Err(()));
    }

    #[test]
    fn times_are_written_as_ruby_does() {
        // Recording 03-first-run-after-sign, exchange 3.
        assert_eq!(time(1_795_365_379), "2026-11-22 16:36:19 +0000");
        assert_eq!(time(i64::MAX), "1970-01-01 00:00:00 +0000");
    }
}
