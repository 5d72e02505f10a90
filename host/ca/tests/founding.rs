//! The first start, every other start, and what is found when something is missing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

mod world;

use std::os::unix::fs::PermissionsExt as _;

use bunraku_ca::{Authority, Error, KeyKind, setup};
use time::Duration;
use world::{World, first, request};

#[tokio::test]
async fn the_first_start_makes_a_ca_and_every_other_start_finds_it() {
    for kind in [KeyKind::EcP256, KeyKind::Rsa4096] {
        let mut world = World::new();
        world.settings.key = kind;
        let (authority, store) = world.open().await;
        assert_eq!(world.files(), ["ca_crl.pem", "ca_crt.pem", "ca_key.pem"]);
        assert_eq!((world.mode("ca_key.pem"), world.mode("ca_crt.pem")), (0o600, 0o644));
        assert_eq!(world.mode("."), 0o700);
        let ca = authority.certificate_of_ca().clone();
        assert_eq!((authority.name(), ca.is_ca), ("Puppet CA: test", true));
        assert_eq!(ca.not_before, world.now - Duration::DAY);
        assert_eq!(ca.not_after - ca.not_before, Duration::days(15 * 365));
        let trust = authority.trust();
        assert_eq!(
            (&**trust.bundle.pem(), &*trust.crls),
            (world.read("ca_crt.pem").as_str(), world.read("ca_crl.pem").as_str())
        );
        assert_eq!((trust.number, &trust.crls), (1, &trust.agents_crls));
        let (fine, said) = world.openssl("verify -x509_strict -CAfile ca/ca_crt.pem ca/ca_crt.pem");
        assert!(fine, "{said}");
        let (fine, said) = world.openssl("crl -in ca/ca_crl.pem -CAfile ca/ca_crt.pem -noout");
        assert!(fine && said.contains("verify OK"), "{said}");

        drop(authority);
        let again = world.try_open(&store).await.unwrap();
        assert_eq!(again.fingerprint(), ca.fingerprint);
        let (again, first) = (again.trust(), trust);
        assert_eq!((again.bundle.pem(), again.number), (first.bundle.pem(), 1), "no list without a reason");
        assert_eq!((again.this_update, again.next_update), (first.this_update, first.next_update));
        assert_eq!((&again.crls, &again.revoked), (&first.crls, &first.revoked));
    }
}

#[tokio::test]
async fn a_ca_that_was_set_up_offline_is_the_one_that_serves() {
    let world = World::new();
    let store = world.store().await;
    let bundle = setup::create(&world.settings, &store, world.now).await.unwrap();
    assert_eq!(world.files(), ["ca_crt.pem", "ca_key.pem"]);
    let again = setup::create(&world.settings, &store, world.now).await.unwrap_err();
    assert!(matches!(&again, Error::Exists { name } if name == "Puppet CA: test"), "{again}");
    let authority = world.try_open(&store).await.unwrap();
    assert_eq!(authority.trust().bundle.fingerprint(), bundle.fingerprint());
    assert_eq!(authority.trust().number, 1);
}

// faults row 25
#[tokio::test]
async fn with_a_part_of_the_ca_missing_nothing_is_made() {
    for (gone, found, missing) in [
        (vec!["ca_key.pem"], "ca_crt.pem", "ca_key.pem"),
        (vec!["ca_crt.pem"], "ca_key.pem", "ca_crt.pem"),
        (vec!["ca_key.pem", "ca_crt.pem"], "record in the store", "ca_key.pem"),
        (vec!["ca_key.pem", "ca_crt.pem", "ca_crl.pem"], "record in the store", "ca_crt.pem"),
        (vec!["../state.db"], "ca_key.pem", "record in the store"),
        (vec!["../state.db", "ca_key.pem"], "ca_crt.pem", "ca_key.pem"),
        (vec!["../state.db", "ca_crt.pem"], "ca_key.pem", "ca_crt.pem"),
    ] {
        let world = World::new();
        let (authority, store) = world.open().await;
        drop(authority);
        store.close().await;
        for name in &gone {
            std::fs::remove_file(world.path(name)).unwrap();
            let _ = std::fs::remove_file(world.path(&format!("{name}-wal")));
        }
        let before = world.files();
        let store = world.store().await;
        let error = world.try_open(&store).await.err().expect("half a CA");
        let Error::Incomplete { found: f, missing: m } = &error else { panic!("{error}") };
        assert!(f.contains(found) && m.contains(missing), "{gone:?}: {error}");
        assert!(!f.contains(missing) && !m.contains(found), "{gone:?}: {error}");
        assert_eq!(world.files(), before, "{gone:?}");
        // And again: nothing was noted in the store either.
        assert!(matches!(world.try_open(&store).await, Err(Error::Incomplete { .. })));
    }
}

#[tokio::test]
async fn files_of_another_ca_are_not_taken_for_the_stores() {
    let (one, other) = (World::new(), World::new());
    let (_, store) = one.open().await;
    other.open().await;
    for name in ["ca_key.pem", "ca_crt.pem"] {
        std::fs::copy(other.path(name), one.path(name)).unwrap();
    }
    let error = one.try_open(&store).await.err().unwrap();
    assert!(matches!(error, Error::OtherCa { .. }), "{error}");
    // The right certificate and a key that is not its own.
    let (third, store) = (World::new(), ());
    let (_, third_store) = third.open().await;
    let () = store;
    std::fs::copy(other.path("ca_key.pem"), third.path("ca_key.pem")).unwrap();
    let error = third.try_open(&third_store).await.err().unwrap();
    assert!(error.to_string().contains("is not the key of"), "{error}");
}

// faults row 26
#[tokio::test]
async fn a_key_that_others_can_read_is_not_used() {
    let world = World::new();
    let (_, store) = world.open().await;
    let key = world.path("ca_key.pem");
    for mode in [0o644, 0o640, 0o660, 0o604] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = world.try_open(&store).await.err().unwrap();
        let says = error.to_string();
        assert!(matches!(error, Error::Signer(signer::Error::Mode { .. })), "{says}");
        let remedy = format!("chmod 600 {}", key.display());
        assert!(says.contains(&format!("mode {mode:04o}")) && says.contains(&remedy), "{says}");
    }
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o400)).unwrap();
    assert!(world.try_open(&store).await.is_ok(), "stricter is fine");

    // Only root can give a file away, and can read it all the same.
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&key, Some(65534), None).unwrap();
        let error = world.try_open(&store).await.err().unwrap();
        let says = error.to_string();
        assert!(matches!(error, Error::Signer(signer::Error::Owner { owner: 65534, .. })), "{says}");
        assert!(says.contains(&format!("chown 0 {}", key.display())), "{says}");
    }
}

#[tokio::test]
async fn a_key_file_that_holds_no_key_is_named_and_not_quoted() {
    let world = World::new();
    let (_, store) = world.open().await;
    let key = world.read("ca_key.pem");
    std::fs::write(world.path("ca_key.pem"), key.replace("END PRIVATE KEY", "END PRIVATE")).unwrap();
    let says = world.try_open(&store).await.err().unwrap().to_string();
    assert!(says.contains("ca_key.pem") && !says.contains(key.lines().nth(1).unwrap()), "{says}");
}

/// The power goes at each step of the first start: see the commit protocol in `founding`.
#[tokio::test]
async fn a_first_start_cut_short_is_finished_or_begun_again() {
    // Before the store knows: provisional files, perhaps only one, perhaps cut.
    for leftovers in [vec!["ca_key.pem.new"], vec!["ca_key.pem.new", "ca_crt.pem.new"]] {
        let world = World::new();
        std::fs::create_dir(&world.settings.dir).unwrap();
        for name in leftovers {
            std::fs::write(world.path(name), "-----BEGIN").unwrap();
        }
        let (authority, _) = world.open().await;
        authority.issue(&request("a"), first(), world.now).await.unwrap();
        assert_eq!(world.files(), ["ca_crl.pem", "ca_crt.pem", "ca_key.pem"]);
    }
    // After the store knows: none, one, or both files have their names.
    for unnamed in [vec!["ca_key.pem", "ca_crt.pem"], vec!["ca_crt.pem"]] {
        let world = World::new();
        let (authority, store) = world.open().await;
        let fingerprint = authority.fingerprint();
        drop(authority);
        for name in unnamed {
            std::fs::rename(world.path(name), world.path(&format!("{name}.new"))).unwrap();
        }
        std::fs::remove_file(world.path("ca_crl.pem")).unwrap();
        let again = world.try_open(&store).await.unwrap();
        assert_eq!(again.fingerprint(), fingerprint);
        assert_eq!((world.mode("ca_key.pem"), world.mode("ca_crt.pem")), (0o600, 0o644));
    }
}

#[tokio::test]
async fn a_key_under_a_passphrase_is_made_and_opened_with_it_alone() {
    let mut world = World::new();
    let keys = |text: Option<&str>| {
        let passphrase = text.map(|text| pki::Passphrase::new(text.as_bytes().to_vec()).unwrap());
        std::sync::Arc::new(signer::InProcess::new(passphrase))
    };
    world.settings.keys = keys(Some("open sesame"));
    let (authority, store) = world.open().await;
    authority.issue(&request("a"), first(), world.now).await.unwrap();
    drop(authority);
    let (fine, said) = world.openssl("pkey -in ca/ca_key.pem -passin pass:sesame -noout");
    assert!(!fine && world.read("ca_key.pem").contains("ENCRYPTED"), "{said}");
    world.write("secret", "open sesame\n");
    let (fine, said) = world.openssl("pkey -in ca/ca_key.pem -passin file:secret -noout");
    assert!(fine, "{said}");
    for wrong in [None, Some("close sesame")] {
        world.settings.keys = keys(wrong);
        let error = world.try_open(&store).await.err().unwrap();
        assert!(matches!(error, Error::Signer(_)) && !error.to_string().contains("sesame"), "{error}");
    }
    world.settings.keys = keys(Some("open sesame"));
    world.try_open(&store).await.unwrap();
}

// faults row 18
#[tokio::test]
async fn with_a_clock_outside_the_cas_life_nothing_is_signed() {
    let world = World::new();
    let (authority, store) = world.open().await;
    let ca = authority.certificate_of_ca().clone();
    let early = ca.not_before - Duration::SECOND;
    let late = ca.not_after;
    let refused = authority.issue(&request("a"), first(), early).await.unwrap_err();
    assert!(matches!(refused, Error::Clock { .. }), "{refused}");
    let refused = authority.issue(&request("a"), first(), late).await.unwrap_err();
    assert!(matches!(refused, Error::CaEnded { .. }), "{refused}");
    assert!(store.live_certificate("a").await.unwrap().is_none());
    drop(authority);
    for (now, clock) in [(early, true), (early - Duration::days(3650), true), (late, false)] {
        let error = Authority::open(world.settings.clone(), store.clone(), now).await.err().unwrap();
        assert_eq!(matches!(error, Error::Clock { .. }), clock, "{error}");
        assert_eq!(matches!(error, Error::CaEnded { .. }), !clock, "{error}");
    }
    // A node whose clock is slow can use its certificate at once.
    let authority = world.try_open(&store).await.unwrap();
    let certificate = authority.issue(&request("a"), first(), world.now + Duration::days(9)).await.unwrap();
    assert_eq!(certificate.not_before, world.now + Duration::days(8));
}
