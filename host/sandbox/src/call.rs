//! One call: a slot, a fresh store and instance, a question, an answer or the
//! reason why there is none.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{timeout, timeout_at};
use wasmtime::component::{Instance, InstancePre};
use wasmtime::{Engine, PoolConcurrencyLimitError, Store, UpdateDeadline};

use crate::clock::{Clock, Stop};
use crate::lane::{self, Lane, Pace};
use crate::limiter::Limiter;
use crate::log::Log;
use crate::meter::Meter;
use crate::text::one_line;
use crate::wasi::Wasi;
use crate::{Answered, CallError, CallStats, Host, HostError, Settings, Taken};

/// What the calls of one plugin share.
pub(crate) struct Share {
    slots: Semaphore,
    pace: Pace,
    turns: Arc<Semaphore>,
}

impl Share {
    pub(crate) fn new(slots: Semaphore) -> Self {
        Share { slots, pace: Pace::default(), turns: lane::turns() }
    }
}

/// What all plugins of a sandbox share.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) settings: Arc<Settings>,
    pub(crate) slots: Semaphore,
    /// See [`crate::lane`].
    pub(crate) turns: Arc<Semaphore>,
}

/// A call of one exported function.
pub(crate) trait Question: Send {
    type Answer: Send;

    /// Calls the function on a fresh instance.
    fn ask(
        self,
        store: &mut Store<State>,
        instance: &Instance,
    ) -> impl Future<Output = wasmtime::Result<Self::Answer>> + Send;
}

/// The host's side of one store.
pub(crate) struct State {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) log: Log,
    pub(crate) now: u64,
    pub(crate) decision_id: String,
    pub(crate) wasi: Option<Box<Wasi>>,
    pub(crate) settings: Arc<Settings>,
    limiter: Limiter,
    lane: Lane,
    meter: Arc<Meter>,
    clock: Arc<Clock>,
    pub(crate) calls: Arc<Calls>,
    host_time: Duration,
    waited: Duration,
}

/// What a call is made with, besides its question.
pub(crate) struct Circumstances {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) now: u64,
    pub(crate) decision_id: String,
    pub(crate) deadline: Duration,
}

/// Why the host ends a guest, carried through Wasmtime as an error.
#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error("the deadline passed")]
    Timeout,
    #[error("the host calls are used up")]
    HostCalls,
}

impl Shared {
    /// Puts one question to a fresh instance of `pre`.
    ///
    /// Dropping the future ends the guest and frees the slot.
    pub(crate) async fn ask<Q: Question, T>(
        &self,
        pre: &InstancePre<State>,
        share: &Share,
        circumstances: Circumstances,
        question: Q,
        read: impl FnOnce(Q::Answer) -> Result<T, CallError>,
    ) -> Answered<T> {
        let deadline = circumstances.deadline;
        // They outlive the store, so that a permit always means a free slot, and
        // clearing up after a slow guest is part of its turn.
        let lane = Lane::new(&share.turns, &self.turns);
        let _slot = match self.slot(share, &lane, deadline).await {
            Ok(slot) => slot,
            Err(taken) => return Answered::not_asked(CallError::Busy(taken)),
        };
        let clock = Arc::new(Clock::start(deadline));
        let meter = Arc::new(Meter::default());
        let mut store = self.store(circumstances, Arc::clone(&clock), Arc::clone(&meter), lane.clone());
        let answer = {
            let mut asked = std::pin::pin!(meter.count(async {
                let instance = pre.instantiate_async(&mut store).await?;
                question.ask(&mut store, &instance).await
            }));
            loop {
                match timeout_at(clock.end(self.settings.host_time), &mut asked).await {
                    Ok(answer) => break answer,
                    // The deadline moves while the guest waits for the host.
                    Err(_) if clock.left(self.settings.host_time) => {}
                    Err(_) => break Err(Cut::Timeout.into()),
                }
            }
        };
        let state = store.data_mut();
        state.log.finish(&*state.host);
        let state = store.data();
        let stats = CallStats {
            took: state.clock.elapsed(),
            waited: state.waited,
            memory_bytes: u64::try_from(state.limiter.held()).unwrap_or(u64::MAX),
        };
        share.pace.add(meter.used(false));
        let answer = answer.map_err(|error| self.reason(&error, state, deadline)).and_then(read);
        Answered { answer, stats }
    }

    /// A slot of the sandbox within the plugin's share, and a turn if the plugin
    /// is slow; or what stayed taken.
    async fn slot<'a>(
        &'a self,
        share: &'a Share,
        lane: &Lane,
        deadline: Duration,
    ) -> Result<[SemaphorePermit<'a>; 2], Taken> {
        let end = Instant::now().checked_add(deadline).map(tokio::time::Instant::from);
        let settings = &self.settings;
        let ours = permit(&share.slots, end).await.ok_or(Taken::Plugin(settings.slots_per_plugin))?;
        // Only now, so that those who wait for their plugin keep nobody else waiting.
        let slot = permit(&self.slots, end).await.ok_or(Taken::Sandbox(settings.slots))?;
        if share.pace.is_slow() {
            let end = end.unwrap_or_else(tokio::time::Instant::now);
            let late = |_| Taken::Plugin(settings.slots_per_plugin);
            timeout_at(end, lane.clone().enter()).await.map_err(late)?;
        }
        Ok([ours, slot])
    }

    fn store(&self, with: Circumstances, clock: Arc<Clock>, meter: Arc<Meter>, lane: Lane) -> Store<State> {
        let settings = &self.settings;
        let mut store = Store::new(
            &self.engine,
            State {
                host: with.host,
                log: Log::new(settings.log_lines, settings.log_line_bytes),
                now: with.now,
                decision_id: with.decision_id,
                wasi: None,
                settings: Arc::clone(settings),
                limiter: Limiter::new(settings.memory_bytes),
                lane,
                meter,
                clock,
                calls: Arc::new(Calls { made: AtomicU32::new(0), most: settings.host_calls }),
                host_time: settings.host_time,
                waited: Duration::ZERO,
            },
        );
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(settings.output_bytes);
        // At each tick a running guest lets others run. The deadline is looked
        // at here too, because a busy runtime fires its timers late.
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|context| {
            let state = context.data();
            state.calls.check()?;
            if state.clock.is_over() {
                return Err(Cut::Timeout.into());
            }
            // Whoever was kept from running has not had its time yet.
            if state.meter.used(true) < lane::AT_ONCE {
                return Ok(UpdateDeadline::Continue(1));
            }
            Ok(UpdateDeadline::YieldCustom(1, state.lane.give_way()))
        });
        store
    }

    fn reason(&self, error: &wasmtime::Error, state: &State, deadline: Duration) -> CallError {
        let settings = &self.settings;
        match error.downcast_ref::<Cut>() {
            Some(Cut::Timeout) => return CallError::Timeout(deadline.as_millis()),
            Some(Cut::HostCalls) => {
                return CallError::Budget { what: "host calls", limit: settings.host_calls };
            }
            None => {}
        }
        if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
            return CallError::Busy(Taken::Sandbox(settings.slots));
        }
        // Wasmtime 48 has no public type for this one; the test
        // `a_huge_answer_is_output` notices when the words change.
        if error.root_cause().to_string().contains("fuel allocated for hostcalls") {
            return CallError::Output(settings.output_bytes);
        }
        if state.limiter.refused() {
            return CallError::Memory(settings.memory_bytes);
        }
        let cause = error.root_cause().to_string();
        CallError::Trap(one_line(cause.strip_prefix("wasm trap: ").unwrap_or(&cause)))
    }
}

async fn permit(of: &Semaphore, end: Option<tokio::time::Instant>) -> Option<SemaphorePermit<'_>> {
    match of.try_acquire() {
        Ok(permit) => Some(permit),
        Err(_) => timeout_at(end?, of.acquire()).await.ok()?.ok(),
    }
}

impl State {
    /// Counts one host call.
    pub(crate) fn charge(&mut self) -> wasmtime::Result<Arc<dyn Host>> {
        self.calls.take();
        self.calls.check()?;
        Ok(Arc::clone(&self.host))
    }

    /// Waits for the host, within what is left of the host's time.
    pub(crate) async fn wait<T>(
        &mut self,
        answer: impl Future<Output = Result<T, HostError>>,
    ) -> Result<T, HostError> {
        let started = self.stand_still();
        let answer = timeout(self.host_time, answer).await;
        self.go_on(started);
        answer.unwrap_or_else(|_| {
            Err(HostError::Unavailable("the host's time for this call is used up".into()))
        })
    }

    /// What is left of the host's time.
    pub(crate) fn host_time(&self) -> Duration {
        self.host_time
    }

    /// Stops the guest's clock: from here on it is the host that takes its time.
    pub(crate) fn stand_still(&self) -> Stop {
        self.lane.leave();
        self.clock.pause()
    }

    /// Lets the guest's clock go on.
    pub(crate) fn go_on(&mut self, since: Stop) {
        let spent = self.clock.resume(since);
        self.waited = self.waited.saturating_add(spent);
        self.host_time = self.host_time.saturating_sub(spent);
    }

    /// Nanoseconds before the deadline.
    pub(crate) fn remaining(&self) -> u64 {
        self.clock.remaining()
    }
}

/// The host calls of one call.
pub(crate) struct Calls {
    made: AtomicU32,
    most: u32,
}

impl Calls {
    /// Counts one, and tells whether it is within the budget.
    pub(crate) fn take(&self) -> bool {
        self.made.fetch_add(1, Ordering::Relaxed) < self.most
    }

    /// Ends the guest once it has made more than the budget.
    pub(crate) fn check(&self) -> wasmtime::Result<()> {
        if self.made.load(Ordering::Relaxed) > self.most { Err(Cut::HostCalls.into()) } else { Ok(()) }
    }
}
