use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use pki::{AltName, Certificate, Certname, Fingerprint, Issuer, RequestRules, Serial};
use store::{CertificateRow, Store};
use time::OffsetDateTime;
use tokio::sync::{Mutex, Semaphore, watch};

use crate::founding::{self, Founded};
use crate::revocation::{CrlSnapshot, Revocations};
use crate::{Error, Settings};

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
    pub bundle: Arc<str>,
    pub bundle_modified: SystemTime,
    pub revocations: Revocations,
    /// Threads that sign at the same time: as many as there are processors.
    pub signers: Semaphore,
    /// Names of the server itself, which no node gets.
    pub server_names: RwLock<BTreeSet<AltName>>,
    /// One re-enrolment looks at its old certificate and replaces it at a time.
    pub replacing: Mutex<()>,
}

impl Authority {
    /// Opens the CA of the folder and the store, and makes it on the very first start. Publishes a
    /// revocation list if there is none that says all it should.
    ///
    /// # Errors
    /// [`Error::Incomplete`] and nothing made where part of a CA is missing; [`Error::OtherCa`] where
    /// folder and store are of different CAs; [`Error::Mode`] and [`Error::Owner`] where the key is not
    /// for us alone; [`Error::Clock`] and [`Error::CaEnded`] where the clock is outside the CA's life.
    pub async fn open(
        settings: Settings,
        store: Arc<Store>,
        now: OffsetDateTime,
    ) -> Result<Authority, Error> {
        let Founded { issuer, bundle, bundle_path } = founding::found(&settings, &store, now).await?;
        within(issuer.certificate(), now)?;
        let modified = std::fs::metadata(&bundle_path).and_then(|m| m.modified());
        let signers = std::thread::available_parallelism().map_or(1, usize::from);
        let inner = Arc::new(Inner {
            revocations: Revocations::restore(&settings, &store, issuer.certificate(), now).await?,
            settings,
            store,
            bundle: bundle.into(),
            bundle_modified: modified.map_err(|source| Error::Io { path: bundle_path, source })?,
            issuer,
            signers: Semaphore::new(signers),
            server_names: RwLock::default(),
            replacing: Mutex::new(()),
        });
        inner.publish_if_due(now).await?;
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

    /// What agents fetch as `certificate/ca`. Its bytes never change: `ca_fingerprint` pins them.
    pub fn bundle_pem(&self) -> Arc<str> {
        self.inner.bundle.clone()
    }

    /// When the bundle was written.
    pub fn bundle_modified(&self) -> SystemTime {
        self.inner.bundle_modified
    }

    /// What requests are to be read with.
    pub fn request_rules(&self) -> RequestRules {
        self.inner.settings.request_rules
    }

    /// The revocation list in force.
    pub fn crl(&self) -> Arc<CrlSnapshot> {
        self.inner.revocations.current.borrow().clone()
    }

    /// Follows the revocation list: its value is the one in force, from the start.
    pub fn watch_crl(&self) -> watch::Receiver<Arc<CrlSnapshot>> {
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

impl Inner {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.settings.dir.join(name)
    }

    /// Runs `sign` on a thread where it may take its time.
    pub(crate) async fn signing<T: Send + 'static>(
        self: &Arc<Self>,
        sign: impl FnOnce(&Issuer) -> Result<T, pki::SignError> + Send + 'static,
    ) -> Result<T, Error> {
        let _place = self.signers.acquire().await.map_err(|_| Error::Interrupted)?;
        let inner = self.clone();
        let signed = tokio::task::spawn_blocking(move || sign(&inner.issuer)).await;
        Ok(signed.map_err(|_| Error::Interrupted)??)
    }

    pub(crate) fn is_server_name(&self, name: &AltName) -> bool {
        self.server_names.read().unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    /// Whether it is the name of the server's machine, which that machine's agent may have too.
    pub(crate) fn is_host(&self, name: &AltName) -> bool {
        let host = self.settings.host.as_ref();
        matches!((host, name), (Some(host), AltName::Dns(name)) if name == host.as_str())
    }
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
