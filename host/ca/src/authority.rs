use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use pki::{AltName, Bundle, Certificate, Certname, Fingerprint, Issuer, Serial, Trust};
use store::{CertificateRow, Store};
use time::OffsetDateTime;
use tokio::sync::{Mutex, Semaphore, watch};

use crate::founding::{self, Founded};
use crate::health::Counters;
use crate::lists::Revocations;
use crate::space::Space;
use crate::{Error, Settings, names};

/// The open authority. Share it with `Arc`; dropping the last one ends its background task.
pub struct Authority {
    pub(crate) inner: Arc<Inner>,
    /// Asks the background task for a new revocation list, and tells it the time.
    pub(crate) wanted: watch::Sender<OffsetDateTime>,
}

pub(crate) struct Inner {
    pub settings: Settings,
    pub store: Arc<Store>,
    pub issuer: Issuer,
    pub bundle: Arc<Bundle>,
    pub revocations: Revocations,
    pub space: Space,
    pub counters: Counters,
    /// Threads that sign at the same time: as many as there are processors.
    pub signers: Semaphore,
    /// Names of the server itself, which no node gets.
    pub server_names: RwLock<BTreeSet<AltName>>,
    /// The declared masters, each with the alternative names that it alone may have.
    pub masters: RwLock<BTreeMap<Certname, BTreeSet<AltName>>>,
    /// One declaration of a master looks at the others' names at a time.
    pub declaring: Mutex<()>,
    /// One re-enrolment looks at its old certificate and replaces it at a time.
    pub replacing: Mutex<()>,
}

impl Authority {
    /// Opens the CA of the folder and the store, and makes it on the very first start. Publishes a
    /// revocation list if there is none that says all it should.
    ///
    /// # Errors
    /// [`Error::Incomplete`] and nothing made where part of a CA is missing; [`Error::Uncertified`] for
    /// a CA that waits for its certificate; [`Error::OtherCa`] where folder and store are of different
    /// CAs; [`Error::Signer`] where the key is not for us alone, or cannot be opened; [`Error::Clock`]
    /// and [`Error::CaEnded`] where the clock is outside the CA's life.
    pub async fn open(
        settings: Settings,
        store: Arc<Store>,
        now: OffsetDateTime,
    ) -> Result<Authority, Error> {
        let Founded { issuer, bundle, bundle_path } = founding::found(&settings, &store, now).await?;
        within(issuer.certificate(), now)?;
        let bundle = Arc::new(bundle);
        let modified = std::fs::metadata(&bundle_path).and_then(|m| m.modified());
        let modified = modified.map_err(|source| Error::Io { path: bundle_path, source })?;
        let signers = std::thread::available_parallelism().map_or(1, usize::from);
        let inner = Arc::new(Inner {
            revocations: Revocations::restore(&settings, &store, &bundle, modified, now).await?,
            masters: RwLock::new(names::declared(&store).await?),
            space: Space::new(settings.min_free),
            counters: Counters::default(),
            settings,
            store,
            bundle,
            issuer,
            signers: Semaphore::new(signers),
            server_names: RwLock::default(),
            declaring: Mutex::new(()),
            replacing: Mutex::new(()),
        });
        inner.publish_if_due(now).await?;
        inner.project().await;
        let wanted = watch::Sender::new(now);
        tokio::spawn(inner.clone().keep_publishing(wanted.subscribe()));
        Ok(Authority { inner, wanted })
    }

    /// The CA's common name.
    pub fn name(&self) -> &str {
        &self.certificate_of_ca().subject_cn
    }

    /// The CA's own certificate.
    pub fn certificate_of_ca(&self) -> &Certificate {
        self.inner.issuer.certificate()
    }

    /// SHA-256 of the CA's certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        self.certificate_of_ca().fingerprint
    }

    /// What is to be believed of this CA now: its bundle, and the revocation lists in force.
    pub fn trust(&self) -> Arc<Trust> {
        self.inner.revocations.current.borrow().clone()
    }

    /// Follows [`Authority::trust`]: the value is the one in force, from the start.
    pub fn watch_trust(&self) -> watch::Receiver<Arc<Trust>> {
        self.inner.revocations.current.subscribe()
    }

    /// Whether a certificate is revoked: in memory, and at once, though the next list may still be in
    /// the making.
    pub fn is_revoked(&self, serial: &Serial) -> bool {
        self.inner.revocations.contains(serial)
    }

    /// The name's certificate in force: the newest that is neither revoked, nor replaced, nor expired.
    ///
    /// # Errors
    /// [`Error::Store`], and [`Error::Unreadable`] for a row that cannot be ours.
    pub async fn certificate(&self, certname: &Certname) -> Result<Option<Certificate>, Error> {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let row = self.inner.store.live_certificate(certname.as_str()).await?;
        row.filter(|row| row.not_after >= now).map(|row| parsed(&row)).transpose()
    }
}

impl Authority {
    /// The same authority, for a task of its own.
    pub(crate) fn again(&self) -> Authority {
        Authority { inner: self.inner.clone(), wanted: self.wanted.clone() }
    }
}

/// Runs to its end what changes the store and then what we know in memory, though the caller should go
/// away in between, as a client's request does that hangs up: else a revocation would be durable and
/// not in force.
pub(crate) async fn whole<T: Send + 'static, E: From<Error> + Send + 'static>(
    work: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, E> {
    tokio::spawn(work).await.map_err(|_| E::from(Error::Interrupted))?
}

impl Inner {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.settings.dir.join(name)
    }

    /// Runs `sign` on a thread where it may take its time.
    pub(crate) async fn signing<T: Send + 'static>(
        self: &Arc<Self>,
        sign: impl FnOnce(&Issuer) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let _place = self.signers.acquire().await.map_err(|_| Error::Interrupted)?;
        let inner = self.clone();
        let signed = founding::blocking(move || sign(&inner.issuer)).await;
        self.counters.note_signer(&signed);
        signed
    }
}

/// What a lock guards, though a thread that held it died: each of ours guards one plain value.
pub(crate) fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// As [`read`], for writing.
pub(crate) fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the CA may sign at this time.
pub(crate) fn within(ca: &Certificate, now: OffsetDateTime) -> Result<(), Error> {
    if now < ca.not_before {
        return Err(Error::Clock { now, not_before: ca.not_before });
    }
    if now >= ca.not_after {
        return Err(Error::CaEnded { now, not_after: ca.not_after });
    }
    Ok(())
}

/// The certificate in a row of the inventory.
pub(crate) fn parsed(row: &CertificateRow) -> Result<Certificate, Error> {
    Certificate::parse_der(&row.der).map_err(|_| Error::Unreadable(row.serial.clone()))
}
