//! A CA to test against: its keys are in memory, and it signs whatever a test wants.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::sync::Arc;

use pki::crl::{self, Entry, Reason};
use pki::{
    AltName, Certificate, Certname, Identity, Issuer, KeyKind, PublicKey, Serial, Sign, SigningKey, Template,
    renew_issuer, sign_certificate,
};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose};
use time::{Duration, OffsetDateTime};

/// A CA with those above it.
pub struct Authority {
    /// The signing CA's first.
    pub issuers: Vec<Issuer>,
    keys: Vec<Arc<SigningKey>>,
    pub bundle: String,
}

pub fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc().replace_nanosecond(0).unwrap()
}

impl Authority {
    /// A self-signed CA, which allows others below it.
    pub fn root(name: &str) -> Authority {
        let key = Arc::new(SigningKey::generate(KeyKind::EcP256).unwrap());
        let pair = KeyPair::from_pem(&key.to_secret_pem()).unwrap();
        let pem = ca(name).self_signed(&pair).unwrap().pem();
        let certificate = Certificate::parse_pem(pem.as_bytes()).unwrap();
        let issuer = Issuer::open(certificate, key.clone()).unwrap();
        Authority { bundle: issuer.certificate().to_pem(), issuers: vec![issuer], keys: vec![key] }
    }

    /// The same CA with a new certificate for its key.
    pub fn renewed(&self) -> Authority {
        let (from, to) = (now() - Duration::hours(1), now() + Duration::days(7000));
        let certificate = renew_issuer(&self.issuers[0], from, to).unwrap();
        let key = self.keys[0].clone();
        let issuer = Issuer::open(certificate, key.clone()).unwrap();
        Authority { bundle: issuer.certificate().to_pem(), issuers: vec![issuer], keys: vec![key] }
    }

    /// A CA of the same name with another key.
    pub fn impostor(&self) -> Authority {
        Authority::root(&self.issuers[0].certificate().subject_cn)
    }

    /// A CA below this one.
    pub fn below(&self, name: &str) -> Authority {
        let key = Arc::new(SigningKey::generate(KeyKind::EcP256).unwrap());
        let above = KeyPair::from_pem(&self.keys[0].to_secret_pem()).unwrap();
        let above = rcgen::Issuer::from_ca_cert_pem(&self.issuers[0].certificate().to_pem(), above).unwrap();
        let pair = KeyPair::from_pem(&key.to_secret_pem()).unwrap();
        let pem = ca(name).signed_by(&pair, &above).unwrap().pem();
        let certificate = Certificate::parse_pem(pem.as_bytes()).unwrap();
        let bundle = certificate.to_pem() + &self.bundle;
        let mut issuers = vec![Issuer::open(certificate, key.clone()).unwrap()];
        for (issuer, key) in self.issuers.iter().zip(&self.keys) {
            issuers.push(Issuer::open(issuer.certificate().clone(), key.clone()).unwrap());
        }
        let keys = std::iter::once(key).chain(self.keys.iter().cloned()).collect();
        Authority { issuers, keys, bundle }
    }

    /// A certificate for a key.
    pub fn certify(&self, name: &str, alt_names: &[&str], key: &PublicKey, life: Life) -> Certificate {
        let template = Template {
            serial: Serial::random().unwrap(),
            certname: Certname::parse(name).unwrap(),
            key: key.clone(),
            not_before: now() - life.gone,
            not_after: now() + life.left,
            alt_names: alt_names.iter().map(|name| AltName::parse(name).unwrap()).collect(),
            extensions: Vec::new(),
        };
        sign_certificate(&template, &self.issuers[0]).unwrap()
    }

    /// A certificate with a key of its own.
    pub fn identity(&self, name: &str, alt_names: &[&str]) -> Identity {
        let key = SigningKey::generate(KeyKind::EcP256).unwrap();
        let certificate = self.certify(name, alt_names, key.public(), Life::default());
        Identity { certificate_pem: certificate.to_pem(), certificate, key_pem: key.to_secret_pem() }
    }

    /// Its revocation list, then those of the CAs above it, each good for a week.
    pub fn lists(&self, number: u64, revoked: &[&Serial]) -> String {
        self.lists_until(number, revoked, now() + Duration::days(7))
    }

    /// The same, its own good up to then.
    pub fn lists_until(&self, number: u64, revoked: &[&Serial], next_update: OffsetDateTime) -> String {
        let mut text = self.own_list(number, revoked, next_update).to_pem();
        for issuer in &self.issuers[1..] {
            let list = crl::sign(1, now() - Duration::days(30), now() + Duration::days(300), vec![], issuer);
            text += &list.unwrap().to_pem();
        }
        text
    }

    pub fn own_list(&self, number: u64, revoked: &[&Serial], next_update: OffsetDateTime) -> crl::Crl {
        let entry = |serial: &&Serial| Entry {
            serial: (*serial).clone(),
            revoked_at: now(),
            reason: Some(Reason::KeyCompromise),
        };
        let from = (now() - Duration::hours(1)).min(next_update - Duration::hours(1));
        crl::sign(number, from, next_update, revoked.iter().map(entry).collect(), &self.issuers[0]).unwrap()
    }

    /// A delta of the list: the same with a critical deltaCRLIndicator (RFC 5280, 5.2.4), well signed.
    pub fn delta(&self, number: u64) -> String {
        let der = self.own_list(number, &[], now() + Duration::days(7)).der;
        let (_, whole, _) = read(&der);
        let (_, tbs, rest) = read(whole);
        let (tag, algorithm, _) = read(rest);
        let algorithm = write(tag, algorithm);
        let (mut fields, mut rest) = (Vec::new(), tbs);
        while !rest.is_empty() {
            let (tag, content, more) = read(rest);
            rest = more;
            if tag != 0xa0 {
                fields.extend(write(tag, content));
                continue;
            }
            let indicator = write(0x30, &[6, 3, 0x55, 0x1d, 27, 1, 1, 0xff, 4, 3, 2, 1, 1]);
            let extensions = [read(content).1, &indicator].concat();
            fields.extend(write(0xa0, &write(0x30, &extensions)));
        }
        let tbs = write(0x30, &fields);
        let signature = self.keys[0].sign(&tbs).unwrap();
        let signature = write(3, &[&[0], signature.as_slice()].concat());
        let der = write(0x30, &[tbs, algorithm, signature].concat());
        pem("X509 CRL", &der)
    }
}

fn ca(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = (now() - Duration::days(1000), now() + Duration::days(3650));
    params
}

/// How much of a certificate's life is behind it and before it.
#[derive(Clone, Copy)]
pub struct Life {
    pub gone: Duration,
    pub left: Duration,
}

impl Default for Life {
    fn default() -> Life {
        Life { gone: Duration::hours(1), left: Duration::days(300) }
    }
}

fn read(der: &[u8]) -> (u8, &[u8], &[u8]) {
    let short = usize::from(der[1]);
    let (head, length) = match short {
        0..0x80 => (2, short),
        _ => {
            let bytes = &der[2..2 + (short & 0x7f)];
            (2 + bytes.len(), bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
        }
    };
    (der[0], &der[head..head + length], &der[head + length..])
}

fn write(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head = match length {
        0..0x80 => vec![tag, u8::try_from(length).unwrap()],
        _ => {
            let bytes = length.to_be_bytes();
            let bytes: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
            [vec![tag, 0x80 | u8::try_from(bytes.len()).unwrap()], bytes].concat()
        }
    };
    [head, content.to_vec()].concat()
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<_> = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
