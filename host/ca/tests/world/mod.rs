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
            keys: Arc::new(signer::InProcess::new(None)),
            min_free: 0,
            infra_crl: false,
            renewal: true,
        };
        // The real time, for openssl has no other; whole seconds, as certificates have; and a little
        // later than what openssl makes meanwhile, which begins at its own now.
        let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap() + Life::from_secs(30);
        World { dir, settings, now }
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

/// A root CA of the `openssl` command's, in the world's folder.
impl World {
    /// Makes `root.key` and `root.pem`.
    pub fn make_root(&self) {
        self.run(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout root.key -out root.pem \
             -days 3650 -subj /CN=Root -addext basicConstraints=critical,CA:TRUE \
             -addext keyUsage=critical,keyCertSign,cRLSign",
        );
        self.write("index.txt", "");
        self.write(
            "ca.cnf",
            "[ca]\ndefault_ca=x\n[x]\ndatabase=index.txt\ncrlnumber=number\ndefault_md=sha256\n\
             [sub]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n\
             subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n",
        );
    }

    /// The root's revocation list of this number, good for so many days.
    pub fn root_list(&self, number: u32, days: u32) -> String {
        self.write("number", format!("{number:02X}"));
        self.run(&format!(
            "ca -config ca.cnf -gencrl -keyfile root.key -cert root.pem -crldays {days} -out root.crl"
        ));
        self.text("root.crl")
    }

    /// What the root makes of a CA's request: the chain.
    pub fn certify(&self, request: &str) -> String {
        self.write("sub.csr", request);
        self.run(
            "x509 -req -in sub.csr -CA root.pem -CAkey root.key -CAcreateserial -days 3000 -extfile ca.cnf \
             -extensions sub -out sub.pem",
        );
        self.text("sub.pem") + &self.text("root.pem")
    }

    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap()
    }

    /// As [`World::openssl`], where it must succeed.
    pub fn run(&self, args: &str) -> String {
        let args = args.split_whitespace().collect::<Vec<_>>().join(" ");
        let (fine, said) = self.openssl(&args);
        assert!(fine, "openssl {args}: {said}");
        said
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

/// A request's PEM, and the same again for another name with the same key.
pub fn twice(name: &str, other: &str) -> (CertificateRequest, CertificateRequest) {
    let key = KeyPair::generate().unwrap();
    let one = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        CertificateRequest::parse(pem.as_bytes(), &RequestRules::default()).unwrap()
    };
    (one(name), one(other))
}

pub fn first() -> Grant {
    Grant { lifetime: None, occasion: Occasion::First, waits: false }
}
