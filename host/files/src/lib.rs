//! The files agents fetch: plugins, external facts and the `files/` of modules.
//!
//! A [`Tree`] looks at two folders of modules: those of an environment, and those that every environment
//! has. A module of the environment hides the one of the same name that all have. Per module it serves
//! `lib/` (mount `plugins`), `facts.d/` (`pluginfacts`) and `files/` (`modules/<module>/…`); plugins and facts
//! of all modules are merged into one tree. Each answer has the shape that agents 7 and 8 were recorded with.
//!
//! Everything here blocks: call it from a thread that may. It never writes, never leaves a module's folder,
//! by `..` or by a symbolic link, and never opens what is no regular file. It knows no HTTP (see `http`) and
//! no backups (see `store`'s filebucket).

mod checksum;
mod metadata;
mod tree;
mod walk;

use std::{io, path::PathBuf};

pub use checksum::ChecksumType;
pub use metadata::{Checksum, FileType, Links, Metadata, Options, Permissions};
pub use tree::{Content, Settings, Tree, is_environment};
pub use walk::Walk;

/// Why there is no answer. Nothing in it is secret, but the last names folders of the server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such mount, environment, module or file, it is no regular file, or it lies outside its
    /// module.
    #[error("could not find {0}")]
    NotFound(String),
    /// The path has `.`, `..`, an empty segment or a NUL in it, or is absolute.
    #[error("{0:?} is no path below a mount")]
    BadPath(String),
    /// A pattern to ignore that is none.
    #[error("cannot ignore {pattern:?}: {why}")]
    BadPattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
    /// More entries than were asked for at most, or than the server lists.
    #[error("{what} has more than {limit} entries; raise max_files, or serve fewer files")]
    TooMany {
        /// The mount and path.
        what: String,
        /// The limit.
        limit: usize,
    },
    /// A file or folder of a module that the server cannot read.
    #[error("cannot read {}: {source}; see to its permissions", path.display())]
    Unreadable {
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
