//! The files on the disk: modes, the lock, schema versions, readers beside a writer, the filebucket.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use bunraku_store::{Error, Filebucket, Store};
use tempfile::TempDir;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn nobody_else_may_read_what_the_store_makes() {
    let temp = TempDir::new().unwrap();
    let folder = temp.path().join("a/state");
    let store = Store::open(&folder.join("state.db")).await.unwrap();
    store.set_meta("a", "b").await.unwrap();
    assert_eq!(mode(&folder), 0o700);
    for file in ["state.db", "state.db-wal", "state.db-shm", "state.db.lock"] {
        assert_eq!(mode(&folder.join(file)), 0o600, "{file}");
    }
}

// faults row 27
#[tokio::test]
async fn a_second_daemon_on_the_store_is_told_who_holds_it() {
    let temp = TempDir::new().unwrap();
    let path = temp.path().join("state.db");
    let store = Store::open(&path).await.unwrap();
    let refused = Store::open(&path).await.err().unwrap();
    let me = std::process::id();
    assert!(matches!(refused, Error::Held { pid: Some(pid), .. } if pid == me), "{refused}");
    assert!(
        refused.to_string().contains(&format!("is held by process {me}: stop that one first")),
        "{refused}"
    );
    store.set_meta("still", "works").await.unwrap();
    store.close().await;
    Store::open(&path).await.unwrap();
}

#[tokio::test]
async fn a_store_that_was_dropped_lets_go() {
    let temp = TempDir::new().unwrap();
    let path = temp.path().join("state.db");
    let store = Store::open(&path).await.unwrap();
    store.set_meta("a", "b").await.unwrap();
    drop(store);
    // The writer ends by itself, a moment later.
    loop {
        match Store::open(&path).await {
            Ok(store) => break assert_eq!(store.meta("a").await.unwrap().as_deref(), Some("b")),
            Err(Error::Held { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_reader_beside_the_daemon_reads_and_never_writes() {
    let temp = TempDir::new().unwrap();
    let path = temp.path().join("state.db");
    assert!(matches!(Store::open_read_only(&path).await, Err(Error::Io { .. })), "it makes no file");
    let daemon = Store::open(&path).await.unwrap();
    let reader = Store::open_read_only(&path).await.unwrap();
    daemon.set_meta("a", "b").await.unwrap();
    assert_eq!(reader.meta("a").await.unwrap().as_deref(), Some("b"));
    assert!(matches!(reader.set_meta("a", "c").await, Err(Error::ReadOnly)));
    daemon.close().await;
    assert!(matches!(daemon.set_meta("a", "c").await, Err(Error::Closed)));
    // And when no daemon runs.
    let reader = Store::open_read_only(&path).await.unwrap();
    assert_eq!(reader.meta("a").await.unwrap().as_deref(), Some("b"));
}

#[tokio::test]
async fn a_store_of_a_newer_program_is_left_alone() {
    let temp = TempDir::new().unwrap();
    let path = temp.path().join("state.db");
    Store::open(&path).await.unwrap().close().await;
    let newer = "INSERT INTO _sqlx_migrations
                 SELECT 99, 'of the future', installed_on, success, checksum, execution_time FROM _sqlx_migrations LIMIT 1";
    let done = Command::new("sqlite3").arg(&path).arg(newer).status().unwrap();
    assert!(done.success());
    for outcome in [Store::open(&path).await, Store::open_read_only(&path).await] {
        let error = outcome.err().unwrap();
        assert!(matches!(error, Error::Schema { found: 99, known: 3, .. }), "{error}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_by_name() {
    let temp = TempDir::new().unwrap();
    let path = temp.path().join("state.db");
    std::fs::write(&path, "not a database, but long enough to be looked at as if it were one".repeat(9))
        .unwrap();
    let error = Store::open(&path).await.err().unwrap();
    assert!(matches!(error, Error::Open { .. }), "{error}");
    assert!(error.to_string().contains("state.db"), "{error}");
    assert!(std::fs::read(&path).unwrap().starts_with(b"not a database"), "and left as it is");
}

#[tokio::test]
async fn the_filebucket_keeps_content_under_its_own_sum_only() {
    let temp = TempDir::new().unwrap();
    let folder = temp.path().join("bucket");
    let bucket = Filebucket::open(&folder).unwrap();
    assert_eq!(mode(&folder), 0o700);
    // What `sha256sum` and `md5sum` say of "hello\n".
    let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    let md5 = "b1946ac92492d2347c6235b4d2611184";
    for sum in [sha256, md5] {
        assert!(!bucket.has(sum).await.unwrap());
        assert_eq!(bucket.get(sum).await.unwrap(), None);
        assert!(matches!(bucket.put(sum, b"hello").await, Err(Error::Sum(_))), "other content");
        assert!(!bucket.has(sum).await.unwrap());
        bucket.put(sum, b"hello\n").await.unwrap();
        bucket.put(sum, b"hello\n").await.unwrap();
        assert!(bucket.has(sum).await.unwrap());
        assert_eq!(bucket.get(sum).await.unwrap().as_deref(), Some(&b"hello\n"[..]));
    }
    let file = folder.join("sha256/58").join(sha256);
    assert_eq!((mode(&file), std::fs::read_dir(file.parent().unwrap()).unwrap().count()), (0o600, 1));
    for sum in ["", "../../etc/passwd", &sha256[1..], &md5.to_uppercase(), &"g".repeat(32), &"é".repeat(16)]
    {
        assert!(matches!(bucket.has(sum).await, Err(Error::Sum(_))), "{sum}");
        assert!(matches!(bucket.get(sum).await, Err(Error::Sum(_))), "{sum}");
        assert!(matches!(bucket.put(sum, b"").await, Err(Error::Sum(_))), "{sum}");
    }
}
