//! Backups, what is made of them, and looking whether all is well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

mod world;

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use bunraku_ca::archive::{Restored, backup, restore};
use bunraku_ca::verify::{Finding, Level, verify};
use bunraku_ca::{Error, Settings};
use pki::crl::Reason;
use pki::{Certname, Serial};
use time::Duration;
use world::{World, first, request};

fn database(world: &World) -> PathBuf {
    world.dir.path().join("state.db")
}

async fn put_back(from: &World, to: &World, force: bool) -> Result<Restored, Error> {
    restore(&from.dir.path().join("backup.tar"), &to.settings, &database(to), force, to.now).await
}

/// What `verify` says beyond that all is well.
async fn bad(settings: &Settings, store: &store::Store, now: time::OffsetDateTime) -> Vec<Finding> {
    verify(settings, store, now).await.into_iter().filter(|f| f.level != Level::Ok).collect()
}

#[tokio::test]
async fn a_backup_restores_elsewhere_and_repeats_nothing() {
    let world = World::new();
    let (authority, _store) = world.open().await;
    let a = authority.issue(&request("a"), first(), world.now).await.unwrap();
    let b = authority.issue(&request("b"), first(), world.now).await.unwrap();
    authority.revoke(&b.serial, Reason::KeyCompromise, world.now).await.unwrap();
    authority.publish_now(world.now).await.unwrap();
    let path = world.dir.path().join("backup.tar");
    // Beside a running daemon.
    let reader = store::Store::open_read_only(&database(&world)).await.unwrap();
    backup(&world.settings, &reader, &path, world.now).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let again = backup(&world.settings, &reader, &path, world.now).await.unwrap_err();
    assert!(again.to_string().contains("never overwritten"), "{again}");
    let left: Vec<_> = std::fs::read_dir(world.dir.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_str().unwrap().contains("backup.tar.new")), "{left:?}");
    // As any tar reads it.
    let listed = std::process::Command::new("tar").arg("-tf").arg(&path).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(
        listed.lines().collect::<Vec<_>>(),
        ["MANIFEST", "state.db", "ca_key.pem", "ca_crt.pem", "ca_crl.pem"]
    );
    let number = authority.trust().number;

    let elsewhere = World::new();
    let restored = put_back(&world, &elsewhere, false).await.unwrap();
    assert_eq!((restored.name.as_str(), restored.certificates), ("Puppet CA: test", 2));
    assert_eq!((restored.made, &restored.moved, restored.missing.len()), (world.now, &None, 0));
    assert_eq!((elsewhere.mode("ca_key.pem"), elsewhere.mode(".")), (0o600, 0o700));
    let (copy, store) = elsewhere.open().await;
    assert_eq!(copy.fingerprint(), authority.fingerprint());
    assert!(copy.trust().number > restored.crl_floor && restored.crl_floor > number);
    assert_eq!(restored.crl_floor, u64::try_from(world.now.unix_timestamp()).unwrap() << 20);
    assert!(copy.is_revoked(&b.serial) && !copy.is_revoked(&a.serial));
    assert_eq!(copy.certificate(&Certname::parse("a").unwrap()).await.unwrap(), Some(a));
    assert_eq!(bad(&elsewhere.settings, &store, elsewhere.now).await, []);
    drop(copy);
    store.close().await;
    let error = put_back(&world, &elsewhere, false).await.unwrap_err();
    assert!(error.to_string().contains("--force"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_published_while_a_backup_is_made_does_not_spoil_it() {
    let world = World::new();
    let (authority, store) = world.open().await;
    let path = world.dir.path().join("backup.tar");
    let now = world.now;
    let publishing = tokio::spawn(async move {
        loop {
            authority.publish_now(now).await.unwrap();
        }
    });
    for _ in 0..20 {
        backup(&world.settings, &store, &path, now).await.unwrap();
        put_back(&world, &World::new(), false).await.unwrap();
        std::fs::remove_file(&path).unwrap();
    }
    publishing.abort();
}

#[tokio::test]
async fn a_restore_by_force_names_what_the_backup_lacks_and_keeps_revocations() {
    let world = World::new();
    let (authority, store) = world.open().await;
    let known = authority.issue(&request("known"), first(), world.now).await.unwrap();
    backup(&world.settings, &store, &world.dir.path().join("backup.tar"), world.now).await.unwrap();
    let lost = authority.issue(&request("lost"), first(), world.now).await.unwrap();
    for serial in [&known.serial, &lost.serial] {
        authority.revoke(serial, Reason::KeyCompromise, world.now).await.unwrap();
    }
    let number = authority.publish_now(world.now).await.unwrap().number;
    let held = put_back(&world, &world, true).await.unwrap_err();
    assert!(matches!(held, Error::Store(store::Error::Held { .. })), "{held}");
    drop(authority);
    store.close().await;
    // A clock that went back.
    let early = world.now - Duration::days(20_000);
    let path = world.dir.path().join("backup.tar");
    let restored = restore(&path, &world.settings, &database(&world), true, early).await.unwrap();
    assert_eq!(restored.missing, [(lost.serial.to_hex(), "lost".to_owned())]);
    let moved = restored.moved.unwrap();
    assert!(moved.join("state.db").exists() && moved.join("ca/ca_key.pem").exists());
    assert!(restored.crl_floor > number);
    let (authority, store) = world.open().await;
    assert!(authority.is_revoked(&known.serial) && authority.is_revoked(&lost.serial));
    assert!(authority.trust().number > restored.crl_floor);
    assert_eq!(store.certificates("lost").await.unwrap().len(), 0);
    assert_eq!(bad(&world.settings, &store, world.now).await, []);
}

#[tokio::test]
async fn what_is_no_whole_backup_is_refused_and_nothing_is_touched() {
    let world = World::new();
    let (authority, store) = world.open().await;
    authority.issue(&request("a"), first(), world.now).await.unwrap();
    let path = world.dir.path().join("backup.tar");
    backup(&world.settings, &store, &path, world.now).await.unwrap();
    let whole = std::fs::read(&path).unwrap();
    let flipped = |at: usize| {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        damaged
    };
    let key = whole.windows(11).position(|w| w == b"BEGIN PRIVA").expect("the key");
    let elsewhere = World::new();
    for (what, content, says) in [
        ("nothing", Vec::new(), "empty"),
        ("rubbish", b"rubbish".repeat(200), ""),
        ("cut", whole[..whole.len() / 2].to_vec(), ""),
        ("cut after the database", whole[..key - 600].to_vec(), ""),
        ("a bit of the manifest", flipped(512 + 20), ""),
        ("a bit of the key", flipped(key + 60), "damaged"),
        ("a bit of the database", flipped(4000), "damaged"),
    ] {
        std::fs::write(&path, content).unwrap();
        let error = put_back(&world, &elsewhere, false).await.unwrap_err();
        assert!(error.to_string().contains(says), "{what}: {error}");
        assert!(!database(&elsewhere).exists() && elsewhere.files().is_empty(), "{what}");
    }
    // A name that leads out of the folder.
    let mut tar = tar::Builder::new(Vec::new());
    for (name, text) in
        [("MANIFEST", "bunraku-ca-backup 1\nmade 2026-01-01T00:00:00Z\nca 00 x\n"), ("x", "y")]
    {
        let mut header = tar::Header::new_ustar();
        header.set_size(u64::try_from(text.len()).unwrap());
        tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    let mut odd = tar.into_inner().unwrap();
    let at = odd.windows(2).position(|w| w == b"x\0").unwrap();
    odd[at..at + 5].copy_from_slice(b"../zz");
    std::fs::write(&path, odd).unwrap();
    assert!(put_back(&world, &elsewhere, false).await.is_err());
    assert!(!elsewhere.dir.path().join("zz").exists());

    std::fs::write(&path, &whole).unwrap();
    put_back(&world, &elsewhere, false).await.unwrap();
}

#[tokio::test]
async fn verify_finds_each_thing_that_is_wrong() {
    let world = World::new();
    let (authority, store) = world.open().await;
    authority.issue(&request("a"), first(), world.now).await.unwrap();
    let all = verify(&world.settings, &store, world.now).await;
    assert!(all.len() >= 6 && all.iter().all(|finding| finding.level == Level::Ok), "{all:?}");
    let ca = authority.certificate_of_ca().clone();
    drop(authority);

    let other = World::new();
    let (elsewhere, _) = other.open().await;
    let foreign = elsewhere.issue(&request("foreign"), first(), other.now).await.unwrap();
    let row = store::CertificateRow {
        serial: Serial::random().unwrap().to_hex(),
        certname: "foreign".into(),
        der: foreign.der.clone(),
        key_digest: foreign.key_digest.to_hex(),
        not_before: foreign.not_before.unix_timestamp(),
        not_after: foreign.not_after.unix_timestamp(),
        issued_at: world.now.unix_timestamp(),
        revoked_at: None,
        revocation_reason: None,
        superseded_by: None,
        cleaned_at: None,
    };
    let at = world.now.unix_timestamp();
    store.issue_certificate(&row, None, None, at).await.unwrap();
    let cut =
        store::CertificateRow { der: b"0".to_vec(), serial: "0A".into(), key_digest: "x".into(), ..row };
    store.issue_certificate(&cut, None, None, at).await.unwrap();
    store.revoke("0A", "keyCompromise", at).await.unwrap();
    std::fs::write(world.path("ca_crl.pem"), "old").unwrap();
    let found = bad(&world.settings, &store, world.now).await;
    let expect = |level: Level, part: &str| {
        assert!(found.iter().any(|f| f.level == level && f.what.contains(part)), "{part}: {found:?}");
    };
    expect(Level::Error, "the CA did not sign it");
    expect(Level::Error, "0x0A: the certificate is malformed");
    expect(Level::Error, "0x0A is revoked and not on the list");
    expect(Level::Warning, "ca_crl.pem differs from the store");
    assert_eq!(found.len(), 4, "{found:?}");

    let late = bad(&world.settings, &store, world.now + Duration::days(8)).await;
    assert!(late.iter().any(|f| f.level == Level::Error && f.what.contains("ended at")), "{late:?}");
    let soon = bad(&world.settings, &store, ca.not_after - Duration::days(9)).await;
    assert!(soon.iter().any(|f| f.level == Level::Warning && f.what.contains("ends at")), "{soon:?}");
    std::fs::copy(other.path("ca_key.pem"), world.path("ca_key.pem")).unwrap();
    let found = bad(&world.settings, &store, world.now).await;
    assert!(
        found.iter().any(|f| f.level == Level::Error && f.what.contains("is not the key of")),
        "{found:?}"
    );
    std::fs::remove_file(world.path("ca_crt.pem")).unwrap();
    let found = bad(&world.settings, &store, world.now).await;
    assert!(found.len() == 1 && found[0].what.contains("ca_crt.pem"), "{found:?}");
}
