//! How long it takes with 100,000 certificates, half of them revoked. For a release build:
//! `cargo test --release -p bunraku-store --test measure -- --ignored --nocapture`

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Debug;
use std::time::Instant;

use bunraku_store::{CertificateRow, CertificateState, ImportRow, StatusQuery, Store};
use tempfile::TempDir;

const NOW: i64 = 1_700_000_000;
const ALL: u32 = 100_000;

fn certificate(number: u32) -> CertificateRow {
    let revoked = number.is_multiple_of(2);
    CertificateRow {
        serial: format!(
            "{:032X}",
            u128::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)
        ),
        certname: format!("node{:06}.example", number.wrapping_mul(7919) % ALL),
        der: vec![7; 900],
        key_digest: format!("{number:064x}"),
        not_before: NOW,
        not_after: NOW + i64::from(number),
        issued_at: NOW,
        revoked_at: revoked.then_some(NOW),
        revocation_reason: revoked.then(|| "keyCompromise".to_owned()),
        superseded_by: None,
        cleaned_at: None,
    }
}

async fn timed<T: Debug>(what: &str, times: u32, mut work: impl AsyncFnMut(u32) -> T) -> T {
    let mut took = Vec::new();
    let mut last = None;
    for time in 0..times {
        let started = Instant::now();
        last = Some(work(time).await);
        took.push(started.elapsed());
    }
    took.sort();
    let (median, longest) = (took.get(took.len() / 2).unwrap(), took.last().unwrap());
    println!("{what:40} median {median:>10.3?}  longest {longest:>10.3?}");
    last.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measure, and it takes a while to fill the inventory"]
async fn a_hundred_thousand_certificates() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(&folder.path().join("state.db")).await.unwrap();
    let started = Instant::now();
    for batch in 0..10 {
        let rows = (batch * ALL / 10..(batch + 1) * ALL / 10)
            .map(|number| ImportRow { certificate: certificate(number) })
            .collect();
        assert_eq!(store.import(rows).await.unwrap().added, u64::from(ALL / 10));
    }
    println!("import of {ALL}: {:?}", started.elapsed());
    for state in [None, Some(CertificateState::Signed), Some(CertificateState::Revoked)] {
        let what = format!("500 statuses, {state:?}");
        let page = timed(&what, 21, async |time| {
            let after = Some(format!("node{:06}.example", 4000 * time));
            store.statuses(StatusQuery { state, after, limit: 500 }).await.unwrap().len()
        });
        assert_eq!(page.await, 500);
    }
    let counts = timed("counts", 21, async |_| store.counts(NOW).await.unwrap()).await;
    assert_eq!((counts.signed, counts.revoked), (50_000, 50_000));
    let revoked = timed("revoked(now), 50,000", 11, async |_| store.revoked(NOW).await.unwrap().len()).await;
    assert_eq!(revoked, 50_000);
    let key = format!("{:064x}", 2);
    timed("against", 101, async |_| store.against("nobody", &key, NOW).await.unwrap().key_revoked.unwrap())
        .await;
    let odd = |time: u32| certificate(2 * time + 1);
    timed("revoke", 101, async |time| {
        assert!(store.revoke(&odd(time).serial, "keyCompromise", NOW).await.unwrap());
    })
    .await;
    timed("clean", 101, async |time| {
        let row = odd(1000 + time);
        assert_eq!(store.clean(&row.certname, "unspecified", NOW).await.unwrap().revoked.len(), 1);
    })
    .await;
    timed("issue_certificate", 101, async |time| {
        let row = certificate(ALL + 2 * time + 1);
        let row = CertificateRow { certname: format!("fresh{time}"), ..row };
        store.issue_certificate(&row, None, None, NOW).await.unwrap();
    })
    .await;
    let page = timed("certificates_after, 500", 21, async |time| {
        store.certificates_after(i64::from(4000 * time), 500).await.unwrap().len()
    });
    assert_eq!(page.await, 500);
    let log = std::fs::metadata(folder.path().join("state.db-wal")).unwrap().len();
    println!("write-ahead log {} MiB", log >> 20);
}
