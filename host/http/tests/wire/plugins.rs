//! `/bunraku/v1/plugins`, as administrators ask for it.

use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::admin::administrator;
use crate::client::Wire;
use crate::world::World;

const PLUGINS: &str = "/bunraku/v1/plugins";
const BY: &str = "by admin.test from 127.0.0.1";

async fn asking() -> (World, Wire<TlsStream<TcpStream>>) {
    let world = World::new().await;
    let admin = administrator(&world);
    let wire = Wire::connect(&world, Some(&admin)).await;
    (world, wire)
}

#[tokio::test]
async fn sets_the_shadow_and_the_history_are_shown() {
    let (world, mut wire) = asking().await;
    let shown = wire.get(PLUGINS).await.json();
    assert_eq!(shown["live"]["id"], "live");
    assert_eq!(shown["shadow"]["by_change"], json!({"pending → approve": 1}));
    assert_eq!(shown["staged"][0]["from"], "control socket");
    assert_eq!(wire.get(&format!("{PLUGINS}/shadow")).await.json(), Value::Null);
    assert_eq!(wire.get(&format!("{PLUGINS}/history")).await.json()[0]["event"], "swapped");
    assert_eq!(wire.get(&format!("{PLUGINS}/history?limit=7")).await.status, 200);
    assert_eq!(world.backend.asked(), ["plugins", "shadow", "history 50", "history 7"]);
    for wrong in ["0", "1001", "-1", "all"] {
        assert_eq!(wire.get(&format!("{PLUGINS}/history?limit={wrong}")).await.status, 422, "{wrong}");
    }
    assert_eq!(world.backend.asked(), [""; 0]);
}

#[tokio::test]
async fn what_is_to_be_done_is_read_done_and_answered() {
    let (world, mut wire) = asking().await;
    let mut check = async |route: &str, body: &str, asked: &str, expected: Value| {
        let reply = wire.ask("POST", &format!("{PLUGINS}/{route}"), &[], body.as_bytes()).await;
        assert_eq!(reply.json(), expected, "{route} {body}");
        assert_eq!(world.backend.asked(), [format!("{asked} {BY}")], "{route} {body}");
        reply.status
    };
    let digest = json!({"digest": "00".repeat(32)});
    assert_eq!(check("components", "abc", "put 3 bytes signed None", digest.clone()).await, 200);
    let signed = "components?signature=AQI%2B";
    assert_eq!(check(signed, "abc", "put 3 bytes signed Some([1, 2, 62])", digest).await, 200);
    let problems = json!({"problems": ["no component"]});
    assert_eq!(check("components", "wrong", "put 5 bytes signed None", problems).await, 422);

    let staged = json!({"set": crate::double_plugins::set("next"), "probe": "pending"});
    assert_eq!(check("stage", r#"{"config":true}"#, "stage Config", staged.clone()).await, 200);
    let replace = r#"{"replace":{"name":"a","digest":"d","settings":{"token":"geheim"},"file":"a.wasm"}}"#;
    let asked = r#"stage Replace(Replacement { name: Some("a"), digest: "d", file: Some("a.wasm"), .. })"#;
    assert_eq!(check("stage", replace, asked, staged.clone()).await, 200);
    let set = r#"{"set":{"plugins":[]}}"#;
    let asked = "stage Set(SetSpec { plugins: [], merge: FirstMatch, quorum: [] })";
    assert_eq!(check("stage", set, asked, staged).await, 200);
    let replace = r#"{"replace":{"digest":"wrong"}}"#;
    let asked = r#"stage Replace(Replacement { name: None, digest: "wrong", file: None, .. })"#;
    assert_eq!(check("stage", replace, asked, json!({"problems": ["one", "two"]})).await, 422);

    let shadow = json!(crate::double_plugins::shadow("next"));
    assert_eq!(check("shadow", r#"{"set":"next"}"#, "shadow Some(\"next\")", shadow).await, 200);
    assert_eq!(check("shadow", r#"{"set":null}"#, "shadow None", Value::Null).await, 200);
    let swapped = |to: &str| json!({"from": "live", "to": to});
    assert_eq!(check("promote", "", "promote None false", swapped("next")).await, 200);
    let body = r#"{"set":"b","force":true}"#;
    assert_eq!(check("promote", body, "promote Some(\"b\") true", swapped("b")).await, 200);
    assert_eq!(check("swap", r#"{"set":"b"}"#, "swap b false", swapped("b")).await, 200);
    let body = r#"{"set":"stranger","force":true}"#;
    assert_eq!(check("swap", body, "swap stranger true", swapped("forced")).await, 200);
    assert_eq!(check("rollback", "{}", "rollback None \"\"", swapped("before")).await, 200);
    let body = r#"{"to":"a","reason":"too strict"}"#;
    assert_eq!(check("rollback", body, "rollback Some(\"a\") \"too strict\"", swapped("a")).await, 200);
}

// faults row 60, as far as it is the wire's
#[tokio::test]
async fn what_is_refused_says_why_in_one_line() {
    let (world, mut wire) = asking().await;
    for (route, body, status, text) in [
        ("swap", r#"{"set":"nosuch"}"#, 404, "there is no set nosuch"),
        ("shadow", r#"{"set":"nosuch"}"#, 404, "there is no set nosuch"),
        ("swap", r#"{"set":"stranger"}"#, 409, "it would approve a stranger's request; it is held in shadow"),
        ("stage", r#"{"replace":{"digest":"full"}}"#, 503, "the master's store does not answer"),
    ] {
        let reply = wire.ask("POST", &format!("{PLUGINS}/{route}"), &[], body.as_bytes()).await;
        assert_eq!((reply.status, reply.exact_text().as_str()), (status, text), "{route} {body}");
    }
    world.backend.asked();
    for (route, body) in [
        ("components?signature=%21", "abc"),
        ("stage", "{}"),
        ("stage", r#"{"config":false}"#),
        ("stage", r#"{"config":true,"set":{"plugins":[]}}"#),
        ("stage", r#"{"set":{"plugins":[{"name":"a"}]}}"#),
        ("stage", r#"{"set":{"plugins":[],"extra":1}}"#),
        ("stage", r#"{"replace":{"name":"a"}}"#),
        ("shadow", "{}"),
        ("swap", "{}"),
        ("swap", r#"{"set":"a","foce":true}"#),
        ("rollback", r#"{"to":7}"#),
    ] {
        let reply = wire.ask("POST", &format!("{PLUGINS}/{route}"), &[], body.as_bytes()).await;
        assert_eq!(reply.status, 422, "{route} {body}: {}", reply.exact_text());
        assert!(reply.exact_text().starts_with("schema-violation: "), "{}", reply.exact_text());
    }
    let long = json!({"reason": "x".repeat(501)}).to_string();
    let reply = wire.ask("POST", &format!("{PLUGINS}/rollback"), &[], long.as_bytes()).await;
    assert_eq!(reply.status, 422);
    assert_eq!(world.backend.asked(), [""; 0]);
}

#[tokio::test]
async fn a_component_has_a_largest_size() {
    let world = World::with(|settings, _| settings.component_cap = 8).await;
    let admin = administrator(&world);
    for (body, status) in [("12345678", 200), ("123456789", 413)] {
        let mut wire = Wire::connect(&world, Some(&admin)).await;
        let target = format!("{PLUGINS}/components");
        assert_eq!(wire.ask("POST", &target, &[], body.as_bytes()).await.status, status);
    }
    assert_eq!(world.backend.asked().len(), 1);
}
