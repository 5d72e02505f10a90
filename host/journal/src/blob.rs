//! What is sealed: each blob is JSON with the number of its form, `{"version": 1, "content": …}`.

use std::collections::HashMap;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::record::{Asked, Transcript};
use crate::seal::{Address, Key};
use crate::{Entry, Error, Record};

/// The form written. One that was released never changes.
const VERSION: u32 = 1;

/// A record ready to be written.
pub(crate) struct Encoded {
    pub(crate) entry: Entry,
    /// Microseconds and bytes of memory of each call, as JSON.
    pub(crate) costs: String,
    pub(crate) input: Address,
    pub(crate) grounds: Address,
    pub(crate) answer: Option<Address>,
}

/// Plain content by its address: that of the records, and the transcripts that their grounds name.
/// With each, the number of the last record that uses it.
pub(crate) type Plain = HashMap<Address, (Vec<u8>, i64)>;

/// What a decision rests on. The same from one run of a steady node to the next: what differs each
/// time is in [`Costs`].
#[derive(Serialize, Deserialize)]
pub(crate) struct Grounds {
    because: Vec<String>,
    pub(crate) asked: Vec<Step>,
}

/// [`Asked`], with the address of the transcript, in hex, for the transcript.
#[derive(Serialize, Deserialize)]
pub(crate) struct Step {
    plugin: String,
    digest: String,
    settings_digest: String,
    class: Option<String>,
    pub(crate) transcript: String,
    said: String,
    detail: String,
    fault: Option<String>,
}

pub(crate) type Costs = Vec<(u64, u64)>;

#[derive(Serialize)]
struct Written<'a, T> {
    version: u32,
    content: &'a T,
}

#[derive(Deserialize)]
struct Form {
    version: u32,
}

#[derive(Deserialize)]
struct Content<T> {
    content: T,
}

/// Takes the record with this number apart; its blobs go to `plain`. `None` where it is no JSON, which no value is.
pub(crate) fn encode(key: &Key, seq: i64, record: Record, plain: &mut Plain) -> Option<Encoded> {
    let input = put(key, seq, &record.input, plain)?;
    let answer = match &record.answer {
        Some(answer) => Some(put(key, seq, answer, plain)?),
        None => None,
    };
    let (mut steps, mut costs) = (Vec::new(), Costs::new());
    for asked in record.asked {
        let transcript = put(key, seq, &asked.transcript, plain)?;
        costs.push((microseconds(asked.took), asked.memory_bytes));
        steps.push(Step {
            plugin: asked.plugin,
            digest: asked.digest,
            settings_digest: asked.settings_digest,
            class: asked.class,
            transcript: hex::encode(transcript),
            said: asked.said,
            detail: asked.detail,
            fault: asked.fault,
        });
    }
    let grounds = put(key, seq, &Grounds { because: record.because, asked: steps }, plain)?;
    Some(Encoded {
        entry: Entry {
            id: record.id,
            at: record.at,
            kind: record.kind,
            certname: record.certname,
            occasion: record.occasion,
            peer: record.peer,
            set: record.set,
            mode: record.mode,
            verdict: record.verdict,
            reason: record.reason,
            by: record.by,
            took: record.took,
        },
        costs: serde_json::to_string(&costs).ok()?,
        input,
        grounds,
        answer,
    })
}

fn put<T: Serialize>(key: &Key, seq: i64, content: &T, plain: &mut Plain) -> Option<Address> {
    let text = serde_json::to_vec(&Written { version: VERSION, content }).ok()?;
    let address = key.address(&text);
    plain.insert(address, (text, seq));
    Some(address)
}

/// Reads what [`encode`] wrote. What serde says is not passed on: it may quote the content.
pub(crate) fn decode<T: DeserializeOwned>(id: &str, part: &'static str, plain: &[u8]) -> Result<T, Error> {
    let damaged = |how| Error::Damaged { id: id.to_owned(), part, how };
    let form: Form = read(plain).ok_or_else(|| damaged("it is no JSON of ours"))?;
    if form.version != VERSION {
        return Err(damaged("a newer version of this program wrote it"));
    }
    let written: Content<T> = read(plain).ok_or_else(|| damaged("it is not of the form it says"))?;
    Ok(written.content)
}

fn read<T: DeserializeOwned>(plain: &[u8]) -> Option<T> {
    let mut reader = serde_json::Deserializer::from_slice(plain);
    // `record` bounds the depth of all that is written, a little above serde's own bound.
    reader.disable_recursion_limit();
    T::deserialize(&mut reader).ok()
}

/// Puts a record together again.
pub(crate) fn join(
    entry: Entry,
    input: serde_json::Value,
    answer: Option<serde_json::Value>,
    grounds: Grounds,
    transcripts: Vec<Transcript>,
    costs: Costs,
) -> Record {
    let costs = costs.into_iter().chain(std::iter::repeat((0, 0)));
    let asked =
        grounds.asked.into_iter().zip(transcripts).zip(costs).map(|((step, transcript), cost)| Asked {
            plugin: step.plugin,
            digest: step.digest,
            settings_digest: step.settings_digest,
            class: step.class,
            transcript,
            said: step.said,
            detail: step.detail,
            fault: step.fault,
            took: Duration::from_micros(cost.0),
            memory_bytes: cost.1,
        });
    Record {
        asked: asked.collect(),
        id: entry.id,
        at: entry.at,
        kind: entry.kind,
        certname: entry.certname,
        occasion: entry.occasion,
        peer: entry.peer,
        input,
        set: entry.set,
        mode: entry.mode,
        verdict: entry.verdict,
        reason: entry.reason,
        by: entry.by,
        because: grounds.because,
        answer,
        took: entry.took,
    }
}

pub(crate) fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
