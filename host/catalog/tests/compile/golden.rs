//! Golden catalogs. `BLESS=1 cargo test -p bunraku-catalog` writes them anew.

use std::path::Path;

use bunraku_catalog::{Compiled, Export};
use serde_json::{Value, json};

use crate::{cases::*, puppet::worker};

/// Compares a catalog and its exports with `tests/golden/<name>.json`.
fn check(name: &str, compiled: &Compiled) {
    let export = |export: &Export| {
        json!({"type": export.resource_type, "title": export.title, "tags": export.tags,
            "parameters": export.parameters})
    };
    let catalog: Value = serde_json::from_slice(&compiled.catalog.to_json()).unwrap();
    let exports: Vec<Value> = compiled.exports.iter().map(export).collect();
    let text = serde_json::to_string_pretty(&json!({"catalog": catalog, "exports": exports})).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name).with_extension("json");
    if std::env::var_os("BLESS").is_some_and(|bless| bless == "1") {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == golden,
        "{} is not what was compiled; BLESS=1 rewrites it. Compiled:\n{text}",
        path.display()
    );
}

#[test]
fn a_node_without_classes_gets_the_language_and_nothing_else() {
    check("empty", &Plugins::default().compile(json!([])).unwrap());
}

#[test]
fn a_worker_of_the_seed() {
    check("worker", &worker().compile(json!([["hadoop::worker", {"distribution": "apache3"}]])).unwrap());
}

/// Everything that a fragment can say.
fn everything() -> Plugins {
    let address =
        resource("hadoop::address", "namenode", json!({"host": "nn1", "port": 8200, "require": "File[/a]"}))
            .sensitive("password", json!("hunter2"))
            .tagged("Cluster::One")
            .exported();
    let schema =
        json!({"properties": {"token": {"type": "string", "writeOnly": true}, "user": {"default": "root"}}});
    Plugins::default()
        .class_with(
            "x",
            "a",
            schema,
            fragment([
                resource("file", "/a", json!({"tag": "one", "alias": "first", "noop": true, "owner": null})),
                address,
                resource("notify", "b b", json!({"message": {"nested": [null, 1.5]}}))
                    .refs("require", &[])
                    .refs("before", &[("file", "first")]),
                resource("exec", "e", json!({"command": "/bin/true", "subscribe": ["File[/a]"]}))
                    .refs("require", &[("class", "a::b"), ("Stage", "pre")]),
            ])
            .stage("pre", "main")
            .stage("pre", "post")
            .stage("main", "post")
            .stage("post", "")
            .include("a::b")
            .include_in("pre", "b")
            .warning("no namenode has registered yet\nnext line")
            .warning("no namenode has registered yet\nnext line")
            .warning(""),
        )
        .class("x", "a::b", fragment([resource("notify", "in a::b", json!({}))]).include("a::c"))
        .class("x", "a::c", fragment([]).include("a"))
        .class("y", "b", fragment([resource("notify", "in b", json!({}))]).include("b::c"))
        .class("y", "b::c", fragment([resource("notify", "in b::c", json!({}))]))
        .class("y", "login_allowed", fragment([resource("notify", "x.y", json!({}))]))
}

#[test]
fn everything_that_a_fragment_can_say() {
    // faults row 67: with no namenode exporting the class warns, and the catalog holds the warning.
    let classes = json!([
        ["::A", {"token": "s3cret", "loglevel": "debug", "tag": ["top"], "noop": false, "before": "Class[Login-allowed]", "empty": null}],
        ["login-allowed", {"stage": "post", "require": ["Stage[main]"]}]
    ]);
    let mut asked = Vec::new();
    let compiled = everything().compile_and_tell(classes, &mut asked).unwrap();
    check("everything", &compiled);
    let names: Vec<&str> = asked.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["a", "a::b", "a::c", "b", "b::c", "login_allowed"], "depth first, each once");
    assert_eq!(
        asked[0].1,
        json!({"token": "s3cret", "user": "root"}),
        "no metaparameter, no null, the defaults"
    );
    let shown = format!("{compiled:?}");
    assert!(!shown.contains("s3cret") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn the_same_answers_are_the_same_bytes() {
    let compile = || everything().compile(json!(["a", "login-allowed"])).unwrap().catalog;
    let (first, mut second) = (compile(), compile());
    assert_eq!(first.to_json(), second.to_json());
    (second.version, second.catalog_uuid) = (Some("2".into()), None);
    assert_ne!(first.to_json(), second.to_json());
    assert_eq!(first.content(), second.content(), "what a version is made of holds no version");
}
