//! Name and value pairs: the query of a request target, or the form that carries facts.

use percent_encoding::percent_decode;

/// Decoded pairs, in the order they came. Strict: what is not UTF-8, or no escape, is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pairs(Vec<(String, String)>);

/// Why pairs, or one value asked of them, are refused. Always the sender's fault: 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PairsError {
    /// A `%` that two hex digits do not follow.
    #[error("a % that no two hex digits follow")]
    Escape,
    /// Decoded bytes that are not UTF-8.
    #[error("bytes that are not UTF-8")]
    Utf8,
    /// One name with two different values: whoever reads the other one would decide otherwise.
    #[error("two values for {0}")]
    TwoValues(String),
}

impl Pairs {
    /// Reads `application/x-www-form-urlencoded` bytes.
    ///
    /// # Errors
    /// [`PairsError::Escape`] and [`PairsError::Utf8`].
    pub fn parse(text: &[u8]) -> Result<Pairs, PairsError> {
        let mut pairs = Vec::new();
        for part in text.split(|byte| *byte == b'&').filter(|part| !part.is_empty()) {
            let mut halves = part.splitn(2, |byte| *byte == b'=');
            let name = decode_value(halves.next().unwrap_or_default())?;
            let value = decode_value(halves.next().unwrap_or_default())?;
            pairs.push((name, value));
        }
        Ok(Pairs(pairs))
    }

    /// The one value of a name.
    ///
    /// # Errors
    /// [`PairsError::TwoValues`].
    pub fn one(&self, name: &str) -> Result<Option<&str>, PairsError> {
        let mut values = self.all(name);
        let first = values.next();
        if values.any(|value| Some(value) != first) {
            return Err(PairsError::TwoValues(name.to_owned()));
        }
        Ok(first)
    }

    /// Every value of a name, as `ignore` is repeated.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Decodes one name or value: `+` is a space, then percent escapes.
///
/// # Errors
/// [`PairsError::Escape`] and [`PairsError::Utf8`].
pub fn decode_value(raw: &[u8]) -> Result<String, PairsError> {
    if raw.contains(&b'+') {
        let spaced: Vec<u8> = raw.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
        return decode_escapes(&spaced);
    }
    decode_escapes(raw)
}

/// Decodes percent escapes, once.
///
/// # Errors
/// [`PairsError::Escape`] and [`PairsError::Utf8`].
pub fn decode_escapes(raw: &[u8]) -> Result<String, PairsError> {
    let mut after = raw.split(|byte| *byte == b'%');
    after.next();
    let sound = after.all(|rest| rest.get(..2).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)));
    if !sound {
        return Err(PairsError::Escape);
    }
    String::from_utf8(percent_decode(raw).collect()).map_err(|_| PairsError::Utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_strictly() {
        let check = |text: &str, expected: Result<&[(&str, &str)], PairsError>| {
            let expected = expected
                .map(|pairs| Pairs(pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect()));
            assert_eq!(Pairs::parse(text.as_bytes()), expected, "{text}");
        };
        check("", Ok(&[]));
        check("a=1&b=x+y%2Bz&&c", Ok(&[("a", "1"), ("b", "x y+z"), ("c", "")]));
        check("a=b=c", Ok(&[("a", "b=c")]));
        check("a=%2541", Ok(&[("a", "%41")]));
        check("a=%4", Err(PairsError::Escape));
        check("a=%zz", Err(PairsError::Escape));
        check("a=%C3%A9", Ok(&[("a", "é")]));
        check("a=%C3", Err(PairsError::Utf8)); // faults row 66
        check("%FF=a", Err(PairsError::Utf8));
    }

    #[test]
    fn one_name_with_two_values_is_refused() {
        let pairs = Pairs::parse(b"environment=a&environment=b&same=1&same=1").unwrap();
        assert_eq!(pairs.one("environment"), Err(PairsError::TwoValues("environment".into())));
        assert_eq!(pairs.one("same"), Ok(Some("1")));
        assert_eq!(pairs.one("none"), Ok(None));
        assert_eq!(pairs.all("environment").collect::<Vec<_>>(), ["a", "b"]);
    }
}
