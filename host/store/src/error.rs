use std::path::PathBuf;
use std::sync::Arc;

/// What can go wrong, by what a caller can do about it.
///
/// No message carries a stored value: bodies, facts and requests may hold secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another daemon has this store open for writing.
    #[error("the store {} is held by {}: stop that one first, or give this one a state directory of its own", path.display(), holder(*pid))]
    Held {
        /// The database file.
        path: PathBuf,
        /// Who holds it; `None` in the instant before the holder has written it down.
        pid: Option<u32>,
    },
    /// A file or folder of the store could not be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database could not be opened.
    #[error("cannot open the store {}: {source}", path.display())]
    Open {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database was written by another version of this program.
    #[error("the store {} has schema {found}, this program knows {known}: use the version that wrote it", path.display())]
    Schema {
        /// The database file.
        path: PathBuf,
        /// The newest migration in the file; 0 for none.
        found: i64,
        /// The newest migration of this program.
        known: i64,
    },
    /// The serial is in the inventory already: draw another one.
    #[error("serial 0x{serial} is taken")]
    SerialTaken {
        /// Upper hex.
        serial: String,
    },
    /// The name of the request has a live certificate already, which was not to be replaced.
    #[error("{certname} has a live certificate already, serial 0x{serial}")]
    NameTaken {
        /// Whose request it was.
        certname: String,
        /// The live certificate, upper hex.
        serial: String,
    },
    /// The request that was to be signed no longer waits.
    #[error("the request of {certname} was taken away meanwhile: nothing is signed")]
    RequestGone {
        /// Whose it was.
        certname: String,
    },
    /// The name of the request has a revoked certificate, which nobody has cleaned.
    #[error("{certname} has a revoked certificate, serial 0x{serial}: clean the name first")]
    NameRevoked {
        /// Whose request it was.
        certname: String,
        /// The revoked certificate, upper hex.
        serial: String,
    },
    /// A certificate for the same key was revoked for the key's sake: the key is given up for ever.
    #[error("the key is that of serial 0x{serial}, which is revoked: make a new key")]
    KeyRevoked {
        /// The revoked certificate, upper hex.
        serial: String,
    },
    /// The certificate to be replaced is not in the inventory.
    #[error("serial 0x{serial} is not in the inventory")]
    UnknownSerial {
        /// Upper hex.
        serial: String,
    },
    /// The certificate to be replaced has been revoked (perhaps this very moment).
    #[error("serial 0x{serial} is revoked")]
    Revoked {
        /// Upper hex.
        serial: String,
    },
    /// The certificate to be replaced has a successor already.
    #[error("serial 0x{serial} was replaced by 0x{by} already")]
    Superseded {
        /// Upper hex.
        serial: String,
        /// Its successor, upper hex.
        by: String,
    },
    /// cRLNumber only grows (RFC 5280 §5.2.3).
    #[error("crl number {number} does not come after {latest}")]
    CrlNumber {
        /// The number offered.
        number: i64,
        /// The newest one stored.
        latest: i64,
    },
    /// No space left for the database; nothing of the write was kept.
    #[error("no space left for the store: free some on its disk")]
    Full,
    /// The disk under the database failed, or can no longer be written: an input or output error, or a
    /// file system that went read-only. The write is answered as failed; nothing later builds on it.
    #[error(
        "the store's disk failed ({0}): look at the disk and the system's log; the write can be tried again"
    )]
    Disk(Arc<sqlx::Error>),
    /// A write through [`crate::Store::open_read_only`].
    #[error("the store was opened for reading only")]
    ReadOnly,
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
    /// A group of writes, this one among them, was rolled back as a whole.
    #[error("the write was not committed: {0}")]
    NotCommitted(Arc<sqlx::Error>),
    /// A row that this program cannot have written.
    #[error("the store holds an unreadable {what}")]
    Unreadable {
        /// Which kind of row, and whose.
        what: String,
    },
    /// Not the sum of the content, or no sum at all.
    #[error("filebucket: {0}")]
    Sum(String),
    /// Anything else that the database said.
    #[error("store: {0}")]
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Error {
        match primary_code(&error) {
            Some(FULL) => Error::Full,
            Some(IOERR | READONLY | CANTOPEN) => Error::Disk(Arc::new(error)),
            _ => Error::Database(error),
        }
    }
}

/// Why a whole group of writes was rolled back; each of them is told.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    Full,
    Disk(Arc<sqlx::Error>),
    Other(Arc<sqlx::Error>),
}

impl Fault {
    /// The fault, if any, that made SQLite roll back more than the write that met it.
    pub(crate) fn of(error: &Error) -> Option<Fault> {
        match error {
            Error::Full => Some(Fault::Full),
            Error::Disk(source) => Some(Fault::Disk(Arc::clone(source))),
            _ => None,
        }
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Fault {
        match Error::from(error) {
            Error::Full => Fault::Full,
            Error::Disk(source) => Fault::Disk(source),
            Error::Database(source) => Fault::Other(Arc::new(source)),
            other => Fault::Other(Arc::new(sqlx::Error::Protocol(other.to_string()))),
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        match fault {
            Fault::Full => Error::Full,
            Fault::Disk(source) => Error::Disk(source),
            Fault::Other(source) => Error::NotCommitted(source),
        }
    }
}

// <https://www.sqlite.org/rescode.html>: the low byte of a code is its kind.
const ERROR: u32 = 1;
const READONLY: u32 = 8;
const IOERR: u32 = 10;
const FULL: u32 = 13;
const CANTOPEN: u32 = 14;

/// Whether a ROLLBACK failed because there is nothing to roll back: SQLite has done so by itself.
pub(crate) fn is_no_transaction(error: &sqlx::Error) -> bool {
    primary_code(error) == Some(ERROR)
}

fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}
