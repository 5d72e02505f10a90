//! X.509 and PKCS#10 as our own checked types: what a certificate request says, what a
//! certificate or a revocation list is, and how the authority signs them.
//!
//! Everything here is a function of its arguments: no file, no socket, no clock (`now` and
//! validities are passed in). The one thing taken from outside is randomness, for serials and keys.
//!
//! What it never does: decide *whether* to sign (crate `decide` and the plugins), remember what was
//! signed (crate `store`), or touch the authority's key file (crate `signer`). And nothing of a request
//! is ever copied into a certificate as bytes: [`CertificateRequest::parse`] reads a request into our
//! own model and [`sign_certificate`] writes a certificate from that model alone.

mod bundle;
mod certificate;
mod certname;
mod chain;
pub mod crl;
mod der;
mod encode;
mod encrypted;
mod extension;
mod fingerprint;
mod issuer;
mod key;
mod name;
mod pem;
mod private;
mod request;
mod seal;
mod serial;
mod sign;
mod trust;

pub use bundle::{Bundle, BundleError};
pub use certificate::{Certificate, CertificateError};
pub use certname::{Certname, CertnameError};
pub use chain::{ChainError, CrlChain};
pub use encrypted::Passphrase;
pub use extension::{Extension, KNOWN_SECRETS, PP_CLI_AUTH, oid_of, short_name};
pub use fingerprint::Fingerprint;
pub use issuer::{Issuer, create_issuer, issuer_request, renew_issuer};
pub use key::{KeyAlgorithm, KeyError, PublicKey};
pub use name::AltName;
pub use private::{KeyKind, Sign, SigningKey, is_encrypted_pem};
pub use request::{CertificateRequest, MAX_REQUEST_BYTES, RequestError, RequestRules};
pub use seal::may_sign;
pub use serial::{Serial, SerialError};
pub use sign::{SignError, Template, sign_certificate};
pub use trust::{Freshness, Identity, Trust};
