//! One call: a slot, a fresh store and instance, a question, an answer or the
//! reason why there is none.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::time::{timeout, timeout_at};
use wasmtime::component::{Instance, InstancePre};
use wasmtime::{Engine, PoolConcurrencyLimitError, Store, UpdateDeadline};

use crate::lane::Lane;
use crate::limiter::Limiter;
use crate::log::Log;
use crate::text::one_line;
use crate::wasi::Wasi;
use crate::{Answered, CallError, CallStats, Host, HostError, Settings};

/// What all plugins of a sandbox share.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) settings: Settings,
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
    limiter: Limiter,
    lane: Lane,
    clock: Arc<Clock>,
    host_calls: Count,
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
    pub(crate) async fn ask<Q: Question>(
        &self,
        pre: &InstancePre<State>,
        circumstances: Circumstances,
        question: Q,
    ) -> Answered<Q::Answer> {
        let deadline = circumstances.deadline;
        // Outlives the store, so that a permit always means a free slot.
        let _permit = match self.slots.try_acquire() {
            Ok(permit) => permit,
            Err(_) => match timeout(deadline, self.slots.acquire()).await {
                Ok(Ok(permit)) => permit,
                _ => return Answered::not_asked(CallError::Busy(self.settings.slots)),
            },
        };
        let clock = Arc::new(Clock::start(deadline));
        let mut store = self.store(circumstances, Arc::clone(&clock));
        let answer = {
            let mut asked = std::pin::pin!(async {
                let instance = pre.instantiate_async(&mut store).await?;
                question.ask(&mut store, &instance).await
            });
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
            took: state.clock.start.elapsed(),
            waited: state.waited,
            memory_bytes: u64::try_from(state.limiter.held()).unwrap_or(u64::MAX),
        };
        let answer = answer.map_err(|error| self.reason(&error, state, deadline));
        Answered { answer, stats }
    }

    fn store(&self, with: Circumstances, clock: Arc<Clock>) -> Store<State> {
        let settings = &self.settings;
        let mut store = Store::new(
            &self.engine,
            State {
                host: with.host,
                log: Log::new(settings.log_lines, settings.log_line_bytes),
                now: with.now,
                decision_id: with.decision_id,
                wasi: None,
                limiter: Limiter::new(settings.memory_bytes),
                lane: Lane::new(Arc::clone(&self.turns)),
                clock,
                host_calls: Count { left: settings.host_calls },
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
            if state.clock.is_over() {
                return Err(Cut::Timeout.into());
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
            return CallError::Busy(settings.slots);
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

impl State {
    /// Counts one host call.
    pub(crate) fn charge(&mut self) -> wasmtime::Result<Arc<dyn Host>> {
        match self.host_calls.left.checked_sub(1) {
            Some(left) => self.host_calls.left = left,
            None => return Err(Cut::HostCalls.into()),
        }
        Ok(Arc::clone(&self.host))
    }

    /// Waits for the host, within what is left of the host's time.
    pub(crate) async fn wait<T>(
        &mut self,
        answer: impl Future<Output = Result<T, HostError>>,
    ) -> Result<T, HostError> {
        self.lane.leave();
        let started = self.clock.pause();
        let answer = timeout(self.host_time, answer).await;
        let spent = self.clock.resume(started);
        self.waited = self.waited.saturating_add(spent);
        self.host_time = self.host_time.saturating_sub(spent);
        answer.unwrap_or_else(|_| {
            Err(HostError::Unavailable("the host's time for this call is used up".into()))
        })
    }

    /// Nanoseconds before the deadline.
    pub(crate) fn remaining(&self) -> u64 {
        self.clock.end_nanos().saturating_sub(self.clock.elapsed())
    }
}

struct Count {
    left: u32,
}

/// A deadline that stands still while the guest waits for the host.
struct Clock {
    start: Instant,
    /// Nanoseconds after `start`; [`PAUSED`] during a host call.
    end: AtomicU64,
    deadline: Duration,
}

const PAUSED: u64 = u64::MAX;

impl Clock {
    fn start(deadline: Duration) -> Self {
        Clock { start: Instant::now(), end: AtomicU64::new(nanos(deadline)), deadline }
    }

    fn elapsed(&self) -> u64 {
        nanos(self.start.elapsed())
    }

    fn end_nanos(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        self.elapsed() >= self.end_nanos()
    }

    /// When to look at the clock again.
    fn end(&self, host_time: Duration) -> tokio::time::Instant {
        let end = match self.end_nanos() {
            PAUSED => self.deadline.saturating_add(host_time),
            end => Duration::from_nanos(end),
        };
        self.start.checked_add(end).unwrap_or(self.start).into()
    }

    /// Whether a look at the clock came too early.
    fn left(&self, host_time: Duration) -> bool {
        self.start.elapsed() < self.deadline.saturating_add(host_time) && !self.is_over()
    }

    fn pause(&self) -> (Instant, u64) {
        (Instant::now(), self.end.swap(PAUSED, Ordering::Relaxed))
    }

    fn resume(&self, (started, end): (Instant, u64)) -> Duration {
        let spent = started.elapsed();
        self.end.store(end.saturating_add(nanos(spent)), Ordering::Relaxed);
        spent
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(PAUSED - 1)
}
