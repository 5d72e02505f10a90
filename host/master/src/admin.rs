//! What administrators do to the CA: sign, revoke, clean, forget, generate, and publish lists.
//!
//! Who may is the caller's business (see `http`); who did is in the log, here, for every act.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use ca::{GenerateOptions, Grant, Occasion, RenewError, Revoked, UploadError};
use pki::crl::Reason;
use pki::{CertificateRequest, Certname, Serial};
use store::{RequestKey, RequestRow};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::statuses::READ_ALL;
use crate::{Failed, Master};

/// Names of one page of requests when all are signed.
const PAGE: u32 = 500;

/// Who does it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Administrator {
    /// The holder of this name's certificate.
    Certname(Certname),
    /// This user of the machine, as the kernel says.
    Local {
        /// Root's, or the daemon's own.
        uid: u32,
    },
}

impl fmt::Display for Administrator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Administrator::Certname(certname) => certname.fmt(f),
            Administrator::Local { uid } => write!(f, "local administrator (uid {uid})"),
        }
    }
}

/// What came of signing several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signing {
    /// Names that were signed.
    pub signed: Vec<String>,
    /// Names that nobody asks for.
    pub no_csr: Vec<String>,
    /// Names that could not be signed; the log says why.
    pub errors: Vec<String>,
}

/// What is to be revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoke {
    /// All certificates of a name.
    Name(String),
    /// One certificate.
    Serial(Serial),
}

impl Master {
    /// Signs the name's request, or the one of its requests with this SHA-256 fingerprint. A longer
    /// lifetime than the CA allows is cut.
    ///
    /// # Errors
    /// 404 for a name that nobody knows; 409 without a request, with several to choose from, and where
    /// the CA's rules forbid it; 503 when the CA cannot sign now.
    pub async fn sign(
        &self,
        name: &str,
        fingerprint: Option<&str>,
        lifetime: Option<Duration>,
        by: &Administrator,
    ) -> Result<(), Failed> {
        let ca = self.ca()?;
        let certname = Certname::parse(name).map_err(|_| no_subject())?;
        let _turn = self.enrolments.take(&certname).await;
        let rows = self.parts.store.requests_of(name).await?;
        if rows.is_empty() {
            let text = format!("Cannot sign certificate for host {name} without a certificate request");
            return Err(if self.has_certificate(name).await? {
                Failed::conflict(text)
            } else {
                no_subject()
            });
        }
        let row = chosen(name, rows, fingerprint)?;
        let request = CertificateRequest::parse(row.pem.as_bytes(), &READ_ALL)
            .map_err(|error| Failed::conflict(error.to_string()))?;
        let grant = Grant { lifetime, occasion: Occasion::Administrator, waits: true };
        let signed = ca.issue(&request, grant, OffsetDateTime::now_utc()).await.map_err(refused)?;
        tracing::info!(%by, %certname, serial = %signed.serial, fingerprint = row.fingerprint, "an administrator signed a request");
        Ok(())
    }

    /// Signs these names' requests, or all that wait.
    ///
    /// # Errors
    /// When nothing can be looked up; what goes wrong with one name is said in the answer.
    pub async fn sign_several(
        &self,
        names: Option<Vec<String>>,
        by: &Administrator,
    ) -> Result<Signing, Failed> {
        self.ca()?;
        let mut signing = Signing::default();
        if let Some(names) = names {
            let mut seen = BTreeSet::new();
            for name in names.into_iter().filter(|name| seen.insert(name.clone())) {
                self.sign_one(name, by, &mut signing).await;
            }
            return Ok(signing);
        }
        let mut after: Option<RequestKey> = None;
        loop {
            let page = self.parts.store.requests(after, PAGE).await?;
            let names: BTreeSet<String> = page.iter().map(|row| row.key.certname.clone()).collect();
            for name in names {
                let again = signing.signed.last() == Some(&name) || signing.errors.last() == Some(&name);
                if !again {
                    self.sign_one(name, by, &mut signing).await;
                }
            }
            match page.into_iter().next_back() {
                Some(last) => after = Some(last.key),
                None => return Ok(signing),
            }
        }
    }

    async fn sign_one(&self, name: String, by: &Administrator, signing: &mut Signing) {
        match self.sign(&name, None, None, by).await {
            Ok(()) => signing.signed.push(name),
            Err(failed) => {
                let waits = self.parts.store.requests_of(&name).await.map(|rows| !rows.is_empty());
                // What cannot be looked up is an error, too.
                if waits.unwrap_or(true) {
                    tracing::warn!(%by, certname = name, error = %failed, "a request was not signed");
                    signing.errors.push(name);
                } else {
                    signing.no_csr.push(name);
                }
            }
        }
    }

    /// Revokes. A name is refused from then on, until it is cleaned; what is revoked already stays so.
    ///
    /// # Errors
    /// 404 for a name that nobody knows; 409 for one that only waits; 503 when the store fails.
    pub async fn revoke(&self, what: &Revoke, reason: Reason, by: &Administrator) -> Result<Revoked, Failed> {
        let (ca, now) = (self.ca()?, OffsetDateTime::now_utc());
        match what {
            Revoke::Serial(serial) => {
                let revoked = ca.revoke(serial, reason, now).await.map_err(refused)?;
                tracing::info!(%by, %serial, %reason, ?revoked, "an administrator revoked a certificate");
                Ok(revoked)
            }
            Revoke::Name(name) => {
                let certname = Certname::parse(name).map_err(|_| no_subject())?;
                if !self.has_certificate(name).await? {
                    if self.parts.store.requests_of(name).await?.is_empty() {
                        return Err(no_subject());
                    }
                    return Err(Failed::conflict(format!(
                        "Cannot revoke certificate for host {name} without a signed certificate"
                    )));
                }
                let serials = ca.revoke_name(&certname, reason, now).await.map_err(refused)?;
                tracing::info!(%by, %certname, ?serials, %reason, "an administrator revoked a name");
                Ok(if serials.is_empty() { Revoked::Already } else { Revoked::Done })
            }
        }
    }

    /// Forgets names: their certificates are revoked, their requests gone, the names as good as new.
    /// Answers which of them have no certificate, and are left alone.
    ///
    /// # Errors
    /// When the store fails; those before are cleaned.
    pub async fn clean(&self, names: &[String], by: &Administrator) -> Result<Vec<String>, Failed> {
        self.ca()?;
        let (mut seen, mut missing) = (BTreeSet::new(), Vec::new());
        for name in names.iter().filter(|name| seen.insert(name.as_str())) {
            match Certname::parse(name) {
                Ok(certname) if self.has_certificate(name).await? => self.forget(&certname, by).await?,
                _ => missing.push(name.clone()),
            }
        }
        Ok(missing)
    }

    /// Forgets a name, be it one that only waits. What is forgotten is revoked too: nothing that is
    /// valid is hidden. `false`: nobody knows it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn delete(&self, name: &str, by: &Administrator) -> Result<bool, Failed> {
        self.ca()?;
        let Ok(certname) = Certname::parse(name) else { return Ok(false) };
        let known =
            self.has_certificate(name).await? || !self.parts.store.requests_of(name).await?.is_empty();
        if known {
            self.forget(&certname, by).await?;
        }
        Ok(known)
    }

    async fn forget(&self, certname: &Certname, by: &Administrator) -> Result<(), Failed> {
        let _turn = self.enrolments.take(certname).await;
        let (reason, now) = (Reason::CessationOfOperation, OffsetDateTime::now_utc());
        let cleaned = self.ca()?.clean(certname, reason, now).await.map_err(refused)?;
        tracing::info!(
            %by, %certname, revoked = ?cleaned.revoked, certificates = cleaned.certificates,
            requests = cleaned.requests, "an administrator cleaned a name"
        );
        Ok(())
    }

    /// Takes away a name's requests, or the one with this fingerprint. `false`: there is none.
    ///
    /// # Errors
    /// On a catalog master, and when the store fails.
    pub async fn forget_request(
        &self,
        name: &str,
        fingerprint: Option<&str>,
        by: &Administrator,
    ) -> Result<bool, Failed> {
        self.ca()?;
        let Ok(certname) = Certname::parse(name) else { return Ok(false) };
        let _turn = self.enrolments.take(&certname).await;
        let rows = self.parts.store.requests_of(name).await?;
        let mut any = false;
        for row in rows.iter().filter(|row| fingerprint.is_none_or(|wanted| is(row, wanted))) {
            any |= self.parts.store.drop_request(&row.key).await?;
            tracing::info!(%by, %certname, fingerprint = row.fingerprint, "an administrator took a request away");
        }
        Ok(any)
    }

    /// A certificate for a request that an administrator brings, as PEM.
    ///
    /// # Errors
    /// 400 for a request that is none; 409 where the CA's rules forbid it; 503 when it cannot sign now.
    pub async fn generate(
        &self,
        csr: &[u8],
        lifetime: Option<Duration>,
        admin: bool,
        by: &Administrator,
    ) -> Result<String, Failed> {
        let options = GenerateOptions { lifetime, admin };
        let made = self.ca()?.generate(csr, options, OffsetDateTime::now_utc()).await;
        let made = made.map_err(|error| match error {
            ca::Error::Request(error) => Failed::bad_request(error.to_string()),
            error => refused(error),
        })?;
        tracing::info!(%by, certname = made.subject_cn, serial = %made.serial, admin, "an administrator had a certificate made");
        Ok(made.to_pem())
    }

    /// A new certificate for the key that a name's has, as PEM.
    ///
    /// # Errors
    /// 404 where the name has none; 409 where it may not be renewed; 503 when the CA cannot sign now.
    pub async fn renew_name(&self, name: &str, by: &Administrator) -> Result<String, Failed> {
        let ca = self.ca()?;
        let certname = Certname::parse(name).map_err(|_| no_subject())?;
        let renewed = ca.renew_name(&certname, OffsetDateTime::now_utc()).await;
        let renewed = renewed.map_err(|error| match error {
            RenewError::Failed(ca::Error::NoCertificate { .. }) => Failed::not_found(error.to_string()),
            RenewError::Failed(error) => refused(error),
            error => Failed::conflict(error.to_string()),
        })?;
        tracing::info!(%by, %certname, serial = %renewed.serial, "an administrator renewed a certificate");
        Ok(renewed.to_pem())
    }

    /// Forgets what has expired, and signs lists without it. Answers how many were forgotten.
    ///
    /// # Errors
    /// When the store fails or nothing can be signed.
    pub async fn prune(&self, by: &Administrator) -> Result<u64, Failed> {
        let (ca, now) = (self.ca()?, OffsetDateTime::now_utc());
        let at = now.unix_timestamp();
        let cleaned = self.parts.store.clean_expired(at, at).await?;
        ca.publish_now(now).await.map_err(refused)?;
        tracing::info!(%by, cleaned, "an administrator had what has expired forgotten");
        Ok(cleaned)
    }

    /// Signs new lists now.
    ///
    /// # Errors
    /// When nothing can be signed; the old ones stay in force.
    pub async fn publish(&self, by: &Administrator) -> Result<(), Failed> {
        let trust = self.ca()?.publish_now(OffsetDateTime::now_utc()).await.map_err(refused)?;
        tracing::info!(%by, number = trust.number, "an administrator had the revocation list signed");
        Ok(())
    }

    /// Takes newer lists of the CAs above; answers whose.
    ///
    /// # Errors
    /// 400 with Puppet's words for lists that are of no use.
    pub async fn upload_crls(&self, pem: &[u8], by: &Administrator) -> Result<Vec<String>, Failed> {
        let taken = self.ca()?.upload_crls(pem, OffsetDateTime::now_utc()).await;
        let taken = taken.map_err(|error| match error {
            UploadError::Failed(error) => refused(error),
            error => Failed::bad_request(error.to_string()),
        })?;
        tracing::info!(%by, of = taken.join(", "), "an administrator brought newer revocation lists");
        Ok(taken)
    }

    /// When the certificates and lists of the CA and those above it end.
    ///
    /// # Errors
    /// On a catalog master.
    pub fn expirations(&self) -> Result<ca::Expirations, Failed> {
        Ok(self.ca()?.expirations())
    }

    /// Whether the name has a certificate, good or revoked, that nobody has cleaned.
    async fn has_certificate(&self, name: &str) -> Result<bool, Failed> {
        let rows = self.parts.store.certificates(name).await?;
        Ok(rows.iter().any(|row| row.cleaned_at.is_none()))
    }
}

/// The one request that is meant.
fn chosen(name: &str, rows: Vec<RequestRow>, fingerprint: Option<&str>) -> Result<RequestRow, Failed> {
    let count = rows.len();
    let listed: Vec<String> = rows.iter().map(described).collect();
    let mut meant = rows.into_iter().filter(|row| fingerprint.is_none_or(|wanted| is(row, wanted)));
    match (meant.next(), meant.next()) {
        (Some(row), None) => Ok(row),
        (None, _) => Err(Failed::conflict(format!(
            "{name} has no certificate request with that fingerprint; there is {}",
            listed.join("; ")
        ))),
        (Some(_), Some(_)) => Err(Failed::conflict(format!(
            "{name} has {count} certificate requests; say which by its fingerprint: {}",
            listed.join("; ")
        ))),
    }
}

/// Whether a fingerprint, of either case and with or without colons, is the request's.
fn is(row: &RequestRow, fingerprint: &str) -> bool {
    let digits = |text: &str| text.chars().filter(|c| *c != ':').collect::<String>().to_ascii_uppercase();
    digits(&row.fingerprint) == digits(fingerprint)
}

fn described(row: &RequestRow) -> String {
    let at = OffsetDateTime::from_unix_timestamp(row.submitted_at).ok();
    let at = at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default();
    let from = row.peer.as_deref().unwrap_or("this machine");
    format!("{} (submitted {at} from {from})", row.fingerprint)
}

fn no_subject() -> Failed {
    Failed::not_found("Invalid certificate subject.")
}

/// What the CA said no to, for an administrator to read.
pub(crate) fn refused(error: ca::Error) -> Failed {
    use ca::Error;
    match error {
        Error::AlreadySigned { .. }
        | Error::NameRevoked { .. }
        | Error::KeyRevoked { .. }
        | Error::RequestGone { .. }
        | Error::ServerName { .. }
        | Error::Undeclared { .. }
        | Error::NodeHasName { .. }
        | Error::Name { .. }
        | Error::Presented(_)
        | Error::Lifetime(_)
        | Error::Request(_) => Failed::conflict(error.to_string()),
        error => {
            tracing::error!(%error, "the CA failed");
            Failed::unavailable(format!("the CA can't do that now: {error}"))
        }
    }
}

#[cfg(test)]
mod tests;
