//! What keeps a set of plugins from going live, tried with the default plugins as they are built.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use bunraku_rollout::{Live, Means, Origin, PluginSet, PluginSpec, SetSpec, Source, stage};
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
    let sandbox = Sandbox::new(Settings { slots: 2, ..Settings::default() }).unwrap();
    let means = Means { stores: ["registry".to_owned()].into(), ..Means::new(sandbox) };
    let spec = SetSpec { plugins: specs.to_vec(), ..SetSpec::default() };
    let staged = stage(&means, &spec, Origin::new("test", "")).await;
    staged.map_err(|all| all.iter().map(ToString::to_string).collect())
}

async fn check(specs: &[PluginSpec], expected: &[&str]) {
    let problems = staged(specs).await.err().expect("the set must not go live");
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.contains(expected), "{problem:?} does not say {expected:?}");
    }
}

#[tokio::test]
async fn the_default_set_goes_live_and_a_swap_is_told() {
    let hadoop = || spec("hadoop", "hadoop", json!({"stored-config": true}));
    let base = || spec("base", "base", json!({}));
    let first = staged(&[registry(), base(), hadoop()]).await.unwrap();
    let again = staged(&[registry(), base(), hadoop()]).await.unwrap();
    let other = staged(&[registry(), hadoop(), base()]).await.unwrap();
    assert_eq!(first.id(), again.id(), "the same plugins are the same set");
    assert_ne!(first.id(), other.id(), "the order is part of a set");
    assert_eq!(first.classifiers(), ["s3-registry"]);
    assert_eq!(first.classes().owner("hadoop::worker").unwrap().plugin, "hadoop");
    let live = Live::new(first);
    let mut told = live.subscribe();
    let before = live.current();
    live.swap(other);
    assert!(told.has_changed().unwrap());
    told.mark_unchanged();
    assert_ne!(live.current().id(), before.id());
    assert_eq!(before.id(), again.id(), "a call keeps the set that it began with");
}

// faults row 61
#[tokio::test]
async fn one_name_or_one_class_twice_is_no_set() {
    let base = || spec("base", "base", json!({}));
    check(&[base(), base()], &["plugin base: is configured twice"]).await;
    let second = spec("second", "base", json!({}));
    let problems = staged(&[base(), second]).await.err().expect("two plugins provide the same classes");
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
