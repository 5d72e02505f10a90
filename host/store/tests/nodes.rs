//! Facts, exported resources and reports.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Instant;

use bunraku_store::{Compilation, ExportCursor, ExportQuery, ExportRow, REPORTS_PER_NODE, Store};
use serde_json::{Value, json};
use tempfile::TempDir;

const NOW: i64 = 1_700_000_000;

async fn store() -> (TempDir, Store) {
    let folder = TempDir::new().unwrap();
    let store = Store::open(&folder.path().join("state.db")).await.unwrap();
    (folder, store)
}

fn export(title: &str, tags: &[&str], environment: &str) -> ExportRow {
    ExportRow {
        resource_type: "Host".to_owned(),
        title: title.to_owned(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        environment: environment.to_owned(),
        parameters: json!({"ip": "192.0.2.7", "aliases": ["a", "b"]}),
    }
}

async fn save(
    store: &Store,
    certname: &str,
    environment: &str,
    facts: Option<&Value>,
    exports: &[ExportRow],
    at: i64,
) {
    let made = Compilation { environment, facts, classification: None, exports };
    store.save_compilation(certname, made, at).await.unwrap();
}

fn hosts() -> ExportQuery {
    ExportQuery { resource_type: "Host".to_owned(), ..ExportQuery::default() }
}

async fn titles(store: &Store, query: &ExportQuery) -> Vec<String> {
    let found = store.exported(query, None, 100).await.unwrap();
    found.into_iter().map(|(exporter, row)| format!("{} by {exporter}", row.title)).collect()
}

/// How much was ever written, as far as the log tells.
fn written(folder: &TempDir) -> u64 {
    std::fs::metadata(folder.path().join("state.db-wal")).unwrap().len()
}

#[tokio::test]
async fn a_compilation_replaces_the_one_before() {
    let (_folder, store) = store().await;
    let exports = [export("a", &["x"], "production"), export("b", &[], "production")];
    save(&store, "n1", "production", Some(&json!({"v": 1})), &exports, NOW).await;
    save(&store, "n2", "production", None, &[export("b", &[], "production")], NOW).await;
    assert_eq!(titles(&store, &hosts()).await, ["a by n1", "b by n1", "b by n2"]);
    assert_eq!(store.exported(&hosts(), None, 1).await.unwrap(), [("n1".to_owned(), exports[0].clone())]);
    save(&store, "n1", "production", None, &exports[1..], NOW).await;
    assert_eq!(titles(&store, &hosts()).await, ["b by n1", "b by n2"]);
    assert_eq!(store.facts("n1").await.unwrap(), Some(json!({"v": 1})), "no facts sent, none lost");
    assert_eq!(store.facts("n2").await.unwrap(), None);
    store.save_facts("n1", &json!({"v": 2}), NOW).await.unwrap();
    assert_eq!(store.facts("n1").await.unwrap(), Some(json!({"v": 2})));
    assert_eq!(titles(&store, &hosts()).await, ["b by n1", "b by n2"]);
}

#[tokio::test]
async fn what_did_not_change_is_not_written() {
    let (folder, store) = store().await;
    let (facts, exports) = (json!({"v": 1}), [export("a", &[], "production")]);
    save(&store, "n1", "production", Some(&facts), &exports, NOW).await;
    let before = written(&folder);
    for at in [NOW, NOW + 100, NOW + 299] {
        save(&store, "n1", "production", Some(&facts), &exports, at).await;
        save(&store, "n1", "production", None, &exports, at).await;
        store.save_facts("n1", &facts, at).await.unwrap();
    }
    assert_eq!(written(&folder), before);
    assert_eq!(store.last_seen("n1").await.unwrap(), Some(NOW));
    save(&store, "n1", "production", Some(&facts), &exports, NOW + 300).await;
    assert_eq!(store.last_seen("n1").await.unwrap(), Some(NOW + 300));
    assert!(written(&folder) > before);
    assert_eq!(store.last_seen("n2").await.unwrap(), None);
    // Each of the three alone is a change.
    let before = written(&folder);
    save(&store, "n1", "testing", Some(&facts), &exports, NOW + 301).await;
    let environment = written(&folder);
    assert!(environment > before);
    save(&store, "n1", "testing", Some(&json!({"v": 2})), &exports, NOW + 302).await;
    let changed = written(&folder);
    assert!(changed > environment);
    save(&store, "n1", "testing", None, &[], NOW + 303).await;
    assert!(written(&folder) > changed);
    assert_eq!(titles(&store, &hosts()).await, [""; 0]);
}

#[tokio::test]
async fn the_last_good_classification_keeps_its_age() {
    let (folder, store) = store().await;
    let keep = |classification: Option<Value>, at: i64| {
        let store = &store;
        async move {
            let classification = classification.as_ref();
            let made = Compilation { environment: "production", facts: None, classification, exports: &[] };
            store.save_compilation("n1", made, at).await.unwrap();
            store.classification("n1").await.unwrap()
        }
    };
    assert_eq!(keep(None, NOW).await, None);
    let (worker, master) = (json!({"classes": ["worker"]}), json!({"classes": ["master"]}));
    assert_eq!(keep(Some(worker.clone()), NOW).await, Some((worker.clone(), NOW)));
    // Not asked again, or served from here: it grows older.
    assert_eq!(keep(None, NOW + 1000).await, Some((worker.clone(), NOW)));
    let before = written(&folder);
    // Confirmed a moment ago: not worth a write.
    assert_eq!(keep(Some(worker.clone()), NOW + 299).await, Some((worker.clone(), NOW)));
    assert_eq!(written(&folder), before);
    assert_eq!(keep(Some(worker.clone()), NOW + 300).await, Some((worker, NOW + 300)));
    assert_eq!(keep(Some(master.clone()), NOW + 301).await, Some((master, NOW + 301)));
    store.retire("n1").await.unwrap();
    assert_eq!(store.classification("n1").await.unwrap(), None);
}

#[tokio::test]
async fn a_collector_gets_what_it_asked_for() {
    let (_folder, store) = store().await;
    let exports = [
        export("a", &["web", "web_1"], "production"),
        export("b", &["web", "db::main"], "production"),
        export("c", &["webx1", "we\"b"], "testing"),
        ExportRow { resource_type: "File".to_owned(), ..export("a", &["web"], "production") },
    ];
    save(&store, "n1", "production", None, &exports, NOW).await;
    async fn check(store: &Store, query: ExportQuery, expected: &[&str]) {
        let expected: Vec<_> = expected.iter().map(|title| format!("{title} by n1")).collect();
        assert_eq!(titles(store, &query).await, expected, "{query:?}");
    }
    let tagged =
        |tags: &[&str]| ExportQuery { tags: tags.iter().map(|tag| (*tag).to_owned()).collect(), ..hosts() };
    check(&store, hosts(), &["a", "b", "c"]).await;
    check(&store, ExportQuery { title: Some("b".to_owned()), ..hosts() }, &["b"]).await;
    check(&store, ExportQuery { title: Some("b' OR '1'='1".to_owned()), ..hosts() }, &[]).await;
    check(&store, ExportQuery { environment: Some("testing".to_owned()), ..hosts() }, &["c"]).await;
    check(&store, ExportQuery { resource_type: "User".to_owned(), ..hosts() }, &[]).await;
    check(&store, tagged(&["web"]), &["a", "b"]).await;
    check(&store, tagged(&["WEB"]), &["a", "b"]).await;
    check(&store, tagged(&["web", "db::main"]), &["b"]).await;
    check(&store, tagged(&["web_1"]), &["a"]).await;
    check(&store, tagged(&["we%"]), &[]).await;
    check(&store, tagged(&["we\"b"]), &["c"]).await;
    check(&store, tagged(&["eb"]), &[]).await;
}

#[tokio::test]
async fn what_is_exported_comes_back_to_the_letter() {
    let (_folder, store) = store().await;
    let parameters = json!({
        "numbers": [u64::MAX, i64::MIN, 0.1, 1.0, 1e300, -0.0],
        "text": "ü \u{1} \u{1f} \" \\ \n 😀 \u{2028}",
        "null": null, "empty": {}, "deep": [[[{"a": [true, false]}]]],
    });
    let row = ExportRow {
        title: "a \u{1f}\n\"b\" 😀".to_owned(),
        parameters,
        ..export("", &["ü\"\\"], "production")
    };
    save(&store, "n1", "production", None, std::slice::from_ref(&row), NOW).await;
    let found = store.exported(&hosts(), None, 9).await.unwrap();
    assert_eq!(found, [("n1".to_owned(), row.clone())]);
    assert_eq!(found[0].1.parameters.to_string(), row.parameters.to_string());
}

#[tokio::test]
async fn ten_thousand_exported_resources_are_collected() {
    let (_folder, store) = store().await;
    for node in 0..100 {
        let exports: Vec<_> =
            (0..100).map(|n| export(&format!("host{n:03}"), &["class", "hadoop"], "production")).collect();
        save(&store, &format!("node{node:02}"), "production", None, &exports, NOW).await;
    }
    let query = ExportQuery { tags: vec!["hadoop".to_owned()], ..hosts() };
    let start = Instant::now();
    let all = store.exported(&query, None, 20_000).await.unwrap();
    println!("10,000 exported resources in one page: {:?}", start.elapsed());
    let (mut paged, mut after) = (Vec::new(), None);
    let start = Instant::now();
    loop {
        let page = store.exported(&query, after.as_ref(), 1000).await.unwrap();
        let Some((exporter, last)) = page.last() else { break };
        after = Some(ExportCursor { title: last.title.clone(), exported_by: exporter.clone() });
        paged.extend(page);
    }
    println!("10,000 exported resources in ten pages: {:?}", start.elapsed());
    assert_eq!(all.len(), 10_000);
    assert!(all.is_sorted_by_key(|(exporter, row)| (row.title.clone(), exporter.clone())));
    assert_eq!(paged, all);
}

#[tokio::test]
async fn nodes_are_found_by_their_facts() {
    let (_folder, store) = store().await;
    for n in 0..150 {
        let facts = json!({"os": {"family": if n % 2 == 0 { "Debian" } else { "RedHat" }},
                           "processors": {"count": n % 3, "models": ["x", "y"]}, "ip.eth0": n});
        store.save_facts(&format!("node{n:03}"), &facts, NOW).await.unwrap();
    }
    save(&store, "without-facts", "production", None, &[], NOW).await;
    let equals = |pairs: &[(&str, Value)]| -> Vec<(String, Value)> {
        pairs.iter().map(|(path, value)| ((*path).to_owned(), value.clone())).collect()
    };
    let select = ["ip.eth0", "processors.models.1", "none.such"].map(str::to_owned);
    let wanted = equals(&[("os.family", json!("Debian")), ("processors.count", json!(1))]);
    let found = store.nodes_with(&wanted, &select, None, 2).await.unwrap();
    let row = |n: i64| (format!("node{n:03}"), json!({"ip.eth0": n, "processors.models.1": "y"}));
    assert_eq!(found, [row(4), row(10)]);
    let found = store.nodes_with(&wanted, &select, Some("node010"), 100).await.unwrap();
    assert_eq!(found.len(), 23);
    assert_eq!(found.last().unwrap(), &row(148));
    assert_eq!(store.nodes_with(&[], &[], None, 1000).await.unwrap().len(), 150);
    assert_eq!(store.nodes_with(&equals(&[("os.family.x", json!(1))]), &[], None, 9).await.unwrap(), []);
    assert_eq!(
        store.nodes_with(&equals(&[("processors.count", json!("1"))]), &[], None, 9).await.unwrap(),
        []
    );
}

#[tokio::test]
async fn a_retired_node_leaves_nothing_behind() {
    let (_folder, store) = store().await;
    for node in ["n1", "n2"] {
        let exports = [export("a", &[], "production")];
        save(&store, node, "production", Some(&json!({"v": 1})), &exports, NOW).await;
        store.save_report(node, NOW, "changed", b"{}").await.unwrap();
    }
    assert!(store.retire("n1").await.unwrap());
    assert_eq!(titles(&store, &hosts()).await, ["a by n2"]);
    assert_eq!(store.facts("n1").await.unwrap(), None);
    assert_eq!(store.reports("n1", 9).await.unwrap(), []);
    assert_eq!(store.reports("n2", 9).await.unwrap().len(), 1);
    assert!(!store.retire("n1").await.unwrap(), "again is no error");
    // It comes back, with the very same catalog.
    save(&store, "n1", "production", None, &[export("a", &[], "production")], NOW).await;
    assert_eq!(titles(&store, &hosts()).await, ["a by n1", "a by n2"]);
}

#[tokio::test]
async fn only_the_newest_reports_of_a_node_stay() {
    let (_folder, store) = store().await;
    let kept = i64::from(REPORTS_PER_NODE);
    store.save_report("n2", NOW, "failed", b"n2").await.unwrap();
    for n in 0..kept + 5 {
        store.save_report("n1", NOW + n, "changed", n.to_string().as_bytes()).await.unwrap();
    }
    let reports = store.reports("n1", 1000).await.unwrap();
    let times: Vec<_> = reports.iter().map(|report| report.received_at - NOW).collect();
    assert_eq!(times, (5..kept + 5).rev().collect::<Vec<_>>());
    assert_eq!(reports[0].body, (kept + 4).to_string().as_bytes());
    assert_eq!(store.reports("n1", 3).await.unwrap().len(), 3);
    assert_eq!(store.prune_reports(NOW + 10).await.unwrap(), 6, "five of n1 and the one of n2");
    assert_eq!(store.reports("n2", 9).await.unwrap(), []);
}
