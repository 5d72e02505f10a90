//! What is found on disk after a crash, a full disk, or a careless hand.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use bunraku_follower::{Error, Follower};
use pki::{KeyKind, SigningKey};
use tempfile::{TempDir, tempdir};

use crate::authority::Authority;
use crate::fake::{Fake, NAME};
use crate::world::{fail_to_open, follow_fake, now, open};

/// A master that has followed up to the list 3, and is not running.
async fn followed() -> (Fake, TempDir, PathBuf) {
    let fake = Fake::start(Authority::root("Test CA")).await;
    let temp = tempdir().unwrap();
    let following = follow_fake(&fake, temp.path()).await;
    for number in 2..4 {
        fake.publish(number, &fake.authority().lists(number, &[]));
        fake.enforced(number).await;
    }
    drop(following);
    let dir = temp.path().join("follow");
    (fake, temp, dir)
}

#[tokio::test]
async fn a_crash_between_any_two_writes_is_mended_at_the_next_start() {
    let (fake, temp, dir) = followed().await;
    let file = |name: &str| dir.join(name);
    let key = std::fs::read(file("key.pem")).unwrap();
    let check = async |what: &str| {
        let follower = open(fake.settings(temp.path())).await;
        assert_eq!(follower.trust().number, 3, "{what}");
        assert_eq!(follower.identity().certificate.subject_cn, NAME, "{what}");
        assert_eq!(std::fs::read(file("key.pem")).unwrap(), key, "{what}: the key is kept");
    };
    std::fs::remove_file(file("certificate.pem")).unwrap();
    check("a key without a certificate").await;
    std::fs::remove_file(file("certificate.pem")).unwrap();
    std::fs::remove_file(file("request.pem")).unwrap();
    check("a key alone").await;
    std::fs::write(file("certificate.pem"), "-----BEGIN CERT").unwrap();
    check("half a certificate").await;
    let other = fake.authority().identity(NAME, &[]).certificate_pem;
    std::fs::write(file("certificate.pem"), other).unwrap();
    check("a certificate of another key").await;
    std::fs::write(file("request.pem"), "half").unwrap();
    std::fs::remove_file(file("certificate.pem")).unwrap();
    check("half a request").await;
    for name in ["trust.json.new", "trust.json.1.new", "key.pem.new", "certificate.pem.new"] {
        std::fs::write(file(name), "half").unwrap();
    }
    check("files that never got their names").await;
    std::fs::remove_file(file("trust.json")).unwrap();
    std::fs::remove_file(file("trust.json.1")).unwrap();
    check("no trust").await;
}

/// faults row 30: what is on disk is believed no more than what comes over the network.
#[tokio::test]
async fn a_damaged_file_gives_way_to_the_one_before_it() {
    let (fake, temp, dir) = followed().await;
    let (path, previous) = (dir.join("trust.json"), dir.join("trust.json.1"));
    let good = std::fs::read_to_string(&path).unwrap();
    fake.stop().await;
    let cut = good[..good.len() / 2].to_owned();
    let other = Authority::root("Test CA");
    let foreign = serde_json::json!({ "bundle": fake.state().bundle, "crls": other.lists(9, &[]),
        "bundle_modified": 1, "lists_modified": 1, "first": fake.state().bundle })
    .to_string();
    for damaged in [cut, foreign, good.replace("\"number\":3", "\"number\":4"), String::new()] {
        std::fs::write(&path, &damaged).unwrap();
        assert_eq!(open(fake.settings(temp.path())).await.trust().number, 2, "{damaged}");
    }
    std::fs::write(&path, &good).unwrap();
    assert_eq!(open(fake.settings(temp.path())).await.trust().number, 3);
    // With both of them gone it is a first contact, with the pin and all.
    std::fs::write(&path, "").unwrap();
    std::fs::write(&previous, "").unwrap();
    fake.start_again().await;
    assert_eq!(open(fake.settings(temp.path())).await.trust().number, 3);
}

#[tokio::test]
async fn a_key_that_others_can_read_or_nobody_can_is_refused() {
    let (fake, temp, dir) = followed().await;
    let key = dir.join("key.pem");
    let good = std::fs::read(&key).unwrap();
    let mode = |mode| std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    let error = fail_to_open(fake.settings(temp.path())).await;
    assert!(matches!(error, Error::Mode { mode: 0o644, .. }), "{error}");
    mode(0o600);
    let half = &good[..good.len() / 2];
    std::fs::write(&key, half).unwrap();
    let error = fail_to_open(fake.settings(temp.path())).await;
    assert!(matches!(error, Error::Key { .. }), "{error}");
    let secret = String::from_utf8_lossy(&half[28..60]).into_owned();
    assert!(error.to_string().contains("key.pem") && !error.to_string().contains(&secret), "{error}");
    // Another key is another node's, as far as the certificate goes: it is certified anew.
    std::fs::write(&key, SigningKey::generate(KeyKind::EcP256).unwrap().to_secret_pem()).unwrap();
    assert_ne!(std::fs::read(&key).unwrap(), good);
    open(fake.settings(temp.path())).await;
}

/// faults row 27
#[tokio::test]
async fn two_daemons_do_not_share_a_folder() {
    let (fake, temp, _) = followed().await;
    let first = open(fake.settings(temp.path())).await;
    let error = Follower::open(fake.settings(temp.path()), now()).await.unwrap_err();
    assert!(matches!(error, Error::Held(_)), "{error}");
    drop(first);
    open(fake.settings(temp.path())).await;
}

/// faults row 23: a list that cannot be written is in force all the same, is not told of as enforced, for a
/// crash would undo it, and is written as soon as it can be.
#[tokio::test]
async fn a_full_disk_delays_no_revocation() {
    let (fake, temp, dir) = followed().await;
    let following = follow_fake(&fake, temp.path()).await;
    let mut streams = 0;
    let begun = fake.asked("GET /bunraku/v1/ca/stream 200");
    // Where the file is to be written there is a folder: a disk that is full, as far as that goes.
    let obstacle = dir.join("trust.json.new");
    std::fs::create_dir(&obstacle).unwrap();
    fake.publish(4, &fake.authority().lists(4, &[]));
    while streams < begun + 2 {
        streams = fake.asked("GET /bunraku/v1/ca/stream 200");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(following.follower.trust().number, 4);
    assert!(!fake.reports().contains(&4));
    let on_disk = || std::fs::read_to_string(dir.join("trust.json")).unwrap();
    let before = on_disk();
    std::fs::remove_dir(&obstacle).unwrap();
    fake.enforced(4).await;
    assert_ne!(on_disk(), before);
    assert_eq!(following.follower.state(now()).refused, 0);
}
