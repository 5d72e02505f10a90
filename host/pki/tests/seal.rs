//! What a sealed CA key signs and what it does not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests"
)]

mod outside;

use std::sync::{Arc, Mutex};

use bunraku_pki::{
    Certificate, Certname, Extension, Issuer, KeyKind, PublicKey, Serial, Sign, SignError, SigningKey,
    Template, create_issuer, crl, issuer_request, may_sign, oid_of, renew_issuer, sign_certificate,
};
use outside::{Openssl, sequence, tlv, utf8};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

const FROM: OffsetDateTime = datetime!(2026-01-01 0:00 UTC);
const TO: OffsetDateTime = datetime!(2036-01-01 0:00 UTC);

/// A key that remembers what it was last asked to sign, and is sealed when it is told to what.
#[derive(Debug)]
struct Key {
    inner: SigningKey,
    last: Mutex<Vec<u8>>,
    sealed_to: Mutex<Option<Certificate>>,
}

impl Sign for Key {
    fn public(&self) -> &PublicKey {
        self.inner.public()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        *self.last.lock().unwrap() = message.to_vec();
        if let Some(issuer) = &*self.sealed_to.lock().unwrap() {
            may_sign(message, issuer)?;
        }
        self.inner.sign(message)
    }
}

struct World {
    key: Arc<Key>,
    issuer: Issuer,
}

impl World {
    fn new(kind: KeyKind) -> World {
        let inner = SigningKey::generate(kind).unwrap();
        let key = Arc::new(Key { inner, last: Mutex::default(), sealed_to: Mutex::default() });
        let issuer = create_issuer("CA", key.clone(), FROM, TO).unwrap();
        *key.sealed_to.lock().unwrap() = Some(issuer.certificate().clone());
        World { key, issuer }
    }

    fn ca(&self) -> &Certificate {
        self.issuer.certificate()
    }

    /// What is signed for a leaf.
    fn leaf(&self) -> Vec<u8> {
        sign_certificate(&self.template(), &self.issuer).unwrap();
        self.key.last.lock().unwrap().clone()
    }

    fn list(&self) -> Vec<u8> {
        let entries = vec![
            crl::Entry { serial: Serial::from_hex("80").unwrap(), revoked_at: FROM, reason: None },
            crl::Entry {
                serial: Serial::random().unwrap(),
                revoked_at: FROM,
                reason: Some(crl::Reason::Superseded),
            },
        ];
        crl::sign(7, FROM, TO, entries, &self.issuer).unwrap();
        self.key.last.lock().unwrap().clone()
    }

    fn template(&self) -> Template {
        Template {
            serial: Serial::random().unwrap(),
            certname: Certname::parse("node.test").unwrap(),
            key: SigningKey::generate(KeyKind::EcP256).unwrap().public().clone(),
            not_before: FROM,
            not_after: TO,
            alt_names: vec![bunraku_pki::AltName::Ip("127.0.0.1".parse().unwrap())],
            extensions: vec![Extension::new(&oid_of("pp_role").unwrap(), "worker")],
        }
    }

    fn refused(&self, what: &str, bytes: &[u8]) {
        let error = may_sign(bytes, self.ca()).expect_err(what).to_string();
        assert!(error.starts_with("the signer refuses: "), "{error}");
    }
}

#[test]
fn a_sealed_key_signs_what_the_ca_makes() {
    for kind in [KeyKind::EcP256, KeyKind::EcP384, KeyKind::Rsa2048] {
        let world = World::new(kind);
        may_sign(&world.leaf(), world.ca()).unwrap();
        may_sign(&world.list(), world.ca()).unwrap();
        crl::sign(8, FROM, TO, vec![], &world.issuer).unwrap();
        // Opened again, as after a restart: trying the key out is within the seal.
        Issuer::open(world.ca().clone(), world.key.clone()).unwrap();
    }
}

#[test]
fn a_sealed_key_makes_no_ca() {
    let world = World::new(KeyKind::EcP256);
    let renewed = renew_issuer(&world.issuer, FROM, TO);
    assert!(matches!(renewed, Err(SignError::Refused(_))), "{renewed:?}");
    let another = create_issuer("CA", world.key.clone(), FROM, TO);
    assert!(matches!(another, Err(SignError::Refused(_))), "{another:?}");
    let key: Arc<dyn Sign> = world.key.clone();
    assert!(matches!(issuer_request("CA", &key), Err(SignError::Refused(_))));

    // A leaf's own bytes, with something exchanged.
    let leaf = world.leaf();
    let no_ca = [0x30, 12, 6, 3, 0x55, 0x1d, 19, 1, 1, 0xff, 4, 2, 0x30, 0];
    let ca = [0x30, 15, 6, 3, 0x55, 0x1d, 19, 1, 1, 0xff, 4, 5, 0x30, 3, 1, 1, 0xff];
    let ca_not_critical = [0x30, 12, 6, 3, 0x55, 0x1d, 19, 4, 5, 0x30, 3, 1, 1, 0xff];
    let path = [0x30, 15, 6, 3, 0x55, 0x1d, 19, 1, 1, 0xff, 4, 5, 0x30, 3, 2, 1, 0];
    let twice = [no_ca.as_slice(), &ca].concat();
    for (what, instead) in [
        ("CA:TRUE", ca.as_slice()),
        ("CA:TRUE, not critical", &ca_not_critical),
        ("a path length without CA:TRUE", &path),
        ("no basic constraints", &[]),
        ("basic constraints twice", &twice),
        (
            "name constraints too",
            &[no_ca.as_slice(), &sequence(&[&[6, 3, 0x55, 0x1d, 30], &[4, 2, 0x30, 0]])].concat(),
        ),
    ] {
        world.refused(what, &exchanged(&leaf, &no_ca, instead));
    }
    // digitalSignature and keyEncipherment; with keyCertSign, with cRLSign, of two bytes, of none.
    let usage = [4, 4, 3, 2, 5, 0xa0];
    for instead in [
        [4, 4, 3, 2, 2, 0xa4].as_slice(),
        &[4, 4, 3, 2, 1, 0xa2],
        &[4, 5, 3, 3, 7, 0xa0, 0x80],
        &[4, 3, 3, 1, 0],
    ] {
        world.refused("key usage", &exchanged(&leaf, &usage, instead));
    }
}

#[test]
fn a_sealed_key_signs_in_its_own_cas_name_and_time_alone() {
    let world = World::new(KeyKind::EcP256);
    let leaf = world.leaf();
    let name = |cn: &str| outside::common_name(&utf8(cn));
    world.refused("another issuer", &exchanged(&leaf, &name("CA"), &name("CB")));
    world.refused("the CA's own name", &exchanged(&leaf, &name("node.test"), &name("CA")));
    let time = |text: &str| tlv(23, &[text.as_bytes()]);
    let (from, to) = (time("260101000000Z"), time("360101000000Z"));
    let validity = sequence(&[&from, &to]);
    for (what, instead) in [
        ("before the CA", sequence(&[&time("251231235959Z"), &to])),
        ("beyond the CA", sequence(&[&from, &time("360101000001Z")])),
        ("no time at all", sequence(&[&from, &from])),
        ("one time", sequence(&[&from])),
    ] {
        world.refused(what, &exchanged(&leaf, &validity, &instead));
    }
    let ecdsa_sha256 = sequence(&[&[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]]);
    let ecdsa_sha1 = sequence(&[&[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1]]);
    world.refused("another algorithm", &exchanged(&leaf, &ecdsa_sha256, &ecdsa_sha1));

    let list = world.list();
    world.refused("another issuer's list", &exchanged(&list, &name("CA"), &name("CB")));
    world.refused("an empty life", &exchanged(&list, &to, &from));
}

#[test]
fn a_sealed_key_signs_no_delta_and_nothing_else() {
    let world = World::new(KeyKind::EcP256);
    let list = world.list();
    let number = sequence(&[&[6, 3, 0x55, 0x1d, 20], &tlv(4, &[&[2, 1, 7]])]);
    let delta = sequence(&[&[6, 3, 0x55, 0x1d, 27, 1, 1, 0xff], &tlv(4, &[&[2, 1, 1]])]);
    let scope = sequence(&[&[6, 3, 0x55, 0x1d, 28, 1, 1, 0xff], &tlv(4, &[&[0x30, 0]])]);
    world.refused("a delta", &exchanged(&list, &number, &[number.as_slice(), &delta].concat()));
    world.refused("a limited scope", &exchanged(&list, &number, &[number.as_slice(), &scope].concat()));
    world.refused("no number", &exchanged(&list, &number, &[]));
    let reason = sequence(&[&[6, 3, 0x55, 0x1d, 21], &tlv(4, &[&[10, 1, 4]])]);
    let indirect = sequence(&[&[6, 3, 0x55, 0x1d, 29, 1, 1, 0xff], &tlv(4, &[&[0x30, 0]])]);
    world.refused("an indirect entry", &exchanged(&list, &reason, &indirect));
    world.refused("an entry's number", &exchanged(&list, &[2, 2, 0, 0x80], &[2, 2, 0, 0x70]));

    let leaf = world.leaf();
    for (what, bytes) in [
        ("nothing", [].as_slice()),
        ("text", b"pay 1,000,000 to the bearer"),
        ("a digest", &[7; 32]),
        ("an empty sequence", &[0x30, 0]),
        ("a certificate, whole", &world.ca().der),
        ("trailing bytes", &[leaf.as_slice(), &[0]].concat()),
        ("a cut leaf", &leaf[..leaf.len() - 1]),
    ] {
        world.refused(what, bytes);
    }
    // Version 1, by leaving the version out.
    world.refused("version 1", &exchanged(&leaf, &[0xa0, 3, 2, 1, 2], &[]));

    // OpenSSL's, of that very name and key: with extensions that ours never have.
    let openssl = Openssl::new();
    openssl.write("ca.key", world.key.inner.to_secret_pem());
    openssl.write("ca.pem", world.ca().to_pem());
    openssl.ok("req -new -x509 -key ca.key -subj /CN=node -days 1 -CA ca.pem -CAkey ca.key -addext basicConstraints=critical,CA:FALSE -addext keyUsage=digitalSignature -addext crlDistributionPoints=URI:http://x -out leaf.pem -outform DER");
    let der = openssl.read("leaf.pem");
    let start = if der[1] == 0x82 { 4 } else { 3 };
    let length = 4 + (usize::from(der[start + 2]) << 8) + usize::from(der[start + 3]);
    world.refused("openssl's leaf", &der[start..start + length]);
}

/// The DER with every value `this` in it replaced, and the lengths around it mended.
fn exchanged(der: &[u8], this: &[u8], instead: &[u8]) -> Vec<u8> {
    fn go(der: &[u8], this: &[u8], instead: &[u8], found: &mut bool) -> Vec<u8> {
        let mut out = Vec::new();
        let mut at = 0;
        while at < der.len() {
            if der[at..].starts_with(this) {
                out.extend(instead);
                at += this.len();
                *found = true;
                continue;
            }
            let (header, length) = match der[at + 1] {
                0x82 => (4, (usize::from(der[at + 2]) << 8) + usize::from(der[at + 3])),
                0x81 => (3, usize::from(der[at + 2])),
                short => (2, usize::from(short)),
            };
            let content = &der[at + header..at + header + length];
            let identifier = der[at];
            let nested = identifier & 0x20 != 0 || identifier == 4 && content.starts_with(&[3]);
            let content = if nested { go(content, this, instead, found) } else { content.to_vec() };
            out.extend(tlv(identifier, &[&content]));
            at += header + length;
        }
        out
    }
    let mut found = false;
    let out = go(der, this, instead, &mut found);
    assert!(found, "{this:?} is not there");
    out
}

/// Not a duration that a test could check: `--nocapture` shows it.
#[test]
fn a_list_of_a_hundred_thousand_is_signed_sealed_and_read() {
    let world = World::new(KeyKind::EcP256);
    let entries: Vec<_> = (0..100_000)
        .map(|_| crl::Entry {
            serial: Serial::random().unwrap(),
            revoked_at: FROM + Duration::days(1),
            reason: Some(crl::Reason::KeyCompromise),
        })
        .collect();
    crl::sign(1, FROM, TO, entries.clone(), &world.issuer).unwrap();
    let signed_content = world.key.last.lock().unwrap().clone();
    let started = std::time::Instant::now();
    may_sign(&signed_content, world.ca()).unwrap();
    let sealed = started.elapsed();
    let started = std::time::Instant::now();
    let list = crl::sign(1, FROM, TO, entries, &world.issuer).unwrap();
    let signed = started.elapsed();
    let pem = list.to_pem();
    let written = started.elapsed();
    let read = crl::Crl::parse_pem(pem.as_bytes()).unwrap();
    println!(
        "{} bytes: signed in {signed:?}, {sealed:?} of it the seal's, in PEM in {:?}, read in {:?}",
        list.der.len(),
        written - signed,
        started.elapsed() - written
    );
    assert_eq!(read, list);
    assert!(read.is_signed_by(world.ca()));
}
