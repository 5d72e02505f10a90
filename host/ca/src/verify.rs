//! Looking whether everything about the CA is as it should be, changing nothing.

use std::collections::HashSet;
use std::path::Path;

use pki::crl::Crl;
use pki::{Bundle, Certificate, CertificateRequest, RequestRules, Serial};
use store::{CertificateRow, RequestKey, Store};
use time::{Duration, OffsetDateTime};

use crate::authority::within;
use crate::files;
use crate::founding::{self, Place, State};
use crate::{Error, Settings, ancestors, lists};

/// Rows that are read at once.
const PAGE: u32 = 1000;
/// A CA's certificate that ends sooner is a warning.
const SOON: Duration = Duration::days(90);
/// Findings of one kind that are told one by one.
const TOLD: usize = 20;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// It will be bad, or is merely odd.
    Warning,
    /// It is bad.
    Error,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What it is, on one line.
    pub what: String,
}

/// Looks at everything: chain, key, every row of the inventory, lists, requests, files. The store may be
/// open for reading only.
pub async fn verify(settings: &Settings, store: &Store, now: OffsetDateTime) -> Vec<Finding> {
    let mut findings = Findings::default();
    let bundle = match findings.ca(settings, store, now).await {
        Ok(bundle) => bundle,
        Err(error) => {
            findings.add(Level::Error, error.to_string());
            return findings.0;
        }
    };
    if let Err(error) = findings.inventory(store, &bundle).await {
        findings.add(Level::Error, format!("the inventory cannot be read: {error}"));
    }
    if let Err(error) = findings.lists(settings, store, &bundle, now).await {
        findings.add(Level::Error, format!("the revocation lists: {error}"));
    }
    if let Err(error) = findings.requests(store).await {
        findings.add(Level::Error, format!("the requests cannot be read: {error}"));
    }
    findings.0
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, level: Level, what: impl Into<String>) {
        self.0.push(Finding { level, what: what.into() });
    }

    /// The first few, and how many more there are; or else that all is well.
    fn add_all(&mut self, level: Level, bad: Vec<String>, well: String) {
        let more = bad.len().saturating_sub(TOLD);
        if bad.is_empty() {
            self.add(Level::Ok, well);
        }
        for what in bad.into_iter().take(TOLD) {
            self.add(level, what);
        }
        if more > 0 {
            self.add(level, format!("and {more} more of this kind"));
        }
    }

    /// The CA's record, chain and key.
    async fn ca(&mut self, settings: &Settings, store: &Store, now: OffsetDateTime) -> Result<Bundle, Error> {
        let place = Place::of(settings);
        let known = match founding::state(store).await? {
            State::Made(known) => known,
            State::Requested(_) => return Err(Error::Uncertified { path: place.certificate }),
            State::Importing(fingerprint) => return Err(Error::HalfImported { fingerprint }),
            State::None => {
                return Err(Error::NoCa {
                    dir: settings.dir.clone(),
                    remedy: "`bunraku ca setup` makes one",
                });
            }
        };
        // Not `settle`: nothing is to be renamed here.
        let bundle = founding::read_bundle(&place.certificate)?;
        let bundle = bundle.ok_or_else(|| founding::incomplete(&place))?;
        let found = bundle.issuer().fingerprint.to_hex();
        if found != known {
            return Err(Error::OtherCa { path: place.certificate, expected: known, found });
        }
        let names: Vec<_> = bundle.certificates().iter().map(|ca| format!("{:?}", ca.subject_cn)).collect();
        self.add(Level::Ok, format!("the chain is whole: {}", names.join(" under ")));
        for ca in bundle.certificates() {
            let end = ca.not_after;
            match within(ca, now) {
                Err(error) => self.add(Level::Error, format!("{:?}: {error}", ca.subject_cn)),
                Ok(()) if end - now < SOON => {
                    self.add(Level::Warning, format!("the certificate of {:?} ends at {end}", ca.subject_cn));
                }
                Ok(()) => {}
            }
        }
        // Opening signs a certificate that is thrown away, and checks the signature.
        match founding::open_issuer(settings, &bundle, &place.key, true).await {
            Ok(_) => self.add(Level::Ok, "the key belongs to the CA's certificate, and signs"),
            Err(error) => self.add(Level::Error, error.to_string()),
        }
        Ok(bundle)
    }

    /// Every row. That serials are unique, the store's own index sees to.
    async fn inventory(&mut self, store: &Store, bundle: &Bundle) -> Result<(), Error> {
        let (mut bad, mut rows, mut bare, mut after) = (Vec::new(), 0u64, 0u64, 0);
        loop {
            let page = store.certificates_after(after, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            let ca = bundle.issuer().clone();
            let (seen, without, found) = founding::blocking(move || {
                let without = page.iter().filter(|(_, row)| row.der.is_empty()).count();
                let wrong = |row: &CertificateRow| Some(format!("0x{}: {}", row.serial, wrong_in(row, &ca)?));
                Ok((page.len(), without, page.iter().filter_map(|(_, row)| wrong(row)).collect::<Vec<_>>()))
            })
            .await?;
            rows += u64::try_from(seen).unwrap_or(0);
            bare += u64::try_from(without).unwrap_or(0);
            bad.extend(found);
        }
        self.add_all(Level::Error, bad, format!("all {rows} rows of the inventory are sound"));
        if bare > 0 {
            let what = format!("{bare} rows are known from an imported inventory only, without certificate");
            self.add(Level::Warning, what);
        }
        Ok(())
    }

    async fn lists(
        &mut self,
        settings: &Settings,
        store: &Store,
        bundle: &Bundle,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let published = lists::stored(store, bundle.issuer()).await?;
        let Some(own) = published.own else {
            self.add(Level::Warning, "no revocation list of this CA was published yet");
            return Ok(());
        };
        if published.number != Some(own.number) {
            let what =
                format!("the list's number is {}, and its row says {:?}", own.number, published.number);
            self.add(Level::Error, what);
        }
        let listed: HashSet<&Serial> = own.entries.iter().map(|entry| &entry.serial).collect();
        let revoked = lists::entries(store.revoked(now.unix_timestamp()).await?)?;
        let absent: Vec<_> = revoked.iter().filter(|entry| !listed.contains(&entry.serial)).collect();
        let bad = absent.iter().map(|entry| format!("{} is revoked and not on the list", entry.serial));
        let well = format!("list {} has all {} that are revoked", own.number, revoked.len());
        self.add_all(Level::Error, bad.collect(), well);
        let above = ancestors::load_only(store, bundle).await?;
        let name = bundle.issuer().subject_cn.clone();
        let ends = above.iter().map(|list| (list.of.clone(), list.crl.next_update));
        for (of, end) in std::iter::once((name, own.next_update)).chain(ends) {
            match end <= now {
                true => self.add(Level::Error, format!("the revocation list of {of:?} ended at {end}")),
                false => self.add(Level::Ok, format!("the revocation list of {of:?} is good until {end}")),
            }
        }
        let above = ancestors::to_pem(&above);
        self.file(&settings.dir.join(lists::FILE), &(own.to_pem() + &above))?;
        if let Some(infra) = published.infra.filter(|_| settings.infra_crl) {
            self.infra(&own, &infra);
            self.file(&settings.dir.join(lists::INFRA_FILE), &(infra.to_pem() + &above))?;
        }
        Ok(())
    }

    fn infra(&mut self, own: &Crl, infra: &Crl) {
        let same = (own.number, own.next_update) == (infra.number, infra.next_update);
        match same && infra.entries.iter().all(|entry| own.entries.contains(entry)) {
            true => self.add(Level::Ok, format!("the infra CRL has {} of them", infra.entries.len())),
            false => self.add(Level::Error, "the infra CRL does not go with the full list"),
        }
    }

    /// A projection of the store.
    fn file(&mut self, path: &Path, expected: &str) -> Result<(), Error> {
        let path_shown = path.display();
        match files::read(path)? {
            Some(text) if text == expected.as_bytes() => {
                self.add(Level::Ok, format!("{path_shown} says what the store says"));
            }
            Some(_) => {
                self.add(Level::Warning, format!("{path_shown} differs from the store: start the daemon"))
            }
            None => self.add(Level::Warning, format!("{path_shown} is missing: start the daemon")),
        }
        Ok(())
    }

    async fn requests(&mut self, store: &Store) -> Result<(), Error> {
        // What the rules allow is no matter here: an operator may have changed them since.
        let rules = RequestRules { allow_subject_alt_names: true, allow_authorization_extensions: true };
        let (mut bad, mut count, mut after) = (Vec::new(), 0u64, None::<RequestKey>);
        loop {
            let page = store.requests(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            for row in &page {
                count += 1;
                let name = &row.key.certname;
                match CertificateRequest::parse(row.pem.as_bytes(), &rules) {
                    Ok(request)
                        if request.certname.as_str() == name
                            && request.key_digest.to_hex() == row.key.key_digest => {}
                    Ok(_) => bad.push(format!("the request of {name:?} is another one's")),
                    Err(error) => bad.push(format!("the request of {name:?}: {error}")),
                }
            }
        }
        self.add_all(Level::Error, bad, format!("all {count} requests are sound"));
        Ok(())
    }
}

/// What is wrong with a row, if anything is.
fn wrong_in(row: &CertificateRow, ca: &Certificate) -> Option<String> {
    if row.der.is_empty() {
        return (!row.key_digest.is_empty()).then(|| "it has a key and no certificate".to_owned());
    }
    let certificate = match Certificate::parse_der(&row.der) {
        Ok(certificate) => certificate,
        Err(error) => return Some(error.to_string()),
    };
    let checks = [
        ("the CA did not sign it", certificate.is_signed_by(ca)),
        ("its certificate has another serial", certificate.serial.to_hex() == row.serial),
        ("its certificate has another name", certificate.subject_cn == row.certname),
        ("its certificate has another key", certificate.key_digest.to_hex() == row.key_digest),
        ("its certificate begins at another time", certificate.not_before.unix_timestamp() == row.not_before),
        ("its certificate ends at another time", certificate.not_after.unix_timestamp() == row.not_after),
    ];
    checks.into_iter().find(|(_, fine)| !fine).map(|(what, _)| what.to_owned())
}
