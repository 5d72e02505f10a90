//! The agent's unique name.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest certname, in bytes.
const MAX: usize = 255;

/// A certname: the common name of an agent's certificate, and the key of everything known of a node.
///
/// Lower case letters, digits, `-`, `_` and `.`; starts and ends with a letter or digit; no empty
/// label and no label that starts or ends with `-`; at most 255 bytes. It does not look like an IP
/// address (addresses are recycled, names are not: CVE-2012-3408) and is not `ca`, which the agent
/// protocol uses as the name of the authority itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Certname(Arc<str>);

/// Why a text is no certname. The text itself is quoted and escaped, and cut when it is long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertnameError {
    /// Nothing in it.
    #[error("a certname must not be empty")]
    Empty,
    /// More than 255 bytes.
    #[error("the certname has {0} bytes, the most is 255")]
    TooLong(usize),
    /// Capital letters; the text is the one the agents' users know.
    #[error("certificate names must be lower case: {0}")]
    UpperCase(String),
    /// A character that no certname has, such as `*`, `/`, a control character or a letter outside ASCII.
    #[error("the certname {0} has the character {1}; allowed are a-z, 0-9, '-', '_' and '.'")]
    Character(String, String),
    /// Dots, dashes or underscores in the wrong place.
    #[error(
        "the certname {0} is not well formed: it must start and end with a letter or digit, without '..', and no label may start or end with '-'"
    )]
    Shape(String),
    /// Looks like an IP address.
    #[error("the certname {0} looks like an IP address; give the node a name")]
    Address(String),
    /// A word with a meaning of its own in the protocol.
    #[error("the certname {0} is reserved")]
    Reserved(String),
}

impl Certname {
    /// Reads a certname as it is; nothing is lowered, trimmed or decoded.
    ///
    /// # Errors
    /// [`CertnameError`] names the first rule that is broken.
    pub fn parse(text: &str) -> Result<Certname, CertnameError> {
        if text.is_empty() {
            return Err(CertnameError::Empty);
        }
        if text.len() > MAX {
            return Err(CertnameError::TooLong(text.len()));
        }
        let shown =
            || text.escape_debug().take(80).fold(String::from("\""), |s, c| s + &c.to_string()) + "\"";
        let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.');
        if let Some(strange) = text.chars().find(|&c| !allowed(c) && !c.is_ascii_uppercase()) {
            return Err(CertnameError::Character(shown(), format!("{strange:?}")));
        }
        if text.chars().any(|c| c.is_ascii_uppercase()) {
            return Err(CertnameError::UpperCase(shown()));
        }
        let edge = |c: char| c.is_ascii_alphanumeric();
        if !text.starts_with(edge) || !text.ends_with(edge) || !text.split('.').all(well_formed_label) {
            return Err(CertnameError::Shape(shown()));
        }
        if text.split('.').all(is_number) {
            return Err(CertnameError::Address(shown()));
        }
        if text == "ca" {
            return Err(CertnameError::Reserved(shown()));
        }
        Ok(Certname(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn well_formed_label(label: &str) -> bool {
    !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
}

/// A label that address parsers of the C family take for a number: `10`, `0177`, `0x7f`.
fn is_number(label: &str) -> bool {
    match label.strip_prefix("0x") {
        Some(hex) => hex.chars().all(|c| c.is_ascii_hexdigit()),
        None => label.chars().all(|c| c.is_ascii_digit()),
    }
}

impl fmt::Display for Certname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Certname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl AsRef<str> for Certname {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Certname {
    type Err = CertnameError;

    fn from_str(text: &str) -> Result<Certname, CertnameError> {
        Certname::parse(text)
    }
}

impl Serialize for Certname {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Certname {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Certname, D::Error> {
        let text = String::deserialize(deserializer)?;
        Certname::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_real_agents_pass() {
        for name in [
            "a",
            "agent1.peer.test",
            "i-0123456789abcdef0",
            "ip-10-0-0-1.ec2.internal",
            "6fa459ea-ee8a-3ca4-894e-db77e160355e",
            "with_underscore.a_.b",
            "cafe",
            "ca.example",
            "1.2.3.x",
            "0xyz",
            &"a".repeat(255),
        ] {
            assert_eq!(Certname::parse(name).unwrap().as_str(), name);
        }
    }

    // faults row 5
    #[test]
    fn names_that_no_node_may_have_are_refused() {
        fn check(name: &str, expected: fn(&CertnameError) -> bool) {
            let error = Certname::parse(name).expect_err(name);
            assert!(expected(&error), "{name:?}: {error:?}");
            let text = error.to_string();
            assert!(!text.contains(['\n', '\0', '\u{1b}', '\u{202e}']) && text.len() < 400, "{text:?}");
        }
        use CertnameError as E;
        check("", |e| *e == E::Empty);
        check(&"a".repeat(256), |e| *e == E::TooLong(256));
        check("Agent1", |e| matches!(e, E::UpperCase(_)));
        for strange in [
            "*",
            "*.example",
            "a/b",
            "a\\b",
            "a\0b",
            "a\nb",
            "a\u{1b}[2J",
            "bücher",
            "a b",
            "a%2e",
            "\u{202e}x",
            "a:b",
        ] {
            check(strange, |e| matches!(e, E::Character(..)));
        }
        for shape in ["-a", "a-", ".a", "a.", "_a", "a_", "a..b", "..", ".", "a.-b", "a-.b", "-"] {
            check(shape, |e| matches!(e, E::Shape(_)));
        }
        for address in
            ["127.0.0.1", "10.1", "2130706433", "0x7f.1", "0x7f000001", "999.999.999.999", "0177.0.0.1"]
        {
            check(address, |e| matches!(e, E::Address(_)));
        }
        check("ca", |e| matches!(e, E::Reserved(_)));
    }
}
