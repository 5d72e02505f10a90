//! The first contact and the certificate.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use bunraku_follower::{Error, Follower, Pin};
use pki::{AltName, KeyKind};
use tempfile::tempdir;

use crate::authority::{Authority, Life};
use crate::fake::{Fake, NAME, Policy};
use crate::world::{Log, fail_to_open, follow, now, open};

#[tokio::test]
async fn a_master_meets_the_pinned_ca_and_enrols() {
    let fake = Fake::start(Authority::root("Test Root").below("Test CA")).await;
    let temp = tempdir().unwrap();
    let mut settings = fake.settings(temp.path());
    settings.dns_alt_names =
        vec![AltName::parse("puppet.test").unwrap(), AltName::parse("10.0.0.1").unwrap()];
    let follower = open(settings).await;
    let identity = follower.identity();
    assert_eq!(identity.certificate.subject_cn, NAME);
    assert!(identity.certificate.is_signed_by(follower.trust().bundle.issuer()));
    assert_eq!(**follower.trust().bundle.pem(), fake.state().bundle);
    assert_eq!(*follower.trust().crls, fake.state().lists);
    let mut asked = fake.state().requests[NAME].alt_names.clone();
    asked.sort();
    let names = ["master1.test", "puppet.test", "10.0.0.1"].map(|name| AltName::parse(name).unwrap());
    assert_eq!(asked, names);
    let mode = |name: &str| {
        let path = temp.path().join("follow").join(name);
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    };
    assert_eq!((mode(""), mode("key.pem"), mode("trust.json")), (0o700, 0o600, 0o644));
    let shown = format!("{follower:?} {identity:?}");
    assert!(!shown.contains("BEGIN"), "{shown}");
}

#[tokio::test]
async fn every_kind_of_key_enrols() {
    let fake = Fake::start(Authority::root("Test CA")).await;
    for key in [KeyKind::EcP384, KeyKind::Rsa2048] {
        let temp = tempdir().unwrap();
        let mut settings = fake.settings(temp.path());
        settings.key = key;
        assert_eq!(open(settings).await.identity().certificate.subject_cn, NAME);
    }
}

#[tokio::test]
async fn a_ca_that_nobody_vouches_for_is_trusted_loudly() {
    let fake = Fake::start(Authority::root("Test CA")).await;
    let temp = tempdir().unwrap();
    let mut settings = fake.settings(temp.path());
    let pinned = settings.pin.take();
    let (log, _guard) = Log::start();
    let follower = open(settings.clone()).await;
    let fingerprint = follower.trust().bundle.fingerprint().to_string();
    let text = log.text();
    let warning = text.lines().find(|line| line.contains("TRUSTING THIS CA ON FIRST USE")).unwrap();
    assert!(warning.contains("WARN") && warning.contains(&fingerprint), "{warning}");
    drop(follower);
    open(settings.clone()).await;
    assert_eq!(log.text().matches("TRUSTING").count(), 1, "it is first use once");
    settings.pin = pinned;
    open(settings).await;
}

#[tokio::test]
async fn another_ca_than_the_pinned_one_gets_nothing() {
    let root = Authority::root("Test Root");
    let fake = Fake::start(root.below("Test CA")).await;
    let temp = tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = temp.path().join(name);
        std::fs::write(&path, content).unwrap();
        Pin::File(path)
    };
    let impostor = fake.authority().impostor();
    let bundle = fake.state().bundle.clone();
    for (pin, fine) in [
        (file("bundle", &bundle), true),
        (file("root", &root.bundle), true),
        (file("impostor", &impostor.bundle), false),
        (file("other root", &root.impostor().bundle), false),
        (Pin::fingerprint(&pki::Fingerprint::of(root.bundle.as_bytes()).to_hex()).unwrap(), false),
    ] {
        let dir = tempdir().unwrap();
        let mut settings = fake.settings(dir.path());
        settings.pin = Some(pin.clone());
        match Follower::open(settings, now()).await {
            Ok(_) => assert!(fine, "{pin:?}"),
            Err(error) => {
                assert!(!fine && matches!(error, Error::NotPinned { .. }), "{pin:?}: {error}");
                assert_eq!(std::fs::read_dir(dir.path().join("follow")).unwrap().count(), 1, "only the lock");
            }
        }
    }
    assert_eq!(fake.asked("PUT /puppet-ca"), 2, "nothing was sent to the others");
    let mut settings = fake.settings(temp.path());
    settings.pin = Some(file("no bundle", "hello"));
    assert!(matches!(Follower::open(settings, now()).await, Err(Error::PinFile { .. })));
}

#[tokio::test]
async fn a_folder_of_another_ca_than_the_pinned_one_is_not_used() {
    let fake = Fake::start(Authority::root("Test CA")).await;
    let other = Fake::start(Authority::root("Other CA")).await;
    let temp = tempdir().unwrap();
    open(fake.settings(temp.path())).await;
    let error = fail_to_open(other.settings(temp.path())).await;
    assert!(matches!(error, Error::OtherCa { .. }), "{error}");
    assert!(error.to_string().contains("remove that folder"), "{error}");
}

/// What a person needs to sign it is in the log, and the CA's own words where it refuses.
#[tokio::test]
async fn a_master_waits_until_it_is_signed_and_says_for_what() {
    let fake = Fake::start(Authority::root("Test CA")).await;
    let words = "declare it first: bunraku ca masters add master1.test --dns-alt-name X";
    fake.state().policy = Policy::Refuse(words);
    let temp = tempdir().unwrap();
    let (log, _guard) = Log::start();
    let opening = tokio::spawn(Follower::open(fake.settings(temp.path()), now()));
    let until = async |what: &str| {
        while !log.text().contains(what) {
            assert!(!opening.is_finished());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    until(words).await;
    fake.state().policy = Policy::Leave;
    until("bunraku ca sign master1.test").await;
    let fingerprint = fake.state().requests[NAME].fingerprint.to_string();
    assert!(log.text().contains(&fingerprint), "{}", log.text());
    fake.sign(NAME);
    let follower = tokio::time::timeout(Duration::from_secs(30), opening).await.unwrap().unwrap().unwrap();
    assert_eq!(follower.identity().certificate.subject_cn, NAME);
}

/// faults row 20: a certificate that is nearly over is renewed over its own connection, for its own key.
#[tokio::test]
async fn a_certificate_is_renewed_when_a_third_of_its_life_is_left() {
    let fake = Fake::start(Authority::root("Test CA")).await;
    let short = Life { gone: time::Duration::days(7), left: time::Duration::days(3) };
    fake.state().policy = Policy::Sign(short);
    let temp = tempdir().unwrap();
    let following = follow(fake.settings(temp.path())).await;
    let mut identity = following.follower.watch_identity();
    let first = identity.borrow_and_update().clone();
    tokio::time::timeout(Duration::from_secs(30), identity.changed()).await.unwrap().unwrap();
    let second = identity.borrow().clone();
    assert!(second.certificate.not_after > first.certificate.not_after + time::Duration::days(200));
    assert_eq!((&second.certificate.key, &second.key_pem), (&first.certificate.key, &first.key_pem));
    let serial = second.certificate.serial.clone();
    drop(following);
    fake.stop().await;
    assert_eq!(open(fake.settings(temp.path())).await.identity().certificate.serial, serial);
}
