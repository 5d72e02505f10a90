//! Who is signed: a certificate request from its arrival to its verdict.
//!
//! The host checks first and asks plugins last. Only an explicit approve of
//! the live set signs; whatever else happens, the request stays pending and
//! its row says why.

use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ca::{Grant, Occasion, RenewError};
use decide::Verdict;
use journal::{Kind, Record};
use pki::{AltName, Certificate, CertificateRequest, Certname, KNOWN_SECRETS};
use serde_json::Value;
use store::{DecisionRow, RequestKey, RequestRow, Submission};
use time::OffsetDateTime;

use crate::chains::approval;
use crate::decider::Decided;
use crate::statuses::READ_ALL;
use crate::told::Asking;
use crate::{Failed, Master, Peer, convert, record};

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
        let submitted = self.submit(&certname, pem, peer).await;
        if let Err(SubmitError::Refused(reason)) = &submitted {
            self.note(self.refusal(&certname, peer, "first", reason.clone()), false);
        }
        submitted
    }

    async fn submit(&self, certname: &Certname, pem: &[u8], peer: &Peer) -> Result<Submitted, SubmitError> {
        let ca = self.ca()?;
        let request = CertificateRequest::parse(pem, &ca.request_rules_for(certname))
            .map_err(|e| SubmitError::Refused(e.to_string()))?;
        if request.certname != *certname {
            return Err(SubmitError::Refused(format!(
                "Instance name \"{}\" does not match requested key \"{certname}\"",
                request.certname
            )));
        }
        let from_own_host = peer.address.is_some_and(is_own);
        ca.check_request(&request, from_own_host).map_err(|e| SubmitError::Refused(e.to_string()))?;
        let _turn = self.enrolments.take(certname).await;
        let live = ca.standing(&request).await.map_err(|error| match error {
            ca::Error::NameRevoked { .. } | ca::Error::KeyRevoked { .. } => {
                SubmitError::Refused(error.to_string())
            }
            error => SubmitError::Failed(unanswering(&error)),
        })?;
        let occasion = match self.occasion(&request, live, peer)? {
            Some(occasion) => occasion,
            None => return Ok(Submitted::Signed),
        };
        let before = self.keep(&request, peer).await?;
        tracing::info!(%certname, fingerprint = %request.fingerprint, "{certname} has a waiting certificate request");
        self.settle(&request, occasion, peer.address.map(|a| a.to_string()), before.as_ref())
            .await
            .map_err(SubmitError::Failed)
    }

    /// A request that the host's own checks refuse.
    fn refusal(&self, certname: &Certname, peer: &Peer, occasion: &str, reason: String) -> Record {
        Record {
            occasion: Some(occasion.to_owned()),
            peer: peer.address.map(|address| address.to_string()),
            ..record::of_host(&self.plugins(), Kind::Approval, certname.as_str(), "deny", reason)
        }
    }

    /// The signed certificate of that name as PEM. An agent that polls makes us
    /// look at its pending request again.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn certificate(&self, name: &str) -> Result<Option<String>, Failed> {
        self.ca()?;
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
        self.ca()?;
        let Ok(certname) = Certname::parse(name) else { return Ok(None) };
        Ok(self.parts.store.requests_of(certname.as_str()).await?.into_iter().next().map(|row| row.pem))
    }

    /// A new certificate, as PEM: for the key of the presented one, or for
    /// that of a request which asks for nothing else than what the presented
    /// one has. In that case the old one is revoked.
    ///
    /// # Errors
    /// 404 where renewal is off, 400 without a certificate or for a request
    /// that is none, 403 where this certificate may not be renewed.
    pub async fn renew(&self, peer: &Peer, csr: Option<&[u8]>) -> Result<String, Failed> {
        let (ca, now) = (self.ca()?, OffsetDateTime::now_utc());
        let presented = peer.certificate.as_ref().ok_or(RenewError::NoCertificate).map_err(not_renewed)?;
        let renewed = match csr {
            None => ca.renew(presented, now).await.map_err(not_renewed)?,
            Some(_) if !self.settings.renewal => return Err(not_renewed(RenewError::Disabled)),
            Some(csr) => {
                let request = self.renewal(presented, csr).inspect_err(|refused| {
                    if let Some(certname) = &presented.certname {
                        self.note(self.refusal(certname, peer, "renewal", refused.message.clone()), false);
                    }
                })?;
                let _turn = self.enrolments.take(&request.certname).await;
                let occasion = Occasion::Renewal(presented.serial.clone());
                let grant = Grant { lifetime: None, occasion, waits: false };
                let reason = "asks for what its certificate has: no policy is asked".to_owned();
                let granted = self.refusal(&request.certname, peer, "renewal", reason);
                self.note_durably(Record { verdict: "approve".to_owned(), ..granted }, false).await?;
                ca.issue(&request, grant, now).await.map_err(|error| not_renewed(error.into()))?
            }
        };
        tracing::info!(certname = %presented.subject_cn, serial = %renewed.serial, new_key = csr.is_some(), "renewed a certificate");
        Ok(renewed.to_pem())
    }

    /// The request that comes with a renewal. No policy is asked, so it may
    /// ask for no more than was approved before.
    fn renewal(&self, presented: &Certificate, csr: &[u8]) -> Result<CertificateRequest, Failed> {
        let request =
            CertificateRequest::parse(csr, &READ_ALL).map_err(|e| Failed::bad_request(e.to_string()))?;
        if presented.certname.as_ref() != Some(&request.certname) {
            return Err(Failed::bad_request(format!(
                "Instance name \"{}\" does not match the certificate of {}",
                request.certname, presented.subject_cn
            )));
        }
        if !asks_for_the_same(&request, presented) {
            return Err(Failed::forbidden(
                "the request asks for other names or extensions than the certificate has; submit it as a certificate request",
            ));
        }
        Ok(request)
    }

    async fn live(&self, certname: &Certname) -> Result<Option<Certificate>, Failed> {
        self.ca()?.certificate(certname).await.map_err(|error| unanswering(&error))
    }

    /// Why the request is here; `None` if its key is signed already.
    fn occasion(
        &self,
        request: &CertificateRequest,
        live: Option<Certificate>,
        peer: &Peer,
    ) -> Result<Option<Occasion>, SubmitError> {
        let Some(live) = live else { return Ok(Some(Occasion::First)) };
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

    /// Lets the request wait; says what was last decided about it.
    async fn keep(
        &self,
        request: &CertificateRequest,
        peer: &Peer,
    ) -> Result<Option<DecisionRow>, SubmitError> {
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
            Submission::Added => Ok(None),
            Submission::Known(row) => Ok(row.decision),
            Submission::Full => Err(SubmitError::Quota { retry_after: Duration::from_secs(120) }),
        }
    }

    /// Looks at a stored request again.
    pub(crate) async fn look_again(&self, row: &RequestRow) -> Result<Submitted, Failed> {
        let unreadable =
            |e: String| Failed::internal(format!("a stored certificate request can't be read: {e}"));
        let certname = Certname::parse(&row.key.certname).map_err(|e| unreadable(e.to_string()))?;
        let rules = self.ca()?.request_rules_for(&certname);
        let request =
            CertificateRequest::parse(row.pem.as_bytes(), &rules).map_err(|e| unreadable(e.to_string()))?;
        let _turn = self.enrolments.take(&request.certname).await;
        // Another request of the name may have been signed while we waited.
        if let Some(live) = self.live(&request.certname).await? {
            return Ok(if live.key_digest == request.key_digest {
                Submitted::Signed
            } else {
                Submitted::Pending
            });
        }
        // Or this one was, and the name cleaned since; or an administrator took it away. (Held by `cargo xtask crash`.)
        let waiting = self.parts.store.requests_of(&row.key.certname).await?;
        if !waiting.iter().any(|other| other.key == row.key) {
            return Ok(Submitted::Pending);
        }
        self.settle(&request, Occasion::First, row.peer.clone(), row.decision.as_ref()).await
    }

    /// Decides, and signs or notes why not. The caller holds the name's lock.
    async fn settle(
        &self,
        request: &CertificateRequest,
        occasion: Occasion,
        peer: Option<String>,
        before: Option<&DecisionRow>,
    ) -> Result<Submitted, Failed> {
        let first = before.is_none() && occasion == Occasion::First;
        let (set, began) = (self.plugins(), Instant::now());
        let (asking, csr) = (Asking::about(Arc::new(Value::Null)), convert::csr(request, &occasion, peer));
        let mut approved = approval(&set, &asking, &csr, &self.decider).await;
        let record = record::of_approval(&set, &asking, &csr, &mut approved, began.elapsed());
        let decided = Decided::of(&set, approved);
        let certname = &request.certname;
        let Verdict::Approve { lifetime } = decided.decision.verdict else {
            let row = row_of(&decided);
            match before.is_some_and(|before| repeats(before, &row)) {
                true => self.observe(&record, false),
                false => self.note(record, first),
            }
            tracing::info!(%certname, reason = %decided.decision.reason, "not signed");
            self.parts.store.record_decision(&key_of(request), &row).await?;
            return Ok(Submitted::Pending);
        };
        if let Err(failed) = self.note_durably(record, first).await {
            let reason = "approved, but the journal cannot be written".to_owned();
            let row = DecisionRow { verdict: "no-decision".to_owned(), reason, ..row_of(&decided) };
            self.parts.store.record_decision(&key_of(request), &row).await?;
            return Err(Failed { message: format!("{failed}; the request is kept"), ..failed });
        }
        let grant = Grant { lifetime, occasion, waits: true };
        let error = match self.ca()?.issue(request, grant, OffsetDateTime::now_utc()).await {
            Ok(certificate) => {
                tracing::info!(
                    %certname, serial = %certificate.serial, reason = %decided.decision.reason,
                    plugin = decided.decision.by.as_deref().unwrap_or("-"), "signed"
                );
                return Ok(Submitted::Signed);
            }
            Err(error) => error,
        };
        tracing::error!(%certname, %error, "approved, but the CA could not sign");
        if is_forbidden(&error) {
            // An administrator sees why it waits, and no agent need try again.
            let row = DecisionRow {
                verdict: "pending".to_owned(),
                reason: format!("approved, but the CA may not sign: {error}"),
                ..row_of(&decided)
            };
            self.parts.store.record_decision(&key_of(request), &row).await?;
            return Ok(Submitted::Pending);
        }
        Err(Failed::unavailable("the CA can't sign now; the request is kept"))
    }
}

/// What the CA will not sign, however often it is asked.
fn is_forbidden(error: &ca::Error) -> bool {
    use ca::Error;
    matches!(
        error,
        Error::AlreadySigned { .. }
            | Error::NameRevoked { .. }
            | Error::KeyRevoked { .. }
            | Error::RequestGone { .. }
            | Error::ServerName { .. }
            | Error::Undeclared { .. }
            | Error::Presented(_)
    )
}

/// Whether a request asks for the names and extensions that the certificate
/// has, no more and no less.
fn asks_for_the_same(request: &CertificateRequest, presented: &Certificate) -> bool {
    let others = |names: &[AltName]| -> BTreeSet<AltName> {
        let own = AltName::Dns(request.certname.as_str().to_owned());
        names.iter().filter(|name| **name != own).cloned().collect()
    };
    let asked = request.extensions.iter().filter(|e| !KNOWN_SECRETS.contains(&e.oid.as_str()));
    let asked: BTreeSet<(&str, &str)> = asked.map(|e| (e.label(), e.value.as_str())).collect();
    let has = presented.extensions.iter().map(|(label, value)| (label.as_str(), value.as_str())).collect();
    asked == has && others(&request.alt_names) == others(&presented.alt_names)
}

fn not_renewed(error: RenewError) -> Failed {
    match error {
        RenewError::Disabled => Failed::not_found(error.to_string()),
        RenewError::NoCertificate => Failed::bad_request(error.to_string()),
        RenewError::Failed(error) if is_forbidden(&error) => Failed::forbidden(error.to_string()),
        RenewError::Failed(error) => {
            tracing::error!(%error, "a certificate could not be renewed");
            Failed::unavailable("the CA can't sign now")
        }
        refused => Failed::forbidden(refused.to_string()),
    }
}

fn unanswering(error: &ca::Error) -> Failed {
    tracing::error!(%error, "the CA failed");
    Failed::internal("the CA's store does not answer")
}

/// Whether an address is one of this machine's: only to those can a socket be bound.
fn is_own(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

fn key_of(request: &CertificateRequest) -> RequestKey {
    RequestKey { certname: request.certname.to_string(), key_digest: request.key_digest.to_hex() }
}

/// Whether nothing was decided again, for the same reason: such a request is looked at over and over, and
/// one record of it is enough.
fn repeats(before: &DecisionRow, now: &DecisionRow) -> bool {
    let of = |row: &DecisionRow| (row.verdict.clone(), row.reason.clone(), row.plugin_set.clone());
    now.verdict == "no-decision" && of(before) == of(now)
}

fn row_of(decided: &Decided) -> DecisionRow {
    DecisionRow {
        verdict: record::word(decided.decision.verdict, decided.decision.fault).to_owned(),
        reason: decided.decision.reason.clone(),
        plugin: decided.decision.by.clone(),
        plugin_digest: decided.plugin_digest.clone(),
        plugin_set: decided.plugin_set.clone(),
        registry_version: serde_json::to_string(&decided.seen).ok(),
        decided_at: OffsetDateTime::now_utc().unix_timestamp(),
    }
}
