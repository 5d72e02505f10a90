//! CAs of every kind, and CAs that the outside world made or signed, as the `openssl` command sees them.
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
    Bundle, Certificate, Certname, CrlChain, Issuer, KeyKind, Passphrase, Serial, Sign, SignError,
    SigningKey, Template, create_issuer, crl, is_encrypted_pem, issuer_request, renew_issuer,
    sign_certificate,
};
use outside::Openssl;
use time::{Duration, OffsetDateTime};

const EC: &str = "-algorithm EC -pkeyopt ec_paramgen_curve:P-256";

/// To the second, as certificates have it. The outside tool reads the real clock, so this does too.
/// A minute ago: a machine's clock may be set back while `openssl` looks at what was made with it.
fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc().replace_nanosecond(0).unwrap() - Duration::minutes(1)
}

fn key(kind: KeyKind) -> Arc<dyn Sign> {
    Arc::new(SigningKey::generate(kind).unwrap())
}

/// A node's certificate, which begins when its CA's does.
fn leaf(issuer: &Issuer) -> Certificate {
    let not_before = issuer.certificate().not_before;
    let template = Template {
        serial: Serial::random().unwrap(),
        certname: Certname::parse("node.test").unwrap(),
        key: SigningKey::generate(KeyKind::EcP256).unwrap().public().clone(),
        not_before,
        not_after: not_before + Duration::days(30),
        alt_names: vec![],
        extensions: vec![],
    };
    sign_certificate(&template, issuer).unwrap()
}

fn list(number: u64, issuer: &Issuer) -> crl::Crl {
    crl::sign(number, now(), now() + Duration::days(7), vec![], issuer).unwrap()
}

#[test]
fn a_ca_with_a_key_of_each_kind_signs() {
    for (name, shown) in [
        ("ec-p256", "ecdsa-with-SHA256"),
        ("ec-p384", "ecdsa-with-SHA384"),
        ("rsa-2048", "sha256WithRSAEncryption"),
        ("rsa-3072", "sha256WithRSAEncryption"),
        ("rsa-4096", "sha256WithRSAEncryption"),
    ] {
        let openssl = Openssl::new();
        let from = now() - Duration::days(1);
        let issuer =
            create_issuer("Puppet CA: test", key(name.parse().unwrap()), from, from + Duration::days(5000));
        let issuer = issuer.unwrap();
        openssl.write("ca.pem", issuer.certificate().to_pem());
        openssl.write("leaf.pem", leaf(&issuer).to_pem());
        openssl.write("crl.pem", list(1, &issuer).to_pem());
        openssl.ok("verify -x509_strict -CAfile ca.pem ca.pem");
        openssl.ok("verify -x509_strict -crl_check -CRLfile crl.pem -CAfile ca.pem leaf.pem");
        for file in ["x509 -in ca.pem", "x509 -in leaf.pem", "crl -in crl.pem"] {
            let text = openssl.ok(&format!("{file} -noout -text"));
            assert_eq!(text.matches(&format!("Signature Algorithm: {shown}")).count(), 2, "{text}");
        }
    }
}

/// The names of real roots: several units, several attributes in one part, letters of other encodings.
#[test]
fn an_issuers_name_comes_out_byte_for_byte() {
    for subject in [
        "C=DE\nO=Example Ltd\n0.OU=one\n1.OU=two\nCN=Issuing CA",
        "DC=test\n0.DC=example\nO=Example\nCN=Issuing CA\nemailAddress=pki@example.test",
        "O=several in one part\nCN=Issuing CA\n+serialNumber=7",
        "C=DE\nO=M\\xfcnchen\nCN=Issuing CA",
        "CN=Issuing CA\nO=after the name",
    ] {
        let openssl = Openssl::new();
        let root = openssl.foreign("root", "O=Example\nCN=Root", None, EC);
        let ours = openssl.foreign("ours", &subject.replace("\\xfc", "ü"), Some(&root), EC);
        let certificate = Certificate::parse_pem(&ours.pem()).unwrap();
        let key = SigningKey::from_pem(&openssl.read("ours.key")).unwrap();
        let issuer = Issuer::open(certificate, Arc::new(key)).unwrap();
        let (leaf, list) = (leaf(&issuer), list(1, &issuer));
        // Both compare the names byte for byte.
        assert!(leaf.is_signed_by(issuer.certificate()), "{subject}");
        assert!(list.is_signed_by(issuer.certificate()), "{subject}");
        assert_eq!(list.issuer, leaf.issuer);
        openssl.write("leaf.pem", leaf.to_pem());
        openssl.write("crl.pem", list.to_pem());
        openssl.ok(
            "verify -x509_strict -crl_check -CRLfile crl.pem -CAfile root.pem -untrusted ours.pem leaf.pem",
        );
        let name =
            |what: &str| openssl.ok(&format!("x509 -in {what} -noout -nameopt RFC2253,dump_all,dump_der"));
        assert_eq!(
            name("leaf.pem -issuer").trim_start_matches("issuer="),
            name("ours.pem -subject").trim_start_matches("subject=")
        );
    }
}

#[test]
fn a_ca_of_two_and_of_three_tiers_is_asked_for_and_signs() {
    for (kind, tiers, root_key) in [
        (KeyKind::EcP256, 2, EC),
        (KeyKind::Rsa2048, 3, "-algorithm RSA -pkeyopt rsa_keygen_bits:3072"),
        (KeyKind::EcP384, 3, "-algorithm EC -pkeyopt ec_paramgen_curve:P-384"),
    ] {
        let openssl = Openssl::new();
        let root = openssl.foreign("root", "C=DE\nO=Example\nCN=Root", None, root_key);
        let policy = (tiers == 3).then(|| openssl.foreign("policy", "O=Example\nCN=Policy", Some(&root), EC));
        let above = policy.as_ref().unwrap_or(&root);

        let key = key(kind);
        openssl.write("ours.csr", issuer_request("Puppet CA: three", &key).unwrap());
        let asked = openssl.ok("req -in ours.csr -noout -verify -text");
        for wanted in ["CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign", "CN = Puppet CA: three"] {
            assert!(asked.contains(wanted), "{asked}");
        }
        openssl.ok(&format!(
            "x509 -req -in ours.csr -CA {0}.pem -CAkey {0}.key -copy_extensions copy -days 365 -out ours.pem",
            above.name
        ));
        let issuer = Issuer::open(Certificate::parse_pem(&openssl.read("ours.pem")).unwrap(), key).unwrap();

        let mut chain = openssl.read("ours.pem");
        let mut lists = vec![bunraku_pki::crl::Crl::parse_pem(&root.list("", "")).unwrap()];
        if let Some(policy) = &policy {
            chain.extend(policy.pem());
            lists.push(crl::Crl::parse_pem(&policy.list("", "")).unwrap());
        }
        chain.extend(root.pem());
        let bundle = Bundle::parse(&chain).unwrap();
        assert_eq!((bundle.certificates().len(), bundle.issuer()), (tiers, issuer.certificate()));
        assert_eq!(bundle.pem().as_bytes(), chain);
        openssl.write("bundle.pem", &chain);
        let digest = openssl.ok("dgst -sha256 bundle.pem");
        assert!(digest.trim().ends_with(&bundle.fingerprint().to_hex()));

        let lists = CrlChain::new(list(1, &issuer), lists, &bundle).unwrap();
        assert_eq!(lists.lists().count(), tiers);
        openssl.write("crls.pem", lists.to_pem());
        openssl.write("leaf.pem", leaf(&issuer).to_pem());
        openssl.ok("verify -x509_strict -crl_check_all -CRLfile crls.pem -CAfile bundle.pem leaf.pem");

        let error = renew_issuer(&issuer, now(), now() + Duration::days(1)).unwrap_err();
        assert!(matches!(error, SignError::NotARoot(_)), "{error}");
    }
}

/// Puppet's own CA has more in it than a common name where Puppet Enterprise made it.
#[test]
fn a_renewed_ca_verifies_what_the_old_one_signed() {
    let openssl = Openssl::new();
    let old = openssl.foreign("old", "OU=Infrastructure\nCN=Puppet CA: old", None, "-algorithm RSA");
    let key = Arc::new(SigningKey::from_pem(&openssl.read("old.key")).unwrap());
    let issuer = Issuer::open(Certificate::parse_pem(&old.pem()).unwrap(), key.clone()).unwrap();
    let leaf = leaf(&issuer);
    let from = now() - Duration::days(1);
    let renewed = renew_issuer(&issuer, from, from + Duration::days(9000)).unwrap();
    assert_ne!(renewed.serial, issuer.certificate().serial);
    assert!(leaf.is_signed_by(&renewed) && renewed.is_signed_by(issuer.certificate()));
    openssl.write("leaf.pem", leaf.to_pem());
    openssl.write("new.pem", renewed.to_pem());
    openssl.ok("verify -x509_strict -CAfile new.pem new.pem");
    openssl.ok("verify -x509_strict -CAfile new.pem leaf.pem");
    for what in ["-subject", "-ext subjectKeyIdentifier", "-ext basicConstraints"] {
        let shown = |file: &str| openssl.ok(&format!("x509 -in {file} -noout {what}"));
        assert_eq!(shown("old.pem"), shown("new.pem"));
    }
    Issuer::open(renewed, key).unwrap();
    assert!(matches!(renew_issuer(&issuer, from, from), Err(SignError::Validity(..))));
}

/// A signer in another process, which has gone or which refuses.
#[derive(Debug)]
struct Elsewhere(SigningKey, SignError);

impl Sign for Elsewhere {
    fn public(&self) -> &bunraku_pki::PublicKey {
        self.0.public()
    }

    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, SignError> {
        Err(self.1.clone())
    }
}

/// Signs with another key than it says.
#[derive(Debug)]
struct Mistaken(SigningKey, SigningKey);

impl Sign for Mistaken {
    fn public(&self) -> &bunraku_pki::PublicKey {
        self.0.public()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.1.sign(message)
    }
}

#[test]
fn a_signer_that_does_not_answer_or_answers_wrongly_signs_nothing() {
    let new = || SigningKey::generate(KeyKind::EcP256).unwrap();
    for error in [SignError::Unavailable("it has gone".into()), SignError::Refused("it is asleep".into())] {
        let key: Arc<dyn Sign> = Arc::new(Elsewhere(new(), error.clone()));
        assert_eq!(issuer_request("x", &key), Err(error.clone()));
        let made = create_issuer("x", key, now(), now() + Duration::days(1));
        assert_eq!(made.map(drop), Err(error));
    }
    let made = create_issuer("x", Arc::new(Mistaken(new(), new())), now(), now() + Duration::days(1));
    assert!(matches!(made, Err(SignError::WrongKey(_))));
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text.as_bytes().to_vec()).unwrap()
}

#[test]
fn encrypted_keys_of_openssl_are_read_and_ours_are_read_by_it() {
    let openssl = Openssl::new();
    openssl.ok("genrsa -traditional -out rsa.pem 2048");
    openssl.ok("ecparam -name secp384r1 -genkey -noout -out sec1.pem");
    for make in [
        "genrsa -aes256 -passout pass:secret -out locked.pem 2048",
        "genrsa -aes128 -passout pass:secret -out locked.pem 2048",
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -pass pass:secret -out locked.pem",
        "pkcs8 -topk8 -v2 aes-256-cbc -in rsa.pem -passout pass:secret -out locked.pem",
        "pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA512 -iter 5000 -in sec1.pem -passout pass:secret -out locked.pem",
        "pkcs8 -topk8 -scrypt -in sec1.pem -passout pass:secret -out locked.pem",
    ] {
        openssl.ok(make);
        let text = openssl.read("locked.pem");
        assert!(is_encrypted_pem(&text));
        let key = SigningKey::from_encrypted_pem(&text, &passphrase("secret\n")).unwrap();
        for wrong in ["Secret", "secret\n\n"] {
            let error = SigningKey::from_encrypted_pem(&text, &passphrase(wrong)).unwrap_err().to_string();
            assert!(error.contains("passphrase is wrong"), "{error}");
        }
        let error = SigningKey::from_pem(&text).unwrap_err().to_string();
        assert_eq!(error, "the private key is encrypted: its passphrase is needed");

        openssl.write("ours.pem", key.to_encrypted_pem(&passphrase("other")).unwrap());
        assert_eq!(
            openssl.ok("pkey -in ours.pem -passin pass:other -pubout"),
            openssl.ok("pkey -in locked.pem -passin pass:secret -pubout"),
            "{make}"
        );
    }
    // Keys in forms of their own are written as PKCS#8, for nothing else has a passphrase.
    for file in ["rsa.pem", "sec1.pem"] {
        let key = SigningKey::from_pem(&openssl.read(file)).unwrap();
        let closed = key.to_encrypted_pem(&passphrase("ü ß")).unwrap();
        assert!(closed.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
        openssl.write("ours.pem", &closed);
        openssl.write("passphrase", "ü ß\n");
        assert_eq!(
            openssl.ok("pkey -in ours.pem -passin file:passphrase -pubout"),
            openssl.ok(&format!("pkey -in {file} -pubout"))
        );
    }
}

#[test]
fn a_key_encrypted_in_another_form_is_refused_with_the_remedy() {
    let openssl = Openssl::new();
    openssl.ok("genrsa -out rsa.pem 2048");
    for make in [
        "rsa -traditional -aes256 -in rsa.pem -passout pass:secret -out locked.pem",
        "pkcs8 -topk8 -v2 des3 -in rsa.pem -passout pass:secret -out locked.pem",
        "pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA1 -in rsa.pem -passout pass:secret -out locked.pem",
        "pkcs8 -topk8 -v1 PBE-SHA1-3DES -in rsa.pem -passout pass:secret -out locked.pem",
        "pkcs8 -topk8 -v2 aes-256-cbc -iter 10000001 -in rsa.pem -passout pass:secret -out locked.pem",
    ] {
        openssl.ok(make);
        let text = openssl.read("locked.pem");
        assert!(is_encrypted_pem(&text));
        let error = SigningKey::from_encrypted_pem(&text, &passphrase("secret"));
        let error = error.expect_err(make).to_string();
        assert!(error.contains("openssl pkcs8 -topk8 -v2 aes-256-cbc"), "{make}: {error}");
    }
    let plain = openssl.read("rsa.pem");
    assert!(!is_encrypted_pem(&plain));
    assert!(SigningKey::from_encrypted_pem(&plain, &passphrase("secret")).is_err());
}

#[test]
fn a_passphrase_shows_nowhere() {
    assert_eq!(format!("{:?}", passphrase("hunter2")), "Passphrase(…)");
    for empty in ["", "\n", "\r\n"] {
        assert!(Passphrase::new(empty.as_bytes().to_vec()).is_err());
    }
}
