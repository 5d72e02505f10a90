//! What a record costs: `cargo test -p bunraku-journal --test measure -- --ignored --nocapture`

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use bunraku_journal::{Journal, Kind, Record, Settings};
use common::{noise, record};
use serde_json::json;
use tempfile::TempDir;
use time::OffsetDateTime;

fn one(number: u64, fresh: bool) -> Record {
    let seed = if fresh { number } else { number % 100 };
    let id = noise(number + 1_000_000, 32);
    // About 1 KiB as JSON; a hundred nodes.
    record(
        &id,
        &format!("node{:04}.example.org", number % 100),
        OffsetDateTime::now_utc(),
        json!(noise(seed, 500)),
    )
}

async fn fill(path: &Path, records: u32, fresh: bool) {
    let journal = Journal::open(path, Settings::default()).await.unwrap();
    let (started, mut appended) = (Instant::now(), Duration::ZERO);
    for number in 0..records {
        let record = one(u64::from(number), fresh);
        // The last of each thousand waits, so that none is dropped.
        if number % 1000 == 999 {
            journal.append_durable(record).await.unwrap();
        } else {
            let started = Instant::now();
            journal.append(record);
            appended += started.elapsed();
        }
    }
    journal.close().await;
    let written = started.elapsed();
    let stats = journal.stats();
    assert_eq!((stats.written, stats.dropped, stats.failed), (u64::from(records), 0, 0));
    println!(
        "{} transcripts: {records} records, {:.1} us an append, {:.0} records/s to disk, {} bytes each",
        if fresh { "fresh" } else { "unchanged" },
        appended.as_secs_f64() * 1e6 / f64::from(records),
        f64::from(records) / written.as_secs_f64(),
        std::fs::metadata(path).unwrap().len() / u64::from(records)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures"]
async fn measure() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal.db");
    fill(&folder.path().join("fresh.db"), 10_000, true).await;
    fill(&path, 50_000, false).await;

    let started = Instant::now();
    let journal = Journal::open(&path, Settings::default()).await.unwrap();
    println!("open with 50,000: {:?}", started.elapsed());
    let started = Instant::now();
    journal.append_durable(one(60_000, true)).await.unwrap();
    println!("first durable append: {:?}", started.elapsed());
    let started = Instant::now();
    for number in 0..100 {
        journal.append_durable(one(70_000 + number, false)).await.unwrap();
    }
    println!("durable appends, one after the other: {:?} each", started.elapsed() / 100);
    let started = Instant::now();
    assert_eq!(journal.of("node0007.example.org", 20).await.unwrap().len(), 20);
    println!("the last 20 of a name: {:?}", started.elapsed());
    let started = Instant::now();
    assert!(journal.get(&noise(1_025_000, 32)[..12]).await.unwrap().is_some());
    println!("one by the beginning of its id: {:?}", started.elapsed());
    let (started, mut after, mut read) = (Instant::now(), None, 0_u32);
    for _ in 0..10 {
        let page = journal.since(OffsetDateTime::UNIX_EPOCH, Kind::Approval, after, 500).await.unwrap();
        read += u32::try_from(page.records.iter().filter(|(_, record)| record.is_ok()).count()).unwrap();
        after = page.next;
    }
    println!("pages for replay: {:.0} records/s", f64::from(read) / started.elapsed().as_secs_f64());
    journal.close().await;
}
