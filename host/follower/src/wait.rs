//! Waiting for a CA: longer each time, with jitter, and without saying the same thing over and over.

use std::time::Duration;

use tokio::time::Instant;

/// How often the same reason for waiting is said again.
const REPEAT: Duration = Duration::from_secs(60);

/// Pauses that double from `first` to `most`.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub fn new(first: Duration, most: Duration) -> Backoff {
        Backoff { first, most, next: first }
    }

    /// The next pause: half of it is chance, so that many masters don't come back as one.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.most);
        pause.mul_f64(0.5 + 0.5 * fastrand::f64())
    }

    /// Starts over.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Remembers what was said last.
#[derive(Debug, Default)]
pub(crate) struct Said(Option<(String, Instant)>);

impl Said {
    /// Whether to say this: it is new, or was said a minute ago.
    pub fn is_due(&mut self, text: &str) -> bool {
        let known = self.0.as_ref().is_some_and(|(said, at)| said == text && at.elapsed() < REPEAT);
        if !known {
            self.0 = Some((text.to_owned(), Instant::now()));
        }
        !known
    }

    /// Forgets it: the reason is gone.
    pub fn clear(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        let pauses: Vec<_> = (0..20).map(|_| backoff.pause()).collect();
        assert!(pauses[0] >= Duration::from_millis(100) && pauses[0] <= Duration::from_millis(200));
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(5)));
        assert!(pauses[10..].iter().all(|pause| *pause >= Duration::from_millis(2500)));
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(200));
    }

    #[test]
    fn the_same_thing_is_said_once_a_minute() {
        let mut said = Said::default();
        assert!(said.is_due("a"));
        assert!(!said.is_due("a"));
        assert!(said.is_due("b"));
        assert!(said.is_due("a"));
        said.clear();
        assert!(said.is_due("a"));
    }
}
