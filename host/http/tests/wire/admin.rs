//! What administrators ask of the CA: recordings 02, 18, 19, 34 and 37, word for word, and
//! `/bunraku/v1/ca`.

use pki::{Extension, PP_CLI_AUTH};
use serde_json::{Value, json};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use crate::client::{Reply, Wire, once};
use crate::double_admin::{PAGE, POINTER};
use crate::world::{Holder, World, ahead};

const V1: &str = "/puppet-ca/v1";
const JSON: (&str, &str) = ("Content-Type", "application/json");
const TEXT: &str = "text/plain;charset=utf-8";

pub fn administrator(world: &World) -> Holder {
    world.authority.holder_until("admin.test", ahead(5), &[Extension::new(PP_CLI_AUTH, "true")])
}

/// A world and an administrator's connection to it.
async fn asking() -> (World, Wire<TlsStream<TcpStream>>) {
    let world = World::new().await;
    let admin = administrator(&world);
    let wire = Wire::connect(&world, Some(&admin)).await;
    (world, wire)
}

fn seen(reply: &Reply) -> (u16, Option<&str>, String) {
    (reply.status, reply.header("content-type"), reply.exact_text())
}

// recordings 18 and 19
#[tokio::test]
async fn a_status_is_changed_and_refused_in_the_peers_words() {
    let (world, mut wire) = asking().await;
    let mut check = async |name: &str, headers: &[(&str, &str)], body: &str, expected: (u16, &str, &str)| {
        let target = format!("{V1}/certificate_status/{name}");
        let reply = wire.ask("PUT", &target, headers, body.as_bytes()).await;
        let (status, label, text) = expected;
        assert_eq!(seen(&reply), (status, Some(label), text.to_owned()), "{name} {body}");
        world.backend.asked()
    };
    let signed = r#"{"desired_state":"signed"}"#;
    let revoked = r#"{"desired_state":"revoked"}"#;
    let by = "by admin.test";
    let done = (204, "text/plain", "");
    assert_eq!(
        check("waiting.test", &[JSON], signed, done).await,
        [format!("sign waiting.test None None {by}")]
    );
    let hour = r#"{"desired_state":"signed","cert_ttl":3600}"#;
    assert_eq!(
        check("waiting.test", &[JSON], hour, done).await,
        [format!("sign waiting.test None Some(3600s) {by}")]
    );
    let one = r#"{"desired_state":"signed","fingerprint":"AA:BB"}"#;
    assert_eq!(
        check("several.test", &[], one, done).await,
        [format!("sign several.test Some(\"AA:BB\") None {by}")]
    );
    let reply = (409, TEXT, "several.test has 2 certificate requests");
    check("several.test", &[JSON], signed, reply).await;
    check("nosuch.test", &[JSON], signed, (404, TEXT, "Invalid certificate subject.")).await;
    let text = "Cannot sign certificate for host signed.test without a certificate request";
    check("signed.test", &[JSON], signed, (409, TEXT, text)).await;
    check("full.test", &[JSON], signed, (503, TEXT, "the CA can't do that now: no space")).await;
    let text = "Cannot revoke certificate for host waiting.test without a signed certificate";
    check("waiting.test", &[JSON], revoked, (409, TEXT, text)).await;
    check("nosuch.test", &[JSON], revoked, (404, TEXT, "Invalid certificate subject.")).await;
    assert_eq!(
        check("signed.test", &[("Content-Type", "text/pson; charset=utf-8")], revoked, done).await,
        [format!("revoke Name(\"signed.test\") keyCompromise {by}")]
    );
    for (body, text) in [
        (
            r#"{"desired_state":"burned"}"#,
            "State burned invalid; Must specify desired state of 'signed' or 'revoked' for host a.test.",
        ),
        ("{}", "Missing required parameter \"desired_state\""),
        ("nojson", "Request body is not JSON."),
        ("", "Request body is not JSON."),
        (
            r#"{"desired_state":"signed","cert_ttl":"x"}"#,
            "cert_ttl specified for host a.test must be an integer, not \"x\"",
        ),
    ] {
        assert_eq!(check("a.test", &[JSON], body, (400, TEXT, text)).await, [""; 0]);
    }
    let html = [("Content-Type", "text/html")];
    assert_eq!(check("a.test", &html, signed, (415, TEXT, "Unsupported media type.")).await, [""; 0]);
}

// recordings 02, 18 and 19
#[tokio::test]
async fn a_status_is_shown_and_taken_away() {
    let (world, mut wire) = asking().await;
    let shown = wire.get(&format!("{V1}/certificate_status/signed.test")).await.json();
    assert_eq!((&shown["name"], &shown["state"]), (&json!("signed.test"), &json!("signed")));
    let shown = wire.get(&format!("{V1}/certificate_status/waiting.test")).await.json();
    assert_eq!(shown["state"], "requested");
    assert_eq!(shown["submitted_at"], "2026-11-22T16:38:05UTC");
    assert_eq!(shown["peer"], "192.0.2.7");
    assert_eq!(shown["decision"], json!({"verdict": "pending", "reason": "no rule", "plugin": "policy"}));
    assert_eq!(shown.get("candidates"), None);
    assert_eq!(shown.get("serial_number"), None);
    let shown = wire.get(&format!("{V1}/certificate_status/several.test")).await.json();
    assert_eq!(shown["candidates"].as_array().unwrap().len(), 2);
    assert_eq!(shown["candidates"][0], shown["fingerprint"]);
    let missing = (404, Some(TEXT), "Resource not found.".to_owned());
    assert_eq!(seen(&wire.get(&format!("{V1}/certificate_status/nosuch.test")).await), missing);
    world.backend.asked();
    let target = |name: &str| format!("{V1}/certificate_status/{name}");
    assert_eq!(wire.ask("DELETE", &target("signed.test"), &[], b"").await.status, 204);
    assert_eq!(seen(&wire.ask("DELETE", &target("nosuch.test"), &[], b"").await), missing);
    let target = |name: &str| format!("{V1}/certificate_request/{name}");
    assert_eq!(wire.ask("DELETE", &target("waiting.test?fingerprint=AA"), &[], b"").await.status, 204);
    let reply = wire.ask("DELETE", &target("nosuch.test"), &[], b"").await;
    assert_eq!(seen(&reply), (404, Some(TEXT), "No certificate request for nosuch.test".to_owned()));
    let by = "by admin.test";
    let asked = [
        format!("delete signed.test {by}"),
        format!("delete nosuch.test {by}"),
        format!("forget waiting.test Some(\"AA\") {by}"),
        format!("forget nosuch.test None {by}"),
    ];
    assert_eq!(world.backend.asked(), asked);
}

// recordings 02, 18 and 37
#[tokio::test]
async fn the_list_is_an_array_and_the_segment_is_ignored_but_must_be_there() {
    let (world, mut wire) = asking().await;
    for (query, state) in [
        ("", "None"),
        ("?state=requested", "Some(Requested)"),
        ("?state=signed", "Some(Signed)"),
        ("?state=revoked", "Some(Revoked)"),
        ("?state=odd", "None"),
    ] {
        let reply = wire.get(&format!("{V1}/certificate_statuses/any_key{query}")).await;
        assert_eq!(reply.status, 200);
        let list = reply.json();
        assert_eq!(list.as_array().unwrap().len(), PAGE);
        assert_eq!(list[0]["name"], "n0.test");
        assert_eq!(world.backend.asked(), [format!("statuses {state}"), format!("statuses {state}")]);
    }
    *world.backend.pages.lock().unwrap() = 0;
    assert_eq!(wire.get(&format!("{V1}/certificate_statuses/x")).await.json(), json!([]));
    let reply = wire.get(&format!("{V1}/certificate_statuses/")).await;
    assert_eq!(seen(&reply), (400, Some(TEXT), "Missing URL Segment".to_owned()));
}

#[tokio::test]
async fn a_long_list_is_sent_while_it_is_read() {
    let (world, mut wire) = asking().await;
    let pages = 60;
    *world.backend.pages.lock().unwrap() = pages;
    wire.send(&format!("GET {V1}/certificate_statuses/any_key HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    assert_eq!(wire.head().await.unwrap().status, 200);
    // A client that takes nothing yet: no more pages are read than fit between here and there.
    let first = wire.chunk().await.unwrap().unwrap();
    let read = world.backend.asked().len();
    assert!(read < pages / 2, "{read} of {pages} pages were read ahead of their reader");
    let mut text = first;
    let mut largest = 0;
    while let Some(chunk) = wire.chunk().await.unwrap() {
        largest = largest.max(chunk.len());
        text.extend_from_slice(&chunk);
    }
    let list: Vec<Value> = serde_json::from_slice(&text).unwrap();
    assert_eq!(list.len(), pages * PAGE);
    assert_eq!(list[pages * PAGE - 1]["name"], format!("n{}.test", pages * PAGE - 1));
    assert!(largest < text.len() / 20, "{largest} of {}", text.len());
}

#[tokio::test]
async fn a_list_that_cannot_be_read_to_its_end_does_not_look_whole() {
    let (world, mut wire) = asking().await;
    *world.backend.pages.lock().unwrap() = 2;
    *world.backend.cut_list.lock().unwrap() = true;
    wire.send(&format!("GET {V1}/certificate_statuses/any_key HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    assert_eq!(wire.head().await.unwrap().status, 200);
    loop {
        match wire.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the list has an end"),
            Err(_) => break,
        }
    }
    *world.backend.pages.lock().unwrap() = 0;
    let admin = administrator(&world);
    let target = format!("{V1}/certificate_statuses/any_key");
    assert_eq!(once(&world, Some(&admin), "GET", &target, &[], b"").await.status, 503);
}

// protocol page, §2.1
#[tokio::test]
async fn several_are_signed_at_once() {
    let (world, mut wire) = asking().await;
    let sign = format!("{V1}/sign");
    let reply = wire.ask("POST", &sign, &[JSON], br#"{"certnames":["a.test"]}"#).await;
    let expected = json!({"signed": ["a.test"], "no-csr": ["no.test"], "signing-errors": ["bad.test"]});
    let found: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(
        (reply.status, reply.header("content-type"), found),
        (200, Some("application/json"), expected)
    );
    let reply = wire.ask("POST", &format!("{V1}/sign/all"), &[JSON], b"{}").await;
    let found: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!((reply.status, &found["signed"]), (200, &json!(["all.test"])));
    let asked = [r#"sign Some(["a.test"]) by admin.test"#, "sign None by admin.test"];
    assert_eq!(world.backend.asked(), asked);
    for body in ["", "{}", "zz", r#"{"certnames":"a"}"#, r#"{"certnames":[1]}"#] {
        let reply = wire.ask("POST", &sign, &[JSON], body.as_bytes()).await;
        assert_eq!((reply.status, reply.header("content-type")), (422, Some("application/json")), "{body}");
        let found: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(found["kind"], "schema-violation");
    }
    assert_eq!(world.backend.asked(), [""; 0]);
}

// recording 37
#[tokio::test]
async fn names_are_cleaned_in_the_peers_words() {
    let (world, mut wire) = asking().await;
    for (body, status, text) in [
        (
            r#"{"certnames":["signed.test","nosuch.test","x\"y"]}"#,
            200,
            r#"The following certs do not exist and cannot be revoked: ["nosuch.test" "x\"y"]"#,
        ),
        (r#"{"certnames":["signed.test"]}"#, 200, "Successfully cleaned all certs."),
        (r#"{"certnames":["x"],"async":true}"#, 400, "Async mode is not currently supported."),
        ("{}", 400, "Missing required key: 'certnames'. Please supply the list of certs you want to clean."),
        ("zz", 400, "Request body is not JSON."),
    ] {
        let reply = wire.ask("PUT", &format!("{V1}/clean"), &[JSON], body.as_bytes()).await;
        assert_eq!(seen(&reply), (status, Some("text/plain"), text.to_owned()), "{body}");
    }
    assert_eq!(world.backend.asked().len(), 2);
}

// recordings 18 and 37
#[tokio::test]
async fn expirations_and_uploads_of_lists_are_answered_in_the_peers_words() {
    let (world, mut wire) = asking().await;
    let reply = wire.get(&format!("{V1}/expirations")).await;
    let ends = json!({"Puppet CA: test": "2041-11-18T16:33:39UTC"});
    let found: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    assert_eq!(found, json!({"ca-certs": ends, "crls": ends}));
    for (body, status, text) in [
        ("newer", 200, "Successfully updated CRLs."),
        ("old", 400, "Could not determine newest CRL."),
        ("garbage", 400, "No valid CRLs submitted."),
    ] {
        let target = format!("{V1}/certificate_revocation_list");
        let reply = wire.ask("PUT", &target, &[("Content-Type", "text/plain")], body.as_bytes()).await;
        assert_eq!(seen(&reply), (status, Some(TEXT), text.to_owned()), "{body}");
    }
    assert_eq!(world.backend.asked().len(), 4);
}

#[tokio::test]
async fn what_puppet_has_no_words_for_is_json() {
    let (world, mut wire) = asking().await;
    let own = "/bunraku/v1/ca";
    let mut check = async |method: &str, path: &str, body: &str, expected: (u16, Value)| {
        let reply = wire.ask(method, &format!("{own}/{path}"), &[JSON], body.as_bytes()).await;
        let text = reply.exact_text();
        let found = serde_json::from_str(&text).unwrap_or_else(|_| Value::from(text.as_str()));
        assert_eq!((reply.status, found), expected, "{method} {path} {body}");
        world.backend.asked()
    };
    let by = "by admin.test";
    let asked = check(
        "POST",
        "revoke",
        r#"{"serial":"01","reason":"superseded"}"#,
        (200, json!({"outcome": "unknown"})),
    );
    assert_eq!(asked.await, [format!("revoke Serial(0x01) superseded {by}")]);
    let asked = check("POST", "revoke", r#"{"serial":"0x02"}"#, (200, json!({"outcome": "already"})));
    assert_eq!(asked.await, [format!("revoke Serial(0x02) keyCompromise {by}")]);
    check("POST", "revoke", r#"{"certname":"signed.test"}"#, (200, json!({"outcome": "revoked"}))).await;
    check("POST", "revoke", r#"{"certname":"x"}"#, (404, json!("Invalid certificate subject."))).await;
    for (body, text) in [
        (r#"{"serial":"xyz"}"#, "schema-violation: a serial number is written in hexadecimal digits"),
        (
            r#"{"serial":"1","certname":"x"}"#,
            "schema-violation: either `serial` or `certname` says what to revoke",
        ),
        ("", "schema-violation: either `serial` or `certname` says what to revoke"),
        (
            r#"{"serial":"1","reason":"whim"}"#,
            "schema-violation: `reason` is none of RFC 5280's that apply here",
        ),
    ] {
        assert_eq!(check("POST", "revoke", body, (422, json!(text))).await, [""; 0]);
    }
    check("POST", "revoke", "zz", (400, json!("Request body is not JSON."))).await;
    let made = json!({"certificate": "PEM"});
    let asked = check("POST", "generate", r#"{"csr":"CSR","ttl":60,"admin":true}"#, (200, made.clone()));
    assert_eq!(asked.await, [format!("generate CSR Some(60s) true {by}")]);
    let asked =
        check("POST", "generate", r#"{"csr":"x"}"#, (400, json!("the certificate request is not PEM")));
    assert_eq!(asked.await, [format!("generate x None false {by}")]);
    check("POST", "generate", "{}", (422, json!("schema-violation: missing field `csr`"))).await;
    let asked = check("POST", "renew", r#"{"certname":"a.test"}"#, (200, made));
    assert_eq!(asked.await, [format!("renew a.test {by}")]);
    let asked = check("POST", "prune", "{}", (200, json!({"cleaned": 3, "crl_number": 1})));
    assert_eq!(asked.await, [format!("prune {by}")]);
    let shown = json!([{
        "certname": "m.test", "alt_names": ["puppet"], "added_at": "2023-11-14T22:13:20UTC",
        "crl_number": 7, "seen_at": null, "address": "192.0.2.7",
    }]);
    check("GET", "masters", "", (200, shown)).await;
    let asked = check("PUT", "masters/m.test", r#"{"dns_alt_names":["puppet"]}"#, (204, json!("")));
    assert_eq!(asked.await, [format!("add m.test [\"puppet\"] {by}")]);
    check("PUT", "masters/m.test", "", (204, json!(""))).await;
    check("DELETE", "masters/m.test", "", (204, json!(""))).await;
    check("DELETE", "masters/x.test", "", (404, json!("there is no master x.test"))).await;
}

#[tokio::test]
async fn the_lists_and_the_state_of_the_ca_are_described() {
    let (world, mut wire) = asking().await;
    let trust = world.authority.trust();
    for method in ["GET", "POST"] {
        let shown = wire.ask(method, "/bunraku/v1/ca/crl", &[], b"").await.json();
        assert_eq!((&shown["number"], &shown["entries"]), (&json!(1), &json!(0)));
        assert_eq!(shown["bytes"], json!(world.backend.trust.borrow().crls.len()));
        assert_eq!(shown["lists"][0]["issuer"], "CN=Puppet CA: test");
    }
    assert_eq!(world.backend.asked(), ["publish by admin.test"]);
    let shown = wire.get("/bunraku/v1/ca/status").await.json();
    assert_eq!((&shown["role"], &shown["ready"]), (&json!("ca"), &json!(true)));
    assert_eq!(shown["ca"]["bundle_fingerprint"], trust.bundle.fingerprint().to_string());
    assert_eq!((&shown["freshness"], &shown["counts"]["requests"]), (&json!("fresh"), &json!(23)));
    assert_eq!(shown["masters"][0]["certname"], "m.test");
    *world.backend.elsewhere.lock().unwrap() = true;
    let shown = wire.get("/bunraku/v1/ca/status").await.json();
    assert_eq!((&shown["role"], shown.get("counts")), (&json!("catalog-master"), None));
}

#[tokio::test]
async fn a_catalog_master_sends_administrators_to_the_ca() {
    let (world, mut wire) = asking().await;
    *world.backend.elsewhere.lock().unwrap() = true;
    for (method, path, body) in [
        ("GET", "/puppet-ca/v1/certificate_status/a.test", ""),
        ("PUT", "/puppet-ca/v1/certificate_status/a.test", r#"{"desired_state":"signed"}"#),
        ("DELETE", "/puppet-ca/v1/certificate_status/a.test", ""),
        ("GET", "/puppet-ca/v1/certificate_statuses/x", ""),
        ("PUT", "/puppet-ca/v1/clean", r#"{"certnames":["a.test"]}"#),
        ("POST", "/puppet-ca/v1/sign", r#"{"certnames":["a.test"]}"#),
        ("POST", "/puppet-ca/v1/sign/all", ""),
        ("GET", "/puppet-ca/v1/expirations", ""),
        ("PUT", "/puppet-ca/v1/certificate_revocation_list", "newer"),
        ("DELETE", "/puppet-ca/v1/certificate_request/a.test", ""),
        ("POST", "/bunraku/v1/ca/prune", ""),
        ("GET", "/bunraku/v1/ca/masters", ""),
    ] {
        let reply = wire.ask(method, path, &[], body.as_bytes()).await;
        assert_eq!(seen(&reply), (404, Some(TEXT), POINTER.to_owned()), "{method} {path}");
    }
    let reply = wire.get("/status/v1/services/ca").await;
    assert_eq!((reply.status, reply.text().as_str()), (404, "not found: ca"));
}

#[tokio::test]
async fn bodies_of_administrators_have_caps() {
    let world = World::with(|settings, _| (settings.admin_cap, settings.crl_cap) = (1000, 2000)).await;
    let admin = administrator(&world);
    for (method, path, cap) in [
        ("PUT", "/puppet-ca/v1/certificate_status/a.test", 1000),
        ("PUT", "/puppet-ca/v1/clean", 1000),
        ("POST", "/puppet-ca/v1/sign", 1000),
        ("POST", "/bunraku/v1/ca/revoke", 1000),
        ("POST", "/bunraku/v1/ca/generate", 1000),
        ("POST", "/bunraku/v1/ca/renew", 1000),
        ("PUT", "/bunraku/v1/ca/masters/m.test", 1000),
        ("PUT", "/puppet-ca/v1/certificate_revocation_list", 2000),
    ] {
        let reply = once(&world, Some(&admin), method, path, &[JSON], &vec![b'x'; cap + 1]).await;
        assert_eq!(reply.status, 413, "{method} {path}");
        assert_eq!(world.backend.asked(), [""; 0]);
        let reply = once(&world, Some(&admin), method, path, &[JSON], &vec![b'x'; cap]).await;
        assert!(matches!(reply.status, 400 | 422), "{method} {path} {}", reply.status);
        world.backend.asked();
    }
}

/// Who asks: a stranger, `a.test`, an administrator by extension, one by the operator's list, a declared
/// master, and root at the control socket.
const WHO: [&str; 6] = ["stranger", "holder", "extension", "list", "master", "local"];
const ADMINISTRATORS: [bool; 6] = [false, false, true, true, false, true];
const HOLDERS: [bool; 6] = [false, true, true, true, true, true];
const MASTERS: [bool; 6] = [false, false, false, false, true, false];
const NOBODY: [bool; 6] = [false; 6];
const EVERYBODY: [bool; 6] = [true; 6];

/// Who gets through to the route.
const TABLE: &[(&str, [bool; 6])] = &[
    ("GET /puppet-ca/v1/certificate_status/a.test", ADMINISTRATORS),
    ("PUT /puppet-ca/v1/certificate_status/a.test", ADMINISTRATORS),
    ("DELETE /puppet-ca/v1/certificate_status/a.test", ADMINISTRATORS),
    ("POST /puppet-ca/v1/certificate_status/a.test", NOBODY),
    ("GET /puppet-ca/v1/certificate_statuses/x", ADMINISTRATORS),
    ("GET /puppet-ca/v1/certificate_statuses/", ADMINISTRATORS),
    ("GET /puppet-ca/v1/certificate_statuses", NOBODY),
    ("PUT /puppet-ca/v1/certificate_revocation_list", ADMINISTRATORS),
    ("PUT /puppet-ca/v1/certificate_revocation_list/ca", NOBODY),
    ("PUT /puppet-ca/v1/clean", ADMINISTRATORS),
    ("POST /puppet-ca/v1/sign", ADMINISTRATORS),
    ("POST /puppet-ca/v1/sign/all", ADMINISTRATORS),
    ("DELETE /puppet-ca/v1/certificate_request/waiting.test", ADMINISTRATORS),
    ("PUT /puppet-ca/v1/certificate_request/a.test", EVERYBODY),
    ("GET /puppet-ca/v1/certificate/ca", EVERYBODY),
    ("GET /puppet-ca/v1/expirations", HOLDERS),
    ("GET /puppet/v3/environments", HOLDERS),
    ("GET /puppet/v3/node/admin.test", [false, false, true, false, false, false]),
    ("POST /bunraku/v1/ca/revoke", ADMINISTRATORS),
    ("POST /bunraku/v1/ca/generate", ADMINISTRATORS),
    ("POST /bunraku/v1/ca/renew", ADMINISTRATORS),
    ("POST /bunraku/v1/ca/prune", ADMINISTRATORS),
    ("GET /bunraku/v1/ca/crl", ADMINISTRATORS),
    ("POST /bunraku/v1/ca/crl", ADMINISTRATORS),
    ("GET /bunraku/v1/ca/masters", ADMINISTRATORS),
    ("PUT /bunraku/v1/ca/masters/x.test", ADMINISTRATORS),
    ("DELETE /bunraku/v1/ca/masters/x.test", ADMINISTRATORS),
    ("GET /bunraku/v1/ca/status", ADMINISTRATORS),
    ("PUT /bunraku/v1/ca/enforcing", MASTERS),
    ("POST /bunraku/v1/ca/stream", NOBODY),
    ("GET /bunraku/v1/plugins", ADMINISTRATORS),
    ("POST /bunraku/v1/plugins", NOBODY),
    ("POST /bunraku/v1/plugins/components", ADMINISTRATORS),
    ("POST /bunraku/v1/plugins/stage", ADMINISTRATORS),
    ("GET /bunraku/v1/plugins/shadow", ADMINISTRATORS),
    ("POST /bunraku/v1/plugins/shadow", ADMINISTRATORS),
    ("POST /bunraku/v1/plugins/promote", ADMINISTRATORS),
    ("POST /bunraku/v1/plugins/swap", ADMINISTRATORS),
    ("POST /bunraku/v1/plugins/rollback", ADMINISTRATORS),
    ("GET /bunraku/v1/plugins/history", ADMINISTRATORS),
    ("DELETE /bunraku/v1/plugins/history", NOBODY),
    ("GET /bunraku/v1/ca", NOBODY),
    ("GET /bunraku/v1/nosuch", NOBODY),
    ("GET /metrics", ADMINISTRATORS),
    ("HEAD /metrics", NOBODY),
];

enum Asking {
    Tls(Box<Wire>),
    Local(Wire<UnixStream>),
}

impl Asking {
    async fn ask(&mut self, method: &str, target: &str) -> Reply {
        match self {
            Asking::Tls(wire) => wire.ask(method, target, &[], b"").await,
            Asking::Local(wire) => wire.ask(method, target, &[], b"").await,
        }
    }
}

#[tokio::test]
async fn every_administrators_route_is_for_whom_the_table_says() {
    let world = World::with(|settings, dir| {
        settings.control_socket = Some(dir.join("control.sock"));
        settings.admins = [pki::Certname::parse("listed.test").unwrap()].into();
    })
    .await;
    world.backend.masters.lock().unwrap().insert("m.test".to_owned());
    let holders = [
        None,
        Some(world.authority.holder("a.test")),
        Some(administrator(&world)),
        Some(world.authority.holder("listed.test")),
        Some(world.authority.holder("m.test")),
    ];
    let mut wires = Vec::new();
    for holder in &holders {
        wires.push(Asking::Tls(Box::new(Wire::connect(&world, holder.as_ref()).await)));
    }
    wires.push(Asking::Local(Wire::local(&world.dir.path().join("control.sock")).await));
    for (line, expected) in TABLE {
        let (method, target) = line.split_once(' ').unwrap();
        for ((who, wire), allowed) in WHO.iter().zip(&mut wires).zip(expected) {
            world.backend.asked();
            let reply = wire.ask(method, target).await;
            assert_eq!(reply.status != 403, *allowed, "{line} {who}: {}", reply.status);
            let asked = world.backend.asked();
            assert!(*allowed || asked.is_empty(), "{line} {who}: {asked:?}");
        }
    }
    // Who says no administrator is one is none.
    let no = world.authority.holder_until("n.test", ahead(5), &[Extension::new(PP_CLI_AUTH, "false")]);
    let target = "/puppet-ca/v1/certificate_statuses/x";
    assert_eq!(once(&world, Some(&no), "GET", target, &[], b"").await.status, 403);
}
