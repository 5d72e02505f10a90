//! Sets of the default plugins, in a master of a folder.

use std::path::PathBuf;
use std::sync::Arc;

use rollout::{PluginSpec, Source};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::fixture;

fn built(name: &str) -> PathBuf {
    let folder = std::env::var_os("BUNRAKU_PLUGINS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins"),
        PathBuf::from,
    );
    let path = folder.join(format!("{name}.wasm"));
    assert!(path.exists(), "{} is not there: build the plugins first: cargo xtask plugins", path.display());
    path
}

/// The approver that goes by names; each pattern is one that it approves.
fn autosign(patterns: &[&str]) -> SetSpec {
    let plugin = PluginSpec {
        settings: json!({"names": patterns}),
        ..PluginSpec::new("autosign", Source::File(built("autosign")))
    };
    SetSpec { plugins: vec![plugin], ..SetSpec::default() }
}

fn by() -> Origin {
    Origin::new("root (uid 0)", "control socket")
}

async fn master() -> (TempDir, Arc<Master>) {
    let dir = tempfile::tempdir().unwrap();
    let master = fixture::master(dir.path()).await;
    (dir, master)
}

async fn events(master: &Master) -> Vec<String> {
    let events = master.plugin_history(100).await.unwrap();
    events.into_iter().rev().map(|event| format!("{} by {}", event.event, event.by)).collect()
}

// faults row 60
#[tokio::test]
async fn a_set_that_approves_strangers_is_held_in_shadow_unless_that_is_forced() {
    let (_dir, master) = master().await;
    let staged = master.stage_plugins(autosign(&["*"]), by()).await.unwrap();
    assert_eq!(staged.probe, "approve");
    let (id, none) = (staged.set.id, master.plugins().id().to_owned());
    let failed = master.swap_plugins(&id, false, by()).await.unwrap_err();
    assert_eq!(failed.status, 409);
    assert!(failed.message.contains("held in shadow") && failed.message.contains("--force"), "{failed}");
    assert_eq!((master.plugins().id(), master.describe_shadow().unwrap().set), (none.as_str(), id.clone()));
    assert_eq!(master.promote_plugins(None, false, by()).await.unwrap_err().status, 409);
    let swapped = master.promote_plugins(Some(&id[..12]), true, by()).await.unwrap();
    assert_eq!(swapped, Swapped { from: none.clone(), to: id.clone() });
    let root = |word: &str| format!("{word} by root (uid 0)");
    let mut told = events(&master).await;
    assert_eq!(told.split_off(told.len() - 3), ["staged", "shadowed", "promoted"].map(root));
    // Once that is how it is, another such set is nothing new.
    let another = master.stage_plugins(autosign(&["*", "*.test"]), by()).await.unwrap();
    master.swap_plugins(&another.set.id, false, by()).await.unwrap();
    let back = master.rollback_plugins(None, "too open", by()).await.unwrap();
    assert_eq!(back.to, id);
    let last = master.plugin_history(1).await.unwrap().remove(0);
    assert_eq!((last.event.as_str(), last.reason.as_str()), ("rolled-back", "too open"));
}

#[tokio::test]
async fn a_set_that_goes_by_names_is_swapped_in_and_told() {
    let (_dir, master) = master().await;
    let staged = master.stage_plugins(autosign(&["*.example.test"]), by()).await.unwrap();
    assert_eq!(staged.probe, "pending");
    let plugin = &staged.set.plugins[0];
    assert_eq!((plugin.name.as_str(), plugin.plugin.as_str()), ("autosign", "autosign"));
    assert_eq!(plugin.kinds, ["approver"]);
    assert_eq!(plugin.source, built("autosign").display().to_string());
    let shown = serde_json::to_string(&staged).unwrap();
    assert!(!shown.contains("example.test"), "settings are not shown: {shown}");
    let id = &staged.set.id;
    master.shadow_plugins(Some(&id[..8]), by()).await.unwrap().unwrap();
    assert_eq!(master.shadow_plugins(None, by()).await.unwrap(), None);
    master.swap_plugins(&id[..8], false, by()).await.unwrap();
    let plugins = master.describe_plugins().await.unwrap();
    assert_eq!(plugins.live.id, *id);
    assert!(plugins.staged.iter().all(|set| set.id != *id));
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_and_changes_nothing() {
    let (_dir, master) = master().await;
    let live = master.plugins().id().to_owned();
    let status = |failed: Result<_, Failed>| failed.map(|_: Swapped| ()).map_err(|failed| failed.status);
    let unknown = "0123456789abcdef";
    assert_eq!(status(master.swap_plugins(unknown, true, by()).await), Err(404));
    assert_eq!(status(master.swap_plugins(&live, false, by()).await), Err(409));
    assert_eq!(status(master.promote_plugins(None, false, by()).await), Err(409));
    assert_eq!(status(master.rollback_plugins(None, "", by()).await), Err(409));
    assert_eq!(status(master.rollback_plugins(Some(unknown), "", by()).await), Err(404));
    assert_eq!(master.shadow_plugins(Some(unknown), by()).await.unwrap_err().status, 404);
    assert_eq!(master.shadow_plugins(None, by()).await.unwrap_err().status, 409);
    let staged = master.stage_plugins(autosign(&["*.test"]), by()).await.unwrap();
    master.shadow_plugins(Some(&staged.set.id), by()).await.unwrap();
    assert_eq!(status(master.promote_plugins(Some(unknown), false, by()).await), Err(409));
    assert_eq!(master.plugins().id(), live);
    let unstaged = master.stage_candidate(Candidate::Config, by()).await.unwrap_err();
    assert_eq!(unstaged, Unstaged::Problems(vec!["there is no configuration to read".to_owned()]));
}

// faults row 55
#[tokio::test]
async fn an_uploaded_component_takes_the_place_of_one_plugin() {
    let (_dir, master) = master().await;
    let staged = master.stage_plugins(autosign(&["*.test"]), by()).await.unwrap();
    master.swap_plugins(&staged.set.id, false, by()).await.unwrap();
    let bytes = std::fs::read(built("autosign")).unwrap();
    let digest = master.put_component(bytes, None, by()).await.unwrap();
    let replace = |name: Option<&str>, digest: &str, settings: Option<Value>| {
        Candidate::Replace(Replacement {
            name: name.map(str::to_owned),
            digest: digest.to_owned(),
            settings,
            file: Some("new\n.wasm".to_owned()),
        })
    };
    let same = master.stage_candidate(replace(None, &digest, None), by()).await.unwrap();
    assert_eq!(same.set.id, staged.set.id, "the same component with the same settings is the same set");
    let settings = Some(json!({"names": ["*.other.test"]}));
    let other = master.stage_candidate(replace(None, &digest, settings), by()).await.unwrap();
    assert_ne!(other.set.id, staged.set.id);
    assert_eq!(
        (other.set.by.as_str(), other.set.from.as_str()),
        ("root (uid 0)", "new\\n.wasm over control socket")
    );

    let check = async |candidate: Candidate, expected: &str| match master
        .stage_candidate(candidate, by())
        .await
        .unwrap_err()
    {
        Unstaged::Problems(problems) => assert!(problems.concat().contains(expected), "{problems:?}"),
        failed @ Unstaged::Failed(_) => panic!("{failed}"),
    };
    check(replace(Some("polcy"), &digest, None), "no plugin \"polcy\" whose place to take, but autosign")
        .await;
    check(replace(None, &"0".repeat(64), None), "upload it first").await;
    let other = master.put_component(std::fs::read(built("base")).unwrap(), None, by()).await.unwrap();
    check(replace(None, &other, None), "no plugin \"base\" whose place to take, but autosign").await;
    check(replace(None, &digest, Some(json!({"names": 7}))), "autosign: settings").await;
    let noise = master.put_component(b"no component".to_vec(), None, by()).await.unwrap();
    check(replace(Some("autosign"), &noise, None), "plugin autosign: ").await;
    check(replace(None, &noise, None), "component").await;
    assert_eq!(master.plugins().id(), staged.set.id);
}
