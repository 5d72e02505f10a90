//! What keeps a master from following its CA.

use std::io;
use std::path::PathBuf;

/// Why a master cannot enrol or open what it has. That the CA is unreachable is none: that is waited for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A private key that others can read.
    #[error(
        "the key {path} has the mode {mode:04o}; set it to 0600, and have a new one made if others may have read it"
    )]
    Mode {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A private key of another user.
    #[error("the key {path} belongs to the user {owner}; this is the user {user}, who must own it")]
    Owner {
        /// Which.
        path: PathBuf,
        /// Whose.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// Another daemon uses the folder.
    #[error("{0} is in use by another daemon; stop that one, or give this one a folder of its own")]
    Held(PathBuf),
    /// A key that cannot be used.
    #[error("the key {path}: {source}; bring it back from a backup, or remove it to enrol with a new one")]
    Key {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: pki::KeyError,
    },
    /// A request that cannot be made.
    #[error("the certificate request of {certname} cannot be made: {reason}")]
    Request {
        /// For whom.
        certname: String,
        /// What the library says.
        reason: String,
    },
    /// A fingerprint that is none.
    #[error(
        "{0:?} is no SHA-256 fingerprint: give the 64 hexadecimal digits of the CA bundle's, colons or not"
    )]
    Fingerprint(String),
    /// A bundle file that is none.
    #[error("the CA bundle {path}: {reason}")]
    PinFile {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The CA that was met is another one than the one that is pinned.
    #[error(
        "{at} is not the CA that is pinned: {offered}, and {expected}; someone may be in between, or the pin is out of date"
    )]
    NotPinned {
        /// The server.
        at: String,
        /// What it has.
        offered: String,
        /// What is wanted.
        expected: String,
    },
    /// The folder belongs to another CA than the one that is pinned.
    #[error(
        "{dir} follows another CA ({held}) than the one that is pinned; to enrol there, remove that folder"
    )]
    OtherCa {
        /// The folder.
        dir: PathBuf,
        /// What it has.
        held: String,
    },
    /// The CA cannot be asked, for a reason that no waiting mends.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// A background thread has gone.
    #[error("the work was interrupted by a shutdown")]
    Interrupted,
}
