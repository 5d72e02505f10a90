//! Deadlines, the connection cap, and the end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bunraku_http::Drained;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::client::{Wire, once};
use crate::world::{World, until};

const CATALOG: &str = "GET /puppet/v3/catalog/a.test?environment=production HTTP/1.1\r\nHost: x\r\n\r\n";

async fn is_cut(mut tcp: TcpStream) -> bool {
    let mut rest = Vec::new();
    // Either an end or a reset will do.
    let _ = tcp.read_to_end(&mut rest).await;
    true
}

#[tokio::test]
async fn a_client_that_says_nothing_is_cut_off() {
    let world = World::with(|settings, _| {
        settings.handshake_deadline = Duration::from_millis(100);
        settings.header_deadline = Duration::from_millis(100);
    })
    .await;
    assert!(is_cut(TcpStream::connect(world.address).await.unwrap()).await);
    let mut plain = TcpStream::connect(world.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(is_cut(plain).await);
    let mut idle = Wire::connect(&world, None).await;
    assert!(idle.is_closed().await);
    let mut half = Wire::connect(&world, None).await;
    half.send("GET /puppet-ca/v1/certificate/ca HTTP/1.1\r\nHo").await;
    assert!(half.is_closed().await);
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let world = World::new().await;
    let mut wire = Wire::connect(&world, None).await;
    wire.send(&format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(100 * 1024))).await;
    assert_eq!(wire.reply(false).await.unwrap().status, 431);
}

#[tokio::test]
async fn connections_over_the_cap_wait_for_their_turn() {
    let world = World::with(|settings, _| settings.connections = 1).await;
    let mut first = Wire::connect(&world, None).await;
    assert_eq!(first.get("/status/v1/simple").await.status, 200);
    let second = once(&world, None, "GET", "/status/v1/simple", &[], b"");
    let mut second = std::pin::pin!(second);
    // The first is served while the second waits.
    for _ in 0..3 {
        tokio::select! {
            biased;
            _ = &mut second => panic!("both were served"),
            reply = first.get("/status/v1/simple") => assert_eq!(reply.status, 200),
        }
    }
    drop(first);
    assert_eq!(second.await.status, 200);
}

// faults row 32
#[tokio::test]
async fn two_hundred_requests_in_flight_are_answered_and_idle_connections_closed() {
    let mut world = World::new().await;
    let gate = Arc::new(Notify::new());
    *world.backend.gate.lock().unwrap() = Some(gate.clone());
    let holder = world.authority.holder("a.test");
    let mut idle = Wire::connect(&world, Some(&holder)).await;
    assert_eq!(idle.get("/status/v1/simple").await.status, 200);
    let mut wires = Vec::new();
    for _ in 0..200 {
        let mut wire = Wire::connect(&world, Some(&holder)).await;
        wire.send(CATALOG).await;
        world.backend.compiling.notified().await;
        wires.push(wire);
    }
    let ended = world.shut_down();
    assert!(idle.is_closed().await);
    // The listener is closed before anything is answered.
    until(async || TcpStream::connect(world.address).await.is_err()).await;
    gate.notify_waiters();
    for mut wire in wires {
        assert_eq!(wire.reply(false).await.unwrap().status, 200);
        assert!(wire.is_closed().await);
    }
    assert_eq!(ended.await.unwrap(), Drained { cut: 0 });
}

#[tokio::test]
async fn what_does_not_end_in_time_is_cut() {
    let mut world = World::draining(Duration::from_millis(100), |_, _| {}).await;
    *world.backend.gate.lock().unwrap() = Some(Arc::new(Notify::new()));
    let holder = world.authority.holder("a.test");
    let mut wire = Wire::connect(&world, Some(&holder)).await;
    wire.send(CATALOG).await;
    world.backend.compiling.notified().await;
    let ended = world.shut_down();
    assert_eq!(ended.await.unwrap(), Drained { cut: 1 });
    assert!(wire.reply(false).await.is_err());
}

#[tokio::test]
async fn a_connection_that_never_asks_does_not_hold_the_drain_up() {
    let mut world = World::new().await;
    let mut silent = Wire::connect(&world, None).await;
    until(async || world.gauges.connections.load(Ordering::Relaxed) == 1).await;
    let ended = world.shut_down();
    assert_eq!(ended.await.unwrap(), Drained { cut: 0 });
    assert!(silent.is_closed().await);
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answers_is_cut_off() {
    let world = World::with(|settings, _| settings.write_deadline = Duration::from_millis(100)).await;
    let holder = world.authority.holder("a.test");
    let mut wire = Wire::connect(&world, Some(&holder)).await;
    let get =
        "GET /puppet/v3/file_content/modules/demo/large?environment=production HTTP/1.1\r\nHost: x\r\n\r\n";
    wire.send(&get.repeat(20)).await;
    until(async || world.gauges.requests.load(Ordering::Relaxed) > 0).await;
    until(async || world.gauges.connections.load(Ordering::Relaxed) == 0).await;
}
