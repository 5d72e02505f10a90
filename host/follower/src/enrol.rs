//! Asking for a certificate, and waiting until there is one.

use std::time::Duration;

use bytes::Bytes;
use client::{Client, Method, Roots, StatusCode};
use pki::{Identity, SigningKey, Trust};
use time::OffsetDateTime;
use tokio::time::sleep;

use crate::contact::{at, client};
use crate::disk::Folder;
use crate::identity::{self, Csr};
use crate::wait::{Backoff, Said};
use crate::{Error, Settings};

/// A request that is waiting is sent again after so many looks, about five minutes: it may have been
/// dropped, and sending the same one twice does nothing.
const LOOKS: u32 = 20;

/// What is needed to enrol.
pub(crate) struct Enrolment<'a> {
    pub settings: &'a Settings,
    pub folder: &'a Folder,
    pub key: &'a SigningKey,
    pub trust: &'a Trust,
}

/// Where the request stands, in words for the log.
enum Standing {
    Certified(Box<Identity>),
    Waiting(String),
}

impl Enrolment<'_> {
    /// Sends the request and looks for the certificate until it is there, saying what it waits for. The
    /// certificate is kept before it is returned.
    ///
    /// # Errors
    /// What cannot be read or written; a CA that is away or refuses is waited for.
    pub async fn enrol(&self, clock: impl Fn() -> OffsetDateTime) -> Result<Identity, Error> {
        let csr = identity::request(self.settings, self.folder, self.key)?;
        let (bundle, crls) = (self.trust.bundle.pem().clone(), self.trust.crls.clone());
        let client = client(self.settings, Roots::BundleWithCrls { bundle, crls }, None)?;
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(15));
        let (mut said, mut looks) = (Said::default(), 0);
        loop {
            let standing = match self.look(&client, &csr, &mut looks, clock()).await {
                Ok(standing) => standing,
                Err(error) => Standing::Waiting(error.to_string()),
            };
            match standing {
                Standing::Certified(identity) => {
                    self.folder.keep_certificate(&identity.certificate_pem)?;
                    let certificate = &identity.certificate;
                    tracing::info!(serial = %certificate.serial, not_after = %certificate.not_after, "enrolled with the CA");
                    return Ok(*identity);
                }
                Standing::Waiting(reason) => {
                    if said.is_due(&reason) {
                        tracing::warn!(
                            ca = at(self.settings),
                            certname = %self.settings.certname,
                            sha256 = %csr.fingerprint,
                            reason,
                            "waiting for a certificate"
                        );
                    }
                    sleep(backoff.pause()).await;
                }
            }
        }
    }

    async fn look(
        &self,
        client: &Client,
        csr: &Csr,
        looks: &mut u32,
        now: OffsetDateTime,
    ) -> Result<Standing, client::Error> {
        let name = &self.settings.certname;
        let answer = client.request(Method::GET, &format!("/puppet-ca/v1/certificate/{name}"), None).await?;
        let unusable = match answer.status {
            StatusCode::OK => {
                match identity::accept(&answer.body, self.key, self.settings, self.trust, now) {
                    Ok(identity) => return Ok(Standing::Certified(Box::new(identity))),
                    // With a name that was cleaned, or a key that was lost, the request goes there all the same.
                    Err(reason) => format!("; what the CA has for this name will not do: {reason}"),
                }
            }
            StatusCode::NOT_FOUND => String::new(),
            status => {
                let text = answer.text();
                return Ok(Standing::Waiting(format!("{} answered {status}: {text}", client.at())));
            }
        };
        if looks.is_multiple_of(LOOKS) {
            let path = format!("/puppet-ca/v1/certificate_request/{name}");
            let body = Bytes::from(csr.pem.clone());
            let answer = client.request(Method::PUT, &path, Some(("text/plain", body))).await?;
            if !answer.status.is_success() {
                let (status, text) = (answer.status, answer.text());
                // The id is new each time, and what is the same is said once.
                let text = text.split(" (request id").next().unwrap_or_default();
                return Ok(Standing::Waiting(format!(
                    "the CA refuses the request ({status}): {text}{unusable}"
                )));
            }
            // It may have been signed on the spot.
            *looks += 1;
            return Box::pin(self.look(client, csr, looks, now)).await;
        }
        *looks += 1;
        Ok(Standing::Waiting(format!("the CA has not signed it; there: bunraku ca sign {name}{unusable}")))
    }
}
