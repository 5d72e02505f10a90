//! The CA's certificate with its chain, as agents get it.

use std::fmt;
use std::sync::Arc;

use crate::certificate::{Certificate, CertificateError};
use crate::fingerprint::Fingerprint;
use crate::pem;

/// Most certificates in a bundle; real ones have one to three.
const MAX: usize = 10;

/// The CA's certificate and its chain up to a root: the signing CA first, each signed by the next, the
/// last by itself. Exactly the bytes that agents get, whose `ca_fingerprint` pins them.
#[derive(Clone, PartialEq, Eq)]
pub struct Bundle {
    certificates: Vec<Certificate>,
    pem: Arc<str>,
}

/// Why bytes are no bundle. Names are common names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Not a text of PEM blocks labelled CERTIFICATE.
    #[error("the CA bundle is not PEM: {0}")]
    Pem(String),
    /// More certificates than any chain has.
    #[error("the CA bundle has {0} certificates; the most is {MAX}")]
    TooMany(usize),
    /// A certificate that cannot be used.
    #[error("certificate {at} of the CA bundle: {source}")]
    Certificate {
        /// Which, from 1.
        at: usize,
        /// What is wrong with it.
        source: CertificateError,
    },
    /// A certificate that may not sign certificates and lists.
    #[error("{0:?} in the CA bundle is not the certificate of a CA that may sign certificates and CRLs")]
    NotACa(String),
    /// All are there, in another order.
    #[error("the certificates of the CA bundle are in the wrong order; the right one is {}", shown(.0))]
    Order(Vec<String>),
    /// One that the next did not sign.
    #[error("{subject:?} in the CA bundle is not signed by {next:?}, which follows it")]
    Broken {
        /// The one.
        subject: String,
        /// The next.
        next: String,
    },
    /// The chain goes on beyond the bundle.
    #[error(
        "the CA bundle ends with {subject:?}, which is not self-signed: append the certificate of {issuer:?}"
    )]
    NoRoot {
        /// The last.
        subject: String,
        /// The whole name of its issuer.
        issuer: String,
    },
    /// Something after a root.
    #[error("the CA bundle goes on after the self-signed {0:?}, which must be its last certificate")]
    AfterRoot(String),
    /// A chain longer than one of its CAs allows.
    #[error("{0:?} in the CA bundle does not allow so many CAs below it")]
    PathLength(String),
}

impl Bundle {
    /// Reads a PEM text of certificates.
    ///
    /// # Errors
    /// [`BundleError`], which names the certificate.
    pub fn parse(pem: &[u8]) -> Result<Bundle, BundleError> {
        let blocks = pem::every(pem, "CERTIFICATE").map_err(|e| BundleError::Pem(e.to_string()))?;
        if blocks.len() > MAX {
            return Err(BundleError::TooMany(blocks.len()));
        }
        let mut certificates = Vec::new();
        for (der, at) in blocks.iter().zip(1..) {
            let certificate =
                Certificate::parse_der(der).map_err(|source| BundleError::Certificate { at, source })?;
            if !certificate.is_ca || !certificate.signs_all {
                return Err(BundleError::NotACa(certificate.subject_cn));
            }
            certificates.push(certificate);
        }
        chained(&certificates)?;
        let text = std::str::from_utf8(pem).map_err(|e| BundleError::Pem(e.to_string()))?;
        Ok(Bundle { certificates, pem: text.into() })
    }

    /// The bundle of one self-signed certificate, as its PEM.
    ///
    /// # Errors
    /// [`BundleError`] when it is no root.
    pub fn of_root(certificate: &Certificate) -> Result<Bundle, BundleError> {
        Bundle::parse(certificate.to_pem().as_bytes())
    }

    /// The certificate of the CA that signs the agents' certificates.
    #[expect(clippy::indexing_slicing, reason = "a bundle has at least one certificate: see `pem::every`")]
    pub fn issuer(&self) -> &Certificate {
        &self.certificates[0]
    }

    /// All its certificates, the signing CA's first, the root last.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// The text that it was read from.
    pub fn pem(&self) -> &Arc<str> {
        &self.pem
    }

    /// SHA-256 of that text's bytes.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.pem.as_bytes())
    }
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.certificates.iter().map(|c| &c.subject_cn);
        f.debug_list().entries(names).finish()
    }
}

fn chained(certificates: &[Certificate]) -> Result<(), BundleError> {
    let name = |certificate: &Certificate| certificate.subject_cn.clone();
    for pair in certificates.windows(2) {
        let [subject, next] = pair else { continue };
        if subject.is_signed_by(next) && !subject.is_signed_by(subject) {
            continue;
        }
        if let Some(order) = order(certificates) {
            return Err(BundleError::Order(order));
        }
        return Err(if subject.is_signed_by(subject) {
            BundleError::AfterRoot(name(subject))
        } else {
            BundleError::Broken { subject: name(subject), next: name(next) }
        });
    }
    if let Some(last) = certificates.last()
        && !last.is_signed_by(last)
    {
        return Err(match order(certificates) {
            Some(order) => BundleError::Order(order),
            None => BundleError::NoRoot { subject: name(last), issuer: last.issuer.clone() },
        });
    }
    // RFC 5280, 4.2.1.9: how many CAs may follow below one.
    for (below, certificate) in certificates.iter().enumerate() {
        let allowed = certificate.path_len.and_then(|length| usize::try_from(length).ok());
        if allowed.is_some_and(|allowed| below > allowed) {
            return Err(BundleError::PathLength(name(certificate)));
        }
    }
    Ok(())
}

/// The order in which they are a chain up to a root, if there is one.
fn order(certificates: &[Certificate]) -> Option<Vec<String>> {
    let root = certificates.iter().find(|c| c.is_signed_by(c))?;
    let mut chain = vec![root];
    while chain.len() < certificates.len() {
        let top = chain.last()?;
        chain.push(certificates.iter().find(|c| !chain.contains(c) && c.is_signed_by(top))?);
    }
    Some(chain.iter().rev().map(|c| c.subject_cn.clone()).collect())
}

fn shown(names: &[String]) -> String {
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}
