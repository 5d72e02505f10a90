//! Who gets no certificate: revoked names and keys, names of masters, too little room.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

mod world;

use bunraku_ca::{Error, GenerateOptions, Grant, Occasion, RenewError, Revoked};
use pki::crl::{Crl, Reason};
use pki::{AltName, CertificateRequest, Certname, RequestRules, Serial};
use time::Duration;
use world::{DAY, World, first, request, request_for, twice};

fn name(name: &str) -> Certname {
    Certname::parse(name).unwrap()
}

fn by_hand() -> Grant {
    Grant { lifetime: None, occasion: Occasion::Administrator, waits: false }
}

/// The hole of old: a revoked name counted as new.
#[tokio::test]
async fn a_revoked_name_is_refused_until_it_is_cleaned() {
    let world = World::new();
    let (authority, store) = world.open().await;
    for (certname, by_name) in [("one", true), ("two", false)] {
        let old = authority.issue(&request(certname), first(), world.now).await.unwrap();
        if by_name {
            let revoked =
                authority.revoke_name(&name(certname), Reason::CessationOfOperation, world.now).await;
            assert_eq!(revoked.unwrap(), std::slice::from_ref(&old.serial));
        } else {
            authority.revoke(&old.serial, Reason::CessationOfOperation, world.now).await.unwrap();
        }
        let again = request(certname);
        for now in [world.now, old.not_after + Duration::DAY] {
            for grant in [first(), by_hand()] {
                let error = authority.issue(&again, grant, now).await.unwrap_err();
                assert!(matches!(error, Error::NameRevoked { .. }), "{error}");
                let words = format!("{certname} has a revoked certificate; ignoring certificate request");
                assert_eq!(error.to_string(), words);
            }
            let generated = authority.generate(again.to_pem().as_bytes(), Default::default(), now).await;
            assert!(matches!(generated, Err(Error::NameRevoked { .. })));
        }
        let early = authority.standing(&again).await.unwrap_err();
        assert!(matches!(early, Error::NameRevoked { .. }), "{early}");
        assert_eq!(authority.standing(&request("three")).await.unwrap(), None);
        let error = authority.renew_name(&name(certname), world.now).await.unwrap_err();
        assert!(error.to_string().contains("no certificate that could be renewed"), "{error}");

        let cleaned =
            authority.clean(&name(certname), Reason::CessationOfOperation, world.now).await.unwrap();
        assert_eq!((cleaned.revoked.len(), cleaned.certificates), (0, 1));
        assert!(authority.is_revoked(&old.serial), "cleaned is still revoked");
        assert_eq!(authority.standing(&again).await.unwrap(), None);
        let issued = authority.issue(&again, first(), world.now).await.unwrap();
        assert_eq!(authority.standing(&again).await.unwrap(), Some(issued));
        assert_eq!(store.certificates(certname).await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn cleaning_revokes_and_forgets_whatever_there_is() {
    let world = World::new();
    let (authority, store) = world.open().await;
    let one = authority.issue(&request("a"), first(), world.now).await.unwrap();
    let two = authority.renew(&one, world.now).await.unwrap();
    let mut lists = authority.watch_trust();
    lists.mark_unchanged();
    let cleaned = authority.clean(&name("a"), Reason::CessationOfOperation, world.now).await.unwrap();
    assert_eq!((cleaned.revoked.len(), cleaned.certificates, cleaned.requests), (2, 2, 0));
    assert!(authority.is_revoked(&one.serial) && authority.is_revoked(&two.serial));
    lists.changed().await.unwrap();
    assert_eq!(authority.trust().revoked.len(), 2);
    // users-complain row 18: only a request, or nothing at all.
    let nothing = authority.clean(&name("b"), Reason::CessationOfOperation, world.now).await.unwrap();
    assert_eq!((nothing.revoked.len(), nothing.certificates, nothing.requests), (0, 0, 0));
    // The reason was no fault of the key's: it may come back.
    authority.issue(&request("a"), first(), world.now).await.unwrap();
    assert_eq!(store.certificates("a").await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_key_given_up_is_never_certified_again() {
    for (reason, for_ever) in [
        (Reason::KeyCompromise, true),
        (Reason::PrivilegeWithdrawn, true),
        (Reason::Unspecified, true),
        (Reason::Superseded, false),
        (Reason::CessationOfOperation, false),
        (Reason::AffiliationChanged, false),
    ] {
        let world = World::new();
        let (authority, _) = world.open().await;
        let (one, other) = twice("one", "other");
        let old = authority.issue(&one, first(), world.now).await.unwrap();
        let sibling = authority.issue(&other, first(), world.now).await.unwrap();
        authority.revoke(&old.serial, reason, world.now).await.unwrap();
        authority.clean(&name("one"), Reason::CessationOfOperation, world.now).await.unwrap();
        authority.clean(&name("other"), Reason::Superseded, world.now).await.unwrap();
        let mut outcomes = Vec::new();
        for asked in [&one, &other] {
            for grant in [first(), by_hand()] {
                outcomes.push(authority.issue(asked, grant, world.now).await.err());
            }
            let options = GenerateOptions { admin: true, ..Default::default() };
            outcomes.push(authority.generate(asked.to_pem().as_bytes(), options, world.now).await.err());
        }
        if for_ever {
            for error in outcomes {
                let error = error.expect("a key given up");
                assert!(
                    matches!(&error, Error::KeyRevoked { serial } if *serial == old.serial.to_hex()),
                    "{reason}: {error}"
                );
                assert!(error.to_string().contains("puppet ssl clean"), "{error}");
            }
            assert!(matches!(authority.standing(&other).await, Err(Error::KeyRevoked { .. })));
        } else {
            assert_eq!(outcomes.iter().filter(|error| error.is_none()).count(), 2, "{reason}: {outcomes:?}");
        }
        drop(sibling);
    }
}

#[tokio::test]
async fn a_key_given_up_is_not_renewed_under_its_other_name() {
    let world = World::new();
    let (authority, _) = world.open().await;
    let (one, other) = twice("one", "other");
    let bad = authority.issue(&one, first(), world.now).await.unwrap();
    let good = authority.issue(&other, first(), world.now).await.unwrap();
    authority.revoke(&bad.serial, Reason::KeyCompromise, world.now).await.unwrap();
    for outcome in
        [authority.renew(&good, world.now).await, authority.renew_name(&name("other"), world.now).await]
    {
        let error = outcome.unwrap_err();
        assert!(matches!(error, RenewError::KeyRevoked(_)), "{error}");
    }
}

#[tokio::test]
async fn a_serial_that_nobody_knows_is_revoked_all_the_same() {
    let world = World::new();
    let (authority, store) = world.open().await;
    let serial = Serial::random().unwrap();
    let mut lists = authority.watch_trust();
    lists.mark_unchanged();
    let revoke = async || authority.revoke(&serial, Reason::KeyCompromise, world.now).await.unwrap();
    assert_eq!(revoke().await, Revoked::Unknown);
    assert_eq!(revoke().await, Revoked::Already);
    assert!(authority.is_revoked(&serial));
    lists.changed().await.unwrap();
    assert!(authority.trust().is_revoked(&serial));
    drop(authority);
    let authority = world.try_open(&store).await.unwrap();
    authority.publish_now(world.now + Duration::days(4000)).await.unwrap();
    assert!(authority.trust().is_revoked(&serial), "it stays: nobody knows when it ends");
}

#[tokio::test]
async fn an_administrator_generates_what_no_agent_may_ask_for() {
    let mut world = World::new();
    world.settings.request_rules = RequestRules::default();
    let (authority, _) = world.open().await;
    let server = name("puppet.example");
    authority.server_identity(&server, &["puppet"], world.now).await.unwrap();
    let asked = request_for("admin", &["console.example"]);
    let options = GenerateOptions { lifetime: Some(DAY), admin: true };
    let made = authority.generate(asked.to_pem().as_bytes(), options.clone(), world.now).await.unwrap();
    assert_eq!(made.extension("pp_cli_auth"), Some("true"));
    assert!(made.alt_names.contains(&AltName::Dns("console.example".into())));
    assert_eq!(made.not_after, world.now + Duration::DAY);
    let plain = request_for("plain", &[]);
    let made = authority.generate(plain.to_pem().as_bytes(), Default::default(), world.now).await.unwrap();
    assert_eq!(made.extension("pp_cli_auth"), None);

    for refused in [request_for("x", &["puppet"]), request("puppet.example")] {
        let outcome = authority.generate(refused.to_pem().as_bytes(), options.clone(), world.now).await;
        assert!(matches!(outcome, Err(Error::ServerName { .. })), "{outcome:?}");
    }
    let again = authority.generate(asked.to_pem().as_bytes(), options.clone(), world.now).await;
    assert!(matches!(again, Err(Error::AlreadySigned { .. })), "{again:?}");
    let rubbish = authority.generate(b"rubbish", options, world.now).await;
    assert!(matches!(rubbish, Err(Error::Request(_))), "{rubbish:?}");
}

#[tokio::test]
async fn a_masters_names_are_its_own() {
    let mut world = World::new();
    world.settings.request_rules = RequestRules::default();
    let (authority, store) = world.open().await;
    authority.server_identity(&name("puppet.example"), &["puppet"], world.now).await.unwrap();
    let (one, two) = (name("m1.example"), name("m2.example"));
    let plain = authority.issue(&request("taken"), first(), world.now).await.unwrap();
    for (certname, names, expected) in [
        ("m1.example", vec!["taken"], "a node has a certificate"),
        ("puppet.example", vec![], "name of this server"),
        ("m1.example", vec!["puppet.example"], "name of this server"),
        ("m1.example", vec!["*.example"], "cannot be used"),
    ] {
        let error = authority.add_master(&name(certname), &names, world.now).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert!(!authority.is_master(&one));
    // Both may have the name by which all are reached.
    for (master, alone) in [(&one, "one.example"), (&two, "two.example")] {
        authority.add_master(master, &["puppet", alone, "10.0.0.1"], world.now).await.unwrap();
    }
    let error = authority.add_master(&name("m3"), &["m1.example"], world.now).await.unwrap_err();
    assert!(matches!(error, Error::ServerName { .. }), "{error}");

    let reopened = {
        drop(authority);
        world.try_open(&store).await.unwrap()
    };
    reopened.server_identity(&name("puppet.example"), &["puppet"], world.now).await.unwrap();
    let authority = reopened;
    assert!(authority.is_master(&one) && !authority.is_master(&name("taken")));
    assert!(authority.request_rules_for(&one).allow_subject_alt_names);
    assert!(!authority.request_rules_for(&name("taken")).allow_subject_alt_names);
    for (asks, alt_names, fine) in [
        ("m1.example", vec!["puppet", "one.example"], true),
        ("m1.example", vec![], true),
        ("m1.example", vec!["two.example"], false),
        ("m1.example", vec!["other.example"], false),
        ("m1.example", vec!["puppet.example"], false),
        ("m1.example", vec!["m2.example"], false),
        ("node", vec!["one.example"], false),
        ("node", vec!["m1.example"], false),
        ("one.example", vec![], false),
        ("puppet", vec![], false),
        ("node", vec![], true),
    ] {
        let outcome = authority.check_request(&request_for(asks, &alt_names), false);
        assert_eq!(outcome.is_ok(), fine, "{asks} {alt_names:?}: {outcome:?}");
    }
    let made = authority.issue(&request_for("m1.example", &["puppet"]), first(), world.now).await.unwrap();
    assert!(made.alt_names.contains(&AltName::Dns("puppet".into())));
    authority.renew(&made, world.now).await.unwrap();

    assert!(authority.note_enforcing(&one, 7, "10.0.0.1", world.now).await.unwrap());
    assert!(!authority.note_enforcing(&name("node"), 7, "10.0.0.9", world.now).await.unwrap());
    let rows = authority.masters().await.unwrap();
    assert_eq!((rows.len(), rows[0].crl_number, rows[1].crl_number), (2, Some(7), None));
    assert!(authority.remove_master(&one, world.now).await.unwrap());
    assert!(!authority.is_master(&one));
    assert!(authority.check_request(&request("one.example"), false).is_ok());
    drop(plain);
}

// users-complain row 45
#[tokio::test]
async fn with_too_little_room_nothing_is_issued_and_everything_is_revoked() {
    let mut world = World::new();
    let (authority, store) = world.open().await;
    let old = authority.issue(&request("old"), first(), world.now).await.unwrap();
    assert!(authority.health(world.now).is_empty(), "{:?}", authority.health(world.now));
    drop(authority);
    world.settings.min_free = u64::MAX - 1;
    let authority = world.try_open(&store).await.unwrap();
    let pem = request("new").to_pem();
    let refusals = [
        authority.issue(&request("new"), first(), world.now).await.err(),
        authority.generate(pem.as_bytes(), Default::default(), world.now).await.err(),
        match authority.renew(&old, world.now).await.unwrap_err() {
            RenewError::Failed(error) => Some(error),
            _ => None,
        },
    ];
    for error in refusals {
        let error = error.expect("no room");
        assert!(matches!(error, Error::LowSpace { .. }), "{error}");
    }
    let said = authority.health(world.now);
    assert!(said.len() == 1 && said[0].contains("free some space"), "{said:?}");
    let mut lists = authority.watch_trust();
    lists.mark_unchanged();
    authority.revoke(&old.serial, Reason::KeyCompromise, world.now).await.unwrap();
    lists.changed().await.unwrap();
    assert!(authority.trust().is_revoked(&old.serial));
    // The server itself must be able to start.
    authority.server_identity(&name("puppet.example"), &["puppet"], world.now).await.unwrap();
}

#[tokio::test]
async fn renewal_can_be_turned_off_for_all_but_administrators() {
    let mut world = World::new();
    world.settings.renewal = false;
    let (authority, _) = world.open().await;
    let old = authority.issue(&request("a"), first(), world.now).await.unwrap();
    assert!(matches!(authority.renew(&old, world.now).await, Err(RenewError::Disabled)));
    // Though it has expired.
    let late = old.not_after + Duration::DAY;
    let new = authority.renew_name(&name("a"), late).await.unwrap();
    assert_eq!((&new.key_digest, new.not_after), (&old.key_digest, late + Duration::days(30)));
    let error = authority.renew_name(&name("b"), world.now).await.unwrap_err();
    assert!(matches!(error, RenewError::Failed(Error::NoCertificate { .. })), "{error}");
    assert_eq!(authority.metrics().renewals_total, 1);
}

#[tokio::test]
async fn an_infra_list_has_the_servers_and_masters_certificates_alone() {
    let mut world = World::new();
    world.settings.infra_crl = true;
    let (authority, store) = world.open().await;
    let server = name("puppet.example");
    authority.server_identity(&server, &["puppet"], world.now).await.unwrap();
    authority.add_master(&name("m1"), &[""; 0], world.now).await.unwrap();
    let node = authority.issue(&request("node"), first(), world.now).await.unwrap();
    let master = authority.issue(&request("m1"), first(), world.now).await.unwrap();
    let own = authority.certificate(&server).await.unwrap().unwrap();
    for serial in [&node.serial, &master.serial, &own.serial] {
        authority.revoke(serial, Reason::KeyCompromise, world.now).await.unwrap();
    }
    let check = |authority: &bunraku_ca::Authority, expected: &[&Serial]| {
        let trust = authority.trust();
        let full = Crl::parse_pem(trust.crls.as_bytes()).unwrap();
        let infra = Crl::parse_pem(trust.agents_crls.as_bytes()).unwrap();
        assert_eq!((full.number, full.next_update), (infra.number, infra.next_update));
        assert_eq!((full.number, full.entries.len()), (trust.number, 3));
        let mut listed: Vec<_> = infra.entries.iter().map(|e| &e.serial).collect();
        let mut expected = expected.to_vec();
        listed.sort();
        expected.sort();
        assert_eq!(listed, expected);
        assert_eq!(world.read("ca_crl.pem"), *trust.crls);
        assert_eq!(world.read("infra_crl.pem"), *trust.agents_crls);
    };
    authority.publish_now(world.now).await.unwrap();
    check(&authority, &[&master.serial, &own.serial]);
    drop(authority);
    let authority = world.try_open(&store).await.unwrap();
    check(&authority, &[&master.serial, &own.serial]);
    authority.remove_master(&name("m1"), world.now).await.unwrap();
    authority.publish_now(world.now).await.unwrap();
    check(&authority, &[&own.serial]);
}

#[tokio::test]
async fn an_administrators_signature_takes_the_names_that_were_parsed() {
    let world = World::new();
    let (authority, _) = world.open().await;
    let rules = RequestRules { allow_subject_alt_names: true, allow_authorization_extensions: true };
    let pem = request_for("a", &["b.example", "c.example"]).to_pem();
    let asked = CertificateRequest::parse(pem.as_bytes(), &rules).unwrap();
    let made = authority.issue(&asked, by_hand(), world.now).await.unwrap();
    assert_eq!(made.alt_names.len(), 3);
    let again = authority.issue(&request("a"), by_hand(), world.now).await.unwrap_err();
    assert!(matches!(again, Error::AlreadySigned { .. }), "{again}");
}
