//! What the tests do with a follower.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bunraku_follower::{Error, Follower, Settings};
use time::OffsetDateTime;
use tokio::task::AbortHandle;

use crate::fake::Fake;

/// A follower that follows until it is dropped.
pub struct Following {
    pub follower: Arc<Follower>,
    task: AbortHandle,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// Opens a follower that must not have to wait, save for the last of one that has just been dropped.
pub async fn open(settings: Settings) -> Follower {
    let opening = async {
        loop {
            match Follower::open(settings.clone(), now()).await {
                Err(Error::Held(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
                opened => return opened.unwrap(),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), opening).await.expect("it opens in time")
}

/// Opens what cannot be opened.
pub async fn fail_to_open(settings: Settings) -> Error {
    loop {
        match Follower::open(settings.clone(), now()).await {
            Err(Error::Held(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
            opened => return opened.unwrap_err(),
        }
    }
}

/// Opens a follower and follows.
pub async fn follow(settings: Settings) -> Following {
    let follower = Arc::new(open(settings).await);
    let task = tokio::spawn(follower.clone().follow()).abort_handle();
    Following { follower, task }
}

/// Follows the fake CA, its stream held.
pub async fn follow_fake(fake: &Fake, dir: &Path) -> Following {
    let following = follow(fake.settings(dir)).await;
    // The first contact holds one for its first word, and following holds another.
    fake.enforced(1).await;
    following
}

impl Following {
    /// Waits until the list with this number is in force.
    pub async fn number(&self, number: u64) {
        let mut trust = self.follower.watch_trust();
        let waited = trust.wait_for(|trust| trust.number == number);
        let waited = tokio::time::timeout(Duration::from_secs(30), waited).await;
        waited.unwrap_or_else(|_| panic!("{number} never came: {:?}", self.follower.state(now()))).unwrap();
    }
}

/// What this thread logs until the guard is dropped.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub fn start() -> (Log, tracing::subscriber::DefaultGuard) {
        let log = Log::default();
        let to = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || to.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
