//! `kill -9` at any instant leaves a journal that opens without repair and holds all that was answered.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use bunraku_journal::{Journal, Kind, Settings};
use common::{noise, record};
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Row};
use tempfile::TempDir;
use time::OffsetDateTime;

const PLACE: &str = "BUNRAKU_JOURNAL_CRASH";
/// Small, so that there is always something to prune, too.
const SETTINGS: Settings =
    Settings { max_bytes: 2 * 1024 * 1024, max_age: std::time::Duration::from_secs(86_400), queue: 100 };

/// Appends without end from several tasks, each id printed once it is durable.
#[tokio::test]
#[ignore = "the child that the test below kills"]
async fn child() {
    let path = PathBuf::from(std::env::var_os(PLACE).unwrap());
    let journal = Arc::new(Journal::open(&path, SETTINGS).await.unwrap());
    let life = std::process::id();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8_u64 {
        let journal = Arc::clone(&journal);
        tasks.spawn(async move {
            for n in 0_u64.. {
                let id = format!("{life}-{task}-{n}");
                let told = if n % 2 == 0 {
                    json!(noise((u64::from(life) * 8 + task) << 32 | n, 20_000))
                } else {
                    json!("the same")
                };
                journal.append(record(
                    &format!("{id}-by-the-way"),
                    "n",
                    OffsetDateTime::now_utc(),
                    told.clone(),
                ));
                journal.append_durable(record(&id, "n", OffsetDateTime::now_utc(), told)).await.unwrap();
                writeln!(std::io::stdout(), "\nwritten {id} {}", journal.stats().dropped).unwrap();
            }
        });
    }
    tasks.join_all().await;
}

// Invariant 10, faults rule 12
#[tokio::test]
async fn a_killed_daemon_loses_no_record_that_it_answered_for() {
    let temp = TempDir::new().unwrap();
    let path = temp.path().join("journal.db");
    let (mut all, mut left) = (0, 0);
    for _ in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "child", "--nocapture"])
            .env(PLACE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let kill_after = RandomState::new().hash_one(child.id()) % 200;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut ids = lines.by_ref().map_while(Result::ok).filter_map(written);
        let mut answered: Vec<_> = ids.by_ref().take(usize::try_from(kill_after).unwrap() + 1).collect();
        child.kill().unwrap();
        // What it had still said before the end counts too.
        answered.extend(ids);
        child.wait().unwrap();
        left = check(&path, &answered).await;
        all += answered.len();
    }
    println!("{all} answered records, six kills, {left} records left within the bound");
    assert!(all >= 6 && left > 0);
}

fn written(line: String) -> Option<String> {
    line.strip_prefix("written ")?.split_once(' ').map(|(id, _)| id.to_owned())
}

async fn check(path: &Path, answered: &[String]) -> usize {
    Journal::open(path, SETTINGS).await.unwrap().close().await;
    // As a reader, so that nothing is pruned meanwhile.
    let journal = Journal::open_read_only(path).await.unwrap();
    let left = journal.of("n", u32::MAX).await.unwrap();
    let is_left = |id: &String| left.iter().any(|entry| entry.id == *id);
    // What is missing was pruned, so it is the oldest. Eight tasks say what was written, not quite in
    // the order in which it was.
    let pruned = answered.iter().filter(|id| !is_left(id)).count();
    assert!(answered.iter().skip(pruned + 8).all(is_left), "one in between is lost");
    assert!(pruned < answered.len(), "the last of {} is there", answered.len());
    // Every record that is there is whole.
    let mut after = None;
    let mut whole = 0;
    loop {
        let page = journal.since(OffsetDateTime::UNIX_EPOCH, Kind::Approval, after, 100).await.unwrap();
        for (entry, record) in &page.records {
            assert!(record.is_ok(), "{}: {record:?}", entry.id);
            whole += 1;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(whole, left.len());
    journal.close().await;
    let mut raw = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    let verdict: String =
        sqlx::query("PRAGMA integrity_check").fetch_one(&mut raw).await.unwrap().try_get(0).unwrap();
    assert_eq!(verdict, "ok");
    left.len()
}
