//! Issuing and renewing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

mod world;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration as Life;

use bunraku_ca::{Error, Grant, Occasion, RenewError, Revoked};
use pki::crl::Reason;
use pki::{AltName, Certname};
use store::{RequestKey, RequestRow};
use time::Duration;
use world::{DAY, World, first, request, request_for};

#[tokio::test]
async fn a_certificate_is_in_the_inventory_when_it_is_returned() {
    let world = World::new();
    let (authority, store) = world.open().await;
    let asked = request("a");
    let key = RequestKey { certname: "a".into(), key_digest: asked.key_digest.to_hex() };
    let waiting = |key: &RequestKey| RequestRow {
        key: key.clone(),
        pem: asked.to_pem(),
        fingerprint: asked.fingerprint.to_string(),
        submitted_at: world.now.unix_timestamp(),
        peer: None,
        decision: None,
    };
    store.add_request(&waiting(&key), 10, 10).await.unwrap();
    let rival = RequestKey { key_digest: "rival".into(), ..key.clone() };
    store.add_request(&waiting(&rival), 10, 10).await.unwrap();

    let certificate = authority.issue(&asked, first(), world.now).await.unwrap();
    let row = store.certificate_by_serial(&certificate.serial.to_hex()).await.unwrap().unwrap();
    assert_eq!((row.der, row.certname.as_str()), (certificate.der.clone(), "a"));
    assert_eq!(row.key_digest, key.key_digest);
    assert_eq!(row.not_after, certificate.not_after.unix_timestamp());
    // faults rows 13 and 14: the request, and the other candidate of the name, wait no more.
    assert!(store.requests_of("a").await.unwrap().is_empty());
    let name = Certname::parse("a").unwrap();
    assert_eq!(authority.certificate(&name).await.unwrap(), Some(certificate.clone()));

    world.write("a.pem", certificate.to_pem());
    let (fine, said) =
        world.openssl("verify -x509_strict -crl_check -CRLfile ca/ca_crl.pem -CAfile ca/ca_crt.pem a.pem");
    assert!(fine, "{said}");
}

#[tokio::test]
async fn when_the_store_fails_nothing_is_returned() {
    let world = World::new();
    let (authority, store) = world.open().await;
    store.close().await;
    assert!(matches!(authority.issue(&request("a"), first(), world.now).await, Err(Error::Store(_))));
}

#[tokio::test]
async fn the_shortest_of_grant_setting_and_the_cas_own_life_counts() {
    let world = World::new();
    let (authority, _) = world.open().await;
    let end = authority.certificate_of_ca().not_after;
    for (name, granted, now, expected) in [
        ("a", None, world.now, world.now + Duration::days(30)),
        ("b", Some(Life::from_secs(3600)), world.now, world.now + Duration::HOUR),
        ("c", Some(900 * DAY), world.now, world.now + Duration::days(30)),
        ("d", Some(Life::MAX), world.now, world.now + Duration::days(30)),
        ("e", None, end - Duration::DAY, end),
        ("f", Some(Life::from_millis(1500)), world.now, world.now + Duration::milliseconds(1500)),
    ] {
        let grant = Grant { lifetime: granted, occasion: Occasion::First, waits: false };
        let certificate = authority.issue(&request(name), grant, now).await.unwrap();
        assert_eq!(certificate.not_after, expected.replace_nanosecond(0).unwrap(), "{name}");
    }
    let grant = Grant { lifetime: Some(Life::from_millis(999)), occasion: Occasion::First, waits: false };
    assert!(matches!(authority.issue(&request("g"), grant, world.now).await, Err(Error::Lifetime(_))));
}

// faults row 15
#[tokio::test]
async fn a_second_key_for_a_live_name_is_refused_without_proof() {
    let world = World::new();
    let (authority, store) = world.open().await;
    let old = authority.issue(&request("a"), first(), world.now).await.unwrap();
    let error = authority.issue(&request("a"), first(), world.now).await.unwrap_err();
    assert!(
        matches!(&error, Error::AlreadySigned { serial, .. } if *serial == old.serial.to_hex()),
        "{error}"
    );
    assert_eq!(error.to_string(), "a already has a signed certificate; ignoring certificate request");
    assert_eq!(store.certificates("a").await.unwrap().len(), 1);
    // An expired one is in nobody's way.
    let later = old.not_after + Duration::SECOND;
    authority.issue(&request("a"), first(), later).await.unwrap();
}

// faults row 15
#[tokio::test]
async fn with_proof_the_old_certificate_is_revoked_with_the_new_one() {
    let world = World::new();
    let (authority, store) = world.open().await;
    let old = authority.issue(&request("a"), first(), world.now).await.unwrap();
    let other = authority.issue(&request("b"), first(), world.now).await.unwrap();
    let renewal = |serial| Grant { lifetime: None, occasion: Occasion::Renewal(serial), waits: false };
    let error = authority.issue(&request("a"), renewal(other.serial), world.now).await.unwrap_err();
    assert!(matches!(error, Error::Presented(_)), "another's certificate proves nothing: {error}");

    let mut lists = authority.watch_trust();
    lists.mark_unchanged();
    let new = authority.issue(&request("a"), renewal(old.serial.clone()), world.now).await.unwrap();
    let row = store.certificate_by_serial(&old.serial.to_hex()).await.unwrap().unwrap();
    assert_eq!(row.superseded_by, Some(new.serial.to_hex()));
    assert_eq!(row.revocation_reason.as_deref(), Some("superseded"));
    assert!(authority.is_revoked(&old.serial) && !authority.is_revoked(&new.serial));
    lists.changed().await.unwrap();
    let listed = pki::crl::Crl::parse_pem(authority.trust().crls.as_bytes()).unwrap();
    assert_eq!((listed.entries.len(), &listed.entries[0].serial), (1, &old.serial));

    for unfit in [old.serial, pki::Serial::random().unwrap()] {
        let error = authority.issue(&request("a"), renewal(unfit), world.now).await.unwrap_err();
        assert!(matches!(error, Error::Presented(_)), "{error}");
    }
    let late = new.not_after + Duration::SECOND;
    let error = authority.issue(&request("a"), renewal(new.serial), late).await.unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
}

#[tokio::test]
async fn one_proof_is_good_for_one_certificate() {
    let world = World::new();
    let (authority, store) = world.open().await;
    let old = authority.issue(&request("a"), first(), world.now).await.unwrap();
    let grant = Grant { lifetime: None, occasion: Occasion::Renewal(old.serial), waits: false };
    let (x, y) = (request("a"), request("a"));
    let (one, two) = tokio::join!(
        authority.issue(&x, grant.clone(), world.now),
        authority.issue(&y, grant.clone(), world.now)
    );
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    assert_eq!(store.certificates("a").await.unwrap().len(), 2);
}

#[tokio::test]
async fn many_requests_at_once_for_one_name_end_as_one_certificate() {
    let world = World::new();
    let (authority, store) = world.open().await;
    let authority = Arc::new(authority);
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (authority, now) = (authority.clone(), world.now);
            tokio::spawn(async move { authority.issue(&request("a"), first(), now).await.is_ok() })
        })
        .collect();
    let mut signed = 0;
    for task in tasks {
        signed += usize::from(task.await.unwrap());
    }
    assert_eq!((signed, store.certificates("a").await.unwrap().len()), (1, 1));
}

#[tokio::test]
async fn a_renewed_certificate_is_the_same_but_for_serial_and_time() {
    let world = World::new();
    let (authority, store) = world.open().await;
    let old = authority.issue(&request_for("a", &["b.example"]), first(), world.now).await.unwrap();
    let later = world.now + Duration::days(20);
    let new = authority.renew(&old, later).await.unwrap();
    assert_eq!((&new.certname, &new.key, &new.alt_names), (&old.certname, &old.key, &old.alt_names));
    assert_eq!(new.not_after, later + Duration::days(30));
    let row = store.certificate_by_serial(&old.serial.to_hex()).await.unwrap().unwrap();
    assert_eq!((row.superseded_by, row.revoked_at), (Some(new.serial.to_hex()), None));
    // The node may still use the old one while it fetches its catalog.
    assert!(!authority.is_revoked(&old.serial));
    authority.renew(&new, later).await.unwrap();
}

// faults row 19
#[tokio::test]
async fn what_is_not_in_force_is_not_renewed() {
    let world = World::new();
    let (authority, store) = world.open().await;
    let issue = async |name: &str| authority.issue(&request(name), first(), world.now).await.unwrap();
    let count = async |name: &str| store.certificates(name).await.unwrap().len();

    let revoked = issue("revoked").await;
    authority.revoke(&revoked.serial, Reason::KeyCompromise, world.now).await.unwrap();
    assert!(matches!(authority.renew(&revoked, world.now).await, Err(RenewError::Revoked)));
    assert_eq!(count("revoked").await, 1);

    let expired = issue("expired").await;
    let late = expired.not_after + Duration::SECOND;
    assert!(matches!(authority.renew(&expired, late).await, Err(RenewError::Expired)));
    let early = expired.not_before - Duration::SECOND;
    assert!(matches!(authority.renew(&expired, early).await, Err(RenewError::NotYetValid)));
    assert_eq!(count("expired").await, 1);

    let superseded = issue("superseded").await;
    authority.renew(&superseded, world.now).await.unwrap();
    assert!(matches!(authority.renew(&superseded, world.now).await, Err(RenewError::Superseded)));
    assert_eq!(count("superseded").await, 2);

    let (elsewhere, _elsewhere) = World::new().open().await;
    let foreign = elsewhere.issue(&request("foreign"), first(), world.now).await.unwrap();
    assert!(matches!(authority.renew(&foreign, world.now).await, Err(RenewError::Foreign)));
    assert!(matches!(
        authority.renew(authority.certificate_of_ca(), world.now).await,
        Err(RenewError::Foreign)
    ));
    // The serial of one of ours, in another CA's certificate.
    let ours = issue("ours").await;
    let mut disguised = foreign;
    disguised.serial = ours.serial.clone();
    assert!(matches!(authority.renew(&disguised, world.now).await, Err(RenewError::Foreign)));
    assert_eq!(count("ours").await, 1);
    for error in [RenewError::Revoked, RenewError::Expired, RenewError::Superseded, RenewError::Foreign] {
        assert!(error.to_string().starts_with("the certificate"), "{error}");
    }
}

// faults row 20
#[tokio::test]
async fn two_renewals_at_once_end_as_one_and_no_row_is_lost() {
    let world = World::new();
    let (authority, store) = world.open().await;
    for round in 0..8 {
        let name = format!("node{round}");
        let old = authority.issue(&request(&name), first(), world.now).await.unwrap();
        let (one, two) = tokio::join!(authority.renew(&old, world.now), authority.renew(&old, world.now));
        let won: Vec<_> = [&one, &two].into_iter().flatten().map(|c| c.serial.to_hex()).collect();
        let lost = [&one, &two].into_iter().filter(|r| matches!(r, Err(RenewError::Superseded))).count();
        assert_eq!((won.len(), lost), (1, 1), "{one:?} {two:?}");
        let rows = store.certificates(&name).await.unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(store.live_certificate(&name).await.unwrap().unwrap().serial, won[0]);
    }
}

/// CVE-2020-29663: a revoked certificate was renewed.
#[tokio::test]
async fn a_renewal_that_races_a_revocation_leaves_nothing_in_force() {
    let world = World::new();
    let (authority, store) = world.open().await;
    for round in 0..16 {
        let name = format!("node{round}");
        let certname = Certname::parse(&name).unwrap();
        let old = authority.issue(&request(&name), first(), world.now).await.unwrap();
        let (renewed, revoked) = tokio::join!(
            authority.renew(&old, world.now),
            authority.revoke_name(&certname, Reason::KeyCompromise, world.now)
        );
        let revoked = revoked.unwrap();
        match renewed {
            Err(error) => assert!(matches!(error, RenewError::Revoked), "{error}"),
            // The renewal came first: then the revocation, which is of the name, has both.
            Ok(new) => assert_eq!(revoked, [old.serial, new.serial]),
        }
        assert_eq!(store.live_certificate(&name).await.unwrap(), None);
    }
}

/// CVE-2023-5255: renewed certificates could not be revoked.
#[tokio::test]
async fn every_serial_ever_issued_can_be_revoked_by_itself_and_by_name() {
    let world = World::new();
    let (authority, _) = world.open().await;
    let name = Certname::parse("a").unwrap();
    let one = authority.issue(&request("a"), first(), world.now).await.unwrap();
    let two = authority.renew(&one, world.now).await.unwrap();
    let three = authority.renew(&two, world.now).await.unwrap();
    let grant = Grant { lifetime: None, occasion: Occasion::Renewal(three.serial.clone()), waits: false };
    let four = authority.issue(&request("a"), grant, world.now).await.unwrap();
    for (serial, expected, what) in [
        (&one.serial, Revoked::Done, "the first"),
        (&one.serial, Revoked::Already, "a second time"),
        (&three.serial, Revoked::Already, "with its successor"),
    ] {
        let revoked = authority.revoke(serial, Reason::KeyCompromise, world.now).await.unwrap();
        assert_eq!(revoked, expected, "{what}");
    }
    let rest = authority.revoke_name(&name, Reason::KeyCompromise, world.now).await.unwrap();
    assert_eq!(
        rest.into_iter().collect::<BTreeSet<_>>(),
        BTreeSet::from([two.serial.clone(), four.serial.clone()])
    );
    for certificate in [one, two, three, four] {
        assert!(authority.is_revoked(&certificate.serial));
    }
    assert_eq!(authority.certificate(&name).await.unwrap(), None);
}

/// The agent of the server's machine has the name under which agents reach the server.
#[tokio::test]
async fn the_machines_own_agent_gets_its_name_from_there_alone() {
    let world = World::new();
    let (authority, _) = world.open().await;
    let server = Certname::parse("bunraku.own.host").unwrap();
    let names = ["own.host", "puppet"];
    authority.server_identity(&server, &names, world.now).await.unwrap();
    let own = request("own.host");
    assert!(matches!(authority.check_request(&own, false), Err(Error::ServerName { .. })));
    authority.check_request(&own, true).unwrap();
    authority.issue(&own, first(), world.now).await.unwrap();
    let other = authority.check_request(&request("puppet"), true);
    assert!(matches!(other, Err(Error::ServerName { .. })));
    authority.server_identity(&server, &["own.host"], world.now).await.unwrap();
}

/// CVE-2011-3872: agents' certificates had the server's names, and could play the server.
#[tokio::test]
async fn no_node_gets_a_name_of_the_server() {
    let world = World::new();
    let (authority, _) = world.open().await;
    let server = Certname::parse("puppet.example").unwrap();
    authority.server_identity(&server, &["puppet", "LOCALHOST", "127.0.0.1"], world.now).await.unwrap();
    for asked in [
        request("puppet.example"),
        request("puppet"),
        request("localhost"),
        request_for("a", &["puppet"]),
        request_for("a", &["b", "puppet.example"]),
    ] {
        assert!(matches!(authority.check_request(&asked, false), Err(Error::ServerName { .. })));
        let error = authority.issue(&asked, first(), world.now).await.unwrap_err();
        assert!(matches!(error, Error::ServerName { .. }), "{error}");
    }
    assert!(authority.check_request(&request("a"), false).is_ok());
    let certificate = authority.issue(&request("a"), first(), world.now).await.unwrap();
    assert_eq!(certificate.alt_names, [AltName::Dns("a".into())]);
    assert!(certificate.extensions.is_empty());
}
