//! Records that wait for the writer: bounded in number and in bytes.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::{Error, Record};

/// Bytes of records that wait.
const WAITING: usize = 64 * 1024 * 1024;
/// Records that share one commit.
const GROUP: usize = 256;
/// Bytes that share one commit, unless the first record alone has more.
const GROUP_BYTES: usize = 8 * 1024 * 1024;
/// How long the first record of a group waits for others.
const GATHER: Duration = Duration::from_millis(50);

pub(crate) struct Waiting {
    pub(crate) record: Record,
    /// Roughly its bytes.
    pub(crate) weight: usize,
    /// Somebody waits until it is durable: it is never dropped, and not kept waiting.
    pub(crate) reply: Option<oneshot::Sender<Result<(), Error>>>,
}

pub(crate) struct Queue {
    inner: Mutex<Inner>,
    arrived: Notify,
    limit: usize,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Waiting>,
    weight: usize,
    urgent: usize,
    closed: bool,
}

/// What the writer is to do next.
pub(crate) enum Next {
    Commit(Vec<Waiting>),
    /// Nothing came.
    Quiet,
    Closed,
}

impl Queue {
    pub(crate) fn new(limit: usize) -> Queue {
        Queue { inner: Mutex::default(), arrived: Notify::new(), limit: limit.max(1) }
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Puts it at the end; says how many of the oldest were dropped for it.
    pub(crate) fn push(&self, new: Waiting) -> Result<u64, Error> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(Error::Closed);
        }
        inner.weight = inner.weight.saturating_add(new.weight);
        inner.urgent = inner.urgent.saturating_add(usize::from(new.reply.is_some()));
        inner.waiting.push_back(new);
        let mut dropped = 0;
        while inner.waiting.len() > self.limit || inner.weight > WAITING {
            // Somebody waits for the others, so there are no more of them than callers.
            let Some(oldest) = inner.waiting.iter().position(|w| w.reply.is_none()) else { break };
            if let Some(old) = inner.waiting.remove(oldest) {
                inner.weight = inner.weight.saturating_sub(old.weight);
                dropped += 1;
            }
        }
        drop(inner);
        self.arrived.notify_one();
        Ok(dropped)
    }

    /// No more is taken; what waits is still written.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_one();
    }

    /// The next group. Waits for a first record until `quiet`, and for others a moment longer.
    pub(crate) async fn next(&self, quiet: Instant) -> Next {
        let mut until = None;
        loop {
            {
                let mut inner = self.lock();
                let full = inner.waiting.len() >= GROUP || inner.weight >= GROUP_BYTES;
                let due = until.is_some_and(|until| until <= Instant::now());
                if inner.waiting.is_empty() {
                    if inner.closed {
                        return Next::Closed;
                    }
                    if quiet <= Instant::now() {
                        return Next::Quiet;
                    }
                } else if full || due || inner.closed || inner.urgent > 0 {
                    return Next::Commit(inner.take());
                } else if until.is_none() {
                    until = Some(Instant::now() + GATHER);
                }
            }
            let _ = tokio::time::timeout_at(until.unwrap_or(quiet), self.arrived.notified()).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn take(&mut self) -> Vec<Waiting> {
        let (mut group, mut bytes) = (Vec::new(), 0usize);
        while let Some(next) = self.waiting.front() {
            bytes = bytes.saturating_add(next.weight);
            if group.len() >= GROUP || (bytes > GROUP_BYTES && !group.is_empty()) {
                break;
            }
            let Some(next) = self.waiting.pop_front() else { break };
            self.weight = self.weight.saturating_sub(next.weight);
            self.urgent = self.urgent.saturating_sub(usize::from(next.reply.is_some()));
            group.push(next);
        }
        group
    }
}
