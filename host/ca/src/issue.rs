//! The one gate through which certificates leave: nothing is returned before its row is durable.
//!
//! Whoever asks, an agent, a plugin's approval or an administrator, comes through `Inner::issue`, whose
//! transaction refuses a name that is taken or revoked and a key that was given up.

use std::sync::Arc;
use std::time::Duration;

use pki::{
    Certificate, CertificateRequest, Certname, Extension, PP_CLI_AUTH, RequestRules, Serial, Template,
    sign_certificate,
};
use store::{CertificateRow, FromRequest, RequestKey};
use time::OffsetDateTime;

use crate::authority::{Authority, Inner, parsed, whole, within};
use crate::founding::BACKDATED;
use crate::{Error, RenewError};

/// How often a serial is drawn anew should one be taken: with 126 random bits, once is never.
const DRAWS: usize = 3;

/// What was granted to a request.
#[derive(Debug, Clone)]
pub struct Grant {
    /// A shorter life than the settings'; a longer one is cut.
    pub lifetime: Option<Duration>,
    /// Why the request is here.
    pub occasion: Occasion,
    /// It is one that waits in the store: where it no longer does, somebody has taken it away and nothing
    /// is signed. Else it was brought along.
    pub waits: bool,
}

/// Why a request is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Occasion {
    /// The name has no certificate in force.
    First,
    /// The node has proved in TLS that it holds the certificate in force, of this serial, and wants one
    /// for another key. The old one is revoked in the transaction that stores the new one.
    Renewal(Serial),
    /// An administrator said so. The name must have no certificate in force, as for the first.
    Administrator,
}

/// How an administrator wants a certificate for a request of his own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GenerateOptions {
    /// A shorter life than the settings'; a longer one is cut.
    pub lifetime: Option<Duration>,
    /// With `pp_cli_auth`: its holder is an administrator.
    pub admin: bool,
}

/// Everything about a certificate to be but its serial and validity.
pub(crate) struct Wish {
    pub template: Box<dyn Fn(Serial, OffsetDateTime, OffsetDateTime) -> Option<Template> + Send + Sync>,
    pub lifetime: Option<Duration>,
    pub from_request: Option<Candidate>,
    /// The serial to replace, and the reason if it is to be revoked.
    pub replaces: Option<(Serial, Option<pki::crl::Reason>)>,
}

/// The request that a certificate is for.
pub(crate) struct Candidate {
    key: RequestKey,
    waits: bool,
}

impl Authority {
    /// Signs a request that was approved, and notes it. When this returns, the certificate is durable
    /// in the inventory, and the request and the name's other candidates are gone.
    ///
    /// # Errors
    /// [`Error::AlreadySigned`] where the name has a certificate in force that this does not replace;
    /// [`Error::NameRevoked`] and [`Error::KeyRevoked`] where name or key are revoked;
    /// [`Error::RequestGone`] where it was to wait and no longer does;
    /// [`Error::ServerName`] and [`Error::Undeclared`] for a name of the server's or a master's;
    /// [`Error::Presented`] where the certificate to replace is not fit for it; [`Error::LowSpace`]. The
    /// request stays where it is.
    pub async fn issue(
        &self,
        request: &CertificateRequest,
        grant: Grant,
        now: OffsetDateTime,
    ) -> Result<Certificate, Error> {
        self.inner.refuse_low_space()?;
        self.check_request(request, true)?;
        let (authority, request) = (self.again(), request.clone());
        whole(async move { authority.grant(&request, grant, now).await }).await
    }

    async fn grant(
        self,
        request: &CertificateRequest,
        grant: Grant,
        now: OffsetDateTime,
    ) -> Result<Certificate, Error> {
        let inner = &self.inner;
        let _turn;
        let replaces = match &grant.occasion {
            Occasion::First | Occasion::Administrator => None,
            Occasion::Renewal(serial) => {
                _turn = inner.replacing.lock().await;
                inner.replaceable(&request.certname, serial, now).await?;
                Some((serial.clone(), Some(pki::crl::Reason::Superseded)))
            }
        };
        let revokes = replaces.as_ref().map(|(serial, _)| serial.clone());
        let certificate =
            inner.issue_for(request, grant.waits, Vec::new(), grant.lifetime, replaces, now).await?;
        inner.counters.note_signed(revokes.is_some());
        if let Some(serial) = revokes {
            self.note_revoked([&serial], now);
        }
        Ok(certificate)
    }

    /// Signs a request that an administrator brings himself. It may ask for alternative names and
    /// authorization extensions, but not for names of the server's or a master's.
    ///
    /// # Errors
    /// [`Error::Request`] for one that is not sound; else as [`Authority::issue`].
    pub async fn generate(
        &self,
        pem: &[u8],
        options: GenerateOptions,
        now: OffsetDateTime,
    ) -> Result<Certificate, Error> {
        let inner = &self.inner;
        inner.refuse_low_space()?;
        let rules = RequestRules { allow_subject_alt_names: true, allow_authorization_extensions: true };
        let request = CertificateRequest::parse(pem, &rules)?;
        inner.check_names(&request.certname, &request.alt_names)?;
        let more = if options.admin { vec![Extension::new(PP_CLI_AUTH, "true")] } else { Vec::new() };
        let certificate = inner.issue_for(&request, false, more, options.lifetime, None, now).await?;
        inner.counters.note_signed(false);
        Ok(certificate)
    }

    /// A new certificate for the name, key, alternative names and extensions of the presented one,
    /// whose holder has proved in TLS that it has the key. The old one stays good until it expires, for
    /// the node may still be using it, but cannot be renewed again.
    ///
    /// # Errors
    /// [`RenewError`], read from the inventory, and once more in the transaction that issues.
    pub async fn renew(
        &self,
        presented: &Certificate,
        now: OffsetDateTime,
    ) -> Result<Certificate, RenewError> {
        let inner = &self.inner;
        if !inner.settings.renewal {
            return Err(RenewError::Disabled);
        }
        let serial = presented.serial.to_hex();
        let row = inner.store.certificate_by_serial(&serial).await?.ok_or(RenewError::Foreign)?;
        // Byte for byte one of the inventory's, and nothing gets there but by this CA's key.
        if row.der != presented.der {
            return Err(RenewError::Foreign);
        }
        fit(&row, now)?;
        inner.renew(presented, now).await
    }

    /// As [`Authority::renew`], because an administrator says so: without the node, and though the
    /// certificate may have expired.
    ///
    /// # Errors
    /// [`Error::NoCertificate`], in [`RenewError::Failed`], where the name has none that is not revoked.
    pub async fn renew_name(
        &self,
        certname: &Certname,
        now: OffsetDateTime,
    ) -> Result<Certificate, RenewError> {
        let row = self.inner.store.live_certificate(certname.as_str()).await?;
        let row = row.ok_or_else(|| Error::NoCertificate { certname: certname.to_string() })?;
        self.inner.renew(&parsed(&row)?, now).await
    }
}

impl Inner {
    /// A certificate for a request, which with the name's other candidates is gone then.
    async fn issue_for(
        self: &Arc<Self>,
        request: &CertificateRequest,
        waits: bool,
        more: Vec<Extension>,
        lifetime: Option<Duration>,
        replaces: Option<(Serial, Option<pki::crl::Reason>)>,
        now: OffsetDateTime,
    ) -> Result<Certificate, Error> {
        let key = RequestKey {
            certname: request.certname.as_str().to_owned(),
            key_digest: request.key_digest.to_hex(),
        };
        let from_request = Candidate { key, waits };
        let asked = request.clone();
        let template = move |serial, from, to| {
            let mut template = Template::for_request(&asked, serial, from, to);
            template.extensions.extend(more.iter().cloned());
            Some(template)
        };
        let wish =
            Wish { template: Box::new(template), lifetime, from_request: Some(from_request), replaces };
        self.issue(wish, now).await.map_err(|error| match error {
            Error::Store(store::Error::NameTaken { certname, serial }) => {
                Error::AlreadySigned { certname, serial }
            }
            Error::Store(store::Error::NameRevoked { certname, serial }) => {
                Error::NameRevoked { certname, serial }
            }
            Error::Store(store::Error::KeyRevoked { serial }) => Error::KeyRevoked { serial },
            Error::Store(store::Error::RequestGone { certname }) => Error::RequestGone { certname },
            other => other,
        })
    }

    /// A successor of this certificate for the same key. The old one's state is read in the transaction
    /// that issues.
    async fn renew(
        self: &Arc<Self>,
        presented: &Certificate,
        now: OffsetDateTime,
    ) -> Result<Certificate, RenewError> {
        self.refuse_low_space()?;
        // The server or a master may have taken a node's name since; the server's own certificate is not
        // a node's.
        if presented.extension("pp_cli_auth").is_none()
            && let Some(certname) = &presented.certname
        {
            self.check_names(certname, &presented.alt_names)?;
        }
        let old = presented.clone();
        let wish = Wish {
            template: Box::new(move |serial, from, to| Template::for_renewal(&old, serial, from, to)),
            lifetime: None,
            from_request: None,
            replaces: Some((presented.serial.clone(), None)),
        };
        let certificate = self.issue(wish, now).await.map_err(|error| match error {
            Error::Store(error) => RenewError::from(error),
            other => RenewError::Failed(other),
        })?;
        self.counters.note_signed(true);
        Ok(certificate)
    }

    pub(crate) async fn issue(
        self: &Arc<Self>,
        wish: Wish,
        now: OffsetDateTime,
    ) -> Result<Certificate, Error> {
        let ca = self.issuer.certificate();
        within(ca, now)?;
        let now = now.replace_nanosecond(0).unwrap_or(now);
        let longest = self.settings.certificate_ttl;
        let lifetime = wish.lifetime.map_or(longest, |granted| granted.min(longest));
        let not_before = (now - BACKDATED).max(ca.not_before);
        let not_after = time::Duration::try_from(lifetime).ok().and_then(|life| now.checked_add(life));
        let not_after = not_after.map_or(ca.not_after, |end| end.min(ca.not_after));
        if lifetime < Duration::from_secs(1) {
            return Err(Error::Lifetime(lifetime));
        }
        let mut draw = 1;
        loop {
            let template = (wish.template)(Serial::random()?, not_before, not_after);
            let template = template.ok_or_else(|| Error::Presented("its subject is no certname".into()))?;
            let sign = move |issuer: &pki::Issuer| Ok(sign_certificate(&template, issuer)?);
            let certificate = self.signing(sign).await?;
            match self.record(&certificate, &wish, now).await {
                Err(store::Error::SerialTaken { .. }) if draw < DRAWS => draw += 1,
                Err(error) => return Err(Error::Store(error)),
                Ok(()) => return Ok(certificate),
            }
        }
    }

    async fn record(
        &self,
        certificate: &Certificate,
        wish: &Wish,
        now: OffsetDateTime,
    ) -> Result<(), store::Error> {
        let row = CertificateRow {
            serial: certificate.serial.to_hex(),
            certname: certificate.subject_cn.clone(),
            der: certificate.der.clone(),
            key_digest: certificate.key_digest.to_hex(),
            not_before: certificate.not_before.unix_timestamp(),
            not_after: certificate.not_after.unix_timestamp(),
            issued_at: now.unix_timestamp(),
            revoked_at: None,
            revocation_reason: None,
            superseded_by: None,
            cleaned_at: None,
        };
        let old = wish.replaces.as_ref().map(|(serial, reason)| (serial.to_hex(), *reason));
        let replaces = old.as_ref().map(|(serial, reason)| {
            (serial.as_str(), reason.unwrap_or(pki::crl::Reason::Superseded).as_str(), reason.is_some())
        });
        let from = wish.from_request.as_ref().map(|from| match from.waits {
            true => FromRequest::Waiting(&from.key),
            false => FromRequest::Brought(&from.key.certname),
        });
        self.store.issue_certificate(&row, from, replaces, now.unix_timestamp()).await
    }

    /// Whether a certificate of this name and serial may be replaced by one for another key.
    async fn replaceable(
        &self,
        certname: &Certname,
        serial: &Serial,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let row = self.store.certificate_by_serial(&serial.to_hex()).await?;
        let unfit = match row {
            Some(row) if parsed(&row)?.certname.as_ref() == Some(certname) => fit(&row, now).err(),
            Some(_) => return Err(Error::Presented("it is another node's".into())),
            None => Some(RenewError::Foreign),
        };
        unfit.map_or(Ok(()), |error| Err(Error::Presented(error.to_string())))
    }
}

/// Whether a certificate of ours is in force.
pub(crate) fn fit(row: &CertificateRow, now: OffsetDateTime) -> Result<(), RenewError> {
    let now = now.unix_timestamp();
    if row.revoked_at.is_some() {
        Err(RenewError::Revoked)
    } else if now > row.not_after {
        Err(RenewError::Expired)
    } else if now < row.not_before {
        Err(RenewError::NotYetValid)
    } else if row.superseded_by.is_some() {
        Err(RenewError::Superseded)
    } else {
        Ok(())
    }
}
