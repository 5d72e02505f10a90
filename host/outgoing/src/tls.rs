//! Whom to believe.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore, version};

use crate::secret;

/// Bytes of a `ca_file`, at most.
const MAX_CA_FILE: u64 = 1 << 20;

/// What is believed where a rule has no `ca_file`, read when it is first needed.
#[derive(Default)]
pub struct Machine(OnceLock<Arc<ClientConfig>>);

impl Machine {
    /// The CAs of a file alone, or those of the machine. It blocks.
    ///
    /// # Errors
    /// What is wrong with them, and what to do.
    pub fn config(&self, ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
        if let Some(path) = ca_file {
            return with(bundle(path)?);
        }
        if let Some(config) = self.0.get() {
            return Ok(config.clone());
        }
        // Not kept when it fails: they may be installed meanwhile.
        let config = with(installed()?)?;
        Ok(self.0.get_or_init(|| config).clone())
    }
}

fn bundle(path: &Path) -> Result<RootCertStore, String> {
    let pem = secret::file(path, MAX_CA_FILE).map_err(|why| format!("its `ca_file` {why}"))?;
    let wrong = |why: &str| format!("its `ca_file` {} {why}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| wrong(&format!("is no PEM: {error}")))?;
        roots.add(certificate).map_err(|error| wrong(&format!("has a certificate of no use: {error}")))?;
    }
    if roots.is_empty() { Err(wrong("has no certificate")) } else { Ok(roots) }
}

fn installed() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added > 0 {
        return Ok(roots);
    }
    let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
    Err(format!(
        "this machine has no CA certificates{why}; install its package ca-certificates, or give a `ca_file`"
    ))
}

fn with(roots: RootCertStore) -> Result<Arc<ClientConfig>, String> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
