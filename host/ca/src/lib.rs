//! The certificate authority: issues, renews, revokes, publishes revocation lists, and keeps the
//! server's own certificate. It is the only crate that asks the CA's key for signatures, through
//! [`signer::KeyHolder`]; the key itself it never sees.
//!
//! A certificate leaves this crate only after its row is durable in the inventory, and every
//! revocation is durable before it is answered; files are what others read, the store is the truth.
//!
//! The rule for names and keys that were revoked:
//!
//! - A name whose newest certificate is revoked is refused: it is revoked until somebody says
//!   otherwise, which is what `clean` does.
//! - A name that was cleaned is new.
//! - A key that was revoked for keyCompromise, privilegeWithdrawn or no reason at all is never
//!   certified again: not for another name, not by an administrator.
//!
//! What it never does: decide whether to sign (crates `decide` and `master` and the plugins), read a
//! request's bytes (crate `pki` has checked it by the time it comes here), keep the inventory itself
//! (crate `store`), or hold the CA's key (crate `signer`).

mod ancestors;
pub mod archive;
mod authority;
mod error;
pub mod export;
mod files;
mod founding;
mod health;
pub mod import;
pub mod inventory;
mod issue;
mod lists;
mod names;
mod publication;
mod revocation;
mod server;
pub mod setup;
mod space;
pub mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use authority::Authority;
pub use error::{Error, RenewError, UploadError};
pub use health::{CaMetrics, Expirations};
pub use issue::{GenerateOptions, Grant, Occasion};
pub use pki::KeyKind;
pub use revocation::{Cleaned, Revoked};

/// How the authority works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder of the authority's files, made with mode 0700 if it is not there: `ca_key.pem`,
    /// `ca_crt.pem`, `ca_crl.pem`, `server_key.pem` and `server_crt.pem`, and with `infra_crl` also
    /// `infra_crl.pem`.
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
    /// Who holds the CA's key.
    pub keys: Arc<dyn signer::KeyHolder>,
    /// With less than so many bytes left on the store's disk nothing is issued, so that revocations
    /// and their lists still find room. 0: never mind.
    pub min_free: u64,
    /// Agents get a list of only the servers' and masters' revoked certificates, not of all nodes'.
    pub infra_crl: bool,
    /// Whether nodes may renew their certificates themselves.
    pub renewal: bool,
}
