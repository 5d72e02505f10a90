//! An explanation for programs: all that the journal keeps, but for what a request keeps secret.

use journal::{Asked, Mode, Record};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::answer::answers;
use super::case::{Case, Certificate, Decision};
use super::http;
use crate::print::when;

/// The whole explanation.
pub fn explain(case: &Case) -> Value {
    let answers = answers(case);
    let answers = answers.iter().map(|a| json!({"says": a.says, "words": a.words, "remedy": a.remedy}));
    json!({
        "certname": case.certname,
        "certificate": certificate(&case.certificate),
        "answers": answers.collect::<Vec<_>>(),
        "decisions": case.decisions.iter().map(|decision| of(case, decision)).collect::<Vec<_>>(),
    })
}

fn certificate(certificate: &Certificate) -> Value {
    match certificate {
        Certificate::Unknown => Value::Null,
        Certificate::None => json!({"state": "none"}),
        Certificate::Signed { serial, not_after } => {
            json!({"state": "signed", "serial": serial, "not_after": when(*not_after)})
        }
        Certificate::Revoked { serial, at } => {
            json!({"state": "revoked", "serial": serial, "revoked_at": when(*at)})
        }
    }
}

fn of(case: &Case, decision: &Decision) -> Value {
    let entry = &decision.entry;
    let set = case.sets.get(&entry.set);
    let mut out = json!({
        "id": entry.id,
        "at": instant(entry.at),
        "kind": entry.kind.to_string(),
        "mode": match entry.mode { Mode::Live => "live", Mode::Shadow => "shadow" },
        "occasion": entry.occasion,
        "peer": entry.peer,
        "verdict": entry.verdict,
        "reason": entry.reason,
        "by": entry.by,
        "took_us": micros(entry.took),
        "set": {
            "id": entry.set,
            "made_at": set.map(|set| when(set.made_at)),
            "by": set.map(|set| &set.by),
            "from": set.map(|set| &set.from),
        },
    });
    if let Value::Object(out) = &mut out {
        match &decision.record {
            Ok(record) => out.extend(whole(case, record)),
            Err(why) => drop(out.insert("unreadable".to_owned(), json!(why))),
        }
    }
    out
}

fn whole(case: &Case, record: &Record) -> Map<String, Value> {
    let asked = record.asked.iter().map(|asked| call(case, record, asked));
    let whole = [
        ("because", json!(record.because)),
        ("input", without_secrets(&record.input)),
        ("answer", json!(record.answer)),
        ("asked", asked.collect()),
    ];
    whole.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn call(case: &Case, record: &Record, asked: &Asked) -> Value {
    let set = case.sets.get(&record.set);
    let calls = asked.transcript.calls.iter().map(|call| {
        let shown = |what: &Value| match call.function.as_str() {
            http::CALL => http::without_secrets(what),
            _ => what.clone(),
        };
        let arguments = shown(&call.arguments);
        match &call.answer {
            Ok(answer) => {
                json!({"function": call.function, "arguments": arguments, "answer": shown(answer)})
            }
            Err((kind, text)) => json!({
                "function": call.function, "arguments": arguments,
                "error": {"kind": kind, "message": text},
            }),
        }
    });
    json!({
        "plugin": asked.plugin,
        "class": asked.class,
        "component": case.components.get(&asked.digest),
        "digest": asked.digest,
        "settings_digest": asked.settings_digest,
        "settings": set.and_then(|set| set.settings.get(&asked.plugin)),
        "said": asked.said,
        "detail": asked.detail,
        "fault": asked.fault,
        "took_us": micros(asked.took),
        "memory_bytes": asked.memory_bytes,
        "facts": asked.transcript.facts.iter().map(|(path, value)| json!([path, value])).collect::<Value>(),
        "calls": calls.collect::<Value>(),
        "truncated": asked.transcript.truncated,
    })
}

/// A request's attributes may be challenge passwords, and its DER holds them too.
fn without_secrets(input: &Value) -> Value {
    let mut input = input.clone();
    if let Value::Object(members) = &mut input {
        members.remove("der");
        if let Some(attributes) = members.get_mut("attributes").and_then(Value::as_array_mut) {
            for attribute in attributes {
                *attribute = attribute.get(0).cloned().unwrap_or_default();
            }
        }
    }
    input
}

fn instant(at: OffsetDateTime) -> Value {
    at.format(&Rfc3339).map_or(Value::Null, Value::String)
}

fn micros(took: std::time::Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}
