//! Serial numbers of certificates.

use std::fmt;

use aws_lc_rs::rand;

/// Most bytes a serial has (RFC 5280, 4.1.2.2).
const MAX: usize = 20;

/// A certificate's serial number: positive, 1 to 20 bytes, kept without leading zeros.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Vec<u8>);

/// Why bytes or a text are no serial.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SerialError {
    /// Zero, or nothing at all.
    #[error("a serial number must be positive")]
    NotPositive,
    /// More than 20 bytes.
    #[error("a serial number has at most 20 bytes")]
    TooLong,
    /// Not hexadecimal digits.
    #[error("a serial number is written in hexadecimal digits")]
    NotHex,
    /// The operating system gave no randomness.
    #[error("no randomness to be had for a serial number")]
    NoRandomness,
}

impl Serial {
    /// A fresh serial of 128 bits, as hard to guess as to meet twice.
    ///
    /// # Errors
    /// [`SerialError::NoRandomness`] when the random source fails.
    pub fn random() -> Result<Serial, SerialError> {
        let mut bytes = [0u8; 16];
        rand::fill(&mut bytes).map_err(|_| SerialError::NoRandomness)?;
        // The top bits are set and cleared so that every serial has 16 bytes and none is negative
        // in DER: 126 bits remain random.
        if let Some(first) = bytes.first_mut() {
            *first = (*first & 0x7f) | 0x40;
        }
        Ok(Serial(bytes.to_vec()))
    }

    /// Reads an unsigned big-endian number, as X.509 has it; leading zeros are dropped.
    ///
    /// # Errors
    /// [`SerialError`] when it is zero or longer than 20 bytes.
    pub fn from_be_bytes(bytes: &[u8]) -> Result<Serial, SerialError> {
        let start = bytes.iter().position(|b| *b != 0).ok_or(SerialError::NotPositive)?;
        let bytes = bytes.get(start..).unwrap_or_default();
        if bytes.len() > MAX {
            return Err(SerialError::TooLong);
        }
        Ok(Serial(bytes.to_vec()))
    }

    /// Reads hexadecimal digits of either case, with or without `0x`.
    ///
    /// # Errors
    /// [`SerialError`] when they are no digits, zero, or too many.
    pub fn from_hex(text: &str) -> Result<Serial, SerialError> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        if digits.len() > 2 * MAX + 2 {
            return Err(SerialError::TooLong);
        }
        let even = if digits.len().is_multiple_of(2) { digits.to_owned() } else { format!("0{digits}") };
        Serial::from_be_bytes(&hex::decode(even).map_err(|_| SerialError::NotHex)?)
    }

    /// Upper case digits, two a byte, without `0x`: the form in the store.
    pub fn to_hex(&self) -> String {
        hex::encode_upper(&self.0)
    }

    /// The number, big-endian, without leading zeros.
    pub fn as_be_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", self.to_hex())
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_are_read_and_written() {
        fn check(text: &str, expected: Result<&str, SerialError>) {
            assert_eq!(Serial::from_hex(text).map(|s| s.to_string()), expected.map(str::to_owned), "{text}");
        }
        check("1", Ok("0x01"));
        check("0x0004", Ok("0x04"));
        check("ff00aB", Ok("0xFF00AB"));
        check(&"f".repeat(40), Ok(&format!("0x{}", "F".repeat(40))));
        check(&"f".repeat(41), Err(SerialError::TooLong));
        check(&"0".repeat(4000), Err(SerialError::TooLong));
        check("", Err(SerialError::NotPositive));
        check("0x00", Err(SerialError::NotPositive));
        check("-1", Err(SerialError::NotHex));
        check("0x0x1", Err(SerialError::NotHex));
        check("é1", Err(SerialError::NotHex));
    }

    #[test]
    fn random_serials_differ_and_stay_positive() {
        let serials: std::collections::BTreeSet<_> = (0..1000).map(|_| Serial::random().unwrap()).collect();
        assert_eq!(serials.len(), 1000);
        assert!(serials.iter().all(|s| s.as_be_bytes().len() == 16 && s.as_be_bytes()[0] < 0x80));
    }
}
