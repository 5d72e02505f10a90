//! Revoking. A revocation is durable and in force (in memory) when it is answered; the list follows, see
//! `publication`.

use std::sync::Arc;

use pki::crl::Reason;
use pki::{Certname, Serial, Trust};
use time::OffsetDateTime;

use crate::Error;
use crate::authority::{Authority, whole};

/// What came of revoking a serial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// It is revoked now.
    Done,
    /// It was before; the first time and reason stay.
    Already,
    /// The inventory has no such certificate. It is revoked now all the same, and listed for good.
    Unknown,
}

/// What [`Authority::clean`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// What this call revoked.
    pub revoked: Vec<Serial>,
    /// Certificates that this call made forgotten, those that had been revoked before included.
    pub certificates: u64,
    /// Requests that waited and are gone.
    pub requests: u64,
}

impl Authority {
    /// Revokes a certificate. When this returns, that is durable and [`Authority::is_revoked`] says so;
    /// the next list, which [`Authority::watch_trust`] tells of, has it.
    ///
    /// # Errors
    /// [`Error::Store`]; nothing is revoked then.
    pub async fn revoke(
        &self,
        serial: &Serial,
        reason: Reason,
        now: OffsetDateTime,
    ) -> Result<Revoked, Error> {
        let (authority, serial) = (self.again(), serial.clone());
        whole(async move {
            let (store, hex) = (&authority.inner.store, serial.to_hex());
            let at = now.unix_timestamp();
            let revoked = if store.revoke(&hex, reason.as_str(), at).await? {
                Revoked::Done
            } else if store.certificate_by_serial(&hex).await?.is_some() {
                Revoked::Already
            } else if store.revoke_unknown(&hex, reason.as_str(), at).await? {
                tracing::warn!(%serial, "revoked a serial that is not in the inventory");
                Revoked::Unknown
            } else {
                Revoked::Already
            };
            if revoked != Revoked::Already {
                authority.note_revoked([&serial], now);
            }
            Ok(revoked)
        })
        .await
    }

    /// Revokes every certificate that a name has or had and that is not revoked yet. The name is refused
    /// until it is cleaned.
    ///
    /// # Errors
    /// [`Error::Store`]; nothing is revoked then.
    pub async fn revoke_name(
        &self,
        certname: &Certname,
        reason: Reason,
        now: OffsetDateTime,
    ) -> Result<Vec<Serial>, Error> {
        let (authority, certname) = (self.again(), certname.clone());
        whole(async move {
            let (store, at) = (&authority.inner.store, now.unix_timestamp());
            let revoked = parse(&store.revoke_name(certname.as_str(), reason.as_str(), at).await?)?;
            authority.note_revoked(&revoked, now);
            Ok(revoked)
        })
        .await
    }

    /// Forgets a name, in one transaction: all its certificates are revoked, if they are not yet, and its
    /// requests are gone. From then on the name is as good as new.
    ///
    /// # Errors
    /// [`Error::Store`]; nothing has changed then.
    pub async fn clean(
        &self,
        certname: &Certname,
        reason: Reason,
        now: OffsetDateTime,
    ) -> Result<Cleaned, Error> {
        let (authority, certname) = (self.again(), certname.clone());
        whole(async move {
            let (store, at) = (&authority.inner.store, now.unix_timestamp());
            let cleaned = store.clean(certname.as_str(), reason.as_str(), at).await?;
            let revoked = parse(&cleaned.revoked)?;
            authority.note_revoked(&revoked, now);
            Ok(Cleaned { revoked, certificates: cleaned.certificates, requests: cleaned.requests })
        })
        .await
    }

    /// What has to be done from time to time, every minute or so: signs the list anew at half of its
    /// life, and when an earlier attempt failed.
    ///
    /// # Errors
    /// As for any list: the store, or the disk. The old one stays in force.
    pub async fn maintain(&self, now: OffsetDateTime) -> Result<(), Error> {
        let inner = self.inner.clone();
        whole(async move {
            inner.publish_if_due(now).await?;
            inner.project().await;
            Ok(())
        })
        .await
    }

    /// Signs new lists now, whether or not there is a reason.
    ///
    /// # Errors
    /// As for any list: the store, or the signer. The old one stays in force.
    pub async fn publish_now(&self, now: OffsetDateTime) -> Result<Arc<Trust>, Error> {
        let inner = self.inner.clone();
        whole(async move { inner.publish_now(now).await }).await
    }

    /// Puts them in force, and asks for a list.
    pub(crate) fn note_revoked<'a>(
        &self,
        serials: impl IntoIterator<Item = &'a Serial>,
        now: OffsetDateTime,
    ) {
        let mut any = false;
        for serial in serials {
            self.inner.revocations.add(serial);
            self.inner.counters.note_revoked();
            any = true;
        }
        if any {
            self.wanted.send_replace(now);
        }
    }
}

fn parse(serials: &[String]) -> Result<Vec<Serial>, Error> {
    Ok(serials.iter().map(|hex| Serial::from_hex(hex)).collect::<Result<_, _>>()?)
}
