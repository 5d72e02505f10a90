//! What is done to a CA as a whole while nothing serves it: making one, placing one below another CA,
//! and giving it a new certificate. The caller has the store open for writing, so no daemon runs.

use pki::crl::Crl;
use pki::{Bundle, issuer_request, renew_issuer};
use store::Store;
use time::{Duration, OffsetDateTime};

use crate::ancestors;
use crate::authority::within;
use crate::files;
use crate::founding::{self, BACKDATED, LIFE, Place, State, blocking, find, open_issuer};
use crate::{Error, Settings};

/// Makes a self-signed CA.
///
/// # Errors
/// [`Error::Exists`] where there is one; [`Error::Incomplete`] where there is part of one.
pub async fn create(settings: &Settings, store: &Store, now: OffsetDateTime) -> Result<Bundle, Error> {
    refuse_second(settings, store).await?;
    if let State::Requested(_) = founding::state(store).await? {
        return Err(Error::Uncertified { path: Place::of(settings).certificate });
    }
    Ok(founding::found(settings, store, now).await?.bundle)
}

/// A certificate request for a CA that is going to be below another one. Asked again, the answer is the
/// same; where there is a CA already, it is a request for a new certificate of that CA's name and key.
///
/// # Errors
/// [`Error::Incomplete`] where there is part of a CA.
pub async fn request(settings: &Settings, store: &Store) -> Result<String, Error> {
    files::create_dir(&settings.dir)?;
    let place = Place::of(settings);
    match founding::state(store).await? {
        State::Requested(pem) => {
            founding::settle_key(&place)?;
            Ok(pem)
        }
        State::Made(_) => {
            let name = find(settings, store).await?.issuer.certificate().subject_cn.clone();
            let keys = settings.keys.clone();
            blocking(move || Ok(issuer_request(&name, &keys.open(&place.key, None)?)?)).await
        }
        State::Importing(fingerprint) => Err(Error::HalfImported { fingerprint }),
        State::None => {
            founding::refuse_leftovers(&place, store)?;
            let (keys, kind, name) = (settings.keys.clone(), settings.key, settings.ca_name.clone());
            let provisional = files::beside(&place.key);
            let pem = blocking(move || {
                files::remove(&provisional)?;
                let key = keys.create(kind, &provisional)?;
                Ok(issuer_request(&name, &key)?)
            })
            .await?;
            founding::note_request(store, &pem).await?;
            founding::settle_key(&place)?;
            Ok(pem)
        }
    }
}

/// Installs the CA's certificate, which another CA signed: `chain` has it first, then each its issuer,
/// a root last; `lists` has one revocation list for each CA of the chain but this one.
///
/// # Errors
/// [`Error::NoCa`] where nothing was requested; [`Error::Bundle`], [`Error::Sign`] and
/// [`Error::NotTheCas`] where the chain is none, or not this CA's; [`Error::Ancestors`] where a list is
/// missing, foreign or past its time.
pub async fn install(
    settings: &Settings,
    store: &Store,
    chain: &[u8],
    lists: &[u8],
    now: OffsetDateTime,
) -> Result<Bundle, Error> {
    let place = Place::of(settings);
    let known = match founding::state(store).await? {
        State::Requested(_) => {
            founding::settle_key(&place)?;
            None
        }
        State::Made(_) => Some(find(settings, store).await?.issuer.certificate().subject_cn.clone()),
        State::Importing(fingerprint) => return Err(Error::HalfImported { fingerprint }),
        State::None => {
            return Err(Error::NoCa {
                dir: settings.dir.clone(),
                remedy: "make a request for it first, and have that one signed",
            });
        }
    };
    let bundle = Bundle::parse(chain)?;
    within(bundle.issuer(), now)?;
    // Whether the key is the one that was certified shows here.
    open_issuer(settings, &bundle, &place.key, true).await?;
    let name = &bundle.issuer().subject_cn;
    if let Some(known) = known.filter(|known| known != name) {
        return Err(Error::NotTheCas(format!("it is for {name:?}, and this CA is {known:?}")));
    }
    let mut lists = match bundle.certificates() {
        [_] if lists.is_empty() => Vec::new(),
        _ => Crl::parse_pem_all(lists).map_err(|error| Error::Ancestors(error.to_string()))?,
    };
    lists.retain(|list| !list.is_signed_by(bundle.issuer()));
    let lists = ancestors::in_order(lists, &bundle)?;
    if let Some(late) = lists.iter().find(|list| list.crl.next_update <= now) {
        let (of, end) = (&late.of, late.crl.next_update);
        return Err(Error::Ancestors(format!("the one of {of:?} ended at {end}: agents would refuse it")));
    }
    ancestors::save(store, &lists).await?;
    founding::commit(store, &place, bundle.pem(), &bundle.issuer().fingerprint).await?;
    tracing::info!(name, "installed the certificate of the certificate authority");
    Ok(bundle)
}

/// A new certificate for a self-signed CA: same name, same key, fifteen years from now. What the CA has
/// signed stays good under it. Agents keep the old one until they fetch the bundle again.
///
/// # Errors
/// [`Error::NotTheCas`] for a CA below another one, which has to ask that one.
pub async fn renew_ca(settings: &Settings, store: &Store, now: OffsetDateTime) -> Result<Bundle, Error> {
    let place = Place::of(settings);
    let bundle = find(settings, store).await?.bundle;
    if bundle.certificates().len() != 1 {
        let reason = "another CA has certified this one: make a request, have it signed, and install that";
        return Err(Error::NotTheCas(reason.into()));
    }
    let issuer = open_issuer(settings, &bundle, &place.key, false).await?;
    // From where the old one began, so that what it signed lies within the new one too.
    let not_before = bundle.issuer().not_before;
    let not_after = now - BACKDATED + Duration::days(LIFE);
    let certificate = blocking(move || Ok(renew_issuer(&issuer, not_before, not_after)?)).await?;
    founding::commit(store, &place, &certificate.to_pem(), &certificate.fingerprint).await?;
    tracing::info!(name = certificate.subject_cn, "renewed the certificate of the certificate authority");
    Ok(find(settings, store).await?.bundle)
}

/// An error if there is a CA.
pub(crate) async fn refuse_second(settings: &Settings, store: &Store) -> Result<(), Error> {
    match founding::state(store).await? {
        State::Made(_) => {
            Err(Error::Exists { name: find(settings, store).await?.issuer.certificate().subject_cn.clone() })
        }
        State::Importing(fingerprint) => Err(Error::HalfImported { fingerprint }),
        State::Requested(_) | State::None => Ok(()),
    }
}
