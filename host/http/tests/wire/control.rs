//! The control socket, metrics, and how many connections an address may have.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::sync::atomic::Ordering;
use std::time::Duration;

use bunraku_http::{AccessLogTo, QuotaSettings, Server, Settings};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::client::{Wire, once};
use crate::world::{World, identity, until};

async fn with_socket() -> World {
    World::with(|settings, dir| settings.control_socket = Some(dir.join("control.sock"))).await
}

#[tokio::test]
async fn the_machines_own_administrator_needs_no_certificate() {
    let mut world = World::with(|settings, dir| {
        settings.control_socket = Some(dir.join("control.sock"));
        settings.access_log = AccessLogTo::File(dir.join("access.log"));
        settings.quota =
            QuotaSettings { burst: 0, per_second: 0.001, delay: Duration::ZERO, ..settings.quota };
    })
    .await;
    let path = world.dir.path().join("control.sock");
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!((metadata.mode() & 0o777, metadata.file_type().is_socket()), (0o600, true));
    let mut wire = Wire::local(&path).await;
    let target = "/puppet-ca/v1/certificate_status/waiting.test";
    let reply = wire.ask("PUT", target, &[], br#"{"desired_state":"signed"}"#).await;
    assert_eq!(reply.status, 204);
    let uid = rustix::process::geteuid().as_raw();
    let by = format!("local administrator (uid {uid})");
    assert_eq!(world.backend.asked(), [format!("sign waiting.test None None by {by}")]);
    // Not a node's word: what only a certificate's holder may is closed here, whatever a header says.
    let headers = [("X-Client-DN", "CN=a.test"), ("X-Client-Verify", "SUCCESS")];
    let node = "/puppet/v3/node/a.test?environment=production";
    assert_eq!(wire.ask("GET", node, &headers, b"").await.status, 403);
    assert_eq!(wire.get("/bunraku/v1/ca/stream").await.status, 403);
    // No quota holds an administrator up.
    let request = "/puppet-ca/v1/certificate_request/a.test";
    assert_eq!(once(&world, None, "PUT", request, &[], b"x").await.status, 429);
    assert_eq!(wire.get("/puppet-ca/v1/certificate_request/waiting.test").await.status, 200);
    // Nor do revocation lists that are too old: here is where one would mend that.
    *world.backend.lapsed.lock().unwrap() = Some(time::OffsetDateTime::UNIX_EPOCH);
    assert_eq!(wire.ask("POST", "/bunraku/v1/ca/crl", &[], b"").await.status, 200);
    world.shut_down().await.unwrap();
    assert!(!path.exists());
    let log = std::fs::read_to_string(world.dir.path().join("access.log")).unwrap();
    assert!(log.starts_with("local - - ["), "{log}");
}

#[tokio::test]
async fn a_crowd_of_agents_keeps_no_administrator_out() {
    let world = World::with(|settings, dir| {
        settings.connections = 1;
        settings.control_socket = Some(dir.join("control.sock"));
    })
    .await;
    let mut only = Wire::connect(&world, None).await;
    assert_eq!(only.get("/status/v1/simple").await.status, 200);
    let mut wire = Wire::local(&world.dir.path().join("control.sock")).await;
    assert_eq!(wire.get("/bunraku/v1/ca/status").await.status, 200);
}

#[tokio::test]
async fn a_second_daemon_does_not_take_the_socket_of_one_that_lives() {
    let world = with_socket().await;
    let path = world.dir.path().join("control.sock");
    let settings = Settings {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        control_socket: Some(path.clone()),
        ..Settings::default()
    };
    let (_identity, own) = tokio::sync::watch::channel(std::sync::Arc::new(identity(&world.authority)));
    let material = bunraku_http::TlsMaterial { trust: world.backend.trust.subscribe(), identity: own };
    let error = Server::bind(settings, world.backend.clone(), material).await.err().unwrap().to_string();
    assert!(error.contains("control.sock") && error.contains("another process"), "{error}");
    let mut wire = Wire::local(&path).await;
    assert_eq!(wire.get("/bunraku/v1/ca/status").await.status, 200);
}

#[tokio::test]
async fn metrics_have_a_port_of_their_own_and_nothing_else_is_there() {
    let world = World::with(|settings, dir| {
        settings.metrics_listen = Some("127.0.0.1:0".parse().unwrap());
        settings.control_socket = Some(dir.join("control.sock"));
    })
    .await;
    let holder = world.authority.holder("a.test");
    assert_eq!(once(&world, Some(&holder), "GET", "/puppet/v3/environments", &[], b"").await.status, 200);
    assert_eq!(once(&world, None, "GET", "/puppet/v3/environments", &[], b"").await.status, 403);
    let mut wire = Wire::plain(world.metrics.unwrap()).await;
    let reply = wire.get("/metrics").await;
    assert_eq!(reply.status, 200);
    assert!(reply.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let text = reply.exact_text();
    for line in [
        "bunraku_requests_total{class=\"2xx\"} 1",
        "bunraku_requests_total{class=\"4xx\"} 1",
        "bunraku_refused_handshakes_total 0",
        "bunraku_quota_waiting 0",
        "bunraku_body_memory_bytes 0",
        "bunraku_ready 1",
        "bunraku_store_up 1",
        "bunraku_crl_number 1",
        "bunraku_plugin_set{set=\"5e7\"} 1",
        "bunraku_plugin_sets_swapped_total 31",
        "bunraku_plugin_shadow_decisions{outcome=\"differ\"} 34",
        "bunraku_journal_written_total 35",
        "bunraku_crl_freshness{state=\"fresh\"} 1",
        "bunraku_crl_freshness{state=\"expired\"} 0",
        "bunraku_ca_certificates_issued_total 11",
        "bunraku_ca_certificates_revoked_total 12",
        "bunraku_ca_crl_sign_seconds 0.25",
        "bunraku_ca_signer_restarts_total 16",
        "bunraku_ca_store_free_bytes 17",
        "bunraku_ca_certificates{state=\"signed\"} 21",
        "bunraku_ca_requests_pending 23",
        "bunraku_ca_certificates_expiring{within=\"30d\"} 25",
        "bunraku_ca_master_crl_number{master=\"m.test\"} 7",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    // Every one says what it is.
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        let name = line.split(' ').nth(2).unwrap();
        assert!(text.contains(&format!("# HELP {name} ")), "{name}");
    }
    for path in ["/", "/status/v1/simple", "/puppet-ca/v1/certificate/ca", "/bunraku/v1/ca/status"] {
        assert_eq!(wire.get(path).await.status, 404, "{path}");
    }
    assert_eq!(wire.ask("POST", "/metrics", &[], b"").await.status, 405);
    let mut local = Wire::local(&world.dir.path().join("control.sock")).await;
    assert_eq!(local.get("/metrics").await.status, 200);
}

#[tokio::test]
async fn one_address_does_not_take_all_connections() {
    let world = World::with(|settings, _| settings.connections_per_address = 2).await;
    let mut first = Wire::connect(&world, None).await;
    let _second = Wire::connect(&world, None).await;
    let mut third = TcpStream::connect(world.address).await.unwrap();
    let mut rest = Vec::new();
    // Closed without a word, or reset.
    let _ = third.read_to_end(&mut rest).await;
    assert_eq!(rest, b"");
    assert_eq!(world.gauges.crowded_connections.load(Ordering::Relaxed), 1);
    assert_eq!(first.get("/status/v1/simple").await.status, 200);
    drop(first);
    until(async || {
        let config = crate::client::config(&world, None);
        match Wire::connect_with(&world, config).await {
            Ok(mut wire) => wire.get("/status/v1/simple").await.status == 200,
            Err(_) => false,
        }
    })
    .await;
}
