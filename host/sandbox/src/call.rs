//! One call: a slot, a fresh store and instance, a question, an answer or the
//! reason why there is none.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;
use wasmtime::component::{Instance, InstancePre};
use wasmtime::{Engine, PoolConcurrencyLimitError, Store};

use crate::apart::{self, Apart, Guest};
use crate::clock::Clock;
use crate::lane::{self, Lane, Pace, Paces};
use crate::limiter::Limiter;
use crate::log::Log;
use crate::state::{Calls, Cut, Run, State};
use crate::text::one_line;
use crate::{Answered, CallError, Host, Settings, Taken};

/// The plugin's permit and the sandbox's.
type Slot = [OwnedSemaphorePermit; 2];

/// What the calls of one plugin share.
pub(crate) struct Share {
    slots: Arc<Semaphore>,
    paces: Paces,
    turns: Arc<Semaphore>,
}

impl Share {
    pub(crate) fn new(slots: Arc<Semaphore>) -> Self {
        // One plugin leaves a thread to the others, where there is more than one.
        let turns = lane::turns(apart::threads().saturating_sub(1));
        Share { slots, paces: Paces::default(), turns }
    }
}

/// What all plugins of a sandbox share.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) settings: Arc<Settings>,
    pub(crate) slots: Arc<Semaphore>,
    /// See [`crate::lane`].
    pub(crate) turns: Arc<Semaphore>,
    pub(crate) apart: Apart,
}

/// A call of one exported function.
pub(crate) trait Question: Send + 'static {
    type Answer: Send;

    /// That of its kind.
    fn pace(paces: &Paces) -> &Arc<Pace>;

    /// Calls the function on a fresh instance.
    fn ask(
        self,
        store: &mut Store<State>,
        instance: &Instance,
    ) -> impl Future<Output = wasmtime::Result<Self::Answer>> + Send;
}

/// What a call is made with, besides its question.
pub(crate) struct Circumstances {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) now: u64,
    pub(crate) decision_id: String,
    pub(crate) deadline: Duration,
}

impl Shared {
    /// Puts one question to a fresh instance of `pre`.
    ///
    /// Dropping the future ends the guest and frees the slot, soon after if it runs apart.
    pub(crate) async fn ask<Q: Question, T: Send + 'static>(
        self: &Arc<Self>,
        pre: &InstancePre<State>,
        share: &Share,
        circumstances: Circumstances,
        question: Q,
        read: impl FnOnce(Q::Answer) -> Result<T, CallError> + Send + 'static,
    ) -> Answered<T> {
        let deadline = circumstances.deadline;
        let pace = Arc::clone(Q::pace(&share.paces));
        let is_slow = pace.is_slow();
        let lane = Lane::new(&share.turns, &self.turns);
        let slot = match self.slot(share, is_slow.then_some(&lane), deadline).await {
            Ok(slot) => slot,
            Err(taken) => return Answered::not_asked(CallError::Busy(taken)),
        };
        let run = Arc::new(Run {
            clock: Clock::start(deadline),
            meter: Arc::default(),
            lane,
            pace: Arc::clone(&pace),
            home: Handle::current(),
            gave_way: AtomicBool::new(false),
            apart: AtomicBool::new(false),
        });
        let guest = self.guest(pre, slot, circumstances, Arc::clone(&run), question, read);
        let answered = {
            let mut asked = pin!(self.run(guest, &run, is_slow));
            let host_time = self.settings.host_time;
            loop {
                match timeout_at(run.clock.end(host_time), &mut asked).await {
                    Ok(answered) => break answered,
                    // The deadline moves while the guest waits for the host.
                    Err(_) if run.clock.left(host_time) => {}
                    Err(_) => {
                        let late = CallError::Timeout(deadline.as_millis());
                        break Answered { answer: Err(late), stats: run.stats() };
                    }
                }
            }
        };
        pace.add(run.meter.used(false));
        answered
    }

    /// A slot of the sandbox within the plugin's share, and a turn in the lane if
    /// one is needed; or what stayed taken.
    async fn slot(&self, share: &Share, lane: Option<&Lane>, deadline: Duration) -> Result<Slot, Taken> {
        let end = Instant::now().checked_add(deadline).map(tokio::time::Instant::from);
        let settings = &self.settings;
        let ours = permit(&share.slots, end).await.ok_or(Taken::Plugin(settings.slots_per_plugin))?;
        // Only now, so that those who wait for their plugin keep nobody else waiting.
        let slot = permit(&self.slots, end).await.ok_or(Taken::Sandbox(settings.slots))?;
        if let Some(lane) = lane {
            let end = end.unwrap_or_else(tokio::time::Instant::now);
            let late = |_| Taken::Plugin(settings.slots_per_plugin);
            timeout_at(end, lane.clone().enter()).await.map_err(late)?;
        }
        Ok([ours, slot])
    }

    /// The whole life of one instance.
    fn guest<Q: Question, T: Send + 'static>(
        self: &Arc<Self>,
        pre: &InstancePre<State>,
        slot: Slot,
        circumstances: Circumstances,
        run: Arc<Run>,
        question: Q,
        read: impl FnOnce(Q::Answer) -> Result<T, CallError> + Send + 'static,
    ) -> Guest<Answered<T>> {
        let (shared, pre) = (Arc::clone(self), pre.clone());
        Box::pin(async move {
            // They outlive the store, so that a permit always means a free slot, and
            // clearing up after a slow guest is part of its turn.
            let _held = (slot, run.lane.clone());
            let deadline = circumstances.deadline;
            let counted = run.meter.count(async {
                let mut store = shared.store(circumstances, Arc::clone(&run));
                let asked = async {
                    let instance = pre.instantiate_async(&mut store).await?;
                    question.ask(&mut store, &instance).await
                };
                match asked.await {
                    Ok(answer) => read(answer),
                    Err(error) => Err(shared.reason(&error, store.data(), deadline)),
                }
            });
            let answer = counted.await;
            Answered { answer, stats: run.stats() }
        })
    }

    /// Runs a guest here for as long as it is fast, and then apart.
    async fn run<T: Send + 'static>(
        &self,
        mut guest: Guest<Answered<T>>,
        run: &Run,
        is_slow: bool,
    ) -> Answered<T> {
        if !is_slow {
            let here = poll_fn(|context| match guest.as_mut().poll(context) {
                Poll::Ready(answered) => Poll::Ready(Some(answered)),
                Poll::Pending if run.gave_way.load(Ordering::Relaxed) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            });
            if let Some(answered) = here.await {
                return answered;
            }
        }
        run.apart.store(true, Ordering::Relaxed);
        self.apart.run(guest).await.unwrap_or_else(|| {
            let answer = Err(CallError::Trap("the host failed on it".into()));
            Answered { answer, stats: run.stats() }
        })
    }

    fn store(&self, with: Circumstances, run: Arc<Run>) -> Store<State> {
        let settings = &self.settings;
        let limiter = Limiter::new(settings.memory_bytes, Arc::clone(&run.meter));
        let mut store = Store::new(
            &self.engine,
            State {
                host: with.host,
                log: Log::new(settings.log_lines, settings.log_line_bytes),
                now: with.now,
                decision_id: with.decision_id,
                wasi: None,
                settings: Arc::clone(settings),
                calls: Arc::new(Calls::new(settings.host_calls)),
                limiter,
                run,
                host_time: settings.host_time,
            },
        );
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(settings.output_bytes);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|context| context.data().tick());
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

async fn permit(of: &Arc<Semaphore>, end: Option<tokio::time::Instant>) -> Option<OwnedSemaphorePermit> {
    match Arc::clone(of).try_acquire_owned() {
        Ok(permit) => Some(permit),
        Err(_) => timeout_at(end?, Arc::clone(of).acquire_owned()).await.ok()?.ok(),
    }
}
