//! The inventory, revocation and CRLs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;

use bunraku_store::{
    CertificateRow, DecisionRow, Error, FromRequest, RequestKey, RequestRow, Store, Submission,
};
use tempfile::TempDir;

const NOW: i64 = 1_700_000_000;
const YEAR: i64 = 365 * 86_400;

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

fn request(certname: &str, key: &str) -> RequestRow {
    RequestRow {
        key: RequestKey { certname: certname.to_owned(), key_digest: key.to_owned() },
        pem: format!("-----BEGIN CERTIFICATE REQUEST-----\n{certname} {key} challengePassword\n"),
        fingerprint: format!("fingerprint of {key}"),
        submitted_at: NOW,
        peer: Some("192.0.2.1".to_owned()),
        decision: None,
    }
}

fn pending(reason: &str) -> DecisionRow {
    DecisionRow {
        verdict: "pending".to_owned(),
        reason: reason.to_owned(),
        plugin: Some("s3-registry".to_owned()),
        plugin_digest: Some("ab12".to_owned()),
        plugin_set: "set-1".to_owned(),
        registry_version: None,
        decided_at: NOW,
    }
}

async fn live(store: &Store, certname: &str) -> Option<String> {
    store.live_certificate(certname).await.unwrap().map(|row| row.serial)
}

#[tokio::test]
async fn what_was_issued_is_found_again_after_a_restart() {
    let (folder, store) = store().await;
    store.issue_certificate(&certificate("A1", "node1"), None, None, NOW).await.unwrap();
    store.set_meta("ca", "fingerprint").await.unwrap();
    store.close().await;
    let store = Store::open(&folder.path().join("state.db")).await.unwrap();
    assert_eq!(store.certificate_by_serial("A1").await.unwrap(), Some(certificate("A1", "node1")));
    assert_eq!(store.certificates("node1").await.unwrap(), [certificate("A1", "node1")]);
    assert_eq!(live(&store, "node1").await.as_deref(), Some("A1"));
    assert_eq!(live(&store, "node2").await, None);
    assert_eq!(store.meta("ca").await.unwrap().as_deref(), Some("fingerprint"));
    assert_eq!(store.meta("none").await.unwrap(), None);
}

#[tokio::test]
async fn a_serial_is_given_once_and_the_second_try_leaves_no_trace() {
    let (_folder, store) = store().await;
    store.issue_certificate(&certificate("A1", "node1"), None, None, NOW).await.unwrap();
    store.add_request(&request("node2", "k"), 9, 9).await.unwrap();
    let key = request("node2", "k").key;
    let taken = store
        .issue_certificate(&certificate("A1", "node2"), Some(FromRequest::Waiting(&key)), None, NOW)
        .await;
    assert!(matches!(taken, Err(Error::SerialTaken { .. })), "{taken:?}");
    assert!(store.request(&key).await.unwrap().is_some(), "the request still waits");
    let taken = store
        .issue_certificate(&certificate("A1", "node1"), None, Some(("A1", "superseded", true)), NOW)
        .await;
    assert!(matches!(taken, Err(Error::SerialTaken { .. })), "{taken:?}");
    assert_eq!(live(&store, "node1").await.as_deref(), Some("A1"), "nor is the old one revoked");
}

// faults row 13
#[tokio::test]
async fn the_same_request_again_changes_nothing() {
    let (_folder, store) = store().await;
    let first = request("node1", "k1");
    assert_eq!(store.add_request(&first, 9, 9).await.unwrap(), Submission::Added);
    assert!(store.record_decision(&first.key, &pending("no object")).await.unwrap());
    let again = RequestRow { pem: "another text".to_owned(), submitted_at: NOW + 60, ..first.clone() };
    let known = RequestRow { decision: Some(pending("no object")), ..first.clone() };
    assert_eq!(store.add_request(&again, 9, 9).await.unwrap(), Submission::Known(Box::new(known.clone())));
    assert_eq!(store.request(&first.key).await.unwrap(), Some(known));
}

// faults row 14
#[tokio::test]
async fn a_second_key_waits_beside_the_first() {
    let (_folder, store) = store().await;
    store.add_request(&request("node1", "k2"), 9, 2).await.unwrap();
    store.add_request(&request("node1", "k1"), 9, 2).await.unwrap();
    assert_eq!(store.add_request(&request("node1", "k3"), 9, 2).await.unwrap(), Submission::Full);
    store.add_request(&request("node2", "k1"), 9, 2).await.unwrap();
    assert_eq!(store.requests_of("node1").await.unwrap(), [request("node1", "k1"), request("node1", "k2")]);
    // One is signed; its rivals go, the neighbour stays.
    let key = request("node1", "k1").key;
    store
        .issue_certificate(&certificate("A1", "node1"), Some(FromRequest::Waiting(&key)), None, NOW)
        .await
        .unwrap();
    assert_eq!(store.requests(None, 10).await.unwrap(), [request("node2", "k1")]);
    assert!(!store.record_decision(&key, &pending("too late")).await.unwrap());
}

#[tokio::test]
async fn a_request_that_was_taken_away_is_not_signed() {
    let (_folder, store) = store().await;
    let (gone, rival) = (request("node1", "k1"), request("node1", "k2"));
    for row in [&gone, &rival] {
        store.add_request(row, 9, 9).await.unwrap();
    }
    assert!(store.drop_request(&gone.key).await.unwrap());
    let from = Some(FromRequest::Waiting(&gone.key));
    let refused = store.issue_certificate(&certificate("A1", "node1"), from, None, NOW).await;
    assert!(matches!(&refused, Err(Error::RequestGone { certname }) if certname == "node1"), "{refused:?}");
    assert_eq!(live(&store, "node1").await, None);
    assert_eq!(store.requests_of("node1").await.unwrap(), [rival], "its rival still waits");
    // One that is brought along need not wait.
    let brought = Some(FromRequest::Brought("node1"));
    store.issue_certificate(&certificate("A2", "node1"), brought, None, NOW).await.unwrap();
}

// faults row 15
#[tokio::test]
async fn a_second_key_for_a_live_name_needs_the_first_one_revoked() {
    let (_folder, store) = store().await;
    store.issue_certificate(&certificate("A1", "node1"), None, None, NOW).await.unwrap();
    let taken = store
        .issue_certificate(&certificate("A2", "node1"), Some(FromRequest::Brought("node1")), None, NOW)
        .await;
    assert!(matches!(&taken, Err(Error::NameTaken { serial, .. }) if serial == "A1"), "{taken:?}");
    let replaces = Some(("A1", "superseded", true));
    store
        .issue_certificate(
            &certificate("A2", "node1"),
            Some(FromRequest::Brought("node1")),
            replaces,
            NOW + 5,
        )
        .await
        .unwrap();
    let old = store.certificate_by_serial("A1").await.unwrap().unwrap();
    assert_eq!((old.revoked_at, old.superseded_by.as_deref()), (Some(NOW + 5), Some("A2")));
    assert_eq!(store.revoked(NOW + 6).await.unwrap(), [("A1".into(), NOW + 5, "superseded".into())]);
    assert_eq!(live(&store, "node1").await.as_deref(), Some("A2"));
    // A name whose certificate has run out is free.
    let later = NOW + 2 * YEAR;
    store
        .issue_certificate(&certificate("A3", "node1"), Some(FromRequest::Brought("node1")), None, later)
        .await
        .unwrap();
}

#[tokio::test]
async fn two_candidates_approved_at_once_end_as_one_certificate() {
    let (_folder, store) = store().await;
    let keys = ["k1", "k2"].map(|key| request("node1", key).key);
    for key in ["k1", "k2"] {
        store.add_request(&request("node1", key), 9, 9).await.unwrap();
    }
    let rows = ["A1", "A2"].map(|serial| certificate(serial, "node1"));
    let (first, second) = tokio::join!(
        store.issue_certificate(&rows[0], Some(FromRequest::Waiting(&keys[0])), None, NOW),
        store.issue_certificate(&rows[1], Some(FromRequest::Waiting(&keys[1])), None, NOW),
    );
    let outcomes = [first, second];
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    assert_eq!(store.certificates("node1").await.unwrap().len(), 1);
}

// faults row 16
#[tokio::test]
async fn ten_thousand_names_fill_no_more_than_their_share() {
    let (_folder, store) = store().await;
    let store = Arc::new(store);
    let mut flood = tokio::task::JoinSet::new();
    for n in 0..10_000 {
        let store = Arc::clone(&store);
        flood.spawn(
            async move { store.add_request(&request(&format!("node{n}"), "k"), 500, 3).await.unwrap() },
        );
    }
    let outcomes = flood.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Submission::Added).count(), 500);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Submission::Full).count(), 9_500);
    let later = RequestRow { submitted_at: NOW + 10, ..request("late", "k") };
    assert_eq!(store.expire_requests(NOW + 1).await.unwrap(), 500);
    assert_eq!(store.add_request(&later, 500, 3).await.unwrap(), Submission::Added);
    assert_eq!(store.expire_requests(NOW + 10).await.unwrap(), 0);
    assert!(store.drop_request(&later.key).await.unwrap());
    assert!(!store.drop_request(&later.key).await.unwrap());
}

#[tokio::test]
async fn requests_come_in_pages() {
    let (_folder, store) = store().await;
    let mut expected = Vec::new();
    for (name, key) in [("a", "1"), ("a", "2"), ("a", "3"), ("b", "1"), ("c", "0")] {
        expected.push(request(name, key));
        store.add_request(expected.last().unwrap(), 9, 9).await.unwrap();
    }
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.requests(after, 2).await.unwrap();
        after = page.last().map(|row| row.key.clone());
        if after.is_none() {
            break;
        }
        found.extend(page);
    }
    assert_eq!(found, expected);
}

#[test]
fn a_request_does_not_show_its_challenge_password() {
    assert!(!format!("{:?}", request("node1", "k")).contains("challengePassword"));
}

// faults row 20
#[tokio::test]
async fn of_two_renewals_at_once_one_gets_the_serial() {
    let (_folder, store) = store().await;
    store.issue_certificate(&certificate("A0", "node1"), None, None, NOW).await.unwrap();
    let rows = ["A1", "A2"].map(|serial| certificate(serial, "node1"));
    let replaces = Some(("A0", "superseded", false));
    let (first, second) = tokio::join!(
        store.issue_certificate(&rows[0], None, replaces, NOW),
        store.issue_certificate(&rows[1], None, replaces, NOW),
    );
    let outcomes = [first, second];
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    assert!(outcomes.iter().any(|o| matches!(o, Err(Error::Superseded { .. }))), "{outcomes:?}");
    let rows = store.certificates("node1").await.unwrap();
    assert_eq!(rows.len(), 2, "no row lost, none too many");
    assert_eq!(rows[1].superseded_by.as_deref(), Some(rows[0].serial.as_str()));
    assert_eq!(rows[1].revoked_at, None);
}

// CVE-2020-29663: revoked certificates were renewed.
#[tokio::test]
async fn a_revoked_certificate_is_not_renewed() {
    let (_folder, store) = store().await;
    store.issue_certificate(&certificate("A0", "node1"), None, None, NOW).await.unwrap();
    assert!(store.revoke("A0", "keyCompromise", NOW).await.unwrap());
    let replaces = Some(("A0", "superseded", false));
    let refused = store.issue_certificate(&certificate("A1", "node1"), None, replaces, NOW).await;
    assert!(matches!(refused, Err(Error::Revoked { .. })), "{refused:?}");
    let replaces = Some(("FF", "superseded", false));
    let refused = store.issue_certificate(&certificate("A1", "node1"), None, replaces, NOW).await;
    assert!(matches!(refused, Err(Error::UnknownSerial { .. })), "{refused:?}");
    assert_eq!(store.certificates("node1").await.unwrap().len(), 1);
}

#[tokio::test]
async fn revoking_a_name_revokes_all_its_serials() {
    let (_folder, store) = store().await;
    store.issue_certificate(&certificate("A0", "node1"), None, None, NOW).await.unwrap();
    let replaces = Some(("A0", "superseded", false));
    store.issue_certificate(&certificate("A1", "node1"), None, replaces, NOW).await.unwrap();
    store.issue_certificate(&certificate("B0", "node2"), None, None, NOW).await.unwrap();
    let mut serials = store.revoke_name("node1", "cessationOfOperation", NOW + 1).await.unwrap();
    serials.sort();
    assert_eq!(serials, ["A0", "A1"]);
    assert_eq!(
        store.revoke_name("node1", "unspecified", NOW + 2).await.unwrap(),
        [""; 0],
        "again is no error"
    );
    assert_eq!(live(&store, "node1").await, None);
    assert_eq!(live(&store, "node2").await.as_deref(), Some("B0"));
}

#[tokio::test]
async fn a_revocation_is_listed_until_the_certificate_expires() {
    let (_folder, store) = store().await;
    store.issue_certificate(&certificate("A0", "node1"), None, None, NOW).await.unwrap();
    assert!(!store.revoke("A9", "unspecified", NOW).await.unwrap(), "unknown");
    assert!(store.revoke("A0", "keyCompromise", NOW + 1).await.unwrap());
    assert!(!store.revoke("A0", "unspecified", NOW + 9).await.unwrap(), "the first time and reason stay");
    let entry = ("A0".to_owned(), NOW + 1, "keyCompromise".to_owned());
    assert_eq!(store.revoked(NOW + YEAR).await.unwrap(), [entry]);
    assert_eq!(store.revoked(NOW + YEAR + 1).await.unwrap(), []);
}

#[tokio::test]
async fn crl_numbers_only_grow() {
    let (_folder, store) = store().await;
    assert_eq!(store.latest_crl().await.unwrap(), None);
    for number in [1, 2, 5] {
        store.save_crl(number, &format!("crl {number}"), NOW, NOW + 60).await.unwrap();
    }
    for number in [5, 4, 0] {
        let refused = store.save_crl(number, "x", NOW, NOW).await;
        assert!(matches!(refused, Err(Error::CrlNumber { latest: 5, .. })), "{refused:?}");
    }
    let latest = store.latest_crl().await.unwrap().unwrap();
    assert_eq!((latest.number, latest.pem.as_str()), (5, "crl 5"));
}
