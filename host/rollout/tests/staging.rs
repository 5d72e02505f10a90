//! What keeps a set of plugins from going live, tried with the default plugins as they are built.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use bunraku_rollout::{
    FailedApproval, FailedClassification, Means, Merge, OnFailure, Origin, PluginSet, PluginSpec, QuorumRule,
    SetSpec, Source, stage,
};
use sandbox::{Sandbox, Settings};
use serde_json::{Value, json};

/// The component of a default plugin.
fn built(name: &str) -> PathBuf {
    let folder = std::env::var_os("BUNRAKU_PLUGINS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins"),
        PathBuf::from,
    );
    let path = folder.join(format!("{name}.wasm"));
    assert!(path.exists(), "{} is not there: build the plugins first: cargo xtask plugins", path.display());
    path
}

fn spec(name: &str, component: &str, grants: Value) -> PluginSpec {
    let Value::Object(grants) = grants else { panic!("grants are an object") };
    PluginSpec {
        grants: grants.into_iter().collect(),
        ..PluginSpec::new(name, Source::File(built(component)))
    }
}

fn registry() -> PluginSpec {
    spec("s3-registry", "s3-registry", json!({"object-store": ["registry"]}))
}

async fn staged(specs: &[PluginSpec]) -> Result<PluginSet, Vec<String>> {
    staged_set(&SetSpec { plugins: specs.to_vec(), ..SetSpec::default() }).await
}

async fn staged_set(spec: &SetSpec) -> Result<PluginSet, Vec<String>> {
    let sandbox = Sandbox::new(Settings { slots: 2, ..Settings::default() }).unwrap();
    let means = Means { stores: ["registry".to_owned()].into(), ..Means::new(sandbox) };
    let staged = stage(&means, spec, Origin::new("test", "")).await;
    staged.map_err(|all| all.iter().map(ToString::to_string).collect())
}

async fn check(specs: &[PluginSpec], expected: &[&str]) {
    let problems = staged(specs).await.expect_err("the set must not go live");
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.contains(expected), "{problem:?} does not say {expected:?}");
    }
}

#[tokio::test]
async fn the_default_set_is_staged_and_its_order_is_part_of_it() {
    let hadoop = || spec("hadoop", "hadoop", json!({"stored-config": true}));
    let base = || spec("base", "base", json!({}));
    let first = staged(&[registry(), base(), hadoop()]).await.unwrap();
    let again = staged(&[registry(), base(), hadoop()]).await.unwrap();
    let other = staged(&[registry(), hadoop(), base()]).await.unwrap();
    assert_eq!(first.id(), again.id(), "the same plugins are the same set");
    assert_ne!(first.id(), other.id(), "the order is part of a set");
    assert_eq!(first.classifiers(), ["s3-registry"]);
    assert_eq!(first.classes().owner("hadoop::worker").unwrap().plugin, "hadoop");
}

// faults row 61
#[tokio::test]
async fn one_name_or_one_class_twice_is_no_set() {
    let base = || spec("base", "base", json!({}));
    check(&[base(), base()], &["plugin base: is configured twice"]).await;
    let second = spec("second", "base", json!({}));
    let problems = staged(&[base(), second]).await.expect_err("two plugins provide the same classes");
    assert!(problems.iter().all(|p| p.contains("plugin base and by plugin second")), "{problems:#?}");
}

#[tokio::test]
async fn grants_are_checked_against_what_there_is_and_what_is_needed() {
    check(&[spec("hadoop", "hadoop", json!({}))], &["needs the capability `stored-config`"]).await;
    let odd = json!({"object-store": ["bucket"], "stored-config": 1, "sockets": true});
    let problems =
        ["names the store \"bucket\"", "`sockets` is no capability", "`stored-config` is true or false"];
    check(&[spec("base", "base", odd)], &problems).await;
}

// faults rows 55 and 57
#[tokio::test]
async fn what_is_no_component_or_not_the_pinned_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(built("base")).unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        PluginSpec { source: Source::File(path), ..spec(name, "base", json!({})) }
    };
    let half = whole.get(..whole.len() / 2).unwrap();
    let specs = [
        file("text", b"hello"),
        file("half", half),
        file("core", b"\0asm\x01\0\0\0"),
        PluginSpec { source: Source::File(folder.path().join("none")), ..spec("none", "base", json!({})) },
        PluginSpec { source: Source::Embedded("missing".into()), ..spec("missing", "base", json!({})) },
        PluginSpec { digest: Some("0".repeat(64)), ..spec("pinned", "base", json!({})) },
    ];
    let expected = [
        "plugin text: not a WebAssembly component",
        "plugin half: ",
        "plugin core: not a WebAssembly component",
        "plugin none: cannot read",
        "plugin missing: is not embedded",
        "is pinned",
    ];
    check(&specs, &expected).await;
}

#[tokio::test]
async fn settings_are_the_plugins_to_check() {
    let wrong = PluginSpec { settings: json!({"missing": "sign"}), ..registry() };
    check(&[wrong], &["settings at /missing"]).await;
    let grants: BTreeMap<String, Value> = registry().grants;
    let right = PluginSpec { settings: json!({"missing": "abstain"}), grants, ..registry() };
    staged(&[right]).await.map(|_| ()).unwrap();
}

#[tokio::test]
async fn a_name_is_one_line_and_settings_are_a_table() {
    let odd = |name: &str| PluginSpec::new(name, Source::File(built("base")));
    let specs =
        [odd(""), odd("a\nb"), odd(&"x".repeat(101)), PluginSpec { settings: json!([1]), ..odd("list") }];
    let cannot = "can't be the name of a plugin";
    check(&specs, &[cannot, cannot, cannot, "plugin list: settings must be a table"]).await;
}

#[tokio::test]
async fn what_a_set_asks_of_its_plugins_must_fit_them() {
    let rule = |pattern: &str, require| QuorumRule { pattern: pattern.into(), require };
    let failed = OnFailure { approval: Some(FailedApproval::Deny), ..OnFailure::default() };
    let aged = OnFailure {
        classification: Some(FailedClassification::Fail),
        max_age: Some(60),
        ..OnFailure::default()
    };
    let spec = SetSpec {
        plugins: vec![
            PluginSpec { on_failure: failed, ..spec("base", "base", json!({})) },
            PluginSpec { on_failure: aged, ..registry() },
        ],
        merge: Merge::Union,
        quorum: vec![rule("db-*", 1), rule("DB", 1)],
    };
    let problems = staged_set(&spec).await.expect_err("the set must not go live");
    let expected = ["base: on_failure.approval is set", "on_failure.max_age has no meaning", "quorum rule 2"];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.contains(expected), "{problem:?} does not say {expected:?}");
    }
    // One component under two names is one approver.
    let second = PluginSpec { name: "second".into(), ..registry() };
    let quorum = |require| SetSpec {
        plugins: vec![registry(), second.clone()],
        merge: Merge::Union,
        quorum: vec![rule("db-*", require)],
    };
    let problems = staged_set(&quorum(2)).await.expect_err("nobody could ever be signed");
    assert!(problems[0].contains("no such name could ever be signed"), "{problems:?}");
    let set = staged_set(&quorum(1)).await.unwrap();
    let approvers = set.approvers();
    assert_eq!(approvers.len(), 2);
    assert_eq!(approvers[0].identity, approvers[1].identity);
    assert_eq!(set.merge(), decide::Merge::Union);
    assert_eq!(set.rules().require("db-1").get(), 1);
}

/// The form that is sent to other masters and kept across versions.
#[test]
fn a_set_as_json_is_read_as_it_was_written_and_with_nothing_unknown() {
    let text = r#"{"plugins":[{"name":"base","source":{"digest":"00"},"settings":{},"grants":{},"on_failure":{}}],"merge":"first-match","quorum":[]}"#;
    let read: SetSpec = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
    let short = r#"{"plugins":[{"name":"base","source":{"digest":"00"}}]}"#;
    assert_eq!(serde_json::from_str::<SetSpec>(short).unwrap(), read);
    let newer = text.replace("\"merge\"", "\"veto\":true,\"merge\"");
    assert!(
        serde_json::from_str::<SetSpec>(&newer).is_err(),
        "a rule that is not understood is not left out"
    );
}
