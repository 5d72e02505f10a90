//! A CA and a catalog master of it, both real, each behind its own server.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bunraku_http::{Server, Settings, TlsMaterial};
use follower::Follower;
use master::{Administrator, Certificates, Master};
use pki::crl::Reason;
use pki::{AltName, Certificate, Certname, KeyKind};
use store::Store;
use time::OffsetDateTime;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::client::{Wire, config_for};
use crate::whole::{authority, master, request};
use crate::world::{Holder, SERVER, until};

const BY: Administrator = Administrator::Local { uid: 0 };

/// A server of this master, what ends it, and that it has ended.
async fn serve(
    master: Arc<Master>,
    material: TlsMaterial,
) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<bunraku_http::Drained>) {
    let settings = Settings { listen: vec!["127.0.0.1:0".parse().unwrap()], ..Settings::default() };
    let server = Server::bind(settings, master, material).await.unwrap();
    let (address, (stop, stopped)) = (server.local_addrs()[0], oneshot::channel::<()>());
    let stopped = async {
        let _ = stopped.await;
    };
    (address, stop, tokio::spawn(server.run(stopped, Duration::ZERO)))
}

/// A node with a certificate that a human signed.
async fn node(ca: &Master, dir: &Path, name: &str) -> Holder {
    let (key_pem, csr) = request(dir, name);
    ca.submit_request(name, &csr, &master::Peer::default()).await.unwrap();
    ca.sign(name, None, None, &BY).await.unwrap();
    let pem = ca.certificate(name).await.unwrap().unwrap();
    Holder { certificate: Certificate::parse_pem(pem.as_bytes()).unwrap(), key_pem }
}

#[tokio::test]
async fn a_catalog_master_enforces_what_the_ca_revokes_and_goes_on_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let (ca_dir, other_dir) = (dir.path().join("ca-host"), dir.path().join("master-host"));
    for dir in [&ca_dir, &other_dir] {
        std::fs::create_dir(dir).unwrap();
    }
    let now = OffsetDateTime::now_utc();
    let store = Arc::new(Store::open(&ca_dir.join("state.db")).await.unwrap());
    let ca = authority(&ca_dir, &store).await;
    let identity = ca.server_identity(&Certname::parse(SERVER).unwrap(), &["localhost"], now).await.unwrap();
    let (_identity, own) = watch::channel(Arc::new(identity));
    let here = master(&ca_dir, store, Certificates::Authority(ca.clone()), None).await;
    let material = TlsMaterial { trust: ca.watch_trust(), identity: own };
    let (ca_address, stop_ca, ca_ended) = serve(here.clone(), material).await;

    // The master enrols, and a human signs.
    here.add_master("m.test", &[SERVER.to_owned() + ".m"], &BY).await.unwrap();
    let settings = follower::Settings {
        dir: other_dir.join("follow"),
        server: ("localhost".to_owned(), ca_address.port()),
        certname: Certname::parse("m.test").unwrap(),
        dns_alt_names: vec![AltName::parse(&(SERVER.to_owned() + ".m")).unwrap()],
        pin: None,
        grace: Duration::from_secs(3600),
        key: KeyKind::EcP256,
        poll: Duration::from_secs(3600),
    };
    let opening = tokio::spawn(Follower::open(settings, now));
    until(async || !here.statuses_of("m.test").await.unwrap().is_empty()).await;
    here.sign("m.test", None, None, &BY).await.unwrap();
    let followed = Arc::new(opening.await.unwrap().unwrap());
    let following = tokio::spawn(followed.clone().follow());

    let store = Arc::new(Store::open(&other_dir.join("state.db")).await.unwrap());
    let pointer = format!("localhost:{}", ca_address.port());
    let there =
        master(&other_dir, store, Certificates::Followed(followed.clone()), Some(pointer.clone())).await;
    let material = TlsMaterial { trust: followed.watch_trust(), identity: followed.watch_identity() };
    let (address, _stop, _ended) = serve(there.clone(), material).await;

    // It gives the CA's files away, and sends those who want more to the CA.
    let bundle = ca.trust().bundle.pem().clone();
    let connect = async |holder: Option<&Holder>| {
        Wire::named(address, &format!("{SERVER}.m"), config_for(&bundle, holder)).await
    };
    let mut stranger = connect(None).await.unwrap();
    assert_eq!(stranger.get("/puppet-ca/v1/certificate/ca").await.body, bundle.as_bytes());
    let lists = stranger.get("/puppet-ca/v1/certificate_revocation_list/ca").await;
    assert_eq!(lists.body, ca.trust().crls.as_bytes());
    let text = format!("this is a catalog master; certificates come from https://{pointer} (set ca_server)");
    let (_, csr) = request(&other_dir, "c.test");
    for (method, path, body) in
        [("GET", "certificate/c.test", &b""[..]), ("PUT", "certificate_request/c.test", &csr[..])]
    {
        let reply = stranger.ask(method, &format!("/puppet-ca/v1/{path}"), &[], body).await;
        assert_eq!((reply.status, reply.text()), (404, text.clone()), "{path}");
    }
    assert_eq!(stranger.get("/status/v1/simple/ca").await.status, 404);

    // A node is let in until the CA revokes it.
    let (good, bad) = (node(&here, &ca_dir, "a.test").await, node(&here, &ca_dir, "b.test").await);
    let target = "/puppet/v3/environments";
    let served = async |holder: &Holder| match connect(Some(holder)).await {
        Err(_) => false,
        Ok(mut wire) => {
            wire.send(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
            wire.reply(false).await.is_ok_and(|reply| reply.status == 200)
        }
    };
    let mut open = connect(Some(&bad)).await.unwrap();
    assert_eq!(open.get(target).await.status, 200);
    ca.revoke(&bad.certificate.serial, Reason::KeyCompromise, now).await.unwrap();
    let revoked = std::time::Instant::now();
    until(async || there.is_revoked(&bad.certificate.serial)).await;
    assert!(revoked.elapsed() < Duration::from_secs(5), "{:?}", revoked.elapsed());
    assert_eq!(open.get(target).await.status, 403);
    until(async || !served(&bad).await).await;
    assert!(served(&good).await);
    let mut wire = connect(Some(&good)).await.unwrap();
    let renewal = wire.ask("POST", "/puppet-ca/v1/certificate_renewal", &[], b"").await;
    assert_eq!((renewal.status, renewal.text()), (404, text));
    let number = there.trust().number;
    until(async || here.masters().await.unwrap()[0].crl_number == Some(number)).await;

    // The CA goes, the master stays.
    stop_ca.send(()).unwrap();
    ca_ended.await.unwrap();
    assert!(served(&good).await);
    assert!(!served(&bad).await);
    following.abort();
}
