//! Who runs first. A guest that is done at once just runs. One that is not,
//! and every call of a plugin that is known not to be, takes turns with its
//! kind, so that a thread is left to agents and to well-behaved guests.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Processor time that a guest may use before it has to take turns.
pub(crate) const AT_ONCE: Duration = Duration::from_millis(5);
/// How long a guest stands aside before its next turn. Only a worker that
/// finds nothing to run looks at sockets at once, so yielding is not enough.
const ASIDE: Duration = Duration::from_millis(1);
/// A plugin is slow if its calls use this many nanoseconds of a processor: tens
/// of times what a small plugin uses.
const SLOW: u64 = 500_000;

/// Turns for guests that are slow: one less than the machine has threads.
///
/// A plugin has as many of its own, and only with one of those a guest waits
/// for one of the sandbox's: so many calls of one plugin wait behind each
/// other, and not before those of another.
pub(crate) fn turns() -> Arc<Semaphore> {
    let threads = available_parallelism().map_or(1, usize::from);
    Arc::new(Semaphore::new(threads.saturating_sub(1).max(1)))
}

/// What a plugin's calls used of a processor lately.
#[derive(Default)]
pub(crate) struct Pace {
    nanos: AtomicU64,
}

impl Pace {
    /// Whether its calls take turns from their beginning.
    pub(crate) fn is_slow(&self) -> bool {
        self.nanos.load(Ordering::Relaxed) >= SLOW
    }

    /// Adds a call. A slow one among fast ones may be a chance; three are none.
    pub(crate) fn add(&self, used: Duration) {
        let used = u64::try_from(used.as_nanos()).unwrap_or(u64::MAX).min(4 * SLOW);
        let before = self.nanos.load(Ordering::Relaxed);
        // Two calls that end at once may lose one of them, which does not matter.
        self.nanos.store((before.saturating_mul(7).saturating_add(used)) / 8, Ordering::Relaxed);
    }
}

/// One guest's place among the slow ones. Its clones are the same place.
#[derive(Clone)]
pub(crate) struct Lane {
    of_plugin: Arc<Semaphore>,
    of_sandbox: Arc<Semaphore>,
    turn: Arc<Mutex<Option<[OwnedSemaphorePermit; 2]>>>,
}

impl Lane {
    pub(crate) fn new(of_plugin: &Arc<Semaphore>, of_sandbox: &Arc<Semaphore>) -> Self {
        Lane { of_plugin: Arc::clone(of_plugin), of_sandbox: Arc::clone(of_sandbox), turn: Arc::default() }
    }

    /// Waits for a turn.
    pub(crate) async fn enter(self) {
        let Ok(ours) = self.of_plugin.acquire_owned().await else { return };
        let Ok(turn) = self.of_sandbox.acquire_owned().await else { return };
        *self.turn.lock().unwrap_or_else(PoisonError::into_inner) = Some([ours, turn]);
    }

    /// Ends the guest's turn and waits for its next one.
    pub(crate) fn give_way(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.leave();
        let next = self.clone();
        Box::pin(async move {
            tokio::time::sleep(ASIDE).await;
            next.enter().await;
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
