//! A database that an earlier version wrote.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::Command;

use bunraku_store::{CertificateRow, Error, ImportRow, StatusQuery, Store};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqlSafeStr};
use tempfile::TempDir;

const ROWS: &str = "
    INSERT INTO certificates (serial, certname, der, key_digest, not_before, not_after, issued_at, revoked_at,
                              revocation_reason, superseded_by) VALUES
        ('A0', 'a', x'01', 'k0', 100, 1000, 100, NULL, NULL, 'A1'),
        ('A1', 'a', x'02', 'k0', 200, 2000, 200, NULL, NULL, NULL),
        ('B0', 'b', x'03', 'k1', 300, 3000, 300, 400, 'keyCompromise', NULL);
    INSERT INTO crls VALUES (7, 'seven', 400, 500);
    INSERT INTO requests (certname, key_digest, pem, fingerprint, submitted_at) VALUES ('c', 'k2', 'pem', 'f', 5);
    INSERT INTO meta VALUES ('ca', 'fingerprint');
    INSERT INTO nodes (certname, seen_at) VALUES ('a', 600);";

/// As version 0001 left it: by its own migration alone.
async fn first_version(path: &Path) {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = options.journal_mode(sqlx::sqlite::SqliteJournalMode::Wal).connect().await.unwrap();
    let sql = include_str!("../migrations/0001_first.sql").into_sql_str();
    let first = Migration::new(1, "first".into(), MigrationType::Simple, sql, false);
    Migrator::with_migrations(vec![first]).run(&mut connection).await.unwrap();
    sqlx::raw_sql(ROWS).execute(&mut connection).await.unwrap();
    sqlx::Connection::close(connection).await.unwrap();
}

#[tokio::test]
async fn a_store_of_the_first_version_goes_on_with_all_its_rows() {
    let temp = TempDir::new().unwrap();
    let path = temp.path().join("state.db");
    first_version(&path).await;
    // A reader cannot migrate; it says so and changes nothing.
    let refused = Store::open_read_only(&path).await.err().unwrap();
    assert!(matches!(refused, Error::Schema { found: 1, known: 3, .. }), "{refused}");

    for _ in 0..2 {
        let store = Store::open(&path).await.unwrap();
        let rows = store.certificates_after(0, 9).await.unwrap();
        let rows: Vec<_> = rows.iter().map(|(id, row)| (*id, row.serial.as_str(), row.cleaned_at)).collect();
        assert_eq!(rows, [(1, "A0", None), (2, "A1", None), (3, "B0", None)]);
        assert_eq!(store.live_certificate("a").await.unwrap().unwrap().serial, "A1");
        assert_eq!(store.revoked(500).await.unwrap(), [("B0".into(), 400, "keyCompromise".into())]);
        assert_eq!(store.against("new", "k1", 0).await.unwrap().key_revoked.as_deref(), Some("B0"));
        let names = store.statuses(StatusQuery { limit: 9, ..StatusQuery::default() }).await.unwrap();
        assert_eq!(names.iter().map(|row| row.serial.as_str()).collect::<Vec<_>>(), ["A1", "B0"]);
        let counts = store.counts(500).await.unwrap();
        assert_eq!((counts.signed, counts.superseded, counts.revoked, counts.requests), (1, 1, 1, 1));
        assert_eq!(store.latest_crl().await.unwrap().unwrap().number, 7);
        assert_eq!(store.meta("ca").await.unwrap().as_deref(), Some("fingerprint"));
        assert_eq!(store.masters().await.unwrap(), []);
        assert_eq!(store.plugin_events(9).await.unwrap(), []);
        store.close().await;
    }
    let check = Command::new("sqlite3").arg(&path).arg("PRAGMA integrity_check").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&check.stdout).trim(), "ok");

    // And it writes.
    let store = Store::open(&path).await.unwrap();
    assert_eq!(store.clean("a", "unspecified", 700).await.unwrap().revoked.len(), 2);
    let old = CertificateRow { der: Vec::new(), ..store.certificate_by_serial("A0").await.unwrap().unwrap() };
    let found = store.import(vec![ImportRow { certificate: old }]).await.unwrap();
    assert_eq!((found.added, found.known), (0, 1));
}
