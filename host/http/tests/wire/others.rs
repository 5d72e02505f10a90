//! Status, filebucket, the access log.

use serde_json::json;

use crate::client::{Wire, once};
use crate::world::World;
use bunraku_http::AccessLogTo;

/// SHA-256 of "locally changed\n"; recording 05.
const SUM: &str = "f2b49d8f95f8fed8e3faf0e68236f4e8f55c26628fc521355d793996edf65835";

#[tokio::test]
async fn a_backup_is_kept_under_its_sum_and_found_again() {
    let world = World::new().await;
    let holder = world.authority.holder("a.test");
    let mut wire = Wire::connect(&world, Some(&holder)).await;
    let target = format!("/puppet/v3/file_bucket_file/sha256/{SUM}//srv/content.txt?environment=production");
    let octets = [("Content-Type", "application/octet-stream"), ("Accept", "application/octet-stream")];
    assert_eq!(wire.ask("HEAD", &target, &octets, b"").await.status, 404);
    let reply = wire.ask("PUT", &target, &octets, b"locally changed\n").await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/octet-stream")));
    assert_eq!(wire.ask("HEAD", &target, &octets, b"").await.status, 200);
    let reply = wire.get(&format!("/puppet/v3/file_bucket_file/sha256/{SUM}")).await;
    assert_eq!((reply.status, reply.body.as_slice()), (200, b"locally changed\n".as_slice()));

    let other = SUM.replace('f', "0");
    let reply = wire.ask("PUT", &format!("/puppet/v3/file_bucket_file/sha256/{other}"), &octets, b"x").await;
    assert_eq!(reply.status, 400);
    let reply = wire.get(&format!("/puppet/v3/file_bucket_file/sha256/{other}")).await;
    let message = format!("Not Found: Could not find file_bucket_file sha256/{other}");
    assert_eq!(
        (reply.status, reply.json()),
        (404, json!({"message": message, "issue_kind": "RESOURCE_NOT_FOUND"}))
    );
    for key in ["sha256/abc", "sha1/abc", "sha256/../x"] {
        let reply = wire.ask("PUT", &format!("/puppet/v3/file_bucket_file/{key}"), &octets, b"x").await;
        assert_eq!(reply.status, 400, "{key}");
    }
}

#[tokio::test]
async fn anyone_may_ask_whether_the_server_is_well_and_nobody_learns_why_not() {
    let world = World::new().await;
    let mut wire = Wire::connect(&world, None).await;
    for target in ["/status/v1/simple", "/status/v1/simple/server", "/status/v1/simple/ca"] {
        let reply = wire.get(target).await;
        assert_eq!((reply.status, reply.body.as_slice()), (200, b"running".as_slice()));
    }
    let reply = wire.get("/status/v1/simple/nosuch").await;
    assert_eq!((reply.status, reply.text().as_str()), (404, "not found: nosuch"));
    let reply = wire.get("/status/v1/services/ca?level=critical").await;
    assert_eq!(
        reply.json(),
        json!({
            "service_version": "8.4.0", "service_status_version": 1, "service_name": "ca",
            "detail_level": "critical", "state": "running", "status": {}, "active_alerts": [],
        })
    );
    let reply = wire.get("/status/v1/services").await.json();
    assert_eq!(reply["server"]["service_version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(reply["ca"]["service_version"], "8.4.0");
    // The CA by itself may be well where the master is not, and the other way round.
    *world.backend.ready.lock().unwrap() = false;
    assert_eq!(wire.get("/status/v1/simple/ca").await.status, 200);
    *world.backend.ca_wrong.lock().unwrap() = vec!["the signer is not running".to_owned()];
    assert_eq!(wire.get("/status/v1/simple/ca").await.status, 503);
    for target in ["/status/v1/simple", "/status/v1/services"] {
        let reply = wire.get(target).await;
        assert_eq!(reply.status, 503);
        assert!(!String::from_utf8_lossy(&reply.body).contains("secret"));
    }
}

#[tokio::test]
async fn every_request_is_a_line_of_the_access_log() {
    let mut world =
        World::with(|settings, dir| settings.access_log = AccessLogTo::File(dir.join("access.log"))).await;
    let holder = world.authority.holder("a.test");
    let own =
        once(&world, Some(&holder), "GET", "/puppet/v3/node/a.test?environment=production", &[], b"").await;
    let forged = once(&world, None, "GET", "/a\"%0ab", &[("X-Request-Id", "chosen")], b"").await;
    let id = forged.header("x-request-id").unwrap().to_owned();
    assert_ne!(id, "chosen");
    world.shut_down().await.unwrap();
    let log = std::fs::read_to_string(world.dir.path().join("access.log")).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.len(), 2, "{log}");
    let start = |line: &str| line.split(" [").next().unwrap().to_owned();
    assert_eq!(start(lines[0]), "127.0.0.1 - a.test");
    let rest =
        format!("\"GET /puppet/v3/node/a.test?environment=production HTTP/1.1\" 200 {} ", own.body.len());
    assert!(lines[0].contains(&rest), "{}", lines[0]);
    assert_eq!(start(lines[1]), "127.0.0.1 - -");
    assert!(lines[1].contains(r#""GET /a\"%0ab HTTP/1.1" 400 "#), "{}", lines[1]);
    assert!(lines[1].ends_with(&id), "{}", lines[1]);
}
