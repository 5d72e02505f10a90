use std::path::PathBuf;
use std::sync::Arc;

/// What can go wrong, by what a caller can do about it.
///
/// No message carries what a record's input, answer or transcripts hold. An error can be told to every
/// record of a group that failed, so it can be cloned.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another daemon has this journal open for writing.
    #[error("the journal {} is held by {}: stop that one first, or give this one a state directory of its own", path.display(), holder(*pid))]
    Held {
        /// The database file.
        path: PathBuf,
        /// Who holds it; `None` in the instant before the holder has written it down.
        pid: Option<u32>,
    },
    /// A file or folder of the journal could not be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: Arc<std::io::Error>,
    },
    /// The key file does not hold a key.
    #[error("{} holds no journal key: restore it, or remove it to go on with a new key (what the old one sealed stays unreadable)", path.display())]
    Key {
        /// The key file.
        path: PathBuf,
    },
    /// The database could not be opened.
    #[error("cannot open the journal {}: {source}", path.display())]
    Open {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The database was written by another version of this program.
    #[error("the journal {} has schema {found}, this program knows {known}: use the version that wrote it", path.display())]
    Schema {
        /// The database file.
        path: PathBuf,
        /// The newest migration in the file; 0 for none.
        found: i64,
        /// The newest migration of this program.
        known: i64,
    },
    /// Opened beside a running daemon.
    #[error("the journal is open for reading only")]
    ReadOnly,
    /// Closed, or closing.
    #[error("the journal is closed")]
    Closed,
    /// The input and the answer are larger, or deeper, than a record's may be.
    #[error(
        "decision {id} is too large for the journal: input and answer may have {limit} bytes and 256 levels"
    )]
    TooLarge {
        /// Of the record.
        id: String,
        /// Bytes for both.
        limit: usize,
    },
    /// A record with this id is there already.
    #[error("decision {id} is in the journal already")]
    Duplicate {
        /// Of the record.
        id: String,
    },
    /// More than one id begins like this.
    #[error("more than one decision's id begins with {prefix}: give more of it")]
    Ambiguous {
        /// What was asked for.
        prefix: String,
    },
    /// The key that sealed it is not here.
    #[error(
        "what decision {id} rests on is sealed under a key that is not here: run as the daemon's user, or restore its journal.key"
    )]
    Sealed {
        /// Of the record.
        id: String,
    },
    /// A blob of this one record is not what was written.
    #[error("the {part} of decision {id} cannot be read: {how}; other decisions are not touched by this")]
    Damaged {
        /// Of the record.
        id: String,
        /// Which part of it.
        part: &'static str,
        /// What is wrong with it.
        how: &'static str,
    },
    /// No space left; nothing of the group was kept.
    #[error("the disk is full, or the journal may not grow: free some space")]
    Full,
    /// The disk fails; nothing of the group was kept.
    #[error("the journal's disk fails: {0}")]
    Disk(Arc<sqlx::Error>),
    /// Anything else that the database said.
    #[error("journal: {0}")]
    Database(Arc<sqlx::Error>),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Error {
        match primary_code(&error) {
            Some(FULL) => Error::Full,
            Some(IOERR | READONLY | CANTOPEN) => Error::Disk(Arc::new(error)),
            _ => Error::Database(Arc::new(error)),
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
