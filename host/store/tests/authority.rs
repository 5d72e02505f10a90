//! What a certificate authority's operators ask of the store: listing, cleaning, counting, masters,
//! other CAs' inventories, backups.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::os::unix::fs::PermissionsExt;

use bunraku_store::{
    CertificateRow, CertificateState, Cleaned, Counts, Error, FromRequest, ImportRow, Imported, MasterRow,
    RequestKey, RequestRow, StatusQuery, Store,
};
use tempfile::TempDir;

const NOW: i64 = 1_700_000_000;
const DAY: i64 = 86_400;
const YEAR: i64 = 365 * DAY;

async fn store() -> (TempDir, Store) {
    let folder = TempDir::new().unwrap();
    let store = Store::open(&folder.path().join("state.db")).await.unwrap();
    (folder, store)
}

fn certificate(serial: &str, certname: &str) -> CertificateRow {
    CertificateRow {
        serial: serial.to_owned(),
        certname: certname.to_owned(),
        der: serial.as_bytes().to_vec(),
        key_digest: format!("key-of-{serial}"),
        not_before: NOW,
        not_after: NOW + YEAR,
        issued_at: NOW,
        revoked_at: None,
        revocation_reason: None,
        superseded_by: None,
        cleaned_at: None,
    }
}

async fn key_revoked(store: &Store, key_digest: &str) -> Option<String> {
    store.against("another", key_digest, NOW).await.unwrap().key_revoked
}

/// As an inventory.txt knows it: by serial, name and dates.
fn line(serial: &str, certname: &str) -> CertificateRow {
    CertificateRow { der: Vec::new(), key_digest: String::new(), ..certificate(serial, certname) }
}

fn key(certname: &str, key: &str) -> RequestKey {
    RequestKey { certname: certname.to_owned(), key_digest: key.to_owned() }
}

async fn ask(store: &Store, certname: &str, digest: &str) {
    let row = RequestRow {
        key: key(certname, digest),
        pem: String::new(),
        fingerprint: String::new(),
        submitted_at: NOW,
        peer: None,
        decision: None,
    };
    store.add_request(&row, 99, 99).await.unwrap();
}

async fn issue(store: &Store, row: &CertificateRow) -> Result<(), Error> {
    store.issue_certificate(row, Some(FromRequest::Brought(&row.certname)), None, NOW).await
}

async fn renew(store: &Store, old: &str, row: &CertificateRow) {
    store.issue_certificate(row, None, Some((old, "superseded", false)), NOW).await.unwrap();
}

async fn import(store: &Store, rows: Vec<CertificateRow>) -> Imported {
    let rows = rows.into_iter().map(|certificate| ImportRow { certificate }).collect();
    store.import(rows).await.unwrap()
}

async fn current(store: &Store, certname: &str) -> Option<String> {
    store.current_certificate(certname).await.unwrap().map(|row| row.serial)
}

async fn listed(store: &Store, now: i64) -> Vec<String> {
    store.revoked(now).await.unwrap().into_iter().map(|(serial, ..)| serial).collect()
}

/// Serials of a listing in pages of two.
async fn pages(store: &Store, state: Option<CertificateState>) -> Vec<String> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.statuses(StatusQuery { state, after, limit: 2 }).await.unwrap();
        assert!(page.len() <= 2);
        after = page.last().map(|row| row.certname.clone());
        if after.is_none() {
            return found;
        }
        found.extend(page.into_iter().map(|row| row.serial));
    }
}

#[tokio::test]
async fn a_listing_names_each_name_once_with_its_current_certificate() {
    let (_folder, store) = store().await;
    for (serial, name) in [("E0", "e"), ("A0", "a"), ("D0", "d"), ("B0", "b"), ("C0", "c")] {
        issue(&store, &certificate(serial, name)).await.unwrap();
    }
    renew(&store, "A0", &certificate("A1", "a")).await;
    store.revoke("B0", "keyCompromise", NOW).await.unwrap();
    store.revoke("D0", "keyCompromise", NOW).await.unwrap();
    // An older one that is revoked is nobody's state once there is a newer one.
    store.issue_certificate(&certificate("D1", "d"), None, None, NOW).await.unwrap();
    store.clean("e", "unspecified", NOW).await.unwrap();
    import(&store, vec![line("F0", "f")]).await;
    assert_eq!(pages(&store, None).await, ["A1", "B0", "C0", "D1"]);
    assert_eq!(pages(&store, Some(CertificateState::Signed)).await, ["A1", "C0", "D1"]);
    assert_eq!(pages(&store, Some(CertificateState::Revoked)).await, ["B0"]);
}

#[tokio::test]
async fn a_name_with_a_revoked_certificate_gets_no_other_before_it_is_cleaned() {
    let (_folder, store) = store().await;
    issue(&store, &certificate("A0", "a")).await.unwrap();
    store.revoke("A0", "cessationOfOperation", NOW).await.unwrap();
    ask(&store, "a", "key-of-A1").await;
    let refused = issue(&store, &certificate("A1", "a")).await;
    assert!(matches!(&refused, Err(Error::NameRevoked { serial, .. }) if serial == "A0"), "{refused:?}");
    assert_eq!(store.requests_of("a").await.unwrap().len(), 1, "the request still waits");
    assert_eq!(current(&store, "a").await.as_deref(), Some("A0"));
    assert_eq!(store.live_certificate("a").await.unwrap(), None);

    let done = store.clean("a", "unspecified", NOW + 1).await.unwrap();
    assert_eq!(done, Cleaned { revoked: vec![], certificates: 1, requests: 1 });
    assert_eq!(current(&store, "a").await, None);
    issue(&store, &certificate("A1", "a")).await.unwrap();
    assert_eq!(current(&store, "a").await.as_deref(), Some("A1"));
    assert_eq!(listed(&store, NOW).await, ["A0"], "what is cleaned stays revoked");
}

#[tokio::test]
async fn cleaning_revokes_superseded_certificates_too() {
    let (_folder, store) = store().await;
    issue(&store, &certificate("A0", "a")).await.unwrap();
    renew(&store, "A0", &certificate("A1", "a")).await;
    issue(&store, &certificate("B0", "b")).await.unwrap();
    import(&store, vec![line("A9", "a")]).await;
    ask(&store, "a", "1").await;
    ask(&store, "a", "2").await;
    ask(&store, "b", "3").await;
    let mut done = store.clean("a", "cessationOfOperation", NOW + 5).await.unwrap();
    done.revoked.sort();
    let revoked = ["A0", "A1", "A9"].map(str::to_owned).to_vec();
    assert_eq!(done, Cleaned { revoked, certificates: 3, requests: 2 });
    let row = store.certificate_by_serial("A0").await.unwrap().unwrap();
    assert_eq!(
        (row.revoked_at, row.revocation_reason.as_deref(), row.cleaned_at),
        (Some(NOW + 5), Some("cessationOfOperation"), Some(NOW + 5))
    );
    assert_eq!(store.clean("a", "unspecified", NOW + 9).await.unwrap(), Cleaned::default(), "once");
    assert_eq!(store.requests_of("b").await.unwrap().len(), 1);
    assert_eq!(current(&store, "b").await.as_deref(), Some("B0"));
}

#[tokio::test]
async fn a_key_that_was_given_up_is_certified_for_no_name() {
    let (_folder, store) = store().await;
    for (reason, counts) in [
        ("keyCompromise", true),
        ("privilegeWithdrawn", true),
        ("unspecified", true),
        ("cACompromise", true),
        ("superseded", false),
        ("cessationOfOperation", false),
        ("affiliationChanged", false),
    ] {
        issue(&store, &certificate(reason, &format!("old-{reason}"))).await.unwrap();
        store.revoke(reason, reason, NOW).await.unwrap();
        let digest = format!("key-of-{reason}");
        let found = key_revoked(&store, &digest).await;
        assert_eq!(found.is_some(), counts, "{reason}");
        let again = CertificateRow {
            key_digest: digest,
            ..certificate(&format!("2-{reason}"), &format!("new-{reason}"))
        };
        match issue(&store, &again).await {
            Err(Error::KeyRevoked { serial }) => assert!(counts && serial == reason, "{reason}"),
            outcome => assert!(outcome.is_ok() && !counts, "{reason}: {outcome:?}"),
        }
    }
    // Cleaning the name does not bring the key back.
    store.clean("old-keyCompromise", "unspecified", NOW).await.unwrap();
    assert!(key_revoked(&store, "key-of-keyCompromise").await.is_some());
    // Nor does a renewal with it, even in the moment of its own revocation.
    issue(&store, &certificate("A0", "a")).await.unwrap();
    let same = CertificateRow { key_digest: "key-of-A0".into(), ..certificate("A1", "a") };
    let refused = store.issue_certificate(&same, None, Some(("A0", "keyCompromise", true)), NOW).await;
    assert!(matches!(refused, Err(Error::KeyRevoked { .. })), "{refused:?}");
    assert_eq!(store.live_certificate("a").await.unwrap().unwrap().serial, "A0", "all or nothing");
    // Rows without a certificate share no key.
    import(&store, vec![CertificateRow { revoked_at: Some(NOW), ..line("F0", "f") }]).await;
    assert_eq!(key_revoked(&store, "").await, None);
    store.issue_certificate(&line("F1", "f"), None, None, NOW).await.unwrap();
}

#[tokio::test]
async fn a_serial_nobody_knows_can_be_revoked_and_is_never_given() {
    let (_folder, store) = store().await;
    issue(&store, &certificate("A0", "a")).await.unwrap();
    assert!(store.revoke_unknown("FF", "keyCompromise", NOW + 1).await.unwrap());
    assert!(!store.revoke_unknown("FF", "unspecified", NOW + 2).await.unwrap(), "the first reason stays");
    assert!(store.revoke_unknown("A0", "unspecified", NOW + 3).await.unwrap(), "known all the same");
    assert!(!store.revoke_unknown("A0", "unspecified", NOW + 4).await.unwrap());
    let expected = [("A0", NOW + 3, "unspecified"), ("FF", NOW + 1, "keyCompromise")];
    let expected = expected.map(|(serial, at, reason)| (serial.to_owned(), at, reason.to_owned()));
    assert_eq!(store.revoked(NOW).await.unwrap(), expected);
    assert_eq!(listed(&store, NOW + 9 * YEAR).await, ["FF"], "no date ends it");
    let taken = issue(&store, &certificate("FF", "f")).await;
    assert!(matches!(taken, Err(Error::SerialTaken { .. })), "{taken:?}");
}

#[tokio::test]
async fn an_import_can_be_repeated_and_contradicts_nothing() {
    let (_folder, store) = store().await;
    issue(&store, &certificate("A0", "a")).await.unwrap();
    let revoked = vec![
        ("A2".to_owned(), NOW + 1, "keyCompromise".to_owned()),
        ("FF".to_owned(), NOW + 2, "unspecified".to_owned()),
    ];
    assert_eq!(store.import_revoked(revoked.clone()).await.unwrap(), 2, "before the certificates");
    let rows = vec![
        certificate("A0", "a"),
        line("A1", "a"),
        line("A2", "a"),
        CertificateRow { revoked_at: Some(NOW), ..certificate("B0", "b") },
        certificate("A0", "somebody-else"),
        CertificateRow { der: b"other".to_vec(), ..certificate("B0", "b") },
    ];
    let first = import(&store, rows.clone()).await;
    assert_eq!((first.added, first.known), (3, 1));
    let conflicts: Vec<_> = first.conflicts.iter().map(|(serial, _)| serial.as_str()).collect();
    assert_eq!(conflicts, ["A0", "B0"], "{first:?}");
    let (place, all) = (0, 99);
    let before = store.certificates_after(place, all).await.unwrap();
    let again = import(&store, rows).await;
    assert_eq!((again.added, again.known, again.conflicts), (0, 4, first.conflicts));
    assert_eq!(store.import_revoked(revoked).await.unwrap(), 0);
    assert_eq!(store.certificates_after(place, all).await.unwrap(), before);
    let serials: Vec<_> = before.iter().map(|(_, row)| row.serial.as_str()).collect();
    assert_eq!(serials, ["A0", "A1", "A2", "B0"], "in order");
    assert_eq!(listed(&store, NOW).await, ["A2", "B0", "FF"]);
    assert_eq!(current(&store, "a").await.as_deref(), Some("A0"), "a line of an inventory is no certificate");
    // Later the certificate itself turns up.
    let found = import(&store, vec![certificate("A1", "a")]).await;
    assert_eq!((found.added, found.known), (1, 0));
    assert_eq!(current(&store, "a").await.as_deref(), Some("A1"));
    assert_eq!(store.certificate_by_serial("A1").await.unwrap().unwrap(), certificate("A1", "a"));
}

#[tokio::test]
async fn counts_end_with_the_certificates() {
    let (_folder, store) = store().await;
    for (serial, days) in [("A0", 1), ("B0", 6), ("C0", 20), ("D0", 90), ("E0", 90), ("F0", 6), ("G0", 90)] {
        let row = CertificateRow { not_after: NOW + days * DAY, ..certificate(serial, serial) };
        issue(&store, &row).await.unwrap();
    }
    renew(&store, "A0", &certificate("A1", "A0")).await;
    store.revoke("D0", "unspecified", NOW).await.unwrap();
    store.clean("G0", "unspecified", NOW).await.unwrap();
    store.revoke_unknown("FF", "unspecified", NOW).await.unwrap();
    import(&store, vec![line("99", "z")]).await;
    ask(&store, "z", "1").await;
    let counts =
        Counts { signed: 5, revoked: 3, requests: 1, expiring_7d: 2, expiring_30d: 3, superseded: 1 };
    assert_eq!(store.counts(NOW).await.unwrap(), counts);
    let later = Counts { signed: 3, expiring_7d: 0, expiring_30d: 1, superseded: 0, ..counts };
    assert_eq!(store.counts(NOW + 13 * DAY).await.unwrap(), later);
    let expiring = async |now, before| {
        let rows = store.expiring(now, before, 2).await.unwrap();
        rows.into_iter().map(|row| row.serial).collect::<Vec<_>>()
    };
    assert_eq!(expiring(NOW, NOW + 30 * DAY).await, ["B0", "F0"], "two at most");
    assert_eq!(expiring(NOW + 7 * DAY, NOW + 30 * DAY).await, ["C0"]);
    // The expired are forgotten, not the others.
    assert_eq!(store.clean_expired(NOW + 7 * DAY, NOW + 8 * DAY).await.unwrap(), 3);
    assert_eq!(store.clean_expired(NOW + 7 * DAY, NOW + 8 * DAY).await.unwrap(), 0);
    assert_eq!(pages(&store, None).await, ["A1", "C0", "D0", "E0"]);
    assert!(store.certificate_by_serial("B0").await.unwrap().is_some(), "its serial stays taken");
}

#[tokio::test]
async fn a_master_is_what_an_administrator_declared() {
    let (_folder, store) = store().await;
    let names = ["puppet".to_owned(), "DNS \"quoted\"".to_owned()];
    store.add_master("m2.example", &[], NOW).await.unwrap();
    store.add_master("m1.example", &names, NOW).await.unwrap();
    assert!(store.note_master("m1.example", 7, NOW + 5, "192.0.2.7").await.unwrap());
    assert!(!store.note_master("stranger", 7, NOW, "192.0.2.8").await.unwrap());
    store.add_master("m1.example", &names[..1], NOW + 9).await.unwrap();
    let m1 = MasterRow {
        certname: "m1.example".into(),
        alt_names: names[..1].to_vec(),
        added_at: NOW,
        crl_number: Some(7),
        seen_at: Some(NOW + 5),
        address: Some("192.0.2.7".into()),
    };
    let m2 = MasterRow {
        certname: "m2.example".into(),
        alt_names: vec![],
        added_at: NOW,
        crl_number: None,
        seen_at: None,
        address: None,
    };
    assert_eq!(store.masters().await.unwrap(), [m1, m2.clone()]);
    assert!(store.remove_master("m1.example").await.unwrap());
    assert!(!store.remove_master("m1.example").await.unwrap());
    assert_eq!(store.masters().await.unwrap(), [m2]);
}

// Invariant 2: after a restore, numbers that lists of the lost days had are not used again.
#[tokio::test]
async fn no_list_has_a_number_of_the_floor_or_below() {
    let (folder, store) = store().await;
    assert_eq!(store.crl_floor().await.unwrap(), None);
    store.save_crl(3, "three", NOW, NOW).await.unwrap();
    store.raise_crl_floor(1000).await.unwrap();
    store.raise_crl_floor(10).await.unwrap();
    store.close().await;
    let store = Store::open(&folder.path().join("state.db")).await.unwrap();
    assert_eq!(store.crl_floor().await.unwrap(), Some(1000), "it only rises");
    for number in [4, 1000] {
        let refused = store.save_crl(number, "x", NOW, NOW).await;
        assert!(matches!(refused, Err(Error::CrlNumber { latest: 1000, .. })), "{refused:?}");
    }
    store.save_crl(1001, "after", NOW, NOW).await.unwrap();
    assert_eq!(store.latest_crl().await.unwrap().unwrap().number, 1001);
}

#[tokio::test]
async fn a_backup_is_a_whole_store_of_one_moment() {
    let (folder, store) = store().await;
    issue(&store, &certificate("A0", "a")).await.unwrap();
    let copy = folder.path().join("copy.db");
    // As a crash in the middle of an earlier one may have left it.
    for left in ["copy.db.new", "copy.db.new-journal"] {
        std::fs::write(folder.path().join(left), "half a copy").unwrap();
    }
    store.backup_to(&copy).await.unwrap();
    issue(&store, &certificate("B0", "b")).await.unwrap();
    let refused = store.backup_to(&copy).await;
    assert!(matches!(refused, Err(Error::Io { .. })), "a file that is there stays: {refused:?}");
    assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o7777, 0o600);
    // Also beside a daemon.
    let reader = Store::open_read_only(store.path()).await.unwrap();
    let second = folder.path().join("second.db");
    reader.backup_to(&second).await.unwrap();
    let found = async |path: &std::path::Path| {
        let copy = Store::open(path).await.unwrap();
        let rows = copy.certificates_after(0, 9).await.unwrap();
        issue(&copy, &certificate("C0", "c")).await.unwrap();
        copy.close().await;
        rows.into_iter().map(|(_, row)| row.serial).collect::<Vec<_>>()
    };
    assert_eq!(found(&copy).await, ["A0"]);
    assert_eq!(found(&second).await, ["A0", "B0"]);
    // A place that nothing can be written to leaves nothing there.
    let nowhere = folder.path().join("none/copy.db");
    assert!(store.backup_to(&nowhere).await.is_err());
    assert!(!nowhere.exists());
    let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = names.filter(|name| name.to_string_lossy().contains(".new")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn the_room_on_the_disk_is_what_df_says() {
    let (folder, store) = store().await;
    let said =
        std::process::Command::new("df").args(["--output=avail", "-B1"]).arg(folder.path()).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let said: u64 = said.lines().last().unwrap().trim().parse().unwrap();
    // Others write to the disk meanwhile.
    assert!(store.free_bytes().unwrap().abs_diff(said) < 2 << 30, "{said}");
}
