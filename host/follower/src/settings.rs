//! What the operator sets.

use std::path::PathBuf;
use std::time::Duration;

use pki::{AltName, Certname, Fingerprint, KeyKind};

use crate::Error;

/// The operator's words.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder for key, certificate and what is known of the CA. It is ours alone.
    pub dir: PathBuf,
    /// The CA's host name and port; its certificate has to have that name.
    pub server: (String, u16),
    /// This master's name.
    pub certname: Certname,
    /// Further names under which agents reach this master. The CA has to know of them:
    /// `bunraku ca masters add NAME --dns-alt-name X`.
    pub dns_alt_names: Vec<AltName>,
    /// How the CA is known at the first contact; without one it is trusted on first use, loudly.
    pub pin: Option<Pin>,
    /// For how long after their end the revocation lists still do.
    pub grace: Duration,
    /// The kind of this master's key.
    pub key: KeyKind,
    /// How often to ask where the CA does not push; 60 s is usual.
    pub poll: Duration,
}

/// How a CA is known before it was ever met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// SHA-256 of its bundle's bytes, as agents' `ca_fingerprint` has it.
    Fingerprint(ExpectedFingerprint),
    /// A file with its bundle, or with the root of it alone.
    File(PathBuf),
}

/// A SHA-256 digest that something is expected to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpectedFingerprint([u8; 32]);

impl Pin {
    /// Reads 64 hexadecimal digits of either case, with or without colons between the bytes.
    ///
    /// # Errors
    /// [`Error::Fingerprint`].
    pub fn fingerprint(text: &str) -> Result<Pin, Error> {
        let bad = || Error::Fingerprint(text.chars().take(120).collect());
        let digits: String = text.trim().chars().filter(|c| *c != ':').collect();
        if !digits.is_ascii() || digits.len() != 64 {
            return Err(bad());
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            let pair = digits.get(at..at + 2).filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()));
            *byte = u8::from_str_radix(pair.ok_or_else(bad)?, 16).map_err(|_| bad())?;
        }
        Ok(Pin::Fingerprint(ExpectedFingerprint(bytes)))
    }
}

impl From<Fingerprint> for ExpectedFingerprint {
    fn from(fingerprint: Fingerprint) -> ExpectedFingerprint {
        ExpectedFingerprint(*fingerprint.as_bytes())
    }
}

impl ExpectedFingerprint {
    /// Whether it is this one.
    pub fn is(&self, fingerprint: &Fingerprint) -> bool {
        self.0 == *fingerprint.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_as_people_paste_them() {
        fn check(text: &str, fine: bool) {
            let read = Pin::fingerprint(text);
            let expected = Pin::Fingerprint(Fingerprint::of(b"x").into());
            assert_eq!(read.ok(), fine.then_some(expected), "{text}");
        }
        let real = Fingerprint::of(b"x");
        check(&real.to_string(), true);
        check(&real.to_hex(), true);
        check(&format!(" {}\n", real.to_hex().to_uppercase()), true);
        check(&real.to_hex()[1..], false);
        check(&format!("{}0", real.to_hex()), false);
        check(&real.to_hex().replace('0', "g"), false);
        check(&format!("{}+1", &real.to_hex()[..62]), false);
        check(&"é".repeat(32), false);
        check("", false);
        assert!(Pin::fingerprint("").unwrap_err().to_string().contains("64 hexadecimal digits"));
    }
}
