//! Turns: one name's enrolment happens in one place at a time, for two requests that race would otherwise
//! both be signed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use pki::Certname;
use tokio::sync::OwnedMutexGuard;

type Locks = Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>;

/// Whose turn it is, name by name. Names that nobody waits for take no memory.
#[derive(Default)]
pub(crate) struct Turns(Arc<Locks>);

/// Until it is dropped, nobody else has the name's turn.
pub(crate) struct Turn {
    name: String,
    locks: Arc<Locks>,
    lock: Arc<tokio::sync::Mutex<()>>,
    /// None while it is waited for.
    guard: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits for the name's turn.
    pub async fn take(&self, name: &Certname) -> Turn {
        let name = name.to_string();
        let lock =
            self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name.clone()).or_default().clone();
        let mut turn = Turn { name, locks: Arc::clone(&self.0), lock, guard: None };
        turn.guard = Some(Arc::clone(&turn.lock).lock_owned().await);
        turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.guard = None;
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        // Ours and the map's: whoever waits has one, too.
        if Arc::strong_count(&self.lock) == 2 {
            locks.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_has_one_turn_and_others_do_not_wait_for_it() {
        let turns = Turns::default();
        let name = |name| Certname::parse(name).unwrap();
        let (a, b) = (name("a"), name("b"));
        let (one, other) = (turns.take(&a).await, turns.take(&b).await);
        let mut waits = Box::pin(turns.take(&a));
        assert!(futures_pending(&mut waits).await);
        let mut gives_up = Box::pin(turns.take(&a));
        assert!(futures_pending(&mut gives_up).await);
        drop(one);
        drop((waits.await, other));
        // Whoever waited to the last and never got it leaves nothing behind.
        drop(gives_up);
        assert!(turns.0.lock().unwrap().is_empty());
    }

    /// Whether it is not done when it is looked at once.
    async fn futures_pending<T>(future: &mut (impl Future<Output = T> + Unpin)) -> bool {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())
        })
        .await
    }
}
