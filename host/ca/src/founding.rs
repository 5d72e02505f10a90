//! The CA's key and certificate: made once, found ever after.
//!
//! A CA is two files and a line in the store with its certificate's fingerprint. The line is what
//! commits: first the files are written under provisional names, then the line, then the files get
//! their names. Whenever the power goes, the next start either finishes the renaming (the line is
//! there) or begins again (it is not, and then nothing was ever signed). A new certificate for the same
//! key comes the same way. Anything else is part of a CA, and touched by nobody.

use std::path::{Path, PathBuf};

use pki::{Bundle, Fingerprint, Issuer, create_issuer};
use store::Store;
use time::{Duration, OffsetDateTime};

use crate::files::{self, PUBLIC};
use crate::{Error, Settings};

/// Name of the line in the store.
const MARKER: &str = "ca.fingerprint";
/// The request of a CA that waits for its certificate, in PEM.
const REQUEST: &str = "ca.request";
/// Fingerprint of the CA that is being imported.
const IMPORTING: &str = "ca.importing";
/// Life of a CA, in days: what Puppet's own setup gives it.
pub(crate) const LIFE: i64 = 15 * 365;
/// The CA's certificate, and all others, are valid from a day before they are made, for machines whose
/// clocks are slow.
pub(crate) const BACKDATED: Duration = Duration::DAY;

pub(crate) struct Founded {
    pub issuer: Issuer,
    pub bundle: Bundle,
    pub bundle_path: PathBuf,
}

/// What the store knows of its CA.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// There never was one.
    None,
    /// There is a key and a request, in PEM.
    Requested(String),
    /// The import of the CA with this fingerprint was begun.
    Importing(String),
    /// There is one, with this fingerprint.
    Made(String),
}

/// Where the two files are.
pub(crate) struct Place {
    pub key: PathBuf,
    pub certificate: PathBuf,
}

impl Place {
    pub(crate) fn of(settings: &Settings) -> Place {
        Place { key: settings.dir.join("ca_key.pem"), certificate: settings.dir.join("ca_crt.pem") }
    }
}

pub(crate) async fn state(store: &Store) -> Result<State, Error> {
    let said = async |key: &str| Ok::<_, Error>(store.meta(key).await?.filter(|value| !value.is_empty()));
    if let Some(fingerprint) = said(MARKER).await? {
        return Ok(State::Made(fingerprint));
    }
    if let Some(fingerprint) = said(IMPORTING).await? {
        return Ok(State::Importing(fingerprint));
    }
    Ok(said(REQUEST).await?.map_or(State::None, State::Requested))
}

/// Opens the CA, or makes it if there never was one.
pub(crate) async fn found(settings: &Settings, store: &Store, now: OffsetDateTime) -> Result<Founded, Error> {
    files::create_dir(&settings.dir)?;
    if state(store).await? == State::None {
        make(settings, store, now).await?;
    }
    find(settings, store).await
}

/// Opens the CA that there is.
pub(crate) async fn find(settings: &Settings, store: &Store) -> Result<Founded, Error> {
    let place = Place::of(settings);
    match state(store).await? {
        State::Made(known) => settle(&place, &known)?,
        State::Requested(_) => return Err(Error::Uncertified { path: place.certificate }),
        State::Importing(fingerprint) => return Err(Error::HalfImported { fingerprint }),
        State::None => {
            return Err(Error::NoCa { dir: settings.dir.clone(), remedy: "`bunraku ca setup` makes one" });
        }
    }
    let bundle = read_bundle(&place.certificate)?.ok_or_else(|| incomplete(&place))?;
    let issuer = open_issuer(settings, &bundle, &place.key, true).await?;
    Ok(Founded { issuer, bundle, bundle_path: place.certificate })
}

/// Makes a self-signed CA where there is none.
pub(crate) async fn make(settings: &Settings, store: &Store, now: OffsetDateTime) -> Result<(), Error> {
    let place = Place::of(settings);
    refuse_leftovers(&place, store)?;
    let (keys, kind, name) = (settings.keys.clone(), settings.key, settings.ca_name.clone());
    let provisional = files::beside(&place.key);
    let issuer = blocking(move || {
        files::remove(&provisional)?;
        let key = keys.create(kind, &provisional)?;
        let not_before = now - BACKDATED;
        Ok(create_issuer(&name, key, not_before, not_before + Duration::days(LIFE))?)
    })
    .await?;
    let certificate = issuer.certificate();
    commit(store, &place, &certificate.to_pem(), &certificate.fingerprint).await?;
    tracing::info!(
        name = certificate.subject_cn,
        fingerprint = certificate.fingerprint.to_hex(),
        "made a certificate authority"
    );
    Ok(())
}

/// Takes this as the CA's certificate with its chain. The key's file is there, if need be under its
/// provisional name.
pub(crate) async fn commit(
    store: &Store,
    place: &Place,
    bundle: &str,
    fingerprint: &Fingerprint,
) -> Result<(), Error> {
    files::write(&files::beside(&place.certificate), bundle.as_bytes(), PUBLIC)?;
    files::sync_dir_of(&place.certificate)?;
    let fingerprint = fingerprint.to_hex();
    store.set_meta(MARKER, &fingerprint).await?;
    settle(place, &fingerprint)
}

/// Notes a request, after which its key is kept.
pub(crate) async fn note_request(store: &Store, pem: &str) -> Result<(), Error> {
    Ok(store.set_meta(REQUEST, pem).await?)
}

/// Notes that an import begins: until it is finished, nothing else may be made of this state.
pub(crate) async fn note_import(store: &Store, fingerprint: &Fingerprint) -> Result<(), Error> {
    Ok(store.set_meta(IMPORTING, &fingerprint.to_hex()).await?)
}

/// Opens the CA's key, for good sealed to what this CA signs, or, offline, for more than that.
pub(crate) async fn open_issuer(
    settings: &Settings,
    bundle: &Bundle,
    key: &Path,
    sealed: bool,
) -> Result<Issuer, Error> {
    let (keys, certificate, key) = (settings.keys.clone(), bundle.issuer().clone(), key.to_owned());
    blocking(move || {
        let key = keys.open(&key, sealed.then_some(&certificate))?;
        Ok(Issuer::open(certificate, key)?)
    })
    .await
}

/// Runs what may take its time.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Interrupted)?
}

/// Without the store's line there must be no CA: its inventory and revocations would be gone.
pub(crate) fn refuse_leftovers(place: &Place, store: &Store) -> Result<(), Error> {
    let paths = [place.key.as_path(), place.certificate.as_path()];
    let (here, gone): (Vec<&Path>, Vec<&Path>) = paths.into_iter().partition(|path| path.exists());
    if here.is_empty() {
        return Ok(());
    }
    let record = format!("the CA's record in the store {}", store.path().display());
    Err(Error::Incomplete { found: listed(&here, None), missing: listed(&gone, Some(record)) })
}

/// Gives the files their names if that was cut short, and checks that they are the store's CA.
pub(crate) fn settle(place: &Place, known: &str) -> Result<(), Error> {
    let key = settled_key(place);
    let named = read_bundle(&place.certificate);
    let fits = |bundle: &Bundle| bundle.issuer().fingerprint.to_hex() == known;
    if !matches!(&named, Ok(Some(bundle)) if fits(bundle)) {
        let provisional = files::beside(&place.certificate);
        let fresh = read_bundle(&provisional).ok().flatten();
        match (named, fresh, &key) {
            (_, Some(bundle), Some(_)) if fits(&bundle) => files::rename(&provisional, &place.certificate)?,
            (Err(error), ..) => return Err(error),
            (Ok(Some(bundle)), ..) | (Ok(None), Some(bundle), Some(_)) => {
                return Err(Error::OtherCa {
                    path: place.certificate.clone(),
                    expected: known.to_owned(),
                    found: bundle.issuer().fingerprint.to_hex(),
                });
            }
            _ => return Err(incomplete(place)),
        }
    }
    match key {
        Some(path) if path != place.key => files::rename(&path, &place.key),
        Some(_) => Ok(()),
        None => Err(incomplete(place)),
    }
}

/// The key's file under the name it has now.
fn settled_key(place: &Place) -> Option<PathBuf> {
    [place.key.clone(), files::beside(&place.key)].into_iter().find(|path| path.exists())
}

/// Gives the key of a request its name if that was cut short.
pub(crate) fn settle_key(place: &Place) -> Result<(), Error> {
    match settled_key(place) {
        Some(path) if path != place.key => files::rename(&path, &place.key),
        Some(_) => Ok(()),
        None => Err(Error::Incomplete {
            found: "the CA's request in the store".into(),
            missing: place.key.display().to_string(),
        }),
    }
}

/// The chain in a file; `None` if there is no file.
pub(crate) fn read_bundle(path: &Path) -> Result<Option<Bundle>, Error> {
    let wrong = |error: pki::BundleError| Error::File { path: path.to_owned(), reason: error.to_string() };
    files::read(path)?.map(|text| Bundle::parse(&text).map_err(wrong)).transpose()
}

pub(crate) fn incomplete(place: &Place) -> Error {
    let paths = [place.key.as_path(), place.certificate.as_path()];
    let (here, gone): (Vec<&Path>, Vec<&Path>) = paths.into_iter().partition(|path| path.exists());
    let record = "the CA's record in the store".to_owned();
    Error::Incomplete { found: listed(&here, Some(record)), missing: listed(&gone, None) }
}

fn listed(paths: &[&Path], more: Option<String>) -> String {
    let paths = paths.iter().map(|path| path.display().to_string());
    paths.chain(more).collect::<Vec<_>>().join(", ")
}
