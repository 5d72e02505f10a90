//! The certificate authority: issues, renews, revokes, publishes the revocation list, and keeps the
//! server's own certificate. It is the only crate near the CA's key.
//!
//! A certificate leaves this crate only after its row is durable in the inventory, and every
//! revocation is durable before it is answered; files are what others read, the store is the truth.
//!
//! What it never does: decide whether to sign (crates `decide` and `master` and the plugins), read a
//! request's bytes (crate `pki` has checked it by the time it comes here), or keep the inventory
//! itself (crate `store`).

mod authority;
mod error;
mod files;
mod founding;
mod issue;
mod revocation;
mod server;

use std::path::PathBuf;
use std::time::Duration;

pub use authority::Authority;
pub use error::{Error, RenewError};
pub use issue::{Grant, Occasion};
pub use pki::KeyKind;
pub use revocation::CrlSnapshot;
pub use server::ServerIdentity;

/// How the authority works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder of the authority's files, made with mode 0700 if it is not there: `ca_key.pem`,
    /// `ca_crt.pem`, `ca_crl.pem`, `server_key.pem` and `server_crt.pem`.
    pub dir: PathBuf,
    /// Kind of the CA's key, should one have to be made.
    pub key: KeyKind,
    /// The CA's common name, should a CA have to be made; such as `Puppet CA: puppet.example`.
    pub ca_name: String,
    /// Longest life of a certificate. Puppet's own is five years.
    pub certificate_ttl: Duration,
    /// Life of a revocation list; it is signed anew at half of it.
    pub crl_ttl: Duration,
    /// What a request may ask for.
    pub request_rules: pki::RequestRules,
    /// The name of the machine that the server runs on. It is one of the server's names, and yet the
    /// machine's own agent may have it.
    pub host: Option<pki::Certname>,
}
