//! What a decision is made of, and how much of it is kept.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

/// Host calls kept of one transcript.
pub const MAX_CALLS: usize = 256;
/// Bytes kept of one transcript, roughly as JSON.
pub const MAX_TRANSCRIPT: usize = 1024 * 1024;
/// Bytes kept of all transcripts of one record.
pub const MAX_TRANSCRIPTS: usize = 16 * 1024 * 1024;
/// Bytes that input and answer may have together.
pub const MAX_INPUT_AND_ANSWER: usize = 4 * 1024 * 1024;
/// Arrays and objects inside each other.
const MAX_DEPTH: usize = 256;

/// What was decided about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Whether to sign a certificate request.
    Approval,
    /// What a node is.
    Classification,
    /// A catalog: one plugin asked for each class.
    Provision,
}

/// Whether the answer was acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// It decided.
    Live,
    /// It was compared, and dropped.
    Shadow,
}

/// A decision: what was asked, what plugins were told and said, what came of it.
///
/// `Debug` prints none of the input, the answer and the transcripts.
#[derive(Clone, PartialEq)]
pub struct Record {
    /// Names the decision; the same that plugins and the log are told.
    pub id: String,
    /// When it began; what plugins read as the time.
    pub at: OffsetDateTime,
    /// What was decided about.
    pub kind: Kind,
    /// Whose.
    pub certname: String,
    /// How it came about, such as `first` or `renewal`. In a plain column.
    pub occasion: Option<String>,
    /// The other end's address. In a plain column.
    pub peer: Option<String>,
    /// What plugins were asked about: request, node or classes. Sealed.
    pub input: Value,
    /// The plugin set that decided.
    pub set: String,
    /// Whether the answer was acted on.
    pub mode: Mode,
    /// Each call of a plugin, in order. Sealed, but for times and memory.
    pub asked: Vec<Asked>,
    /// One word, such as `approve` or `no-match`. In a plain column.
    pub verdict: String,
    /// Why, in the host's words: in a plain column, so it must quote neither facts nor bodies.
    pub reason: String,
    /// The plugin that decided.
    pub by: Option<String>,
    /// What the deciding plugin says that its answer rests on. Sealed.
    pub because: Vec<String>,
    /// What was answered: classes, lifetime, counts of resources. Sealed.
    pub answer: Option<Value>,
    /// From first to last.
    pub took: Duration,
}

/// One call of one plugin.
#[derive(Clone, PartialEq)]
pub struct Asked {
    /// Its name.
    pub plugin: String,
    /// Of the component.
    pub digest: String,
    /// Of its settings.
    pub settings_digest: String,
    /// For a provider: the class.
    pub class: Option<String>,
    /// What it was told.
    pub transcript: Transcript,
    /// One word of what it said, such as `approve` or `abstain`.
    pub said: String,
    /// Its own words.
    pub detail: String,
    /// How the call went wrong.
    pub fault: Option<String>,
    /// How long it ran; microseconds are kept.
    pub took: Duration,
    /// Memory it had at the end.
    pub memory_bytes: u64,
}

/// Everything that the host told one call: enough to run it again.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Transcript {
    /// The facts read, by path (`*` for all of them); `None` for one that was not there.
    pub facts: Vec<(String, Option<Value>)>,
    /// The calls of host functions, in order.
    pub calls: Vec<HostCall>,
    /// There was more than is kept: it cannot be run again.
    pub truncated: bool,
}

/// One call of a host function.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct HostCall {
    /// Such as `object-store.get`.
    pub function: String,
    /// What the plugin gave.
    pub arguments: Value,
    /// What it got; an error is its kind, one word, and its text.
    pub answer: Result<Value, (String, String)>,
}

/// What of a record is in plain columns: readable without the journal's key.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// As in [`Record`].
    pub id: String,
    /// As in [`Record`].
    pub at: OffsetDateTime,
    /// As in [`Record`].
    pub kind: Kind,
    /// As in [`Record`].
    pub certname: String,
    /// As in [`Record`].
    pub occasion: Option<String>,
    /// As in [`Record`].
    pub peer: Option<String>,
    /// As in [`Record`].
    pub set: String,
    /// As in [`Record`].
    pub mode: Mode,
    /// As in [`Record`].
    pub verdict: String,
    /// As in [`Record`].
    pub reason: String,
    /// As in [`Record`].
    pub by: Option<String>,
    /// As in [`Record`]; microseconds are kept.
    pub took: Duration,
}

impl Transcript {
    /// Cuts it to [`MAX_CALLS`] and [`MAX_TRANSCRIPT`]. Appending does this too.
    pub fn bound(&mut self) {
        self.keep(MAX_TRANSCRIPT);
    }

    /// Cuts it to so many bytes; says how many it has now.
    fn keep(&mut self, bytes: usize) -> usize {
        let mut left = bytes;
        let mut fits = |size: Option<usize>| match size.and_then(|size| left.checked_sub(size)) {
            Some(rest) => {
                left = rest;
                true
            }
            None => false,
        };
        let facts = self.facts.iter().take_while(|(path, value)| {
            fits(
                value.as_ref().map_or(Some(0), weigh).map(|w| w.saturating_add(path.len()).saturating_add(8)),
            )
        });
        let facts = facts.count();
        let calls = self.calls.iter().take(MAX_CALLS).take_while(|call| fits(call.weigh())).count();
        self.truncated |= facts < self.facts.len() || calls < self.calls.len();
        self.facts.truncate(facts);
        self.calls.truncate(calls);
        bytes.saturating_sub(left)
    }
}

impl HostCall {
    /// Roughly its bytes as JSON; `None` where it is too deep to be kept.
    pub fn weigh(&self) -> Option<usize> {
        let answer = match &self.answer {
            Ok(value) => weigh(value)?,
            Err((kind, text)) => kind.len().saturating_add(text.len()),
        };
        Some(
            weigh(&self.arguments)?
                .saturating_add(answer)
                .saturating_add(self.function.len())
                .saturating_add(32),
        )
    }
}

impl Record {
    /// Cuts the transcripts to what is kept; says roughly how many bytes the whole has. `None` where
    /// input and answer are too large or too deep.
    pub(crate) fn bound(&mut self) -> Option<usize> {
        let answer = self.answer.as_ref().map_or(Some(0), weigh)?;
        let mut total = weigh(&self.input)?.saturating_add(answer);
        if total > MAX_INPUT_AND_ANSWER {
            return None;
        }
        let mut left = MAX_TRANSCRIPTS;
        for asked in &mut self.asked {
            left = left.saturating_sub(asked.transcript.keep(left.min(MAX_TRANSCRIPT)));
            total = total.saturating_add(asked.detail.len()).saturating_add(256);
        }
        let because: usize = self.because.iter().map(String::len).sum();
        Some(
            total
                .saturating_add(MAX_TRANSCRIPTS.saturating_sub(left))
                .saturating_add(because)
                .saturating_add(512),
        )
    }
}

/// Roughly the bytes of a value as JSON; `None` where it is too deep to be kept.
pub fn weigh(value: &Value) -> Option<usize> {
    weigh_at(value, MAX_DEPTH)
}

fn weigh_at(value: &Value, levels: usize) -> Option<usize> {
    let below = levels.checked_sub(1)?;
    match value {
        Value::Null | Value::Bool(_) => Some(5),
        Value::Number(_) => Some(8),
        Value::String(text) => Some(text.len().saturating_add(3)),
        Value::Array(values) => values.iter().try_fold(2usize, |sum, value| {
            Some(sum.saturating_add(weigh_at(value, below)?).saturating_add(1))
        }),
        Value::Object(members) => members.iter().try_fold(2usize, |sum, (name, value)| {
            Some(sum.saturating_add(weigh_at(value, below)?).saturating_add(name.len()).saturating_add(4))
        }),
    }
}

impl Kind {
    pub(crate) fn number(self) -> i64 {
        match self {
            Kind::Approval => 1,
            Kind::Classification => 2,
            Kind::Provision => 3,
        }
    }

    pub(crate) fn of(number: i64) -> Option<Kind> {
        [Kind::Approval, Kind::Classification, Kind::Provision].into_iter().find(|k| k.number() == number)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Approval => "approval",
            Kind::Classification => "classification",
            Kind::Provision => "provision",
        })
    }
}

impl Mode {
    pub(crate) fn number(self) -> i64 {
        match self {
            Mode::Live => 1,
            Mode::Shadow => 2,
        }
    }

    pub(crate) fn of(number: i64) -> Option<Mode> {
        [Mode::Live, Mode::Shadow].into_iter().find(|m| m.number() == number)
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("id", &self.id)
            .field("at", &self.at)
            .field("kind", &self.kind)
            .field("certname", &self.certname)
            .field("set", &self.set)
            .field("mode", &self.mode)
            .field("asked", &self.asked)
            .field("verdict", &self.verdict)
            .field("reason", &self.reason)
            .field("by", &self.by)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked")
            .field("plugin", &self.plugin)
            .field("digest", &self.digest)
            .field("class", &self.class)
            .field("said", &self.said)
            .field("transcript", &self.transcript)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Transcript({} facts, {} calls{})",
            self.facts.len(),
            self.calls.len(),
            if self.truncated { ", truncated" } else { "" }
        )
    }
}

impl fmt::Debug for HostCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostCall({})", self.function)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(bytes: usize) -> HostCall {
        HostCall { function: "f".into(), arguments: json!(null), answer: Ok(json!("x".repeat(bytes))) }
    }

    fn bounded(calls: Vec<HostCall>) -> (usize, bool) {
        let mut transcript = Transcript { calls, ..Transcript::default() };
        transcript.bound();
        (transcript.calls.len(), transcript.truncated)
    }

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!(1), |inner, _| json!([inner]))
    }

    #[test]
    fn a_transcript_keeps_its_first_calls_and_says_that_there_were_more() {
        assert_eq!(bounded(vec![call(1); 256]), (256, false));
        assert_eq!(bounded(vec![call(1); 257]), (256, true));
        assert_eq!(bounded(vec![call(400_000); 2]), (2, false));
        assert_eq!(bounded(vec![call(400_000); 3]), (2, true));
        assert_eq!(bounded(vec![call(2_000_000), call(1)]), (0, true));
        let deep = HostCall { answer: Ok(nested(300)), ..call(0) };
        assert_eq!(bounded(vec![call(1), deep]), (1, true));
    }

    #[test]
    fn a_value_is_weighed_about_as_its_json() {
        let value = json!({"os": {"family": "RedHat", "list": [1, 2, 3]}, "empty": null});
        let (weight, text) = (weigh(&value).unwrap(), value.to_string().len());
        assert!(weight >= text / 2 && weight <= text * 2, "{weight} for {text}");
        assert!(weigh(&nested(255)).is_some() && weigh(&nested(256)).is_none());
    }
}
