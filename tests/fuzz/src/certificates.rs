//! Requests, certificates, lists and keys. An input that begins with `-` is PEM, any other is DER (or what
//! [`definite`] makes DER of), for a fuzzer does not find its way through base64; and what a signature
//! protects is signed here first.

use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pki::crl::Crl;
use pki::{
    Bundle, Certificate, CertificateRequest, Certname, CrlChain, Issuer, KeyKind, Passphrase, RequestRules,
    Sign, SigningKey, create_issuer, is_encrypted_pem, may_sign,
};
use time::macros::datetime;

use crate::der::{definite, tlv};

const STRICT: RequestRules =
    RequestRules { allow_subject_alt_names: false, allow_authorization_extensions: false };
const LOOSE: RequestRules =
    RequestRules { allow_subject_alt_names: true, allow_authorization_extensions: true };

struct Ca {
    key: Arc<SigningKey>,
    issuer: Issuer,
    bundle: Bundle,
}

/// A CA with the name `CA`. Its key is another one in every run, and nothing depends on it.
static CA: LazyLock<Option<Ca>> = LazyLock::new(|| {
    let key = Arc::new(SigningKey::generate(KeyKind::EcP256).ok()?);
    let (from, to) = (datetime!(2026-01-01 0:00 UTC), datetime!(2036-01-01 0:00 UTC));
    let issuer = create_issuer("CA", key.clone(), from, to).ok()?;
    let bundle = Bundle::of_root(issuer.certificate()).ok()?;
    Some(Ca { key, issuer, bundle })
});

fn ca() -> &'static Ca {
    match &*CA {
        Some(ca) => ca,
        None => {
            eprintln!("no CA could be made");
            std::process::abort();
        }
    }
}

/// Requests: whole, or (from the tag of the attributes on) attributes alone in one that is well signed.
pub fn csr(input: &[u8]) {
    let input = &*definite(input);
    let text = match input.first() {
        Some(b'-') => input.to_vec(),
        Some(0xa0) => {
            let subject =
                tlv(0x30, &tlv(0x31, &tlv(0x30, &[&[6, 3, 0x55, 4, 3][..], &tlv(12, b"a")].concat())));
            let key = &ca().key.public().spki_der;
            pem("CERTIFICATE REQUEST", &signed(&tlv(0x30, &[&[2, 1, 0], &subject[..], key, input].concat())))
        }
        _ => pem("CERTIFICATE REQUEST", input),
    };
    let strict = CertificateRequest::parse(&text, &STRICT);
    let loose = CertificateRequest::parse(&text, &LOOSE);
    let Ok(request) = loose else {
        assert!(strict.is_err(), "strict rules allow what loose ones refuse");
        return;
    };
    assert!(strict.is_err() || strict.as_ref() == Ok(&request), "the rules change what is read");
    assert_eq!(Certname::parse(request.certname.as_str()).as_ref(), Ok(&request.certname));
    let again = CertificateRequest::parse(&pem("CERTIFICATE REQUEST", &request.der), &LOOSE);
    assert_eq!(again.as_ref(), Ok(&request), "a request is read otherwise the second time");
    let (from, to) = (datetime!(2027-01-01 0:00 UTC), datetime!(2028-01-01 0:00 UTC));
    let own = ca().issuer.certificate();
    let template = pki::Template::for_request(&request, own.serial.clone(), from, to);
    // What is signed is what was read, and no more of a certificate than a leaf.
    if let Ok(certificate) = pki::sign_certificate(&template, &ca().issuer) {
        assert!(!certificate.is_ca && certificate.is_signed_by(own));
        assert_eq!(certificate.certname.as_ref(), Some(&request.certname));
        assert_eq!(certificate.key, request.key);
    }
}

/// Certificates and bundles.
pub fn certificate(input: &[u8]) {
    let text = if input.starts_with(b"-") { input.to_vec() } else { pem("CERTIFICATE", &definite(input)) };
    if let Ok(certificate) = Certificate::parse_pem(&text) {
        let again = Certificate::parse_pem(certificate.to_pem().as_bytes());
        assert_eq!(again.as_ref(), Ok(&certificate), "a certificate is read otherwise the second time");
        let _ = certificate.is_signed_by(&certificate);
        // A chain is never longer than a CA allows, nor of what is no CA.
        let below = [text.as_slice(), ca().bundle.pem().as_bytes()].concat();
        assert!(Bundle::parse(&below).is_err(), "nobody but us has the key");
    }
    if let Ok(bundle) = Bundle::parse(&text) {
        assert_eq!(bundle.pem().as_bytes(), text);
        assert!(bundle.certificates().iter().all(|c| c.is_ca));
        assert!(bundle.certificates().last().is_some_and(|root| root.is_signed_by(root)));
    }
}

/// Revocation lists and chains of them; DER is also taken as the content of a list, and signed.
pub fn crl(input: &[u8]) {
    let ca = ca();
    if input.starts_with(b"-") {
        let _ = CrlChain::parse(input, &ca.bundle);
        if let Ok(lists) = Crl::parse_pem_all(input) {
            lists.into_iter().for_each(whole);
        }
        return;
    }
    let input = &*definite(input);
    if let Ok(list) = Crl::parse_der(input.to_vec()) {
        assert!(!list.is_signed_by(ca.issuer.certificate()), "nobody but us has the key");
        whole(list);
    }
    let Ok(list) = Crl::parse_der(signed(input)) else { return };
    whole(list.clone());
    let Ok(chain) = CrlChain::new(list, Vec::new(), &ca.bundle) else { return };
    let again = CrlChain::parse(chain.to_pem().as_bytes(), &ca.bundle);
    assert_eq!(again.as_ref(), Ok(&chain), "a chain is read otherwise the second time");
    assert_eq!(chain.must_follow(&chain), Ok(()));
    assert!(chain.revoked().len() <= chain.own().entries.len());
    assert!(chain.with_newer(vec![chain.own().clone()], &ca.bundle).is_err());
}

fn whole(list: Crl) {
    let again = Crl::parse_pem(list.to_pem().as_bytes());
    assert_eq!(again.as_ref(), Ok(&list), "a list is read otherwise the second time");
}

/// What a sealed key signs is no CA, and in nobody else's name.
pub fn seal(input: &[u8]) {
    let input = &*definite(input);
    let own = ca().issuer.certificate();
    if may_sign(input, own).is_err() {
        return;
    }
    let der = signed(input);
    match (Certificate::parse_der(&der), Crl::parse_der(der)) {
        (Ok(_), Ok(_)) => assert!(input.is_empty(), "it is a certificate and a list"),
        (Ok(certificate), Err(_)) => {
            assert!(!certificate.is_ca, "the seal lets a CA through");
            assert!(certificate.is_signed_by(own), "the seal lets another name through");
            assert!(certificate.not_after <= own.not_after && certificate.not_before >= own.not_before);
            let key = ca().key.clone();
            assert!(Issuer::open(certificate, key).is_err(), "the seal lets an issuer through");
        }
        (Err(_), Ok(list)) => assert!(list.is_signed_by(own), "the seal lets another name through"),
        // Such as a subject without a common name: not ours, and harmless.
        (Err(_), Err(_)) => {}
    }
}

/// Private keys in every form, with and without a passphrase.
pub fn keys(input: &[u8]) {
    let texts = if input.starts_with(b"-") {
        vec![input.to_vec()]
    } else {
        let labels = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY"];
        labels.iter().map(|label| pem(label, &definite(input))).collect()
    };
    for text in texts {
        let key = match Passphrase::new(b"secret".to_vec()) {
            Ok(passphrase) if is_encrypted_pem(&text) => SigningKey::from_encrypted_pem(&text, &passphrase),
            _ => SigningKey::from_pem(&text),
        };
        let Ok(key) = key else { continue };
        assert!(!format!("{key:?}").contains(&STANDARD.encode(input)));
        let again = SigningKey::from_pem(key.to_secret_pem().as_bytes());
        assert!(again.is_ok_and(|again| again.public() == key.public()), "a key is written as another");
        let _ = key.sign(b"x");
    }
}

/// A structure of this content, the CA's algorithm and a signature of the CA's key.
fn signed(content: &[u8]) -> Vec<u8> {
    let algorithm = [0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let signature = ca().key.sign(content).unwrap_or_default();
    tlv(0x30, &[content, &algorithm, &tlv(3, &[&[0], signature.as_slice()].concat())].concat())
}

fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without these, the fuzzer would only ever see refusals.
    #[test]
    fn the_seal_lets_its_seeds_through() {
        let own = ca().issuer.certificate();
        let seed = |name: &str| {
            let path = format!("{}/corpus/seal/{name}", env!("CARGO_MANIFEST_DIR"));
            definite(&std::fs::read(path).unwrap()).into_owned()
        };
        for name in ["leaf", "list"] {
            assert_eq!(seed(name), seed(&format!("{name}.open")));
            assert_eq!(may_sign(&seed(name), own), Ok(()), "{name}");
        }
        assert_eq!(seed("ca"), seed("ca.open"));
        assert!(may_sign(&seed("ca"), own).is_err());
    }
}
