//! A CA below another one, whose root is the `openssl` command's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

mod world;

use bunraku_ca::{Authority, Error, KeyKind, UploadError, setup};
use pki::crl::{Crl, Reason};
use time::Duration;
use world::{World, first, request};

/// A CA that the root has certified, and its authority.
async fn below(world: &World) -> (Authority, std::sync::Arc<store::Store>) {
    world.make_root();
    let store = world.store().await;
    let csr = setup::request(&world.settings, &store).await.unwrap();
    let (chain, list) = (world.certify(&csr), world.root_list(1, 30));
    setup::install(&world.settings, &store, chain.as_bytes(), list.as_bytes(), world.now).await.unwrap();
    (world.try_open(&store).await.unwrap(), store)
}

#[tokio::test]
async fn a_ca_is_requested_certified_and_serves_its_whole_chain() {
    for kind in [KeyKind::EcP256, KeyKind::EcP384, KeyKind::Rsa2048] {
        let mut world = World::new();
        world.settings.key = kind;
        let (authority, store) = below(&world).await;
        let trust = authority.trust();
        assert_eq!((trust.bundle.certificates().len(), trust.number), (2, 1));
        assert_eq!(world.read("ca_crt.pem"), **trust.bundle.pem());
        assert_eq!((world.read("ca_crl.pem"), &trust.agents_crls), (trust.crls.to_string(), &trust.crls));
        let lists = Crl::parse_pem_all(trust.crls.as_bytes()).unwrap();
        let chain = trust.bundle.certificates();
        assert_eq!(lists.len(), 2);
        assert!(lists[0].is_signed_by(&chain[0]) && lists[1].is_signed_by(&chain[1]), "own first");
        assert_eq!(trust.next_update, lists[0].next_update, "the earliest");

        let good = authority.issue(&request("good"), first(), world.now).await.unwrap();
        let bad = authority.issue(&request("bad"), first(), world.now).await.unwrap();
        authority.revoke(&bad.serial, Reason::KeyCompromise, world.now).await.unwrap();
        authority.publish_now(world.now).await.unwrap();
        world.write("good.pem", good.to_pem());
        world.write("bad.pem", bad.to_pem());
        let verify = |name: &str| {
            world.openssl(&format!(
                "verify -x509_strict -crl_check_all -CRLfile ca/ca_crl.pem -CAfile ca/ca_crt.pem {name}.pem"
            ))
        };
        let (fine, said) = verify("good");
        assert!(fine, "{kind}: {said}");
        let (fine, said) = verify("bad");
        assert!(!fine && said.contains("certificate revoked"), "{kind}: {said}");
        let ends = authority.expirations();
        assert_eq!(
            ends.ca_certs.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            ["Puppet CA: test", "Root"]
        );
        assert_eq!((ends.crls.len(), ends.crls[1].0.as_str()), (2, "Root"));
        drop(authority);
        let again = world.try_open(&store).await.unwrap();
        assert_eq!(Crl::parse_pem_all(again.trust().crls.as_bytes()).unwrap().len(), 2);
    }
}

#[tokio::test]
async fn between_request_and_certificate_nothing_serves_and_nothing_is_lost() {
    let world = World::new();
    world.make_root();
    let store = world.store().await;
    let early = setup::install(&world.settings, &store, b"", b"", world.now).await.unwrap_err();
    assert!(matches!(early, Error::NoCa { .. }), "{early}");
    let csr = setup::request(&world.settings, &store).await.unwrap();
    assert_eq!((world.files(), world.mode("ca_key.pem")), (vec!["ca_key.pem".to_owned()], 0o600));
    let key = world.read("ca_key.pem");
    world.write("ca.csr", &csr);
    let (fine, said) = world.openssl("req -in ca.csr -noout -verify -text");
    assert!(fine && said.contains("CA:TRUE") && said.contains("CN = Puppet CA: test"), "{said}");
    store.close().await;

    let store = world.store().await;
    assert_eq!(setup::request(&world.settings, &store).await.unwrap(), csr, "the same again");
    for error in [
        world.try_open(&store).await.err().unwrap(),
        setup::create(&world.settings, &store, world.now).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::Uncertified { .. }), "{error}");
        assert!(error.to_string().contains("ca_crt.pem is missing"), "{error}");
    }
    // The power went before the key had its name.
    std::fs::rename(world.path("ca_key.pem"), world.path("ca_key.pem.new")).unwrap();
    let chain = world.certify(&csr);
    let list = world.root_list(1, 30);
    let install = async |chain: &str, list: &str| {
        setup::install(&world.settings, &store, chain.as_bytes(), list.as_bytes(), world.now).await
    };
    let other = World::new();
    other.make_root();
    let strange = other.root_list(1, 30);
    let (sub, root) = (world.text("sub.pem"), world.text("root.pem"));
    let expired = world.root_list(2, 1);
    let later = world.now + Duration::days(2);
    let late = setup::install(&world.settings, &store, chain.as_bytes(), expired.as_bytes(), later).await;
    for (what, outcome, says) in [
        ("the root alone", install(&root, &list).await, "is not the key of"),
        ("no root", install(&sub, &list).await, "append the certificate"),
        ("the wrong way round", install(&(root.clone() + &sub), &list).await, "wrong order"),
        ("no list", install(&chain, "").await, ""),
        ("a stranger's list", install(&chain, &strange).await, "none of \"Root\""),
        ("a stranger's list too", install(&chain, &(strange.clone() + &list)).await, "no CA of the chain"),
        ("a list past its time", late, "ended at"),
        ("rubbish", install("rubbish", &list).await, ""),
    ] {
        let error = outcome.expect_err(what).to_string();
        assert!(error.contains(says), "{what}: {error}");
        assert_eq!(world.files(), ["ca_key.pem"], "{what}");
    }
    install(&chain, &list).await.unwrap();
    assert_eq!(world.read("ca_key.pem"), key);
    let authority = world.try_open(&store).await.unwrap();
    authority.issue(&request("a"), first(), world.now).await.unwrap();
    assert!(matches!(setup::create(&world.settings, &store, world.now).await, Err(Error::Exists { .. })));
}

#[tokio::test]
async fn newer_lists_of_the_root_are_taken_and_no_others() {
    let world = World::new();
    let (authority, store) = below(&world).await;
    let upload = async |pem: &str| authority.upload_crls(pem.as_bytes(), world.now).await;
    let own = authority.trust().crls.to_string();
    for (what, pem, expected) in [
        ("rubbish", "garbage".to_owned(), "No valid CRLs submitted."),
        ("nothing", String::new(), "No valid CRLs submitted."),
        ("what it has", own.clone(), "Could not determine newest CRL."),
        ("the same number", world.root_list(1, 30), "Could not determine newest CRL."),
    ] {
        // The same number with a later thisUpdate is newer, and these are of the same second or two.
        let outcome = upload(&pem).await;
        if what == "the same number" && outcome.is_ok() {
            continue;
        }
        assert_eq!(outcome.unwrap_err().to_string(), expected, "{what}");
    }
    let other = World::new();
    other.make_root();
    let error = upload(&other.root_list(9, 30)).await.unwrap_err();
    assert!(matches!(error, UploadError::Foreign(_)), "{error}");
    let number = authority.trust().number;
    let (fifth, fourth) = (world.root_list(5, 20), world.root_list(4, 90));
    let with_own = own + &fifth;
    assert_eq!(upload(&with_own).await.unwrap(), ["Root"]);
    let trust = authority.trust();
    assert!(trust.number > number);
    let numbers = |pem: &str| -> Vec<u64> {
        Crl::parse_pem_all(pem.as_bytes()).unwrap().iter().map(|list| list.number).collect()
    };
    assert_eq!(numbers(&trust.crls), [trust.number, 5]);
    assert_eq!(world.read("ca_crl.pem"), *trust.crls);
    let error = upload(&fourth).await.unwrap_err();
    assert!(matches!(error, UploadError::NoneNewer), "{error}");
    drop(authority);

    // It survives a start; and so does a newer one that only the file has.
    let authority = world.try_open(&store).await.unwrap();
    assert_eq!(numbers(&authority.trust().crls)[1], 5);
    drop(authority);
    let sixth = world.root_list(6, 20);
    std::fs::write(world.path("ca_crl.pem"), sixth).unwrap();
    for _ in 0..2 {
        let authority = world.try_open(&store).await.unwrap();
        assert_eq!(numbers(&authority.trust().crls)[1], 6);
        assert_eq!(world.read("ca_crl.pem"), *authority.trust().crls);
    }
}

// faults row 29
#[tokio::test]
async fn a_list_of_the_root_past_its_time_is_served_and_said() {
    let world = World::new();
    let (authority, store) = below(&world).await;
    authority.upload_crls(world.root_list(2, 2).as_bytes(), world.now).await.unwrap();
    assert!(authority.health(world.now).is_empty());
    let late = world.now + Duration::days(3);
    drop(authority);
    let authority = Authority::open(world.settings.clone(), store, late).await.unwrap();
    let said = authority.health(late);
    assert!(said.len() == 1 && said[0].contains("revocation list of \"Root\" ended"), "{said:?}");
    let trust = authority.trust();
    assert_eq!(trust.freshness(late, Duration::days(7)), pki::Freshness::Stale);
    assert_eq!(authority.metrics().crl_next_update, trust.next_update.unix_timestamp());
    assert_eq!(Crl::parse_pem_all(trust.crls.as_bytes()).unwrap().len(), 2);
}

#[tokio::test]
async fn a_new_certificate_for_the_same_key_takes_the_olds_place() {
    let world = World::new();
    let (authority, store) = below(&world).await;
    let old = authority.issue(&request("a"), first(), world.now).await.unwrap();
    let before = authority.certificate_of_ca().clone();
    drop(authority);
    let csr = setup::request(&world.settings, &store).await.unwrap();
    let chain = world.certify(&csr);
    let list = world.root_list(2, 30);
    // The power goes before the new certificate has its name: the old file is still there.
    let old_file = world.read("ca_crt.pem");
    setup::install(&world.settings, &store, chain.as_bytes(), list.as_bytes(), world.now).await.unwrap();
    std::fs::rename(world.path("ca_crt.pem"), world.path("ca_crt.pem.new")).unwrap();
    std::fs::write(world.path("ca_crt.pem"), old_file).unwrap();
    let authority = world.try_open(&store).await.unwrap();
    let after = authority.certificate_of_ca();
    assert_eq!((&after.key, after.serial == before.serial), (&before.key, false));
    assert_eq!(world.read("ca_crt.pem"), chain);
    assert!(old.is_signed_by(after));
    assert!(authority.trust().number > 1 || authority.trust().number == 1);

    let other = World::new();
    let (_, other_store) = below(&other).await;
    let foreign = setup::install(&other.settings, &other_store, chain.as_bytes(), list.as_bytes(), world.now);
    assert!(foreign.await.is_err(), "another key's");
}

#[tokio::test]
async fn a_self_signed_ca_renews_its_own_certificate() {
    let world = World::new();
    let (authority, store) = world.open().await;
    let leaf = authority.issue(&request("a"), first(), world.now).await.unwrap();
    let before = authority.certificate_of_ca().clone();
    drop(authority);
    let later = world.now + Duration::days(3000);
    let bundle = setup::renew_ca(&world.settings, &store, later).await.unwrap();
    let after = bundle.issuer();
    assert_eq!((&after.key, &after.subject_cn), (&before.key, &before.subject_cn));
    assert_eq!(after.not_after, later - Duration::DAY + Duration::days(15 * 365));
    assert!(leaf.is_signed_by(after));
    let authority = world.try_open(&store).await.unwrap();
    world.write("a.pem", leaf.to_pem());
    let (fine, said) =
        world.openssl("verify -x509_strict -crl_check -CRLfile ca/ca_crl.pem -CAfile ca/ca_crt.pem a.pem");
    assert!(fine, "{said}");
    authority.renew(&leaf, world.now).await.unwrap();
    drop(authority);

    let below_root = World::new();
    let (authority, store) = below(&below_root).await;
    drop(authority);
    let error = setup::renew_ca(&below_root.settings, &store, world.now).await.unwrap_err();
    assert!(matches!(error, Error::NotTheCas(_)), "{error}");
}
