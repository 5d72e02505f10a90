//! Records to write.

use std::time::Duration;

use bunraku_journal::{Asked, HostCall, Kind, Mode, Record, Transcript};
use serde_json::{Value, json};
use time::OffsetDateTime;

/// In whole microseconds, as the journal keeps them.
pub const TOOK: Duration = Duration::from_micros(1234);

pub fn record(id: &str, certname: &str, at: OffsetDateTime, told: Value) -> Record {
    Record {
        id: id.to_owned(),
        at,
        kind: Kind::Approval,
        certname: certname.to_owned(),
        occasion: Some("first".to_owned()),
        peer: Some("192.0.2.7".to_owned()),
        input: json!({"certname": certname, "attributes": []}),
        set: "3f9c".repeat(8),
        mode: Mode::Live,
        asked: vec![
            asked("pattern", "abstain", Transcript::default()),
            asked("s3-registry", "approve", transcript(told)),
        ],
        verdict: "approve".to_owned(),
        reason: "the registry has the name".to_owned(),
        by: Some("s3-registry".to_owned()),
        because: vec!["the object is there".to_owned()],
        answer: Some(json!({"lifetime": null})),
        took: TOOK,
    }
}

pub fn transcript(told: Value) -> Transcript {
    let call = |function: &str, answer| HostCall {
        function: function.to_owned(),
        arguments: json!(["registry", "node"]),
        answer,
    };
    Transcript {
        facts: vec![("os.family".to_owned(), Some(json!("RedHat"))), ("role".to_owned(), None)],
        calls: vec![
            call("object-store.head", Err(("not-found".to_owned(), String::new()))),
            call("object-store.get", Ok(told)),
        ],
        truncated: false,
    }
}

fn asked(plugin: &str, said: &str, transcript: Transcript) -> Asked {
    Asked {
        plugin: plugin.to_owned(),
        digest: "ab12".repeat(16),
        settings_digest: "cd34".repeat(16),
        class: None,
        transcript,
        said: said.to_owned(),
        detail: "in its own words".to_owned(),
        fault: None,
        took: TOOK,
        memory_bytes: 1 << 20,
    }
}

/// Text that does not deflate to much less than half, another for each number.
pub fn noise(number: u64, bytes: usize) -> String {
    let mut state = number;
    let mut text = String::new();
    while text.len() < bytes {
        // SplitMix64, so that the texts of all numbers differ throughout.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        text += &format!("{:016x}", word ^ (word >> 31));
    }
    text.truncate(bytes);
    text
}
