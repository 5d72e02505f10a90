//! The `file_metadata` object.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path, str::FromStr};

use serde::{Serialize, Serializer};

use crate::checksum::{self, ChecksumType, Digests};

/// What an agent wants to know of files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// What regular files are compared by.
    pub checksum: ChecksumType,
    /// What a symbolic link counts as.
    pub links: Links,
    /// Whether the server's owner, group and mode are told.
    pub permissions: Permissions,
}

/// What a symbolic link counts as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Links {
    /// A link.
    #[default]
    Manage,
    /// What it leads to.
    Follow,
}

/// Whether the server's owner, group and mode are told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Permissions {
    /// No: the server's own user and 0644 stand for them.
    #[default]
    Ignore,
    /// Yes.
    Use,
}

impl FromStr for Links {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "manage" => Ok(Self::Manage),
            "follow" => Ok(Self::Follow),
            _ => Err(()),
        }
    }
}

impl FromStr for Permissions {
    type Err = ();

    /// `use_when_creating` is the agent's own business and counts as `use`.
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "ignore" => Ok(Self::Ignore),
            "use" | "use_when_creating" => Ok(Self::Use),
            _ => Err(()),
        }
    }
}

/// What the agent is told of one file. Serialises to the object on the wire, fields in its order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Metadata {
    /// The file on the server; of a list, the folder that the list is of.
    pub path: String,
    /// `.` for that folder, else the path below it; none outside lists.
    pub relative_path: Option<String>,
    /// As asked.
    pub links: Links,
    /// User id.
    pub owner: u32,
    /// Group id.
    pub group: u32,
    /// Permission bits.
    pub mode: u32,
    /// By what the file is compared.
    pub checksum: Checksum,
    /// What it is.
    #[serde(rename = "type")]
    pub file_type: FileType,
    /// Where a link leads.
    pub destination: Option<String>,
}

/// By what a file is compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checksum {
    /// Always `ctime` for folders.
    #[serde(rename = "type")]
    pub kind: ChecksumType,
    /// With its type before it, such as `{sha256}…`; none for a link that leads to no file of its module.
    #[serde(serialize_with = "with_type")]
    pub value: Option<(ChecksumType, String)>,
}

/// What a file is. Nothing else is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileType {
    /// A regular file.
    File,
    /// A folder.
    Directory,
    /// A symbolic link.
    Link,
}

fn with_type<S: Serializer>(
    value: &Option<(ChecksumType, String)>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some((kind, value)) => serializer.collect_str(&format_args!("{{{}}}{value}", kind.name())),
        None => serializer.serialize_none(),
    }
}

/// A file that was found, and lies in its module.
pub struct Found<'a> {
    pub path: &'a Path,
    pub stat: &'a fs::Metadata,
    /// Of a link: the regular file of the module that it leads to.
    pub target: Option<(&'a Path, fs::Metadata)>,
}

/// Who stands for the owner of files whose owner is not told.
#[derive(Debug, Clone, Copy)]
pub struct Server {
    pub user: u32,
    pub group: u32,
}

impl Server {
    /// This process.
    pub fn current() -> Self {
        let own = fs::metadata("/proc/self");
        Self {
            user: own.as_ref().map_or(0, MetadataExt::uid),
            group: own.as_ref().map_or(0, MetadataExt::gid),
        }
    }
}

/// The metadata of what was found; none where it is no file, folder or link. `path` and `relative_path` are
/// the caller's to say.
pub fn describe(
    found: &Found<'_>,
    options: &Options,
    server: Server,
    digests: &Digests,
) -> io::Result<Option<Metadata>> {
    let stat = found.stat;
    let kind = stat.file_type();
    let wanted = options.checksum;
    let (file_type, checksum, destination) = if kind.is_dir() {
        let value = Some((ChecksumType::Ctime, checksum::time(stat.ctime())));
        (FileType::Directory, Checksum { kind: ChecksumType::Ctime, value }, None)
    } else if kind.is_file() {
        let value = Some((wanted, digests.of(wanted, found.path, stat)?));
        (FileType::File, Checksum { kind: wanted, value }, None)
    } else if kind.is_symlink() {
        let digest = found.target.as_ref().and_then(|(path, stat)| digests.of(wanted, path, stat).ok());
        let checksum = Checksum { kind: wanted, value: digest.map(|digest| (wanted, digest)) };
        (FileType::Link, checksum, Some(fs::read_link(found.path)?.to_string_lossy().into_owned()))
    } else {
        return Ok(None);
    };
    let (owner, group, mode) = match options.permissions {
        Permissions::Use => (stat.uid(), stat.gid(), stat.mode() & 0o7777),
        Permissions::Ignore => (server.user, server.group, 0o644),
    };
    let path = found.path.to_string_lossy().into_owned();
    let links = options.links;
    Ok(Some(Metadata {
        path,
        relative_path: None,
        links,
        owner,
        group,
        mode,
        checksum,
        file_type,
        destination,
    }))
}

/// Stands for a folder where there is none at all: agents take no empty list.
pub fn no_folder(path: &Path, options: &Options, server: Server) -> Metadata {
    Metadata {
        path: path.to_string_lossy().into_owned(),
        relative_path: None,
        links: options.links,
        owner: server.user,
        group: server.group,
        mode: match options.permissions {
            Permissions::Use => 0o755,
            Permissions::Ignore => 0o644,
        },
        checksum: Checksum {
            kind: ChecksumType::Ctime,
            value: Some((ChecksumType::Ctime, checksum::time(0))),
        },
        file_type: FileType::Directory,
        destination: None,
    }
}
