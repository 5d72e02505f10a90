//! A state folder, requests as agents send them, and the `openssl` command.
#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration as Life;

use bunraku_ca::{Authority, Error, Grant, KeyKind, Occasion, Settings};
use pki::{CertificateRequest, Certname, RequestRules};
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use store::Store;
use tempfile::TempDir;
use time::OffsetDateTime;

pub const DAY: Life = Life::from_secs(24 * 3600);

pub struct World {
    pub dir: TempDir,
    pub settings: Settings,
    pub now: OffsetDateTime,
}

impl World {
    pub fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings {
            dir: dir.path().join("ca"),
            key: KeyKind::EcP256,
            ca_name: "Puppet CA: test".into(),
            certificate_ttl: 30 * DAY,
            crl_ttl: 7 * DAY,
            request_rules: RequestRules {
                allow_subject_alt_names: true,
                allow_authorization_extensions: false,
            },
            host: Some(Certname::parse("own.host").unwrap()),
        };
        // The real time, for openssl has no other; whole seconds, as certificates have.
        World { dir, settings, now: OffsetDateTime::now_utc().replace_nanosecond(0).unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.settings.dir.join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn mode(&self, name: &str) -> u32 {
        std::fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o7777
    }

    /// Names in the folder, sorted.
    pub fn files(&self) -> Vec<String> {
        let Ok(files) = std::fs::read_dir(&self.settings.dir) else { return Vec::new() };
        let mut names: Vec<_> = files.map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub async fn store(&self) -> Arc<Store> {
        Arc::new(Store::open(&self.dir.path().join("state.db")).await.unwrap())
    }

    pub async fn try_open(&self, store: &Arc<Store>) -> Result<Authority, Error> {
        Authority::open(self.settings.clone(), store.clone(), self.now).await
    }

    pub async fn open(&self) -> (Authority, Arc<Store>) {
        let store = self.store().await;
        (self.try_open(&store).await.unwrap(), store)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.dir.path().join(name), content).unwrap();
    }

    /// Runs it in the world's folder; success and everything it said.
    pub fn openssl(&self, args: &str) -> (bool, String) {
        let out =
            Command::new("openssl").current_dir(self.dir.path()).args(args.split(' ')).output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        (out.status.success(), said)
    }
}

/// A request for this name with a fresh key.
pub fn request(name: &str) -> CertificateRequest {
    request_for(name, &[])
}

pub fn request_for(name: &str, alt_names: &[&str]) -> CertificateRequest {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = alt_names.iter().map(|n| SanType::DnsName((*n).try_into().unwrap())).collect();
    let pem = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    let rules = RequestRules { allow_subject_alt_names: true, allow_authorization_extensions: false };
    CertificateRequest::parse(pem.as_bytes(), &rules).unwrap()
}

pub fn first() -> Grant {
    Grant { lifetime: None, occasion: Occasion::First }
}
