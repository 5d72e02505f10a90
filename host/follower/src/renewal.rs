//! Renewal of the master's own certificate, in time and with the same key.

use std::sync::Arc;

use client::{Method, StatusCode};
use pki::{Certificate, Identity};
use time::{Duration, OffsetDateTime};

use crate::Error;
use crate::follower::Inner;
use crate::identity::accept;

/// Most between two tries.
const MOST: Duration = Duration::HOUR;

/// Whether a third of the certificate's life or less is left.
pub(crate) fn is_due(certificate: &Certificate, now: OffsetDateTime) -> bool {
    certificate.not_after - now <= (certificate.not_after - certificate.not_before) / 3
}

/// When to try again after a try that failed: ten times in what is left, and hourly at least.
pub(crate) fn next_try(certificate: &Certificate, now: OffsetDateTime) -> OffsetDateTime {
    let left = certificate.not_after - now;
    let tenth: Duration = left / 10;
    let pause = tenth.clamp(Duration::MINUTE, MOST);
    now.checked_add(pause).unwrap_or(now)
}

impl Inner {
    /// Renews the certificate if that is due and was not tried a moment ago.
    pub(crate) async fn renew_if_due(self: &Arc<Self>, now: OffsetDateTime) {
        let identity = self.identity.borrow().clone();
        let issued_by_another = !identity.certificate.is_signed_by(self.trust.borrow().bundle.issuer());
        if !is_due(&identity.certificate, now) && !issued_by_another {
            return;
        }
        // A clock that was set back does not put the next try off for long.
        if self.next_renewal().is_some_and(|next| now < next && next - now <= MOST) {
            return;
        }
        self.set_next_renewal(next_try(&identity.certificate, now));
        match self.renew(&identity, now).await {
            Ok(renewed) => {
                let certificate = &renewed.certificate;
                tracing::info!(serial = %certificate.serial, not_after = %certificate.not_after, "renewed this master's certificate");
                self.identity.send_replace(Arc::new(renewed));
            }
            Err(reason) => {
                let not_after = identity.certificate.not_after;
                tracing::warn!(%not_after, reason, "this master's certificate is due for renewal and was not renewed");
            }
        }
    }

    async fn renew(self: &Arc<Self>, identity: &Identity, now: OffsetDateTime) -> Result<Identity, String> {
        let client = self.client().await.map_err(|error| error.to_string())?;
        let asked = client.request(Method::POST, "/puppet-ca/v1/certificate_renewal", None).await;
        let refused = match asked {
            Ok(answer) if answer.status == StatusCode::OK => {
                return self.take_renewed(identity, &answer.body, now).await;
            }
            Ok(answer) => format!("the CA answered {}: {}", answer.status, answer.text()),
            Err(error) => error.to_string(),
        };
        // An administrator may have renewed it there, for this key.
        let path = format!("/puppet-ca/v1/certificate/{}", self.settings.certname);
        match client.request(Method::GET, &path, None).await {
            Ok(answer) if answer.status == StatusCode::OK => {
                self.take_renewed(identity, &answer.body, now).await.map_err(|_| refused)
            }
            _ => Err(refused),
        }
    }

    async fn take_renewed(
        self: &Arc<Self>,
        old: &Identity,
        pem: &[u8],
        now: OffsetDateTime,
    ) -> Result<Identity, String> {
        let trust = self.trust.borrow().clone();
        let renewed = accept(pem, &self.key, &self.settings, &trust, now)?;
        if renewed.certificate.not_after <= old.certificate.not_after {
            return Err(format!(
                "the certificate {} ends no later than this one",
                renewed.certificate.serial
            ));
        }
        let (inner, pem) = (self.clone(), renewed.certificate_pem.clone());
        let kept = tokio::task::spawn_blocking(move || inner.folder.keep_certificate(&pem)).await;
        kept.map_err(|_| Error::Interrupted).flatten().map_err(|error| error.to_string())?;
        Ok(renewed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pki::{KeyKind, SigningKey, create_issuer};

    use super::*;

    #[test]
    fn renewal_is_due_in_the_last_third_and_tried_at_least_hourly() {
        let start = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap();
        let key = Arc::new(SigningKey::generate(KeyKind::EcP256).unwrap());
        let issuer = create_issuer("Test CA", key, start, start + Duration::days(90)).unwrap();
        let check = |at: Duration, due: bool, pause: Duration| {
            let certificate = issuer.certificate();
            assert_eq!(is_due(certificate, start + at), due, "{at}");
            assert_eq!(next_try(certificate, start + at), start + at + pause, "{at}");
        };
        check(Duration::days(-9), false, Duration::HOUR);
        check(Duration::ZERO, false, Duration::HOUR);
        check(Duration::days(60) - Duration::SECOND, false, Duration::HOUR);
        check(Duration::days(60), true, Duration::HOUR);
        check(Duration::days(90) - Duration::hours(5), true, Duration::minutes(30));
        check(Duration::days(90) - Duration::SECOND, true, Duration::MINUTE);
        check(Duration::days(99), true, Duration::MINUTE);
    }
}
