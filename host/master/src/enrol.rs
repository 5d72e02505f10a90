//! Who is signed: a certificate request from its arrival to its verdict.
//!
//! The host checks first and asks plugins last. Only an explicit approve of
//! the live set signs; whatever else happens, the request stays pending and
//! its row says why.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use ca::{Grant, Occasion};
use decide::Verdict;
use pki::{Certificate, CertificateRequest, Certname};
use store::{DecisionRow, RequestKey, RequestRow, Submission};
use time::OffsetDateTime;
use tokio::sync::{Mutex, MutexGuard};

use crate::decider::Decided;
use crate::{Failed, Master, Peer};

/// What became of a submitted request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// A certificate is there to fetch.
    Signed,
    /// It waits.
    Pending,
}

/// Why a request was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The request is at fault; the text is for the agent. Nothing was stored.
    #[error("{0}")]
    Refused(String),
    /// Too many requests wait.
    #[error("too many certificate requests wait; try again later")]
    Quota {
        /// When to try again.
        retry_after: Duration,
    },
    /// We are at fault.
    #[error(transparent)]
    Failed(#[from] Failed),
}

/// One name's enrolment happens in one place at a time: two requests that race
/// would otherwise both be signed. Names share a fixed number of locks.
pub struct Locks([Mutex<()>; 64]);

impl Default for Locks {
    fn default() -> Self {
        Locks(std::array::from_fn(|_| Mutex::new(())))
    }
}

impl Locks {
    async fn take(&self, name: &Certname) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let at = usize::try_from(hasher.finish() % 64).unwrap_or(0);
        #[expect(clippy::indexing_slicing, reason = "64 locks, and `at` is less than 64")]
        self.0[at].lock().await
    }
}

impl Master {
    /// Takes a certificate request: checks it, stores it, decides on it and, on
    /// an approve, signs it. `name` is the path's segment.
    ///
    /// # Errors
    /// [`SubmitError::Refused`] before anything is stored or asked.
    pub async fn submit_request(
        &self,
        name: &str,
        pem: &[u8],
        peer: &Peer,
    ) -> Result<Submitted, SubmitError> {
        let certname = Certname::parse(name).map_err(|e| SubmitError::Refused(e.to_string()))?;
        let request = CertificateRequest::parse(pem, &self.parts.authority.request_rules())
            .map_err(|e| SubmitError::Refused(e.to_string()))?;
        if request.certname != certname {
            return Err(SubmitError::Refused(format!(
                "Instance name \"{}\" does not match requested key \"{certname}\"",
                request.certname
            )));
        }
        let from_own_host = peer.address.is_some_and(is_own);
        self.parts
            .authority
            .check_request(&request, from_own_host)
            .map_err(|e| SubmitError::Refused(e.to_string()))?;
        let _turn = self.enrolments.take(&certname).await;
        let occasion = match self.occasion(&request, peer).await? {
            Some(occasion) => occasion,
            None => return Ok(Submitted::Signed),
        };
        self.keep(&request, peer).await?;
        tracing::info!(%certname, fingerprint = %request.fingerprint, "{certname} has a waiting certificate request");
        self.settle(&request, occasion, peer.address.map(|a| a.to_string()))
            .await
            .map_err(SubmitError::Failed)
    }

    /// The signed certificate of that name as PEM. An agent that polls makes us
    /// look at its pending request again.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn certificate(&self, name: &str) -> Result<Option<String>, Failed> {
        let Ok(certname) = Certname::parse(name) else { return Ok(None) };
        if let Some(certificate) = self.live(&certname).await? {
            return Ok(Some(certificate.to_pem()));
        }
        let waiting = self.parts.store.requests_of(certname.as_str()).await?;
        for row in waiting {
            if self.may_look_again(&row) && self.look_again(&row).await? == Submitted::Signed {
                return Ok(self.live(&certname).await?.map(|c| c.to_pem()));
            }
        }
        Ok(None)
    }

    /// A pending request as PEM, for administrators alone: it may hold a token.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn pending_request(&self, name: &str) -> Result<Option<String>, Failed> {
        let Ok(certname) = Certname::parse(name) else { return Ok(None) };
        Ok(self.parts.store.requests_of(certname.as_str()).await?.into_iter().next().map(|row| row.pem))
    }

    /// A new certificate for the key of the presented one.
    ///
    /// # Errors
    /// See [`ca::RenewError`].
    pub async fn renew(&self, peer: &Peer) -> Result<String, ca::RenewError> {
        let presented = peer.certificate.as_ref().ok_or(ca::RenewError::NoCertificate)?;
        let renewed = self.parts.authority.renew(presented, OffsetDateTime::now_utc()).await?;
        tracing::info!(certname = %presented.subject_cn, serial = %renewed.serial, "renewed a certificate");
        Ok(renewed.to_pem())
    }

    async fn live(&self, certname: &Certname) -> Result<Option<Certificate>, Failed> {
        self.parts.authority.certificate(certname).await.map_err(|error| {
            tracing::error!(%error, "the CA failed");
            Failed::internal("the CA's store does not answer")
        })
    }

    /// Why the request is here; `None` if its key is signed already.
    async fn occasion(
        &self,
        request: &CertificateRequest,
        peer: &Peer,
    ) -> Result<Option<Occasion>, SubmitError> {
        let Some(live) = self.live(&request.certname).await? else { return Ok(Some(Occasion::First)) };
        if live.key_digest == request.key_digest {
            return Ok(None);
        }
        // The TLS handshake proved possession of the live certificate's key.
        match &peer.certificate {
            Some(presented) if presented.serial == live.serial && !self.is_revoked(&live.serial) => {
                Ok(Some(Occasion::Renewal(live.serial)))
            }
            _ => Err(SubmitError::Refused(format!(
                "{} already has a signed certificate; ignoring certificate request",
                request.certname
            ))),
        }
    }

    async fn keep(&self, request: &CertificateRequest, peer: &Peer) -> Result<(), SubmitError> {
        let row = RequestRow {
            key: key_of(request),
            pem: request.to_pem(),
            fingerprint: request.fingerprint.to_string(),
            submitted_at: OffsetDateTime::now_utc().unix_timestamp(),
            peer: peer.address.map(|a| a.to_string()),
            decision: None,
        };
        let (total, per_name) = (self.settings.max_pending, self.settings.max_pending_per_name);
        match self.parts.store.add_request(&row, total, per_name).await.map_err(Failed::from)? {
            Submission::Added | Submission::Known(_) => Ok(()),
            Submission::Full => Err(SubmitError::Quota { retry_after: Duration::from_secs(120) }),
        }
    }

    /// Looks at a stored request again.
    pub(crate) async fn look_again(&self, row: &RequestRow) -> Result<Submitted, Failed> {
        let rules = self.parts.authority.request_rules();
        let request = CertificateRequest::parse(row.pem.as_bytes(), &rules)
            .map_err(|e| Failed::internal(format!("a stored certificate request can't be read: {e}")))?;
        let _turn = self.enrolments.take(&request.certname).await;
        // Another request of the name may have been signed while we waited.
        if let Some(live) = self.live(&request.certname).await? {
            return Ok(if live.key_digest == request.key_digest {
                Submitted::Signed
            } else {
                Submitted::Pending
            });
        }
        self.settle(&request, Occasion::First, row.peer.clone()).await
    }

    /// Decides, and signs or notes why not. The caller holds the name's lock.
    async fn settle(
        &self,
        request: &CertificateRequest,
        occasion: Occasion,
        peer: Option<String>,
    ) -> Result<Submitted, Failed> {
        let decided = self.decider.approval(&self.plugins(), request, &occasion, peer).await;
        let certname = &request.certname;
        let Verdict::Approve { lifetime } = decided.decision.verdict else {
            tracing::info!(%certname, reason = %decided.decision.reason, "not signed");
            self.parts.store.record_decision(&key_of(request), &row_of(&decided)).await?;
            return Ok(Submitted::Pending);
        };
        let grant = Grant { lifetime, occasion };
        match self.parts.authority.issue(request, grant, OffsetDateTime::now_utc()).await {
            Ok(certificate) => {
                tracing::info!(
                    %certname, serial = %certificate.serial, reason = %decided.decision.reason,
                    plugin = decided.decision.by.as_deref().unwrap_or("-"), "signed"
                );
                Ok(Submitted::Signed)
            }
            Err(error) => {
                tracing::error!(%certname, %error, "approved, but the CA could not sign");
                Err(Failed { status: 503, ..Failed::internal("the CA can't sign now; the request is kept") })
            }
        }
    }
}

/// Whether an address is one of this machine's: only to those can a socket be bound.
fn is_own(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

fn key_of(request: &CertificateRequest) -> RequestKey {
    RequestKey { certname: request.certname.to_string(), key_digest: request.key_digest.to_hex() }
}

fn row_of(decided: &Decided) -> DecisionRow {
    let verdict = match (decided.decision.verdict, decided.decision.fault) {
        (Verdict::Approve { .. }, _) => "approve",
        (Verdict::Deny, _) => "deny",
        (Verdict::Pending, false) => "pending",
        (Verdict::Pending, true) => "no-decision",
    };
    DecisionRow {
        verdict: verdict.to_owned(),
        reason: decided.decision.reason.clone(),
        plugin: decided.decision.by.clone(),
        plugin_digest: decided.plugin_digest.clone(),
        plugin_set: decided.plugin_set.clone(),
        registry_version: serde_json::to_string(&decided.seen).ok(),
        decided_at: OffsetDateTime::now_utc().unix_timestamp(),
    }
}
