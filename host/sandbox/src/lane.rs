//! Who runs first. A guest that is done at once just runs. One that is not,
//! and every call of a plugin that is known not to be, takes turns with its
//! kind, so that a thread is left to agents and to well-behaved guests.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a guest stands aside before its next turn. Only a worker that
/// finds nothing to run looks at sockets at once, so yielding is not enough.
const ASIDE: Duration = Duration::from_millis(1);
/// A plugin is slow if its calls take this long, in nanoseconds: tens of times
/// what a small plugin takes.
const SLOW: u64 = 500_000;

/// The turns of guests that are slow.
///
/// There is one less than the machine has threads.
pub(crate) fn turns() -> Arc<Semaphore> {
    let threads = available_parallelism().map_or(1, usize::from);
    Arc::new(Semaphore::new(threads.saturating_sub(1).max(1)))
}

/// How long a plugin's calls took lately, without what they waited for.
#[derive(Default)]
pub(crate) struct Pace {
    nanos: AtomicU64,
}

impl Pace {
    /// Whether its calls take turns from their beginning.
    pub(crate) fn is_slow(&self) -> bool {
        self.nanos.load(Ordering::Relaxed) >= SLOW
    }

    /// Adds a call. One slow call among fast ones says more about the machine
    /// than about the plugin; three say enough.
    pub(crate) fn add(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).min(4 * SLOW);
        let before = self.nanos.load(Ordering::Relaxed);
        // Two calls that end at once may lose one of them, which does not matter.
        self.nanos.store((before.saturating_mul(7).saturating_add(took)) / 8, Ordering::Relaxed);
    }
}

/// One guest's turn, while it has one.
pub(crate) type Turn = Arc<Mutex<Option<OwnedSemaphorePermit>>>;

/// One guest's place among the slow ones.
pub(crate) struct Lane {
    turns: Arc<Semaphore>,
    turn: Turn,
}

impl Lane {
    /// A guest that may have its first turn already.
    pub(crate) fn new(turns: Arc<Semaphore>, turn: Turn) -> Self {
        Lane { turns, turn }
    }

    /// Ends the guest's turn and waits for its next one.
    pub(crate) fn give_way(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.leave();
        let (turns, turn) = (Arc::clone(&self.turns), Arc::clone(&self.turn));
        Box::pin(async move {
            tokio::time::sleep(ASIDE).await;
            let next = turns.acquire_owned().await.ok();
            *turn.lock().unwrap_or_else(PoisonError::into_inner) = next;
        })
    }

    /// Ends the guest's turn, if it has one.
    pub(crate) fn leave(&self) {
        drop(self.turn.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_slow_after_three_slow_calls_and_fast_after_some_fast_ones() {
        let pace = Pace::default();
        let check = |calls: u32, took: Duration, expected: bool| {
            (0..calls).for_each(|_| pace.add(took));
            assert_eq!(pace.is_slow(), expected, "after {calls} of {took:?}");
        };
        let (fast, slow) = (Duration::from_micros(20), Duration::from_millis(100));
        check(100, fast, false);
        check(2, slow, false);
        check(1, slow, true);
        check(100, slow, true);
        check(12, fast, false);
    }
}
