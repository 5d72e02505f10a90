//! A real master behind the server, with its CA and store but no plugins: from a request to a
//! revocation, as an agent lives it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bunraku_http::{Server, Settings, TlsMaterial};
use ca::{Authority, Grant, Occasion};
use master::{Certificates, Master, Parts};
use pki::crl::Reason;
use pki::{Certificate, CertificateRequest, Certname, KeyKind, RequestRules};
use registry::Registry;
use rollout::{NoFetch, Rollout, SetSpec, SigningKeys};
use sandbox::Sandbox;
use store::{Filebucket, Store};
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::client::{Wire, config_for};
use crate::world::{Holder, SERVER, until};

const RULES: RequestRules =
    RequestRules { allow_subject_alt_names: false, allow_authorization_extensions: false };

/// A CA in this folder.
pub async fn authority(dir: &Path, store: &Arc<Store>) -> Arc<Authority> {
    let settings = ca::Settings {
        dir: dir.join("ca"),
        key: KeyKind::EcP256,
        ca_name: "Puppet CA: whole".to_owned(),
        certificate_ttl: Duration::from_secs(86_400),
        crl_ttl: Duration::from_secs(86_400),
        request_rules: RULES,
        host: None,
        keys: Arc::new(signer::InProcess::new(None)),
        min_free: 0,
        infra_crl: false,
        renewal: true,
    };
    Arc::new(Authority::open(settings, store.clone(), OffsetDateTime::now_utc()).await.unwrap())
}

/// A master without plugins in this folder.
pub async fn master(
    dir: &Path,
    store: Arc<Store>,
    certificates: Certificates,
    ca_server: Option<String>,
) -> Arc<Master> {
    let definitions = dir.join("registry");
    std::fs::create_dir(&definitions).unwrap();
    let url = url::Url::parse(&format!("dir:{}", definitions.display())).unwrap();
    let sandbox = Sandbox::new(sandbox::Settings { slots: 1, ..sandbox::Settings::default() }).unwrap();
    let plugins = rollout::Parts {
        dir: dir.join("plugins"),
        store: store.clone(),
        sandbox,
        fetch: Arc::new(NoFetch),
        keys: SigningKeys::default(),
        stores: BTreeSet::new(),
    };
    let opened = Rollout::open(plugins, rollout::Settings::default(), SetSpec::default()).await.unwrap();
    let rollout = opened.rollout;
    let parts = Parts {
        store,
        certificates,
        registry: Arc::new(Registry::open(&registry::Settings::new(url)).await.unwrap()),
        stores: master::Stores::new(),
        rollout,
        configured: Arc::default(),
        journal: Arc::new(
            journal::Journal::open(&dir.join("journal.db"), journal::Settings::default()).await.unwrap(),
        ),
        files: Arc::new(files::Tree::new(files::Settings {
            modules: dir.join("modules"),
            environments: dir.join("environments"),
        })),
        filebucket: Arc::new(Filebucket::open(&dir.join("bucket")).unwrap()),
    };
    let settings = master::Settings {
        environments: Vec::new(),
        max_pending: 10,
        max_pending_per_name: 2,
        pending_ttl: Duration::from_secs(3600),
        pending_poll: Duration::from_secs(3600),
        report_ttl: Duration::from_secs(60),
        last_good_max_age: Duration::ZERO,
        grace: Duration::from_secs(3600),
        renewal: true,
        publish_plugins: true,
        ca_server,
    };
    Master::new(parts, settings)
}

/// A key and a request for this name, from OpenSSL.
pub fn request(dir: &Path, name: &str) -> (String, Vec<u8>) {
    let made = Command::new("openssl")
        .args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-batch"])
        .args(["-keyout", "key.pem", "-out", "csr.pem", "-subj", &format!("/CN={name}")])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    (std::fs::read_to_string(dir.join("key.pem")).unwrap(), std::fs::read(dir.join("csr.pem")).unwrap())
}

#[tokio::test]
async fn a_request_waits_is_signed_used_renewed_and_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(&dir.path().join("state.db")).await.unwrap());
    let authority = authority(dir.path(), &store).await;
    let master = master(dir.path(), store, Certificates::Authority(authority.clone()), None).await;
    let now = OffsetDateTime::now_utc();
    let identity =
        authority.server_identity(&Certname::parse(SERVER).unwrap(), &["puppet"], now).await.unwrap();
    let (_identity, followed) = watch::channel(Arc::new(identity));
    let material = TlsMaterial { trust: authority.watch_trust(), identity: followed };
    let settings = Settings { listen: vec!["127.0.0.1:0".parse().unwrap()], ..Settings::default() };
    let server = Server::bind(settings, master, material).await.unwrap();
    let address = server.local_addrs()[0];
    tokio::spawn(server.run(std::future::pending(), Duration::ZERO));
    let ca_pem = authority.trust().bundle.pem().clone();

    let mut stranger = Wire::over(address, config_for(&ca_pem, None)).await.unwrap();
    let served = stranger.get("/puppet-ca/v1/certificate/ca").await;
    assert_eq!(served.body, ca_pem.as_bytes());
    let (key_pem, csr) = request(dir.path(), "a.test");
    let (own, other) =
        ("/puppet-ca/v1/certificate_request/a.test", "/puppet-ca/v1/certificate_request/b.test");
    let reply = stranger.ask("PUT", other, &[], &csr).await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.text(), "Instance name \"a.test\" does not match requested key \"b.test\"");
    assert_eq!(stranger.ask("PUT", own, &[], b"no PEM").await.status, 400);
    // faults row 13
    for _ in 0..2 {
        assert_eq!(stranger.ask("PUT", own, &[], &csr).await.status, 200);
    }
    assert_eq!(stranger.get("/puppet-ca/v1/certificate/a.test").await.status, 404);

    // No plugin approves, so a human does.
    let request = CertificateRequest::parse(&csr, &RULES).unwrap();
    let grant = Grant { lifetime: None, occasion: Occasion::First, waits: false };
    authority.issue(&request, grant, OffsetDateTime::now_utc()).await.unwrap();
    let reply = stranger.get("/puppet-ca/v1/certificate/a.test").await;
    assert_eq!(reply.status, 200);
    let holder = Holder { certificate: Certificate::parse_pem(&reply.body).unwrap(), key_pem };
    let config = config_for(&ca_pem, Some(&holder));
    let mut node = Wire::over(address, config.clone()).await.unwrap();
    let report = [("Content-Type", "application/json")];
    let body = br#"{"host":"a.test","status":"unchanged"}"#;
    let target = "/puppet/v3/report/a.test?environment=production";
    assert_eq!(node.ask("PUT", target, &report, body).await.status, 200);
    assert_eq!(node.get("/puppet/v3/file_metadatas/plugins?environment=production").await.status, 200);
    let catalog = node.get("/puppet/v3/catalog/a.test?environment=production").await;
    assert!(catalog.status >= 400, "a catalog without a classifier: {catalog:?}");
    let renewed = node.ask("POST", "/puppet-ca/v1/certificate_renewal", &[], b"").await;
    assert_eq!(renewed.status, 200, "{}", String::from_utf8_lossy(&renewed.body));
    assert_ne!(Certificate::parse_pem(&renewed.body).unwrap().serial, holder.certificate.serial);

    let serial = &holder.certificate.serial;
    authority.revoke(serial, Reason::KeyCompromise, OffsetDateTime::now_utc()).await.unwrap();
    assert_eq!(node.ask("PUT", target, &report, body).await.status, 403);
    until(async || {
        let Ok(mut again) = Wire::over(address, config.clone()).await else { return true };
        let get = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        let _ = tokio::io::AsyncWriteExt::write_all(&mut again.tls, get).await;
        again.reply(false).await.is_err()
    })
    .await;
}
