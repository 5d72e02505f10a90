//! Durable state: the inventory of certificates, requests that wait, CRLs, declared masters, nodes' facts,
//! exported resources, reports, sets of plugins, and the filebucket.
//!
//! SQLite through sqlx, in one file: WAL, `synchronous=FULL`, one writer that commits in groups, a
//! small pool of readers. An answer to a write comes after its commit, so what was answered survives
//! `kill -9` and a power cut, and the file opens again without repair.
//!
//! It decides nothing: whether to sign is `master`'s and `decide`'s business, what to sign is `ca`'s,
//! and what a certificate looks like is `pki`'s; here serials, names and digests are strings that those
//! crates have checked. It never sees a Sensitive value: `catalog` strips those before they are
//! exported. The audit trail is `journal`'s.
//!
//! SQL is kept to what PostgreSQL understands too, with bound parameters throughout (CVE-2021-27021).

mod backup;
mod crls;
mod error;
mod exports;
mod filebucket;
mod import;
mod inventory;
mod issue;
mod lock;
mod masters;
mod nodes;
#[cfg(test)]
mod plans;
mod plugins;
mod readers;
mod reports;
mod requests;
mod revocation;
mod schema;
mod writer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Row};

pub use crls::CrlRow;
pub use error::Error;
pub use exports::{ExportCursor, ExportQuery, ExportRow};
pub use filebucket::Filebucket;
pub use import::{ImportRow, Imported};
pub use inventory::{CertificateRow, CertificateState, Counts, StatusQuery};
pub use issue::{Against, FromRequest};
pub use masters::MasterRow;
pub use nodes::{Compilation, fact};
pub use plugins::{PLUGIN_EVENTS, PLUGIN_SETS, PluginEventRow, PluginRecord, PluginSetRow};
pub use reports::{REPORTS_PER_NODE, ReportRow};
pub use requests::{DecisionRow, RequestKey, RequestRow, Submission};
pub use revocation::Cleaned;

use lock::Lock;
use readers::{Reader, Readers};
use writer::{Work, Writer};

/// How long to wait for another process's lock on the database, such as a backup's.
const BUSY: Duration = Duration::from_secs(5);

/// An open store. Share it with `Arc`.
pub struct Store {
    path: PathBuf,
    readers: Readers,
    /// `None`: opened for reading only.
    writer: Option<Writer>,
}

impl Store {
    /// Opens the database file at `path`, and makes it (0600, its folder 0700) where there is none.
    ///
    /// [`Error::Held`] where another process has it open for writing; [`Error::Schema`] where a newer
    /// program wrote it.
    pub async fn open(path: &Path) -> Result<Store, Error> {
        schema::create_file(path)?;
        let lock = Lock::take(path)?;
        let mut connection = connect(path).await.map_err(|e| cannot_open(path, e))?;
        schema::migrate(path, &mut connection).await?;
        let readers = readers(path).await?;
        let writer = Writer::start(path, connection, lock);
        Ok(Store { path: path.to_owned(), readers, writer: Some(writer) })
    }

    /// Opens an existing database beside a running daemon; every write answers [`Error::ReadOnly`].
    ///
    /// [`Error::Schema`] where the file is of another version.
    pub async fn open_read_only(path: &Path) -> Result<Store, Error> {
        if let Err(source) = std::fs::metadata(path) {
            return Err(Error::Io { path: path.to_owned(), source });
        }
        let readers = readers(path).await?;
        schema::check(path, &mut *readers.take().await?).await?;
        Ok(Store { path: path.to_owned(), readers, writer: None })
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Finishes what is queued and lets go of the file and its lock. Later calls answer an error.
    pub async fn close(&self) {
        // Readers first: the last connection to go folds the WAL into the database.
        self.readers.close().await;
        if let Some(writer) = &self.writer {
            writer.close().await;
        }
    }

    /// A small value by name, such as the last seen digest of something.
    pub async fn meta(&self, key: &str) -> Result<Option<String>, Error> {
        let row = sqlx::query("SELECT value FROM meta WHERE key = $1")
            .bind(key)
            .fetch_optional(&mut *self.reader().await?)
            .await?;
        Ok(row.map(|row| row.try_get("value")).transpose()?)
    }

    /// Sets what [`Store::meta`] reads.
    pub async fn set_meta(&self, key: &str, value: &str) -> Result<(), Error> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.write(move |connection| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO meta (key, value) VALUES ($1, $2)
                     ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                )
                .bind(key)
                .bind(value)
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .await
    }

    async fn reader(&self) -> Result<Reader, Error> {
        Ok(self.readers.take().await?)
    }

    async fn write<T, W>(&self, work: W) -> Result<T, Error>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
    {
        match &self.writer {
            Some(writer) => writer.write(work).await,
            None => Err(Error::ReadOnly),
        }
    }
}

/// A connection that writes.
async fn connect(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    options(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        // Deleted requests held challenge passwords: no copy stays on pages that are written anyway.
        .pragma("secure_delete", "FAST")
        .connect()
        .await
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .foreign_keys(true)
        .busy_timeout(BUSY)
        .disable_statement_logging()
}

async fn readers(path: &Path) -> Result<Readers, Error> {
    Readers::open(path, options(path).read_only(true)).await
}

fn cannot_open(path: &Path, source: sqlx::Error) -> Error {
    Error::Open { path: path.to_owned(), source: Box::new(source) }
}
