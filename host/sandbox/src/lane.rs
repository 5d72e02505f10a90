use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a guest stands aside before its next turn. Only a worker that
/// finds nothing to run looks at sockets at once, so yielding is not enough.
const ASIDE: Duration = Duration::from_millis(1);

/// The turns of guests that run for longer than a tick.
///
/// There is one less than the machine has threads, so that looping guests
/// leave a worker of the runtime to agents and to well-behaved guests.
pub(crate) fn turns() -> Arc<Semaphore> {
    let threads = available_parallelism().map_or(1, usize::from);
    Arc::new(Semaphore::new(threads.saturating_sub(1).max(1)))
}

/// One guest's place among them. Nothing is taken by a guest that is done within a tick.
pub(crate) struct Lane {
    turns: Arc<Semaphore>,
    turn: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl Lane {
    pub(crate) fn new(turns: Arc<Semaphore>) -> Self {
        Lane { turns, turn: Arc::default() }
    }

    /// Ends the guest's turn and waits for its next one.
    pub(crate) fn give_way(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.leave();
        let (turns, turn) = (Arc::clone(&self.turns), Arc::clone(&self.turn));
        Box::pin(async move {
            tokio::time::sleep(ASIDE).await;
            let next = turns.acquire_owned().await.ok();
            *turn.lock().unwrap_or_else(PoisonError::into_inner) = next;
        })
    }

    /// Ends the guest's turn, if it has one.
    pub(crate) fn leave(&self) {
        drop(self.turn.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}
