//! SHA-256 digests of certificates, requests and public keys.

use std::fmt;

use sha2::{Digest, Sha256};

/// A SHA-256 digest. Shown as Puppet's tools show it: upper case, with colons.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Fingerprint {
        Fingerprint(Sha256::digest(bytes).into())
    }

    /// Lower case digits without colons: the form in the store.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The digest itself.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02X}", if i == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_shown_as_puppet_shows_it() {
        let empty = Fingerprint::of(b"");
        assert!(empty.to_string().starts_with("E3:B0:C4:42:98:FC"));
        assert_eq!(empty.to_string().len(), 95);
        assert!(empty.to_hex().starts_with("e3b0c44298fc"));
    }
}
