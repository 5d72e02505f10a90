//! Whose components are believed: the operator's list of keys, and the check of a detached signature.
//!
//! A signature lies beside its component as `x.wasm.sig`, as openssl makes it over the whole file, raw or
//! in base64: `openssl pkeyutl -sign -rawin -inkey KEY -in x.wasm -out x.wasm.sig` with an Ed25519 key,
//! `openssl dgst -sha256 -sign KEY -out x.wasm.sig x.wasm` with an ECDSA P-256 key.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::path::Path;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Bytes of a key's file, at most.
const MAX_KEY: u64 = 64 << 10;
/// Bytes of a signature, at most; base64 and line ends included.
const MAX_SIGNATURE: usize = 1024;

/// The keys whose signatures on components are believed.
#[derive(Clone, Default)]
pub struct SigningKeys(BTreeMap<String, ParsedPublicKey>);

/// Why a key or a signature is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// A key in the configuration is of no use.
    #[error("the plugin key `{name}` {reason}")]
    Key {
        /// The operator's name for it.
        name: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// There is a signature and no key to hold it against.
    #[error("is signed, but there is no key in [plugin_keys] to check that with")]
    NoKeys,
    /// What is said to be a signature is none.
    #[error(
        "its signature has {0} bytes, more than any has; sign it anew with `openssl pkeyutl -sign -rawin` or `openssl dgst -sha256 -sign`"
    )]
    Odd(usize),
    /// No key made this signature over this component.
    #[error(
        "its signature is of none of the plugin keys ({}): the component or its signature was changed, or another key has signed it",
        .0.join(", ")
    )]
    Mismatch(Vec<String>),
}

impl SigningKeys {
    /// Reads keys by their names: `ed25519:` and the public key in base64, or the path of a PEM file
    /// with an Ed25519 or ECDSA P-256 public key.
    ///
    /// # Errors
    /// [`SignatureError::Key`] for every key that is of no use.
    pub fn parse(configured: &BTreeMap<String, String>) -> Result<SigningKeys, Vec<SignatureError>> {
        let (mut keys, mut wrong) = (BTreeMap::new(), Vec::new());
        for (name, written) in configured {
            let read = match written.strip_prefix("ed25519:") {
                Some(text) => inline(text),
                None => file(Path::new(written)),
            };
            match read {
                Ok(key) => drop(keys.insert(name.clone(), key)),
                Err(reason) => wrong.push(SignatureError::Key { name: name.clone(), reason }),
            }
        }
        if wrong.is_empty() { Ok(SigningKeys(keys)) } else { Err(wrong) }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks the signature of a component and names the key that made it.
    ///
    /// # Errors
    /// Every variant of [`SignatureError`] but `Key`.
    pub fn verify(&self, component: &[u8], signature: &[u8]) -> Result<&str, SignatureError> {
        if self.is_empty() {
            return Err(SignatureError::NoKeys);
        }
        if signature.len() > MAX_SIGNATURE {
            return Err(SignatureError::Odd(signature.len()));
        }
        let text: Vec<u8> = signature.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let decoded = STANDARD.decode(text).unwrap_or_default();
        let signed = |key: &ParsedPublicKey| {
            [signature, &decoded].into_iter().any(|one| key.verify_sig(component, one).is_ok())
        };
        let found = self.0.iter().find(|(_, key)| signed(key));
        found
            .map(|(name, _)| name.as_str())
            .ok_or_else(|| SignatureError::Mismatch(self.0.keys().map(|name| format!("`{name}`")).collect()))
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What openssl prints: 32 bytes, or the whole SubjectPublicKeyInfo.
fn inline(text: &str) -> Result<ParsedPublicKey, String> {
    let bytes =
        STANDARD.decode(text.trim()).map_err(|error| format!("is no base64 after `ed25519:`: {error}"))?;
    if bytes.len() == 32 {
        return parsed(Kind::Ed25519, &bytes);
    }
    let (kind, key) = public_key(&bytes)
        .map_err(|_| format!("has {} bytes after `ed25519:`; an Ed25519 public key has 32", bytes.len()))?;
    if kind != Kind::Ed25519 {
        return Err("says `ed25519:` and is another kind of key; give its PEM file instead".to_owned());
    }
    parsed(kind, &key)
}

fn file(path: &Path) -> Result<ParsedPublicKey, String> {
    let place = path.display();
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MAX_KEY).read_to_end(&mut bytes));
    read.map_err(|error| {
        format!("cannot be read from {place}: {error}; write `ed25519:BASE64` or the path of a PEM file")
    })?;
    let no_pem =
        || format!("is not in {place}: there is no PEM; make it with `openssl pkey -in KEY -pubout`");
    let (_, pem) = x509_parser::pem::parse_x509_pem(&bytes).map_err(|_| no_pem())?;
    match pem.label.as_str() {
        "PUBLIC KEY" => {}
        private if private.ends_with("PRIVATE KEY") => {
            return Err(format!(
                "is a private key in {place}: keep that where plugins are signed, and give the public one that `openssl pkey -in KEY -pubout` prints"
            ));
        }
        other => {
            return Err(format!(
                "is a {other:?} in {place}; a PUBLIC KEY is needed, as `openssl pkey -pubout` prints it"
            ));
        }
    }
    let (kind, key) = public_key(&pem.contents).map_err(|what| format!("in {place} {what}"))?;
    parsed(kind, &key).map_err(|what| format!("in {place} {what}"))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ed25519,
    P256,
}

/// The kind and the bare key of a SubjectPublicKeyInfo.
fn public_key(der: &[u8]) -> Result<(Kind, Vec<u8>), String> {
    let broken = || "is no public key".to_owned();
    let (rest, info) = SubjectPublicKeyInfo::from_der(der).map_err(|_| broken())?;
    if !rest.is_empty() {
        return Err(broken());
    }
    let key = info.subject_public_key.data.to_vec();
    let named = &info.algorithm.algorithm;
    if *named == OID_SIG_ED25519 {
        return Ok((Kind::Ed25519, key));
    }
    if *named == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = info.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
        if curve.is_some_and(|curve| curve == OID_EC_P256) {
            return Ok((Kind::P256, key));
        }
        return Err("is an ECDSA key on another curve than P-256; sign with that or with Ed25519".to_owned());
    }
    let called = if *named == OID_PKCS1_RSAENCRYPTION {
        "an RSA key".to_owned()
    } else {
        format!("a key of kind {named}")
    };
    Err(format!("is {called}; plugins are signed with Ed25519 or ECDSA P-256"))
}

fn parsed(kind: Kind, key: &[u8]) -> Result<ParsedPublicKey, String> {
    let algorithm: &'static dyn VerificationAlgorithm = match kind {
        Kind::Ed25519 => &ED25519,
        Kind::P256 => &ECDSA_P256_SHA256_ASN1,
    };
    ParsedPublicKey::new(algorithm, key).map_err(|_| "is not a point on its curve".to_owned())
}
