//! Turns of slow guests on the threads that they have ([`crate::apart`]), so
//! that many calls of one plugin wait behind each other, and not before those
//! of another.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Processor time that a guest may use before it is slow: then it goes on
/// apart, at the next tick.
pub(crate) const AT_ONCE: Duration = Duration::from_millis(1);
/// A plugin is slow at a kind of question if its calls use this many nanoseconds
/// of a processor: several times what a small plugin uses, and what going apart costs.
const SLOW: u64 = 100_000;

/// As many turns as this.
pub(crate) fn turns(most: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(most.max(1)))
}

/// What a plugin's calls of one kind used of a processor lately.
pub(crate) struct Pace {
    nanos: AtomicU64,
}

/// That of each kind.
#[derive(Default)]
pub(crate) struct Paces {
    pub(crate) manifest: Arc<Pace>,
    pub(crate) approver: Arc<Pace>,
    pub(crate) classifier: Arc<Pace>,
    pub(crate) provider: Arc<Pace>,
}

impl Default for Pace {
    /// A new plugin is slow until it has shown that it is not.
    fn default() -> Self {
        Pace { nanos: AtomicU64::new(2 * SLOW) }
    }
}

impl Pace {
    /// Whether such calls run apart from their beginning.
    pub(crate) fn is_slow(&self) -> bool {
        self.nanos.load(Ordering::Relaxed) >= SLOW
    }

    /// Adds a call. A slow one among fast ones may be a chance: a machine that
    /// is not ours alone takes the processor away, and it looks as if it were used.
    pub(crate) fn add(&self, used: Duration) {
        let used = u64::try_from(used.as_nanos()).unwrap_or(u64::MAX).min(4 * SLOW);
        let before = self.nanos.load(Ordering::Relaxed);
        // Two calls that end at once may lose one of them, which does not matter.
        self.nanos.store((before.saturating_mul(7).saturating_add(used)) / 8, Ordering::Relaxed);
    }
}

/// One guest's place among the slow ones. Its clones are the same place.
///
/// A plugin has turns of its own, and only with one of those a guest waits for
/// one of the sandbox's.
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
            // Also where a guest nobody waits for any more is ended.
            tokio::task::yield_now().await;
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
    fn a_plugin_is_slow_at_first_and_after_slow_calls_and_fast_after_fast_ones() {
        let pace = Pace::default();
        let check = |calls: u32, took: Duration, expected: bool| {
            (0..calls).for_each(|_| pace.add(took));
            assert_eq!(pace.is_slow(), expected, "after {calls} of {took:?}");
        };
        let (fast, slow) = (Duration::from_micros(20), Duration::from_millis(100));
        check(5, fast, true);
        check(100, fast, false);
        check(1, slow, false);
        check(2, slow, true);
        check(100, slow, true);
        check(15, fast, false);
    }
}
