//! The one gate through which certificates leave: nothing is returned before its row is durable.

use std::sync::Arc;
use std::time::Duration;

use pki::{AltName, Certificate, CertificateRequest, Certname, Serial, Template, sign_certificate};
use store::{CertificateRow, RequestKey};
use time::OffsetDateTime;

use crate::authority::{Authority, Inner, parsed, within};
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
}

/// Why a request is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Occasion {
    /// The name has no certificate in force.
    First,
    /// The node has proved in TLS that it holds the certificate in force, of this serial, and wants one
    /// for another key. The old one is revoked in the transaction that stores the new one.
    Renewal(Serial),
}

/// Everything about a certificate to be but its serial and validity.
pub(crate) struct Wish {
    pub template: Box<dyn Fn(Serial, OffsetDateTime, OffsetDateTime) -> Option<Template> + Send + Sync>,
    pub lifetime: Option<Duration>,
    pub from_request: Option<RequestKey>,
    /// The serial to replace, and the reason if it is to be revoked.
    pub replaces: Option<(Serial, Option<pki::crl::Reason>)>,
}

impl Authority {
    /// What can be said against a request before anybody is asked or anything is stored: it is for a
    /// name of the server's. Only a request that came from the server's own machine may be for that
    /// machine's name. The error's text is for the agent, with status 400.
    ///
    /// # Errors
    /// [`Error::ServerName`].
    pub fn check_request(&self, request: &CertificateRequest, from_own_host: bool) -> Result<(), Error> {
        let own = AltName::Dns(request.certname.as_str().to_owned());
        if !from_own_host && self.inner.is_server_name(&own) {
            return Err(Error::ServerName { name: own.value() });
        }
        self.inner.refuse_server_names(std::iter::once(&own).chain(&request.alt_names))
    }

    /// Signs a request that was approved, and notes it. When this returns, the certificate is durable
    /// in the inventory, and the request and the name's other candidates are gone.
    ///
    /// # Errors
    /// [`Error::AlreadySigned`] where the name has a certificate in force that this does not replace;
    /// [`Error::ServerName`] for a name of the server's; [`Error::Presented`] where the certificate to
    /// replace is not fit for it. The request stays where it is.
    pub async fn issue(
        &self,
        request: &CertificateRequest,
        grant: Grant,
        now: OffsetDateTime,
    ) -> Result<Certificate, Error> {
        let inner = &self.inner;
        self.check_request(request, true)?;
        let _turn;
        let replaces = match &grant.occasion {
            Occasion::First => None,
            Occasion::Renewal(serial) => {
                _turn = inner.replacing.lock().await;
                inner.replaceable(&request.certname, serial, now).await?;
                Some((serial.clone(), Some(pki::crl::Reason::Superseded)))
            }
        };
        let from_request = RequestKey {
            certname: request.certname.as_str().to_owned(),
            key_digest: request.key_digest.to_hex(),
        };
        let revokes = replaces.as_ref().map(|(serial, _)| serial.clone());
        let asked = request.clone();
        let wish = Wish {
            template: Box::new(move |serial, from, to| Some(Template::for_request(&asked, serial, from, to))),
            lifetime: grant.lifetime,
            from_request: Some(from_request),
            replaces,
        };
        let certificate = inner.issue(wish, now).await.map_err(|error| match error {
            Error::Store(store::Error::NameTaken { certname, serial }) => {
                Error::AlreadySigned { certname, serial }
            }
            other => other,
        })?;
        if let Some(serial) = revokes {
            self.note_revoked(&serial, now);
        }
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
        let serial = presented.serial.to_hex();
        let row = inner.store.certificate_by_serial(&serial).await?.ok_or(RenewError::Foreign)?;
        // Byte for byte one of the inventory's, and nothing gets there but by this CA's key.
        if row.der != presented.der {
            return Err(RenewError::Foreign);
        }
        fit(&row, now)?;
        // The server may have taken a node's name since; its own certificate is not a node's.
        if presented.extension("pp_cli_auth").is_none() {
            inner.refuse_server_names(&presented.alt_names)?;
        }
        let old = presented.clone();
        let wish = Wish {
            template: Box::new(move |serial, from, to| Template::for_renewal(&old, serial, from, to)),
            lifetime: None,
            from_request: None,
            replaces: Some((presented.serial.clone(), None)),
        };
        inner.issue(wish, now).await.map_err(|error| match error {
            Error::Store(error) => RenewError::from(error),
            other => RenewError::Failed(other),
        })
    }
}

impl Inner {
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
            let certificate = self.signing(move |issuer| sign_certificate(&template, issuer)).await?;
            match self.record(&certificate, &wish, now).await {
                Err(store::Error::SerialTaken { .. }) if draw < DRAWS => draw += 1,
                Err(error) => return Err(Error::Store(error)),
                Ok(()) => return Ok(certificate),
            }
        }
    }

    /// A node with one of the server's names could play the server (CVE-2011-3872 and its kin).
    fn refuse_server_names<'a>(&self, names: impl IntoIterator<Item = &'a AltName>) -> Result<(), Error> {
        match names.into_iter().find(|name| self.is_server_name(name) && !self.is_host(name)) {
            Some(name) => Err(Error::ServerName { name: name.value() }),
            None => Ok(()),
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
        self.store.issue_certificate(&row, wish.from_request.as_ref(), replaces, now.unix_timestamp()).await
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
