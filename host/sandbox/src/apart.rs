//! Threads for guests that take long. They have the processor when nobody else
//! wants it, so that agents and well-behaved guests notice nothing of them.
//!
//! On a machine that is busy all the time they would never have it. If no guest
//! has gone on for a moment, those that wait begin on threads like any other.

use std::future::poll_fn;
use std::io;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// How long a guest waits while none of them goes on.
const PATIENCE: Duration = Duration::from_millis(20);
/// For so long after that none waits.
const BUSY: Duration = Duration::from_secs(1);

/// A guest under way, free to go to other threads.
pub(crate) type Guest<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How many guests run at once: a processor is left to agents, where there is
/// more than one. Guests that pass from thread to thread would disturb, too: a
/// thread that was just woken runs for a while, whatever its priority.
pub(crate) fn threads() -> usize {
    available_parallelism().map_or(1, NonZeroUsize::get).saturating_sub(1).max(1)
}

pub(crate) struct Apart {
    idle: Threads,
    fair: Threads,
    /// How often a guest went on with `idle`. Each does at least once in a tick.
    turns: Arc<AtomicU64>,
    busy_until: Mutex<Option<Instant>>,
}

impl Apart {
    /// Starts the threads.
    pub(crate) fn start() -> io::Result<Self> {
        Ok(Apart {
            idle: Threads::start("sandbox-slow", stand_back)?,
            fair: Threads::start("sandbox-busy", || {})?,
            turns: Arc::default(),
            busy_until: Mutex::new(None),
        })
    }

    /// Runs a guest; without an answer if the host panicked. Dropping the future
    /// ends the guest at its next tick.
    pub(crate) async fn run<T: Send + 'static>(&self, guest: Guest<T>) -> Option<T> {
        if self.is_busy() {
            return self.fair.spawn(guest)?.await.ok();
        }
        let waiting = Arc::new(Mutex::new(Some(guest)));
        let (taken, turns) = (Arc::clone(&waiting), Arc::clone(&self.turns));
        let mut run = self.idle.spawn(async move {
            let mut guest = lock(&taken).take()?;
            let counted = poll_fn(|context| {
                turns.fetch_add(1, Ordering::Relaxed);
                guest.as_mut().poll(context)
            });
            Some(counted.await)
        })?;
        loop {
            let before = self.turns.load(Ordering::Relaxed);
            if let Ok(ran) = timeout(PATIENCE, &mut run).await {
                return ran.ok()?;
            }
            if before != self.turns.load(Ordering::Relaxed) {
                continue;
            }
            // Not while the lock is held.
            let left = lock(&waiting).take();
            let Some(guest) = left else { return run.await.ok()? };
            *lock(&self.busy_until) = Instant::now().checked_add(BUSY);
            return self.fair.spawn(guest)?.await.ok();
        }
    }

    fn is_busy(&self) -> bool {
        lock(&self.busy_until).is_some_and(|until| Instant::now() < until)
    }
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `None` only while it is being dropped.
struct Threads(Option<Runtime>);

impl Threads {
    fn start(name: &str, begin: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        let mut runtime = Builder::new_multi_thread();
        runtime.worker_threads(threads()).thread_name(name).on_thread_start(begin).enable_time();
        runtime.build().map(Some).map(Threads)
    }

    fn spawn<T: Send + 'static>(
        &self,
        guest: impl Future<Output = T> + Send + 'static,
    ) -> Option<AbortOnDropHandle<T>> {
        self.0.as_ref().map(|runtime| AbortOnDropHandle::new(runtime.spawn(guest)))
    }
}

impl Drop for Threads {
    /// Without waiting for guests, which an asynchronous caller could not do.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Lets this thread run only when a processor has nothing else to do. Being
/// nice is not enough: such a thread is not stopped at once for a better one.
fn stand_back() {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle) {
        tracing::warn!(?error, "slow plugins compete with agents for the processor");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_guest_that_does_not_begin_begins_elsewhere_and_the_next_one_at_once() {
        let apart = Apart::start().unwrap();
        let name = || Box::pin(async { std::thread::current().name().map(str::to_owned) });
        let on = |expected: &str| Some(Some(expected.to_owned()));
        assert_eq!(apart.run(name()).await, on("sandbox-slow"));
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let stuck: Vec<_> = (0..threads())
            .map(|_| {
                let held = Arc::clone(&held);
                apart.idle.spawn(async move { lock(&held).recv() }).unwrap()
            })
            .collect();
        assert_eq!(apart.run(name()).await, on("sandbox-busy"));
        assert!(apart.is_busy());
        drop((release, stuck));
        assert_eq!(apart.run(name()).await, on("sandbox-busy"));
    }
}
