//! The one writer: a task that owns the only writing connection and commits in groups.
//!
//! A commit costs an fsync, so whatever has queued up behind the last one shares the next. Each
//! piece of work runs inside a savepoint of its own: one that fails takes only itself back. No answer
//! is given before the commit. Because the task does the work, a caller that goes away (a client
//! that hangs up) leaves no half transaction behind: its write happens as a whole.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use sqlx::{Connection, SqliteConnection};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::Error;
use crate::lock::Lock;

/// Writes that may wait for the writer; beyond it, callers wait for a place.
const QUEUE: usize = 1024;
/// Writes that share one commit.
const GROUP: usize = 128;

/// The future of a piece of work on the writing connection.
pub(crate) type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'c>>;

/// Tells the caller how it went, once the commit is known to have held or not.
type Settle = Box<dyn FnOnce(Result<(), Arc<sqlx::Error>>) + Send>;
type Ran<'c> = Pin<Box<dyn Future<Output = (bool, Settle)> + Send + 'c>>;

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
    pub(crate) fn start(connection: SqliteConnection, lock: Lock) -> Writer {
        let (queue, messages) = mpsc::channel(QUEUE);
        let task = tokio::spawn(async move {
            run(connection, messages).await;
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
            let keep = outcome.is_ok();
            let settle: Settle = Box::new(move |committed| {
                let answer = outcome.and_then(|value| match committed {
                    Ok(()) => Ok(value),
                    Err(error) => Err(Error::not_committed(error)),
                });
                // Nobody may be listening any more; the write stands all the same.
                let _ = reply.send(answer);
            });
            (keep, settle)
        })
    }

    fn refuse(self: Box<Self>) -> Settle {
        let reply = self.reply;
        Box::new(move |committed| {
            let error = committed.err().map_or(Error::Closed, Error::not_committed);
            let _ = reply.send(Err(error));
        })
    }
}

async fn run(mut connection: SqliteConnection, mut messages: mpsc::Receiver<Message>) {
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
            commit(&mut connection, jobs).await;
        }
    }
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "the store's database did not close cleanly");
    }
}

/// One transaction for all of `jobs`.
async fn commit(connection: &mut SqliteConnection, jobs: Vec<Box<dyn Job>>) {
    let mut settles = Vec::with_capacity(jobs.len());
    let outcome = group(connection, jobs, &mut settles).await;
    if outcome.is_err() {
        // It may be gone already: SQLite rolls back by itself when the disk is full.
        let _ = sqlx::query("ROLLBACK").execute(&mut *connection).await;
    }
    let outcome = outcome.map_err(Arc::new);
    for settle in settles {
        settle(outcome.clone());
    }
}

async fn group(
    connection: &mut SqliteConnection,
    jobs: Vec<Box<dyn Job>>,
    settles: &mut Vec<Settle>,
) -> Result<(), sqlx::Error> {
    // IMMEDIATE takes the write lock at once, so that what a job reads cannot change under it.
    let mut broken = sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await.err();
    for job in jobs {
        if broken.is_none() {
            broken = sqlx::query("SAVEPOINT job").execute(&mut *connection).await.err();
        }
        if broken.is_some() {
            settles.push(job.refuse());
            continue;
        }
        let (keep, settle) = job.run(connection).await;
        settles.push(settle);
        // Where SQLite rolled everything back by itself, there is no savepoint left and this fails:
        // then the earlier jobs of the group are lost too, and are told so.
        let end = if keep { "RELEASE job" } else { "ROLLBACK TO job" };
        broken = sqlx::query(end).execute(&mut *connection).await.err();
    }
    match broken {
        Some(error) => Err(error),
        None => sqlx::query("COMMIT").execute(&mut *connection).await.map(|_| ()),
    }
}
