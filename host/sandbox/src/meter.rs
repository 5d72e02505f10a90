use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// What one guest takes: memory, and processor time, whichever threads it ran
/// on. On a busy machine that says who is slow; time on the wall says only that
/// the machine is busy.
#[derive(Default)]
pub(crate) struct Meter {
    /// Nanoseconds until the guest was last continued.
    before: AtomicU64,
    /// The thread's clock when that was.
    since: AtomicU64,
    memory: AtomicU64,
}

impl Meter {
    /// Runs the guest, and counts.
    pub(crate) async fn count<F: Future>(&self, guest: F) -> F::Output {
        let mut guest = pin!(guest);
        poll_fn(|context| {
            self.since.store(thread_nanos(), Ordering::Relaxed);
            let polled = guest.as_mut().poll(context);
            self.before.fetch_add(self.running(), Ordering::Relaxed);
            polled
        })
        .await
    }

    /// What the guest has used; while it runs, to be asked on its own thread.
    pub(crate) fn used(&self, runs: bool) -> Duration {
        let running = if runs { self.running() } else { 0 };
        Duration::from_nanos(self.before.load(Ordering::Relaxed).saturating_add(running))
    }

    /// Notes how many bytes of linear memory the guest holds. It never gives any back.
    pub(crate) fn hold(&self, bytes: usize) {
        self.memory.store(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The most linear memory that the guest held, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }

    fn running(&self) -> u64 {
        thread_nanos().saturating_sub(self.since.load(Ordering::Relaxed))
    }
}

fn thread_nanos() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_counts_for_nothing_and_work_for_all_of_it() {
        let meter = Meter::default();
        let worked = meter
            .count(async {
                let before = thread_nanos();
                while thread_nanos() - before < 2_000_000 {}
                tokio::time::sleep(Duration::from_millis(50)).await;
                meter.used(true)
            })
            .await;
        let used = meter.used(false);
        let expected = Duration::from_millis(2)..Duration::from_millis(20);
        assert!(expected.contains(&worked) && expected.contains(&used), "{worked:?}, {used:?}");
    }
}
