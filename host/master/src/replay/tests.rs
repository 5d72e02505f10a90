//! Decisions made by real plugins, and made again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use journal::{Asked, HostCall, Settings, Transcript};
use rollout::{Means, Origin, PluginSpec, SetSpec, Source};
use sandbox::{Csr, Host, HostError, Node, Occasion, ResourceQuery, Sandbox, Trusted};
use serde_json::{Map, json};

use super::again::unsteady;
use super::replayed::Replayed;
use super::*;
use crate::chains::{self, ProvisionInput};
use crate::record;
use crate::recorded::{ANNOTATIONS, EXPORTED_RESOURCES, GET};
use crate::told::{Asking, Told};

/// The file of a component that `cargo xtask plugins` built.
pub(crate) fn component(name: &str) -> PathBuf {
    let built = std::env::var_os("BUNRAKU_PLUGINS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins"), PathBuf::from);
    let file = built.join(format!("{name}.wasm"));
    file.canonicalize().unwrap_or_else(|e| panic!("{}: {e}; build it: cargo xtask plugins", file.display()))
}

/// A plugin with its settings; it may read the registry, and stored configuration.
pub(crate) fn plugin(name: &str, settings: Value) -> PluginSpec {
    let mut spec = PluginSpec::new(name, Source::File(component(name)));
    spec.settings = settings;
    spec.grants =
        [("object-store".to_owned(), json!(["registry"])), ("stored-config".to_owned(), json!(true))].into();
    spec
}

pub(crate) fn spec(plugins: Vec<PluginSpec>) -> SetSpec {
    SetSpec { plugins, ..SetSpec::default() }
}

/// A registry that knows `known.*`, a journal, and what runs plugins.
struct House {
    folder: tempfile::TempDir,
    means: Means,
    decider: Arc<Decider>,
    journal: Journal,
}

impl House {
    async fn new() -> House {
        let folder = tempfile::tempdir().unwrap();
        // Enough time for a busy machine: no call here is to run out of it.
        let limits = sandbox::Settings { deadline: Duration::from_secs(10), ..sandbox::Settings::default() };
        let stores = ["registry".to_owned()].into();
        let means = Means { stores, ..Means::new(Sandbox::new(limits).unwrap()) };
        let url = format!("dir:{}", folder.path().join("registry").display()).parse().unwrap();
        let registry = registry::Registry::open(&registry::Settings::new(url)).await.unwrap();
        let store = store::Store::open(&folder.path().join("db")).await.unwrap();
        let decider = Decider::new(Arc::new(registry), crate::Stores::new(), Some(Arc::new(store)));
        let journal = Journal::open(&folder.path().join("journal.db"), Settings::default()).await.unwrap();
        House { folder, means, decider: Arc::new(decider), journal }
    }

    fn registry(&self) -> &registry::Registry {
        &self.decider.stores[crate::REGISTRY]
    }

    async fn register(&self, name: &str, definition: &str) {
        self.registry().put(name, definition.as_bytes(), false).await.unwrap();
    }

    async fn set(&self, plugins: Vec<PluginSpec>) -> Arc<PluginSet> {
        let set = rollout::stage(&self.means, &spec(plugins), Origin::new("test", "")).await;
        Arc::new(set.unwrap_or_else(|problems| panic!("{problems:?}")))
    }

    /// A request, a classification and a catalog, as a master decides them.
    async fn decide(&self, set: &PluginSet, name: &str) -> [Record; 3] {
        let facts = Arc::new(json!({"os": {"family": "RedHat"}}));
        let asking = Asking::about(Arc::new(Value::Null));
        let mut approved = chains::approval(set, &asking, &csr(name), &*self.decider).await;
        let approval = record::of_approval(set, &asking, &csr(name), &mut approved, Duration::ZERO);
        let (asking, node) = (Asking::about(facts.clone()), node(name));
        let (said, asked) = chains::classification(set, &asking, &node, &*self.decider).await;
        let classification = record::of_classification(set, &asking, &node, &said, asked, Duration::ZERO);
        let classes = said.map(|found| found.classes).unwrap_or_default();
        let input = ProvisionInput {
            certname: name.to_owned(),
            environment: "production".to_owned(),
            trusted: node.trusted,
            classes,
            parameters: Map::new(),
        };
        let asking = Asking::about(facts);
        let (said, asked) = chains::provision(set, &asking, &input, &*self.decider).await;
        let provision = record::of_provision(set, &asking, &input, &said, asked, Duration::ZERO);
        [approval, classification, provision]
    }

    async fn decide_and_write(&self, set: &PluginSet, name: &str) {
        for record in self.decide(set, name).await {
            self.journal.append_durable(record).await.unwrap();
        }
    }

    async fn replay(&self, set: &Arc<PluginSet>, options: ReplayOptions) -> Replay {
        replay(&self.journal, set, options, &mut |_| {}).await.unwrap()
    }
}

fn csr(name: &str) -> Csr {
    Csr {
        certname: name.to_owned(),
        fingerprint: String::new(),
        der: vec![],
        key_algorithm: "ec-p256".to_owned(),
        key_bits: 256,
        alt_names: vec![],
        extensions: vec![],
        attributes: vec![],
        occasion: Occasion::First,
        peer: None,
    }
}

fn node(name: &str) -> Node {
    let trusted =
        Trusted { certname: name.to_owned(), authenticated: true, extensions: vec![], external: Map::new() };
    Node { trusted, requested_environment: None }
}

fn changes(replay: &Replay) -> Vec<(&str, &str)> {
    replay.flips.iter().map(|flip| (flip.certname.as_str(), flip.change.as_str())).collect()
}

const WORKER: &str = "classes: {hadoop::worker: {distribution: apache3}}\n";

fn usual() -> Vec<PluginSpec> {
    vec![plugin("s3-registry", json!({})), plugin("base", json!({})), plugin("hadoop", json!({}))]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_very_same_plugins_flip_nothing() {
    // faults row 52
    let house = House::new().await;
    house.register("known.test", WORKER).await;
    let set = house.set(usual()).await;
    for name in ["known.test", "stranger.test", "known.test"] {
        house.decide_and_write(&set, name).await;
    }
    // What the registry says today changes nothing of what it said then.
    house.registry().delete("known.test").await.unwrap();
    house.register("stranger.test", WORKER).await;
    let mut told = Vec::new();
    let replay =
        replay(&house.journal, &set, ReplayOptions { at_once: 4, ..ReplayOptions::default() }, &mut |p| {
            told.push((p.done, p.total));
        })
        .await
        .unwrap();
    assert_eq!((replay.asked, replay.same, changes(&replay)), (9, 9, vec![]), "{:?}", replay.cannot);
    assert!(replay.cannot.is_empty() && replay.nodes.is_empty() && replay.unsteady.is_empty());
    assert_eq!(told.last(), Some(&(9, 9)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_policy_flips_whom_it_changes_and_says_how() {
    let house = House::new().await;
    house.register("known.test", WORKER).await;
    let live = house.set(usual()).await;
    for name in ["known.test", "stranger.test", "web1.lab.test"] {
        house.decide_and_write(&live, name).await;
    }
    let mut plugins = usual();
    plugins.insert(0, plugin("autosign", json!({"names": ["*.lab.test"]})));
    plugins[1].settings = json!({"fallback": true});
    plugins.pop();
    let candidate = house.set(plugins).await;
    let replay = house.replay(&candidate, ReplayOptions::default()).await;
    assert_eq!(
        changes(&replay),
        [
            ("web1.lab.test", "pending → approve"),
            ("stranger.test", "rejected → no-match"),
            ("web1.lab.test", "rejected → no-match"),
            ("known.test", "catalog → failed"),
        ]
    );
    assert_eq!((replay.asked, replay.same), (9, 5), "{:?}", replay.cannot);
    let nodes: Vec<_> = replay.nodes.iter().map(|(name, flips)| (name.as_str(), flips.len())).collect();
    assert_eq!(nodes, [("known.test", 1), ("stranger.test", 1), ("web1.lab.test", 2)]);
    assert!(replay.unsteady.is_empty());
    let approvals = ReplayOptions { kinds: vec![Kind::Approval], ..ReplayOptions::default() };
    assert_eq!(house.replay(&candidate, approvals).await.asked, 3);
    let since = Some(OffsetDateTime::now_utc() + Duration::from_secs(1));
    assert_eq!(house.replay(&candidate, ReplayOptions { since, ..ReplayOptions::default() }).await.asked, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_asked_is_asked_live_or_not_replayed() {
    let house = House::new().await;
    house.register("known.test", WORKER).await;
    let live = house.set(vec![plugin("autosign", json!({"names": ["known.test"]}))]).await;
    for name in ["known.test", "stranger.test"] {
        let [approval, ..] = house.decide(&live, name).await;
        house.journal.append_durable(approval).await.unwrap();
    }
    let candidate = house.set(vec![plugin("s3-registry", json!({}))]).await;
    let offline = house.replay(&candidate, ReplayOptions::default()).await;
    assert_eq!((offline.asked, offline.same, offline.cannot.len()), (2, 0, 2));
    let reason = "it asks for what nobody asked then: object-store.get[\"registry\",\"known.test\",null]";
    assert_eq!(offline.cannot[0].reason, reason);
    let options = ReplayOptions { live: Some(house.decider.clone()), ..ReplayOptions::default() };
    let online = house.replay(&candidate, options).await;
    assert_eq!((online.asked, online.same, online.cannot.len()), (2, 2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_or_was_not_kept_is_told_and_the_rest_goes_on() {
    let house = House::new().await;
    house.register("known.test", WORKER).await;
    let set = house.set(usual()).await;
    let [mut cut, classification, _] = house.decide(&set, "known.test").await;
    cut.asked[0].transcript = Transcript { truncated: true, ..Transcript::default() };
    for record in [cut, classification] {
        house.journal.append_durable(record).await.unwrap();
    }
    house.journal.close().await;
    let path = house.folder.path().join("journal.db");
    let journal = Journal::open_read_only(&path).await.unwrap();
    let replayed = replay(&journal, &set, ReplayOptions::default(), &mut |_| {}).await.unwrap();
    assert_eq!((replayed.asked, replayed.same, replayed.cannot.len()), (2, 1, 1));
    assert!(replayed.cannot[0].reason.ends_with("(what was told then is more than the journal keeps)"));
    journal.close().await;

    std::fs::remove_file(path.with_extension("key")).unwrap();
    let sealed = Journal::open_read_only(&path).await.unwrap();
    let replayed = replay(&sealed, &set, ReplayOptions::default(), &mut |_| {}).await.unwrap();
    let reasons: Vec<_> = replayed.cannot.iter().map(|cannot| cannot.reason.as_str()).collect();
    assert_eq!(reasons, ["it is sealed with another key"; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_says_otherwise_though_nothing_differs_is_called_unsteady() {
    // faults row 52: denied then, approved when it is asked again.
    let house = House::new().await;
    house.register("known.test", WORKER).await;
    let set = house.set(usual()).await;
    let [mut denied, ..] = house.decide(&set, "known.test").await;
    denied.verdict = "deny".into();
    denied.asked[0].said = "deny".into();
    let mut late = denied.clone();
    (late.id, late.verdict) = ("late".into(), "no-decision".into());
    (late.asked[0].said, late.asked[0].fault) = ("fault".into(), Some("timeout".into()));
    for record in [denied, late] {
        house.journal.append_durable(record).await.unwrap();
    }
    let replayed = house.replay(&set, ReplayOptions::default()).await;
    assert_eq!(changes(&replayed), [("known.test", "deny → approve")]);
    assert_eq!(replayed.unsteady, BTreeMap::from([("s3-registry".to_owned(), 1)]));
    let said = replayed.flips[0].detail.last().unwrap();
    assert_eq!(said, "s3-registry is the same, was told the same, and says otherwise");
    assert_eq!(replayed.cannot[0].reason, "the plugin s3-registry ran out of time then");
    // Another component of that name may well say otherwise.
    let [was, ..] = house.decide(&set, "known.test").await;
    let mut now = was.clone();
    now.asked[0].said = "deny".into();
    assert_eq!(unsteady(&was, &now).as_deref(), Some("s3-registry"));
    now.asked[0].digest = "another".into();
    assert_eq!(unsteady(&was, &now), None);
}

fn told(function: &str, arguments: Value, answer: Result<Value, (&str, &str)>) -> HostCall {
    let answer = answer.map_err(|(kind, text)| (kind.to_owned(), text.to_owned()));
    HostCall { function: function.to_owned(), arguments, answer }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_come_in_their_order_and_from_nowhere_else() {
    let house = House::new().await;
    let set = house.set(usual()).await;
    let [_, mut record, _] = house.decide(&set, "known.test").await;
    let object = |version: &str| {
        Ok(
            json!({"info": {"key": "a", "size": 1, "etag": version, "modified": null, "content_type": null}, "body": "x"}),
        )
    };
    let get = |key: &str, answer| told(GET, json!(["registry", key, null]), answer);
    record.asked[0].transcript = Transcript {
        facts: vec![("os".into(), Some(json!({"family": "RedHat"}))), ("gone".into(), None)],
        calls: vec![
            told(ANNOTATIONS, Value::Null, Ok(json!([["object-store.registry", "dir:/r"]]))),
            get("a", object("1")),
            get("b", Err(("unavailable", "down"))),
            get("a", object("2")),
            told(
                EXPORTED_RESOURCES,
                json!([query(), null]),
                Err(("denied", "stored configuration is not granted to plugin `s3-registry`")),
            ),
        ],
        truncated: false,
    };
    let other = Asked {
        plugin: "other".into(),
        transcript: Transcript {
            facts: vec![("site".into(), Some(json!(1)))],
            calls: vec![
                get("c", object("3")),
                get("d", Err(("not-found", ""))),
                get("e", Err(("limit", "too much"))),
            ],
            truncated: false,
        },
        ..record.asked[0].clone()
    };
    record.asked.push(other);
    let record = Arc::new(record);
    let live = set.plugin("s3-registry").unwrap();
    let again = Replayed::new(&record, live, None, None);
    let version = |object: sandbox::Object| object.info.etag.unwrap();
    for expected in ["1", "2", "2"] {
        assert_eq!(again.get("registry", "a", None).await.map(version).unwrap(), expected);
    }
    assert_eq!(again.get("registry", "b", None).await, Err(HostError::Unavailable("down".into())));
    assert_eq!(again.get("registry", "c", None).await.map(version).unwrap(), "3");
    assert_eq!(again.get("registry", "d", None).await, Err(HostError::NotFound));
    assert_eq!(again.fact("os"), Some(json!({"family": "RedHat"})));
    assert_eq!(again.fact("os.family"), Some(json!("RedHat")));
    assert_eq!((again.fact("gone"), again.fact("gone.too")), (None, None));
    assert_eq!(again.fact("site"), Some(json!(1)));
    assert_eq!(again.annotations(), [("object-store.registry".to_owned(), "dir:/r".to_owned())]);
    assert_eq!(again.missed(), [""; 0]);
    // What another call was refused for its own sake says nothing about this one.
    assert!(matches!(again.get("registry", "e", None).await, Err(HostError::Unavailable(_))));
    assert_eq!((again.fact("kernel"), again.facts()), (None, json!({})));
    // It was refused for want of a grant that it has now: nobody knows what it would have been told.
    assert!(matches!(again.exported_resources(&query(), None).await, Err(HostError::Unavailable(_))));
    // A store that is not granted stays shut, whatever the journal knows.
    assert!(matches!(again.get("other", "a", None).await, Err(HostError::Denied(_))));
    let missed = again.missed();
    assert_eq!(missed[..3], ["object-store.get[\"registry\",\"e\",null]", "the fact kernel", "all facts"]);
    assert!(missed[3].starts_with(EXPORTED_RESOURCES) && missed.len() == 4, "{missed:?}");
}

fn query() -> ResourceQuery {
    ResourceQuery { resource_type: "X".into(), title: None, tags: vec![], environment: None }
}
