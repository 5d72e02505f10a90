//! The revocation lists in force, and how new ones come to be.
//!
//! One background task makes them, so that many revocations share a list and nobody waits for a long
//! one to be signed. A list is in force once the store has it; the files are for people and other
//! programs.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Instant, SystemTime};

use pki::crl::{self, Crl, Entry, Reason};
use pki::{Bundle, Certificate, Serial, Trust};
use store::Store;
use time::OffsetDateTime;
use tokio::sync::{Mutex, watch};

use crate::ancestors::{self, Ancestor};
use crate::authority::{Inner, read, write};
use crate::files::{self, PUBLIC};
use crate::founding::{BACKDATED, blocking};
use crate::{Error, Settings};

/// All lists, as others read them.
pub(crate) const FILE: &str = "ca_crl.pem";
/// What agents are given where there is an infra CRL.
pub(crate) const INFRA_FILE: &str = "infra_crl.pem";
/// The background task rests as long as the last list took, but no longer than this, so that a stream
/// of revocations and a long list leave the processor to others.
const LONGEST_REST: std::time::Duration = std::time::Duration::from_secs(1);

pub(crate) struct Revocations {
    pub current: watch::Sender<Arc<Trust>>,
    known: RwLock<Known>,
    own: RwLock<Own>,
    ancestors: RwLock<Vec<Ancestor>>,
    /// Why no list could be published, if that is so.
    failing: RwLock<Option<String>>,
    /// The files do not say what is in force.
    files_behind: AtomicBool,
    /// Numbers up to this one have been used, be it by a list the store no longer has.
    used: u64,
    /// One list is made at a time.
    making: Mutex<()>,
    /// One upload changes the ancestors' lists at a time.
    pub uploading: Mutex<()>,
}

/// Serials that are revoked: on the list in force, on the one in the making, and since.
#[derive(Default)]
struct Known {
    listed: Arc<HashSet<Serial>>,
    being_listed: HashSet<Serial>,
    since: HashSet<Serial>,
    /// The current list does not say everything.
    stale: bool,
}

/// About the signing CA's own list.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Own {
    /// When it was made. The list itself says a day earlier, for agents whose clocks are slow.
    pub made: OffsetDateTime,
    pub next_update: OffsetDateTime,
    pub bytes: u64,
    pub entries: u64,
    /// What making it took; 0 for one that was found.
    pub seconds: f64,
}

/// Lists that were signed together: the same number, the same moment.
struct Signed {
    own: Crl,
    infra: Option<Crl>,
}

impl Revocations {
    /// From the store's lists and from the file, whichever says more.
    pub(crate) async fn restore(
        settings: &Settings,
        store: &Store,
        bundle: &Arc<Bundle>,
        modified: SystemTime,
        now: OffsetDateTime,
    ) -> Result<Revocations, Error> {
        let ca = bundle.issuer();
        let ours = |list: &Crl| list.is_signed_by(ca);
        let Stored { number: row_number, own: latest, infra } = stored(store, ca).await?;
        let file = files::read(&settings.dir.join(FILE))?.unwrap_or_default();
        // As it mostly is, and reading a long list takes its time.
        let own_text = latest.as_ref().map(Crl::to_pem).unwrap_or_default();
        let rest = file.strip_prefix(own_text.as_bytes()).filter(|_| !own_text.is_empty());
        let published = Crl::parse_pem_all(rest.unwrap_or(&file)).unwrap_or_default();
        let above = ancestors::load(store, bundle, &published).await?;
        let published: Vec<Crl> = published.into_iter().filter(ours).collect();

        // A store restored from a backup forgets nothing that was ever published.
        let known = serials(&entries(store.revoked(now.unix_timestamp()).await?)?);
        let news = published.iter().flat_map(|list| &list.entries).filter(|e| !known.contains(&e.serial));
        let news: Vec<_> = news
            .map(|entry| {
                let reason = entry.reason.unwrap_or(Reason::Unspecified);
                (entry.serial.to_hex(), entry.revoked_at.unix_timestamp(), reason.as_str().to_owned())
            })
            .collect();
        if !news.is_empty() {
            let again = store.import_revoked(news).await?;
            if again > 0 {
                tracing::warn!(again, "revoked again: the store was older than the published list");
            }
        }
        let numbers = published.iter().chain(&latest).map(|list| list.number);
        let floor = store.crl_floor().await?.and_then(|floor| u64::try_from(floor).ok());
        let used = numbers.chain(row_number).chain(floor).max().unwrap_or(0);

        let wanted = serials(&entries(store.revoked(now.unix_timestamp()).await?)?);
        let current = latest.filter(|list| list.number == used);
        let listed = current.as_ref().map(|list| serials(&list.entries)).unwrap_or_default();
        let complete = wanted.is_subset(&listed) && current.is_some();
        let infra = infra.filter(|_| settings.infra_crl);
        // Whom an infra CRL is about may have changed while nothing was published.
        let stale = !complete || settings.infra_crl;
        let listed = Arc::new(wanted);
        let (own, trust) = match current {
            Some(own) => {
                let signed = Signed { own, infra };
                (
                    signed.about((signed.own.this_update + BACKDATED).max(ca.not_before), 0.0),
                    signed.trust(&above, listed.clone(), bundle, modified),
                )
            }
            None => (Own::none(now), nothing(bundle, modified, now)),
        };
        let behind = file != trust.crls.as_bytes();
        Ok(Revocations {
            current: watch::Sender::new(Arc::new(trust)),
            known: RwLock::new(Known { listed, stale, ..Known::default() }),
            own: RwLock::new(own),
            ancestors: RwLock::new(above),
            failing: RwLock::default(),
            files_behind: AtomicBool::new(behind),
            used,
            making: Mutex::new(()),
            uploading: Mutex::new(()),
        })
    }

    pub(crate) fn contains(&self, serial: &Serial) -> bool {
        let known = read(&self.known);
        known.listed.contains(serial) || known.being_listed.contains(serial) || known.since.contains(serial)
    }

    pub(crate) fn own(&self) -> Own {
        *read(&self.own)
    }

    pub(crate) fn ancestors(&self) -> Vec<Ancestor> {
        read(&self.ancestors).clone()
    }

    pub(crate) fn set_ancestors(&self, lists: Vec<Ancestor>) {
        *write(&self.ancestors) = lists;
    }

    pub(crate) fn failing(&self) -> Option<String> {
        read(&self.failing).clone()
    }

    /// A certificate was revoked.
    pub(crate) fn add(&self, serial: &Serial) {
        let mut known = write(&self.known);
        known.since.insert(serial.clone());
        known.stale = true;
    }

    /// The next list says something new.
    pub(crate) fn ask(&self) {
        write(&self.known).stale = true;
    }

    fn is_stale(&self) -> bool {
        read(&self.known).stale
    }

    /// The store is about to be read for a list: what comes from now on may not be on it.
    fn begin(&self) {
        let mut known = write(&self.known);
        let Known { being_listed, since, stale, .. } = &mut *known;
        being_listed.extend(since.drain());
        *stale = false;
    }

    /// It came to nothing.
    fn give_up(&self) {
        write(&self.known).stale = true;
    }

    /// The list is out. What was read takes the place of what was known, which drops the expired; what
    /// was revoked meanwhile stays, and asks for another list.
    fn finish(&self, listed: Arc<HashSet<Serial>>) {
        let mut known = write(&self.known);
        known.listed = listed;
        known.being_listed.clear();
        known.stale |= !known.since.is_empty();
    }
}

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
        let why = published.as_ref().err().map(ToString::to_string);
        if why.is_some() {
            self.revocations.give_up();
        }
        *write(&self.revocations.failing) = why;
        published
    }

    async fn make(self: &Arc<Self>, now: OffsetDateTime) -> Result<(), Error> {
        let began = Instant::now();
        let number = self.revocations.current.borrow().number.max(self.revocations.used) + 1;
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
        let listed = Arc::new(listed);
        let above = revocations.ancestors();
        let own = signed.about(now, began.elapsed().as_secs_f64());
        let modified = revocations.current.borrow().bundle_modified;
        let trust = Arc::new(signed.trust(&above, listed.clone(), &self.bundle, modified));
        *write(&revocations.own) = own;
        revocations.files_behind.store(true, Ordering::Release);
        self.project_as(&trust).await;
        revocations.finish(listed);
        revocations.current.send_replace(trust);
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

impl Signed {
    fn about(&self, made: OffsetDateTime, seconds: f64) -> Own {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        Own {
            made,
            next_update: self.own.next_update,
            bytes: count(self.own.der.len()),
            entries: count(self.own.entries.len()),
            seconds,
        }
    }

    fn trust(
        &self,
        above: &[Ancestor],
        listed: Arc<HashSet<Serial>>,
        bundle: &Arc<Bundle>,
        bundle_modified: SystemTime,
    ) -> Trust {
        let above_pem = ancestors::to_pem(above);
        let crls: Arc<str> = (self.own.to_pem() + &above_pem).into();
        let agents_crls = match &self.infra {
            Some(infra) => (infra.to_pem() + &above_pem).into(),
            None => crls.clone(),
        };
        let ends = above.iter().map(|list| list.crl.next_update);
        Trust {
            bundle: bundle.clone(),
            bundle_modified,
            crls,
            agents_crls,
            number: self.own.number,
            this_update: (self.own.this_update + BACKDATED).max(bundle.issuer().not_before),
            next_update: ends.fold(self.own.next_update, OffsetDateTime::min),
            revoked: listed,
        }
    }
}

impl Own {
    fn none(now: OffsetDateTime) -> Own {
        Own { made: now, next_update: now, bytes: 0, entries: 0, seconds: 0.0 }
    }
}

/// The newest lists of the store.
pub(crate) struct Stored {
    /// The number of their row, though they may be unreadable.
    pub number: Option<u64>,
    pub own: Option<Crl>,
    pub infra: Option<Crl>,
}

/// The newest lists of the store that `ca` signed.
pub(crate) async fn stored(store: &Store, ca: &Certificate) -> Result<Stored, Error> {
    let Some(row) = store.latest_crl().await? else {
        return Ok(Stored { number: None, own: None, infra: None });
    };
    let lists = Crl::parse_pem_all(row.pem.as_bytes()).unwrap_or_default();
    let mut lists = lists.into_iter().filter(|list| list.is_signed_by(ca));
    Ok(Stored { number: u64::try_from(row.number).ok(), own: lists.next(), infra: lists.next() })
}

/// Stores both in one row, so that they are never of different age.
pub(crate) async fn save(store: &Store, own: &Crl, infra: Option<&Crl>) -> Result<(), Error> {
    let pem = own.to_pem() + &infra.map(Crl::to_pem).unwrap_or_default();
    let (from, to) = (own.this_update.unix_timestamp(), own.next_update.unix_timestamp());
    Ok(store.save_crl(as_number(own.number), &pem, from, to).await?)
}

/// A list's number as the store has it.
pub(crate) fn as_number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Before the first list: overdue from the start, and never seen outside `open`.
fn nothing(bundle: &Arc<Bundle>, bundle_modified: SystemTime, now: OffsetDateTime) -> Trust {
    Trust {
        bundle: bundle.clone(),
        bundle_modified,
        crls: "".into(),
        agents_crls: "".into(),
        number: 0,
        this_update: now,
        next_update: now,
        revoked: Arc::default(),
    }
}

/// What a list says of the store's rows.
pub(crate) fn entries(rows: Vec<(String, i64, String)>) -> Result<Vec<Entry>, Error> {
    let entry = |(serial, revoked_at, reason): (String, i64, String)| {
        Ok(Entry {
            revoked_at: OffsetDateTime::from_unix_timestamp(revoked_at)
                .map_err(|_| Error::Unreadable(serial.clone()))?,
            serial: Serial::from_hex(&serial)?,
            reason: Reason::parse(&reason),
        })
    };
    rows.into_iter().map(entry).collect()
}

fn serials(entries: &[Entry]) -> HashSet<Serial> {
    entries.iter().map(|entry| entry.serial.clone()).collect()
}
