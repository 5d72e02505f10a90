//! Taking over a Puppet CA: its key, its chain, its lists, and everything it ever signed.
//!
//! What cannot be read is reported and left out; only a CA that could not sign, or that agents would not
//! believe, is an error. The files of the other CA stay as they are. A note in the store keeps a daemon
//! from starting on half of it; the CA's own record, which ends the import, comes last.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::UNIX_EPOCH;

use pki::crl::{self, Crl, Reason};
use pki::{Bundle, Certificate, CertificateRequest, Certname, Serial};
use store::{CertificateRow, ImportRow, RequestKey, RequestRow, Store};
use time::OffsetDateTime;

use crate::files::{self, SECRET};
use crate::founding::{self, Place, State};
use crate::{Error, Settings, ancestors, archive, inventory, lists, setup};

/// Rows that go into the store in one transaction.
const BATCH: usize = 1000;

/// What an import took over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The CA's chain.
    pub bundle: Bundle,
    /// Rows of the inventory, those without a certificate included.
    pub certificates: u64,
    /// Requests that wait.
    pub requests: u64,
    /// Revoked certificates.
    pub revoked: u64,
    /// Masters, from the list of infrastructure nodes.
    pub masters: u64,
    /// What could not be taken over, or is odd.
    pub problems: Vec<Problem>,
}

/// Something that could not be taken over, or is odd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, below the CA's folder.
    pub file: String,
    /// The line, from 1, where it is about one.
    pub line: Option<usize>,
    /// What is wrong.
    pub why: String,
}

/// Takes over the Puppet CA of this folder. Cut short, it can be run again.
///
/// # Errors
/// [`Error::Exists`] and [`Error::Incomplete`] where there is a CA here already; [`Error::File`],
/// [`Error::Signer`], [`Error::Sign`], [`Error::Ancestors`] for a key, a chain or lists that cannot be
/// used; [`Error::NoCa`] where the folder has no CA.
pub async fn import(
    dir: &Path,
    settings: &Settings,
    store: &Store,
    now: OffsetDateTime,
) -> Result<Report, Error> {
    let place = Place::of(settings);
    let bundle = founding::read_bundle(&dir.join("ca_crt.pem"))?;
    let no_ca = || Error::NoCa {
        dir: dir.to_owned(),
        remedy: "name the folder with the ca_crt.pem and ca_key.pem of a Puppet CA",
    };
    let bundle = bundle.ok_or_else(no_ca)?;
    let key = files::read(&dir.join("ca_key.pem"))?.ok_or_else(no_ca)?;
    let fingerprint = bundle.issuer().fingerprint;
    match founding::state(store).await? {
        State::None => founding::refuse_leftovers(&place, store)?,
        State::Importing(begun) if begun == fingerprint.to_hex() => {}
        State::Requested(_) => return Err(Error::Uncertified { path: place.certificate }),
        _ => setup::refuse_second(settings, store).await?,
    }
    files::create_dir(&settings.dir)?;
    let provisional = files::beside(&place.key);
    files::write(&provisional, &key, SECRET)?;
    // Whether the key is the certificate's shows here.
    founding::open_issuer(settings, &bundle, &provisional, true).await?;

    let mut source = Source { dir, now, problems: Vec::new() };
    let lists = source.lists(&bundle)?;
    founding::note_import(store, &fingerprint).await?;
    let revoked = lists.revoked();
    let certificates = source.certificates(&bundle, &revoked, store).await?;
    let entries = revoked.iter().map(|(serial, entry)| {
        let reason = entry.reason.unwrap_or(Reason::Unspecified);
        (serial.to_hex(), entry.revoked_at.unix_timestamp(), reason.as_str().to_owned())
    });
    store.import_revoked(entries.collect()).await?;
    let requests = source.requests(settings, store).await?;
    let masters = source.masters(store).await?;
    source.look_at_the_rest();

    let highest = lists.highest.unwrap_or(0);
    match &lists.own {
        Some(own) => {
            match lists::save(store, own, None).await {
                // From the first time, where this is the second.
                Err(Error::Store(store::Error::CrlNumber { .. })) => {}
                saved => saved?,
            }
            // Agents may have been given a list with a higher number.
            if highest > own.number {
                store.raise_crl_floor(lists::as_number(highest)).await?;
            }
        }
        None => store.raise_crl_floor(lists::as_number(archive::epoch(now, highest))).await?,
    }
    ancestors::save(store, &lists.above).await?;
    founding::commit(store, &place, bundle.pem(), &fingerprint).await?;
    tracing::info!(
        name = bundle.issuer().subject_cn,
        certificates,
        problems = source.problems.len(),
        "imported a CA"
    );
    let revoked = u64::try_from(revoked.len()).unwrap_or(u64::MAX);
    Ok(Report { bundle, certificates, requests, revoked, masters, problems: source.problems })
}

/// The other CA's folder.
struct Source<'a> {
    dir: &'a Path,
    now: OffsetDateTime,
    problems: Vec<Problem>,
}

struct Lists {
    own: Option<Crl>,
    above: Vec<ancestors::Ancestor>,
    /// The highest number of any list of the CA's own.
    highest: Option<u64>,
}

impl Lists {
    /// By serial: old lists name some twice.
    fn revoked(&self) -> HashMap<Serial, crl::Entry> {
        let entries = self.own.iter().flat_map(|list| &list.entries);
        let mut revoked = HashMap::new();
        for entry in entries {
            revoked.entry(entry.serial.clone()).or_insert_with(|| entry.clone());
        }
        revoked
    }
}

impl Source<'_> {
    fn problem(&mut self, file: &str, line: Option<usize>, why: impl Into<String>) {
        self.problems.push(Problem { file: file.to_owned(), line, why: why.into() });
    }

    /// What is in a file of the folder. One that cannot be read is a problem, as is a missing one if it
    /// is `needed`.
    fn read(&mut self, file: &str, needed: bool) -> Option<Vec<u8>> {
        match files::read(&self.dir.join(file)) {
            Ok(None) if needed => {
                self.problem(file, None, "it is missing");
                None
            }
            Ok(content) => content,
            Err(error) => {
                self.problem(file, None, error.to_string());
                None
            }
        }
    }

    fn lists(&mut self, bundle: &Bundle) -> Result<Lists, Error> {
        let (mut own, mut above) = (Vec::new(), Vec::new());
        for (file, needed) in [("ca_crl.pem", true), ("infra_crl.pem", false)] {
            let Some(text) = self.read(file, needed) else { continue };
            let lists = match Crl::parse_pem_all(&text) {
                Ok(lists) => lists,
                Err(error) => {
                    self.problem(file, None, error.to_string());
                    continue;
                }
            };
            for list in lists {
                let signer = bundle.certificates().iter().position(|ca| list.is_signed_by(ca));
                match signer {
                    Some(0) => own.push((needed, list)),
                    Some(_) if needed => above.push(list),
                    Some(_) => {}
                    None => {
                        let why = format!("a list in the name of {} is of no CA of the chain", list.issuer);
                        self.problem(file, None, why);
                    }
                }
            }
        }
        let highest = own.iter().map(|(_, list)| list.number).max();
        let whole = own.into_iter().filter_map(|(whole, list)| whole.then_some(list));
        let own = whole.max_by_key(|list| (list.number, list.this_update));
        if own.is_none() {
            let why = "the CA has no list of its own: what it has revoked is not known";
            self.problem("ca_crl.pem", None, why);
        }
        let above = ancestors::in_order(above, bundle)?;
        for list in &above {
            if list.crl.next_update <= self.now {
                let why = format!("the list of {:?} ended at {}", list.of, list.crl.next_update);
                self.problem("ca_crl.pem", None, why);
            }
        }
        Ok(Lists { own, above, highest })
    }

    /// The inventory, with the certificates that are still there.
    async fn certificates(
        &mut self,
        bundle: &Bundle,
        revoked: &HashMap<Serial, crl::Entry>,
        store: &Store,
    ) -> Result<u64, Error> {
        let mut signed = self.signed(bundle);
        let text = self.read("inventory.txt", true).unwrap_or_default();
        let mut rows = Vec::new();
        let mut seen = HashMap::new();
        for (line, entry) in inventory::parse(&text) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(why) => {
                    self.problem("inventory.txt", Some(line), why);
                    continue;
                }
            };
            if let Some(first) = seen.insert(entry.serial.clone(), line) {
                let why = format!("the serial {} is in line {first} already", entry.serial);
                self.problem("inventory.txt", Some(line), why);
                seen.insert(entry.serial, first);
                continue;
            }
            let certificate = signed.remove(&entry.serial);
            if let Some(certificate) = certificate.as_ref().filter(|c| c.subject_cn != entry.name) {
                let why = format!(
                    "{} is {} here, and {:?} in its certificate, which counts",
                    entry.serial, entry.name, certificate.subject_cn
                );
                self.problem("inventory.txt", Some(line), why);
            }
            rows.push(row(&entry, certificate.as_ref(), revoked.get(&entry.serial)));
        }
        for (serial, certificate) in signed {
            let why = format!("{serial}, which is {:?} in signed/, is missing", certificate.subject_cn);
            self.problem("inventory.txt", None, why);
            let entry = inventory::Entry {
                serial: serial.clone(),
                not_before: certificate.not_before,
                not_after: certificate.not_after,
                name: certificate.subject_cn.clone(),
            };
            rows.push(row(&entry, Some(&certificate), revoked.get(&serial)));
        }
        let mut taken = 0;
        let mut rows = rows.into_iter();
        loop {
            let batch: Vec<ImportRow> =
                rows.by_ref().take(BATCH).map(|certificate| ImportRow { certificate }).collect();
            if batch.is_empty() {
                return Ok(taken);
            }
            let imported = store.import(batch).await?;
            taken += imported.added + imported.known;
            for (serial, why) in imported.conflicts {
                self.problem("inventory.txt", None, format!("0x{serial}: {why}"));
            }
        }
    }

    /// What is in `signed/`, by serial.
    fn signed(&mut self, bundle: &Bundle) -> BTreeMap<Serial, Certificate> {
        let mut signed = BTreeMap::new();
        for file in self.folder("signed") {
            let Some(text) = self.read(&file, true) else { continue };
            let certificate = match Certificate::parse_pem(&text) {
                Ok(certificate) => certificate,
                Err(error) => {
                    self.problem(&file, None, format!("{error}; only its line in the inventory is kept"));
                    continue;
                }
            };
            if !certificate.is_signed_by(bundle.issuer()) {
                let why = format!("it is signed by {}, not by the key of this CA", certificate.issuer);
                self.problem(&file, None, why);
                continue;
            }
            if file != format!("signed/{}.pem", certificate.subject_cn) {
                self.problem(&file, None, format!("it is the certificate of {:?}", certificate.subject_cn));
            }
            let serial = certificate.serial.clone();
            if signed.insert(serial.clone(), certificate).is_some() {
                self.problem(&file, None, format!("another file has the same serial, {serial}"));
            }
        }
        signed
    }

    async fn requests(&mut self, settings: &Settings, store: &Store) -> Result<u64, Error> {
        let mut taken = 0;
        for file in self.folder("requests") {
            let Some(text) = self.read(&file, true) else { continue };
            let request = match CertificateRequest::parse(&text, &settings.request_rules) {
                Ok(request) => request,
                Err(error) => {
                    self.problem(&file, None, error.to_string());
                    continue;
                }
            };
            let modified = std::fs::metadata(self.dir.join(&file)).and_then(|m| m.modified()).ok();
            let age = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let submitted = age.and_then(|age| i64::try_from(age.as_secs()).ok());
            let row = RequestRow {
                key: RequestKey {
                    certname: request.certname.to_string(),
                    key_digest: request.key_digest.to_hex(),
                },
                pem: request.to_pem(),
                fingerprint: request.fingerprint.to_string(),
                submitted_at: submitted.unwrap_or(self.now.unix_timestamp()),
                peer: None,
                decision: None,
            };
            store.add_request(&row, u32::MAX, u32::MAX).await?;
            taken += 1;
        }
        Ok(taken)
    }

    /// Puppet's list of infrastructure nodes, a name a line: what its infra CRL is about.
    async fn masters(&mut self, store: &Store) -> Result<u64, Error> {
        let file = "infra_inventory.txt";
        let text = self.read(file, false).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut taken = 0;
        for (line, number) in text.lines().zip(1..) {
            if line.trim().is_empty() {
                continue;
            }
            match Certname::parse(line.trim()) {
                Ok(name) => {
                    store.add_master(name.as_str(), &[], self.now.unix_timestamp()).await?;
                    taken += 1;
                }
                Err(error) => self.problem(file, Some(number), error.to_string()),
            }
        }
        Ok(taken)
    }

    /// Files that say something to a Puppet CA and nothing to us.
    fn look_at_the_rest(&mut self) {
        if let Some(text) = self.read("serial", false) {
            let digits = String::from_utf8_lossy(&text).trim().to_owned();
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                self.problem("serial", None, "it is no number; it is not needed: serials are random here");
            }
        }
        if self.dir.join("root_key.pem").exists() {
            let why = "the key of the root lies beside the CA: put it where no machine can read it";
            self.problem("root_key.pem", None, why);
        }
    }

    /// The PEM files of a folder, in order, as paths below the CA's. No folder: none.
    fn folder(&mut self, name: &str) -> Vec<String> {
        let Ok(found) = std::fs::read_dir(self.dir.join(name)) else { return Vec::new() };
        let mut files = Vec::new();
        for file in found {
            match file.map(|file| file.file_name().into_string()) {
                Ok(Ok(file)) if file.ends_with(".pem") => files.push(format!("{name}/{file}")),
                Ok(Ok(file)) => self.problem(&format!("{name}/{file}"), None, "it is no .pem file"),
                Ok(Err(file)) => self.problem(name, None, format!("{file:?} is no name in UTF-8")),
                Err(error) => self.problem(name, None, error.to_string()),
            }
        }
        files.sort();
        files
    }
}

/// A row of our inventory. Without its certificate it is there for its serial; and if it is revoked
/// then, it was cleaned, for that is what removes the certificate's file.
fn row(
    entry: &inventory::Entry,
    certificate: Option<&Certificate>,
    revoked: Option<&crl::Entry>,
) -> CertificateRow {
    let revoked_at = revoked.map(|entry| entry.revoked_at.unix_timestamp());
    let reason = revoked.map(|entry| entry.reason.unwrap_or(Reason::Unspecified).as_str().to_owned());
    CertificateRow {
        serial: entry.serial.to_hex(),
        certname: certificate.map_or_else(|| entry.name.clone(), |c| c.subject_cn.clone()),
        der: certificate.map(|c| c.der.clone()).unwrap_or_default(),
        key_digest: certificate.map(|c| c.key_digest.to_hex()).unwrap_or_default(),
        not_before: certificate.map_or(entry.not_before, |c| c.not_before).unix_timestamp(),
        not_after: certificate.map_or(entry.not_after, |c| c.not_after).unix_timestamp(),
        issued_at: entry.not_before.unix_timestamp(),
        revoked_at,
        revocation_reason: reason,
        superseded_by: None,
        cleaned_at: revoked_at.filter(|_| certificate.is_none()),
    }
}
