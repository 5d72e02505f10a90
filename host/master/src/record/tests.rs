//! Every way to a decision leaves one record, with the right words in it and the secrets in none that can be
//! read without the key.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use journal::{Kind, Mode};
use pki::{Certificate, Certname};
use rollout::{
    FailedApproval, FailedClassification, Merge, OnFailure, Origin, PluginSpec, QuorumRule, SetSpec, Source,
};
use store::Compilation;
use time::OffsetDateTime;

use super::*;
use crate::fixture::{master_with, request};
use crate::{CatalogRequest, Master, Peer, SubmitError, Submitted};

/// What `cargo xtask plugins` made.
fn built(name: &str) -> PathBuf {
    let folder = std::env::var_os("BUNRAKU_PLUGINS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins"), PathBuf::from);
    let file = folder.join(format!("{name}.wasm"));
    file.canonicalize().unwrap_or_else(|e| panic!("{}: {e}; build it: cargo xtask plugins", file.display()))
}

/// A plugin that was built; where `name` ends in `+`, as another component that does the same.
fn component(dir: &Path, name: &str) -> PathBuf {
    let Some(name) = name.strip_suffix('+') else { return built(name) };
    let mut bytes = std::fs::read(built(name)).unwrap();
    // A custom section: its length, that of its name, its name, its content.
    bytes.extend([0, 3, 1, b'a', b'b']);
    let path = dir.join(format!("{}.wasm", name.replace('/', "-")));
    std::fs::write(&path, bytes).unwrap();
    path
}

fn plugin(dir: &Path, name: &str, wasm: &str, grants: Value) -> PluginSpec {
    let grants = grants.as_object().unwrap().clone().into_iter().collect();
    PluginSpec { grants, ..PluginSpec::new(name, Source::File(component(dir, wasm))) }
}

fn set(plugins: Vec<PluginSpec>) -> SetSpec {
    SetSpec { plugins, ..SetSpec::default() }
}

/// Does what the name before the first dot says.
const OBEDIENT: &str = "hostile/obedient";

/// That one alone.
fn obedient(dir: &Path) -> SetSpec {
    set(vec![plugin(dir, "h", OBEDIENT, json!({}))])
}

fn registry(dir: &Path) -> PluginSpec {
    plugin(dir, "r", "s3-registry", json!({"object-store": ["registry"]}))
}

async fn submit(master: &Master, dir: &Path, name: &str) -> Submitted {
    let csr = request(dir, name, &[]);
    master.submit_request(name, &csr, &Peer::default()).await.unwrap()
}

fn certname(name: &str) -> Certname {
    Certname::parse(name).unwrap()
}

/// The records of a name, oldest first.
async fn records(master: &Master, name: &str) -> Vec<Record> {
    let journal = &master.parts.journal;
    // What is written in order is there once its last is.
    let set = master.plugins();
    journal.append_durable(of_host(&set, Kind::Approval, "last", "deny", String::new())).await.unwrap();
    let mut records = Vec::new();
    for entry in journal.of(name, 100).await.unwrap().into_iter().rev() {
        records.push(journal.get(&entry.id).await.unwrap().unwrap());
    }
    records
}

/// The one record of a name.
async fn only(master: &Master, name: &str) -> Record {
    let mut records = records(master, name).await;
    assert_eq!(records.len(), 1, "{records:#?}");
    let record = records.remove(0);
    assert_eq!((record.mode, record.set.as_str()), (Mode::Live, master.plugins().id()));
    for asked in &record.asked {
        let plugin = master.plugins().plugin(&asked.plugin).unwrap().plugin.digest().to_owned();
        assert_eq!((&asked.digest, asked.settings_digest.len()), (&plugin, 64));
        assert!(!asked.took.is_zero() && asked.memory_bytes > 0, "{asked:?}");
    }
    record
}

/// Verdict, reason and who, as they are in plain columns.
fn words(record: &Record) -> (&str, &str, Option<&str>) {
    (&record.verdict, &record.reason, record.by.as_deref())
}

#[tokio::test]
async fn a_request_leaves_one_record_whatever_comes_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let master = master_with(dir, obedient(dir)).await;
    let check = async |name: &str, expected: (&str, &str, Option<&str>), said: (&str, &str, Option<&str>)| {
        let signed = if expected.0 == "approve" { Submitted::Signed } else { Submitted::Pending };
        assert_eq!(submit(&master, dir, name).await, signed, "{name}");
        let record = only(&master, name).await;
        assert_eq!(words(&record), expected);
        assert_eq!((record.kind, record.occasion.as_deref()), (Kind::Approval, Some("first")));
        let [asked] = record.asked.as_slice() else { panic!("{record:?}") };
        assert_eq!((asked.said.as_str(), asked.fault.as_deref()), (said.0, said.2));
        assert!(asked.detail.contains(said.1), "{}", asked.detail);
        let csr: Csr = serde_json::from_value(record.input).unwrap();
        assert_eq!((csr.certname.as_str(), csr.occasion), (name, Occasion::First));
        record.answer
    };
    let h = Some("h");
    let answer = check("approve.a", ("approve", "approved by `h`", h), ("approve", "asked to", None)).await;
    assert_eq!(answer, Some(json!({"lifetime": 60})));
    check("deny.a", ("deny", "denied by `h`", h), ("deny", "asked to", None)).await;
    check("other.a", ("pending", "`h` keeps it waiting", h), ("pending", "unknown word", None)).await;
    check("abstain.a", ("pending", "no approver had an opinion", None), ("abstain", "", None)).await;
    let failed = ("no-decision", "`h` could not answer (unavailable)", h);
    check("failure.a", failed, ("failure", "the bucket is down", Some("unavailable"))).await;
    // What the plugin was told is there too.
    check("ask.a", ("pending", "`h` keeps it waiting", h), ("pending", "denied", None)).await;
    let calls = &only(&master, "ask.a").await.asked.remove(0).transcript.calls;
    assert_eq!((calls.len(), calls[0].function.as_str()), (1, "object-store.get"));
    assert_eq!(calls[0].arguments, json!(["registry", "ask.a", null]));
    assert!(matches!(&calls[0].answer, Err((kind, _)) if kind == "denied"));
}

// faults rows 45 and 59
#[tokio::test]
async fn a_request_whose_approver_breaks_is_kept_and_the_record_says_how() {
    let folder = tempfile::tempdir().unwrap();
    for (guest, how) in [("loop_in_decide", "timeout"), ("trap", "trap")] {
        let dir = folder.path().join(guest);
        std::fs::create_dir(&dir).unwrap();
        let master =
            master_with(&dir, set(vec![plugin(&dir, "h", &format!("hostile/{guest}"), json!({}))])).await;
        // However often it is looked at for the same reason, one record is enough.
        for _ in 0..3 {
            submit(&master, &dir, "a").await;
            master.round(None).await.unwrap();
        }
        let records = records(&master, "a").await;
        assert_eq!(records.len(), 3, "one for each key");
        assert_eq!(
            words(&records[0]),
            ("no-decision", format!("`h` gave no answer ({how})").as_str(), Some("h"))
        );
        assert_eq!(
            (records[0].asked[0].said.as_str(), records[0].asked[0].fault.as_deref()),
            ("fault", Some(how))
        );
    }
}

#[tokio::test]
async fn an_approver_may_be_told_to_deny_when_it_fails_and_two_may_be_needed() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let mut strict = plugin(dir, "strict", OBEDIENT, json!({}));
    strict.on_failure = OnFailure { approval: Some(FailedApproval::Deny), ..OnFailure::default() };
    let twin = PluginSpec { name: "twin".into(), ..registry(dir) };
    // A third component, as a quorum of three asks for; it has no opinion here.
    let settings = json!({"names": ["nobody.test"]});
    let third = PluginSpec { settings, ..plugin(dir, "third", "autosign", json!({})) };
    let quorum = |pattern: &str, require| QuorumRule { pattern: pattern.into(), require };
    let quorum = vec![quorum("approve.db-*", 2), quorum("approve.vault-*", 3)];
    let master = master_with(dir, SetSpec { quorum, ..set(vec![strict, registry(dir), twin, third]) }).await;
    for name in ["approve.db-1", "approve.vault-1"] {
        master.parts.registry.put(name, b"classes: []\n", true).await.unwrap();
    }
    assert_eq!(submit(&master, dir, "failure.a").await, Submitted::Pending);
    let record = only(&master, "failure.a").await;
    let reason = "`strict` could not answer (unavailable); its on_failure is deny";
    assert_eq!(words(&record), ("deny", reason, Some("strict")));
    assert_eq!(submit(&master, dir, "approve.db-1").await, Submitted::Signed);
    let record = only(&master, "approve.db-1").await;
    assert_eq!(words(&record), ("approve", "approved by `strict`, `r`", Some("r")));
    assert_eq!(record.asked.len(), 2);
    assert_eq!(submit(&master, dir, "approve.vault-1").await, Submitted::Pending);
    let record = only(&master, "approve.vault-1").await;
    let few = "2 of 3 approvals: `strict`, `r`, `twin` (the same component as `r`)";
    assert_eq!(words(&record), ("pending", few, None));
    // What the object was is there too.
    let [annotations, object] = record.asked[1].transcript.calls.as_slice() else { panic!("{record:?}") };
    assert_eq!(annotations.function, "call-context.annotations");
    let (name, body) = (&object.arguments[1], object.answer.clone().unwrap()["body"].clone());
    assert_eq!((name, body), (&json!("approve.vault-1"), json!("classes: []\n")));
}

#[tokio::test]
async fn what_the_host_refuses_is_recorded_and_no_plugin_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let master = master_with(dir, obedient(dir)).await;
    let csr = request(dir, "approve.a", &["subjectAltName=DNS:other.test"]);
    let refused = master.submit_request("approve.a", &csr, &Peer::default()).await;
    let Err(SubmitError::Refused(reason)) = refused else { panic!("{refused:?}") };
    let record = only(&master, "approve.a").await;
    assert_eq!(words(&record), ("deny", reason.as_str(), None));
    assert_eq!((record.input, record.asked.len()), (Value::Null, 0));
    // A name that is none is no name of a record either.
    assert!(master.submit_request("../A", &csr, &Peer::default()).await.is_err());
    assert!(records(&master, "../A").await.is_empty());
}

#[tokio::test]
async fn a_renewal_for_another_key_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let master = master_with(dir, obedient(dir)).await;
    assert_eq!(submit(&master, dir, "approve.a").await, Submitted::Signed);
    let presented = async || {
        let pem = master.certificate("approve.a").await.unwrap().unwrap();
        let certificate = Some(Arc::new(Certificate::parse_pem(pem.as_bytes()).unwrap()));
        Peer { address: Some([192, 0, 2, 1].into()), certificate }
    };
    // As a request, the approvers are asked.
    let csr = request(dir, "approve.a", &[]);
    master.submit_request("approve.a", &csr, &presented().await).await.unwrap();
    // As a renewal, none is: it may ask for no more than was approved before.
    let csr = request(dir, "approve.a", &[]);
    master.renew(&presented().await, Some(&csr)).await.unwrap();
    let csr = request(dir, "approve.a", &["subjectAltName=DNS:other.test"]);
    master.renew(&presented().await, Some(&csr)).await.unwrap_err();
    let records = records(&master, "approve.a").await;
    let said: Vec<_> =
        records.iter().map(|r| (r.verdict.as_str(), r.occasion.as_deref(), r.asked.len())).collect();
    let renewal = Some("renewal");
    let expected = [
        ("approve", Some("first"), 1),
        ("approve", renewal, 1),
        ("approve", renewal, 0),
        ("deny", renewal, 0),
    ];
    assert_eq!(said, expected);
    assert!(records[1..].iter().all(|record| record.peer.as_deref() == Some("192.0.2.1")));
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_signed() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let master = master_with(dir, obedient(dir)).await;
    master.parts.journal.close().await;
    let csr = request(dir, "approve.a", &[]);
    let failed = master.submit_request("approve.a", &csr, &Peer::default()).await.unwrap_err();
    let SubmitError::Failed(failed) = failed else { panic!("{failed}") };
    assert_eq!(failed.status, 503, "{failed}");
    assert_eq!(master.certificate("approve.a").await, Ok(None));
    let rows = master.parts.store.requests_of("approve.a").await.unwrap();
    let decision = rows[0].decision.as_ref().unwrap();
    let reason = "approved, but the journal cannot be written";
    assert_eq!((decision.verdict.as_str(), decision.reason.as_str()), ("no-decision", reason));
    assert!(master.parts.store.certificates("approve.a").await.unwrap().is_empty());
}

// faults row 59
#[tokio::test]
async fn after_a_swap_pending_requests_are_looked_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let master = master_with(dir, obedient(dir)).await;
    submit(&master, dir, "deny.a").await;
    let before = master.plugins().id().to_owned();
    let next = set(vec![plugin(dir, "h", "hostile/obedient+", json!({}))]);
    let rollout = &master.parts.rollout;
    let origin = || Origin::new("test", "");
    let staged = rollout.stage(next, origin()).await.unwrap();
    rollout.swap(staged.id(), origin()).await.unwrap();
    for _ in 0..3 {
        master.round(None).await.unwrap();
    }
    let sets: Vec<String> = records(&master, "deny.a").await.into_iter().map(|record| record.set).collect();
    assert_eq!(sets, [before.as_str(), staged.id()]);
}

async fn classify(master: &Arc<Master>, name: &str) -> Result<Value, u16> {
    let node = master.node(&certname(name), "production", &Peer::default()).await;
    node.map(|node| node["classes"].clone()).map_err(|failed| failed.status)
}

#[tokio::test]
async fn a_classification_leaves_one_record_whatever_comes_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let master = master_with(dir, obedient(dir)).await;
    let check = async |name: &str, expected: (&str, &str, Option<&str>), classes: Option<Value>| {
        assert_eq!(classify(&master, name).await.ok(), classes);
        let record = only(&master, name).await;
        assert_eq!((record.kind, words(&record)), (Kind::Classification, expected));
        let node: Node = serde_json::from_value(record.input.clone()).unwrap();
        assert_eq!(node.trusted.certname, name);
        record
    };
    let h = Some("h");
    let role = json!({"role": {"a": [true], "b": 1}});
    let record = check("n.a", ("matched", "classified by `h`", h), Some(role)).await;
    let found: NodeClassification = serde_json::from_value(record.answer.unwrap()).unwrap();
    assert_eq!((found.classes[0].0.as_str(), found.because), ("role", record.because));
    check("abstain.a", ("no-match", "no classifier knows this node", None), None).await;
    let record = check("reject.a", ("rejected", "rejected by `h`", h), None).await;
    assert_eq!(record.because, ["not-found: asked to"]);
}

async fn known(master: &Master, name: &str, age: i64) {
    let last = NodeClassification {
        environment: None,
        classes: vec![("old".into(), Map::new())],
        parameters: Map::new(),
        because: vec![],
        by: "r".into(),
    };
    let last = serde_json::to_value(last).unwrap();
    let made =
        Compilation { environment: "production", facts: None, classification: Some(&last), exports: &[] };
    let at = OffsetDateTime::now_utc().unix_timestamp() - age;
    master.parts.store.save_compilation(name, made, at).await.unwrap();
}

// faults row 35
#[tokio::test]
async fn a_node_is_served_as_last_time_while_it_is_not_too_long_ago() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let master = master_with(dir, set(vec![registry(dir)])).await;
    known(&master, "young.a", 10).await;
    known(&master, "old.a", 4000).await;
    std::fs::remove_dir_all(dir.join("registry")).unwrap();
    assert_eq!(classify(&master, "young.a").await, Ok(json!({"old": {}})));
    assert_eq!(classify(&master, "old.a").await, Err(500));
    let record = only(&master, "young.a").await;
    let (verdict, reason, by) = words(&record);
    assert_eq!((verdict, by), ("last-good", Some("r")));
    assert!(reason.starts_with("`r` could not answer (unavailable); classified as 1"), "{reason}");
    assert!(record.because[0].contains("is gone"), "{:?}", record.because);
    assert_eq!(record.answer.unwrap()["classes"], json!([["old", {}]]));
    let record = only(&master, "old.a").await;
    let (verdict, reason, _) = words(&record);
    assert_eq!(verdict, "failed");
    assert!(reason.ends_with("the last good classification is older than 3600 s"), "{reason}");
}

#[tokio::test]
async fn a_classifiers_on_failure_says_what_its_fault_comes_to() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let check = async |dir: &Path, on_failure: OnFailure, age, expected: &str| {
        std::fs::create_dir(dir).unwrap();
        let plugin = PluginSpec { on_failure, ..plugin(dir, "h", "hostile/half_json", json!({})) };
        let master = master_with(dir, set(vec![plugin])).await;
        known(&master, "a", age).await;
        let _ = classify(&master, "a").await;
        let record = only(&master, "a").await;
        assert_eq!(record.verdict, expected, "{on_failure:?} {age}");
        assert!(record.reason.starts_with("`h` gave no answer (invalid-answer)"), "{}", record.reason);
    };
    let last_good = |max_age| OnFailure {
        classification: Some(FailedClassification::LastGood),
        max_age,
        ..OnFailure::default()
    };
    let fail = OnFailure { classification: Some(FailedClassification::Fail), ..OnFailure::default() };
    check(&dir.join("1"), OnFailure::default(), 10, "failed").await;
    check(&dir.join("2"), last_good(None), 10, "last-good").await;
    check(&dir.join("3"), last_good(Some(5)), 10, "failed").await;
    check(&dir.join("4"), last_good(Some(9000)), 4000, "last-good").await;
    check(&dir.join("5"), fail, 10, "failed").await;
}

#[tokio::test]
async fn classifiers_are_united_and_contradictions_are_told_without_values() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let plugins = vec![registry(dir), plugin(dir, "h", OBEDIENT, json!({}))];
    let master = master_with(dir, SetSpec { merge: Merge::Union, ..set(plugins) }).await;
    let put = async |name: &str, body: &str| {
        master.parts.registry.put(name, body.as_bytes(), true).await.unwrap();
    };
    put("both.a", "classes: {ntp: {}}\n").await;
    put("conflict.a", "classes: {role: {a: hunter2}}\n").await;
    let united = json!({"ntp": {}, "role": {"a": [true], "b": 1}});
    assert_eq!(classify(&master, "both.a").await, Ok(united));
    assert_eq!(words(&only(&master, "both.a").await), ("matched", "classified by `r, h`", Some("r, h")));
    assert_eq!(classify(&master, "conflict.a").await, Err(500));
    let record = only(&master, "conflict.a").await;
    assert_eq!(words(&record), ("failed", "classifiers contradict each other", None));
    assert_eq!(record.asked.len(), 2);
    assert!(record.because[0].contains("`role` different parameters: `a`, `b`"), "{:?}", record.because);
}

fn catalog(name: &str, facts: Value) -> CatalogRequest {
    CatalogRequest {
        certname: certname(name),
        environment: "production".into(),
        facts: Some(facts),
        request_id: "1".into(),
    }
}

#[tokio::test]
async fn a_catalog_leaves_a_record_of_what_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let plugins =
        vec![registry(dir), plugin(dir, "b", "base", json!({})), plugin(dir, "h", OBEDIENT, json!({}))];
    let master = master_with(dir, set(plugins)).await;
    let key = "login_allowed: {key: AAAAB3NzaC1yc2EAAAADAQABAAAA}";
    for (name, classes) in [("good.a", key), ("bad.a", "hostile: {}"), ("none.a", "nowhere: {}")] {
        let body = format!("classes:\n  {classes}\n");
        master.parts.registry.put(name, body.as_bytes(), true).await.unwrap();
        let made = master.compile(catalog(name, json!({"os": 1})), &Peer::default()).await;
        assert_eq!(made.is_ok(), name == "good.a", "{made:?}");
    }
    let both = async |name| {
        let records = records(&master, name).await;
        assert_eq!(
            records.iter().map(|r| r.kind).collect::<Vec<_>>(),
            [Kind::Classification, Kind::Provision]
        );
        records.into_iter().next_back().unwrap()
    };
    let good = both("good.a").await;
    assert_eq!(words(&good), ("catalog", "compiled", None));
    let answer = good.answer.unwrap();
    let digests = answer["resources"].as_object().unwrap();
    assert!(digests.keys().any(|name| name.starts_with("Ssh_authorized_key[")), "{digests:?}");
    assert!(digests.values().all(|digest| digest.as_str().unwrap().len() == 64));
    assert!(answer["edges"].as_u64().unwrap() > 0);
    let asked = &good.asked[0];
    assert_eq!((asked.class.as_deref(), asked.said.as_str()), (Some("login_allowed"), "provided"));
    let input: ProvisionInput = serde_json::from_value(good.input).unwrap();
    assert_eq!((input.certname.as_str(), input.classes.len()), ("good.a", 1));
    let bad = both("bad.a").await;
    assert_eq!(words(&bad), ("failed", "the classes make no catalog", None));
    assert_eq!((bad.asked.len(), bad.answer), (1, None));
    assert!(bad.because[0].contains("other"), "{:?}", bad.because);
    let none = both("none.a").await;
    assert_eq!((words(&none).0, none.asked.len()), ("failed", 0));
}

#[tokio::test]
async fn no_secret_is_in_a_file_of_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let mut talkative = plugin(dir, "h", OBEDIENT, json!({}));
    talkative.grants = Default::default();
    let both = SetSpec { merge: Merge::Union, ..set(vec![talkative, registry(dir)]) };
    let master = master_with(dir, both).await;
    let body = b"classes: {hostile: {token: planted-parameter}}\n";
    master.parts.registry.put("secret.a", body, true).await.unwrap();
    let facts = json!({"os": {"family": "planted-fact"}});
    let _ = master.compile(catalog("secret.a", facts.clone()), &Peer::default()).await;
    // It repeats all facts in its own words.
    let _ = master.compile(catalog("n.a", facts), &Peer::default()).await;
    let csr = with_password(dir, "context.a", "planted-password");
    master.submit_request("context.a", &csr, &Peer::default()).await.unwrap();
    let input = records(&master, "context.a").await.remove(0).input.to_string();
    assert!(input.contains("planted-password"), "it is there for whoever has the key");
    let classified = records(&master, "n.a").await;
    let facts = &classified[0].asked[0].transcript.facts;
    assert_eq!(facts.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), ["*", "os.family"]);
    master.parts.journal.close().await;
    for file in ["journal.db", "journal.db-wal"] {
        let Ok(bytes) = std::fs::read(dir.join(file)) else { continue };
        let hidden = !bytes.windows(8).any(|window| window == b"planted-");
        assert!(hidden, "{file} holds a secret in clear");
    }
    let bytes = std::fs::read(dir.join("journal.db")).unwrap();
    assert!(bytes.windows(9).any(|window| window == b"context.a"), "names are in clear");
}

fn with_password(dir: &Path, name: &str, password: &str) -> Vec<u8> {
    let config = format!(
        "[req]\nprompt=no\ndistinguished_name=dn\nattributes=a\n[dn]\nCN={name}\n[a]\nchallengePassword={password}\n"
    );
    std::fs::write(dir.join("req.cnf"), config).unwrap();
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-batch"]);
    let made = openssl.args(["-keyout", "key.pem", "-config", "req.cnf"]).current_dir(dir).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    made.stdout
}

// faults row 63
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_is_of_one_set_while_sets_are_swapped() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    // All of it is asked for every decision, and differs in the other set.
    let of = |more: &str| {
        let mut registry = registry(dir);
        registry.source = Source::File(component(dir, &format!("s3-registry{more}")));
        let plugins = vec![plugin(dir, "h", &format!("{OBEDIENT}{more}"), json!({})), registry];
        SetSpec { merge: Merge::Union, ..set(plugins) }
    };
    let (first, second) = (of(""), of("+"));
    let master = master_with(dir, first).await;
    let origin = || Origin::new("test", "");
    let rollout = &master.parts.rollout;
    let ids =
        [master.plugins().id().to_owned(), rollout.stage(second, origin()).await.unwrap().id().to_owned()];
    let asking = async |from: usize| {
        for n in 0..50 {
            let _ = classify(&master, &format!("n.a{from}-{n}")).await;
        }
    };
    let swapping = async {
        for n in 1..=20 {
            rollout.swap(&ids[n % 2], origin()).await.unwrap();
        }
    };
    tokio::join!(asking(0), asking(1), swapping);
    let mut seen = BTreeSet::new();
    for from in 0..2 {
        for n in 0..50 {
            let [record] = records(&master, &format!("n.a{from}-{n}")).await.try_into().unwrap();
            let set = rollout.set(&record.set).unwrap();
            assert_eq!(record.asked.len(), 2);
            for asked in &record.asked {
                assert_eq!(asked.digest, set.plugin(&asked.plugin).unwrap().plugin.digest());
            }
            seen.insert(record.set);
        }
    }
    assert_eq!(seen.len(), 2, "both sets were asked");
}

/// What the journal costs a catalog, in time of the processor: `cargo test -p bunraku-master --
/// --ignored --nocapture journal_costs`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn journal_costs() {
    const CATALOGS: u32 = 500;
    let run = async |journalled: bool| {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let hadoop = plugin(dir, "hadoop", "hadoop", json!({"stored-config": true}));
        let plugins = vec![registry(dir), hadoop, plugin(dir, "b", "base", json!({}))];
        let master = master_with(dir, set(plugins)).await;
        let body = b"classes: {hadoop::worker: {}}\n";
        master.parts.registry.put("w.a", body, true).await.unwrap();
        if !journalled {
            master.parts.journal.close().await;
        }
        let facts = json!({"os": {"family": "Debian", "name": "Ubuntu"}, "networking": {"ip": "192.0.2.1"}});
        let made = master.compile(catalog("w.a", facts.clone()), &Peer::default()).await.unwrap();
        let began = processor_time();
        for _ in 0..CATALOGS {
            master.compile(catalog("w.a", facts.clone()), &Peer::default()).await.unwrap();
        }
        if journalled {
            records(&master, "w.a").await;
        }
        ((processor_time() - began) / CATALOGS, made.resources, master.parts.journal.stats())
    };
    for journalled in [false, true, false, true] {
        let (each, resources, stats) = run(journalled).await;
        println!(
            "journalled: {journalled}: {each:?} of processor for a catalog of {resources} resources, {stats:?}"
        );
    }
}

/// What this process had of all processors.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let ticks: Vec<u64> =
        after_name.split_whitespace().skip(11).take(2).map(|n| n.parse().unwrap()).collect();
    // Linux tells in hundredths of a second.
    Duration::from_millis(10 * (ticks[0] + ticks[1]))
}
