//! The journal: every decision as a record of what plugins were asked, what they were told, what they
//! said, and what came of it. It is read to explain a decision, and to run it again.
//!
//! SQLite in a file of its own, apart from `store`: the journal is large and may be lost, the inventory
//! is small and may not. It asks no plugin, compares no answers, and never keeps a decision waiting:
//! [`Journal::append`] puts the record into a bounded queue, from which the oldest are dropped and
//! counted when the disk does not keep up. The one exception is [`Journal::append_durable`], for an
//! approval that is about to sign: it goes before all that waits. Numbers follow the order of arrival,
//! whatever is written first. Deciding is `decide`'s and `master`'s business, what nodes are is
//! `store`'s.
//!
//! # What survives what
//! The log is write-ahead with `synchronous=NORMAL`, one commit for all that arrives within 50 ms.
//! `kill -9` loses what was not committed yet and no more: SQLite's commits outlive the process at every
//! setting. A power cut may also take the last commits back, but never leaves a broken file
//! (<https://www.sqlite.org/pragma.html#pragma_synchronous>). A group with a record that somebody waits
//! for is committed with `synchronous=FULL`: then the log is synced at the commit
//! (<https://www.sqlite.org/wal.html>, section 2.3), and with it all that it holds from before.
//!
//! # What is secret
//! Plain columns hold names, addresses of peers, digests, words and the host's reasons. Input, answer,
//! transcripts and what plugins say in their own words are sealed with the key in `journal.key`, beside
//! the database. Blobs are found by an HMAC of their content: what is equal is stored once, so a fleet
//! that does not change costs a row for each decision, and whoever lacks the key learns only that two
//! things are equal. Without the key, or with another, records are still listed; their blobs answer
//! [`Error::Sealed`].
//!
//! # Bounds
//! A record goes when it is older than [`Settings::max_age`], and the oldest go when the database and its
//! log have more than [`Settings::max_bytes`], until it is a twentieth less. Records go in the order in
//! which they came, 64 at a time between two groups of new ones. A blob goes after the last record that
//! used it; one that was used more than once may stay for a sixteenth of the journal's length more.
//! Pages that become free are filled again; beyond the bound they go back to the file system.
//! A single group, or a reader that holds on to the log, may overstep the bound for a while.

mod blob;
mod error;
mod group;
mod lock;
mod prune;
mod queue;
mod read;
mod record;
mod schema;
mod seal;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool,
    SqlitePoolOptions, SqliteSynchronous,
};
use time::OffsetDateTime;
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;

pub use error::Error;
pub use read::{Cursor, Page};
pub use record::{
    Asked, Entry, HostCall, Kind, MAX_CALLS, MAX_INPUT_AND_ANSWER, MAX_TRANSCRIPT, MAX_TRANSCRIPTS, Mode,
    Record, Transcript, weigh,
};

use lock::Lock;
use prune::Bounds;
use queue::{Queue, Waiting};
use seal::Key;
use writer::{Counts, Writer};

/// Connections that read at the same time.
const READERS: u32 = 2;
/// How long to wait for another process's lock on the database, such as a backup's.
const BUSY: Duration = Duration::from_secs(5);
/// The least that [`Settings::max_bytes`] may be.
pub const MIN_BYTES: u64 = 2 * 1024 * 1024;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Older records go.
    pub max_age: Duration,
    /// Bytes of the database and its log; at least 2 MiB.
    pub max_bytes: u64,
    /// Records that may wait to be written (and 64 MiB of them).
    pub queue: usize,
}

/// 30 days, 1 GiB, 4,096 records waiting.
impl Default for Settings {
    fn default() -> Self {
        Settings { max_age: Duration::from_secs(30 * 86_400), max_bytes: 1 << 30, queue: 4096 }
    }
}

/// How the journal is doing, since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records that wait to be written, now.
    pub waiting: usize,
    /// Records committed.
    pub written: u64,
    /// Records dropped unwritten, because too many waited or because they were too large.
    pub dropped: u64,
    /// Records lost to a disk that failed or was full, or whose id was there already.
    pub failed: u64,
    /// Bytes of the database and its log, now.
    pub bytes: u64,
}

/// An open journal. Share it with `Arc`.
pub struct Journal {
    path: PathBuf,
    readers: SqlitePool,
    key: Option<Arc<Key>>,
    /// `None`: opened for reading only.
    writer: Option<Desk>,
}

/// This end of the writer.
struct Desk {
    queue: Arc<Queue>,
    counts: Arc<Counts>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Journal {
    /// Opens the database file at `path` (such as `<state>/journal.db`), and makes it and the key
    /// `journal.key` beside it (both 0600) where they are missing.
    ///
    /// # Errors
    /// [`Error::Held`] where another process has it open for writing; [`Error::Schema`] where a newer
    /// program wrote it; [`Error::Key`] where the key file holds no key.
    pub async fn open(path: &Path, settings: Settings) -> Result<Journal, Error> {
        schema::create_file(path)?;
        let lock = Lock::take(path)?;
        let key = Arc::new(Key::open_or_make(&key_file(path))?);
        let mut connection = connect(path).await.map_err(|e| cannot_open(path, e))?;
        schema::migrate(path, &mut connection).await?;
        let next = writer::next_number(&mut connection).await?;
        let readers = readers(path).await?;
        let (queue, counts) = (Arc::new(Queue::new(settings.queue, next)), Arc::default());
        let log = beside(path, "-wal");
        let writer = Writer {
            path: path.to_owned(),
            key: Arc::clone(&key),
            queue: Arc::clone(&queue),
            counts: Arc::clone(&counts),
            bounds: Bounds::new(settings.max_age, settings.max_bytes.max(MIN_BYTES), log),
            connection: Some(connection),
            syncs: false,
            next,
            failing: false,
        };
        let task = Mutex::new(Some(tokio::spawn(writer.run(lock))));
        let writer = Some(Desk { queue, counts, task });
        Ok(Journal { path: path.to_owned(), readers, key: Some(key), writer })
    }

    /// Opens an existing database beside a running daemon. Where the key can't be read, records are
    /// listed and their blobs answer [`Error::Sealed`].
    ///
    /// # Errors
    /// [`Error::Io`] where there is none; [`Error::Schema`] where it is of another version.
    pub async fn open_read_only(path: &Path) -> Result<Journal, Error> {
        if let Err(source) = std::fs::metadata(path) {
            return Err(Error::Io { path: path.to_owned(), source: Arc::new(source) });
        }
        let readers = readers(path).await?;
        schema::check(path, &readers).await?;
        let key = Key::open(&key_file(path)).unwrap_or_else(|error| {
            tracing::warn!(%error, "the journal's sealed content cannot be read");
            None
        });
        Ok(Journal { path: path.to_owned(), readers, key: key.map(Arc::new), writer: None })
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts a record into the queue; it is written within about 50 ms. Never waits: where too much
    /// waits already, the oldest waiting records are dropped, and [`Stats::dropped`] counts them. A
    /// journal that is open for reading takes none.
    pub fn append(&self, mut record: Record) {
        let Some(desk) = &self.writer else { return };
        let Some(weight) = record.bound() else {
            desk.drop_some(1);
            tracing::warn!(decision = record.id, "a decision is too large for the journal");
            return;
        };
        match desk.queue.push(Waiting { seq: 0, record, weight, reply: None }) {
            Ok(dropped) => desk.drop_some(dropped),
            Err(_) => desk.drop_some(1),
        }
    }

    /// Writes a record; the answer comes when it is durable: it survives a power cut from then on.
    /// It is never dropped, and is written even if the caller goes away.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Duplicate`], [`Error::ReadOnly`], [`Error::Closed`], and whatever
    /// the disk says: then it is not durable, and perhaps not there.
    pub async fn append_durable(&self, mut record: Record) -> Result<(), Error> {
        let desk = self.writer.as_ref().ok_or(Error::ReadOnly)?;
        let Some(weight) = record.bound() else {
            return Err(Error::TooLarge { id: record.id, limit: MAX_INPUT_AND_ANSWER });
        };
        let (reply, answer) = oneshot::channel();
        let dropped = desk.queue.push(Waiting { seq: 0, record, weight, reply: Some(reply) })?;
        desk.drop_some(dropped);
        answer.await.map_err(|_| Error::Closed)?
    }

    /// Counts and sizes, for gauges.
    pub fn stats(&self) -> Stats {
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
        let bytes = size(&self.path).saturating_add(size(&beside(&self.path, "-wal")));
        let Some(desk) = &self.writer else { return Stats { bytes, ..Stats::default() } };
        Stats {
            waiting: desk.queue.len(),
            written: desk.counts.written.load(Ordering::Relaxed),
            dropped: desk.counts.dropped.load(Ordering::Relaxed),
            failed: desk.counts.failed.load(Ordering::Relaxed),
            bytes,
        }
    }

    /// Writes what waits and lets go of the file and its lock. Later appends are dropped, or answer
    /// [`Error::Closed`].
    pub async fn close(&self) {
        // Readers first: the last connection to go folds the log into the database.
        self.readers.close().await;
        if let Some(desk) = &self.writer {
            desk.queue.close();
            if let Some(task) = desk.task.lock().await.take() {
                let _ = task.await;
            }
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Some(desk) = &self.writer {
            desk.queue.close();
        }
    }
}

impl Desk {
    fn drop_some(&self, records: u64) {
        if records > 0 && self.counts.dropped.fetch_add(records, Ordering::Relaxed) == 0 {
            // Once: afterwards the gauge tells.
            tracing::warn!("decisions come faster than the journal is written: some will be missing from it");
        }
    }
}

/// A connection that writes.
async fn connect(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    options(path)
        // Takes effect only in a file without tables, so at the first start.
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .connect()
        .await
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(BUSY)
        .disable_statement_logging()
}

async fn readers(path: &Path) -> Result<SqlitePool, Error> {
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options(path).read_only(true))
        .await
        .map_err(|e| cannot_open(path, e))
}

fn cannot_open(path: &Path, source: sqlx::Error) -> Error {
    Error::Open { path: path.to_owned(), source: Arc::new(source) }
}

fn key_file(path: &Path) -> PathBuf {
    path.with_extension("key")
}

/// The file whose name is longer by `suffix`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Since 1970; what does not fit is as far away as does.
fn nanoseconds(at: OffsetDateTime) -> i64 {
    let at = at.unix_timestamp_nanos();
    i64::try_from(at).unwrap_or(if at < 0 { i64::MIN } else { i64::MAX })
}
