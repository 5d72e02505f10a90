//! Texts and frames: inventories, definitions, request targets, what a CA streams and a signer is told.

use std::time::SystemTime;

use definition::{NodeDefinition, yaml};
use outgoing::Origin;

use crate::inventory;
use crate::judge::{Arrival, Offer, judge};
use crate::pairs::{Pairs, decode_escapes};
use crate::protocol;
use crate::target::Target;

/// An imported CA's `inventory.txt`: every line that is read is written so that it is read again.
pub fn import(input: &[u8]) {
    for (number, entry) in inventory::parse(input) {
        assert!(number >= 1);
        let Ok(entry) = entry else { continue };
        let line = inventory::write(&entry);
        let again: Vec<_> = inventory::parse(line.as_bytes()).collect();
        assert_eq!(again, [(1, Ok(entry))], "{line}");
    }
}

/// What a CA says of itself on the stream that catalog masters follow.
pub fn offer(input: &[u8]) {
    let Ok(offer) = serde_json::from_slice::<Offer>(input) else { return };
    let arrival = Arrival::now(SystemTime::UNIX_EPOCH);
    let Ok(Some(held)) = judge(&offer, None, arrival) else { return };
    assert!(*held.trust.bundle.pem().as_bytes() == *offer.bundle.as_bytes());
    let again = judge(&offer, Some(&held), arrival);
    assert!(matches!(again, Ok(None)), "the same again is news");
}

/// Frames between the daemon and its signer: what is read is written as it was.
pub fn frames(input: &[u8]) {
    let mut rest = input;
    let mut before = rest;
    while let Ok(Some(frame)) = protocol::read(&mut rest, protocol::MAX_SMALL) {
        let mut written = Vec::new();
        assert!(protocol::write(&mut written, frame.id, frame.kind, &frame.body).is_ok());
        assert!(before.starts_with(&written), "a frame is written as another");
        let _ = serde_json::from_slice::<protocol::Start>(&frame.body);
        before = rest;
    }
}

/// A request line's target: one decoding, and one spelling that decodes to the same.
pub fn target(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    };
    let Ok(target) = Target::parse(path, query) else { return };
    assert!(!target.path().chars().any(char::is_control));
    assert!(target.segments().iter().all(|segment| !["..", "."].contains(segment) && !segment.contains('/')));
    let Ok(canonical) = target.canonical() else { return };
    let again = Target::parse(canonical.path(), query);
    assert_eq!(again.as_ref(), Ok(&target), "the canonical spelling is another path");
}

/// Queries and forms.
pub fn pairs(input: &[u8]) {
    let _ = decode_escapes(input);
    let Ok(pairs) = Pairs::parse(input) else { return };
    for name in ["", "environment", "facts"] {
        let all: Vec<_> = pairs.all(name).collect();
        match pairs.one(name) {
            Ok(one) => assert!(all.iter().all(|value| Some(*value) == one)),
            Err(_) => assert!(all.len() > 1),
        }
    }
}

/// Node definitions in YAML: what is read is written so that it is read again.
pub fn definition(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let _ = NodeDefinition::parse(text);
    let Ok(value) = yaml::parse(text) else { return };
    let written = yaml::to_string(&value);
    assert_eq!(yaml::parse(&written).as_ref(), Ok(&value), "{written}");
}

/// Origins that are granted: what is read is written so that it is read again, and names one host.
pub fn origin(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(origin) = Origin::parse(text) else { return };
    let written = origin.to_string();
    assert!(!written.contains(['*', '@', '%', '?', '#', ' ']), "{written}");
    assert_eq!(Origin::parse(&written).as_ref(), Ok(&origin), "{written}");
}
