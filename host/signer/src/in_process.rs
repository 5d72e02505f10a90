//! Keys that this very process holds.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use pki::{Certificate, KeyKind, Passphrase, PublicKey, Sign, SignError, SigningKey};

use crate::{Error, KeyHolder, file};

/// Keeps keys in this process: for commands that run while no daemon does, and for tests.
pub struct InProcess {
    passphrase: Option<Passphrase>,
}

impl InProcess {
    /// With the passphrase of encrypted keys; keys that it makes are encrypted with it.
    pub fn new(passphrase: Option<Passphrase>) -> InProcess {
        InProcess { passphrase }
    }

    pub(crate) fn make(&self, kind: KeyKind, path: &Path) -> Result<Held, Error> {
        let key = SigningKey::generate(kind)
            .map_err(|e| Error::Key { path: path.to_owned(), reason: e.to_string() })?;
        file::create(path, &key, self.passphrase.as_ref())?;
        Ok(Held { key, sealed_to: None })
    }

    pub(crate) fn hold(&self, path: &Path, sealed_to: Option<&Certificate>) -> Result<Held, Error> {
        let key = file::read(path, self.passphrase.as_ref())?;
        match sealed_to {
            Some(certificate) if &certificate.key != key.public() => Err(Error::OtherKey {
                path: path.to_owned(),
                expected: format!("the certificate of {:?}", certificate.subject_cn),
            }),
            _ => Ok(Held { key, sealed_to: sealed_to.cloned() }),
        }
    }
}

impl KeyHolder for InProcess {
    fn create(&self, kind: KeyKind, path: &Path) -> Result<Arc<dyn Sign>, Error> {
        Ok(Arc::new(self.make(kind, path)?))
    }

    fn open(&self, path: &Path, sealed_to: Option<&Certificate>) -> Result<Arc<dyn Sign>, Error> {
        Ok(Arc::new(self.hold(path, sealed_to)?))
    }
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.passphrase.is_some() { "InProcess(with a passphrase)" } else { "InProcess" })
    }
}

/// A key, and what it may sign.
#[derive(Debug)]
pub(crate) struct Held {
    key: SigningKey,
    sealed_to: Option<Certificate>,
}

impl Held {
    /// Signs something of no meaning, so that a library that makes its things ready at first use has done
    /// so. Nobody sees the signature.
    pub fn warm_up(&self) -> Result<(), SignError> {
        self.key.sign(b"bunraku: nothing of any meaning").map(drop)
    }

    /// Whether it signs only what a CA signs.
    pub fn is_sealed(&self) -> bool {
        self.sealed_to.is_some()
    }

    /// Whether it may sign this.
    pub fn may_sign(&self, message: &[u8]) -> Result<(), SignError> {
        self.sealed_to.as_ref().map_or(Ok(()), |issuer| pki::may_sign(message, issuer))
    }

    /// Signs it, come what may.
    pub fn sign_it(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.key.sign(message)
    }
}

impl Sign for Held {
    fn public(&self) -> &PublicKey {
        self.key.public()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.may_sign(message)?;
        self.sign_it(message)
    }
}
