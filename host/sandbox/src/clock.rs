use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A deadline that stands still while the guest waits for the host.
pub(crate) struct Clock {
    start: Instant,
    /// Nanoseconds after `start`; [`PAUSED`] during a host call.
    end: AtomicU64,
    /// Nanoseconds that it stood still.
    waited: AtomicU64,
    deadline: Duration,
}

const PAUSED: u64 = u64::MAX;

/// When a guest's clock was stopped, and its deadline then.
pub(crate) struct Stop {
    at: Instant,
    end: u64,
}

impl Clock {
    pub(crate) fn start(deadline: Duration) -> Self {
        Clock {
            start: Instant::now(),
            end: AtomicU64::new(nanos(deadline)),
            waited: AtomicU64::new(0),
            deadline,
        }
    }

    /// Since the start, pauses included.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Nanoseconds before the deadline.
    pub(crate) fn remaining(&self) -> u64 {
        self.end_nanos().saturating_sub(nanos(self.elapsed()))
    }

    pub(crate) fn is_over(&self) -> bool {
        self.remaining() == 0
    }

    /// When to look at the clock again.
    pub(crate) fn end(&self, host_time: Duration) -> tokio::time::Instant {
        let end = match self.end_nanos() {
            PAUSED => self.deadline.saturating_add(host_time),
            end => Duration::from_nanos(end),
        };
        self.start.checked_add(end).unwrap_or(self.start).into()
    }

    /// Whether a look at the clock came too early.
    pub(crate) fn left(&self, host_time: Duration) -> bool {
        self.start.elapsed() < self.deadline.saturating_add(host_time) && !self.is_over()
    }

    /// Stops it.
    pub(crate) fn pause(&self) -> Stop {
        Stop { at: Instant::now(), end: self.end.swap(PAUSED, Ordering::Relaxed) }
    }

    /// Lets it go on, and tells how long it stood still.
    pub(crate) fn resume(&self, since: Stop) -> Duration {
        let spent = since.at.elapsed();
        self.end.store(since.end.saturating_add(nanos(spent)), Ordering::Relaxed);
        self.waited.fetch_add(nanos(spent), Ordering::Relaxed);
        spent
    }

    /// How long it stood still, until it last went on.
    pub(crate) fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited.load(Ordering::Relaxed))
    }

    fn end_nanos(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(PAUSED - 1)
}
