//! How grants are read, and what is said of wrong ones.

#![expect(clippy::panic, reason = "a test that cannot go on says so")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use bunraku_rollout::{Grants, StoreGrant};
use outgoing::{From, Method};
use serde_json::{Value, json};

fn parse(grants: &Value) -> Result<Grants, Vec<String>> {
    let Value::Object(map) = grants else { panic!("grants are an object") };
    let configured: BTreeMap<String, Value> = map.clone().into_iter().collect();
    let stores = BTreeSet::from(["registry".to_owned(), "images".to_owned()]);
    Grants::parse("p", &configured, &stores)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

#[test]
fn stores_are_granted_whole_or_in_part() {
    let grants = parse(&json!({
        "object-store": ["registry", {
            "store": "images", "prefix": "nodes/", "max_bytes": "1MiB", "max_calls": 10
        }],
        "stored-config": true,
    }));
    let grants = grants.unwrap();
    let part = StoreGrant { prefix: "nodes/".to_owned(), max_bytes: 1 << 20, max_calls: 10 };
    let stores = [("registry".to_owned(), StoreGrant::default()), ("images".to_owned(), part)];
    assert_eq!(grants.object_store, BTreeMap::from(stores));
    assert!(grants.covers("object-store") && grants.covers("stored-config"));
    assert!(!grants.covers("http") && !grants.covers("files"));
    let nothing = parse(&json!({"object-store": [], "stored-config": false, "http": []})).unwrap();
    assert_eq!(nothing, Grants::default());
}

#[test]
fn origins_are_granted_with_all_that_belongs_to_them() {
    let grants = parse(&json!({"http": [
        {"origin": "https://api.example"},
        {
            "origin": "https://cmdb.corp:8443", "methods": ["GET", "POST"], "max_body": "1MiB", "timeout": "500ms",
            "private": true, "header": "Authorization", "value_env": "CMDB_TOKEN", "ca_file": "/etc/cmdb.pem",
        },
        {"origin": "https://two.example", "credentials": [
            {"header": "X-Id", "value_env": "ID"}, {"header": "X-Key", "value_file": "/run/key"},
        ]},
    ]}));
    let grants = grants.unwrap();
    assert!(grants.covers("http"));
    let [usual, all, two] = grants.http.as_slice() else { panic!("{grants:?}") };
    assert_eq!(usual.origin.to_string(), "https://api.example:443");
    assert_eq!((usual.methods.as_slice(), usual.max_body), ([Method::GET].as_slice(), 64 << 10));
    assert_eq!((usual.timeout, usual.private), (Duration::from_secs(2), false));
    assert!(usual.credentials.is_empty() && usual.ca_file.is_none());
    assert_eq!((all.methods.as_slice(), all.max_body), ([Method::GET, Method::POST].as_slice(), 1 << 20));
    assert_eq!((all.timeout, all.private), (Duration::from_millis(500), true));
    assert_eq!(all.ca_file.as_deref(), Some(Path::new("/etc/cmdb.pem")));
    let [credential] = all.credentials.as_slice() else { panic!("{all:?}") };
    assert_eq!(credential.header, "authorization");
    assert_eq!(credential.from, From::Env("CMDB_TOKEN".to_owned()));
    let named: Vec<_> = two.credentials.iter().map(|credential| credential.header.as_str()).collect();
    assert_eq!(named, ["x-id", "x-key"]);
}

/// Each mistake is told by itself, in words that say what would be right.
#[test]
fn a_misspelt_grant_is_an_error_with_a_suggestion() {
    let check = |grants: Value, expected: &[&str]| {
        let problems = parse(&grants).unwrap_err();
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(
                problem.starts_with("plugin p: ") && problem.contains(expected),
                "{problem:?} does not say {expected:?}"
            );
        }
    };
    let http = |entry: Value| json!({"http": [entry]});
    check(
        json!({"object-stor": ["registry"]}),
        &["`object-stor` is no capability; did you mean `object-store`?"],
    );
    check(json!({"sockets": true}), &["is no capability; there are `http`, `object-store`, `stored-config`"]);
    check(json!({"stored-config": "yes"}), &["grant `stored-config` is true or false"]);
    check(json!({"object-store": "registry"}), &["takes a list of store names"]);
    check(json!({"object-store": [1]}), &["takes store names and tables"]);
    check(json!({"object-store": ["registri"]}), &["the store \"registri\"; did you mean `registry`?"]);
    check(json!({"object-store": ["bucket"]}), &["the store \"bucket\"; there are `images`, `registry`"]);
    check(json!({"object-store": ["images", {"store": "images"}]}), &["the store \"images\" twice"]);
    check(
        json!({"object-store": [{"prefx": "n/", "max_bytes": 1, "max_calls": -1}]}),
        &[
            "the key `prefx`; did you mean `prefix`?",
            "`max_bytes`, which must be a text",
            "`max_calls` must be",
            "needs `store`",
        ],
    );
    check(json!({"object-store": [{"store": "images", "max_bytes": "1MB"}]}), &["\"1MB\", which is no size"]);
    check(json!({"http": "https://api.example"}), &["takes a list of tables"]);
    check(json!({"http": ["https://api.example"]}), &["takes tables"]);
    check(http(json!({})), &["needs `origin`"]);
    check(http(json!({"origin": "api.example"})), &["is no address of a web server"]);
    check(http(json!({"origin": "https://api.example/v1"})), &["says more than an origin"]);
    check(http(json!({"origin": "https://*.example"})), &["names no single host"]);
    check(http(json!({"origin": "https://a.example", "methods": []})), &["`methods` must be a list"]);
    check(http(json!({"origin": "https://a.example", "methods": [1, "GET"]})), &["`methods` must be a list"]);
    check(
        http(json!({"origin": "https://a.example", "methods": ["get"]})),
        &["\"get\"; did you mean `GET`?"],
    );
    check(http(json!({"origin": "https://a.example", "methods": ["CONNECT"]})), &["has \"CONNECT\""]);
    check(http(json!({"origin": "https://a.example", "max_body": "1GiB"})), &["at most 16 MiB"]);
    check(http(json!({"origin": "https://a.example", "timeout": "0s"})), &["`timeout` must be"]);
    check(http(json!({"origin": "https://a.example", "timeout": "5m"})), &["at most 60s"]);
    check(http(json!({"origin": "https://a.example", "private": 1})), &["`private`, which is true or false"]);
    check(http(json!({"origin": "https://a.example", "ca_file": "ca.pem"})), &["must be a whole path"]);
    check(http(json!({"origin": "http://a.example", "ca_file": "/ca.pem"})), &["shows no certificate"]);
    check(http(json!({"origin": "https://a.example", "header": "X-A"})), &["either `value_env`"]);
    check(http(json!({"origin": "https://a.example", "value_env": "A"})), &["needs `header`"]);
    check(
        http(json!({"origin": "https://a.example", "header": "X A", "value_env": "A"})),
        &["is no header's name"],
    );
    check(
        http(json!({"origin": "https://a.example", "header": "Host", "value_env": "A"})),
        &["belongs to the connection"],
    );
    check(http(json!({"origin": "http://a.example", "header": "X-A", "value_env": "A"})), &["in the clear"]);
    check(
        http(json!({"origin": "https://a.example", "credentials": ["X"]})),
        &["`credentials` must be a list"],
    );
    let twice = json!([{"header": "X-A", "value_env": "A"}, {"header": "x-a", "value_env": "B"}]);
    check(http(json!({"origin": "https://a.example", "credentials": twice})), &["the header `x-a` twice"]);
    let both = json!({"header": "X-A", "value_env": "A", "value_file": "/a"});
    check(http(json!({"origin": "https://a.example", "credentials": [both]})), &["either `value_env`"]);
    let origins = json!([{"origin": "https://a.example"}, {"origin": "https://A.example:443/"}]);
    check(json!({"http": origins}), &["names https://a.example:443 twice"]);
    check(
        json!({"http": [{"origin": "x", "metods": ["GET"]}], "stored-config": 1}),
        &["the key `metods`; did you mean `methods`?", "is no address", "`stored-config` is true or false"],
    );
}
