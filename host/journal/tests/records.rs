//! What is written is read again, by those who may.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bunraku_journal::{Error, Journal, Kind, Record, Settings};
use common::{noise, record};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Row};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

const SECRET: &str = "hunter2-challenge-password";

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

async fn open(folder: &TempDir) -> Journal {
    Journal::open(&folder.path().join("journal.db"), Settings::default()).await.unwrap()
}

/// The database, not through the journal.
async fn raw(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

async fn count(path: &Path, sql: &'static str) -> i64 {
    let mut raw = raw(path).await;
    let count = sqlx::query(sql).fetch_one(&mut raw).await.unwrap().try_get(0).unwrap();
    raw.close().await.unwrap();
    count
}

fn ids(entries: &[bunraku_journal::Entry]) -> Vec<&str> {
    entries.iter().map(|e| e.id.as_str()).collect()
}

#[tokio::test]
async fn a_record_comes_back_as_it_went() {
    let folder = TempDir::new().unwrap();
    let journal = open(&folder).await;
    let mut deep = json!("deeper than serde reads by itself");
    for _ in 0..200 {
        deep = json!([deep]);
    }
    let mut rich = record("a-1", "n1", now(), deep);
    rich.asked.push(rich.asked[1].clone());
    rich.asked[2].class = Some("profile::base".to_owned());
    rich.asked[2].fault = Some("timeout".to_owned());
    let mut bare = record("a-2", "n1", now(), Value::Null);
    bare.asked.clear();
    (bare.occasion, bare.peer, bare.by, bare.answer) = (None, None, None, None);
    journal.append(rich.clone());
    journal.append_durable(bare.clone()).await.unwrap();
    for reopened in [false, true] {
        if reopened {
            journal.close().await;
        }
        let journal = if reopened {
            open(&folder).await
        } else {
            Journal::open_read_only(journal.path()).await.unwrap()
        };
        for wanted in [&rich, &bare] {
            assert!(journal.get(&wanted.id).await.unwrap().as_ref() == Some(wanted), "{}", wanted.id);
        }
        let found = journal.of("n1", 9).await.unwrap();
        assert_eq!(ids(&found), ["a-2", "a-1"], "newest first");
        assert_eq!(ids(&journal.of("n1", 1).await.unwrap()), ["a-2"]);
        assert_eq!((found[1].reason.as_str(), found[1].took), (rich.reason.as_str(), rich.took));
    }
}

#[tokio::test]
async fn a_decision_is_found_by_the_beginning_of_its_id() {
    let folder = TempDir::new().unwrap();
    let journal = open(&folder).await;
    for id in ["ab", "abc1", "abc2", "b\u{e9}%_"] {
        journal.append(record(id, "n1", now(), Value::Null));
    }
    let twice = journal.append_durable(record("ab", "n2", now(), Value::Null)).await;
    assert!(matches!(twice, Err(Error::Duplicate { .. })), "{twice:?}");
    let check = async |id: &str, expected: Result<Option<&str>, ()>| {
        let found = journal.find(id).await.map(|e| e.map(|e| e.id));
        assert_eq!(found.as_ref().map(Option::as_deref).map_err(|_| ()), expected, "{id}: {found:?}");
        assert_eq!(journal.get(id).await.map(|r| r.map(|r| r.id)).ok(), found.ok(), "{id}");
    };
    check("ab", Ok(Some("ab"))).await;
    check("abc1", Ok(Some("abc1"))).await;
    check("b", Ok(Some("b\u{e9}%_"))).await;
    check("b\u{e9}%", Ok(Some("b\u{e9}%_"))).await;
    check("abc", Err(())).await;
    check("c", Ok(None)).await;
    check("%", Ok(None)).await;
    assert_eq!(journal.of("n2", 9).await.unwrap(), []);
    assert_eq!((journal.stats().written, journal.stats().failed), (4, 1));
}

#[tokio::test]
async fn pages_go_through_time_once_and_by_kind() {
    let folder = TempDir::new().unwrap();
    let journal = open(&folder).await;
    let start = now();
    let mut expected = Vec::new();
    // Two of each instant, and each third one of another kind; written from new to old.
    for number in (0..60_u32).rev() {
        let at = start + Duration::seconds(i64::from(number / 2));
        let mut record = record(&format!("{number:03}"), "n1", at, json!(number));
        if number % 3 == 0 {
            record.kind = Kind::Classification;
        } else if number >= 20 {
            expected.push((record.at, 60 - number, record.id.clone()));
        }
        journal.append(record);
    }
    journal.append_durable(record("late", "n1", start - Duration::days(1), json!(0))).await.unwrap();
    expected.sort();
    let since = start + Duration::seconds(10);
    let count = u64::try_from(expected.len()).unwrap();
    assert_eq!(journal.count(since, Kind::Approval).await.unwrap(), count);
    let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = journal.since(since, Kind::Approval, after, 7).await.unwrap();
        for (entry, record) in page.records {
            let record = record.unwrap();
            assert_eq!(entry.id, record.id);
            assert_eq!(
                record.asked[1].transcript,
                common::transcript(json!(entry.id.parse::<u32>().unwrap()))
            );
            found.push(entry.id);
        }
        pages += 1;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, expected.into_iter().map(|(.., id)| id).collect::<Vec<_>>());
    assert_eq!((found.len(), pages), (27, 4));
}

#[tokio::test]
async fn what_is_equal_is_stored_once() {
    let folder = TempDir::new().unwrap();
    let journal = open(&folder).await;
    for number in 0..100 {
        journal.append(record(&format!("{number}"), "n1", now(), json!("the same object")));
    }
    journal.append_durable(record("other", "n1", now(), json!("another object"))).await.unwrap();
    // Input, answer, two transcripts, the list of calls; then one transcript and its list more.
    assert_eq!(count(journal.path(), "SELECT count(*) FROM blobs").await, 7);
    assert_eq!(count(journal.path(), "SELECT count(*) FROM bodies").await, 7);
    assert!(journal.get("57").await.unwrap().is_some());
}

#[tokio::test]
async fn no_secret_is_readable_in_a_file_in_debug_or_in_an_error() {
    let folder = TempDir::new().unwrap();
    let journal = open(&folder).await;
    let mut secret = record("s", "n1", now(), json!({"password": SECRET}));
    secret.input = json!({"challenge": SECRET});
    secret.answer = Some(json!([SECRET]));
    secret.because = vec![SECRET.to_owned()];
    let asked = &mut secret.asked[0];
    asked.detail = SECRET.to_owned();
    asked.fault = Some(SECRET.to_owned());
    asked.transcript = common::transcript(json!(SECRET));
    asked.transcript.facts = vec![(SECRET.to_owned(), Some(json!(SECRET)))];
    asked.transcript.calls[0].arguments = json!(SECRET);
    asked.transcript.calls[0].answer = Err((SECRET.to_owned(), SECRET.to_owned()));
    let debug = format!("{secret:?} {:#?}", secret.asked[0].transcript.calls);
    assert!(!debug.contains(SECRET) && debug.contains("s3-registry"), "{debug}");
    let twice = secret.clone();
    journal.append_durable(secret).await.unwrap();
    let mut errors = vec![journal.append_durable(twice).await.unwrap_err()];
    let mut files = 0;
    let look = || {
        let mut seen = Vec::new();
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", path.display());
            assert!(!bytes.windows(SECRET.len()).any(|w| w == SECRET.as_bytes()), "{}", path.display());
            seen.push(bytes);
        }
        seen
    };
    let seen = look();
    files += seen.len();
    // What is not secret is there, so it was looked at the right place.
    assert!(seen.iter().any(|bytes| bytes.windows(9).any(|w| w == b"192.0.2.7")));
    let key = std::fs::read(folder.path().join("journal.key")).unwrap();
    assert_eq!(seen.iter().filter(|bytes| bytes.windows(64).any(|w| w == &key[..64])).count(), 1);

    // Each blob in turn is another one's: what does not open, or is not of the right form, is an error.
    let mut raw = raw(journal.path()).await;
    let blobs = count(journal.path(), "SELECT count(*) FROM blobs").await;
    for number in 1..=blobs {
        for swap in [
            "UPDATE records SET input = $1, grounds = $1",
            "UPDATE bodies SET body = x'00' WHERE number = $1",
        ] {
            sqlx::query(swap).bind(number).execute(&mut raw).await.unwrap();
            errors.extend(journal.get("s").await.err());
        }
    }
    assert!(errors.len() > 5);
    for error in errors {
        let text = format!("{error} {error:?}");
        assert!(!text.contains(SECRET), "{text}");
    }
    raw.close().await.unwrap();
    journal.close().await;
    files += look().len();
    assert!(files >= 7, "database, log, shared memory, key and lock; then without log and shared memory");
}

#[tokio::test]
async fn without_the_key_records_are_listed_and_their_blobs_are_sealed() {
    let folder = TempDir::new().unwrap();
    let key = folder.path().join("journal.key");
    let journal = open(&folder).await;
    journal.append_durable(record("old", "n1", now(), json!(1))).await.unwrap();
    journal.close().await;
    let first = std::fs::read(&key).unwrap();
    let sealed = async |journal: &Journal, id: &str| {
        assert_eq!(journal.find(id).await.unwrap().unwrap().verdict, "approve");
        let got = journal.get(id).await;
        assert!(matches!(got, Err(Error::Sealed { .. })), "{got:?}");
        let page = journal.since(OffsetDateTime::UNIX_EPOCH, Kind::Approval, None, 9).await.unwrap();
        let (_, whole) = page.records.iter().find(|(entry, _)| entry.id == id).unwrap();
        assert!(matches!(whole, Err(Error::Sealed { .. })));
    };
    // Gone, and not a key.
    std::fs::remove_file(&key).unwrap();
    sealed(&Journal::open_read_only(journal.path()).await.unwrap(), "old").await;
    std::fs::write(&key, "not a key").unwrap();
    sealed(&Journal::open_read_only(journal.path()).await.unwrap(), "old").await;
    let refused = Journal::open(journal.path(), Settings::default()).await;
    assert!(matches!(refused, Err(Error::Key { .. })));
    // A new one: what is written from now on is readable, and nothing is taken for an old blob.
    std::fs::remove_file(&key).unwrap();
    let journal = open(&folder).await;
    journal.append_durable(record("new", "n1", now(), json!(1))).await.unwrap();
    sealed(&journal, "old").await;
    assert!(journal.get("new").await.unwrap().is_some());
    journal.close().await;
    // The old one restored.
    std::fs::write(&key, first).unwrap();
    let journal = Journal::open_read_only(journal.path()).await.unwrap();
    assert!(journal.get("old").await.unwrap().is_some());
    sealed(&journal, "new").await;
}

#[tokio::test]
async fn a_torn_blob_is_an_error_for_its_record_alone() {
    let folder = TempDir::new().unwrap();
    let journal = open(&folder).await;
    let whole = record("whole", "n1", now(), json!("a"));
    journal.append(whole.clone());
    journal.append_durable(record("torn", "n1", now(), json!("b"))).await.unwrap();
    let mut raw = raw(journal.path()).await;
    let only = "SELECT grounds FROM records WHERE id = 'torn'";
    let only: i64 = sqlx::query(only).fetch_one(&mut raw).await.unwrap().try_get(0).unwrap();
    for damage in [
        "UPDATE bodies SET body = substr(body, 1, length(body) / 2) WHERE number = $1",
        "UPDATE bodies SET body = zeroblob(length(body)) WHERE number = $1",
        "UPDATE bodies SET body = x'' WHERE number = $1",
        "DELETE FROM bodies WHERE number = $1",
        "DELETE FROM blobs WHERE number = $1",
    ] {
        sqlx::query(damage).bind(only).execute(&mut raw).await.unwrap();
        let torn = journal.get("torn").await;
        assert!(
            matches!(&torn, Err(Error::Damaged { id, part: "list of calls", .. }) if id == "torn"),
            "{damage}: {torn:?}"
        );
        let page = journal.since(OffsetDateTime::UNIX_EPOCH, Kind::Approval, None, 9).await.unwrap();
        assert!(matches!(page.records[0].1.as_ref(), Ok(record) if *record == whole));
        assert!(matches!(page.records[1].1, Err(Error::Damaged { .. })));
        assert_eq!(journal.of("n1", 9).await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_transcript_that_is_too_long_is_cut_and_a_record_that_is_too_large_is_not_taken() {
    let folder = TempDir::new().unwrap();
    let journal = open(&folder).await;
    let large = |megabytes: usize| -> Record {
        record(&format!("large-{megabytes}"), "n1", now(), json!(noise(1, megabytes * 1_000_000)))
    };
    journal.append_durable(large(2)).await.unwrap();
    let kept = journal.get("large-2").await.unwrap().unwrap();
    assert!(kept.asked[1].transcript.truncated && kept.asked[1].transcript.calls.len() == 1);
    assert!(!kept.asked[0].transcript.truncated);

    let mut many = large(0);
    many.asked = (0..40)
        .map(|n| bunraku_journal::Asked {
            transcript: common::transcript(json!(noise(n, 900_000))),
            ..many.asked[1].clone()
        })
        .collect();
    journal.append_durable(many).await.unwrap();
    let kept = journal.get("large-0").await.unwrap().unwrap();
    assert_eq!(kept.asked.len(), 40);
    assert_eq!(kept.asked.iter().filter(|a| !a.transcript.truncated).count(), 18);

    let mut refused = large(1);
    refused.input = json!(noise(2, 5_000_000));
    journal.append(refused.clone());
    let refused = journal.append_durable(refused).await;
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    assert_eq!(journal.stats().dropped, 1);
    assert!(journal.find("large-1").await.unwrap().is_none());
}

#[tokio::test]
async fn one_daemon_writes_and_others_read() {
    let folder = TempDir::new().unwrap();
    let journal = open(&folder).await;
    let second = Journal::open(journal.path(), Settings::default()).await;
    assert!(matches!(second, Err(Error::Held { pid: Some(pid), .. }) if pid == std::process::id()));
    let reader = Journal::open_read_only(journal.path()).await.unwrap();
    assert!(matches!(
        reader.append_durable(record("a", "n", now(), Value::Null)).await,
        Err(Error::ReadOnly)
    ));
    journal.append_durable(record("a", "n", now(), Value::Null)).await.unwrap();
    assert!(reader.get("a").await.unwrap().is_some());
    journal.append(record("b", "n", now(), Value::Null));
    journal.close().await;
    assert!(matches!(journal.append_durable(record("c", "n", now(), Value::Null)).await, Err(Error::Closed)));
    journal.append(record("d", "n", now(), Value::Null));
    assert_eq!(ids(&reader.of("n", 9).await.unwrap()), ["b", "a"], "what waited was written");
    reader.close().await;
    // With nobody else there, and nothing of the log left.
    let reader = Journal::open_read_only(journal.path()).await.unwrap();
    assert!(reader.get("b").await.unwrap().is_some());
    let missing = Journal::open_read_only(&folder.path().join("none.db")).await;
    assert!(matches!(missing, Err(Error::Io { .. })));
}
