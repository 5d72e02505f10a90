//! Private keys that sign, wherever they live.

use std::fmt;
use std::str::FromStr;

use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};

use crate::der::{self, Value};
use crate::encode::algorithm_of;
use crate::encrypted::{self, Passphrase};
use crate::key::{KeyError, PublicKey};
use crate::pem;
use crate::sign::SignError;

/// A private key that signs, wherever it lives: in this process, in another, in hardware.
pub trait Sign: Send + Sync + fmt::Debug {
    /// Its public half.
    fn public(&self) -> &PublicKey;

    /// Signs with the one algorithm of the key's kind: RSA PKCS#1 v1.5 with SHA-256, ECDSA on P-256 with
    /// SHA-256, on P-384 with SHA-384, on P-521 with SHA-512, or Ed25519.
    ///
    /// # Errors
    /// [`SignError::Unavailable`] when the key cannot be reached, [`SignError::Refused`] when it may not
    /// sign this, [`SignError::Library`] when signing fails.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
}

/// Kinds of key that we make. The names are those of the configuration file: `ec-p256`, `ec-p384`,
/// `rsa-2048`, `rsa-3072` and `rsa-4096`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum KeyKind {
    /// ECDSA on NIST P-256: small and fast, and every agent of Puppet 5 and later takes it.
    #[default]
    EcP256,
    /// ECDSA on NIST P-384.
    EcP384,
    /// RSA with 2048 bits.
    Rsa2048,
    /// RSA with 3072 bits.
    Rsa3072,
    /// RSA with 4096 bits, as Puppet's own CA has it.
    Rsa4096,
}

const KINDS: [(KeyKind, &str); 5] = [
    (KeyKind::EcP256, "ec-p256"),
    (KeyKind::EcP384, "ec-p384"),
    (KeyKind::Rsa2048, "rsa-2048"),
    (KeyKind::Rsa3072, "rsa-3072"),
    (KeyKind::Rsa4096, "rsa-4096"),
];

impl FromStr for KeyKind {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<KeyKind, KeyError> {
        let known = KINDS.iter().find(|(_, name)| *name == text);
        known.map(|(kind, _)| *kind).ok_or_else(|| KeyError::Kind(text.chars().take(40).collect()))
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(KINDS.iter().find(|(kind, _)| kind == self).map_or("", |(_, name)| name))
    }
}

/// A private key in this process. It never shows in `Debug` output.
pub struct SigningKey {
    pair: KeyPair,
    public: PublicKey,
}

impl SigningKey {
    /// Makes a key. RSA takes a second or so: call it where waiting hurts nobody.
    ///
    /// # Errors
    /// [`KeyError::Generation`] when the library or the random source fails.
    pub fn generate(kind: KeyKind) -> Result<SigningKey, KeyError> {
        let rsa = |bits| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, bits);
        let pair = match kind {
            KeyKind::EcP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            KeyKind::EcP384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            KeyKind::Rsa2048 => rsa(rcgen::RsaKeySize::_2048),
            KeyKind::Rsa3072 => rsa(rcgen::RsaKeySize::_3072),
            KeyKind::Rsa4096 => rsa(rcgen::RsaKeySize::_4096),
        };
        SigningKey::new(pair.map_err(|e| KeyError::Generation(e.to_string()))?)
    }

    /// Opens an unencrypted PKCS#8, PKCS#1 (`RSA PRIVATE KEY`) or SEC1 (`EC PRIVATE KEY`) key.
    ///
    /// # Errors
    /// [`KeyError::PassphraseMissing`] for an encrypted key; other [`KeyError`]s. None quotes the text.
    pub fn from_pem(text: &[u8]) -> Result<SigningKey, KeyError> {
        if is_encrypted_pem(text) {
            return Err(KeyError::PassphraseMissing);
        }
        // OpenSSL writes the curve's parameters as a block of their own before a SEC1 key.
        let blocks = pem::all(text).map_err(|_| KeyError::Private)?;
        let mut keys = blocks.into_iter().filter(|(label, _)| label != "EC PARAMETERS");
        let (Some((label, der)), None) = (keys.next(), keys.next()) else { return Err(KeyError::Private) };
        if !["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"].contains(&label.as_str()) {
            return Err(KeyError::Private);
        }
        SigningKey::new(KeyPair::try_from(der).map_err(|_| KeyError::Private)?)
    }

    /// Opens a PKCS#8 key encrypted with PBES2 (`ENCRYPTED PRIVATE KEY`): AES-CBC under a key from scrypt
    /// or from PBKDF2 with SHA-2, as OpenSSL 3 and [`SigningKey::to_encrypted_pem`] write it.
    ///
    /// # Errors
    /// [`KeyError::PassphraseWrong`], [`KeyError::Encryption`] for another form, [`KeyError::Private`]
    /// for what is no such key.
    pub fn from_encrypted_pem(text: &[u8], passphrase: &Passphrase) -> Result<SigningKey, KeyError> {
        let der = encrypted::open(text, passphrase)?;
        SigningKey::new(KeyPair::try_from(der.as_bytes()).map_err(|_| KeyError::Private)?)
    }

    fn new(pair: KeyPair) -> Result<SigningKey, KeyError> {
        let public = PublicKey::parse(&pair.subject_public_key_info())?;
        if pair.algorithm() != algorithm_of(&public) {
            return Err(KeyError::Private);
        }
        Ok(SigningKey { pair, public })
    }

    /// The key as PEM, for a file that only its owner may read.
    pub fn to_secret_pem(&self) -> String {
        let der = self.pair.serialized_der();
        pem::write(self.form().label(), der)
    }

    /// The key as encrypted PKCS#8 in PEM: scrypt and AES-256 in CBC mode, which OpenSSL 1.1 and later
    /// reads. Takes 0.2 s or so, as long as each try of a thief's.
    ///
    /// # Errors
    /// [`KeyError::Generation`] when the random source or the library fails.
    pub fn to_encrypted_pem(&self, passphrase: &Passphrase) -> Result<String, KeyError> {
        let own = self.pair.serialized_der();
        match self.form() {
            Form::Pkcs8 => encrypted::close(own, passphrase),
            // PKCS#8 is version, algorithm as in the public key, and the key in its own form
            // (RFC 5208, section 5; RFC 5958).
            Form::Pkcs1 | Form::Sec1 => {
                let spki = Value::only(&self.public.spki_der).and_then(|v| v.children(der::SEQUENCE));
                let spki = spki.map_err(|_| KeyError::Private)?;
                let algorithm = spki.first().ok_or(KeyError::Private)?;
                let parts = [&[2, 1, 0], algorithm.raw, &der::write(4, own)].concat();
                encrypted::close(&der::write(0x30, &parts), passphrase)
            }
        }
    }

    /// A key is written as it was read or made.
    fn form(&self) -> Form {
        match Value::only(self.pair.serialized_der()).and_then(|v| v.children(der::SEQUENCE)).as_deref() {
            Ok([_, second, ..]) if second.primitive(der::INTEGER).is_ok() => Form::Pkcs1,
            Ok([_, second, ..]) if second.primitive(der::OCTET_STRING).is_ok() => Form::Sec1,
            _ => Form::Pkcs8,
        }
    }
}

/// Whether a text is a private key that a passphrase opens, in whatever form.
pub fn is_encrypted_pem(text: &[u8]) -> bool {
    let has = |wanted: &[u8]| text.windows(wanted.len()).any(|window| window == wanted);
    has(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || has(b"Proc-Type: 4,ENCRYPTED")
}

impl Sign for SigningKey {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.pair.sign(message).map_err(|e| SignError::Library(e.to_string()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({} {})", self.public.algorithm, self.public.digest())
    }
}

/// How a private key is laid out.
#[derive(Debug, Clone, Copy)]
enum Form {
    Pkcs8,
    Pkcs1,
    Sec1,
}

impl Form {
    fn label(self) -> &'static str {
        match self {
            Form::Pkcs8 => "PRIVATE KEY",
            Form::Pkcs1 => "RSA PRIVATE KEY",
            Form::Sec1 => "EC PRIVATE KEY",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_key_are_read_as_they_are_shown() {
        for (kind, name) in KINDS {
            assert_eq!(kind.to_string(), name);
            assert_eq!(name.parse(), Ok(kind));
        }
        for bad in ["", "rsa", "RSA-2048", "rsa-1024", "ed25519", "ec-p256 "] {
            assert_eq!(bad.parse::<KeyKind>(), Err(KeyError::Kind(bad.into())));
        }
    }
}
