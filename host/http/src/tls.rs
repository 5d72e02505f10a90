//! TLS: the server's certificate, the CAs a client certificate may come from, and the revocation
//! lists that the handshake checks it against.
//!
//! A client certificate is asked for and may be absent; routes decide who needs one. Only the CA that
//! signs our nodes' certificates is an anchor: another CA below the same root may give names away as it
//! likes, and serials that are on none of our lists. Lists that have ended are used all the same, since
//! the operator may grant a grace; `route.rs` refuses certificates when that is over. A new list or
//! server certificate makes a whole new configuration, which is swapped in for the connections to
//! come. Its session store is its own: resumption skips all checks, so a store that outlived a swap
//! would let a revoked client in. Connections that are open already are checked at every request.

use std::sync::Arc;

use arc_swap::ArcSwap;
use pki::{Identity, Trust};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem};
use rustls::server::{ServerSessionMemoryCache, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, version};
use tokio::sync::watch;

/// TLS sessions that may be resumed: agents do so within a run, if at all.
const SESSIONS: usize = 1024;

/// What TLS is made of; the two channels bring new versions while the server runs.
#[derive(Debug, Clone)]
pub struct TlsMaterial {
    /// The CA and its revocation lists: who may have signed a client certificate, and who no more.
    pub trust: watch::Receiver<Arc<Trust>>,
    /// The server's certificate and key.
    pub identity: watch::Receiver<Arc<Identity>>,
}

/// Why there is no configuration. The messages hold no key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Without a list nobody would be found revoked, so nothing is served.
    #[error("there is no certificate revocation list; a server without one would let revoked nodes in")]
    NoCrl,
    /// No certificate where there has to be one.
    #[error("there is no certificate in the {0}")]
    Empty(&'static str),
    /// PEM that is none.
    #[error("the {0} cannot be read as PEM: {1}")]
    Pem(&'static str, #[source] pem::Error),
    /// What rustls does not take.
    #[error("the {0} cannot be used: {1}")]
    Rustls(&'static str, #[source] rustls::Error),
    /// Client certificates cannot be verified.
    #[error("client certificates cannot be verified with the CA bundle and its revocation lists: {0}")]
    Verifier(#[from] VerifierBuilderError),
}

/// The configuration for the next connection.
#[derive(Debug)]
pub struct LiveTls {
    current: ArcSwap<ServerConfig>,
}

impl LiveTls {
    /// Builds the first configuration.
    ///
    /// # Errors
    /// [`TlsError`]; there is no serving without.
    pub fn start(material: &mut TlsMaterial) -> Result<LiveTls, TlsError> {
        let config = material.config()?;
        Ok(LiveTls { current: ArcSwap::from(config) })
    }

    /// The configuration for a connection that begins now.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Builds and swaps in a new configuration whenever a channel brings something new, until both
    /// have closed. What cannot be used is reported and the old one stays (faults row 30).
    pub async fn follow(&self, mut material: TlsMaterial) {
        let (mut identity_open, mut trust_open) = (true, true);
        while identity_open || trust_open {
            tokio::select! {
                changed = material.identity.changed(), if identity_open => identity_open = changed.is_ok(),
                changed = material.trust.changed(), if trust_open => trust_open = changed.is_ok(),
            }
            let mut fresh = material.clone();
            // A long list takes a while to read.
            let built = tokio::task::spawn_blocking(move || fresh.config()).await;
            match built {
                Ok(Ok(config)) => {
                    self.current.store(config);
                    tracing::info!(
                        "new TLS connections use the latest revocation list and server certificate"
                    );
                }
                Ok(Err(error)) => tracing::error!(%error, "kept the TLS configuration as it was"),
                Err(error) => tracing::error!(%error, "kept the TLS configuration as it was"),
            }
        }
    }
}

impl TlsMaterial {
    fn config(&mut self) -> Result<Arc<ServerConfig>, TlsError> {
        let identity = self.identity.borrow_and_update().clone();
        let trust = self.trust.borrow_and_update().clone();
        let provider = Arc::new(aws_lc_rs::default_provider());

        let mut roots = RootCertStore::empty();
        let issuer = CertificateDer::from(trust.bundle.issuer().der.clone());
        roots.add(issuer).map_err(|error| TlsError::Rustls("CA bundle", error))?;
        let crls = CertificateRevocationListDer::pem_slice_iter(trust.crls.as_bytes())
            .collect::<Result<Vec<_>, _>>();
        let crls = crls.map_err(|error| TlsError::Pem("revocation list", error))?;
        if crls.is_empty() {
            return Err(TlsError::NoCrl);
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .with_crls(crls)
            .allow_unauthenticated()
            .build()?;

        let own = certificates("server certificate", &identity.certificate_pem)?;
        let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes());
        let key = key.map_err(|error| TlsError::Pem("server key", error))?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(|error| TlsError::Rustls("TLS versions", error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(own, key)
            .map_err(|error| TlsError::Rustls("server certificate and key", error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
        Ok(Arc::new(config))
    }
}

fn certificates(of: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| TlsError::Pem(of, error))?;
    if certificates.is_empty() { Err(TlsError::Empty(of)) } else { Ok(certificates) }
}
