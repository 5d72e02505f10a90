//! Who is who: TLS, revocation, paths, headers. Recordings 17 and 22.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use bunraku_http::{Server, Settings, TlsError, TlsMaterial};
use pki::Trust;
use tokio::sync::watch;

use crate::client::{Wire, config, once};
use crate::world::{World, ago, identity, until};

const NODE: &str = "/puppet/v3/node/a.test?environment=production";

#[tokio::test]
async fn without_a_revocation_list_there_is_no_server() {
    let world = World::new().await;
    for pem in ["", "no PEM at all"] {
        let none = Trust { crls: pem.into(), ..world.authority.trust() };
        let (_trust, trust) = watch::channel(Arc::new(none));
        let (_identity, own) = watch::channel(Arc::new(identity(&world.authority)));
        let material = TlsMaterial { trust, identity: own };
        let settings = Settings { listen: vec!["127.0.0.1:0".parse().unwrap()], ..Settings::default() };
        let error = Server::bind(settings, world.backend.clone(), material).await.err().unwrap();
        assert!(matches!(error, bunraku_http::Error::Tls(TlsError::NoCrl)), "{error}");
    }
}

#[tokio::test]
async fn a_stranger_is_forbidden_what_needs_a_certificate() {
    let world = World::new().await;
    let mut wire = Wire::connect(&world, None).await;
    for (method, target) in [
        ("GET", "/puppet/v3/node/a.test"),
        ("GET", "/puppet/v3/environments"),
        ("GET", "/puppet/v3/catalog/a.test"),
        ("POST", "/puppet/v3/catalog/a.test"),
        ("PUT", "/puppet/v3/facts/a.test"),
        ("PUT", "/puppet/v3/report/a.test"),
        ("GET", "/puppet/v3/file_metadata/modules/m/f"),
        ("GET", "/puppet/v3/file_metadatas/plugins"),
        ("GET", "/puppet/v3/file_content/plugins/f"),
        ("PUT", "/puppet/v3/file_bucket_file/sha256/ab"),
        ("POST", "/puppet-ca/v1/certificate_renewal"),
        ("GET", "/puppet-ca/v1/certificate_statuses/all"),
    ] {
        let reply = wire.ask(method, &format!("{target}?environment=production"), &[], b"").await;
        let verb = method.to_lowercase();
        let text =
            format!("Forbidden request: {target} (method :{verb}). Please see the server logs for details.");
        assert_eq!((reply.status, reply.text()), (403, text));
    }
    assert_eq!(world.backend.asked(), [""; 0]);
}

// faults row 65
#[tokio::test]
async fn one_node_is_never_answered_as_another() {
    let world = World::new().await;
    let holder = world.authority.holder("a.test");
    let mut wire = Wire::connect(&world, Some(&holder)).await;
    for (method, thing) in
        [("GET", "node"), ("GET", "catalog"), ("POST", "catalog"), ("PUT", "facts"), ("PUT", "report")]
    {
        let target = format!("/puppet/v3/{thing}/b.test?environment=production");
        let reply = wire.ask(method, &target, &[("Content-Type", "application/json")], b"").await;
        assert_eq!(reply.status, 403, "{method} {thing}");
        assert!(reply.text().starts_with(&format!("Forbidden request: /puppet/v3/{thing}/b.test ")));
    }
    for parameter in ["certname", "node", "use_node"] {
        let target = format!("/puppet/v3/catalog/a.test?environment=production&{parameter}=b.test");
        assert_eq!(wire.get(&target).await.status, 403, "{parameter}");
        let form = [("Content-Type", "application/x-www-form-urlencoded")];
        let body = format!("{parameter}=b.test&environment=production");
        let reply = wire.ask("POST", "/puppet/v3/catalog/a.test", &form, body.as_bytes()).await;
        assert_eq!(reply.status, 403, "{parameter}");
    }
    let facts = br#"{"name":"b.test","values":{}}"#;
    let json = [("Content-Type", "application/json")];
    let reply = wire.ask("PUT", "/puppet/v3/facts/a.test?environment=production", &json, facts).await;
    assert_eq!(reply.status, 403);
    assert_eq!(wire.ask("POST", "/puppet/v4/catalog", &json, br#"{"certname":"b.test"}"#).await.status, 403);
    assert_eq!(world.backend.asked(), [""; 0]);
    assert_eq!(wire.get(NODE).await.status, 200);
    assert_eq!(world.backend.asked(), ["node a.test production"]);
}

// faults row 69
#[tokio::test]
async fn a_proxys_headers_make_nobody_anybody() {
    let world = World::new().await;
    let headers = [("X-Client-DN", "CN=a.test"), ("X-Client-Verify", "SUCCESS"), ("X-Client-Cert", "x")];
    assert_eq!(once(&world, None, "GET", NODE, &headers, b"").await.status, 403);
    let holder = world.authority.holder("b.test");
    assert_eq!(once(&world, Some(&holder), "GET", NODE, &headers, b"").await.status, 403);
    assert_eq!(world.backend.asked(), [""; 0]);
}

// faults rows 5 and 6
#[tokio::test]
async fn a_path_that_hides_something_reaches_no_route() {
    let world = World::new().await;
    let holder = world.authority.holder("a.test");
    let mut wire = Wire::connect(&world, Some(&holder)).await;
    for (target, status) in [
        ("/puppet/v3/file_metadatas/../../etc/passwd", 400),
        ("/puppet/v3/file_content/modules/demo/%2e%2e/%2e%2e/manifests/init.pp", 400),
        ("/puppet/v3/file_content/modules/demo/%252e%252e/init.pp", 400),
        ("/puppet/v3/node/b.test/../a.test", 400),
        ("/puppet-ca/v1/certificate/%252e%252e", 400),
        ("/puppet-ca/v1/certificate/..%2f..%2fca", 404),
        ("/puppet-ca/v1/certificate/a%2Fb", 404),
        ("/puppet-ca/v1/certificate/a%00b", 400),
        ("/puppet-ca/v1/certificate/a%0a", 400),
        ("/puppet-ca/v1/certificate/%ff", 400),
        ("/puppet/v3/node/a.test?environment=%ff", 400),
        ("/nosuch", 404),
        ("/", 404),
    ] {
        let reply = wire.get(target).await;
        assert_eq!(reply.status, status, "{target}");
    }
    let reply = wire.get("/puppet/v3/file_metadatas/../../etc/passwd").await;
    assert_eq!(
        reply.text(),
        "Invalid relative path (.. or .) in: /puppet/v3/file_metadatas/../../etc/passwd"
    );
    assert_eq!(world.backend.asked(), [""; 0]);
    // Encoded, but nothing hidden.
    assert_eq!(wire.get("/puppet/v3/node/%61.test?environment=production").await.status, 200);
}

#[tokio::test]
async fn a_revoked_node_is_refused_in_the_handshake_and_cannot_resume() {
    let world = World::new().await;
    let (good, bad) = (world.authority.holder("a.test"), world.authority.holder("b.test"));
    let tickets = config(&world, Some(&bad));
    // A first connection leaves the client with tickets to resume.
    let mut before = Wire::connect_with(&world, tickets.clone()).await.unwrap();
    assert_eq!(before.get("/puppet/v3/environments").await.status, 200);
    let mut resumed = Wire::connect_with(&world, tickets.clone()).await.unwrap();
    assert_eq!(resumed.get("/puppet/v3/environments").await.status, 200);
    assert_eq!(resumed.tls.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Resumed));

    world.revoke(&bad);
    let refused = async |config| match Wire::connect_with(&world, config).await {
        Err(_) => true,
        Ok(mut wire) => {
            wire.send("GET /puppet/v3/environments HTTP/1.1\r\nHost: x\r\n\r\n").await;
            wire.reply(false).await.map(|reply| reply.status != 403 && reply.status != 200).unwrap_or(true)
        }
    };
    until(async || refused(tickets.clone()).await).await;
    assert!(refused(config(&world, Some(&bad))).await);
    assert_eq!(once(&world, Some(&good), "GET", "/puppet/v3/environments", &[], b"").await.status, 200);
    assert!(world.gauges.refused_handshakes.load(std::sync::atomic::Ordering::Relaxed) >= 2);
}

#[tokio::test]
async fn a_node_revoked_on_a_live_connection_is_forbidden_and_cut_off() {
    let world = World::new().await;
    let holder = world.authority.holder("a.test");
    let mut wire = Wire::connect(&world, Some(&holder)).await;
    assert_eq!(wire.get(NODE).await.status, 200);
    world.revoke(&holder);
    world.backend.asked();
    let reply = wire.get("/puppet-ca/v1/certificate/ca").await;
    assert_eq!((reply.status, reply.header("connection")), (403, Some("close")));
    assert!(reply.text().contains("revoked"), "{}", reply.text());
    assert!(wire.is_closed().await);
    assert_eq!(world.backend.asked(), [""; 0]);
}

#[tokio::test]
async fn expired_and_foreign_certificates_do_not_get_through_the_handshake() {
    let world = World::new().await;
    let expired = world.authority.holder_until("a.test", ago(0) - time::Duration::hours(1), &[]);
    let foreign = crate::world::Authority::new().holder("a.test");
    for holder in [&expired, &foreign] {
        let mut wire = Wire::connect(&world, Some(holder)).await;
        let _ =
            tokio::io::AsyncWriteExt::write_all(&mut wire.tls, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(wire.reply(false).await.is_err());
    }
}

// faults row 30
#[tokio::test]
async fn a_broken_list_or_identity_is_ignored_and_a_good_one_taken() {
    let world = World::new().await;
    let broken = Trust { crls: "rubbish".into(), ..world.authority.trust() };
    world.backend.trust.send(Arc::new(broken)).unwrap();
    let holder = world.authority.holder("a.test");
    assert_eq!(once(&world, Some(&holder), "GET", NODE, &[], b"").await.status, 200);
    world.revoke(&holder);
    until(async || {
        let mut wire = Wire::connect(&world, Some(&holder)).await;
        let _ =
            tokio::io::AsyncWriteExt::write_all(&mut wire.tls, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        wire.reply(false).await.is_err()
    })
    .await;
    let renewed = identity(&world.authority);
    let serial = |pem: &str| pki::Certificate::parse_pem(pem.as_bytes()).unwrap().der;
    let wanted = serial(&renewed.certificate_pem);
    world.identity.send(Arc::new(renewed)).unwrap();
    until(async || {
        let wire = Wire::connect(&world, None).await;
        wire.tls.get_ref().1.peer_certificates().unwrap()[0].as_ref() == wanted
    })
    .await;
}

/// What `openssl s_client` prints for a request over this version of TLS.
async fn with_openssl(world: &World, version: &'static str) -> String {
    let dir = world.dir.path().to_owned();
    let holder = world.authority.holder("a.test");
    for (name, pem) in
        [("ca.pem", world.authority.pem()), ("a.pem", holder.certificate.to_pem()), ("a.key", holder.key_pem)]
    {
        std::fs::write(dir.join(name), pem).unwrap();
    }
    let address = world.address.to_string();
    let asking = tokio::task::spawn_blocking(move || {
        let mut openssl = Command::new("openssl")
            .args(["s_client", "-quiet", "-verify_return_error", version, "-CAfile", "ca.pem"])
            .args(["-cert", "a.pem", "-key", "a.key", "-connect", &address])
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let request = format!("GET {NODE} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        // It may have given up on the handshake already.
        let _ = openssl.stdin.as_mut().unwrap().write_all(request.as_bytes());
        openssl.wait_with_output().unwrap()
    });
    String::from_utf8(asking.await.unwrap().stdout).unwrap()
}

#[tokio::test]
async fn openssl_is_served_over_tls_1_2_and_1_3_and_over_nothing_older() {
    let world = World::new().await;
    for (version, served) in [("-tls1_3", true), ("-tls1_2", true), ("-tls1_1", false)] {
        let text = with_openssl(&world, version).await;
        assert_eq!(text.starts_with("HTTP/1.1 200 OK"), served, "{version}: {text}");
    }
    assert_eq!(world.backend.asked(), ["node a.test production"; 2]);
}
