//! Certificates and revocation lists, as the `openssl` command sees them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests"
)]

mod outside;

use std::sync::Arc;

use bunraku_pki::{
    AltName, Certificate, CertificateRequest, Certname, Extension, Issuer, KeyKind, RequestRules, Serial,
    Sign as _, SignError, SigningKey, Template, create_issuer, crl, sign_certificate,
};
use outside::Openssl;
use time::{Duration, OffsetDateTime};

const LOOSE: RequestRules =
    RequestRules { allow_subject_alt_names: true, allow_authorization_extensions: true };

fn vector(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/vectors/{name}.pem", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// To the second, as certificates have it. The outside tool reads the real clock, so this does too.
/// A minute ago: a machine's clock may be set back while `openssl` looks at what was made with it.
fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc().replace_nanosecond(0).unwrap() - Duration::minutes(1)
}

fn ca(kind: KeyKind) -> Issuer {
    let key = SigningKey::generate(kind).unwrap();
    let not_before = now() - Duration::days(1);
    create_issuer("Puppet CA: test", Arc::new(key), not_before, not_before + Duration::days(15 * 365))
        .unwrap()
}

fn template(request: &CertificateRequest) -> Template {
    Template::for_request(
        request,
        Serial::random().unwrap(),
        now() - Duration::hours(23),
        now() + Duration::days(30),
    )
}

fn signed(name: &str, issuer: &Issuer) -> Certificate {
    let request = CertificateRequest::parse(&vector(name), &LOOSE).unwrap();
    sign_certificate(&template(&request), issuer).unwrap()
}

/// Lines of `openssl x509 -text` that hold any of these.
fn has(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "{wanted} is missing in\n{text}");
    }
}

#[test]
fn openssl_agrees_with_every_certificate() {
    for kind in [KeyKind::EcP256, KeyKind::Rsa4096] {
        let openssl = Openssl::new();
        let issuer = ca(kind);
        openssl.write("ca.pem", issuer.certificate().to_pem());
        openssl.ok("verify -x509_strict -CAfile ca.pem ca.pem");
        let text = openssl.ok("x509 -in ca.pem -noout -text -nameopt RFC2253,show_type");
        let key_usage = "Certificate Sign, CRL Sign";
        has(
            &text,
            &[
                "Version: 3",
                "CN=UTF8STRING:Puppet CA: test",
                "CA:TRUE, pathlen:0",
                "Key Usage: critical",
                key_usage,
            ],
        );

        for name in ["agent7", "agent8", "attributes", "ec-p256", "ed25519", "alt-names"] {
            let certificate = signed(name, &issuer);
            openssl.write("a.pem", certificate.to_pem());
            for purpose in ["sslclient", "sslserver"] {
                let said =
                    openssl.ok(&format!("verify -x509_strict -CAfile ca.pem -purpose {purpose} a.pem"));
                assert!(said.contains("a.pem: OK"), "{said}");
            }
            assert!(certificate.is_signed_by(issuer.certificate()));
        }
    }
}

#[test]
fn a_certificate_has_the_fields_of_puppets_own() {
    let openssl = Openssl::new();
    let issuer = ca(KeyKind::EcP256);
    let certificate = signed("attributes", &issuer);
    openssl.write("a.pem", certificate.to_pem());
    let text = openssl.ok("x509 -in a.pem -noout -text -nameopt RFC2253,show_type");
    has(
        &text,
        &[
            "Version: 3 (0x2)",
            "Signature Algorithm: ecdsa-with-SHA256",
            "Issuer: CN=UTF8STRING:Puppet CA: test",
            "Subject: CN=UTF8STRING:attr1.peer.test\n",
            "X509v3 Basic Constraints: critical\n                CA:FALSE",
            "X509v3 Extended Key Usage: critical\n                TLS Web Server Authentication, TLS Web Client Authentication",
            "X509v3 Key Usage: critical\n                Digital Signature, Key Encipherment",
            "X509v3 Subject Alternative Name: \n                DNS:attr1.peer.test\n",
            "1.3.6.1.4.1.34380.1.1.13: \n                ..hadoop::worker",
            "1.3.6.1.4.1.34380.1.2.1: \n                ..private ext",
        ],
    );
    // The key identifiers are those that the peer's own certificate for the same key has.
    openssl.write("peer.pem", vector("peer-certificate"));
    let id = |file: &str| openssl.ok(&format!("x509 -in {file} -noout -ext subjectKeyIdentifier"));
    assert_eq!(id("a.pem"), id("peer.pem"));
    openssl.write("ca.pem", issuer.certificate().to_pem());
    let issuers = id("ca.pem").lines().nth(1).unwrap().trim().to_owned();
    has(&openssl.ok("x509 -in a.pem -noout -ext authorityKeyIdentifier"), &[&issuers]);

    let serial = openssl.ok("x509 -in a.pem -noout -serial");
    assert_eq!(serial.trim(), format!("serial={}", certificate.serial.to_hex()));
    let fingerprint = openssl.ok("x509 -in a.pem -noout -fingerprint -sha256");
    assert_eq!(fingerprint.trim(), format!("sha256 Fingerprint={}", certificate.fingerprint));
    openssl.write("csr.pem", vector("attributes"));
    openssl.ok("req -in csr.pem -outform DER -out csr.der");
    let digest = openssl.ok("dgst -sha256 csr.der");
    let request = CertificateRequest::parse(&vector("attributes"), &LOOSE).unwrap();
    assert!(digest.trim().ends_with(&request.fingerprint.to_hex()), "{digest}");
}

/// Security lessons, 2.3: guides put a pre-shared key into `extension_requests`.
#[test]
fn a_secret_among_the_extensions_stays_out_of_the_certificate() {
    let request = CertificateRequest::parse(&vector("attributes"), &LOOSE).unwrap();
    assert_eq!(request.extensions.iter().filter(|e| e.label() == "pp_preshared_key").count(), 1);
    let certificate = signed("attributes", &ca(KeyKind::EcP256));
    let names: Vec<_> = certificate.extensions.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["pp_uuid", "pp_role", "pp_instance_id", "1.3.6.1.4.1.34380.1.2.1"]);
    for secret in ["psk in extension", "preshared as attribute", "challenge-secret"] {
        let there = certificate.der.windows(secret.len()).any(|w| w == secret.as_bytes());
        assert!(!there, "{secret}");
    }
}

#[test]
fn a_certificate_is_read_back_as_it_was_asked_for() {
    let issuer = ca(KeyKind::EcP256);
    let certificate = signed("alt-names", &issuer);
    assert_eq!(certificate.certname, Some(Certname::parse("san1.peer.test").unwrap()));
    assert_eq!(certificate.issuer, "CN=Puppet CA: test");
    // The own name comes first, once.
    let names: Vec<_> = certificate.alt_names.iter().map(AltName::to_string).collect();
    assert_eq!(names, ["DNS:san1.peer.test", "DNS:foo.peer.test", "IP:127.0.0.9"]);
    assert_eq!(Certificate::parse_pem(certificate.to_pem().as_bytes()).unwrap(), certificate);
    assert!(!certificate.is_ca && issuer.certificate().is_ca);

    let renewed =
        Template::for_renewal(&certificate, Serial::random().unwrap(), now(), now() + Duration::days(1))
            .unwrap();
    let renewed = sign_certificate(&renewed, &issuer).unwrap();
    assert_eq!((&renewed.alt_names, &renewed.extensions), (&certificate.alt_names, &certificate.extensions));
    assert_eq!(renewed.key_digest, certificate.key_digest);
    assert_ne!(renewed.serial, certificate.serial);
    assert!(Template::for_renewal(issuer.certificate(), Serial::random().unwrap(), now(), now()).is_none());
}

#[test]
fn the_peers_own_files_are_read() {
    let certificate = Certificate::parse_pem(&vector("peer-certificate")).unwrap();
    assert_eq!(certificate.extension("pp_role"), Some("hadoop::worker"));
    assert_eq!(certificate.serial.to_string(), "0x05");
    let both = String::from_utf8(vector("peer-ca")).unwrap();
    let first = both.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
    let ca = Certificate::parse_pem(first.as_bytes()).unwrap();
    assert!(ca.is_ca && ca.certname.is_none() && certificate.is_signed_by(&ca));
    assert!(!certificate.is_signed_by(self::ca(KeyKind::EcP256).certificate()));
    assert!(Certificate::parse_pem(both.as_bytes()).is_err(), "two certificates are not one");
    let both = String::from_utf8(vector("peer-crl")).unwrap();
    let first = both.split_inclusive("-----END X509 CRL-----\n").next().unwrap();
    let list = crl::Crl::parse_pem(first.as_bytes()).unwrap();
    assert!(list.is_signed_by(&ca) && list.number == 0 && list.entries.is_empty());
}

#[test]
fn an_existing_ca_is_opened_with_a_key_of_any_form() {
    let openssl = Openssl::new();
    openssl.write(
        "ca.cnf",
        "[req]\ndistinguished_name=dn\nx509_extensions=v3\nprompt=no\nstring_mask=utf8only\n[dn]\nCN=Puppet CA: old\n[v3]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n",
    );
    for (make, begins) in [
        ("genrsa -traditional -out key.pem 4096", "-----BEGIN RSA PRIVATE KEY"),
        ("genrsa -out key.pem 2048", "-----BEGIN PRIVATE KEY"),
        ("ecparam -name prime256v1 -genkey -out key.pem", "-----BEGIN EC PARAMETERS"),
        ("ecparam -name secp384r1 -genkey -noout -out key.pem", "-----BEGIN EC PRIVATE KEY"),
        ("genpkey -algorithm ed25519 -out key.pem", "-----BEGIN PRIVATE KEY"),
    ] {
        openssl.ok(make);
        let text = openssl.read("key.pem");
        assert!(text.starts_with(begins.as_bytes()), "{make}");
        openssl.ok("req -new -x509 -days 5475 -key key.pem -config ca.cnf -out ca.pem");
        let key = SigningKey::from_pem(&text).unwrap();
        // Written again, it is the same key.
        let again = SigningKey::from_pem(key.to_secret_pem().as_bytes()).unwrap();
        assert_eq!(again.public(), key.public());
        openssl.write("again.pem", key.to_secret_pem());
        assert_eq!(
            openssl.ok("pkey -in again.pem -pubout"),
            openssl.ok("pkey -in key.pem -pubout"),
            "{make}"
        );

        let certificate = Certificate::parse_pem(&openssl.read("ca.pem")).unwrap();
        let issuer = Issuer::open(certificate, Arc::new(key)).unwrap();
        let request = CertificateRequest::parse(&vector("agent7"), &LOOSE).unwrap();
        let mut template = template(&request);
        template.not_before = issuer.certificate().not_before;
        openssl.write("a.pem", sign_certificate(&template, &issuer).unwrap().to_pem());
        openssl.ok("verify -x509_strict -CAfile ca.pem a.pem");
        let list = crl::sign(1, now(), now() + Duration::days(1), vec![], &issuer).unwrap();
        openssl.write("crl.pem", list.to_pem());
        has(&openssl.ok("crl -in crl.pem -CAfile ca.pem -noout"), &["verify OK"]);
        openssl.ok("verify -x509_strict -crl_check -CRLfile crl.pem -CAfile ca.pem a.pem");
    }
}

#[test]
fn what_is_no_ca_does_not_sign() {
    let issuer = ca(KeyKind::EcP256);
    let key = || SigningKey::generate(KeyKind::EcP256).unwrap();
    let error = Issuer::open(issuer.certificate().clone(), Arc::new(key())).unwrap_err();
    assert!(matches!(error, SignError::WrongKey(_)), "{error}");

    let leaf_key = key();
    let leaf = Template {
        serial: Serial::random().unwrap(),
        certname: Certname::parse("leaf").unwrap(),
        key: leaf_key.public().clone(),
        not_before: now(),
        not_after: now() + Duration::days(1),
        alt_names: vec![],
        extensions: vec![],
    };
    let leaf = sign_certificate(&leaf, &issuer).unwrap();
    assert!(matches!(Issuer::open(leaf, Arc::new(leaf_key)), Err(SignError::NotAnIssuer(_))));
}

#[test]
fn a_validity_beyond_the_issuers_is_not_signed() {
    let issuer = ca(KeyKind::EcP256);
    let request = CertificateRequest::parse(&vector("agent7"), &LOOSE).unwrap();
    let (from, to) = (issuer.certificate().not_before, issuer.certificate().not_after);
    let second = Duration::seconds(1);
    for (not_before, not_after, fine) in [
        (from, to, true),
        (from - second, to, false),
        (from, to + second, false),
        (to, from, false),
        (from, from, false),
    ] {
        let template = Template { not_before, not_after, ..template(&request) };
        let signed = sign_certificate(&template, &issuer);
        assert_eq!(signed.is_ok(), fine, "{not_before} {not_after}");
        if let Ok(certificate) = signed {
            assert_eq!((certificate.not_before, certificate.not_after), (not_before, not_after));
        }
    }
}

#[test]
fn private_keys_stay_private() {
    let key = SigningKey::generate(KeyKind::EcP256).unwrap();
    let pem = key.to_secret_pem();
    let shown = format!("{key:?} {:?}", ca(KeyKind::EcP256));
    assert!(shown.contains("ec-p256") && !shown.contains(pem.lines().nth(1).unwrap()), "{shown}");
    let cut = pem.replace("-----END PRIVATE KEY-----\n", "");
    let two = pem.repeat(2);
    let openssl = Openssl::new();
    openssl.ok("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes128 -pass pass:x -out locked.pem");
    let locked = String::from_utf8(openssl.read("locked.pem")).unwrap();
    for bad in ["", "x", cut.as_str(), &two, &locked, &pem.replace("PRIVATE KEY", "CERTIFICATE")] {
        let error = SigningKey::from_pem(bad.as_bytes()).unwrap_err().to_string();
        let said = error.starts_with("the private key cannot be read")
            || bad == locked && error.starts_with("the private key is encrypted");
        assert!(said, "{error}");
    }
}

#[test]
fn openssl_agrees_with_every_revocation_list() {
    for kind in [KeyKind::EcP256, KeyKind::Rsa4096] {
        let openssl = Openssl::new();
        let issuer = ca(kind);
        openssl.write("ca.pem", issuer.certificate().to_pem());
        let (good, bad) = (signed("agent7", &issuer), signed("agent8", &issuer));
        openssl.write("good.pem", good.to_pem());
        openssl.write("bad.pem", bad.to_pem());

        let entry =
            |serial: &Serial, reason| crl::Entry { serial: serial.clone(), revoked_at: now(), reason };
        let entries = vec![
            entry(&bad.serial, Some(crl::Reason::KeyCompromise)),
            entry(&Serial::from_hex("80").unwrap(), Some(crl::Reason::Superseded)),
            entry(&Serial::from_hex("1").unwrap(), None),
        ];
        let list = crl::sign(258, now(), now() + Duration::days(7), entries, &issuer).unwrap();
        openssl.write("crl.pem", list.to_pem());
        let text = openssl.ok("crl -in crl.pem -CAfile ca.pem -noout -text");
        has(
            &text,
            &[
                "verify OK",
                "Version 2",
                "X509v3 CRL Number: \n                258",
                "Key Compromise",
                "Superseded",
                "Serial Number: 80",
            ],
        );
        has(&text, &[&bad.serial.to_hex()]);
        let id = openssl.ok("x509 -in ca.pem -noout -ext subjectKeyIdentifier");
        has(&text, &[id.lines().nth(1).unwrap().trim()]);
        openssl.ok("verify -x509_strict -crl_check -CRLfile crl.pem -CAfile ca.pem good.pem");
        let (fine, said) =
            openssl.run("verify -x509_strict -crl_check -CRLfile crl.pem -CAfile ca.pem bad.pem");
        assert!(!fine && said.contains("certificate revoked"), "{said}");

        let read = crl::Crl::parse_pem(list.to_pem().as_bytes()).unwrap();
        assert_eq!(read, list);
        assert!(
            read.is_signed_by(issuer.certificate()) && !read.is_signed_by(ca(KeyKind::EcP256).certificate())
        );

        let empty = crl::sign(0, now(), now() + Duration::days(7), vec![], &issuer).unwrap();
        openssl.write("crl.pem", empty.to_pem());
        has(&openssl.ok("crl -in crl.pem -CAfile ca.pem -noout -text"), &["No Revoked Certificates"]);
        assert!(crl::sign(0, now(), now(), vec![], &issuer).is_err(), "expired when made");
    }
}

// faults row 30, the part that is the reader's
#[test]
fn a_revocation_list_that_says_too_little_is_refused() {
    let issuer = ca(KeyKind::EcP256);
    let list = crl::sign(7, now(), now() + Duration::days(7), vec![], &issuer).unwrap();
    let pem = list.to_pem();
    for bad in ["", "x", &pem.repeat(2), &pem.replace("X509 CRL", "CERTIFICATE"), &pem[..pem.len() / 2]] {
        assert!(crl::Crl::parse_pem(bad.as_bytes()).is_err());
    }
    for at in 0..list.der.len() {
        let mut der = list.der.clone();
        der[at] ^= 1;
        let believed = crl::Crl::parse_der(der).is_ok_and(|read| read.is_signed_by(issuer.certificate()));
        assert!(!believed, "byte {at}");
    }
}

#[test]
fn extensions_without_a_place_are_not_signed() {
    let issuer = ca(KeyKind::EcP256);
    let request = CertificateRequest::parse(&vector("agent7"), &LOOSE).unwrap();
    for oid in ["pp_role", "", "5", "2.5.29.19", "1.3.6.1.4.1.34380.1.1.x", "1.3.6.1.4.1.34380.1.1."] {
        let template = Template { extensions: vec![Extension::new(oid, "x")], ..template(&request) };
        assert!(matches!(sign_certificate(&template, &issuer), Err(SignError::Field(_))), "{oid}");
    }
}
