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
        if is_full(&error) { Error::Full } else { Error::Database(error) }
    }
}

impl Error {
    /// A group's commit failed; every write in it gets the same answer.
    pub(crate) fn not_committed(error: Arc<sqlx::Error>) -> Error {
        if is_full(&error) { Error::Full } else { Error::NotCommitted(error) }
    }
}

/// SQLITE_FULL, <https://www.sqlite.org/rescode.html#full>.
fn is_full(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|e| e.code()).is_some_and(|code| code == "13")
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}
