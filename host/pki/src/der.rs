//! Strict DER: what requests are read with, value by value, and the few values we write.

use x509_parser::asn1_rs::{Any, Class, FromDer as _, Oid};

pub(crate) const BOOLEAN: u32 = 1;
pub(crate) const INTEGER: u32 = 2;
pub(crate) const BIT_STRING: u32 = 3;
pub(crate) const OCTET_STRING: u32 = 4;
pub(crate) const NULL: u32 = 5;
pub(crate) const OID: u32 = 6;
pub(crate) const UTF8_STRING: u32 = 12;
pub(crate) const SEQUENCE: u32 = 16;
pub(crate) const SET: u32 = 17;
pub(crate) const PRINTABLE_STRING: u32 = 19;
pub(crate) const IA5_STRING: u32 = 22;
pub(crate) const UTC_TIME: u32 = 23;
pub(crate) const GENERALIZED_TIME: u32 = 24;

/// Most values in one sequence or set; a request of 64 KiB never needs more.
const MAX_CHILDREN: usize = 4096;

/// The bytes are not the DER that belongs here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotDer;

/// One DER value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value<'a> {
    class: Class,
    tag: u32,
    constructed: bool,
    content: &'a [u8],
    /// Header and content.
    pub raw: &'a [u8],
}

impl<'a> Value<'a> {
    /// Reads one value that fills `bytes`.
    pub fn only(bytes: &'a [u8]) -> Result<Value<'a>, NotDer> {
        let (value, rest) = Value::first(bytes)?;
        if rest.is_empty() { Ok(value) } else { Err(NotDer) }
    }

    fn first(bytes: &'a [u8]) -> Result<(Value<'a>, &'a [u8]), NotDer> {
        let (rest, any) = Any::from_der(bytes).map_err(|_| NotDer)?;
        let length = bytes.len().checked_sub(rest.len()).ok_or(NotDer)?;
        let raw = bytes.get(..length).ok_or(NotDer)?;
        let value = Value {
            class: any.class(),
            tag: any.tag().0,
            constructed: any.header.is_constructed(),
            content: any.data,
            raw,
        };
        // The one length that says this much, so that no two encodings mean the same.
        let header = raw.len().checked_sub(value.content.len()).ok_or(NotDer)?;
        if header != header_length(value.tag, value.content.len()) { Err(NotDer) } else { Ok((value, rest)) }
    }

    /// Content of a universal, primitive value of this tag.
    pub fn primitive(&self, tag: u32) -> Result<&'a [u8], NotDer> {
        if self.class == Class::Universal && self.tag == tag && !self.constructed {
            Ok(self.content)
        } else {
            Err(NotDer)
        }
    }

    /// Values in a universal SEQUENCE or SET.
    pub fn children(&self, tag: u32) -> Result<Vec<Value<'a>>, NotDer> {
        if self.class != Class::Universal || self.tag != tag {
            return Err(NotDer);
        }
        self.inner()
    }

    /// The values in a universal SEQUENCE or SET one after the other, however many there are.
    pub fn each(
        &self,
        tag: u32,
    ) -> Result<impl Iterator<Item = Result<Value<'a>, NotDer>> + use<'a>, NotDer> {
        if self.class != Class::Universal || self.tag != tag || !self.constructed {
            return Err(NotDer);
        }
        let mut rest = self.content;
        Ok(std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let first = Value::first(rest);
            rest = first.map_or(&[], |(_, more)| more);
            Some(first.map(|(value, _)| value))
        }))
    }

    /// Values in a constructed, context-specific value of this tag.
    pub fn context_children(&self, tag: u32) -> Result<Vec<Value<'a>>, NotDer> {
        if self.class != Class::ContextSpecific || self.tag != tag {
            return Err(NotDer);
        }
        self.inner()
    }

    /// Content and tag of a primitive, context-specific value.
    pub fn context_primitive(&self) -> Result<(u32, &'a [u8]), NotDer> {
        if self.class == Class::ContextSpecific && !self.constructed {
            Ok((self.tag, self.content))
        } else {
            Err(NotDer)
        }
    }

    fn inner(&self) -> Result<Vec<Value<'a>>, NotDer> {
        if !self.constructed {
            return Err(NotDer);
        }
        let mut values = Vec::new();
        let mut rest = self.content;
        while !rest.is_empty() {
            if values.len() == MAX_CHILDREN {
                return Err(NotDer);
            }
            let (value, more) = Value::first(rest)?;
            values.push(value);
            rest = more;
        }
        Ok(values)
    }

    /// An object identifier in dotted form.
    pub fn oid(&self) -> Result<String, NotDer> {
        let content = self.primitive(OID)?;
        // A first byte of 0x80 in an arc is padding, the last byte ends an arc (X.690, 8.19.2), and
        // no arc of ours or of anybody's has more than nine bytes.
        let starts = std::iter::once(&0).chain(content).zip(content);
        let padded = starts.clone().any(|(before, byte)| before & 0x80 == 0 && *byte == 0x80);
        let long = content.split(|b| b & 0x80 == 0).any(|arc| arc.len() > 8);
        if content.is_empty() || padded || long || content.last().is_none_or(|b| b & 0x80 != 0) {
            return Err(NotDer);
        }
        Ok(Oid::new(content.into()).to_id_string())
    }

    /// A UTF8String, PrintableString or IA5String; no other string type is one of ours.
    pub fn text(&self) -> Result<&'a str, NotDer> {
        if let Ok(content) = self.primitive(UTF8_STRING) {
            return std::str::from_utf8(content).map_err(|_| NotDer);
        }
        let (content, allowed): (_, fn(&u8) -> bool) = match self.primitive(PRINTABLE_STRING) {
            Ok(content) => (content, |b| b.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(b)),
            Err(NotDer) => (self.primitive(IA5_STRING)?, u8::is_ascii),
        };
        if !content.iter().all(allowed) {
            return Err(NotDer);
        }
        std::str::from_utf8(content).map_err(|_| NotDer)
    }

    /// A BIT STRING of whole bytes.
    pub fn whole_bits(&self) -> Result<&'a [u8], NotDer> {
        match self.primitive(BIT_STRING)?.split_first() {
            Some((0, bytes)) => Ok(bytes),
            _ => Err(NotDer),
        }
    }

    /// A positive INTEGER, big-endian, without its sign byte.
    pub fn unsigned(&self) -> Result<&'a [u8], NotDer> {
        match self.primitive(INTEGER)? {
            [] | [0] => Err(NotDer),
            [0, next, ..] if next & 0x80 == 0 => Err(NotDer),
            [0, rest @ ..] => Ok(rest),
            [first, ..] if first & 0x80 != 0 => Err(NotDer),
            content => Ok(content),
        }
    }
}

fn header_length(tag: u32, content: usize) -> usize {
    let tag_bytes = if tag < 31 { 1 } else { 2 };
    match content {
        0..0x80 => tag_bytes + 1,
        0x80..0x100 => tag_bytes + 2,
        0x100..0x1_0000 => tag_bytes + 3,
        0x1_0000..0x100_0000 => tag_bytes + 4,
        _ => tag_bytes + 5,
    }
}

/// Writes a UTF8String.
pub(crate) fn utf8_string(text: &str) -> Vec<u8> {
    write(0x0c, text.as_bytes())
}

/// Writes a value: identifier byte, shortest length, content.
pub(crate) fn write(identifier: u8, content: &[u8]) -> Vec<u8> {
    let mut value = vec![identifier];
    let length = content.len().to_be_bytes();
    let significant: Vec<u8> = length.iter().copied().skip_while(|b| *b == 0).collect();
    match (significant.as_slice(), u8::try_from(significant.len())) {
        ([], _) => value.push(0),
        ([short], _) if *short < 0x80 => value.push(*short),
        (long, count) => {
            value.push(0x80 | count.unwrap_or(8));
            value.extend_from_slice(long);
        }
    }
    value.extend_from_slice(content);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 127, 128, 255, 256, 65535, 65536] {
            let text = "x".repeat(length);
            let der = utf8_string(&text);
            assert_eq!(Value::only(&der).unwrap().text().unwrap(), text);
        }
    }

    #[test]
    fn loose_encodings_are_refused() {
        let refused: &[(&str, &[u8])] = &[
            ("nothing", &[]),
            ("trailing byte", &[0x0c, 1, b'a', 0]),
            ("longer than the bytes", &[0x0c, 2, b'a']),
            ("length with a leading zero", &[0x0c, 0x82, 0, 0x80]),
            ("long form for a short length", &[0x0c, 0x81, 1, b'a']),
            ("indefinite length", &[0x30, 0x80, 0, 0]),
        ];
        for (what, bytes) in refused {
            assert!(Value::only(bytes).is_err(), "{what}");
        }
        // A string in pieces is BER.
        let pieces = [0x2c, 3, 0x0c, 1, b'a'];
        assert!(Value::only(&pieces).and_then(|v| v.text()).is_err());
    }

    #[test]
    fn strings_keep_to_their_alphabets() {
        fn check(bytes: &[u8], expected: Option<&str>) {
            assert_eq!(Value::only(bytes).unwrap().text().ok(), expected, "{bytes:?}");
        }
        check(&[12, 2, 0xc3, 0xa9], Some("é"));
        check(&[12, 1, 0xff], None);
        check(&[19, 3, b'a', b':', b'b'], Some("a:b"));
        check(&[19, 1, b'*'], None);
        check(&[22, 1, b'*'], Some("*"));
        check(&[22, 1, 0xe9], None);
        check(&[30, 2, 0, b'a'], None); // BMPString
        check(&[20, 1, b'a'], None); // TeletexString
    }

    #[test]
    fn object_identifiers_have_one_spelling() {
        fn check(bytes: &[u8], expected: Option<&str>) {
            assert_eq!(Value::only(bytes).unwrap().oid().ok().as_deref(), expected, "{bytes:?}");
        }
        check(&[6, 3, 0x55, 0x1d, 0x11], Some("2.5.29.17"));
        check(&[6, 11, 0x2b, 6, 1, 4, 1, 0x82, 0x8c, 0x4c, 1, 1, 13], Some("1.3.6.1.4.1.34380.1.1.13"));
        check(&[6, 0], None);
        check(&[6, 3, 0x55, 0x80, 0x11], None);
        check(&[6, 2, 0x55, 0x9d], None);
        check(&[6, 12, 0x2b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], None);
    }

    #[test]
    fn integers_are_positive_and_minimal() {
        fn check(bytes: &[u8], expected: Option<&[u8]>) {
            assert_eq!(Value::only(bytes).unwrap().unsigned().ok(), expected, "{bytes:?}");
        }
        check(&[2, 1, 3], Some(&[3]));
        check(&[2, 2, 0, 0x80], Some(&[0x80]));
        check(&[2, 2, 0, 3], None);
        check(&[2, 1, 0x80], None);
        check(&[2, 1, 0], None);
        check(&[2, 0], None);
    }
}
