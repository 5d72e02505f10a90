//! The one writer: a task that owns the only writing connection and commits in groups.
//!
//! A disk that fails or is full loses the group (its records are counted, and those somebody waits for
//! answer the error), never the writer: the next group starts over.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::is_no_transaction;
use crate::group::Group;
use crate::lock::Lock;
use crate::prune::Bounds;
use crate::queue::{Next, Queue, Waiting};
use crate::seal::Key;
use crate::{Error, Record, connect};

/// How often it is looked whether anything is too old.
const LOOK: Duration = Duration::from_secs(60);
/// After so many records, or bytes of them, it is looked whether there is too much.
const TIDY: usize = 64;
const TIDY_BYTES: usize = 256 * 1024;
/// So few bytes are sealed at once: to go to another thread for them costs more than it spares.
const SMALL: usize = 32 * 1024;
/// A blob that is used again is kept for so much of the journal's length in advance, so that it need
/// not be written down at each use. It may stay by as much too long.
const IN_ADVANCE: i64 = 16;

/// What the writer counts.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) written: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) failed: AtomicU64,
}

pub(crate) struct Writer {
    pub(crate) path: PathBuf,
    pub(crate) key: Arc<Key>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) bounds: Bounds,
    /// `None` while the disk does not let us have one.
    pub(crate) connection: Option<SqliteConnection>,
    /// The connection syncs at each commit.
    pub(crate) syncs: bool,
    /// Above the numbers of all records that were written.
    pub(crate) next: i64,
    /// The last group was lost, and it was said.
    pub(crate) failing: bool,
}

type Reply = Option<oneshot::Sender<Result<(), Error>>>;

impl Writer {
    /// The lock goes when the connection has gone, not before.
    pub(crate) async fn run(mut self, lock: Lock) {
        let mut look_at = Instant::now();
        let (mut records, mut bytes, mut more) = (0usize, 0usize, false);
        loop {
            let look = look_at <= Instant::now();
            if look {
                self.bounds.look();
                look_at = Instant::now() + LOOK;
            }
            if look || more || records >= TIDY || bytes >= TIDY_BYTES {
                more = self.tidy(records).await;
                (records, bytes) = (0, 0);
            }
            let quiet = if more { Instant::now() } else { look_at };
            match self.queue.next(quiet).await {
                Next::Quiet => {}
                Next::Closed => break,
                Next::Commit(group) => {
                    records = records.saturating_add(group.len());
                    bytes = group.iter().fold(bytes, |sum, waiting| sum.saturating_add(waiting.weight));
                    self.commit(group).await;
                }
            }
        }
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "the journal's database did not close cleanly");
        }
        drop(lock);
    }

    /// Removes what is too old or too much, a little at a time; says whether there is more to do.
    async fn tidy(&mut self, after: usize) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        match self.bounds.keep(connection, self.next, after).await {
            Ok(more) => more,
            Err(error) => {
                let error = Error::from(error);
                tracing::warn!(%error, "the journal could not be pruned; it will be tried again");
                self.recover(&error).await;
                false
            }
        }
    }

    async fn commit(&mut self, group: Vec<Waiting>) {
        let bytes = group.iter().fold(0usize, |sum, waiting| sum.saturating_add(waiting.weight));
        let (records, replies): (Vec<_>, Vec<Reply>) =
            group.into_iter().map(|w| ((w.seq, w.record), w.reply)).unzip();
        let durable = replies.iter().any(Option::is_some);
        let count = u64::try_from(replies.len()).unwrap_or(u64::MAX);
        let outcome = self.write(records, durable, bytes <= SMALL).await;
        match &outcome {
            Ok(taken) => {
                let taken = taken.iter().filter(|id| id.is_ok()).count();
                let taken = u64::try_from(taken).unwrap_or(u64::MAX);
                self.counts.written.fetch_add(taken, Ordering::Relaxed);
                self.counts.failed.fetch_add(count.saturating_sub(taken), Ordering::Relaxed);
            }
            Err(error) => {
                self.counts.failed.fetch_add(count, Ordering::Relaxed);
                self.recover(error).await;
            }
        }
        self.say(outcome.as_ref().err());
        let answers = match outcome {
            Ok(taken) => taken,
            Err(error) => vec![Err(error); replies.len()],
        };
        for (reply, answer) in replies.into_iter().zip(answers) {
            if let Some(reply) = reply {
                // Nobody may be listening any more.
                let _ = reply.send(answer);
            }
        }
    }

    /// One answer for each record, or one error for all.
    async fn write(
        &mut self,
        records: Vec<(i64, Record)>,
        durable: bool,
        small: bool,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                self.syncs = false;
                connect(&self.path).await?
            }
        };
        let connection = self.connection.insert(connection);
        let last = records.iter().map(|(seq, _)| seq.saturating_add(1)).max().unwrap_or(0);
        self.next = self.next.max(last);
        let group = Group::of(connection, &self.key, records, small).await?;
        let length = self.next.saturating_sub(self.bounds.oldest()).max(0);
        let through = self.next.saturating_add(length / IN_ADVANCE);
        // The level cannot change inside a transaction.
        if durable != self.syncs {
            let level = if durable { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" };
            sqlx::query(level).execute(&mut *connection).await?;
            self.syncs = durable;
        }
        group.write(connection, self.key.id(), through).await
    }

    /// Makes sure that nothing of a broken transaction is left for the next one to commit.
    async fn recover(&mut self, error: &Error) {
        let Some(mut connection) = self.connection.take() else { return };
        let sound = match sqlx::query("ROLLBACK").execute(&mut connection).await {
            Ok(_) => true,
            Err(error) => is_no_transaction(&error),
        };
        let normal = sqlx::query("PRAGMA synchronous = NORMAL").execute(&mut connection).await.is_ok();
        self.syncs = false;
        // After an error of the disk, what a connection remembers of it may not be what is there.
        if sound && normal && !matches!(error, Error::Disk(_)) {
            self.connection = Some(connection);
        } else {
            let _ = connection.close().await;
        }
    }

    /// Says that decisions are missing, once, and once when none are any more.
    fn say(&mut self, error: Option<&Error>) {
        let failed = self.counts.failed.load(Ordering::Relaxed);
        match error {
            Some(error) if !self.failing => {
                tracing::error!(%error, "decisions are missing from the journal, and will be until this ends");
            }
            None if self.failing => {
                tracing::warn!(failed, "the journal is written again; so many decisions are missing from it");
            }
            _ => {}
        }
        self.failing = error.is_some();
    }
}

/// The number that no record or blob has reached yet.
pub(crate) async fn next_number(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let row = sqlx::query(
        "SELECT max(coalesce((SELECT max(seq) FROM records), 0),
                    coalesce((SELECT max(through) FROM blobs), 0)) + 1 AS next",
    )
    .fetch_one(connection)
    .await?;
    row.try_get("next")
}

#[cfg(test)]
pub(crate) mod tests {
    use sqlx::ConnectOptions;

    use super::*;
    use crate::{Journal, Kind, Mode, Record, Settings, schema};

    pub(crate) fn record(id: &str, bytes: u64) -> Record {
        Record {
            id: id.to_owned(),
            at: time::OffsetDateTime::now_utc(),
            kind: Kind::Approval,
            certname: "node".to_owned(),
            occasion: None,
            peer: None,
            // Does not deflate.
            input: (0..bytes / 16).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect(),
            set: "set".to_owned(),
            mode: Mode::Live,
            asked: vec![],
            verdict: "approve".to_owned(),
            reason: String::new(),
            by: None,
            because: vec![],
            answer: None,
            took: Duration::ZERO,
        }
    }

    async fn writer(path: &std::path::Path) -> Writer {
        schema::create_file(path).unwrap();
        let mut connection = connect(path).await.unwrap();
        schema::migrate(path, &mut connection).await.unwrap();
        Writer {
            path: path.to_owned(),
            key: Arc::new(Key::open_or_make(&path.with_extension("key")).unwrap()),
            queue: Arc::new(Queue::new(9, 1)),
            counts: Arc::default(),
            bounds: Bounds::new(Duration::from_secs(99), 1 << 30, crate::beside(path, "-wal")),
            connection: Some(connection),
            syncs: false,
            next: 1,
            failing: false,
        }
    }

    async fn commit(writer: &mut Writer, id: &str, bytes: u64) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        writer
            .commit(vec![Waiting {
                seq: writer.next,
                record: record(id, bytes),
                weight: 1,
                reply: Some(reply),
            }])
            .await;
        answer.await.unwrap()
    }

    async fn pragma(writer: &mut Writer, pragma: &'static str) -> i64 {
        let connection = writer.connection.as_mut().unwrap();
        sqlx::query(pragma).fetch_one(connection).await.unwrap().try_get(0).unwrap()
    }

    // users-complain row 45
    #[tokio::test]
    async fn a_full_disk_loses_a_group_says_so_and_the_next_one_goes_on() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("journal.db");
        let mut writer = writer(&path).await;
        assert_eq!(commit(&mut writer, "before", 100).await.ok(), Some(()));
        pragma(&mut writer, "PRAGMA max_page_count = 1").await;
        let refused = commit(&mut writer, "lost", 1_000_000).await;
        assert!(matches!(refused, Err(Error::Full)), "{refused:?}");
        assert_eq!(pragma(&mut writer, "PRAGMA synchronous").await, 1, "back to NORMAL");
        assert_eq!(writer.counts.failed.load(Ordering::Relaxed), 1);
        pragma(&mut writer, "PRAGMA max_page_count = 1000000").await;
        assert_eq!(commit(&mut writer, "after", 1_000_000).await.ok(), Some(()));
        drop(writer);
        let journal = Journal::open(&path, Settings::default()).await.unwrap();
        let ids: Vec<_> = journal.of("node", 9).await.unwrap().into_iter().map(|e| e.id).collect();
        assert_eq!(ids, ["after", "before"]);
        assert_eq!(journal.get("after").await.unwrap().unwrap().input, record("", 1_000_000).input);
    }

    // faults row 23
    #[tokio::test]
    async fn after_an_error_of_the_disk_the_writer_goes_on_with_a_new_connection() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("journal.db");
        let mut writer = writer(&path).await;
        let broken = crate::options(&path).read_only(true).connect().await.unwrap();
        writer.connection = Some(broken);
        let refused = commit(&mut writer, "lost", 9).await;
        assert!(matches!(refused, Err(Error::Disk(_))), "{refused:?}");
        assert!(writer.connection.is_none() && writer.failing);
        assert_eq!(commit(&mut writer, "after", 9).await.ok(), Some(()));
        assert_eq!(pragma(&mut writer, "SELECT count(*) FROM records").await, 1);
        assert!(!writer.failing);
    }

    #[tokio::test]
    async fn a_group_that_somebody_waits_for_is_synced_and_others_are_not() {
        let folder = tempfile::TempDir::new().unwrap();
        let mut writer = writer(&folder.path().join("journal.db")).await;
        let connection = writer.connection.as_mut().unwrap();
        // Tells the level at which the row was written, from inside the transaction that wrote it.
        for sql in [
            "CREATE TABLE levels (level INTEGER)",
            "CREATE TRIGGER level AFTER INSERT ON records BEGIN
               INSERT INTO levels SELECT synchronous FROM pragma_synchronous; END",
        ] {
            sqlx::query(sql).execute(&mut *connection).await.unwrap();
        }
        writer
            .commit(vec![Waiting { seq: writer.next, record: record("a", 9), weight: 1, reply: None }])
            .await;
        commit(&mut writer, "b", 9).await.unwrap();
        writer
            .commit(vec![Waiting { seq: writer.next, record: record("c", 9), weight: 1, reply: None }])
            .await;
        let connection = writer.connection.as_mut().unwrap();
        let rows = sqlx::query("SELECT level FROM levels").fetch_all(connection).await.unwrap();
        let levels: Vec<i64> = rows.iter().map(|row| row.try_get(0).unwrap()).collect();
        assert_eq!(levels, [1, 2, 1]);
    }
}
