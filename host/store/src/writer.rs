//! The one writer: a task that owns the only writing connection and commits in groups.
//!
//! A commit costs an fsync, so whatever has queued up behind the last one shares the next. Each
//! piece of work runs inside a savepoint of its own: one that fails takes only itself back. No answer
//! is given before the commit. Because the task does the work, a caller that goes away (a client
//! that hangs up) leaves no half transaction behind: its write happens as a whole.
//!
//! A disk that fails or is full fails writes, never the writer: the next group starts over, on a new
//! connection where the old one is not to be trusted.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use sqlx::{Connection, SqliteConnection};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::error::{Fault, is_no_transaction};
use crate::lock::Lock;
use crate::{BUSY, Error, connect};

/// Writes that may wait for the writer; beyond it, callers wait for a place.
const QUEUE: usize = 1024;
/// Writes that share one commit.
const GROUP: usize = 128;
/// Bytes of the write-ahead log from which on the writer makes readers let go of it. SQLite by itself
/// starts the log anew only at a moment when nobody reads, and there may be none for hours.
const LOG: u64 = 64 * 1024 * 1024;
/// Bytes that the log grows by before that is tried again, should a long reader not have let go.
const LOG_STEP: u64 = 16 * 1024 * 1024;
/// How long writes wait for readers then.
const LET_GO: Duration = Duration::from_millis(250);

/// The future of a piece of work on the writing connection.
pub(crate) type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'c>>;

/// Tells the caller how it went, once the commit is known to have held or not.
type Settle = Box<dyn FnOnce(Result<(), Fault>) + Send>;
type Ran<'c> = Pin<Box<dyn Future<Output = (End, Settle)> + Send + 'c>>;

/// How a piece of work wants its savepoint to end.
enum End {
    Keep,
    /// With the fault it met, which may have rolled back the whole group.
    Undo(Option<Fault>),
}

trait Job: Send {
    /// Does the work; says whether to keep it.
    fn run<'c>(self: Box<Self>, connection: &'c mut SqliteConnection) -> Ran<'c>;
    /// The group broke before this one's turn.
    fn refuse(self: Box<Self>) -> Settle;
}

struct Piece<T, W> {
    work: W,
    reply: oneshot::Sender<Result<T, Error>>,
}

enum Message {
    Write(Box<dyn Job>),
    Close,
}

pub(crate) struct Writer {
    queue: mpsc::Sender<Message>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// The lock goes when the connection has gone, not before.
    pub(crate) fn start(path: &Path, connection: SqliteConnection, lock: Lock) -> Writer {
        let (queue, messages) = mpsc::channel(QUEUE);
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let desk =
            Desk { path: path.to_owned(), log: log.into(), retry_at: LOG, connection: Some(connection) };
        let task = tokio::spawn(async move {
            desk.run(messages).await;
            drop(lock);
        });
        Writer { queue, task: Mutex::new(Some(task)) }
    }

    /// Runs `work` in a transaction; its answer comes after the commit.
    pub(crate) async fn write<T, W>(&self, work: W) -> Result<T, Error>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let piece = Message::Write(Box::new(Piece { work, reply }));
        self.queue.send(piece).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }

    /// Finishes what is queued, then lets go of the connection and the lock.
    pub(crate) async fn close(&self) {
        let _ = self.queue.send(Message::Close).await;
        if let Some(task) = self.task.lock().await.take() {
            let _ = task.await;
        }
    }
}

impl<T, W> Job for Piece<T, W>
where
    T: Send + 'static,
    W: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
{
    fn run<'c>(self: Box<Self>, connection: &'c mut SqliteConnection) -> Ran<'c> {
        let Piece { work, reply } = *self;
        Box::pin(async move {
            let outcome = work(connection).await;
            let end = outcome.as_ref().map_or_else(|error| End::Undo(Fault::of(error)), |_| End::Keep);
            let settle: Settle = Box::new(move |committed| {
                let answer = outcome.and_then(|value| Ok(committed.map(|()| value)?));
                // Nobody may be listening any more; the write stands all the same.
                let _ = reply.send(answer);
            });
            (end, settle)
        })
    }

    fn refuse(self: Box<Self>) -> Settle {
        let reply = self.reply;
        Box::new(move |committed| {
            let _ = reply.send(Err(committed.err().map_or(Error::Closed, Error::from)));
        })
    }
}

/// What the task works with.
struct Desk {
    path: PathBuf,
    /// The file of the write-ahead log.
    log: PathBuf,
    /// The size of the log at which it is next tried to start it anew.
    retry_at: u64,
    /// `None` while the disk does not let us have one.
    connection: Option<SqliteConnection>,
}

impl Desk {
    async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        let mut open = true;
        while open {
            let mut jobs = Vec::new();
            let mut next = messages.recv().await;
            open = next.is_some();
            while let Some(message) = next.take() {
                match message {
                    Message::Write(job) => jobs.push(job),
                    Message::Close => {
                        open = false;
                        break;
                    }
                }
                if jobs.len() < GROUP {
                    next = messages.try_recv().ok();
                }
            }
            if !jobs.is_empty() {
                self.commit(jobs).await;
                self.bound_log().await;
            }
        }
        self.disconnect().await;
    }

    /// One transaction for all of `jobs`.
    async fn commit(&mut self, jobs: Vec<Box<dyn Job>>) {
        let mut settles = Vec::with_capacity(jobs.len());
        let outcome = match self.connected().await {
            Ok(connection) => group(connection, jobs, &mut settles).await,
            Err(fault) => {
                settles.extend(jobs.into_iter().map(|job| job.refuse()));
                Err(fault)
            }
        };
        if let Err(fault) = &outcome {
            tracing::error!(error = %Error::from(fault.clone()), writes = settles.len(), "nothing was written");
            self.recover(fault).await;
        }
        for settle in settles {
            settle(outcome.clone());
        }
    }

    /// Makes sure that nothing of a broken group is left for the next one to commit.
    async fn recover(&mut self, fault: &Fault) {
        let Some(connection) = &mut self.connection else { return };
        let sound = match sqlx::query("ROLLBACK").execute(&mut *connection).await {
            Ok(_) => true,
            // SQLite rolls back by itself when the disk is full.
            Err(error) => is_no_transaction(&error),
        };
        // After an error of the disk, what a connection remembers of it may not be what is there.
        if !sound || matches!(fault, Fault::Disk(_)) {
            self.disconnect().await;
        }
    }

    async fn connected(&mut self) -> Result<&mut SqliteConnection, Fault> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.path).await?,
        };
        Ok(self.connection.insert(connection))
    }

    async fn disconnect(&mut self) {
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "the store's database did not close cleanly");
        }
    }

    /// Keeps the log from growing without end beside readers that overlap.
    async fn bound_log(&mut self) {
        let size = std::fs::metadata(&self.log).map_or(0, |file| file.len());
        if size < self.retry_at {
            return;
        }
        if let Some(connection) = &mut self.connection
            && let Err(error) = start_log_anew(connection).await
        {
            tracing::warn!(%error, "the store's write-ahead log could not be folded in; it will be tried again");
        }
        let size = std::fs::metadata(&self.log).map_or(0, |file| file.len());
        self.retry_at = LOG.max(size.saturating_add(LOG_STEP));
    }
}

async fn start_log_anew(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let timeout = |time: Duration| sqlx::AssertSqlSafe(format!("PRAGMA busy_timeout = {}", time.as_millis()));
    sqlx::query(timeout(LET_GO)).execute(&mut *connection).await?;
    // Once all of the log is in the database, readers that begin no longer need the log; this waits for
    // those that began before. That a long one holds out is no error.
    let folded = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut *connection).await;
    sqlx::query(timeout(BUSY)).execute(&mut *connection).await?;
    folded.map(|_| ())
}

async fn group(
    connection: &mut SqliteConnection,
    jobs: Vec<Box<dyn Job>>,
    settles: &mut Vec<Settle>,
) -> Result<(), Fault> {
    // IMMEDIATE takes the write lock at once, so that what a job reads cannot change under it.
    let mut before_next = Some("BEGIN IMMEDIATE; SAVEPOINT job");
    let mut broken = None;
    for job in jobs {
        if let (None, Some(sql)) = (&broken, before_next.take()) {
            broken = execute(connection, sql).await.err();
        }
        if broken.is_some() {
            settles.push(job.refuse());
            continue;
        }
        let (end, settle) = job.run(connection).await;
        settles.push(settle);
        // Where SQLite rolled everything back by itself, there is no savepoint left and this fails:
        // then the earlier jobs of the group are lost too, and are told so, and why.
        match end {
            End::Keep => before_next = Some("RELEASE job; SAVEPOINT job"),
            // Its savepoint stays, for the next one.
            End::Undo(fault) => {
                broken = execute(connection, "ROLLBACK TO job").await.err().map(|e| fault.unwrap_or(e));
            }
        }
    }
    match broken {
        Some(fault) => Err(fault),
        // With the last savepoint.
        None => execute(connection, "COMMIT").await,
    }
}

async fn execute(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), Fault> {
    sqlx::query(sql).execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::oneshot;

    use crate::{Error, Store};

    async fn store() -> (tempfile::TempDir, Arc<Store>) {
        let folder = tempfile::TempDir::new().unwrap();
        let store = Store::open(&folder.path().join("state.db")).await.unwrap();
        (folder, Arc::new(store))
    }

    /// Keeps the writer busy until the answer is dropped, so that later writes make up one group.
    async fn block(store: &Arc<Store>) -> oneshot::Sender<()> {
        let (release, released) = oneshot::channel::<()>();
        let (began, begun) = oneshot::channel();
        let store = Arc::clone(store);
        tokio::spawn(async move {
            store
                .write(move |_| {
                    Box::pin(async move {
                        let _ = began.send(());
                        let _ = released.await;
                        Ok(())
                    })
                })
                .await
        });
        begun.await.unwrap();
        release
    }

    async fn add(store: &Store, key: &'static str, fail: bool) -> Result<(), Error> {
        store
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query("INSERT INTO meta (key, value) VALUES ($1, '')")
                        .bind(key)
                        .execute(connection)
                        .await?;
                    if fail { Err(Error::Closed) } else { Ok(()) }
                })
            })
            .await
    }

    #[tokio::test]
    async fn a_failed_write_takes_only_itself_out_of_the_group() {
        let (_folder, store) = store().await;
        let release = block(&store).await;
        let group =
            async { tokio::join!(add(&store, "a", false), add(&store, "b", true), add(&store, "c", false)) };
        let release = async {
            tokio::task::yield_now().await;
            drop(release);
        };
        let ((a, b, c), ()) = tokio::join!(group, release);
        assert!(a.is_ok() && b.is_err() && c.is_ok());
        let found = ["a", "b", "c"].map(|key| store.meta(key));
        let [a, b, c] = found;
        assert_eq!(
            (a.await.unwrap().is_some(), b.await.unwrap().is_some(), c.await.unwrap().is_some()),
            (true, false, true)
        );
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_leaves_a_whole_write() {
        let (_folder, store) = store().await;
        let release = block(&store).await;
        let caller = tokio::spawn({
            let store = Arc::clone(&store);
            async move { add(&store, "a", false).await }
        });
        tokio::task::yield_now().await;
        caller.abort();
        drop(release);
        add(&store, "b", false).await.unwrap();
        assert!(store.meta("a").await.unwrap().is_some());
    }

    // users-complain row 45
    #[tokio::test]
    async fn a_full_disk_refuses_writes_and_breaks_nothing() {
        let (_folder, store) = store().await;
        store.save_report("node", 0, "changed", b"kept").await.unwrap();
        let limit = |pages: i64| {
            let pragma = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
            store.write(move |connection| {
                Box::pin(async move { Ok(sqlx::query(pragma).execute(connection).await.map(|_| ())?) })
            })
        };
        limit(1).await.unwrap();
        // In one group: one that fits in the pages there are, and one that does not.
        let large = vec![0; 1 << 20];
        let (small, refused) =
            tokio::join!(add(&store, "small", false), store.save_report("node", 1, "changed", &large));
        assert!(matches!(refused, Err(Error::Full)), "{refused:?}");
        assert_eq!(
            store.meta("small").await.unwrap().is_some(),
            small.is_ok(),
            "the answer is true: {small:?}"
        );
        assert_eq!(store.reports("node", 9).await.unwrap().len(), 1);
        limit(1 << 30).await.unwrap();
        store.save_report("node", 2, "changed", &large).await.unwrap();
        assert_eq!(store.reports("node", 9).await.unwrap().len(), 2);
    }

    // faults row 23: what SQLite does by itself after some errors of the disk.
    #[tokio::test]
    async fn a_failed_disk_fails_a_group_and_the_next_one_goes_on() {
        let (_folder, store) = store().await;
        let release = block(&store).await;
        let broken = store.write(|connection| {
            Box::pin(async move {
                sqlx::query("ROLLBACK").execute(connection).await?;
                let failed = std::io::Error::from(std::io::ErrorKind::ReadOnlyFilesystem);
                Err::<(), _>(Error::Disk(Arc::new(sqlx::Error::Io(failed))))
            })
        });
        let group = async { tokio::join!(add(&store, "a", false), broken, add(&store, "c", false)) };
        let release = async {
            tokio::task::yield_now().await;
            drop(release);
        };
        let ((a, broken, c), ()) = tokio::join!(group, release);
        for outcome in [a, broken, c] {
            assert!(matches!(outcome, Err(Error::Disk(_))), "each is told why: {outcome:?}");
        }
        for key in ["a", "c"] {
            assert_eq!(store.meta(key).await.unwrap(), None);
            add(&store, key, false).await.unwrap();
        }
        assert!(store.meta("a").await.unwrap().is_some() && store.meta("c").await.unwrap().is_some());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn readers_that_overlap_do_not_let_the_log_grow_without_end() {
        let (folder, store) = store().await;
        let size = || std::fs::metadata(folder.path().join("state.db-wal")).unwrap().len();
        let look = async || {
            let mut reading = store.reader().await.unwrap();
            sqlx::query("BEGIN; SELECT count(*) FROM reports").execute(&mut *reading).await.unwrap();
            reading
        };
        let let_go = async |mut reading: crate::Reader| {
            sqlx::query("ROLLBACK").execute(&mut *reading).await.unwrap();
        };
        // A report of its own megabyte for each node, so that nothing is deleted.
        let body = vec![7; 1 << 20];
        let write = async |number: u64| {
            store.save_report(&format!("node{number}"), 1, "changed", &body).await.unwrap();
        };
        // At every moment there is a reader.
        let (stop, mut stopped) = oneshot::channel::<()>();
        let readers = async {
            let mut reading = look().await;
            while stopped.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
                let next = look().await;
                let_go(reading).await;
                reading = next;
                tokio::task::yield_now().await;
            }
            let_go(reading).await;
        };
        let writers = async {
            let mut largest = 0;
            for number in 0..160 {
                write(number).await;
                largest = largest.max(size());
            }
            drop(stop);
            largest
        };
        let ((), largest) = tokio::join!(readers, writers);
        assert!(largest <= super::LOG + super::LOG_STEP, "{largest}");

        // One reader that does not let go holds up the log, and nobody else; then the log shrinks.
        let reading = look().await;
        let mut number = 1000;
        while size() < super::LOG + 2 * super::LOG_STEP {
            write(number).await;
            number += 1;
        }
        let_go(reading).await;
        for last in 0..20 {
            write(number + last).await;
        }
        assert!(size() < super::LOG, "{}", size());
    }
}
