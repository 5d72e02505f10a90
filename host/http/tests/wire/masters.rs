//! Catalog masters at their CA, and the CA and its masters when the revocation lists are too old.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use master::Published;
use serde_json::{Value, json};
use time::macros::datetime;
use tokio_rustls::client::TlsStream;

use crate::admin::administrator;
use crate::client::{Wire, once};
use crate::world::{Holder, World, until};

const STREAM: &str = "GET /bunraku/v1/ca/stream HTTP/1.1\r\nHost: x\r\n\r\n";

fn declared(world: &World, name: &str) -> Holder {
    world.backend.masters.lock().unwrap().insert(name.to_owned());
    world.authority.holder(name)
}

async fn following(world: &World, holder: &Holder) -> Wire {
    let mut wire = Wire::connect(world, Some(holder)).await;
    wire.send(STREAM).await;
    let head = wire.head().await.unwrap();
    assert_eq!((head.status, head.header("content-type")), (200, Some("application/x-ndjson")));
    wire
}

/// The next line of a stream, which is one part of the body; none at its end.
async fn line(wire: &mut Wire<TlsStream<tokio::net::TcpStream>>) -> Option<Value> {
    let chunk = wire.chunk().await.unwrap()?;
    assert_eq!(chunk.last(), Some(&b'\n'));
    Some(serde_json::from_slice(&chunk).unwrap())
}

/// The next line that says something.
async fn news(wire: &mut Wire) -> Option<Value> {
    loop {
        match line(wire).await {
            Some(beat) if beat == json!({"alive": true}) => {}
            other => return other,
        }
    }
}

#[tokio::test]
async fn a_master_is_told_at_once_and_of_every_change_and_that_the_ca_lives() {
    let mut world = World::new().await;
    let holder = declared(&world, "m.test");
    let mut wire = following(&world, &holder).await;
    let trust = world.backend.trust.borrow().clone();
    let expected = json!({
        "bundle": &**trust.bundle.pem(), "crls": &*trust.crls, "agents_crls": &*trust.agents_crls, "number": 1,
    });
    assert_eq!(line(&mut wire).await, Some(expected));
    until(async || world.gauges.streams.load(Ordering::Relaxed) == 1).await;
    let bad = world.authority.holder("b.test");
    world.revoke(&bad);
    assert_eq!(news(&mut wire).await.unwrap()["number"], 2);
    assert_eq!(line(&mut wire).await, Some(json!({"alive": true})));
    // A drain ends it, and waits for nothing.
    let ended = world.shut_down();
    assert_eq!(news(&mut wire).await, None);
    assert!(wire.is_closed().await);
    assert_eq!(ended.await.unwrap().cut, 0);
    assert_eq!(world.gauges.streams.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_master_is_told_which_plugins_decide_after_the_lists_and_after_each_swap() {
    let world = World::new().await;
    let holder = declared(&world, "m.test");
    let set = |id: &str| {
        Some(Published { id: id.to_owned(), spec: r#"{"plugins":[]}"#.to_owned(), digests: Vec::new() })
    };
    world.backend.plugins.send_replace(set("one"));
    let mut wire = following(&world, &holder).await;
    assert_eq!(line(&mut wire).await.unwrap()["number"], 1);
    let told = |id: &str| Some(json!({"plugin_set": {"id": id, "spec": {"plugins": []}}}));
    assert_eq!(line(&mut wire).await, told("one"));
    world.backend.plugins.send_replace(set("two"));
    assert_eq!(news(&mut wire).await, told("two"));
    world.backend.plugins.send_replace(None);
    world.revoke(&world.authority.holder("b.test"));
    assert_eq!(news(&mut wire).await.unwrap()["number"], 2);
}

#[tokio::test]
async fn components_are_for_masters_and_administrators() {
    let world = World::new().await;
    let at = |digit: &str| format!("/bunraku/v1/plugins/components/{}", digit.repeat(64));
    let (master, admin) = (declared(&world, "m.test"), administrator(&world));
    for holder in [&master, &admin] {
        let answer = once(&world, Some(holder), "GET", &at("a"), &[], b"").await;
        assert_eq!((answer.status, &*answer.body), (200, &b"\0asm"[..]));
        assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
        assert_eq!(answer.header("bunraku-signature"), Some("c2lnbmVk"));
        assert_eq!(
            once(&world, Some(holder), "GET", &at("b"), &[], b"").await.header("bunraku-signature"),
            None
        );
        assert_eq!(once(&world, Some(holder), "GET", &at("0"), &[], b"").await.status, 404);
    }
    assert_eq!(world.backend.asked().len(), 6);
    for odd in [at("A"), at("g"), at("a") + "a", at("") + "..%2F..%2Fca"] {
        assert!(
            matches!(once(&world, Some(&master), "GET", &odd, &[], b"").await.status, 400 | 403 | 404),
            "{odd}"
        );
    }
    let node = world.authority.holder("n.test");
    for who in [Some(&node), None] {
        assert_eq!(once(&world, who, "GET", &at("a"), &[], b"").await.status, 403);
    }
    assert_eq!(world.backend.asked(), [""; 0]);
}

#[tokio::test]
async fn who_is_no_master_any_more_is_told_nothing_more() {
    let world = World::new().await;
    let (revoked, removed) = (declared(&world, "m.test"), declared(&world, "n.test"));
    let (mut first, mut second) = (following(&world, &revoked).await, following(&world, &removed).await);
    assert!(line(&mut first).await.is_some() && line(&mut second).await.is_some());
    world.backend.masters.lock().unwrap().remove("n.test");
    world.revoke(&revoked);
    assert_eq!(news(&mut first).await, None);
    assert_eq!(news(&mut second).await, None);
    until(async || world.gauges.streams.load(Ordering::Relaxed) == 0).await;
}

#[tokio::test]
async fn a_master_that_does_not_read_is_cut_off_and_holds_up_no_other() {
    let world = World::with(|settings, _| settings.write_deadline = Duration::from_millis(200)).await;
    // Larger than what fits between here and there.
    let big = Arc::new(pki::Trust { agents_crls: "x".repeat(32 << 20).into(), ..world.authority.trust() });
    world.backend.trust.send(big).unwrap();
    let (slow, quick) = (declared(&world, "m.test"), declared(&world, "n.test"));
    let mut stuck = Wire::connect(&world, Some(&slow)).await;
    stuck.send(STREAM).await;
    let mut wire = following(&world, &quick).await;
    assert!(wire.chunk().await.unwrap().is_some());
    until(async || world.gauges.streams.load(Ordering::Relaxed) == 1).await;
    assert!(wire.chunk().await.unwrap().is_some());
}

#[tokio::test]
async fn a_master_says_which_list_it_enforces() {
    let world = World::new().await;
    let holder = declared(&world, "m.test");
    let mut wire = Wire::connect(&world, Some(&holder)).await;
    let target = "/bunraku/v1/ca/enforcing";
    let body = br#"{"crl_number":18446744073709551615,"more":1}"#;
    assert_eq!(wire.ask("PUT", target, &[], body).await.status, 204);
    assert_eq!(world.backend.asked(), ["m.test enforces 18446744073709551615"]);
    for (body, status) in [("zz", 400), ("{}", 422), (r#"{"crl_number":-1}"#, 422)] {
        assert_eq!(wire.ask("PUT", target, &[], body.as_bytes()).await.status, status, "{body}");
    }
    assert_eq!(world.backend.asked(), [""; 0]);
}

// faults row 29
#[tokio::test]
async fn lists_that_ended_beyond_the_grace_let_no_certificate_in() {
    let world = World::new().await;
    let (holder, admin, master) =
        (world.authority.holder("a.test"), administrator(&world), declared(&world, "m.test"));
    *world.backend.lapsed.lock().unwrap() = Some(datetime!(2026-11-21 16:38:05 UTC));
    let text = "the revocation list of the CA expired at 2026-11-21T16:38:05UTC; this master refuses certificates until it is renewed";
    for (holder, target) in [
        (&holder, "/puppet/v3/node/a.test?environment=production"),
        (&holder, "/puppet/v3/environments"),
        (&admin, "/puppet-ca/v1/certificate_statuses/x"),
        (&master, "/bunraku/v1/ca/stream"),
    ] {
        let mut wire = Wire::connect(&world, Some(holder)).await;
        let reply = wire.get(target).await;
        assert_eq!(
            (reply.status, reply.text().as_str(), reply.header("connection")),
            (403, text, Some("close"))
        );
        assert!(wire.is_closed().await);
    }
    assert_eq!(world.backend.asked(), [""; 0]);
    assert_eq!(world.gauges.lapsed.load(Ordering::Relaxed), 4);
    // What is open to strangers is open to those who count as one, and no more than that.
    let mut wire = Wire::connect(&world, Some(&admin)).await;
    assert_eq!(wire.get("/puppet-ca/v1/certificate_revocation_list/ca").await.status, 200);
    assert_eq!(wire.get("/puppet-ca/v1/certificate_request/waiting.test").await.status, 404);
    assert_eq!(world.backend.asked(), [""; 0]);
    let target = "/puppet-ca/v1/certificate_request/a.test";
    assert_eq!(once(&world, Some(&holder), "PUT", target, &[], b"x").await.status, 200);
    assert_eq!(world.backend.asked(), ["submit a.test x from 127.0.0.1 by nobody"]);
    // With a new list all is as before.
    *world.backend.lapsed.lock().unwrap() = None;
    assert_eq!(once(&world, Some(&holder), "GET", "/puppet/v3/environments", &[], b"").await.status, 200);
}
