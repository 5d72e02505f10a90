//! The host's side of one call.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use wasmtime::UpdateDeadline;

use crate::clock::{Clock, Stop};
use crate::lane::{self, Lane, Pace};
use crate::limiter::Limiter;
use crate::log::Log;
use crate::meter::Meter;
use crate::wasi::Wasi;
use crate::{CallStats, Host, HostError, Settings};

/// The host's side of one store.
pub(crate) struct State {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) log: Log,
    pub(crate) now: u64,
    pub(crate) decision_id: String,
    pub(crate) wasi: Option<Box<Wasi>>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) calls: Arc<Calls>,
    pub(crate) limiter: Limiter,
    pub(crate) run: Arc<Run>,
    pub(crate) host_time: Duration,
}

/// How a call goes, as the guest's side and its caller see it.
pub(crate) struct Run {
    pub(crate) clock: Clock,
    pub(crate) meter: Arc<Meter>,
    pub(crate) lane: Lane,
    /// The plugin's.
    pub(crate) pace: Arc<Pace>,
    /// Where the caller waits, and where the host's work is done.
    pub(crate) home: Handle,
    /// The guest used more than its time here.
    pub(crate) gave_way: AtomicBool,
    /// The guest runs on the threads for slow ones.
    pub(crate) apart: AtomicBool,
}

/// Why the host ends a guest, carried through Wasmtime as an error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cut {
    #[error("the deadline passed")]
    Timeout,
    #[error("the host calls are used up")]
    HostCalls,
}

impl Run {
    /// Does the host's work where the caller is: what it leaves running, such as
    /// a connection, serves other calls too. None if it panicked.
    async fn at_home<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let mut work = Box::pin(work);
        // Most answers are there at once.
        let at_once = poll_fn(|context| {
            let _home = self.home.enter();
            Poll::Ready(work.as_mut().poll(context))
        });
        match at_once.await {
            Poll::Ready(done) => Some(done),
            Poll::Pending => AbortOnDropHandle::new(self.home.spawn(work)).await.ok(),
        }
    }

    /// What it took until now.
    pub(crate) fn stats(&self) -> CallStats {
        CallStats {
            took: self.clock.elapsed(),
            waited: self.clock.waited(),
            memory_bytes: self.meter.memory(),
        }
    }
}

impl State {
    /// What happens to a running guest at each tick. The deadline is looked at
    /// here too, because a busy runtime fires its timers late.
    pub(crate) fn tick(&self) -> wasmtime::Result<UpdateDeadline> {
        self.calls.check()?;
        if self.run.clock.is_over() {
            return Err(Cut::Timeout.into());
        }
        // Whoever was kept from running has not had its time yet.
        if self.run.meter.used(true) < lane::AT_ONCE {
            return Ok(UpdateDeadline::Continue(1));
        }
        if !self.run.gave_way.swap(true, Ordering::Relaxed) {
            // So that those who come while this one runs need not find out for themselves.
            self.run.pace.add(self.settings.deadline);
        }
        Ok(UpdateDeadline::YieldCustom(1, self.run.lane.give_way()))
    }

    /// Counts one host call.
    pub(crate) fn charge(&mut self) -> wasmtime::Result<Arc<dyn Host>> {
        self.calls.take();
        self.calls.check()?;
        Ok(Arc::clone(&self.host))
    }

    /// Waits for the host, within what is left of the host's time.
    pub(crate) async fn wait<T: Send + 'static>(
        &mut self,
        answer: impl Future<Output = Result<T, HostError>> + Send + 'static,
    ) -> Result<T, HostError> {
        let started = self.stand_still();
        let time = self.host_time;
        let answer = async move { timeout(time, answer).await };
        let answered = if self.run.apart.load(Ordering::Relaxed) {
            self.run.at_home(answer).await
        } else {
            Some(answer.await)
        };
        self.go_on(started);
        let failed = |why: &str| Err(HostError::Unavailable(why.to_owned()));
        match answered {
            Some(Ok(answer)) => answer,
            Some(Err(_)) => failed("the host's time for this call is used up"),
            None => failed("the host failed on this call"),
        }
    }

    /// Stops the guest's clock: from here on it is the host that takes its time.
    pub(crate) fn stand_still(&self) -> Stop {
        self.run.lane.leave();
        self.run.clock.pause()
    }

    /// Lets the guest's clock go on.
    pub(crate) fn go_on(&mut self, since: Stop) {
        let spent = self.run.clock.resume(since);
        self.host_time = self.host_time.saturating_sub(spent);
    }
}

impl Drop for State {
    /// However the call ended.
    fn drop(&mut self) {
        self.log.finish(&*self.host);
    }
}

/// The host calls of one call.
pub(crate) struct Calls {
    made: AtomicU32,
    most: u32,
}

impl Calls {
    pub(crate) fn new(most: u32) -> Self {
        Calls { made: AtomicU32::new(0), most }
    }

    /// Counts one, and tells whether it is within the budget.
    pub(crate) fn take(&self) -> bool {
        self.made.fetch_add(1, Ordering::Relaxed) < self.most
    }

    /// Ends the guest once it has made more than the budget.
    pub(crate) fn check(&self) -> wasmtime::Result<()> {
        if self.made.load(Ordering::Relaxed) > self.most { Err(Cut::HostCalls.into()) } else { Ok(()) }
    }
}
