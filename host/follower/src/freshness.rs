//! Saying once when the lists become stale, expired, or fresh again.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pki::{Freshness, Trust};
use time::OffsetDateTime;

/// How old a trust is: a grace beyond what the calendar holds never ends.
pub(crate) fn of(trust: &Trust, grace: Duration, now: OffsetDateTime) -> Freshness {
    trust.freshness(now, time::Duration::try_from(grace).unwrap_or(time::Duration::MAX))
}

/// What was said last.
#[derive(Debug)]
pub(crate) struct Noted(Mutex<Freshness>);

impl Default for Noted {
    fn default() -> Noted {
        Noted(Mutex::new(Freshness::Fresh))
    }
}

impl Noted {
    /// Logs a change. The clock may go either way.
    pub fn note(&self, trust: &Trust, grace: Duration, now: OffsetDateTime) {
        let fresh = of(trust, grace, now);
        let before = {
            let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *noted, fresh)
        };
        if before == fresh {
            return;
        }
        let Trust { number, next_update, .. } = trust;
        let grace_seconds = grace.as_secs();
        match fresh {
            Freshness::Fresh => tracing::info!(number, %next_update, "the revocation lists are fresh again"),
            Freshness::Stale => tracing::warn!(
                number,
                %next_update,
                grace_seconds,
                "the revocation lists are stale: served as before within the grace; see to the CA"
            ),
            Freshness::Expired => tracing::error!(
                number,
                %next_update,
                grace_seconds,
                "the revocation lists have expired, and so has the grace: no certificate is believed until the \
                 CA sends newer ones"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use pki::{Bundle, CrlChain, KeyKind, SigningKey, create_issuer, crl};
    use time::Duration as Span;
    use tracing::subscriber::with_default;

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn trust(now: OffsetDateTime) -> Trust {
        let key = Arc::new(SigningKey::generate(KeyKind::EcP256).unwrap());
        let issuer = create_issuer("Test CA", key, now - Span::DAY, now + Span::days(900)).unwrap();
        let bundle = Arc::new(Bundle::of_root(issuer.certificate()).unwrap());
        let own = crl::sign(1, now, now + Span::days(7), vec![], &issuer).unwrap();
        let chain = CrlChain::new(own, vec![], &bundle).unwrap();
        let text: Arc<str> = chain.to_pem().into();
        Trust {
            bundle,
            bundle_modified: SystemTime::now(),
            crls: text.clone(),
            agents_crls: text,
            number: 1,
            this_update: now,
            next_update: chain.next_update(),
            revoked: Arc::new(chain.revoked()),
        }
    }

    // faults row 29
    #[test]
    fn each_change_of_freshness_is_one_line() {
        let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap();
        let (trust, grace) = (trust(now), Duration::from_secs(86400));
        let (log, noted) = (Log::default(), Noted::default());
        let to = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || to.clone()).finish();
        let lines = || String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let mut expected = 0;
        let mut check = |at: Span, level: Option<&str>| {
            for _ in 0..3 {
                noted.note(&trust, grace, now + at);
            }
            expected += usize::from(level.is_some());
            let text = lines();
            assert_eq!(text.lines().count(), expected, "{at}: {text}");
            if let Some(level) = level {
                assert!(text.lines().last().unwrap().contains(level), "{at}: {text}");
            }
        };
        with_default(subscriber, || {
            check(Span::ZERO, None);
            check(Span::days(6), None);
            check(Span::days(7), Some("WARN"));
            check(Span::days(7) + Span::HOUR, None);
            check(Span::days(8), Some("ERROR"));
            check(Span::days(80), None);
            // The clock was wrong.
            check(Span::days(7), Some("WARN"));
            check(Span::days(-70), Some("INFO"));
        });
        assert_eq!(of(&trust, Duration::MAX, now + Span::days(80)), Freshness::Stale);
    }
}
