//! Node, catalog, facts, report: recordings 03, 04, 29, 30.

use std::io::Read;

use bytes::Bytes;
use master::Failed;
use serde_json::{Value, json};

use crate::client::{Wire, once};
use crate::world::World;

const CATALOG: &str = "/puppet/v3/catalog/a.test?environment=production";
const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
/// As agent 7.23 sends it; recording 03.
const BODY: &[u8] = b"facts_format=application%2Fjson&facts=%257B%2522name%2522%253A%2522a.test%2522%252C%2522\
values%2522%253A%257B%2522os%2522%253A%2522Debian%252B%2520x%2522%257D%257D&environment=production&\
configured_environment=production&check_environment=true&transaction_uuid=ec08a5db-3207-4b4c-aaf3-e41fa689fa8e&\
job_uuid=&static_catalog=true&checksum_type=sha256.sha384.sha512.sha224.md5";

#[tokio::test]
async fn a_catalog_is_compiled_with_the_facts_that_came() {
    let world = World::new().await;
    let holder = world.authority.holder("a.test");
    let mut wire = Wire::connect(&world, Some(&holder)).await;
    let reply = wire.ask("POST", CATALOG, &[FORM], BODY).await;
    assert_eq!((reply.status, reply.body.as_slice()), (200, b"{\"resources\":[]}".as_slice()));
    assert_eq!(reply.header("content-type"), Some("application/vnd.puppet.rich+json; charset=utf-8"));
    assert_eq!(wire.get(CATALOG).await.status, 200);
    let with_facts = format!("{CATALOG}&facts_format=json&facts=%257B%2522values%2522%253A%257B%257D%257D");
    assert_eq!(wire.get(&with_facts).await.status, 200);
    assert_eq!(
        world.backend.asked(),
        [
            r#"compile a.test production {"os":"Debian+ x"}"#,
            "compile a.test production null",
            "compile a.test production {}"
        ]
    );
}

#[tokio::test]
async fn a_catalog_comes_in_the_type_that_is_accepted() {
    let world = World::new().await;
    let holder = world.authority.holder("a.test");
    let mut wire = Wire::connect(&world, Some(&holder)).await;
    for (accept, content_type) in [
        (
            "application/vnd.puppet.rich+json, application/json, text/pson",
            "application/vnd.puppet.rich+json; charset=utf-8",
        ),
        ("*/*", "application/vnd.puppet.rich+json; charset=utf-8"),
        ("application/json", "application/json;charset=utf-8"),
        ("text/pson", "text/pson"),
    ] {
        let reply = wire.ask("GET", CATALOG, &[("Accept", accept)], b"").await;
        assert_eq!(reply.header("content-type"), Some(content_type), "{accept}");
    }
    let reply = wire.ask("GET", CATALOG, &[("Accept", "application/x-nothing")], b"").await;
    assert_eq!(reply.status, 406);
    assert_eq!(
        reply.json(),
        json!({
            "message": "Not Acceptable: No supported formats are acceptable (Accept: application/x-nothing)",
            "issue_kind": "UNSUPPORTED_FORMAT",
        })
    );
}

#[tokio::test]
async fn bad_catalog_requests_say_what_is_wrong_and_compile_nothing() {
    let world = World::new().await;
    let holder = world.authority.holder("a.test");
    let mut wire = Wire::connect(&world, Some(&holder)).await;
    let mut check = async |target: &str, headers: &[(&str, &str)], body: &[u8], status: u16, says: &str| {
        let method = if body.is_empty() { "GET" } else { "POST" };
        let reply = wire.ask(method, target, headers, body).await;
        assert_eq!(reply.status, status, "{target}");
        assert!(reply.text().contains(says), "{}", reply.text());
    };
    let bare = "/puppet/v3/catalog/a.test";
    check(bare, &[], b"", 400, "The environment must be purely alphanumeric, not 'null'").await;
    check(&format!("{bare}?environment=bad%20name"), &[], b"", 400, "alphanumeric, not 'bad name'").await;
    check(CATALOG, &[FORM], b"environment=other", 400, "different environments").await;
    check(CATALOG, &[FORM], b"facts=%257Bbroken", 400, "no {name, values} in JSON").await;
    check(CATALOG, &[FORM], b"facts_format=b64_zlib_yaml&facts=eJw", 400, "Unsupported facts format").await;
    check(CATALOG, &[FORM], b"facts=%ff", 400, "not UTF-8").await;
    check(CATALOG, &[("Content-Type", "application/json")], b"{\"a\":1}", 415, "Unsupported Media Type")
        .await;
    assert_eq!(world.backend.asked(), [""; 0]);
}

#[tokio::test]
async fn a_failure_to_compile_is_json_with_its_kind() {
    let world = World::new().await;
    let holder = world.authority.holder("a.test");
    *world.backend.catalog.lock().unwrap() = Err(Failed::internal("hadoop: class x of a.test: no"));
    let reply = once(&world, Some(&holder), "POST", CATALOG, &[FORM], BODY).await;
    assert_eq!(reply.status, 500);
    assert_eq!(
        reply.json(),
        json!({"message": "hadoop: class x of a.test: no", "issue_kind": "RUNTIME_ERROR"})
    );
}

#[tokio::test]
async fn large_answers_are_gzipped_when_that_is_offered() {
    let world = World::new().await;
    let holder = world.authority.holder("a.test");
    let large = format!("{{\"resources\":[{}0]}}", "0,".repeat(100_000));
    *world.backend.catalog.lock().unwrap() = Ok(Bytes::from(large.clone()));
    let mut wire = Wire::connect(&world, Some(&holder)).await;
    let offer = ("Accept-Encoding", "gzip;q=1.0,deflate;q=0.6,identity;q=0.3");
    let reply = wire.ask("POST", CATALOG, &[FORM, offer], BODY).await;
    assert_eq!(reply.header("content-encoding"), Some("gzip"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(reply.body.as_slice()).read_to_string(&mut text).unwrap();
    assert!(text == large);
    let reply = wire.ask("POST", CATALOG, &[FORM], BODY).await;
    assert_eq!(reply.header("content-encoding"), None);
    assert!(reply.body == large.as_bytes());
    // Neither small answers nor errors.
    *world.backend.catalog.lock().unwrap() = Err(Failed::internal("x".repeat(5000)));
    assert_eq!(wire.ask("POST", CATALOG, &[FORM, offer], BODY).await.header("content-encoding"), None);
    *world.backend.catalog.lock().unwrap() = Ok(Bytes::from_static(b"{}"));
    assert_eq!(wire.ask("POST", CATALOG, &[FORM, offer], BODY).await.header("content-encoding"), None);
}

#[tokio::test]
async fn a_node_is_shown_to_itself() {
    let world = World::new().await;
    let holder = world.authority.holder("a.test");
    let mut wire = Wire::connect(&world, Some(&holder)).await;
    let accept = [("Accept", "application/json, text/pson")];
    let reply = wire.ask("GET", "/puppet/v3/node/a.test?environment=production", &accept, b"").await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.json(),
        json!({"name": "a.test", "environment": "production", "classes": {}, "parameters": {}})
    );
    let check = |reply: crate::client::Reply, status: u16, message: &str| {
        assert_eq!(reply.status, status);
        assert_eq!(reply.json(), json!({"message": message, "issue_kind": "RUNTIME_ERROR"}));
    };
    check(
        wire.get("/puppet/v3/node/a.test").await,
        400,
        "Bad Request: An environment parameter must be specified",
    );
    let missing = wire.get("/puppet/v3/node/a.test?environment=nosuch").await;
    check(missing, 404, "Not Found: Could not find environment 'nosuch'");
    let list = wire.get("/puppet/v3/environments").await;
    assert!(list.json()["environments"]["production"]["settings"].is_object());
}

#[tokio::test]
async fn reports_and_facts_are_answered_as_agents_want_it() {
    let world = World::new().await;
    let holder = world.authority.holder("a.test");
    let mut wire = Wire::connect(&world, Some(&holder)).await;
    let (report, facts) = ("/puppet/v3/report/a.test?environment=x", "/puppet/v3/facts/a.test?environment=x");
    let json = [("Content-Type", "application/json")];
    let reply = wire.ask("PUT", report, &json, br#"{"host":"a.test"}"#).await;
    assert_eq!((reply.status, reply.json()), (200, json!(["store"])));
    let reply = wire.ask("PUT", facts, &json, br#"{"name":"a.test","values":{"a":1}}"#).await;
    assert_eq!((reply.status, reply.json()), (200, json!(0)));
    let asked = ["report a.test 17 bytes", r#"facts a.test {"a":1}"#];
    assert_eq!(world.backend.asked(), asked);
    // faults row 65
    assert_eq!(wire.ask("PUT", report, &json, br#"{"host":"b.test"}"#).await.status, 403);
    for target in [report, facts] {
        let reply = wire.ask("PUT", target, &[("Content-Type", "application/x-foo")], b"{}").await;
        let kind: Value = reply.json()["issue_kind"].clone();
        assert_eq!((reply.status, kind), (415, json!("UNSUPPORTED_MEDIA_TYPE")));
    }
}
