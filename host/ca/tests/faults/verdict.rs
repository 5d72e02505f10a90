//! Whether a folder bears out all that was acknowledged, and goes on.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Display;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use bunraku_ca::{Authority, Grant, Occasion, archive, verify};
use pki::crl::{Crl, Reason};
use pki::{Certificate, Certname, Serial};
use sha2::{Digest, Sha256};
use store::{Filebucket, Store};
use time::OffsetDateTime;

use crate::settings::{bucket, database, request, settings};

/// What was acknowledged, from the workload's lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    ca: Option<String>,
    crl: u64,
    /// The server's own, which it says anew at each start.
    server: BTreeSet<(String, String)>,
    issued: Vec<(String, String)>,
    revoked: Vec<String>,
    waiting: Vec<String>,
    cleaned: Vec<String>,
    masters: Vec<String>,
    kept: Vec<String>,
    copies: Vec<String>,
    archives: Vec<String>,
}

impl Facts {
    pub fn of<'a>(lines: impl IntoIterator<Item = &'a String>) -> Facts {
        let mut facts = Facts::default();
        for line in lines {
            let words: Vec<_> = line.split(' ').collect();
            match words[..] {
                ["ca", fingerprint] => {
                    let known = facts.ca.replace(fingerprint.to_owned());
                    assert!(known.is_none_or(|known| known == fingerprint), "two CAs");
                }
                ["crl", number] => {
                    let number = number.parse().unwrap();
                    assert!(number >= facts.crl, "numbers of lists only grow");
                    facts.crl = number;
                }
                ["issued", serial, name] => facts.issued.push((serial.to_owned(), name.to_owned())),
                ["server", serial, name] => {
                    facts.server.insert((serial.to_owned(), name.to_owned()));
                }
                ["revoked", serial] => facts.revoked.push(serial.to_owned()),
                ["waiting", name] => facts.waiting.push(name.to_owned()),
                ["cleaned", name] => facts.cleaned.push(name.to_owned()),
                ["master", name] => facts.masters.push(name.to_owned()),
                ["kept", sum] => facts.kept.push(sum.to_owned()),
                ["copy", file] => facts.copies.push(file.to_owned()),
                ["archive", file] => facts.archives.push(file.to_owned()),
                ["end"] => {}
                _ => panic!("not a fact: {line}"),
            }
        }
        let serials: BTreeSet<_> = facts.issued.iter().map(|(serial, _)| serial).collect();
        assert_eq!(serials.len(), facts.issued.len(), "a serial was given twice");
        facts
    }
}

/// Opens the folder as a start after the fault does, and holds it against the facts. Changes it.
pub fn check(folder: &Path, facts: &Facts) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = said("the store opens", Store::open(&database(folder)).await)?;
        let store = Arc::new(store);
        let found = look(folder, &store, facts).await;
        store.close().await;
        found?;
        others(folder, facts).await?;
        integrity(&database(folder))
    })
}

fn said<T>(what: &str, outcome: Result<T, impl Display>) -> Result<T, String> {
    outcome.map_err(|error| format!("{what}: {error}"))
}

fn holds(what: impl Display, condition: bool) -> Result<(), String> {
    if condition { Ok(()) } else { Err(what.to_string()) }
}

async fn look(folder: &Path, store: &Arc<Store>, facts: &Facts) -> Result<(), String> {
    let settings = settings(folder);
    let now = OffsetDateTime::now_utc();
    let authority = said("the CA opens", Authority::open(settings.clone(), store.clone(), now).await)?;
    let ca = authority.certificate_of_ca();
    if let Some(known) = &facts.ca {
        holds(format!("the CA is still {known}"), ca.fingerprint.to_hex() == *known)?;
    }

    // Invariant 1.
    for (serial, name) in facts.issued.iter().chain(&facts.server) {
        let row = said("a serial is looked up", store.certificate_by_serial(serial).await)?;
        let row = row.ok_or_else(|| format!("{serial} of {name} was issued and is lost"))?;
        let certificate = said(serial, Certificate::parse_der(&row.der))?;
        let good = row.certname == *name && certificate.serial.to_hex() == *serial;
        holds(format!("{serial} is the certificate of {name}"), good && certificate.is_signed_by(ca))?;
    }
    // Invariant 2.
    let trust = authority.trust();
    holds(format!("list {} comes after {}", trust.number, facts.crl), trust.number >= facts.crl)?;
    let lists = said("the lists", Crl::parse_pem_all(trust.crls.as_bytes()))?;
    let listed: HashSet<_> = lists.iter().flat_map(|list| &list.entries).map(|e| e.serial.to_hex()).collect();
    for serial in &facts.revoked {
        let revoked = said(serial, Serial::from_hex(serial))?;
        let known = authority.is_revoked(&revoked) && listed.contains(serial);
        holds(format!("{serial} was revoked and is not on the list"), known)?;
    }
    for name in &facts.waiting {
        let waits = !said(name, store.requests_of(name).await)?.is_empty();
        let issued = !said(name, store.certificates(name).await)?.is_empty();
        holds(format!("the request of {name} is lost"), waits || issued)?;
    }
    for name in &facts.cleaned {
        let current = said(name, store.current_certificate(name).await)?;
        holds(format!("{name} was cleaned and is back"), current.is_none())?;
    }
    let masters = said("the masters", store.masters().await)?;
    for name in &facts.masters {
        holds(format!("master {name} is lost"), masters.iter().any(|master| master.certname == *name))?;
    }
    go_on(&authority, facts).await?;
    // What opening has not mended is broken: half a file, for one.
    let findings = verify::verify(&settings, store, OffsetDateTime::now_utc()).await;
    let wrong = findings.iter().filter(|finding| finding.level == verify::Level::Error);
    let wrong: Vec<_> = wrong.map(|finding| finding.what.as_str()).collect();
    holds(format!("verified: {}", wrong.join("; ")), wrong.is_empty())
}

/// It signs, revokes and publishes, with numbers that nobody has seen.
async fn go_on(authority: &Authority, facts: &Facts) -> Result<(), String> {
    let now = OffsetDateTime::now_utc();
    let server = Certname::parse("puppet.example").unwrap();
    said("the server's own certificate", authority.server_identity(&server, &["puppet"], now).await)?;
    let (request, _) = request("afterwards.example").unwrap();
    let grant = Grant { lifetime: None, occasion: Occasion::First, waits: false };
    let certificate = said("it issues", authority.issue(&request, grant, now).await)?;
    said("it revokes", authority.revoke(&certificate.serial, Reason::KeyCompromise, now).await)?;
    let trust = said("it publishes", authority.publish_now(now).await)?;
    let fresh = trust.number > facts.crl && trust.revoked.contains(&certificate.serial);
    holds(format!("list {} comes after {} and says more", trust.number, facts.crl), fresh)
}

/// Files beside the CA's: whole or not there, and there if so it was said.
async fn others(folder: &Path, facts: &Facts) -> Result<(), String> {
    let kept = said("the bucket", Filebucket::open(&bucket(folder)))?;
    for sum in &facts.kept {
        let content = said("the bucket", kept.get(sum).await)?;
        let content = content.ok_or_else(|| format!("content {sum} was kept and is lost"))?;
        holds(format!("content {sum} is whole"), hex::encode(Sha256::digest(&content)) == *sum)?;
    }
    for name in facts.copies.iter().chain(&facts.archives) {
        holds(format!("backup {name} was made and is lost"), folder.join(name).exists())?;
    }
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let content = match path.is_file() && name.starts_with("backup-") {
            true => std::fs::read(&path).unwrap(),
            false => continue,
        };
        // The same backup is in many folders; what is once found good is good.
        static GOOD: Mutex<BTreeSet<Vec<u8>>> = Mutex::new(BTreeSet::new());
        let sum = Sha256::digest(&content).to_vec();
        if GOOD.lock().unwrap().contains(&sum) {
            continue;
        }
        let aside = folder.join("restored");
        let said_of = |what: &str| format!("backup {name} {what}");
        if name.ends_with(".tar") {
            let (settings, database) = (settings(&aside), database(&aside));
            let now = OffsetDateTime::now_utc();
            said(&said_of("is whole"), archive::restore(&path, &settings, &database, false, now).await)?;
        } else if name.ends_with(".db") {
            std::fs::create_dir_all(&aside).unwrap();
            let copy = aside.join(&name);
            std::fs::copy(&path, &copy).unwrap();
            let store = said(&said_of("opens"), Store::open(&copy).await)?;
            said(&said_of("is read"), store.certificates_after(0, 1).await)?;
            store.close().await;
            integrity(&copy)?;
        } else {
            // Provisional names, and nobody looks at them.
            continue;
        }
        std::fs::remove_dir_all(&aside).unwrap();
        GOOD.lock().unwrap().insert(sum);
    }
    Ok(())
}

fn integrity(database: &Path) -> Result<(), String> {
    let answer = Command::new("sqlite3").arg(database).arg("PRAGMA integrity_check").output().unwrap();
    let answer = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
    holds(format!("SQLite says of {}: {answer}", database.display()), answer == "ok")
}
