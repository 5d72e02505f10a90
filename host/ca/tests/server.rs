//! The server's own certificate.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

mod world;

use bunraku_ca::Error;
use pki::Certname;
use pki::crl::Reason;
use time::Duration;
use world::{World, first, request};

fn puppet() -> Certname {
    Certname::parse("puppet.example").unwrap()
}

const NAMES: [&str; 2] = ["puppet", "127.0.0.1"];

#[tokio::test]
async fn the_server_gets_a_certificate_for_all_of_its_names() {
    let world = World::new();
    let (authority, _) = world.open().await;
    let identity = authority.server_identity(&puppet(), &NAMES, world.now).await.unwrap();
    assert_eq!((world.mode("server_key.pem"), world.mode("server_crt.pem")), (0o600, 0o644));
    assert_eq!(world.read("server_crt.pem"), identity.certificate_pem);
    assert_eq!(world.read("server_key.pem"), identity.key_pem);
    let secret = identity.key_pem.lines().nth(1).unwrap();
    assert!(!format!("{identity:?}").contains(secret));

    let verify = "verify -x509_strict -CAfile ca/ca_crt.pem -purpose sslserver ca/server_crt.pem";
    for name in ["-verify_hostname puppet", "-verify_hostname puppet.example", "-verify_ip 127.0.0.1"] {
        let (fine, said) = world.openssl(&verify.replace("-purpose", &format!("{name} -purpose")));
        assert!(fine, "{said}");
    }
    let (_, text) = world.openssl("x509 -in ca/server_crt.pem -noout -text");
    for wanted in [
        "1.3.6.1.4.1.34380.1.3.39: \n                ..true",
        "TLS Web Server Authentication, TLS Web Client",
    ] {
        assert!(text.contains(wanted), "{text}");
    }
    let (fine, public) = world.openssl("pkey -in ca/server_key.pem -pubout");
    assert!(fine && world.openssl("x509 -in ca/server_crt.pem -noout -pubkey").1 == public);
}

#[tokio::test]
async fn the_servers_certificate_is_kept_until_there_is_a_reason() {
    let world = World::new();
    let (authority, store) = world.open().await;
    let mut last = authority.server_identity(&puppet(), &NAMES, world.now).await.unwrap();
    let mut rows = 1;
    // Thirty-one days in all: a third is left when two thirds, 20 days and 16 hours, are gone.
    let third = last.certificate.not_after - (last.certificate.not_after - last.certificate.not_before) / 3;
    for (what, names, now, kept) in [
        ("nothing", vec!["puppet", "127.0.0.1"], world.now, true),
        ("another order", vec!["127.0.0.1", "puppet", "puppet.example"], world.now, true),
        ("just before a third is left", vec!["puppet", "127.0.0.1"], third - Duration::SECOND, true),
        ("a name more", vec!["puppet", "127.0.0.1", "localhost"], world.now, false),
        ("a name less", vec!["puppet", "127.0.0.1"], world.now, false),
        ("a third is left", vec!["puppet", "127.0.0.1"], third, false),
    ] {
        let identity = authority.server_identity(&puppet(), &names, now).await.unwrap();
        assert_eq!(identity.certificate.serial == last.certificate.serial, kept, "{what}");
        rows += usize::from(!kept);
        assert_eq!(store.certificates("puppet.example").await.unwrap().len(), rows, "{what}");
        if !kept {
            // Whoever still uses the old one may go on.
            assert!(!authority.is_revoked(&last.certificate.serial), "{what}");
        }
        last = identity;
    }
}

#[tokio::test]
async fn a_damaged_foreign_or_revoked_identity_is_made_anew() {
    let (world, other) = (World::new(), World::new());
    let (authority, _) = world.open().await;
    let (elsewhere, _store) = other.open().await;
    elsewhere.server_identity(&puppet(), &NAMES, other.now).await.unwrap();
    let mut last = authority.server_identity(&puppet(), &NAMES, world.now).await.unwrap();
    let remove = |name: &str| std::fs::remove_file(world.path(name)).unwrap();
    let copy = |name: &str| std::fs::write(world.path(name), other.read(name)).unwrap();
    let damages: [(&str, &dyn Fn()); 6] = [
        ("no key", &|| remove("server_key.pem")),
        ("no certificate", &|| remove("server_crt.pem")),
        ("half a certificate", &|| std::fs::write(world.path("server_crt.pem"), "-----BEGIN").unwrap()),
        ("another key", &|| copy("server_key.pem")),
        ("another CA's certificate", &|| copy("server_crt.pem")),
        ("another CA's pair", &|| {
            copy("server_key.pem");
            copy("server_crt.pem");
        }),
    ];
    for (what, damage) in damages {
        damage();
        let identity = authority.server_identity(&puppet(), &NAMES, world.now).await.unwrap();
        assert_ne!(identity.certificate.serial, last.certificate.serial, "{what}");
        assert!(identity.certificate.is_signed_by(authority.certificate_of_ca()), "{what}");
        last = identity;
    }
    authority.revoke(&last.certificate.serial, Reason::KeyCompromise, world.now).await.unwrap();
    let identity = authority.server_identity(&puppet(), &NAMES, world.now).await.unwrap();
    assert_ne!(identity.certificate.serial, last.certificate.serial);
}

#[tokio::test]
async fn the_servers_key_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    let (authority, _) = world.open().await;
    authority.server_identity(&puppet(), &NAMES, world.now).await.unwrap();
    let path = world.path("server_key.pem");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = authority.server_identity(&puppet(), &NAMES, world.now).await.unwrap_err();
    assert!(matches!(error, Error::Mode { .. }), "{error}");
}

#[tokio::test]
async fn the_server_does_not_take_a_nodes_name() {
    let world = World::new();
    let (authority, _) = world.open().await;
    let node = authority.issue(&request("web1"), first(), world.now).await.unwrap();
    for (name, alt_names) in [("web1", vec![]), ("puppet.example", vec!["web1"])] {
        let name = Certname::parse(name).unwrap();
        let error = authority.server_identity(&name, &alt_names, world.now).await.unwrap_err();
        assert!(matches!(error, Error::NodeHasName { .. }), "{error}");
    }
    authority.revoke(&node.serial, Reason::CessationOfOperation, world.now).await.unwrap();
    authority.server_identity(&puppet(), &["web1"], world.now).await.unwrap();
    let error = authority.server_identity(&puppet(), &["*.example"], world.now).await.unwrap_err();
    assert!(error.to_string().contains("*.example"), "{error}");
}
