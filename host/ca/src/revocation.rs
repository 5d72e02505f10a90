//! Revocations, and the list that tells of them.
//!
//! A revocation is durable and in force (in memory) when it is answered; the list follows, made by one
//! background task, so that many revocations share a list and nobody waits for a long one to be signed.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use pki::crl::{self, Crl, Entry, Reason};
use pki::{Certificate, Certname, Serial};
use store::Store;
use time::OffsetDateTime;
use tokio::sync::{Mutex, watch};

use crate::authority::{Authority, Inner};
use crate::files::{self, PUBLIC};
use crate::founding::BACKDATED;
use crate::{Error, Settings};

/// The list as others read it: a projection of the store.
const FILE: &str = "ca_crl.pem";

/// A published revocation list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlSnapshot {
    /// The list.
    pub pem: Arc<str>,
    /// Its number.
    pub number: u64,
    /// When it was made. The list itself says a day earlier, for agents whose clocks are slow.
    pub this_update: OffsetDateTime,
    /// When it stops being good.
    pub next_update: OffsetDateTime,
}

pub(crate) struct Revocations {
    pub current: watch::Sender<Arc<CrlSnapshot>>,
    known: RwLock<Known>,
    /// Entries of a published list that the store knows nothing of: it was restored from a backup that
    /// is older than they are. They stay in every list.
    carried: Vec<Entry>,
    /// Numbers up to this one have been used, be it by a list the store no longer has.
    used: u64,
    /// One list is made at a time.
    making: Mutex<()>,
}

#[derive(Default)]
struct Known {
    serials: HashSet<Serial>,
    /// Revoked since the list in the making, or else the last one, began to read the store.
    recent: Vec<Serial>,
    /// The current list does not say everything.
    stale: bool,
}

impl Revocations {
    /// From the store's list and from the file, whichever says more.
    pub(crate) async fn restore(
        settings: &Settings,
        store: &Store,
        ca: &Certificate,
        now: OffsetDateTime,
    ) -> Result<Revocations, Error> {
        let ours = |text: &[u8]| Crl::parse_pem(text).ok().filter(|list| list.is_signed_by(ca));
        let stored = store.latest_crl().await?;
        let latest = stored.as_ref().and_then(|row| ours(row.pem.as_bytes()));
        let published = match (files::read(&settings.dir.join(FILE))?, &stored) {
            // As it mostly is, and reading a long list takes its time.
            (Some(text), Some(row)) if text == row.pem.as_bytes() => latest.clone(),
            (text, _) => text.and_then(|text| ours(&text)),
        };

        let known: HashSet<Serial> = entries(store, &[], now).await?.into_iter().map(|e| e.serial).collect();
        let mut carried = Vec::new();
        for entry in published.iter().flat_map(|list| &list.entries).filter(|e| !known.contains(&e.serial)) {
            let serial = entry.serial.to_hex();
            match store.certificate_by_serial(&serial).await? {
                Some(row) if row.revoked_at.is_none() => {
                    let reason = entry.reason.unwrap_or(Reason::Unspecified);
                    store.revoke(&serial, reason.as_str(), entry.revoked_at.unix_timestamp()).await?;
                    tracing::warn!(
                        serial,
                        "revoked again: the store was older than the published revocation list"
                    );
                }
                Some(_) => {}
                None => carried.push(entry.clone()),
            }
        }
        let numbers = [
            published.as_ref().map(|list| list.number),
            latest.as_ref().map(|list| list.number),
            stored.as_ref().and_then(|row| u64::try_from(row.number).ok()),
        ];
        let used = numbers.into_iter().flatten().max().unwrap_or(0);

        let serials: HashSet<Serial> =
            entries(store, &carried, now).await?.into_iter().map(|e| e.serial).collect();
        let listed: HashSet<&Serial> =
            latest.iter().flat_map(|list| &list.entries).map(|e| &e.serial).collect();
        let complete = serials.iter().all(|serial| listed.contains(serial));
        let current = latest.filter(|list| list.number == used);
        let stale = !complete || current.is_none();
        let snapshot = current.as_ref().map_or_else(|| nothing(now), |list| snapshot(list, ca));
        Ok(Revocations {
            current: watch::Sender::new(Arc::new(snapshot)),
            known: RwLock::new(Known { serials, recent: Vec::new(), stale }),
            carried,
            used,
            making: Mutex::new(()),
        })
    }

    pub(crate) fn contains(&self, serial: &Serial) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).serials.contains(serial)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stale(&self) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).stale
    }

    fn add(&self, serial: &Serial) {
        let mut known = self.write();
        known.serials.insert(serial.clone());
        known.recent.push(serial.clone());
        known.stale = true;
    }

    /// The store is about to be read for a list.
    fn begin(&self) {
        self.write().recent.clear();
    }

    /// The list is out. What was read takes the place of what was known, which drops the expired; what
    /// was revoked meanwhile stays, and asks for another list.
    fn finish(&self, read: HashSet<Serial>) {
        let mut known = self.write();
        known.serials = read;
        let Known { serials, recent, stale } = &mut *known;
        serials.extend(recent.iter().cloned());
        *stale = !recent.is_empty();
    }
}

impl Authority {
    /// Revokes a certificate. When this returns, that is durable and [`Authority::is_revoked`] says so;
    /// the next list, which [`Authority::watch_crl`] tells of, has it. `false`: unknown, or revoked before.
    ///
    /// # Errors
    /// [`Error::Store`]; nothing is revoked then.
    pub async fn revoke(&self, serial: &Serial, reason: Reason, now: OffsetDateTime) -> Result<bool, Error> {
        let revoked =
            self.inner.store.revoke(&serial.to_hex(), reason.as_str(), now.unix_timestamp()).await?;
        if revoked {
            self.note_revoked(serial, now);
        }
        Ok(revoked)
    }

    /// Revokes every certificate that a name has or had and that is not revoked yet.
    ///
    /// # Errors
    /// [`Error::Store`]; nothing is revoked then.
    pub async fn revoke_name(
        &self,
        certname: &Certname,
        reason: Reason,
        now: OffsetDateTime,
    ) -> Result<Vec<Serial>, Error> {
        let at = now.unix_timestamp();
        let revoked = self.inner.store.revoke_name(certname.as_str(), reason.as_str(), at).await?;
        let revoked: Vec<Serial> =
            revoked.iter().map(|hex| Serial::from_hex(hex)).collect::<Result<_, _>>()?;
        for serial in &revoked {
            self.note_revoked(serial, now);
        }
        Ok(revoked)
    }

    /// What has to be done from time to time, every minute or so: signs the list anew at half of its
    /// life, and when an earlier attempt failed.
    ///
    /// # Errors
    /// As for any list: the store, or the disk. The old one stays in force.
    pub async fn maintain(&self, now: OffsetDateTime) -> Result<(), Error> {
        self.inner.publish_if_due(now).await
    }

    pub(crate) fn note_revoked(&self, serial: &Serial, now: OffsetDateTime) {
        self.inner.revocations.add(serial);
        self.wanted.send_replace(now);
    }
}

impl Inner {
    /// The background task: ends with the authority.
    pub(crate) async fn keep_publishing(self: Arc<Self>, mut wanted: watch::Receiver<OffsetDateTime>) {
        while wanted.changed().await.is_ok() {
            let now = *wanted.borrow_and_update();
            if let Err(error) = self.publish_if_due(now).await {
                tracing::error!(%error, "the revocation list could not be published; it will be tried again");
            }
        }
    }

    /// Publishes a list if the one in force says too little or is past half of its life.
    pub(crate) async fn publish_if_due(self: &Arc<Self>, now: OffsetDateTime) -> Result<(), Error> {
        let _turn = self.revocations.making.lock().await;
        let (number, half) = {
            let current = self.revocations.current.borrow();
            (current.number, current.this_update + (current.next_update - current.this_update) / 2)
        };
        if !self.revocations.is_stale() && now < half {
            return Ok(());
        }
        self.publish(number.max(self.revocations.used) + 1, now).await
    }

    async fn publish(self: &Arc<Self>, number: u64, now: OffsetDateTime) -> Result<(), Error> {
        self.revocations.begin();
        let entries = entries(&self.store, &self.revocations.carried, now).await?;
        let serials: HashSet<Serial> = entries.iter().map(|entry| entry.serial.clone()).collect();

        let now = now.replace_nanosecond(0).unwrap_or(now);
        let this_update = (now - BACKDATED).max(self.issuer.certificate().not_before);
        let life = time::Duration::try_from(self.settings.crl_ttl).unwrap_or(time::Duration::DAY);
        let next_update = now.checked_add(life).unwrap_or(now + time::Duration::DAY);
        let revoked = entries.len();
        let list = self.signing(move |issuer| {
            crl::sign(number, this_update, next_update, entries, issuer).map(|list| list.to_pem())
        });
        let pem = list.await?;
        let (from, to) = (now.unix_timestamp(), next_update.unix_timestamp());
        let stored = i64::try_from(number).unwrap_or(i64::MAX);
        self.store.save_crl(stored, &pem, from, to).await?;
        // The store has it; the file is for people and other programs, and must not hold up anything.
        if let Err(error) = files::replace(&self.path(FILE), pem.as_bytes(), PUBLIC) {
            tracing::warn!(%error, "the revocation list is in force, but its file could not be written");
        }
        let snapshot = CrlSnapshot { pem: pem.into(), number, this_update: now, next_update };
        self.revocations.current.send_replace(Arc::new(snapshot));
        self.revocations.finish(serials);
        tracing::info!(number, revoked, "published a revocation list");
        Ok(())
    }
}

async fn entries(store: &Store, carried: &[Entry], now: OffsetDateTime) -> Result<Vec<Entry>, Error> {
    let mut entries = carried.to_vec();
    for (serial, revoked_at, reason) in store.revoked(now.unix_timestamp()).await? {
        entries.push(Entry {
            revoked_at: OffsetDateTime::from_unix_timestamp(revoked_at)
                .map_err(|_| Error::Unreadable(serial.clone()))?,
            serial: Serial::from_hex(&serial)?,
            reason: Reason::parse(&reason),
        });
    }
    Ok(entries)
}

fn snapshot(list: &Crl, ca: &Certificate) -> CrlSnapshot {
    CrlSnapshot {
        pem: list.to_pem().into(),
        number: list.number,
        this_update: (list.this_update + BACKDATED).max(ca.not_before),
        next_update: list.next_update,
    }
}

/// Before the first list: overdue from the start, and never seen outside `open`.
fn nothing(now: OffsetDateTime) -> CrlSnapshot {
    CrlSnapshot { pem: "".into(), number: 0, this_update: now, next_update: now }
}
