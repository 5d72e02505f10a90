//! The follower: what is in force, and how it comes to be.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use client::{Client, Roots};
use pki::{Bundle, Freshness, Identity, SigningKey, Trust};
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::{Notify, watch};

use crate::contact::{self, Anchor, first_contact};
use crate::disk::Folder;
use crate::enrol::Enrolment;
use crate::freshness::{self, Noted};
use crate::identity;
use crate::judge::{Arrival, Held, Offer, judge};
use crate::{Error, Settings};

/// How long a first start waits for what a stream says beyond what agents are told.
const FIRST_WORD: Duration = Duration::from_secs(10);

/// In place of a number: what is in force is not on disk.
pub(crate) const UNWRITTEN: u64 = u64::MAX;

/// A master's side of its CA. Share it with `Arc`.
pub struct Follower {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub settings: Settings,
    pub folder: Folder,
    pub key: SigningKey,
    pub trust: watch::Sender<Arc<Trust>>,
    pub identity: watch::Sender<Arc<Identity>>,
    pub plugin_set: watch::Sender<Option<Arc<PushedSet>>>,
    /// There is something to tell the CA: a new list is in force, or a new connection has come about.
    pub report: Notify,
    pub reconnects: AtomicU64,
    /// The number of the list on disk: what would be in force after a crash, and so what the CA is told.
    pub written: AtomicU64,
    refused: AtomicU64,
    first: Bundle,
    held: Mutex<Held>,
    contact: Mutex<Option<OffsetDateTime>>,
    freshness: Noted,
    next_renewal: Mutex<Option<OffsetDateTime>>,
}

/// How a master stands with its CA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowState {
    /// How old the lists are.
    pub freshness: Freshness,
    /// The number of the signing CA's list in force.
    pub number: u64,
    /// When the first of the lists ends.
    pub next_update: OffsetDateTime,
    /// When the CA was last heard of, since the start.
    pub contact: Option<OffsetDateTime>,
    /// Bundles and lists since the start that were not taken.
    pub refused: u64,
    /// How often since the start the stream broke or could not be held.
    pub reconnects: u64,
}

/// A set of plugins that decides at the CA. What it means is for whoever puts plugins in force.
#[derive(Clone, PartialEq, Deserialize)]
pub struct PushedSet {
    /// Its id.
    pub id: String,
    /// What to make it from. It may hold secrets.
    pub spec: Value,
}

/// Without what may hold secrets.
impl std::fmt::Debug for PushedSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PushedSet").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What became of an offer.
#[derive(Debug)]
pub(crate) enum Taken {
    New,
    Known,
    Refused,
    /// It is in force, and cannot be written.
    Unwritten(Error),
}

impl Follower {
    /// Opens what is on disk, without the network, if it is good. Otherwise meets the CA, makes a key and
    /// enrols, which takes as long as it takes the CA to be there and somebody to sign; what it waits for
    /// is logged. May be dropped at any moment and called again.
    ///
    /// # Errors
    /// [`Error`]: a pin that is not met, a folder in use, a key that others can read, a full disk.
    pub async fn open(settings: Settings, now: OffsetDateTime) -> Result<Follower, Error> {
        let started = Instant::now();
        let clock = || now.checked_add(started.elapsed().try_into().unwrap_or_default()).unwrap_or(now);
        let folder = Folder::open(&settings.dir)?;
        let anchor = Anchor::read(&settings)?;
        let kept = folder.trust()?;
        let from_disk = kept.is_some();
        let kept = match kept {
            Some(kept) if anchor.holds(&kept.first) || anchor.holds(&kept.held.trust.bundle) => kept,
            Some(kept) => {
                let held = format!("{:?}, SHA-256 {}", kept.first, kept.first.fingerprint());
                return Err(Error::OtherCa { dir: settings.dir, held });
            }
            None => first_contact(&settings, &folder, &anchor).await?,
        };
        let trust = kept.held.trust.clone();
        let key = identity::key(&settings, &folder).await?;
        let own = folder.certificate()?.and_then(|pem| {
            let accepted = identity::accept(&pem, &key, &settings, &trust, clock());
            accepted
                .map_err(|reason| tracing::warn!(reason, "certificate.pem will not do: enrolling anew"))
                .ok()
        });
        let own = match own {
            Some(own) => own,
            None => {
                let enrolment = Enrolment { settings: &settings, folder: &folder, key: &key, trust: &trust };
                enrolment.enrol(clock).await?
            }
        };
        let inner = Arc::new(Inner {
            written: AtomicU64::new(trust.number),
            trust: watch::Sender::new(trust),
            identity: watch::Sender::new(Arc::new(own)),
            plugin_set: watch::Sender::new(None),
            report: Notify::new(),
            reconnects: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            first: kept.first,
            held: Mutex::new(kept.held),
            contact: Mutex::new(None),
            freshness: Noted::default(),
            next_renewal: Mutex::new(None),
            settings,
            folder,
            key,
        });
        if !from_disk {
            // The list for agents may be shorter than the one to enforce, which only the stream tells.
            let heard = tokio::time::timeout(FIRST_WORD, inner.hold_stream(true)).await;
            tracing::debug!(?heard, "first word of the stream");
        }
        inner.note_freshness(clock());
        Ok(Follower { inner })
    }

    /// What is believed of the CA. Its `this_update` and `bundle_modified` are when lists and bundle came here.
    pub fn trust(&self) -> Arc<Trust> {
        self.inner.trust.borrow().clone()
    }

    /// Follows [`Follower::trust`].
    pub fn watch_trust(&self) -> watch::Receiver<Arc<Trust>> {
        self.inner.trust.subscribe()
    }

    /// This master's certificate and key.
    pub fn identity(&self) -> Arc<Identity> {
        self.inner.identity.borrow().clone()
    }

    /// Follows [`Follower::identity`].
    pub fn watch_identity(&self) -> watch::Receiver<Arc<Identity>> {
        self.inner.identity.subscribe()
    }

    /// Follows the set of plugins that decides at the CA: none before it has told of one.
    pub fn watch_plugin_set(&self) -> watch::Receiver<Option<Arc<PushedSet>>> {
        self.inner.plugin_set.subscribe()
    }

    /// Gets something of the CA with this master's certificate, such as a component.
    ///
    /// # Errors
    /// When there is no whole answer; an answer of any status is one.
    pub async fn get(&self, path: &str) -> Result<client::Response, Error> {
        Ok(self.inner.client().await?.request(client::Method::GET, path, None).await?)
    }

    /// The CA, as messages name it: `HOST:PORT`.
    pub fn at(&self) -> String {
        contact::at(&self.inner.settings)
    }

    /// Follows the CA for as long as it is polled: spawn it, and abort it to end. Also renews the master's
    /// certificate, and says when the lists become stale, expired and fresh again.
    pub async fn follow(self: Arc<Self>) {
        let inner = self.inner.clone();
        tokio::join!(inner.keep_in_step(), inner.keep_reporting(), inner.keep_time());
    }

    /// How this master stands with its CA.
    pub fn state(&self, now: OffsetDateTime) -> FollowState {
        let trust = self.trust();
        FollowState {
            freshness: freshness::of(&trust, self.inner.settings.grace, now),
            number: trust.number,
            next_update: trust.next_update,
            contact: *lock(&self.inner.contact),
            refused: self.inner.refused.load(Ordering::Relaxed),
            reconnects: self.inner.reconnects.load(Ordering::Relaxed),
        }
    }
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("trust", &self.trust()).finish_non_exhaustive()
    }
}

impl Inner {
    /// A client of the CA that believes what is believed now. With a long list it takes a while to make.
    pub async fn client(self: &Arc<Self>) -> Result<Client, Error> {
        let inner = self.clone();
        let made = tokio::task::spawn_blocking(move || {
            let (trust, identity) = (inner.trust.borrow().clone(), inner.identity.borrow().clone());
            let roots =
                Roots::BundleWithCrls { bundle: trust.bundle.pem().clone(), crls: trust.crls.clone() };
            contact::client(&inner.settings, roots, Some((*identity).clone()))
        });
        Ok(made.await.map_err(|_| Error::Interrupted)??)
    }

    /// What is held, for whoever makes an offer of a part of it.
    pub fn held(&self) -> Held {
        lock(&self.held).clone()
    }

    /// Judges an offer; what is good is put in force and written. Blocks.
    ///
    /// In force first: a revocation does not wait for a full disk. A crash before it is written would
    /// bring the list before it back, until the CA is heard again; so the CA is told of written ones only.
    pub fn take(&self, offer: &Offer, now: OffsetDateTime) -> Taken {
        let mut held = lock(&self.held);
        match judge(offer, Some(&held), Arrival::now(now.into())) {
            Ok(Some(new)) => {
                *held = new;
                self.put_in_force(held.trust.clone(), now);
            }
            Ok(None) if self.written.load(Ordering::Acquire) == held.trust.number => return Taken::Known,
            Ok(None) => {}
            Err(refusal) => {
                self.refuse(&refusal.to_string());
                return Taken::Refused;
            }
        }
        if let Err(error) = self.folder.keep_trust(&held, &self.first) {
            self.written.store(UNWRITTEN, Ordering::Release);
            return Taken::Unwritten(error);
        }
        self.written.store(held.trust.number, Ordering::Release);
        drop(held);
        self.report.notify_one();
        Taken::New
    }

    fn put_in_force(&self, trust: Arc<Trust>, now: OffsetDateTime) {
        self.trust.send_replace(trust.clone());
        let Trust { number, next_update, revoked, .. } = &*trust;
        tracing::info!(number, %next_update, revoked = revoked.len(), "took a revocation list of the CA");
        let own = self.identity.borrow().certificate.serial.clone();
        if trust.is_revoked(&own) {
            tracing::error!(
                serial = %own,
                "THIS MASTER'S OWN CERTIFICATE IS REVOKED: agents will refuse it; clean its name on the CA, \
                 remove certificate.pem here and start again"
            );
        }
        self.note_freshness(now);
    }

    /// Counts and reports what is not taken.
    pub fn refuse(&self, reason: &str) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        tracing::error!(reason, "refused what the CA sent, and kept the revocation lists as they were");
    }

    /// The CA was heard of.
    pub fn heard(&self, now: OffsetDateTime) {
        *lock(&self.contact) = Some(now);
    }

    pub fn next_renewal(&self) -> Option<OffsetDateTime> {
        *lock(&self.next_renewal)
    }

    pub fn set_next_renewal(&self, at: OffsetDateTime) {
        *lock(&self.next_renewal) = Some(at);
    }

    /// Says once what has become of the lists' freshness.
    pub fn note_freshness(&self, now: OffsetDateTime) {
        let trust = self.trust.borrow().clone();
        self.freshness.note(&trust, self.settings.grace, now);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
