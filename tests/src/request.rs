//! Certificate requests, good ones and forged ones, and enrolment without an agent.

use anyhow::{Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, KeyPair, SanType,
};

use crate::wire::{Answer, Client};

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Identity {
    /// The leaf.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// What a request asks for.
#[derive(Debug, Clone, Default)]
pub struct Wish<'a> {
    /// The subject's common name.
    pub common_name: &'a str,
    /// DNS names.
    pub names: &'a [&'a str],
    /// IP addresses.
    pub addresses: &'a [&'a str],
    /// Extensions: OID and value; the value is put in as a UTF8String.
    pub extensions: &'a [(&'a [u64], &'a str)],
    /// Ask to be a CA.
    pub authority: bool,
}

/// A request and the key that it was signed with.
pub struct Request {
    /// PEM.
    pub pem: String,
    /// The key, PEM.
    pub key: String,
    der: Vec<u8>,
}

impl Request {
    /// Makes a key (ECDSA P-256) and a request.
    ///
    /// # Errors
    /// When the wish cannot be encoded.
    pub fn new(wish: &Wish<'_>) -> Result<Request> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, wish.common_name);
        for name in wish.names {
            params.subject_alt_names.push(SanType::DnsName((*name).try_into()?));
        }
        for address in wish.addresses {
            params.subject_alt_names.push(SanType::IpAddress(address.parse()?));
        }
        for (oid, value) in wish.extensions {
            params.custom_extensions.push(CustomExtension::from_oid_content(oid, utf8_string(value)?));
        }
        if wish.authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let request = params.serialize_request(&key)?;
        Ok(Request { pem: request.pem()?, key: key.serialize_pem(), der: request.der().to_vec() })
    }

    /// A request for a name and nothing else.
    ///
    /// # Errors
    /// As [`Request::new`].
    pub fn named(common_name: &str) -> Result<Request> {
        Request::new(&Wish { common_name, ..Wish::default() })
    }

    /// The same request with the last byte of its signature changed.
    pub fn with_broken_signature(&self) -> String {
        let mut der = self.der.clone();
        if let Some(last) = der.last_mut() {
            *last ^= 1;
        }
        pem("CERTIFICATE REQUEST", &der)
    }

    /// Submits the request under a name.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn submit(&self, client: &Client, name: &str) -> Result<Answer> {
        submit(client, name, self.pem.as_bytes())
    }
}

/// Submits any bytes as a request of that name.
///
/// # Errors
/// As [`Client::send`].
pub fn submit(client: &Client, name: &str, body: &[u8]) -> Result<Answer> {
    client.put(&format!("/puppet-ca/v1/certificate_request/{name}"), body)
}

/// The certificate of that name, if it is signed.
///
/// # Errors
/// Any answer but 200 and 404.
pub fn certificate(client: &Client, name: &str) -> Result<Option<String>> {
    let answer = client.get(&format!("/puppet-ca/v1/certificate/{name}"))?;
    match answer.status {
        200 => Ok(Some(answer.text())),
        404 => Ok(None),
        other => bail!("certificate/{name} was answered with {other}: {}", answer.text()),
    }
}

/// Enrols a name that the registry expects.
///
/// # Errors
/// When it is not signed at once.
pub fn enrol(client: &Client, name: &str) -> Result<Identity> {
    let request = Request::named(name)?;
    let answer = request.submit(client, name)?;
    ensure!(
        answer.status == 200,
        "the request of {name} was answered with {}: {}",
        answer.status,
        answer.text()
    );
    match certificate(client, name)? {
        Some(certificate) => Ok(Identity { certificate, key: request.key }),
        None => bail!("{name} was not signed"),
    }
}

/// PEM of any bytes.
pub fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// DER of a short UTF8String.
fn utf8_string(text: &str) -> Result<Vec<u8>> {
    let length = u8::try_from(text.len())?;
    ensure!(length < 128, "the value of an extension is too long for this test's encoder");
    Ok([&[0x0c, length], text.as_bytes()].concat())
}
