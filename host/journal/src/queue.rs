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
/// The same while somebody waits for one of them.
const QUICK_GROUP: usize = 64;
/// Bytes that share one commit, unless the first record alone has more.
const GROUP_BYTES: usize = 8 * 1024 * 1024;
/// How long the first record of a group waits for others.
const GATHER: Duration = Duration::from_millis(50);

pub(crate) struct Waiting {
    /// Its number, by the order of arrival. [`Queue::push`] gives it.
    pub(crate) seq: i64,
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

struct Inner {
    /// The number of the next record, above all that were given. None is given twice.
    next: i64,
    /// Those that somebody waits for go first.
    urgent: VecDeque<Waiting>,
    others: VecDeque<Waiting>,
    weight: usize,
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
    /// `next`: the number of the first record.
    pub(crate) fn new(limit: usize, next: i64) -> Queue {
        let (urgent, others) = (VecDeque::new(), VecDeque::new());
        let inner = Inner { next, urgent, others, weight: 0, closed: false };
        Queue { inner: Mutex::new(inner), arrived: Notify::new(), limit: limit.max(1) }
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Takes a record; says how many of the oldest were dropped for it.
    pub(crate) fn push(&self, mut new: Waiting) -> Result<u64, Error> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(Error::Closed);
        }
        new.seq = inner.next;
        inner.next = inner.next.saturating_add(1);
        inner.weight = inner.weight.saturating_add(new.weight);
        if new.reply.is_some() {
            inner.urgent.push_back(new)
        } else {
            inner.others.push_back(new)
        }
        let mut dropped = 0;
        while inner.len() > self.limit || inner.weight > WAITING {
            // Somebody waits for the urgent ones, so there are no more of them than callers.
            let Some(oldest) = inner.others.pop_front() else { break };
            inner.weight = inner.weight.saturating_sub(oldest.weight);
            dropped += 1;
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
                let full = inner.len() >= GROUP || inner.weight >= GROUP_BYTES;
                let due = until.is_some_and(|until| until <= Instant::now());
                if inner.len() == 0 {
                    if inner.closed {
                        return Next::Closed;
                    }
                    if quiet <= Instant::now() {
                        return Next::Quiet;
                    }
                } else if full || due || inner.closed || !inner.urgent.is_empty() {
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
    fn len(&self) -> usize {
        self.urgent.len().saturating_add(self.others.len())
    }

    /// The next group, in the order of arrival.
    fn take(&mut self) -> Vec<Waiting> {
        let most = if self.urgent.is_empty() { GROUP } else { QUICK_GROUP };
        let (mut group, mut bytes) = (Vec::new(), 0usize);
        while group.len() < most {
            let from = if self.urgent.is_empty() { &mut self.others } else { &mut self.urgent };
            let Some(next) = from.front() else { break };
            bytes = bytes.saturating_add(next.weight);
            if bytes > GROUP_BYTES && !group.is_empty() {
                break;
            }
            let Some(next) = from.pop_front() else { break };
            self.weight = self.weight.saturating_sub(next.weight);
            group.push(next);
        }
        group.sort_by_key(|waiting| waiting.seq);
        group
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(weight: usize, urgent: bool) -> Waiting {
        let reply = urgent.then(|| oneshot::channel().0);
        Waiting { seq: 0, record: crate::writer::tests::record("id", 0), weight, reply }
    }

    fn take(queue: &Queue) -> Vec<i64> {
        queue.lock().take().into_iter().map(|waiting| waiting.seq).collect()
    }

    #[test]
    fn whoever_is_waited_for_goes_first_in_a_small_group_and_numbers_are_those_of_arrival() {
        let queue = Queue::new(1000, 7);
        for n in 0..300 {
            queue.push(waiting(1, n == 200)).unwrap();
        }
        let first = take(&queue);
        assert_eq!(first.len(), QUICK_GROUP);
        assert_eq!((first.first(), first.last()), (Some(&7), Some(&207)), "{first:?}");
        assert!(first.is_sorted());
        let second = take(&queue);
        assert_eq!((second.len(), second.first()), (300 - QUICK_GROUP, Some(&70)));
        assert_eq!(queue.lock().weight, 0);
    }

    #[test]
    fn the_oldest_that_nobody_waits_for_are_dropped() {
        let queue = Queue::new(2, 1);
        let dropped: Vec<_> =
            [true, false, false, true].map(|urgent| queue.push(waiting(1, urgent)).unwrap()).to_vec();
        assert_eq!(dropped, [0, 0, 1, 1]);
        assert_eq!(take(&queue), [1, 4]);
    }
}
