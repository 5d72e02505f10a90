//! Bodies that are too large, too slow, compressed or hostile.

use std::time::Duration;

use crate::client::{Wire, once};
use crate::world::World;

const REQUEST: &str = "/puppet-ca/v1/certificate_request/a.test";
const REPORT: &str = "/puppet/v3/report/a.test?environment=production";
const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];

// faults row 2
#[tokio::test]
async fn a_body_over_the_cap_is_413_and_nothing_is_asked() {
    let world = World::with(|settings, _| settings.report_cap = 1000).await;
    let holder = world.authority.holder("a.test");
    assert_eq!(once(&world, None, "PUT", REQUEST, &[], &[b'x'; 65536]).await.status, 200);
    world.backend.asked();
    let reply = once(&world, None, "PUT", REQUEST, &[], &[b'x'; 65537]).await;
    assert_eq!((reply.status, reply.header("connection")), (413, Some("close")));
    assert_eq!(reply.text(), "the request body is larger than 65536 bytes");
    assert_eq!(once(&world, Some(&holder), "PUT", REPORT, &JSON, &[b'x'; 1001]).await.status, 413);

    // One that does not say its length.
    let mut wire = Wire::connect(&world, None).await;
    wire.send(&format!("PUT {REQUEST} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")).await;
    for _ in 0..17 {
        wire.send(&format!("1000\r\n{}\r\n", "x".repeat(0x1000))).await;
    }
    wire.send("0\r\n\r\n").await;
    assert_eq!(wire.reply(false).await.unwrap().status, 413);

    // One that waits to be told to go on is told before it sends anything.
    let mut wire = Wire::connect(&world, None).await;
    wire.send(&format!(
        "PUT {REQUEST} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n"
    ))
    .await;
    assert_eq!(wire.reply(false).await.unwrap().status, 413);
    assert_eq!(world.backend.asked(), [""; 0]);
}

// faults row 2
#[tokio::test]
async fn a_body_that_drips_is_408() {
    let world = World::with(|settings, _| settings.request_deadline = Duration::from_millis(100)).await;
    let mut wire = Wire::connect(&world, None).await;
    wire.send(&format!("PUT {REQUEST} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx")).await;
    let reply = wire.reply(false).await.unwrap();
    assert_eq!((reply.status, reply.header("connection")), (408, Some("close")));
    assert!(wire.is_closed().await);
    assert_eq!(world.backend.asked(), [""; 0]);
}

#[tokio::test]
async fn a_body_that_ends_early_is_not_taken() {
    let world = World::new().await;
    let mut wire = Wire::connect(&world, None).await;
    wire.send(&format!("PUT {REQUEST} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx")).await;
    tokio::io::AsyncWriteExt::shutdown(&mut wire.tls).await.unwrap();
    let reply = wire.reply(false).await;
    assert!(reply.as_ref().map_or(true, |reply| reply.status == 400), "{reply:?}");
    assert_eq!(world.backend.asked(), [""; 0]);
}

#[tokio::test]
async fn a_compressed_body_is_415() {
    let world = World::new().await;
    let holder = world.authority.holder("a.test");
    for encoding in ["gzip", "deflate", "identity, gzip"] {
        let headers = [("Content-Type", "application/json"), ("Content-Encoding", encoding)];
        let reply = once(&world, Some(&holder), "PUT", REPORT, &headers, b"{}").await;
        assert_eq!(
            (reply.status, reply.json()["issue_kind"].as_str()),
            (415, Some("UNSUPPORTED_MEDIA_TYPE"))
        );
    }
    assert_eq!(once(&world, None, "PUT", REQUEST, &[("Content-Encoding", "gzip")], b"x").await.status, 415);
    assert_eq!(world.backend.asked(), [""; 0]);
    let headers = [("Content-Type", "application/json"), ("Content-Encoding", "identity")];
    assert_eq!(
        once(&world, Some(&holder), "PUT", REPORT, &headers, br#"{"host":"a.test"}"#).await.status,
        200
    );
}

// faults row 66
#[tokio::test]
async fn hostile_json_is_400_before_it_is_parsed() {
    let world = World::new().await;
    let holder = world.authority.holder("a.test");
    let deep = "[".repeat(100_000);
    let facts = "/puppet/v3/facts/a.test?environment=production";
    for body in [deep.as_bytes(), b"\"\xff\"", b"{\"a\":\"\xc3\"}"] {
        assert_eq!(once(&world, Some(&holder), "PUT", facts, &JSON, body).await.status, 400);
        assert_eq!(once(&world, Some(&holder), "PUT", REPORT, &JSON, body).await.status, 400);
    }
    assert_eq!(world.backend.asked(), [""; 0]);
    assert_eq!(once(&world, Some(&holder), "PUT", facts, &JSON, b"broken").await.status, 400);
}

// faults row 66
#[tokio::test]
async fn fifty_megabytes_of_facts_are_413() {
    let world = World::new().await;
    let holder = world.authority.holder("a.test");
    let mut wire = Wire::connect(&world, Some(&holder)).await;
    wire.send(
        "POST /puppet/v3/catalog/a.test HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: 52428800\r\n\r\n",
    )
    .await;
    wire.send(&"x".repeat(2 << 20)).await;
    assert_eq!(wire.reply(false).await.unwrap().status, 413);
    assert_eq!(world.backend.asked(), [""; 0]);
}
