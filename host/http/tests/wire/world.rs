//! A CA, a server over a double of the use cases, and holders of certificates.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bunraku_http::{Backend, Drained, Gauges, Server, Settings, TlsMaterial};
use bytes::Bytes;
use ca::RenewError;
use master::{CaFile, CatalogRequest, Compiled, Failed, Peer, Published, Status, SubmitError, Submitted};
use pki::crl::{Entry, Reason};
use pki::{
    Bundle, Certificate, Certname, Extension, Identity, Issuer, KeyKind, Serial, Sign, SigningKey, Template,
    Trust,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;

/// Bytes of the large file.
pub const LARGE: usize = 3 << 20;
pub const SERVER: &str = "puppet.example.test";
/// When the double's files were written: 2023-11-14T22:13:20.5Z.
const MODIFIED: Duration = Duration::from_millis(1_700_000_000_500);

/// A certificate and its key.
pub struct Holder {
    pub certificate: Certificate,
    pub key_pem: String,
}

/// The CA of a test.
pub struct Authority {
    issuer: Issuer,
    revoked: Mutex<Vec<Entry>>,
}

impl Authority {
    pub fn new() -> Authority {
        let key = SigningKey::generate(KeyKind::EcP256).unwrap();
        let issuer = pki::create_issuer("Puppet CA: test", Arc::new(key), ago(2), ahead(10)).unwrap();
        Authority { issuer, revoked: Mutex::default() }
    }

    pub fn pem(&self) -> String {
        self.issuer.certificate().to_pem()
    }

    pub fn holder(&self, name: &str) -> Holder {
        self.holder_until(name, ahead(5), &[])
    }

    pub fn holder_until(&self, name: &str, not_after: OffsetDateTime, extensions: &[Extension]) -> Holder {
        let key = SigningKey::generate(KeyKind::EcP256).unwrap();
        let template = Template {
            serial: Serial::random().unwrap(),
            certname: Certname::parse(name).unwrap(),
            key: key.public().clone(),
            not_before: ago(1),
            not_after,
            alt_names: Vec::new(),
            extensions: extensions.to_vec(),
        };
        let certificate = pki::sign_certificate(&template, &self.issuer).unwrap();
        Holder { certificate, key_pem: key.to_secret_pem().to_string() }
    }

    /// What is to be believed of the CA now.
    pub fn trust(&self) -> Trust {
        let entries = self.revoked.lock().unwrap().clone();
        let number = entries.len() as u64 + 1;
        let revoked = entries.iter().map(|entry| entry.serial.clone()).collect();
        let crl = pki::crl::sign(number, ago(1), ahead(5), entries, &self.issuer).unwrap();
        let crls: Arc<str> = crl.to_pem().into();
        Trust {
            bundle: Arc::new(Bundle::parse(self.pem().as_bytes()).unwrap()),
            bundle_modified: SystemTime::UNIX_EPOCH + MODIFIED,
            agents_crls: crls.clone(),
            crls,
            number,
            this_update: crl.this_update,
            next_update: crl.next_update,
            revoked: Arc::new(revoked),
        }
    }

    pub fn revoke(&self, holder: &Holder) {
        let entry = Entry {
            serial: holder.certificate.serial.clone(),
            revoked_at: OffsetDateTime::now_utc(),
            reason: Some(Reason::KeyCompromise),
        };
        self.revoked.lock().unwrap().push(entry);
    }
}

pub fn ago(days: i64) -> OffsetDateTime {
    OffsetDateTime::now_utc() - time::Duration::days(days)
}

pub fn ahead(days: i64) -> OffsetDateTime {
    OffsetDateTime::now_utc() + time::Duration::days(days)
}

/// The use cases' double: answers simply, and remembers what it was asked.
pub struct Double {
    asked: Mutex<Vec<String>>,
    pub bundle: CaFile,
    pub crl: Mutex<CaFile>,
    pub revoked: Mutex<HashSet<Serial>>,
    /// Certificates by name.
    pub signed: Mutex<Vec<(String, String)>>,
    pub refuse_request: Mutex<Option<String>>,
    /// What the CA is believed to be.
    pub trust: watch::Sender<Arc<Trust>>,
    /// The set of plugins that masters are told of.
    pub plugins: watch::Sender<Option<Published>>,
    /// Since when that is too old.
    pub lapsed: Mutex<Option<OffsetDateTime>>,
    /// Declared masters.
    pub masters: Mutex<HashSet<String>>,
    /// Pages that the list of certificates has.
    pub pages: Mutex<usize>,
    /// The page after the last cannot be read.
    pub cut_list: Mutex<bool>,
    /// A catalog master, which has no CA.
    pub elsewhere: Mutex<bool>,
    /// What is wrong with the CA.
    pub ca_wrong: Mutex<Vec<String>>,
    pub catalog: Mutex<Result<Bytes, Failed>>,
    /// Compiling waits for one notice of this, if it is set.
    pub gate: Mutex<Option<Arc<Notify>>>,
    pub compiling: Notify,
    pub ready: Mutex<bool>,
    files: Arc<files::Tree>,
    filebucket: Arc<store::Filebucket>,
}

impl Double {
    fn new(authority: &Authority, dir: &Path) -> Double {
        let modified = SystemTime::UNIX_EPOCH + MODIFIED;
        let trust = authority.trust();
        Double {
            asked: Mutex::default(),
            bundle: CaFile { pem: authority.pem().into(), modified },
            crl: Mutex::new(CaFile { pem: trust.crls.clone(), modified }),
            revoked: Mutex::default(),
            signed: Mutex::default(),
            refuse_request: Mutex::default(),
            trust: watch::Sender::new(Arc::new(trust)),
            plugins: watch::Sender::new(None),
            lapsed: Mutex::default(),
            masters: Mutex::default(),
            pages: Mutex::new(1),
            cut_list: Mutex::default(),
            elsewhere: Mutex::default(),
            ca_wrong: Mutex::default(),
            catalog: Mutex::new(Ok(Bytes::from_static(b"{\"resources\":[]}"))),
            gate: Mutex::default(),
            compiling: Notify::new(),
            ready: Mutex::new(true),
            files: Arc::new(tree(dir)),
            filebucket: Arc::new(store::Filebucket::open(&dir.join("bucket")).unwrap()),
        }
    }

    pub fn note(&self, what: impl Into<String>) {
        self.asked.lock().unwrap().push(what.into());
    }

    /// What the use cases were asked since the last call of this.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

/// A module `demo` with a plugin, an external fact and files, one of them larger than is read at once.
fn tree(dir: &Path) -> files::Tree {
    let modules = dir.join("modules");
    let write = |path: &str, content: &[u8]| {
        let path = modules.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    };
    write(
        "demo/lib/facter/demo.rb",
        b"Facter.add(:demo)
",
    );
    write(
        "demo/facts.d/ext.sh",
        b"#!/bin/sh
",
    );
    write(
        "demo/files/sourced.txt",
        b"sourced file body
",
    );
    write(
        "demo/files/a b+c.txt",
        b"odd name
",
    );
    write("demo/files/large", &vec![b'x'; LARGE]);
    write(
        "demo/secret.txt",
        b"not to be served
",
    );
    files::Tree::new(files::Settings { modules, environments: dir.join("environments") })
}

impl Backend for Double {
    fn ca_bundle(&self) -> CaFile {
        self.bundle.clone()
    }

    fn crl(&self) -> CaFile {
        self.crl.lock().unwrap().clone()
    }

    fn is_revoked(&self, serial: &Serial) -> bool {
        self.revoked.lock().unwrap().contains(serial)
    }

    async fn submit_request(&self, name: &str, pem: &[u8], peer: &Peer) -> Result<Submitted, SubmitError> {
        let from = peer.address.map_or("here".to_owned(), |address| address.to_string());
        let by = peer.certname().map_or("nobody", |name| name.as_str());
        self.note(format!("submit {name} {} from {from} by {by}", String::from_utf8_lossy(pem)));
        match self.refuse_request.lock().unwrap().clone() {
            Some(text) => Err(SubmitError::Refused(text)),
            None => Ok(Submitted::Pending),
        }
    }

    async fn certificate(&self, name: &str) -> Result<Option<String>, Failed> {
        self.note(format!("certificate {name}"));
        let signed = self.signed.lock().unwrap();
        Ok(signed.iter().find(|(signed, _)| signed == name).map(|(_, pem)| pem.clone()))
    }

    async fn pending_request(&self, name: &str) -> Result<Option<String>, Failed> {
        self.note(format!("pending {name}"));
        Ok((name == "waiting.test").then(|| "-----BEGIN CERTIFICATE REQUEST-----\n".to_owned()))
    }

    async fn renew(&self, peer: &Peer, csr: Option<&[u8]>) -> Result<String, Failed> {
        let csr = csr.map(|csr| format!(" with {}", String::from_utf8_lossy(csr))).unwrap_or_default();
        self.note(format!("renew {}{csr}", peer.certname().unwrap()));
        match peer.certname().unwrap().as_str() {
            "superseded.test" => Err(Failed::forbidden(RenewError::Superseded.to_string())),
            "foreign.test" => Err(Failed::forbidden(RenewError::Foreign.to_string())),
            "off.test" => Err(Failed::not_found(RenewError::Disabled.to_string())),
            _ => Ok("renewed\n".to_owned()),
        }
    }

    async fn node(&self, certname: &Certname, environment: &str, _: &Peer) -> Result<Value, Failed> {
        self.note(format!("node {certname} {environment}"));
        Ok(json!({"name": certname, "environment": environment, "classes": {}, "parameters": {}}))
    }

    async fn compile(&self, request: CatalogRequest, peer: &Peer) -> Result<Compiled, Failed> {
        let facts = request.facts.unwrap_or_default();
        self.note(format!("compile {} {} {facts}", request.certname, request.environment));
        assert_eq!(peer.certname(), Some(&request.certname));
        self.compiling.notify_one();
        let gate = self.gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.notified().await;
        }
        let json = self.catalog.lock().unwrap().clone()?;
        Ok(Compiled { json, resources: 0, environment: request.environment })
    }

    async fn save_facts(&self, certname: &Certname, facts: Value) -> Result<(), Failed> {
        self.note(format!("facts {certname} {facts}"));
        Ok(())
    }

    async fn save_report(&self, certname: &Certname, body: Bytes) -> Result<(), Failed> {
        self.note(format!("report {certname} {} bytes", body.len()));
        let report: Value = serde_json::from_slice(&body).unwrap_or_default();
        if report["host"] != certname.as_str() {
            return Err(Failed::forbidden("another node's report"));
        }
        Ok(())
    }

    fn environment_exists(&self, name: &str) -> bool {
        name == "production"
    }

    fn environments(&self) -> Vec<String> {
        vec!["production".to_owned()]
    }

    fn files(&self) -> &Arc<files::Tree> {
        &self.files
    }

    fn filebucket(&self) -> &Arc<store::Filebucket> {
        &self.filebucket
    }

    async fn status(&self) -> Status {
        let ready = *self.ready.lock().unwrap();
        let ca = (!*self.elsewhere.lock().unwrap()).then(|| self.ca_wrong.lock().unwrap().clone());
        Status { ready, why: if ready { vec![] } else { vec!["a secret reason".to_owned()] }, ca }
    }
}

/// A running server and everything around it.
pub struct World {
    pub authority: Authority,
    pub backend: Arc<Double>,
    pub address: SocketAddr,
    pub identity: watch::Sender<Arc<Identity>>,
    /// Where metrics are given away, if they are.
    pub metrics: Option<SocketAddr>,
    pub gauges: Arc<Gauges>,
    pub dir: TempDir,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<Drained>>,
}

impl World {
    pub async fn new() -> World {
        World::with(|_, _| {}).await
    }

    /// A server with other settings; the folder is the world's own.
    pub async fn with(change: impl FnOnce(&mut Settings, &Path)) -> World {
        World::draining(Duration::from_secs(20), change).await
    }

    /// The same with another time to drain.
    pub async fn draining(drain: Duration, change: impl FnOnce(&mut Settings, &Path)) -> World {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let backend = Arc::new(Double::new(&authority, dir.path()));
        let (identity, identity_end) = watch::channel(Arc::new(identity(&authority)));
        let mut settings = Settings { listen: vec!["127.0.0.1:0".parse().unwrap()], ..Settings::default() };
        change(&mut settings, dir.path());
        let material = TlsMaterial { trust: backend.trust.subscribe(), identity: identity_end };
        let server = Server::bind(settings, backend.clone(), material).await.unwrap();
        let (address, metrics, gauges) = (server.local_addrs()[0], server.metrics_addr(), server.gauges());
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run(
            async {
                let _ = stopped.await;
            },
            drain,
        ));
        World {
            authority,
            backend,
            address,
            identity,
            metrics,
            gauges,
            dir,
            stop: Some(stop),
            running: Some(running),
        }
    }

    /// Begins the drain; the handle says how it ended.
    pub fn shut_down(&mut self) -> JoinHandle<Drained> {
        self.stop.take().unwrap().send(()).unwrap();
        self.running.take().unwrap()
    }

    /// Revokes a certificate everywhere: for the use cases, and for the handshakes to come.
    pub fn revoke(&self, holder: &Holder) {
        self.authority.revoke(holder);
        self.backend.revoked.lock().unwrap().insert(holder.certificate.serial.clone());
        self.backend.trust.send(Arc::new(self.authority.trust())).unwrap();
    }
}

pub fn identity(authority: &Authority) -> Identity {
    let holder = authority.holder(SERVER);
    let certificate_pem = holder.certificate.to_pem();
    Identity { certificate: holder.certificate, certificate_pem, key_pem: holder.key_pem }
}

/// Tries again until it is so.
pub async fn until(mut done: impl AsyncFnMut() -> bool) {
    let trying = async {
        while !done().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), trying).await.expect("it did not come about");
}
