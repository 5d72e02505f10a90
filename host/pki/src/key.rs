//! Public keys that we certify.

use std::fmt;

use aws_lc_rs::signature as verification;

use crate::der::{self, Value};
use crate::fingerprint::Fingerprint;

const RSA: &str = "1.2.840.113549.1.1.1";
const EC: &str = "1.2.840.10045.2.1";
const ED25519: &str = "1.3.101.112";

/// Kind of a public key. It is shown as plugins see it: `rsa`, `ec-p256`, `ec-p384`, `ec-p521` or `ed25519`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    /// RSA with a modulus of 2048 to 8192 bits.
    Rsa,
    /// ECDSA on NIST P-256.
    EcP256,
    /// ECDSA on NIST P-384.
    EcP384,
    /// ECDSA on NIST P-521.
    EcP521,
    /// Ed25519.
    Ed25519,
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyAlgorithm::Rsa => "rsa",
            KeyAlgorithm::EcP256 => "ec-p256",
            KeyAlgorithm::EcP384 => "ec-p384",
            KeyAlgorithm::EcP521 => "ec-p521",
            KeyAlgorithm::Ed25519 => "ed25519",
        })
    }
}

/// A public key that is strong enough to certify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// Its kind.
    pub algorithm: KeyAlgorithm,
    /// Its size in bits: the modulus of an RSA key, the field of the others.
    pub bits: u32,
    /// The SubjectPublicKeyInfo in DER, in the one encoding that it has.
    pub spki_der: Vec<u8>,
    /// Content of the BIT STRING in it.
    pub(crate) point: Vec<u8>,
}

/// Why a key is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a SubjectPublicKeyInfo in DER.
    #[error("the public key cannot be read")]
    Encoding,
    /// Too weak, too large or malformed.
    #[error("the RSA key has {0} bits; 2048 to 8192 are accepted")]
    RsaBits(usize),
    /// An even modulus, or an exponent that is even or 1.
    #[error("the RSA key is not a sound one: modulus and exponent must be odd, the exponent at least 3")]
    RsaNumbers,
    /// Another algorithm or curve, named by its object identifier.
    #[error("keys of the kind {0} are not accepted; RSA, EC P-256, P-384, P-521 and Ed25519 are")]
    Algorithm(String),
    /// A private key that cannot be read.
    #[error("the private key cannot be read: it must be one PKCS#8, PKCS#1 or SEC1 key in PEM")]
    Private,
    /// A private key in an encrypted form that we don't read.
    #[error(
        "the private key is encrypted in a form that is not read ({0}); `openssl pkcs8 -topk8 -v2 aes-256-cbc` writes one that is"
    )]
    Encryption(String),
    /// An encrypted private key and no passphrase.
    #[error("the private key is encrypted: its passphrase is needed")]
    PassphraseMissing,
    /// The passphrase doesn't open the key.
    #[error("the private key cannot be decrypted: the passphrase is wrong, or the file is damaged")]
    PassphraseWrong,
    /// A passphrase without a single byte.
    #[error("the passphrase is empty")]
    PassphraseEmpty,
    /// The random source failed.
    #[error("the key cannot be made: {0}")]
    Generation(String),
    /// None of [`KeyKind`](crate::KeyKind)'s names.
    #[error("{0:?} is no kind of key; ec-p256, ec-p384, rsa-2048, rsa-3072 and rsa-4096 are")]
    Kind(String),
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// [`KeyError`] when it is no such thing, of an unknown kind, or too weak.
    pub fn parse(spki_der: &[u8]) -> Result<PublicKey, KeyError> {
        let fields =
            Value::only(spki_der).and_then(|v| v.children(der::SEQUENCE)).map_err(|_| KeyError::Encoding)?;
        let [algorithm, key] = fields.as_slice() else { return Err(KeyError::Encoding) };
        let point = key.whole_bits().map_err(|_| KeyError::Encoding)?;
        let algorithm = algorithm.children(der::SEQUENCE).map_err(|_| KeyError::Encoding)?;
        let (oid, parameters) = algorithm.split_first().ok_or(KeyError::Encoding)?;
        let oid = oid.oid().map_err(|_| KeyError::Encoding)?;
        let (algorithm, bits) = match (oid.as_str(), parameters) {
            (RSA, [null]) if null.primitive(der::NULL) == Ok(&[]) => (KeyAlgorithm::Rsa, rsa_bits(point)?),
            (EC, [curve]) => curve_of(&curve.oid().map_err(|_| KeyError::Encoding)?, point)?,
            (ED25519, []) if point.len() == 32 => (KeyAlgorithm::Ed25519, 256),
            (RSA | EC | ED25519, _) => return Err(KeyError::Encoding),
            _ => return Err(KeyError::Algorithm(oid)),
        };
        Ok(PublicKey { algorithm, bits, spki_der: spki_der.to_vec(), point: point.to_vec() })
    }

    /// SHA-256 of the SubjectPublicKeyInfo: the key's name in the store.
    pub fn digest(&self) -> Fingerprint {
        Fingerprint::of(&self.spki_der)
    }

    /// RFC 5280's method 1, which OpenSSL and Puppet use.
    pub(crate) fn sha1_key_id(&self) -> Vec<u8> {
        use sha1::Digest as _;
        sha1::Sha1::digest(&self.point).to_vec()
    }

    /// Checks a signature over `message` made with the algorithm `oid`; see [`signature_algorithm`].
    pub(crate) fn verify(&self, oid: &str, message: &[u8], signature: &[u8]) -> bool {
        let Some(algorithm) = signature_algorithm(self.algorithm, oid) else { return false };
        verification::UnparsedPublicKey::new(algorithm, &self.point).verify(message, signature).is_ok()
    }
}

/// The verification for a key of this kind and a signature algorithm's identifier, if we accept the
/// pair. MD5 and SHA-1 are not among them.
pub(crate) fn signature_algorithm(
    key: KeyAlgorithm,
    oid: &str,
) -> Option<&'static dyn verification::VerificationAlgorithm> {
    use KeyAlgorithm::{EcP256, EcP384, EcP521, Ed25519, Rsa};
    Some(match (key, oid) {
        (Rsa, "1.2.840.113549.1.1.11") => &verification::RSA_PKCS1_2048_8192_SHA256,
        (Rsa, "1.2.840.113549.1.1.12") => &verification::RSA_PKCS1_2048_8192_SHA384,
        (Rsa, "1.2.840.113549.1.1.13") => &verification::RSA_PKCS1_2048_8192_SHA512,
        (EcP256, "1.2.840.10045.4.3.2") => &verification::ECDSA_P256_SHA256_ASN1,
        (EcP256, "1.2.840.10045.4.3.3") => &verification::ECDSA_P256_SHA384_ASN1,
        (EcP256, "1.2.840.10045.4.3.4") => &verification::ECDSA_P256_SHA512_ASN1,
        (EcP384, "1.2.840.10045.4.3.2") => &verification::ECDSA_P384_SHA256_ASN1,
        (EcP384, "1.2.840.10045.4.3.3") => &verification::ECDSA_P384_SHA384_ASN1,
        (EcP384, "1.2.840.10045.4.3.4") => &verification::ECDSA_P384_SHA512_ASN1,
        (EcP521, "1.2.840.10045.4.3.2") => &verification::ECDSA_P521_SHA256_ASN1,
        (EcP521, "1.2.840.10045.4.3.3") => &verification::ECDSA_P521_SHA384_ASN1,
        (EcP521, "1.2.840.10045.4.3.4") => &verification::ECDSA_P521_SHA512_ASN1,
        (Ed25519, ED25519) => &verification::ED25519,
        _ => return None,
    })
}

fn rsa_bits(key: &[u8]) -> Result<u32, KeyError> {
    let numbers = Value::only(key).and_then(|v| v.children(der::SEQUENCE)).map_err(|_| KeyError::Encoding)?;
    let [modulus, exponent] = numbers.as_slice() else { return Err(KeyError::Encoding) };
    let modulus = modulus.unsigned().map_err(|_| KeyError::Encoding)?;
    let exponent = exponent.unsigned().map_err(|_| KeyError::Encoding)?;
    let bits = bit_length(modulus);
    let odd = |number: &[u8]| number.last().is_some_and(|b| b & 1 == 1);
    match u32::try_from(bits) {
        Ok(bits @ 2048..=8192) if odd(modulus) && odd(exponent) && exponent != [1] => Ok(bits),
        Ok(2048..=8192) => Err(KeyError::RsaNumbers),
        _ => Err(KeyError::RsaBits(bits)),
    }
}

/// Bits of a big-endian number without leading zeros.
fn bit_length(number: &[u8]) -> usize {
    let unused = number.first().map_or(0, |b| b.leading_zeros());
    (number.len() * 8).saturating_sub(usize::try_from(unused).unwrap_or(0))
}

fn curve_of(oid: &str, point: &[u8]) -> Result<(KeyAlgorithm, u32), KeyError> {
    let (algorithm, bits, field) = match oid {
        "1.2.840.10045.3.1.7" => (KeyAlgorithm::EcP256, 256, 32),
        "1.3.132.0.34" => (KeyAlgorithm::EcP384, 384, 48),
        "1.3.132.0.35" => (KeyAlgorithm::EcP521, 521, 66),
        other => return Err(KeyError::Algorithm(format!("EC {other}"))),
    };
    // Uncompressed only: one key has one encoding, and so one digest. Whether the point is on the
    // curve shows when the request's signature is checked with it.
    if point.first() != Some(&4) || point.len() != 1 + 2 * field {
        return Err(KeyError::Encoding);
    }
    Ok((algorithm, bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spki(algorithm: &[&[u8]], key: &[u8]) -> Vec<u8> {
        let algorithm = der::write(0x30, &algorithm.concat());
        let key = der::write(3, &[&[0], key].concat());
        der::write(0x30, &[algorithm, key].concat())
    }

    const RSA_OID: [u8; 11] = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
    const EC_OID: [u8; 9] = [6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
    const P256_OID: [u8; 10] = [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
    const ED25519_OID: [u8; 5] = [6, 3, 0x2b, 0x65, 0x70];
    const NULL: [u8; 2] = [5, 0];

    #[test]
    fn rsa_numbers_are_sound() {
        fn check(first: u8, last: u8, length: usize, exponent: &[u8], expected: Result<u32, KeyError>) {
            let mut modulus = vec![0xff; length];
            modulus[0] = first;
            modulus[length - 1] = last;
            let sign: &[u8] = if first & 0x80 == 0 { &[] } else { &[0] };
            let modulus = der::write(2, &[sign, &modulus].concat());
            let key = der::write(0x30, &[modulus, der::write(2, exponent)].concat());
            let read = PublicKey::parse(&spki(&[&RSA_OID, &NULL], &key)).map(|key| key.bits);
            assert_eq!(read, expected, "{first:x} {last:x} {length} {exponent:?}");
        }
        check(0xff, 0xff, 256, &[1, 0, 1], Ok(2048));
        check(0x80, 0x01, 512, &[3], Ok(4096));
        check(0xff, 0xff, 1024, &[3], Ok(8192));
        check(0x7f, 0xff, 256, &[3], Err(KeyError::RsaBits(2047)));
        check(0x01, 0xff, 1025, &[3], Err(KeyError::RsaBits(8193)));
        check(0xff, 0xfe, 256, &[3], Err(KeyError::RsaNumbers));
        check(0xff, 0xff, 256, &[1], Err(KeyError::RsaNumbers));
        check(0xff, 0xff, 256, &[2], Err(KeyError::RsaNumbers));
        check(0xff, 0xff, 256, &[0], Err(KeyError::Encoding));
        check(0xff, 0xff, 256, &[0xff], Err(KeyError::Encoding));
        check(0xff, 0xff, 256, &[0, 3], Err(KeyError::Encoding));
    }

    #[test]
    fn a_key_has_one_encoding() {
        fn check(what: &str, spki: &[u8], fine: bool) {
            assert_eq!(PublicKey::parse(spki).is_ok(), fine, "{what}");
        }
        let point = [&[4], [7u8; 64].as_slice()].concat();
        let good = spki(&[&EC_OID, &P256_OID], &point);
        check("as it should be", &good, true);
        check("trailing byte", &[good, vec![0]].concat(), false);
        check("compressed", &spki(&[&EC_OID, &P256_OID], &[&[2], [7u8; 32].as_slice()].concat()), false);
        check(
            "a compressed point's tag",
            &spki(&[&EC_OID, &P256_OID], &[&[3], [7u8; 64].as_slice()].concat()),
            false,
        );
        check("short", &spki(&[&EC_OID, &P256_OID], &point[..64]), false);
        check("no curve", &spki(&[&EC_OID], &point), false);
        check("a curve too many", &spki(&[&EC_OID, &P256_OID, &NULL], &point), false);
        check("ed25519", &spki(&[&ED25519_OID], &[7; 32]), true);
        check("ed25519 with a NULL", &spki(&[&ED25519_OID, &NULL], &[7; 32]), false);
        check("ed25519, short", &spki(&[&ED25519_OID], &[7; 31]), false);
        let rsa = der::write(
            0x30,
            &[der::write(2, &[&[0], [0xff; 256].as_slice()].concat()), vec![2, 1, 3]].concat(),
        );
        check("rsa", &spki(&[&RSA_OID, &NULL], &rsa), true);
        check("rsa without its NULL", &spki(&[&RSA_OID], &rsa), false);
        check("rsa with a third number", &spki(&[&RSA_OID, &NULL], &[rsa, vec![2, 1, 3]].concat()), false);
    }
}
