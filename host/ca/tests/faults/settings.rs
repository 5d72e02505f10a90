//! Where the workload and those who look at its folder afterwards find things.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bunraku_ca::{KeyKind, Settings};
use pki::{CertificateRequest, Certname, RequestRules};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

/// A CA as it is by default, with a key that is quickly made, in this process.
pub fn settings(folder: &Path) -> Settings {
    Settings {
        dir: folder.join("ca"),
        key: KeyKind::EcP256,
        ca_name: "Puppet CA: faults".into(),
        certificate_ttl: Duration::from_secs(30 * 24 * 3600),
        crl_ttl: Duration::from_secs(7 * 24 * 3600),
        request_rules: RequestRules { allow_subject_alt_names: false, allow_authorization_extensions: false },
        host: Certname::parse("puppet.example").ok(),
        keys: Arc::new(signer::InProcess::new(None)),
        min_free: 0,
        infra_crl: false,
        renewal: true,
    }
}

pub fn database(folder: &Path) -> PathBuf {
    folder.join("state.db")
}

pub fn bucket(folder: &Path) -> PathBuf {
    folder.join("bucket")
}

/// A request for this name with a fresh key, and its PEM.
pub fn request(name: &str) -> Option<(CertificateRequest, String)> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let pem = params.serialize_request(&KeyPair::generate().ok()?).ok()?.pem().ok()?;
    let rules = RequestRules { allow_subject_alt_names: false, allow_authorization_extensions: false };
    Some((CertificateRequest::parse(pem.as_bytes(), &rules).ok()?, pem))
}
