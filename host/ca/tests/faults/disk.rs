//! A model of what a disk may keep when the power goes.
//!
//! Certain is only what was synced: a file's content up to its own last fsync, a folder's names up to
//! the folder's. Of the rest a disk keeps what it likes: of a file any of the later writes, the last
//! one perhaps torn; of a folder its later names up to some point, for names are journalled in order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::trace::Event;

/// Of what is not certain, which is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kept {
    /// Nothing.
    Nothing,
    /// All names, no content: new files are empty.
    Names,
    /// All content, no names.
    Content,
    /// Everything: as after `kill -9`.
    All,
    /// Everything, but of the very last write the first half.
    Torn,
    /// Anything; the number is the seed.
    Some(u64),
}

/// The files and folders of a disk, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Tree {
    pub folders: Vec<PathBuf>,
    pub files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Tree {
    pub fn write(&self, folder: &Path) {
        for path in &self.folders {
            std::fs::create_dir(folder.join(path)).unwrap();
        }
        for (path, content) in &self.files {
            let path = folder.join(path);
            std::fs::write(&path, content).unwrap();
            // The modes are there from the first byte on; that is tested elsewhere.
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&path, mode).unwrap();
        }
    }
}

pub struct Disk {
    nodes: Vec<Node>,
}

enum Node {
    File { certain: Vec<u8>, later: Vec<Change> },
    Folder { certain: Names, later: Vec<Naming> },
}

type Names = BTreeMap<String, usize>;

#[derive(Clone)]
enum Change {
    Write(usize, Arc<[u8]>),
    Truncate(usize),
}

#[derive(Clone)]
enum Naming {
    Add(String, usize),
    Remove(String),
    Rename(String, String),
}

impl Disk {
    /// An empty folder, known to be there.
    pub fn new() -> Disk {
        Disk { nodes: vec![Node::Folder { certain: Names::new(), later: Vec::new() }] }
    }

    /// Takes what happened. A fact changes nothing.
    pub fn take(&mut self, event: &Event) {
        match event {
            Event::Create(path) => {
                if self.find(path).is_none() {
                    let file = Node::File { certain: Vec::new(), later: Vec::new() };
                    self.add(path, file);
                }
            }
            Event::Mkdir(path) => self.add(path, Node::Folder { certain: Names::new(), later: Vec::new() }),
            Event::Write(path, offset, content) => {
                self.change(path, Change::Write(*offset, Arc::clone(content)));
            }
            Event::Truncate(path, length) => self.change(path, Change::Truncate(*length)),
            Event::Sync(path) => {
                let node = self.find(path).unwrap_or_else(|| panic!("synced, and not there: {path:?}"));
                match &mut self.nodes[node] {
                    Node::File { certain, later } => later.drain(..).for_each(|change| change.apply(certain)),
                    Node::Folder { certain, later } => {
                        later.drain(..).for_each(|naming| naming.apply(certain));
                    }
                }
            }
            Event::Rename(from, to) => {
                assert_eq!(from.parent(), to.parent(), "a rename between folders is not in the model");
                let (from, to) = (name(from), name(to));
                self.name(path_of(event), Naming::Rename(from, to));
            }
            Event::Unlink(path) => self.name(path, Naming::Remove(name(path))),
            Event::Fact(_) => {}
        }
    }

    /// What is there after a power cut at this moment.
    pub fn left(&self, kept: Kept, last: Option<&Event>) -> Tree {
        let mut tree = Tree::default();
        let torn = match last {
            Some(Event::Write(path, ..)) if kept == Kept::Torn => self.find(path),
            _ => None,
        };
        let mut chance = Chance(if let Kept::Some(seed) = kept { seed } else { 0 });
        self.collect(0, Path::new(""), kept, torn, &mut chance, &mut tree);
        tree
    }

    fn collect(
        &self,
        node: usize,
        path: &Path,
        kept: Kept,
        torn: Option<usize>,
        chance: &mut Chance,
        tree: &mut Tree,
    ) {
        match &self.nodes[node] {
            Node::File { certain, later } => {
                let mut content = certain.clone();
                for (place, change) in later.iter().enumerate() {
                    let last = place + 1 == later.len();
                    let keep = match kept {
                        Kept::Nothing | Kept::Names => false,
                        Kept::Content | Kept::All | Kept::Torn => true,
                        Kept::Some(_) => chance.of(2) == 0,
                    };
                    let tear = match kept {
                        Kept::Torn => last && torn == Some(node),
                        Kept::Some(_) => chance.of(4) == 0,
                        _ => false,
                    };
                    match change {
                        Change::Write(offset, written) if keep && tear => {
                            let half = written[..written.len() / 2].into();
                            Change::Write(*offset, half).apply(&mut content);
                        }
                        change if keep => change.clone().apply(&mut content),
                        _ => {}
                    }
                }
                tree.files.insert(path.to_owned(), content);
            }
            Node::Folder { certain, later } => {
                let mut names = certain.clone();
                let keep = match kept {
                    Kept::Nothing | Kept::Content => 0,
                    Kept::Names | Kept::All | Kept::Torn => later.len(),
                    Kept::Some(_) => chance.of(later.len() + 1),
                };
                for naming in &later[..keep] {
                    naming.clone().apply(&mut names);
                }
                if node != 0 {
                    tree.folders.push(path.to_owned());
                }
                for (name, node) in names {
                    self.collect(node, &path.join(name), kept, torn, chance, tree);
                }
            }
        }
    }

    /// The file or folder of this name now, with everything kept.
    fn find(&self, path: &Path) -> Option<usize> {
        let mut node = 0;
        for part in path.iter() {
            let Node::Folder { certain, later } = &self.nodes[node] else { return None };
            let mut names = certain.clone();
            later.iter().for_each(|naming| naming.clone().apply(&mut names));
            node = *names.get(part.to_str()?)?;
        }
        Some(node)
    }

    fn add(&mut self, path: &Path, node: Node) {
        self.nodes.push(node);
        let node = self.nodes.len() - 1;
        self.name(path, Naming::Add(name(path), node));
    }

    fn name(&mut self, path: &Path, naming: Naming) {
        let folder = self.find(path.parent().unwrap()).unwrap_or_else(|| panic!("no folder for {path:?}"));
        match &mut self.nodes[folder] {
            Node::Folder { later, .. } => later.push(naming),
            Node::File { .. } => panic!("a file is no folder: {path:?}"),
        }
    }

    fn change(&mut self, path: &Path, change: Change) {
        let node = self.find(path).unwrap_or_else(|| panic!("written, and not there: {path:?}"));
        match &mut self.nodes[node] {
            Node::File { later, .. } => later.push(change),
            Node::Folder { .. } => panic!("a folder is no file: {path:?}"),
        }
    }
}

impl Change {
    fn apply(self, content: &mut Vec<u8>) {
        match self {
            Change::Write(offset, written) => {
                let end = offset + written.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[offset..end].copy_from_slice(&written);
            }
            Change::Truncate(length) => content.resize(length, 0),
        }
    }
}

impl Naming {
    fn apply(self, names: &mut Names) {
        match self {
            Naming::Add(name, node) => {
                names.insert(name, node);
            }
            Naming::Remove(name) => {
                names.remove(&name);
            }
            Naming::Rename(from, to) => {
                if let Some(node) = names.remove(&from) {
                    names.insert(to, node);
                }
            }
        }
    }
}

fn path_of(event: &Event) -> &Path {
    match event {
        Event::Rename(_, to) => to,
        other => panic!("{other:?}"),
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// SplitMix64: the same seed, the same chances.
struct Chance(u64);

impl Chance {
    fn of(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(sides).unwrap()).unwrap()
    }
}

#[test]
fn a_disk_keeps_what_was_synced_and_may_keep_more() {
    let path = PathBuf::from;
    let mut disk = Disk::new();
    let mut events = vec![
        Event::Create(path("a")),
        Event::Write(path("a"), 0, b"old"[..].into()),
        Event::Sync(path("a")),
        Event::Sync(path("")),
        Event::Create(path("a.new")),
        Event::Write(path("a.new"), 0, b"fresh!"[..].into()),
        Event::Rename(path("a.new"), path("a")),
        Event::Mkdir(path("d")),
        Event::Create(path("d/b")),
        Event::Write(path("d/b"), 2, b"1234"[..].into()),
    ];
    events.iter().for_each(|event| disk.take(event));
    let left = |disk: &Disk, kept| {
        let files = disk.left(kept, Some(&Event::Write(path("d/b"), 2, b"1234"[..].into()))).files;
        files.into_iter().map(|(path, content)| (path.display().to_string(), content)).collect::<Vec<_>>()
    };
    let file = |name: &str, content: &[u8]| (name.to_owned(), content.to_vec());
    assert_eq!(left(&disk, Kept::Nothing), [file("a", b"old")]);
    assert_eq!(left(&disk, Kept::Content), [file("a", b"old")]);
    assert_eq!(left(&disk, Kept::Names), [file("a", b""), file("d/b", b"")]);
    assert_eq!(left(&disk, Kept::All), [file("a", b"fresh!"), file("d/b", b"\0\x001234")]);
    assert_eq!(left(&disk, Kept::Torn), [file("a", b"fresh!"), file("d/b", b"\0\x0012")]);
    let some: std::collections::BTreeSet<_> = (0..200).map(|seed| left(&disk, Kept::Some(seed))).collect();
    assert!(some.len() > 10, "{}", some.len());
    assert!(some.contains(&vec![file("a", b"old")]) && some.contains(&left(&disk, Kept::All)));
    // A folder is certain only where its own folder was synced.
    events = vec![Event::Sync(path("d/b")), Event::Sync(path("d"))];
    events.iter().for_each(|event| disk.take(event));
    assert_eq!(left(&disk, Kept::Nothing), [file("a", b"old")]);
    disk.take(&Event::Sync(path("")));
    assert_eq!(left(&disk, Kept::Nothing), [file("a", b""), file("d/b", b"\0\x001234")]);
}
