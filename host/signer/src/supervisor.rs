//! The thread that looks after one key's process: starts it, hears its answers, and starts it again when
//! it dies.
//!
//! It is a thread of its own because the system ties the child's life (PR_SET_PDEATHSIG) to the *thread*
//! that started it, and threads that wait for disks come and go.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use pki::{PublicKey, SignError};

use crate::connection::{Connection, lock};
use crate::protocol::{Start, Task};
use crate::{Error, Settings};

/// The pause after a signer that died without one answer, or did not start; doubled each time.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest such pause.
const LONGEST: Duration = Duration::from_secs(5);

/// What is counted over all keys of a [`crate::Process`].
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Signers that died and were started again.
    pub restarts: AtomicU64,
    /// Keys that cannot sign now.
    pub down: AtomicUsize,
}

/// What those who sign and the thread share.
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    tally: Arc<Tally>,
}

enum State {
    Up(Arc<Connection>),
    Down {
        why: String,
        /// It will stay so until somebody mends it.
        lasting: bool,
    },
    Stopped,
}

impl Shared {
    pub fn new(tally: Arc<Tally>) -> Shared {
        tally.down.fetch_add(1, Ordering::AcqRel);
        let state = State::Down { why: "it is being started".into(), lasting: false };
        Shared { state: Mutex::new(state), changed: Condvar::new(), tally }
    }

    /// A signer that was started after the one of that generation, when there is one.
    pub fn connection(&self, after: u64, deadline: Instant) -> Result<Arc<Connection>, SignError> {
        let mut state = lock(&self.state);
        loop {
            let unavailable = match &*state {
                State::Up(connection) if connection.generation > after => return Ok(Arc::clone(connection)),
                State::Up(_) => "it died, and is being started again",
                State::Down { why, lasting: true } => return Err(SignError::Unavailable(why.clone())),
                State::Down { why, lasting: false } => why,
                State::Stopped => return Err(SignError::Unavailable("it was stopped".into())),
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(SignError::Unavailable(unavailable.to_owned()));
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends the process, if there is one, and the thread. Returns what was there.
    pub fn stop(&self) -> Option<Arc<Connection>> {
        match self.set(State::Stopped) {
            State::Up(connection) => {
                connection.close();
                Some(connection)
            }
            _ => None,
        }
    }

    /// Changes the state, unless all is over. Returns the one before, or the one refused.
    fn set(&self, new: State) -> State {
        let mut state = lock(&self.state);
        if matches!(*state, State::Stopped) {
            return new;
        }
        let (was, is) = (matches!(*state, State::Down { .. }), matches!(new, State::Down { .. }));
        match (was, is) {
            (false, true) => self.tally.down.fetch_add(1, Ordering::AcqRel),
            (true, false) => self.tally.down.fetch_sub(1, Ordering::AcqRel),
            _ => 0,
        };
        let old = std::mem::replace(&mut *state, new);
        self.changed.notify_all();
        old
    }

    fn is_stopped(&self) -> bool {
        matches!(*lock(&self.state), State::Stopped)
    }

    /// Waits, unless it is stopped meanwhile. Returns whether it was.
    fn pause(&self, pause: Duration) -> bool {
        let stopped = |state: &mut State| !matches!(state, State::Stopped);
        let waited = self.changed.wait_timeout_while(lock(&self.state), pause, stopped);
        matches!(*waited.unwrap_or_else(PoisonError::into_inner).0, State::Stopped)
    }
}

/// Starts a signer and a thread to look after it. Waits until it has its key. The receiver hears, by being
/// disconnected, that the process and the thread are gone.
pub(crate) fn spawn(
    settings: Settings,
    first: Start,
    again: Task,
    shared: Arc<Shared>,
) -> Result<(PublicKey, mpsc::Receiver<()>), Error> {
    let program = settings.program.clone();
    let failed = move |reason: String| Error::Start { program, reason };
    let (started, start) = mpsc::sync_channel(1);
    let (living, ended) = mpsc::channel();
    let stop = Arc::clone(&shared);
    let thread = move || {
        run(&settings, first, again, &shared, &started);
        drop(living);
    };
    let public = match thread::Builder::new().name("signer".into()).spawn(thread) {
        Ok(_) => start.recv().unwrap_or_else(|_| Err(failed("its thread ended".into()))),
        Err(error) => Err(failed(error.to_string())),
    };
    if public.is_err() {
        stop.stop();
    }
    public.map(|public| (public, ended))
}

fn run(
    settings: &Settings,
    mut start: Start,
    again: Task,
    shared: &Shared,
    started: &mpsc::SyncSender<Result<PublicKey, Error>>,
) {
    let (connection, public) = match Connection::start(settings, &start, 1) {
        Ok(first) => first,
        Err(error) => {
            // If nobody waits for it, nobody is concerned.
            let _ = started.send(Err(error));
            return;
        }
    };
    start.task = again;
    let mut current = Arc::new(connection);
    // In force before anybody has the key to sign with.
    shared.set(State::Up(Arc::clone(&current)));
    if started.send(Ok(public.clone())).is_err() {
        return;
    }
    let mut failures = 0;
    for generation in 2.. {
        let (answered, end) = current.listen();
        failures = if answered { 0 } else { failures + 1 };
        shared
            .set(State::Down { why: format!("it died ({end}) and is being started again"), lasting: false });
        if shared.is_stopped() {
            return;
        }
        tracing::warn!(pid = current.pid(), end, "the signer died; it is started again");
        current = loop {
            if shared.pause(pause(failures)) {
                return;
            }
            let connected = Connection::start(settings, &start, generation).and_then(|(next, now)| {
                let expected = || format!("the public key {} as it was when it was opened", public.digest());
                if now == public {
                    Ok(next)
                } else {
                    Err(Error::OtherKey { path: start.path.clone(), expected: expected() })
                }
            });
            match connected {
                Ok(next) => break Arc::new(next),
                Err(error) => {
                    failures += 1;
                    tracing::error!(%error, "the signer cannot be started again; nothing is signed until it can");
                    shared.set(State::Down { why: error.to_string(), lasting: error.is_lasting() });
                }
            }
        };
        shared.tally.restarts.fetch_add(1, Ordering::Relaxed);
        if let State::Up(refused) = shared.set(State::Up(Arc::clone(&current))) {
            // Stopped meanwhile.
            refused.close();
        }
    }
}

/// None after the first death; then longer and longer.
fn pause(failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => PAUSE.saturating_mul(1 << doublings.min(10)).min(LONGEST),
    }
}
