//! Private keys under a passphrase: PKCS#8 with PBES2 (RFC 5958, RFC 8018).

use std::fmt;

use aws_lc_rs::rand;
use pkcs8::der::{ErrorKind, Tag};
use pkcs8::pkcs5::{self, EncryptionScheme, pbes2, scrypt};
use pkcs8::{EncryptedPrivateKeyInfo, PrivateKeyInfo, SecretDocument};
use zeroize::Zeroizing;

use crate::key::KeyError;
use crate::pem;

const LABEL: &str = "ENCRYPTED PRIVATE KEY";

/// Most work that a file may make us do: a key file is the operator's own, and yet a damaged one must
/// not hang the start.
const MAX_ITERATIONS: u32 = 10_000_000;
const MAX_MEMORY: u64 = 256 * 1024 * 1024;
const MAX_PARALLEL: u16 = 16;

/// A passphrase. It never shows in `Debug` output, and its memory is cleared when it is dropped.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// Takes a passphrase as a file or the environment has it: one newline at its end is dropped.
    ///
    /// # Errors
    /// [`KeyError::PassphraseEmpty`].
    pub fn new(bytes: Vec<u8>) -> Result<Passphrase, KeyError> {
        let mut bytes = Zeroizing::new(bytes);
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        if bytes.is_empty() { Err(KeyError::PassphraseEmpty) } else { Ok(Passphrase(bytes)) }
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// The PKCS#8 key in a PEM text.
pub(crate) fn open(text: &[u8], passphrase: &Passphrase) -> Result<SecretDocument, KeyError> {
    let blocks = pem::all(text).map_err(|_| legacy(text))?;
    let [(label, der)] = blocks.as_slice() else { return Err(KeyError::Private) };
    if label != LABEL {
        return Err(KeyError::Private);
    }
    let info = EncryptedPrivateKeyInfo::try_from(der.as_slice()).map_err(|e| match e {
        // Its structure is right and an identifier in it is one that the library does not know.
        pkcs8::Error::Asn1(e) => match e.kind() {
            ErrorKind::OidUnknown { oid } => KeyError::Encryption(oid.to_string()),
            ErrorKind::Value { tag: Tag::ObjectIdentifier } => KeyError::Encryption("PBES1".into()),
            _ => KeyError::Private,
        },
        _ => KeyError::Private,
    })?;
    let EncryptionScheme::Pbes2(parameters) = &info.encryption_algorithm else {
        return Err(KeyError::Encryption(info.encryption_algorithm.oid().to_string()));
    };
    bounded(parameters)?;
    info.decrypt(passphrase.0.as_slice()).map_err(|e| match e {
        pkcs8::Error::EncryptedPrivateKey(pkcs5::Error::UnsupportedAlgorithm { oid }) => {
            KeyError::Encryption(oid.to_string())
        }
        _ => KeyError::PassphraseWrong,
    })
}

/// Encrypts a PKCS#8 key, and writes it as PEM.
pub(crate) fn close(pkcs8: &[u8], passphrase: &Passphrase) -> Result<String, KeyError> {
    let failed = |_| KeyError::Generation("the key cannot be encrypted".into());
    let (mut salt, mut iv) = ([0u8; 16], [0u8; 16]);
    for random in [&mut salt, &mut iv] {
        rand::fill(random).map_err(|_| KeyError::Generation("no randomness to be had".into()))?;
    }
    // 16 MiB five times over: OWASP's advice within the 32 MiB that OpenSSL would read.
    let cost = scrypt::Params::new(14, 8, 5, 32).map_err(|_| failed(()))?;
    let parameters = pbes2::Parameters::scrypt_aes256cbc(cost, &salt, &iv).map_err(|_| failed(()))?;
    let info = PrivateKeyInfo::try_from(pkcs8).map_err(|_| failed(()))?;
    let closed = info.encrypt_with_params(parameters, passphrase.0.as_slice()).map_err(|_| failed(()))?;
    Ok(pem::write(LABEL, closed.as_bytes()))
}

/// What PEM with header lines is: OpenSSL's own, older encryption, with a single round of MD5.
fn legacy(text: &[u8]) -> KeyError {
    if crate::is_encrypted_pem(text) && !text.windows(LABEL.len()).any(|w| w == LABEL.as_bytes()) {
        KeyError::Encryption("the traditional form with Proc-Type".into())
    } else {
        KeyError::Private
    }
}

fn bounded(parameters: &pbes2::Parameters<'_>) -> Result<(), KeyError> {
    let fine = match &parameters.kdf {
        pbes2::Kdf::Pbkdf2(kdf) => (1..=MAX_ITERATIONS).contains(&kdf.iteration_count),
        pbes2::Kdf::Scrypt(kdf) => {
            let (cost, block) = (kdf.cost_parameter, u64::from(kdf.block_size));
            // RFC 7914, section 2. The library takes the logarithm of a cost without a look at it.
            let possible = cost > 1 && cost.is_power_of_two() && block > 0 && kdf.parallelization > 0;
            let memory = cost.checked_mul(128 * block);
            possible && memory.is_some_and(|bytes| bytes <= MAX_MEMORY) && kdf.parallelization <= MAX_PARALLEL
        }
        _ => false,
    };
    if fine { Ok(()) } else { Err(KeyError::Encryption("its cost is out of all proportion".into())) }
}

#[cfg(test)]
mod tests {
    use pkcs8::der::Encode;
    use pkcs8::pkcs5::pbes2::{Kdf, ScryptParams};

    use super::*;

    // faults row 43: what a fuzzer found, and its neighbours.
    #[test]
    fn a_key_file_of_an_impossible_cost_is_refused() {
        let check = |cost_parameter, block_size, parallelization| {
            let costly =
                ScryptParams { salt: b"salt", cost_parameter, block_size, parallelization, key_length: None };
            let mut parameters = pbes2::Parameters::scrypt_aes256cbc(
                scrypt::Params::new(1, 1, 1, 32).unwrap(),
                b"salt",
                &[0; 16],
            )
            .unwrap();
            parameters.kdf = Kdf::Scrypt(costly);
            let encryption_algorithm = EncryptionScheme::Pbes2(parameters);
            let info = EncryptedPrivateKeyInfo { encryption_algorithm, encrypted_data: &[0; 16] };
            let text = pem::write(LABEL, &info.to_der().unwrap());
            let error = open(text.as_bytes(), &Passphrase::new(b"secret".to_vec()).unwrap()).unwrap_err();
            assert!(error.to_string().contains("out of all proportion"), "{cost_parameter}: {error}");
        };
        check(0, 8, 1);
        check(1, 8, 1);
        check(3, 8, 1);
        check(1 << 30, 8, 1);
        check(u64::MAX, 8, 1);
        check(1 << 14, 0, 1);
        check(1 << 14, 8, 0);
        check(1 << 14, 8, 17);
    }
}
