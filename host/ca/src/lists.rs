//! The revocation lists in force, what is revoked beyond them, and how both are found again at a start.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::SystemTime;

use pki::crl::{Crl, Entry, Reason};
use pki::{Bundle, Certificate, Serial, Trust};
use store::Store;
use time::OffsetDateTime;
use tokio::sync::{Mutex, watch};

use crate::ancestors::{self, Ancestor};
use crate::authority::{read, write};
use crate::founding::BACKDATED;
use crate::{Error, Settings, files};

/// All lists, as others read them.
pub(crate) const FILE: &str = "ca_crl.pem";
/// What agents are given where there is an infra CRL.
pub(crate) const INFRA_FILE: &str = "infra_crl.pem";

pub(crate) struct Revocations {
    pub current: watch::Sender<Arc<Trust>>,
    known: RwLock<Known>,
    own: RwLock<Own>,
    ancestors: RwLock<Vec<Ancestor>>,
    /// Why no list could be published, if that is so.
    failing: RwLock<Option<String>>,
    /// The files do not say what is in force.
    pub files_behind: AtomicBool,
    /// Numbers up to this one have been used, be it by a list the store no longer has.
    used: AtomicU64,
    /// One list is made at a time.
    pub making: Mutex<()>,
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
pub(crate) struct Signed {
    pub own: Crl,
    pub infra: Option<Crl>,
}

impl Revocations {
    /// From the store's lists and from the file, whichever says more.
    ///
    /// A store restored from a backup forgets no revocation that was ever published, and no number.
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

        let mut wanted = serials(&entries(store.revoked(now.unix_timestamp()).await?)?);
        let news = published.iter().flat_map(|list| &list.entries).filter(|e| !wanted.contains(&e.serial));
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
            wanted = serials(&entries(store.revoked(now.unix_timestamp()).await?)?);
        }
        let numbers = published.iter().chain(&latest).map(|list| list.number);
        let floor = store.crl_floor().await?.and_then(|floor| u64::try_from(floor).ok());
        let used = numbers.chain(row_number).chain(floor).max().unwrap_or(0);

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
            used: AtomicU64::new(used),
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

    pub(crate) fn is_stale(&self) -> bool {
        read(&self.known).stale
    }

    /// The store is about to be read for a list: what comes from now on may not be on it.
    pub(crate) fn begin(&self) {
        let mut known = write(&self.known);
        let Known { being_listed, since, stale, .. } = &mut *known;
        being_listed.extend(since.drain());
        *stale = false;
    }

    /// The list is in force. What was read for it takes the place of what was known, which drops the
    /// expired; what was revoked meanwhile stays, and asks for another list.
    pub(crate) fn replace(&self, own: Own, trust: Arc<Trust>) {
        *write(&self.own) = own;
        let mut known = write(&self.known);
        known.listed = trust.revoked.clone();
        known.being_listed.clear();
        known.stale |= !known.since.is_empty();
        drop(known);
        self.current.send_replace(trust);
    }

    /// Whether the last attempt came to nothing, and why.
    pub(crate) fn note_outcome(&self, failing: Option<String>) {
        if failing.is_some() {
            write(&self.known).stale = true;
        }
        *write(&self.failing) = failing;
    }

    /// A number that no list ever had. It counts as used, whatever comes of it.
    pub(crate) fn next_number(&self) -> u64 {
        self.used.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Signed {
    pub(crate) fn about(&self, made: OffsetDateTime, seconds: f64) -> Own {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        Own {
            made,
            next_update: self.own.next_update,
            bytes: count(self.own.der.len()),
            entries: count(self.own.entries.len()),
            seconds,
        }
    }

    pub(crate) fn trust(
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

pub(crate) fn serials(entries: &[Entry]) -> HashSet<Serial> {
    entries.iter().map(|entry| entry.serial.clone()).collect()
}
