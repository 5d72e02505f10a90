//! Giving the CA away, in the layout of a Puppet CA.

use std::collections::BTreeSet;
use std::path::Path;

use pki::Certificate;
use store::{CertificateRow, RequestKey, StatusQuery, Store};
use time::OffsetDateTime;

use crate::files::{self, PUBLIC, SECRET};
use crate::founding::{self, Place, State};
use crate::import::Problem;
use crate::{Error, Settings, ancestors, inventory, lists, names};

/// Rows that are read at once.
const PAGE: u32 = 1000;

/// What an export wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Lines of the inventory.
    pub certificates: u64,
    /// Requests that wait.
    pub requests: u64,
    /// What the other layout cannot say.
    pub problems: Vec<Problem>,
}

/// Writes the CA into this folder, which must be empty or not there yet, so that a puppetserver could
/// take over. Its key is in it, as it is on disk. The store may be open for reading only; the list is
/// the one last published.
///
/// # Errors
/// [`Error::File`] where the folder is not empty; [`Error::Io`] where it cannot be written;
/// [`Error::NoCa`] and [`Error::Incomplete`] where there is no CA, or only part of one.
pub async fn export(
    settings: &Settings,
    store: &Store,
    dir: &Path,
    now: OffsetDateTime,
) -> Result<Report, Error> {
    let place = Place::of(settings);
    let State::Made(_) = founding::state(store).await? else {
        return Err(Error::NoCa { dir: settings.dir.clone(), remedy: "there is nothing to export" });
    };
    let (bundle, key) = (founding::read_bundle(&place.certificate)?, files::read(&place.key)?);
    let (Some(bundle), Some(key)) = (bundle, key) else { return Err(founding::incomplete(&place)) };
    for dir in [dir.to_owned(), dir.join("signed"), dir.join("requests")] {
        files::create_dir(&dir)?;
    }
    refuse_full(dir)?;
    let put = |file: &str, text: &[u8], mode: u32| files::write(&dir.join(file), text, mode);

    let mut report = Report::default();
    put("ca_key.pem", &key, SECRET)?;
    if pki::is_encrypted_pem(&key) {
        report.problem("ca_key.pem", "it is encrypted, which a puppetserver cannot read: `openssl pkey`");
    }
    put("ca_crt.pem", bundle.pem().as_bytes(), PUBLIC)?;
    let published = lists::stored(store, bundle.issuer()).await?;
    let above = ancestors::load_only(store, &bundle).await?;
    let above = ancestors::to_pem(&above);
    match &published.own {
        Some(own) => put("ca_crl.pem", (own.to_pem() + &above).as_bytes(), PUBLIC)?,
        None => report.problem("ca_crl.pem", "no list was published yet: start the daemon once"),
    }

    let infra = infrastructure(store).await?;
    let (mut lines, mut infra_serials, mut next, mut after) = (String::new(), String::new(), 1, 0);
    loop {
        let page = store.certificates_after(after, PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        for (_, row) in &page {
            lines.push_str(&inventory::write(&entry(row)?));
            lines.push('\n');
            if infra.contains(&row.certname) {
                infra_serials.push_str(&format!("{}\n", row.serial));
            }
            // A puppetserver counts, in 32 bits; ours are random and much longer.
            let counted = i64::from_str_radix(&row.serial, 16).ok().filter(|n| *n < i64::from(i32::MAX));
            next = next.max(counted.unwrap_or(0) + 1);
            report.certificates += 1;
        }
    }
    put("inventory.txt", lines.as_bytes(), PUBLIC)?;
    put("serial", format!("{next:04X}").as_bytes(), PUBLIC)?;
    put(
        "infra_inventory.txt",
        infra.iter().map(|n| n.clone() + "\n").collect::<String>().as_bytes(),
        PUBLIC,
    )?;
    put("infra_serials", infra_serials.as_bytes(), PUBLIC)?;
    if let Some(list) = published.infra.as_ref().or(published.own.as_ref()) {
        put("infra_crl.pem", (list.to_pem() + &above).as_bytes(), PUBLIC)?;
    }
    report.signed(store, dir, now).await?;
    report.requests(store, dir).await?;
    files::sync_dir_of(&dir.join("ca_key.pem"))?;
    Ok(report)
}

impl Report {
    fn problem(&mut self, file: &str, why: &str) {
        self.problems.push(Problem { file: file.to_owned(), line: None, why: why.to_owned() });
    }

    /// The current certificate of every name.
    async fn signed(&mut self, store: &Store, dir: &Path, now: OffsetDateTime) -> Result<(), Error> {
        let mut after = None;
        loop {
            let page = store.statuses(StatusQuery { state: None, after, limit: PAGE }).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.certname.clone());
            for row in &page {
                // An imported row may have a name that is no certname, and so no file's.
                let Ok(certname) = pki::Certname::parse(&row.certname) else {
                    self.problem("signed", &format!("{:?} is no name for a file", row.certname));
                    continue;
                };
                let file = format!("signed/{certname}.pem");
                match Certificate::parse_der(&row.der) {
                    Ok(certificate) => {
                        files::write(&dir.join(&file), certificate.to_pem().as_bytes(), PUBLIC)?;
                    }
                    Err(error) => self.problem(&file, &error.to_string()),
                }
                if row.not_after < now.unix_timestamp() {
                    self.problem(&file, "it has expired");
                }
            }
        }
    }

    /// The first candidate of every name: the other layout has room for one.
    async fn requests(&mut self, store: &Store, dir: &Path) -> Result<(), Error> {
        let mut after: Option<RequestKey> = None;
        loop {
            let page = store.requests(after.clone(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            let mut before = after.map(|key| key.certname);
            after = Some(last.key.clone());
            for row in &page {
                let file = format!("requests/{}.pem", row.key.certname);
                if before.as_ref() == Some(&row.key.certname) {
                    let why = format!("another candidate waits too, {}, and is left out", row.fingerprint);
                    self.problem(&file, &why);
                    continue;
                }
                before = Some(row.key.certname.clone());
                files::write(&dir.join(&file), row.pem.as_bytes(), PUBLIC)?;
                self.requests += 1;
            }
        }
    }
}

/// Names of the server and the masters.
async fn infrastructure(store: &Store) -> Result<BTreeSet<String>, Error> {
    let masters = store.masters().await?.into_iter().map(|master| master.certname);
    Ok(masters.chain(names::server(store).await?).collect())
}

fn entry(row: &CertificateRow) -> Result<inventory::Entry, Error> {
    let time = |seconds| {
        OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| Error::Unreadable(row.serial.clone()))
    };
    Ok(inventory::Entry {
        serial: pki::Serial::from_hex(&row.serial)?,
        not_before: time(row.not_before)?,
        not_after: time(row.not_after)?,
        name: row.certname.clone(),
    })
}

/// Nothing but the folders that were made just now.
fn refuse_full(dir: &Path) -> Result<(), Error> {
    for file in std::fs::read_dir(dir).map_err(files::io(dir))? {
        let file = file.map_err(files::io(dir))?.path();
        if !file.ends_with("signed") && !file.ends_with("requests") {
            let reason = "the folder is not empty: name one that is, or that is not there yet".into();
            return Err(Error::File { path: dir.to_owned(), reason });
        }
    }
    Ok(())
}
