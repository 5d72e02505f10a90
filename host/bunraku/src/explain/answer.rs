//! The first lines of an explanation: what became of the node, and what to do about it.

use journal::{Entry, Kind, Record};
use serde_json::Value;

use super::case::{Case, Certificate, Decision};
use crate::print::when;

/// Characters of a plugin's own words.
const WORDS: usize = 300;

/// A sentence, the plugin's own words, and what to do.
pub struct Answer {
    /// One line that can stand alone.
    pub says: String,
    /// Why, as whoever decided puts it.
    pub words: Vec<String>,
    /// For the operator; none where all is well.
    pub remedy: Vec<String>,
}

/// What became of each thing that was decided.
pub fn answers(case: &Case) -> Vec<Answer> {
    let mut answers = Vec::new();
    match (case.of(Kind::Approval), &case.certificate) {
        (Some(decision), _) => answers.push(approval(case, decision)),
        (None, Certificate::Signed { .. } | Certificate::Revoked { .. }) => answers.push(undecided(case)),
        (None, _) => {}
    }
    answers.extend(case.of(Kind::Classification).map(|decision| classification(case, decision)));
    answers.extend(case.of(Kind::Provision).map(|decision| catalog(case, decision)));
    answers
}

/// A certificate of which the journal knows nothing.
fn undecided(case: &Case) -> Answer {
    let says = match &case.certificate {
        Certificate::Revoked { at, .. } => format!("{} is revoked since {}.", case.certname, when(*at)),
        _ => format!("{} is signed.", case.certname),
    };
    let words = vec![
        "The journal has no decision about it: it was signed by an administrator, imported, or too long ago."
            .to_owned(),
    ];
    Answer { says, words, remedy: vec![] }
}

fn approval(case: &Case, decision: &Decision) -> Answer {
    let (name, entry) = (&case.certname, &decision.entry);
    let who = entry.by.as_deref().map_or_else(|| "the host".to_owned(), |by| format!("`{by}`"));
    let by_hand = format!("to sign it by hand: bunraku ca sign {name}");
    let (says, mut remedy) = match (entry.verdict.as_str(), &case.certificate) {
        (_, Certificate::Revoked { at, .. }) => (
            format!("{name} is revoked since {}.", when(*at)),
            vec![format!(
                "to let it enrol again: bunraku ca clean {name}, and on the node: puppet ssl clean"
            )],
        ),
        ("approve", Certificate::Signed { serial, not_after }) => (
            format!("{name} is signed: {}.", entry.reason),
            vec![format!(
                "its certificate {serial} ends {}; to take it back: bunraku ca revoke {name}",
                when(*not_after)
            )],
        ),
        (verdict, Certificate::Signed { .. }) => (
            format!(
                "{name} is signed, though the plugins' last word was {verdict}: an administrator signed it, or it was signed before."
            ),
            vec![],
        ),
        ("approve", Certificate::None) => (
            format!(
                "{name} is not signed, though {who} approved it: the CA did not sign, or it was cleaned since."
            ),
            vec![format!("see why in the daemon's log, and whether it waits: bunraku ca list {name}")],
        ),
        ("approve", Certificate::Unknown) => (format!("{name} was approved: {}.", entry.reason), vec![]),
        ("deny", _) => (
            format!("{name} is not signed: {}.", entry.reason),
            vec![format!(
                "if it is right, drop the request: bunraku ca delete {name}; if not: bunraku ca sign {name}"
            )],
        ),
        ("no-decision", _) => (
            format!("{name} is not signed: {}, and without an answer nothing is signed.", entry.reason),
            vec![fault_remedy(decision), by_hand],
        ),
        _ => (
            format!("{name} is not signed: {}.", entry.reason),
            vec![waiting_remedy(name, decision), by_hand],
        ),
    };
    remedy.retain(|line| !line.is_empty());
    Answer { says, words: words(decision), remedy }
}

/// What a request waits for, where it can be told.
fn waiting_remedy(name: &str, decision: &Decision) -> String {
    if let Ok(record) = &decision.record
        && let Some(key) = missing_object(record)
    {
        return format!(
            "there is no object {key} in the registry; if the node is expected: bunraku registry put {key} FILE, and the request is looked at again by itself"
        );
    }
    format!("when the plugins can approve {name}, its request is looked at again by itself")
}

/// The object of the registry that whoever decided looked for in vain.
fn missing_object(record: &Record) -> Option<&str> {
    let decider = record.asked.iter().rev().find(|asked| Some(&asked.plugin) == record.by.as_ref())?;
    let missing = decider.transcript.calls.iter().rev().find(|call| {
        matches!(&call.answer, Err((kind, _)) if kind == "not-found")
            && call.arguments.get(0).and_then(Value::as_str) == Some("registry")
    })?;
    missing.arguments.get(1).and_then(Value::as_str)
}

fn fault_remedy(decision: &Decision) -> String {
    let fault = decision.record.as_ref().ok().and_then(|r| r.asked.last()).and_then(|a| a.fault.as_deref());
    match fault {
        Some("unavailable" | "late") => {
            "what the plugin asks did not answer: see whether the registry does (bunraku registry list); the request is looked at again by itself"
        }
        Some("busy") => "the sandbox had no room for the call: see sandbox.slots; the request is looked at again by itself",
        Some(_) => {
            "the plugin is at fault: see what changed last (bunraku plugin history) and go back (bunraku plugin rollback); then the request is looked at again by itself"
        }
        None => "",
    }
    .to_owned()
}

fn classification(case: &Case, decision: &Decision) -> Answer {
    let (name, entry) = (&case.certname, &decision.entry);
    let classes = decision.record.as_ref().ok().and_then(|record| record.answer.as_ref()).map(classes);
    let count = classes.map_or_else(String::new, |classes| match classes.len() {
        0 => "no class".to_owned(),
        1 => "1 class".to_owned(),
        n => format!("{n} classes"),
    });
    let (says, remedy) = match entry.verdict.as_str() {
        "matched" => (format!("{name} has {count}: {}.", entry.reason), vec![]),
        "last-good" => (
            format!("{name} has {count} from its last good classification: {}.", entry.reason),
            vec![
                fault_remedy(decision)
                    .replace("the request is looked at again", "the node is classified anew"),
            ],
        ),
        "no-match" => (
            format!("{name} gets no catalog: no classifier knows it."),
            vec![format!("to register it: bunraku registry put {name} FILE")],
        ),
        _ => (format!("{name} gets no catalog: {}.", entry.reason), not_classified(name, decision)),
    };
    Answer { says, words: words(decision), remedy }
}

fn not_classified(name: &str, decision: &Decision) -> Vec<String> {
    let key = decision.record.as_ref().ok().and_then(missing_object);
    let remedy = match key {
        Some(key) => format!("to register it: bunraku registry put {key} FILE"),
        None => format!("when its plugins answer, {name} gets one at its next run"),
    };
    vec![remedy]
}

fn catalog(case: &Case, decision: &Decision) -> Answer {
    let (name, entry) = (&case.certname, &decision.entry);
    let resources = |record: &Record| {
        let answer = record.answer.as_ref()?;
        answer.get("resources").and_then(Value::as_object).map(serde_json::Map::len)
    };
    match entry.verdict.as_str() {
        "catalog" => {
            let count = decision.record.as_ref().ok().and_then(resources);
            let says = match count {
                Some(count) => format!("{name} has {count} resources in its last catalog, of {}.", at(entry)),
                None => format!("{name} got its last catalog at {}.", at(entry)),
            };
            Answer { says, words: vec![], remedy: vec![] }
        }
        _ => Answer {
            says: format!("{name} got no catalog at {}: {}.", at(entry), entry.reason),
            words: words(decision),
            remedy: vec![format!("when it is mended, {name} gets one at its next run")],
        },
    }
}

/// Classes with the names of their parameters.
pub fn classes(answer: &Value) -> Vec<(&str, Vec<&str>)> {
    let all = answer.get("classes").and_then(Value::as_array).into_iter().flatten();
    all.filter_map(|class| {
        let parameters = class.get(1).and_then(Value::as_object);
        let names = parameters.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        Some((class.get(0)?.as_str()?, names))
    })
    .collect()
}

/// What whoever decided gives as the reason.
fn words(decision: &Decision) -> Vec<String> {
    match &decision.record {
        Ok(record) => record.because.iter().map(|because| cut(because)).collect(),
        Err(why) => vec![format!("(the rest cannot be read: {why})")],
    }
}

/// When it was.
pub fn at(entry: &Entry) -> String {
    when(entry.at.unix_timestamp())
}

/// No longer than is read.
pub fn cut(text: &str) -> String {
    match text.char_indices().nth(WORDS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
