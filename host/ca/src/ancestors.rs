//! The revocation lists of the CAs above this one. They come from outside, by hand or by upload; the
//! store has them, and every published list carries them along.

use std::sync::Arc;

use pki::Bundle;
use pki::crl::Crl;
use store::Store;
use time::OffsetDateTime;

use crate::authority::{Authority, Inner, whole};
use crate::{Error, UploadError};

/// The lists in PEM, in the order of the chain.
const META: &str = "ca.ancestor_crls";

/// The list of one CA of the chain.
#[derive(Debug, Clone)]
pub(crate) struct Ancestor {
    /// The CA's common name.
    pub of: String,
    pub crl: Crl,
}

/// Exactly one list for each CA above the bundle's first, in the bundle's order.
pub(crate) fn in_order(mut lists: Vec<Crl>, bundle: &Bundle) -> Result<Vec<Ancestor>, Error> {
    let mut found = Vec::new();
    for ca in bundle.certificates().iter().skip(1) {
        let (theirs, others): (Vec<Crl>, Vec<Crl>) = lists.into_iter().partition(|l| l.is_signed_by(ca));
        lists = others;
        let newest = theirs.into_iter().max_by_key(|list| (list.number, list.this_update));
        let crl = newest.ok_or_else(|| {
            Error::Ancestors(format!("there is none of {:?}, and agents ask for one of each", ca.subject_cn))
        })?;
        found.push(Ancestor { of: ca.subject_cn.clone(), crl });
    }
    match lists.first() {
        Some(list) => Err(Error::Ancestors(format!("{} is no CA of the chain", list.issuer))),
        None => Ok(found),
    }
}

pub(crate) async fn save(store: &Store, lists: &[Ancestor]) -> Result<(), Error> {
    Ok(store.set_meta(META, &to_pem(lists)).await?)
}

/// What the store has.
pub(crate) async fn load_only(store: &Store, bundle: &Bundle) -> Result<Vec<Ancestor>, Error> {
    in_order(stored(store).await?, bundle)
}

/// What the store has, or the published file's where that is newer: the store may have been restored
/// from an older backup.
pub(crate) async fn load(store: &Store, bundle: &Bundle, published: &[Crl]) -> Result<Vec<Ancestor>, Error> {
    let mut lists = stored(store).await?;
    let before = lists.clone();
    let above = bundle.certificates().get(1..).unwrap_or_default();
    // Of a chain that was replaced since, some may be of no CA of this one.
    lists.extend(published.iter().cloned());
    lists.retain(|list| above.iter().any(|ca| list.is_signed_by(ca)));
    let lists = in_order(lists, bundle)?;
    if lists.iter().any(|list| !before.contains(&list.crl)) {
        save(store, &lists).await?;
    }
    Ok(lists)
}

async fn stored(store: &Store) -> Result<Vec<Crl>, Error> {
    match store.meta(META).await?.filter(|text| !text.is_empty()) {
        Some(text) => Crl::parse_pem_all(text.as_bytes()).map_err(|e| Error::Ancestors(e.to_string())),
        None => Ok(Vec::new()),
    }
}

pub(crate) fn to_pem(lists: &[Ancestor]) -> String {
    lists.iter().map(|list| list.crl.to_pem()).collect()
}

impl Authority {
    /// Takes newer revocation lists of the CAs above this one. This CA's own list is never taken from
    /// outside. Answers whose lists were replaced.
    ///
    /// # Errors
    /// [`UploadError`]; then nothing was changed.
    pub async fn upload_crls(&self, pem: &[u8], now: OffsetDateTime) -> Result<Vec<String>, UploadError> {
        let lists = Crl::parse_pem_all(pem).map_err(|_| UploadError::NoValid)?;
        if lists.is_empty() {
            return Err(UploadError::NoValid);
        }
        let inner = self.inner.clone();
        whole(async move { inner.take(lists, now).await }).await
    }
}

impl Inner {
    async fn take(
        self: &Arc<Self>,
        lists: Vec<Crl>,
        now: OffsetDateTime,
    ) -> Result<Vec<String>, UploadError> {
        let _turn = self.revocations.uploading.lock().await;
        let mut held = self.revocations.ancestors();
        let mut replaced = Vec::new();
        for list in lists {
            if list.is_signed_by(self.bundle.issuer()) {
                // Puppet's tool sends the whole chain; our own list is ours to make.
                continue;
            }
            let above = self.bundle.certificates().iter().skip(1);
            let place = above.zip(held.iter_mut()).find(|(ca, _)| list.is_signed_by(ca));
            let Some((_, place)) = place else {
                return Err(UploadError::Foreign(format!("{} is no CA above this one", list.issuer)));
            };
            let age = |list: &Crl| (list.number, list.this_update);
            if age(&list) > age(&place.crl) && list.next_update > now {
                replaced.push(place.of.clone());
                place.crl = list;
            }
        }
        if replaced.is_empty() {
            return Err(UploadError::NoneNewer);
        }
        save(&self.store, &held).await?;
        self.revocations.set_ancestors(held);
        self.publish_now(now).await?;
        tracing::info!(of = replaced.join(", "), "took newer revocation lists");
        Ok(replaced)
    }
}
