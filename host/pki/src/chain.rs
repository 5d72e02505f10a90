//! The revocation lists of all CAs of a bundle, as agents and TLS get them.

use std::collections::HashSet;

use time::OffsetDateTime;

use crate::bundle::Bundle;
use crate::crl::{Crl, CrlError};
use crate::serial::Serial;

/// One revocation list for each CA of a bundle, the signing CA's first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlChain {
    own: Crl,
    ancestors: Vec<Crl>,
}

/// Why lists are not the lists of a bundle. Issuers are whole names, as in [`Crl::issuer`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// One that cannot be read, or a delta.
    #[error("{0}")]
    Crl(#[from] CrlError),
    /// A list that no CA of the bundle signed.
    #[error("the revocation list in the name of {0:?} is not signed by a CA of the bundle")]
    Foreign(String),
    /// Two lists of one CA.
    #[error("there are two revocation lists of {0:?}")]
    Twice(String),
    /// No list of one of the CAs.
    #[error("there is no revocation list of {0:?}: every CA of the bundle needs one")]
    Missing(String),
    /// A list from before the one that is held.
    #[error("the revocation list of {issuer:?} has the number {offered}, and {held} is known already")]
    Older {
        /// Whose.
        issuer: String,
        /// The number that is known.
        held: u64,
        /// The number of the list that is refused.
        offered: u64,
    },
    /// Nothing to replace.
    #[error(
        "none of the revocation lists is newer than those in force, or the only newer one is this CA's own"
    )]
    NoneNewer,
}

impl CrlChain {
    /// Reads a PEM text of lists in any order.
    ///
    /// # Errors
    /// [`ChainError`], which names the issuer.
    pub fn parse(pem: &[u8], bundle: &Bundle) -> Result<CrlChain, ChainError> {
        CrlChain::sorted(Crl::parse_pem_all(pem)?, bundle)
    }

    /// Joins the signing CA's own list with those of the CAs above it.
    ///
    /// # Errors
    /// [`ChainError`]; `own` in another CA's name is [`ChainError::Foreign`].
    pub fn new(own: Crl, ancestors: Vec<Crl>, bundle: &Bundle) -> Result<CrlChain, ChainError> {
        if !own.is_signed_by(bundle.issuer()) {
            return Err(ChainError::Foreign(own.issuer));
        }
        let mut lists = ancestors;
        lists.push(own);
        CrlChain::sorted(lists, bundle)
    }

    fn sorted(lists: Vec<Crl>, bundle: &Bundle) -> Result<CrlChain, ChainError> {
        let mut places: Vec<Option<Crl>> = bundle.certificates().iter().map(|_| None).collect();
        for list in lists {
            let at = signer_of(&list, bundle)?;
            match places.get_mut(at) {
                Some(place @ None) => *place = Some(list),
                _ => return Err(ChainError::Twice(list.issuer)),
            }
        }
        let named = places.into_iter().zip(bundle.certificates());
        let mut sorted = named.map(|(list, ca)| list.ok_or_else(|| ChainError::Missing(ca.subject_name())));
        let own = sorted.next().ok_or_else(|| ChainError::Missing(bundle.issuer().subject_name()))??;
        Ok(CrlChain { own, ancestors: sorted.collect::<Result<_, _>>()? })
    }

    /// All of them, in the bundle's order.
    pub fn lists(&self) -> impl Iterator<Item = &Crl> {
        std::iter::once(&self.own).chain(&self.ancestors)
    }

    /// The signing CA's own list.
    pub fn own(&self) -> &Crl {
        &self.own
    }

    /// The lists of the CAs above it, the root's last.
    pub fn ancestors(&self) -> &[Crl] {
        &self.ancestors
    }

    /// All of them in PEM, in the bundle's order.
    pub fn to_pem(&self) -> String {
        self.lists().map(Crl::to_pem).collect()
    }

    /// When the first of them ends.
    pub fn next_update(&self) -> OffsetDateTime {
        let others = self.ancestors.iter().map(|list| list.next_update);
        others.fold(self.own.next_update, OffsetDateTime::min)
    }

    /// The serials on the signing CA's own list.
    pub fn revoked(&self) -> HashSet<Serial> {
        self.own.entries.iter().map(|entry| entry.serial.clone()).collect()
    }

    /// The chain with the lists of ancestors that are newer among these, and whose they are. Newer is the
    /// higher number, or with the same number the later thisUpdate (lists without a number count as 0).
    /// A list of the signing CA's own is left alone: that CA alone makes those.
    ///
    /// # Errors
    /// [`ChainError::NoneNewer`], [`ChainError::Foreign`].
    pub fn with_newer(
        &self,
        uploaded: Vec<Crl>,
        bundle: &Bundle,
    ) -> Result<(CrlChain, Vec<String>), ChainError> {
        let (mut chain, mut replaced) = (self.clone(), Vec::new());
        for list in uploaded {
            let Some(above) = signer_of(&list, bundle)?.checked_sub(1) else { continue };
            let Some(held) = chain.ancestors.get_mut(above) else { continue };
            if age(&list) > age(held) {
                if !replaced.contains(&list.issuer) {
                    replaced.push(list.issuer.clone());
                }
                *held = list;
            }
        }
        if replaced.is_empty() { Err(ChainError::NoneNewer) } else { Ok((chain, replaced)) }
    }

    /// Checks that no list has a lower number than the one of the same CA that is held. Where a CA's
    /// lists have no numbers, thisUpdate tells.
    ///
    /// # Errors
    /// [`ChainError::Older`].
    pub fn must_follow(&self, held: &CrlChain) -> Result<(), ChainError> {
        for offered in self.lists() {
            let Some(held) = held.lists().find(|held| held.same_issuer(offered)) else { continue };
            let unnumbered = offered.number == 0 && held.number == 0;
            if offered.number < held.number || unnumbered && age(offered) < age(held) {
                return Err(ChainError::Older {
                    issuer: offered.issuer.clone(),
                    held: held.number,
                    offered: offered.number,
                });
            }
        }
        Ok(())
    }
}

fn age(list: &Crl) -> (u64, OffsetDateTime) {
    (list.number, list.this_update)
}

/// Which CA of the bundle signed a list: 0 for the signing CA.
fn signer_of(list: &Crl, bundle: &Bundle) -> Result<usize, ChainError> {
    let found = bundle.certificates().iter().position(|ca| list.is_signed_by(ca));
    found.ok_or_else(|| ChainError::Foreign(list.issuer.clone()))
}
