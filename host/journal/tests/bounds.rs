//! What is kept, and what goes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;
use std::time::Duration;

use bunraku_journal::{Journal, Settings};
use common::{noise, record};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Row};
use tempfile::TempDir;
use time::OffsetDateTime;

const MIB: u64 = 1024 * 1024;

async fn count(path: &Path, sql: &'static str) -> i64 {
    let mut raw = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    let count = sqlx::query(sql).fetch_one(&mut raw).await.unwrap().try_get(0).unwrap();
    raw.close().await.unwrap();
    count
}

fn at(days_ago: i64) -> OffsetDateTime {
    OffsetDateTime::now_utc() - time::Duration::days(days_ago)
}

#[tokio::test]
async fn what_is_too_old_goes_with_the_blobs_that_it_alone_used() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal.db");
    let settings = Settings { max_age: Duration::from_secs(400 * 86_400), ..Settings::default() };
    let journal = Journal::open(&path, settings).await.unwrap();
    // A clock that was wrong for a moment holds nothing up.
    for (id, days_ago) in [("a", 40), ("wrong", -400), ("b", 31)] {
        journal.append(record(id, "n1", at(days_ago), json!(id)));
    }
    for number in 0..500_u64 {
        journal.append(record(&number.to_string(), "n2", at(35), json!(noise(number, 2000))));
    }
    journal.append_durable(record("c", "n1", at(29), json!("c"))).await.unwrap();
    journal.close().await;
    let before = std::fs::metadata(&path).unwrap().len();
    assert_eq!(count(&path, "SELECT count(*) FROM records").await, 504);

    let journal = Journal::open(&path, Settings::default()).await.unwrap();
    // The writer removes some before it takes its first record, and the rest while nothing comes.
    for number in 0..20 {
        journal.append_durable(record(&format!("new{number}"), "n3", at(0), json!("c"))).await.unwrap();
    }
    assert!(journal.get("c").await.unwrap().is_some() && journal.get("new7").await.unwrap().is_some());
    assert_eq!(journal.of("n1", 9).await.unwrap().len(), 1);
    assert_eq!(journal.of("n2", 999).await.unwrap().len(), 0);
    journal.close().await;
    // Two inputs, an answer, two transcripts and a list of calls; and the input of n2, which many used:
    // such a one stays some longer.
    assert_eq!(count(&path, "SELECT count(*) FROM blobs").await, 7);
    assert_eq!(count(&path, "SELECT count(*) FROM bodies").await, 7);
    let after = std::fs::metadata(&path).unwrap().len();
    assert!(after < before / 2, "{before} to {after}");
}

#[tokio::test]
async fn the_oldest_go_when_there_is_too_much_and_the_file_stays_within_its_bound() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal.db");
    let settings = Settings { max_bytes: 4 * MIB, ..Settings::default() };
    let journal = Journal::open(&path, settings).await.unwrap();
    let mut largest = 0;
    for number in 0..400_u64 {
        // One transcript for all, used again and again, and one of its own for each: 8 MiB in all.
        let mut record = record(&format!("{number:04}"), "n1", at(0), json!(noise(number, 40_000)));
        record.asked[0].transcript = common::transcript(json!("kept as long as anybody uses it"));
        journal.append_durable(record).await.unwrap();
        largest = largest.max(journal.stats().bytes);
    }
    println!("at most {largest} bytes of {}", settings.max_bytes);
    assert!(largest <= settings.max_bytes, "{largest}");
    let left = journal.of("n1", 9999).await.unwrap();
    assert_eq!(left[0].id, "0399");
    assert!(left.len() > 80 && left.len() < 300, "{}", left.len());
    for (left, number) in left.iter().zip((0..400).rev()) {
        assert_eq!(left.id, format!("{number:04}"), "none is missing in between");
        assert!(journal.get(&left.id).await.unwrap().is_some(), "{} lacks a blob", left.id);
    }
    journal.close().await;
    assert_eq!(
        count(&path, "SELECT count(*) FROM blobs WHERE through < (SELECT min(seq) FROM records)").await,
        0
    );
    assert_eq!(
        count(&path, "SELECT count(*) FROM blobs JOIN bodies USING (number)").await,
        count(&path, "SELECT count(*) FROM bodies").await
    );

    // A bound that is lowered holds for what is there already.
    let journal = Journal::open(&path, Settings { max_bytes: 2 * MIB, ..settings }).await.unwrap();
    for number in 0..10 {
        journal.append_durable(record(&format!("new{number}"), "n2", at(0), Value::Null)).await.unwrap();
    }
    assert!(journal.stats().bytes <= 2 * MIB, "{}", journal.stats().bytes);
    assert_eq!(journal.of("n2", 99).await.unwrap().len(), 10);
}

// A backup, or a disk that hangs: the writer stands still, and decisions go on.
#[tokio::test]
async fn the_oldest_waiting_are_dropped_and_counted_but_none_that_somebody_waits_for() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal.db");
    let settings = Settings { queue: 10, ..Settings::default() };
    let journal = Journal::open(&path, settings).await.unwrap();
    journal.append_durable(record("first", "n", at(0), Value::Null)).await.unwrap();
    let mut other = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    let held = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let mut waits = Box::pin(journal.append_durable(record("waited-for", "n", at(0), Value::Null)));
    let waker = std::task::Waker::noop();
    assert!(waits.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending());
    for number in 0..100 {
        journal.append(record(&format!("{number:03}"), "n", at(0), Value::Null));
    }
    let stats = journal.stats();
    assert_eq!((stats.waiting, stats.dropped, stats.written), (10, 91, 1));
    held.rollback().await.unwrap();
    waits.await.unwrap();
    journal.close().await;
    let stats = journal.stats();
    assert_eq!((stats.waiting, stats.dropped, stats.written, stats.failed), (0, 91, 11, 0));
    let reader = Journal::open_read_only(&path).await.unwrap();
    let mut expected: Vec<_> = (91..100).rev().map(|n| format!("{n:03}")).collect();
    expected.extend(["waited-for".to_owned(), "first".to_owned()]);
    let found: Vec<_> = reader.of("n", 999).await.unwrap().into_iter().map(|e| e.id).collect();
    assert_eq!(found, expected);
}
