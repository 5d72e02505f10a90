//! One deadline over all attempts, with full jitter between them.

use std::fmt::Write;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::Error;

/// The first pause is at most this; each later one at most twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Why an attempt failed, and whether another one makes sense.
pub(crate) enum Failure {
    Final(Error),
    Again(Cause),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Final(error)
    }
}

/// One line for people; the SDK's own errors are too long and carry no more.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Cause(pub(crate) String);

impl Cause {
    /// The whole chain of an error, in one line.
    pub(crate) fn of(error: &dyn std::error::Error) -> Cause {
        let mut text = error.to_string();
        let mut next = error.source();
        while let Some(source) = next {
            let _ = write!(text, ": {source}");
            next = source.source();
        }
        Cause(text.replace(['\n', '\r'], " "))
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Retry {
    pub(crate) deadline: Duration,
    pub(crate) attempts: u32,
}

impl Retry {
    /// Runs `attempt` until it succeeds, fails for good, or time or attempts run out.
    ///
    /// An attempt may take an even share of the time that is left, so that one that hangs does not
    /// take the turns of the others; the last one gets all the rest.
    pub(crate) async fn run<T, F, A>(&self, url: &str, attempt: A) -> Result<T, Error>
    where
        A: Fn() -> F,
        F: Future<Output = Result<T, Failure>>,
    {
        let end = Instant::now() + self.deadline;
        let mut begun = 0;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let share = left / self.attempts.saturating_sub(begun).max(1);
            begun += 1;
            let (cause, timed_out) = match timeout(share, attempt()).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(Failure::Final(error))) => return Err(error),
                Ok(Err(Failure::Again(cause))) => (cause, false),
                Err(_) => (Cause(format!("no answer within {share:?}")), true),
            };
            let left = end.saturating_duration_since(Instant::now());
            let pause = pause(begun);
            if begun >= self.attempts || pause >= left {
                return Err(Error::Unavailable {
                    url: url.to_owned(),
                    attempts: begun,
                    timed_out,
                    source: Box::new(cause),
                });
            }
            tracing::debug!(%url, attempt = begun, %cause, ?pause, "the registry will be asked again");
            sleep(pause).await;
        }
    }
}

/// Full jitter: anything from nothing to the bound, so that many clients do not return in step
/// (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
fn pause(begun: u32) -> Duration {
    let bound = FIRST_PAUSE.saturating_mul(1 << begun.saturating_sub(1).min(10)).min(LONGEST_PAUSE);
    bound.mul_f64(fastrand::f64())
}
