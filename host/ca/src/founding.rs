//! The CA's key and certificate: made once, found ever after.
//!
//! A CA is two files and a line in the store with its fingerprint. The line is what commits: first the
//! files are written under provisional names, then the line, then the files get their names. Whenever
//! the power goes, the next start either finishes the renaming (the line is there) or begins again (it
//! is not, and then nothing was ever signed). Anything else is part of a CA, and touched by nobody.

use std::path::{Path, PathBuf};

use pki::{Certificate, Issuer, SigningKey, create_issuer};
use store::Store;
use time::{Duration, OffsetDateTime};

use crate::files::{self, PUBLIC, SECRET};
use crate::{Error, Settings};

/// Name of the line in the store.
const MARKER: &str = "ca.fingerprint";
/// Life of a CA, in days: what Puppet's own setup gives it.
const LIFE: i64 = 15 * 365;
/// The CA's certificate, and all others, are valid from a day before they are made, for machines whose
/// clocks are slow.
pub(crate) const BACKDATED: Duration = Duration::DAY;

pub(crate) struct Founded {
    pub issuer: Issuer,
    /// Exactly the bytes of `ca_crt.pem`: agents may pin them.
    pub bundle: String,
    pub bundle_path: PathBuf,
}

/// Opens the CA, or makes it if there never was one.
pub(crate) async fn found(settings: &Settings, store: &Store, now: OffsetDateTime) -> Result<Founded, Error> {
    files::create_dir(&settings.dir)?;
    let key = settings.dir.join("ca_key.pem");
    let certificate = settings.dir.join("ca_crt.pem");
    match store.meta(MARKER).await? {
        Some(known) => settle(&key, &certificate, &known)?,
        None => {
            refuse_leftovers(&key, &certificate, store)?;
            make(settings, &key, &certificate, store, now).await?;
        }
    }
    open(&key, certificate)
}

fn open(key: &Path, certificate: PathBuf) -> Result<Founded, Error> {
    let (secret, public) = (files::read_secret(key)?, files::read(&certificate)?);
    let (Some(secret), Some(public)) = (secret, public) else {
        // They were there a moment ago.
        return Err(Error::Incomplete { found: "the store".into(), missing: "the CA's files".into() });
    };
    let wrong = |reason: String| Error::File { path: certificate.clone(), reason };
    let bundle = String::from_utf8(public).map_err(|_| wrong("not a text file".into()))?;
    let parsed = Certificate::parse_pem(bundle.as_bytes()).map_err(|e| wrong(e.to_string()))?;
    let secret = SigningKey::from_pem(&secret)
        .map_err(|e| Error::File { path: key.to_owned(), reason: e.to_string() })?;
    let issuer = Issuer::open(parsed, secret)?;
    Ok(Founded { issuer, bundle, bundle_path: certificate })
}

/// Without the store's line there must be no CA: its inventory and revocations would be gone.
fn refuse_leftovers(key: &Path, certificate: &Path, store: &Store) -> Result<(), Error> {
    let here: Vec<String> = [key, certificate].into_iter().filter(|p| p.exists()).map(shown).collect();
    if here.is_empty() {
        return Ok(());
    }
    let mut missing: Vec<String> =
        [key, certificate].into_iter().filter(|p| !p.exists()).map(shown).collect();
    missing.push(format!("the CA's record in the store {}", store.path().display()));
    Err(Error::Incomplete { found: here.join(", "), missing: missing.join(", ") })
}

async fn make(
    settings: &Settings,
    key: &Path,
    certificate: &Path,
    store: &Store,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let (kind, name) = (settings.key, settings.ca_name.clone());
    let made = tokio::task::spawn_blocking(move || {
        let secret = SigningKey::generate(kind)?;
        let pem = secret.to_secret_pem();
        let not_before = now - BACKDATED;
        let issuer = create_issuer(&name, secret, not_before, not_before + Duration::days(LIFE))?;
        Ok::<_, Error>((pem, issuer))
    });
    let (secret, issuer) = made.await.map_err(|_| Error::Interrupted)??;
    files::write(&files::beside(key), secret.as_bytes(), SECRET)?;
    files::write(&files::beside(certificate), issuer.certificate().to_pem().as_bytes(), PUBLIC)?;
    let fingerprint = issuer.certificate().fingerprint.to_hex();
    store.set_meta(MARKER, &fingerprint).await?;
    settle(key, certificate, &fingerprint)?;
    tracing::info!(name = issuer.certificate().subject_cn, fingerprint, "made a certificate authority");
    Ok(())
}

/// Gives the files their names if a first start was cut short, and checks that they are the store's CA.
fn settle(key: &Path, certificate: &Path, known: &str) -> Result<(), Error> {
    let current = |path: &Path| if path.exists() { path.to_owned() } else { files::beside(path) };
    let (secret_now, public_now) = (current(key), current(certificate));
    let incomplete = || {
        let (here, gone): (Vec<&Path>, Vec<&Path>) =
            [key, certificate].into_iter().partition(|path| path.exists());
        let found =
            std::iter::once("the CA's record in the store".to_owned()).chain(here.into_iter().map(shown));
        Error::Incomplete {
            found: found.collect::<Vec<_>>().join(", "),
            missing: gone.into_iter().map(shown).collect::<Vec<_>>().join(", "),
        }
    };
    let Some(public) = files::read(&public_now)? else { return Err(incomplete()) };
    if files::read_secret(&secret_now)?.is_none() {
        return Err(incomplete());
    }
    let parsed = Certificate::parse_pem(&public)
        .map_err(|e| Error::File { path: public_now.clone(), reason: e.to_string() })?;
    let found = parsed.fingerprint.to_hex();
    if found != known {
        return Err(Error::OtherCa { path: public_now, expected: known.to_owned(), found });
    }
    for (now, name) in [(&secret_now, key), (&public_now, certificate)] {
        if now != name {
            files::rename(now, name)?;
        }
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
