//! DER that a fuzzer can change: every length around a changed value is made here.
//!
//! An input whose first length is 0x80 is taken as BER with indefinite lengths: values in a constructed
//! one up to two zero bytes. So one insertion is one more value, where in DER it would be garbage. Two
//! identifiers stand for what has DER within it: 0x24 for an OCTET STRING, 0x23 for a BIT STRING.

use std::borrow::Cow;

/// The input as DER, if it is in that form; else as it is.
pub fn definite(input: &[u8]) -> Cow<'_, [u8]> {
    if input.get(1) != Some(&0x80) {
        return Cow::Borrowed(input);
    }
    // What is open, from the outside in, and what has come of it.
    let mut open: Vec<(u8, Vec<u8>)> = Vec::new();
    let mut done = Vec::new();
    let mut rest = input;
    while let [identifier, length, more @ ..] = rest {
        rest = more;
        match (identifier, length) {
            (0, 0) => close(&mut open, &mut done),
            (_, 0x80) => open.push((*identifier, Vec::new())),
            _ => {
                let (length, more) = match (length, more) {
                    (0x81, [length, more @ ..]) => (usize::from(*length), more),
                    (0x82, [high, low, more @ ..]) => (usize::from(*high) * 256 + usize::from(*low), more),
                    _ => (usize::from(length & 0x7f), more),
                };
                let (content, more) = more.split_at_checked(length).unwrap_or((more, &[]));
                let value = tlv(*identifier, content);
                open.last_mut().map_or(&mut done, |(_, inner)| inner).extend(value);
                rest = more;
            }
        }
    }
    while !open.is_empty() {
        close(&mut open, &mut done);
    }
    Cow::Owned(done)
}

fn close(open: &mut Vec<(u8, Vec<u8>)>, done: &mut Vec<u8>) {
    let Some((identifier, content)) = open.pop() else { return };
    let value = match identifier {
        0x24 => tlv(4, &content),
        0x23 => tlv(3, &[&[0], content.as_slice()].concat()),
        _ => tlv(identifier, &content),
    };
    open.last_mut().map_or(done, |(_, inner)| inner).extend(value);
}

/// A value: identifier, shortest length, content.
pub fn tlv(identifier: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let long: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let mut value = vec![identifier];
    match (long.as_slice(), u8::try_from(long.len())) {
        ([], _) => value.push(0),
        ([short], _) if *short < 0x80 => value.push(*short),
        (long, count) => {
            value.push(0x80 | count.unwrap_or(8));
            value.extend(long);
        }
    }
    value.extend(content);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_made() {
        fn check(input: &[u8], expected: &[u8]) {
            assert_eq!(definite(input), expected, "{input:x?}");
        }
        check(&[], &[]);
        check(&[0x30, 0], &[0x30, 0]);
        check(&[0x30, 0x80, 2, 1, 5, 0, 0], &[0x30, 3, 2, 1, 5]);
        check(&[0x30, 0x80, 2, 1, 5], &[0x30, 3, 2, 1, 5]);
        check(&[0x30, 0x80, 0x24, 0x80, 0x30, 0x80, 0, 0, 0, 0, 5, 0], &[0x30, 6, 4, 2, 0x30, 0, 5, 0]);
        check(&[0x30, 0x80, 0x23, 0x80, 5, 0, 0, 0, 0, 0, 0, 0], &[0x30, 5, 3, 3, 0, 5, 0]);
        check(&[0x30, 0x80, 2, 9, 5], &[0x30, 3, 2, 1, 5]);
    }
}
