//! X.509 and PKCS#10 as our own checked types: what a certificate request says, what a
//! certificate or a revocation list is, and how the authority signs them.
//!
//! Everything here is a function of its arguments: no file, no socket, no clock (`now` and
//! validities are passed in). The one thing taken from outside is randomness, for serials and keys.
//!
//! What it never does: decide *whether* to sign (crate `decide` and the plugins), remember what was
//! signed (crate `store`), or touch the authority's key file (crate `ca`). And nothing of a request
//! is ever copied into a certificate as bytes: [`CertificateRequest::parse`] reads a request into our
//! own model and [`sign_certificate`] writes a certificate from that model alone.

mod certificate;
mod certname;
pub mod crl;
mod der;
mod extension;
mod fingerprint;
mod key;
mod name;
mod pem;
mod request;
mod serial;
mod sign;

pub use certificate::{Certificate, CertificateError};
pub use certname::{Certname, CertnameError};
pub use extension::{Extension, KNOWN_SECRETS, PP_CLI_AUTH, oid_of, short_name};
pub use fingerprint::Fingerprint;
pub use key::{KeyAlgorithm, KeyError, KeyKind, PublicKey, SigningKey};
pub use name::AltName;
pub use request::{CertificateRequest, MAX_REQUEST_BYTES, RequestError, RequestRules};
pub use serial::{Serial, SerialError};
pub use sign::{Issuer, SignError, Template, create_issuer, sign_certificate};
