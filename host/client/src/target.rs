//! Whom to ask, and whom to believe.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use pki::Identity;

/// The server.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "there is one for each client, and it is moved once")]
pub enum Target {
    /// A daemon's control socket on this machine. There is no TLS; the socket's mode says who may.
    Unix(PathBuf),
    /// A server over TLS 1.2 or 1.3.
    Https {
        /// Its host name or address. Its certificate has to have it as a subject alternative name.
        host: String,
        /// Its port; 8140 is Puppet's.
        port: u16,
        /// Who may have signed its certificate.
        roots: Roots,
        /// The client certificate to show, if any.
        identity: Option<Identity>,
    },
}

/// Who may have signed the server's certificate.
#[derive(Clone)]
pub enum Roots {
    /// Any CA of this bundle, in PEM. Servers send their leaf alone, so each of its certificates is a
    /// root, the intermediate ones too. Revocation is not looked at.
    Bundle(Arc<str>),
    /// The same, and no certificate that one of the revocation lists has. There has to be a list for
    /// whoever signed the server's certificate; that a list has expired is no obstacle, for it is
    /// through here that a newer one comes.
    BundleWithCrls {
        /// The bundle, in PEM.
        bundle: Arc<str>,
        /// The revocation lists, in PEM.
        crls: Arc<str>,
    },
    /// Anyone: the first contact with a CA, as agents make it. Good for `GET certificate/ca` alone, and
    /// without an identity; what comes is to be pinned or shown to a person before it is believed.
    AnyOnce,
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Roots::Bundle(_) => "Bundle",
            Roots::BundleWithCrls { .. } => "BundleWithCrls",
            Roots::AnyOnce => "AnyOnce",
        })
    }
}
