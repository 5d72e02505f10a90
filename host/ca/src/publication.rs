//! How new revocation lists come to be.
//!
//! One background task makes them, so that many revocations share a list and nobody waits for a long
//! one to be signed. A list is in force once the store has it; the files are for people and other
//! programs.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use pki::{Serial, Trust, crl};
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::Error;
use crate::authority::Inner;
use crate::files::{self, PUBLIC};
use crate::founding::{BACKDATED, blocking};
use crate::lists::{FILE, INFRA_FILE, Signed, entries, save, serials};

/// The background task rests as long as the last list took, but no longer than this, so that a stream
/// of revocations and a long list leave the processor to others.
const LONGEST_REST: std::time::Duration = std::time::Duration::from_secs(1);

impl Inner {
    /// The background task: ends with the authority.
    pub(crate) async fn keep_publishing(self: Arc<Self>, mut wanted: watch::Receiver<OffsetDateTime>) {
        while wanted.changed().await.is_ok() {
            let now = *wanted.borrow_and_update();
            let began = Instant::now();
            if let Err(error) = self.publish_if_due(now).await {
                tracing::error!(%error, "the revocation list could not be published; it will be tried again");
            }
            tokio::time::sleep(began.elapsed().min(LONGEST_REST)).await;
        }
    }

    /// Publishes a list if the one in force says too little or is past half of its life, or of the
    /// life that a list has here.
    pub(crate) async fn publish_if_due(self: &Arc<Self>, now: OffsetDateTime) -> Result<(), Error> {
        let _turn = self.revocations.making.lock().await;
        let own = self.revocations.own();
        let life = (own.next_update - own.made).min(self.list_life());
        if !self.revocations.is_stale() && now < own.made + life / 2 {
            return Ok(());
        }
        self.publish(now).await
    }

    /// Publishes a list in any case.
    pub(crate) async fn publish_now(self: &Arc<Self>, now: OffsetDateTime) -> Result<Arc<Trust>, Error> {
        let _turn = self.revocations.making.lock().await;
        self.publish(now).await?;
        Ok(self.revocations.current.borrow().clone())
    }

    fn list_life(&self) -> time::Duration {
        time::Duration::try_from(self.settings.crl_ttl).unwrap_or(time::Duration::DAY)
    }

    async fn publish(self: &Arc<Self>, now: OffsetDateTime) -> Result<(), Error> {
        self.revocations.begin();
        let published = self.make(now).await;
        self.revocations.note_outcome(published.as_ref().err().map(ToString::to_string));
        published
    }

    async fn make(self: &Arc<Self>, now: OffsetDateTime) -> Result<(), Error> {
        let began = Instant::now();
        let number = self.revocations.next_number();
        let rows = self.store.revoked(now.unix_timestamp()).await?;
        let infra = match self.settings.infra_crl {
            true => Some(self.infra_serials().await?),
            false => None,
        };
        let now = now.replace_nanosecond(0).unwrap_or(now);
        let this_update = (now - BACKDATED).max(self.issuer.certificate().not_before);
        let next_update = now.checked_add(self.list_life()).unwrap_or(now + time::Duration::DAY);
        let (signed, listed) = self
            .signing(move |issuer| {
                let entries = entries(rows)?;
                let listed = serials(&entries);
                let sign = |entries| crl::sign(number, this_update, next_update, entries, issuer);
                let about_servers = |infra: HashSet<Serial>| {
                    sign(entries.iter().filter(|entry| infra.contains(&entry.serial)).cloned().collect())
                };
                let infra = infra.map(about_servers).transpose()?;
                Ok((Signed { own: sign(entries)?, infra }, listed))
            })
            .await?;
        save(&self.store, &signed.own, signed.infra.as_ref()).await?;

        let revocations = &self.revocations;
        let above = revocations.ancestors();
        let own = signed.about(now, began.elapsed().as_secs_f64());
        let modified = revocations.current.borrow().bundle_modified;
        let trust = Arc::new(signed.trust(&above, Arc::new(listed), &self.bundle, modified));
        revocations.files_behind.store(true, Ordering::Release);
        self.project_as(&trust).await;
        revocations.replace(own, trust);
        tracing::info!(number, revoked = own.entries, "published a revocation list");
        Ok(())
    }

    /// Writes the files anew if they do not say what is in force. They must not hold up anything.
    pub(crate) async fn project(&self) {
        let trust = self.revocations.current.borrow().clone();
        self.project_as(&trust).await;
    }

    async fn project_as(&self, trust: &Arc<Trust>) {
        if !self.revocations.files_behind.load(Ordering::Acquire) {
            return;
        }
        let mut texts = vec![(self.path(FILE), trust.crls.clone())];
        if self.settings.infra_crl {
            texts.push((self.path(INFRA_FILE), trust.agents_crls.clone()));
        }
        let written = blocking(move || {
            texts.iter().try_for_each(|(path, text)| files::replace(path, text.as_bytes(), PUBLIC))
        });
        match written.await {
            Ok(()) => self.revocations.files_behind.store(false, Ordering::Release),
            Err(error) => {
                tracing::warn!(%error, "the revocation list is in force, but its file could not be written");
            }
        }
    }

    /// Serials that the server and the masters ever had.
    async fn infra_serials(&self) -> Result<HashSet<Serial>, Error> {
        let mut serials = HashSet::new();
        for name in self.infrastructure().await? {
            for row in self.store.certificates(&name).await? {
                serials.insert(Serial::from_hex(&row.serial)?);
            }
        }
        Ok(serials)
    }
}
