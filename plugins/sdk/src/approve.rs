//! Deciding on certificate signing requests (`wit/csr.wit`).

use std::fmt;

use crate::{Call, Failure, Plugin};

/// Decides on certificate signing requests.
pub trait CsrApprover: Plugin {
    /// What to do with this request, whose self-signature and encoding the host has verified.
    ///
    /// # Errors
    /// The plugin cannot tell; the request stays pending.
    fn decide(call: &Call, request: &Csr) -> Result<Verdict, Failure>;
}

/// A certificate signing request.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Csr {
    /// The name asked for: lower case, as the CA will know it.
    pub certname: String,
    /// SHA-256 of the DER, lower-case hex.
    pub fingerprint: String,
    /// The request itself, for plugins that read what is not lifted out here.
    pub der: Vec<u8>,
    /// `rsa`, `ec-p256`, `ec-p384`, `ec-p521` or `ed25519`; later hosts may accept more.
    pub key_algorithm: String,
    /// The key's size.
    pub key_bits: u32,
    /// Subject alternative names asked for.
    pub alt_names: Vec<AltName>,
    /// Requested certificate extensions, named as in [`crate::Trusted::extensions`].
    pub extensions: Vec<(String, String)>,
    /// CSR attributes that never reach the certificate, such as a challenge password.
    pub attributes: Vec<(String, String)>,
    /// Why this request is here.
    pub occasion: Occasion,
    /// The address the request came from, as the host saw it.
    pub peer: Option<String>,
}

impl Csr {
    /// The first requested extension of this name.
    pub fn extension(&self, name: &str) -> Option<&str> {
        first(&self.extensions, name)
    }

    /// The first CSR attribute of this name. It may be a secret: never log it.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        first(&self.attributes, name)
    }
}

/// Attribute values are left out: a challenge password is a secret.
impl fmt::Debug for Csr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attributes: Vec<_> = self.attributes.iter().map(|(name, _)| name).collect();
        f.debug_struct("Csr")
            .field("certname", &self.certname)
            .field("fingerprint", &self.fingerprint)
            .field("key_algorithm", &self.key_algorithm)
            .field("key_bits", &self.key_bits)
            .field("alt_names", &self.alt_names)
            .field("extensions", &self.extensions)
            .field("attributes", &attributes)
            .field("occasion", &self.occasion)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// A subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AltName {
    /// `dns`, `ip`, `uri` or `email`; later hosts may know more.
    pub kind: String,
    /// The name.
    pub value: String,
}

/// Why a request is here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Occasion {
    /// The CA holds no certificate for this name.
    #[default]
    First,
    /// The node presented its valid certificate with this request.
    Renewal,
    /// A certificate for this name exists and was not presented.
    Conflict,
}

/// An approver's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Sign it. The host applies whichever is stricter, this or its own configuration.
    Approve {
        /// Why, for the operator.
        reason: String,
        /// Seconds the certificate may live; the CA's own lifetime where none.
        lifetime: Option<u64>,
    },
    /// Refuse it, and tell the operator why.
    Deny(String),
    /// Keep it for a person, or for the next try.
    Pending(String),
    /// No opinion: ask the next approver. With none left the request stays pending.
    Abstain,
}

impl Verdict {
    /// Approves for the CA's own lifetime.
    pub fn approve(reason: impl Into<String>) -> Self {
        Self::Approve { reason: reason.into(), lifetime: None }
    }
}

fn first<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}
