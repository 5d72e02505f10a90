//! The journal's key: addresses and sealed content.
//!
//! From 32 random bytes three keys follow by HKDF-Expand (RFC 5869 §2.3): one for addresses, one for
//! AES-256-GCM, and an identifier that tells which key sealed a blob. Nonces are drawn anew for each
//! blob, so one key is good for 2^32 of them (NIST SP 800-38D §8.3), which at a hundred new blobs
//! a second takes more than a year, and most blobs are not new; a new key is made by removing the file.
//! The length of a sealed blob tells how well its content deflates, and that alone.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use aws_lc_rs::{hmac, rand};
use flate2::Compression;
use flate2::read::{DeflateDecoder, DeflateEncoder};
use zeroize::Zeroizing;

use crate::{Error, schema};

/// Where a blob is found: it says nothing about the content to those who lack the key.
pub(crate) type Address = [u8; 32];

/// Bytes that a blob may have when inflated: more than any that `record` lets through.
const MAX_PLAIN: u64 = 64 * 1024 * 1024;
const NONCE: usize = 12;

/// Made once, beside the database. Never printed.
pub(crate) struct Key {
    id: [u8; 8],
    address: hmac::Key,
    seal: RandomizedNonceKey,
}

/// Why a blob could not be opened.
#[derive(Debug, PartialEq)]
pub(crate) enum Unopened {
    /// It was sealed by another key.
    OtherKey,
    /// It is not what was written.
    Damaged(&'static str),
}

impl Key {
    /// The key in the file, which is made where there is none.
    pub(crate) fn open_or_make(path: &Path) -> Result<Key, Error> {
        if let Some(key) = Key::open(path)? {
            return Ok(key);
        }
        let mut secret = Zeroizing::new([0; 32]);
        let none = || Error::Key { path: path.to_owned() };
        rand::fill(secret.as_mut()).map_err(|_| none())?;
        let text = Zeroizing::new(hex::encode(secret.as_ref()) + "\n");
        // Under another name first, so that a crash leaves no half key.
        let new = crate::beside(path, ".new");
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .and_then(|()| std::fs::rename(&new, path))
            .map_err(|source| Error::Io { path: path.to_owned(), source: Arc::new(source) })?;
        schema::sync_folder(path)?;
        Key::of(&secret).ok_or_else(none)
    }

    /// The key in the file; `None` where there is no file.
    pub(crate) fn open(path: &Path) -> Result<Option<Key>, Error> {
        let mut text = Zeroizing::new(String::new());
        match File::open(path).and_then(|file| file.take(128).read_to_string(&mut text)) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == ErrorKind::InvalidData => text.clear(),
            Err(source) => return Err(Error::Io { path: path.to_owned(), source: Arc::new(source) }),
        }
        let mut secret = Zeroizing::new([0; 32]);
        let key = hex::decode_to_slice(text.trim_end(), secret.as_mut()).ok().and_then(|()| Key::of(&secret));
        key.map(Some).ok_or_else(|| Error::Key { path: path.to_owned() })
    }

    fn of(secret: &[u8; 32]) -> Option<Key> {
        let secret = Prk::new_less_safe(HKDF_SHA256, secret);
        let (mut id, mut address, mut seal) = ([0; 8], Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
        fill(&secret, b"bunraku journal: name of the key", &mut id)?;
        fill(&secret, b"bunraku journal: addresses", address.as_mut())?;
        fill(&secret, b"bunraku journal: content", seal.as_mut())?;
        Some(Key {
            id,
            address: hmac::Key::new(hmac::HMAC_SHA256, address.as_ref()),
            seal: RandomizedNonceKey::new(&AES_256_GCM, seal.as_ref()).ok()?,
        })
    }

    /// Tells keys apart; says nothing about them.
    pub(crate) fn id(&self) -> &[u8] {
        &self.id
    }

    pub(crate) fn address(&self, plain: &[u8]) -> Address {
        let mut address = [0; 32];
        // HMAC-SHA256 has 32 bytes, as `address` has.
        address.iter_mut().zip(hmac::sign(&self.address, plain).as_ref()).for_each(|(to, from)| *to = *from);
        address
    }

    /// Deflates and seals: nonce, then ciphertext and tag. Bound to its address, so that no blob
    /// passes for another.
    pub(crate) fn seal(&self, address: &Address, plain: &[u8]) -> Option<Vec<u8>> {
        let mut content = Vec::with_capacity(plain.len() / 4 + 64);
        DeflateEncoder::new(plain, Compression::fast()).read_to_end(&mut content).ok()?;
        let nonce = self.seal.seal_in_place_append_tag(Aad::from(address), &mut content).ok()?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.append(&mut content);
        Some(sealed)
    }

    pub(crate) fn open_blob(&self, address: &[u8], by: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Unopened> {
        if by != self.id {
            return Err(Unopened::OtherKey);
        }
        let (nonce, content) = sealed.split_at_checked(NONCE).ok_or(Unopened::Damaged("it is cut short"))?;
        let nonce =
            Nonce::try_assume_unique_for_key(nonce).map_err(|_| Unopened::Damaged("it is cut short"))?;
        let mut content = content.to_vec();
        let deflated = self
            .seal
            .open_in_place(nonce, Aad::from(address), &mut content)
            .map_err(|_| Unopened::Damaged("its bytes on disk were changed"))?;
        let mut plain = Vec::with_capacity(deflated.len().saturating_mul(4));
        DeflateDecoder::new(&*deflated)
            .take(MAX_PLAIN)
            .read_to_end(&mut plain)
            .map_err(|_| Unopened::Damaged("it does not inflate"))?;
        Ok(plain)
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn fill(secret: &Prk, label: &[u8], out: &mut [u8]) -> Option<()> {
    secret.expand(&[label], Length(out.len())).ok()?.fill(out).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_for_its_owner_only() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("journal.key");
        assert!(Key::open(&path).unwrap().is_none());
        let made = Key::open_or_make(&path).unwrap();
        let found = Key::open_or_make(&path).unwrap();
        assert_eq!(made.id, found.id);
        assert_eq!(made.address(b"x"), found.address(b"x"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for broken in [&b""[..], b"abcd\n", &[0xff; 65]] {
            std::fs::write(&path, broken).unwrap();
            assert!(matches!(Key::open_or_make(&path), Err(Error::Key { .. })));
        }
    }

    #[test]
    fn a_changed_or_moved_blob_does_not_open() {
        let (key, other) = (Key::of(&[1; 32]).unwrap(), Key::of(&[2; 32]).unwrap());
        let plain = b"what is sealed ".repeat(50);
        let address = key.address(&plain);
        let sealed = key.seal(&address, &plain).unwrap();
        assert_eq!(key.open_blob(&address, key.id(), &sealed).unwrap(), plain);
        assert!(sealed.len() < plain.len());
        assert_ne!(sealed, key.seal(&address, &plain).unwrap(), "a nonce of its own each time");
        assert_ne!(address, other.address(&plain));

        assert_eq!(other.open_blob(&address, key.id(), &sealed), Err(Unopened::OtherKey));
        let refused = |address: &[u8], sealed: &[u8]| {
            let opened = key.open_blob(address, key.id(), sealed);
            assert!(matches!(opened, Err(Unopened::Damaged(_))), "{opened:?}");
        };
        refused(&key.address(b"another"), &sealed);
        for cut in 0..sealed.len() {
            refused(&address, &sealed[..cut]);
            let mut flipped = sealed.clone();
            flipped[cut] ^= 1;
            refused(&address, &flipped);
        }
    }
}
