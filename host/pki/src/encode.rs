//! What the encoding library writes and we sign.
//!
//! The library (rcgen) is made for keys in its own process and for issuers' names in its own model,
//! where a name with two organisational units has one. So it only encodes, with an empty signature; we
//! put the issuer's name in as its certificate has it, byte for byte, and have the [`Sign`]er sign that.

use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyIdMethod, PublicKeyData, SerialNumber,
    SignatureAlgorithm,
};
use time::{OffsetDateTime, UtcOffset};

use crate::der::{self, Value};
use crate::key::{KeyAlgorithm, PublicKey};
use crate::private::Sign;
use crate::serial::Serial;
use crate::sign::SignError;

/// The one algorithm that a key of this kind signs with.
pub(crate) fn algorithm_of(key: &PublicKey) -> &'static SignatureAlgorithm {
    match key.algorithm {
        KeyAlgorithm::Rsa => &rcgen::PKCS_RSA_SHA256,
        KeyAlgorithm::EcP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        KeyAlgorithm::EcP384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        KeyAlgorithm::EcP521 => &rcgen::PKCS_ECDSA_P521_SHA512,
        KeyAlgorithm::Ed25519 => &rcgen::PKCS_ED25519,
    }
}

/// The AlgorithmIdentifier of that algorithm (RFC 4055, RFC 5758, RFC 8410).
pub(crate) fn algorithm_der(key: &PublicKey) -> &'static [u8] {
    match key.algorithm {
        KeyAlgorithm::Rsa => &[0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11, 5, 0],
        KeyAlgorithm::EcP256 => &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2],
        KeyAlgorithm::EcP384 => &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3],
        KeyAlgorithm::EcP521 => &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4],
        KeyAlgorithm::Ed25519 => &[0x30, 5, 6, 3, 0x2b, 0x65, 0x70],
    }
}

/// A key as the library wants one: of a known kind, and with a signature of no bytes.
pub(crate) struct Unsigned<'a>(pub &'a PublicKey);

impl PublicKeyData for Unsigned<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.0.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        algorithm_of(self.0)
    }
}

impl rcgen::SigningKey for Unsigned<'_> {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(Vec::new())
    }
}

/// The library's issuer with this key. Its name is a placeholder for [`sign`] to replace.
pub(crate) fn issuer<'a>(key: &'a PublicKey, key_id: &[u8]) -> rcgen::Issuer<'static, Unsigned<'a>> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.key_identifier_method = KeyIdMethod::PreSpecified(key_id.to_vec());
    rcgen::Issuer::new(params, Unsigned(key))
}

/// Signs what the library encoded, each of these fields of the content replaced by these bytes.
pub(crate) fn sign(
    encoded: &[u8],
    replaced: &[(usize, &[u8])],
    key: &dyn Sign,
) -> Result<Vec<u8>, SignError> {
    let odd = |_| SignError::Library("the encoder wrote no signed structure".into());
    let outer = Value::only(encoded).and_then(|v| v.children(der::SEQUENCE)).map_err(odd)?;
    let [content, algorithm, _] = outer.as_slice() else { return Err(odd(der::NotDer)) };
    let fields = content.children(der::SEQUENCE).map_err(odd)?;
    let parts = fields.iter().enumerate().map(|(at, field)| {
        let other = replaced.iter().find(|(place, _)| *place == at);
        other.map_or(field.raw, |(_, bytes)| bytes)
    });
    let content = der::write(0x30, &parts.collect::<Vec<_>>().concat());
    let signature = key.sign(&content)?;
    let signature = der::write(3, &[&[0], signature.as_slice()].concat());
    Ok(der::write(0x30, &[content.as_slice(), algorithm.raw, &signature].concat()))
}

/// What all certificates of ours have in common.
pub(crate) fn params(
    common_name: &str,
    serial: &Serial,
    key: &PublicKey,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(common_name);
    params.serial_number = Some(SerialNumber::from_slice(serial.as_be_bytes()));
    params.not_before = not_before.to_offset(UtcOffset::UTC);
    params.not_after = not_after.to_offset(UtcOffset::UTC);
    params.use_authority_key_identifier_extension = true;
    params.key_identifier_method = KeyIdMethod::PreSpecified(key.sha1_key_id());
    params
}

/// A name of one common name.
pub(crate) fn subject(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

pub(crate) fn library(error: rcgen::Error) -> SignError {
    SignError::Library(error.to_string())
}
