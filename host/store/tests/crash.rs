//! `kill -9` at any instant leaves a store that opens without repair and holds all that was answered.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use bunraku_store::{CertificateRow, Compilation, ExportQuery, ExportRow, Store};
use sqlx::{ConnectOptions, Row};
use tempfile::TempDir;

const PLACE: &str = "BUNRAKU_STORE_CRASH";

fn certificate(serial: &str) -> CertificateRow {
    CertificateRow {
        serial: serial.to_owned(),
        certname: "node".to_owned(),
        der: vec![7; 900],
        key_digest: String::new(),
        not_before: 0,
        not_after: 1,
        issued_at: 0,
        revoked_at: None,
        revocation_reason: None,
        superseded_by: None,
        cleaned_at: None,
    }
}

/// Issues without end from several tasks, each serial printed once it is durable. The other writes keep
/// the exports of each node equal to its facts, which no torn transaction would.
#[tokio::test]
#[ignore = "the child that the test below kills"]
async fn child() {
    let path = PathBuf::from(std::env::var_os(PLACE).unwrap());
    let store = Arc::new(Store::open(&path).await.unwrap());
    let life = std::process::id();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for n in 0.. {
                let serial = format!("{life}-{task}-{n}");
                store.issue_certificate(&certificate(&serial), None, None, 0).await.unwrap();
                writeln!(std::io::stdout(), "\nissued {serial}").unwrap();
                let exports: Vec<_> = (0..n % 40).map(export).collect();
                let facts = serde_json::json!({"exports": exports.len()});
                let made = Compilation {
                    environment: "production",
                    facts: Some(&facts),
                    classification: None,
                    exports: &exports,
                };
                store.save_compilation(&format!("node{task}"), made, n).await.unwrap();
                store.save_report(&format!("node{task}"), n, "changed", &[9; 3000]).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
}

fn export(n: i64) -> ExportRow {
    ExportRow {
        resource_type: "Host".to_owned(),
        title: n.to_string(),
        tags: vec![],
        environment: "production".to_owned(),
        parameters: serde_json::json!({}),
    }
}

// Invariant 10, faults rule 12
#[tokio::test]
async fn a_killed_daemon_loses_nothing_that_it_answered() {
    let temp = TempDir::new().unwrap();
    let path = temp.path().join("state.db");
    let mut answered = Vec::new();
    for _ in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "child", "--nocapture"])
            .env(PLACE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let kill_after = RandomState::new().hash_one(child.id()) % 300;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut serials = lines.by_ref().map_while(Result::ok).filter_map(issued);
        answered.extend(serials.by_ref().take(usize::try_from(kill_after).unwrap() + 1));
        child.kill().unwrap();
        // What it had still said before the end counts too.
        answered.extend(serials);
        child.wait().unwrap();
        check(&path, &answered).await;
    }
    println!("{} answered writes, six kills", answered.len());
    assert!(answered.len() >= 6);
}

fn issued(line: String) -> Option<String> {
    line.strip_prefix("issued ").map(str::to_owned)
}

async fn check(path: &Path, answered: &[String]) {
    let store = Store::open(path).await.unwrap();
    let known = store.certificates("node").await.unwrap();
    for serial in answered {
        assert!(known.iter().any(|row| row.serial == *serial), "{serial} was answered and is lost");
    }
    for task in 0..8 {
        let node = format!("node{task}");
        let query = ExportQuery { resource_type: "Host".to_owned(), ..Default::default() };
        let exports = store.exported(&query, None, 1000).await.unwrap();
        let count = exports.iter().filter(|(exporter, _)| *exporter == node).count();
        if let Some(facts) = store.facts(&node).await.unwrap() {
            assert_eq!(
                facts,
                serde_json::json!({ "exports": count }),
                "facts and exports of {node} are of one transaction"
            );
        }
    }
    store.close().await;
    let mut raw = sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    let verdict: String =
        sqlx::query("PRAGMA integrity_check").fetch_one(&mut raw).await.unwrap().try_get(0).unwrap();
    assert_eq!(verdict, "ok");
    assert!(sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut raw).await.unwrap().is_empty());
}
