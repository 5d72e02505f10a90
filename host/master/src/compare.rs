//! What a decision would have been, held against what it was. Pure: two records in, a [`Flip`] or none out.
//!
//! What counts is what somebody would notice: another verdict, lifetime, class, parameter or resource.
//! Another wording is none. A flip names what differs, never a value of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use journal::{Kind, Record};
use serde::{Serialize, Serializer};
use serde_json::Value;

/// Names told in one change before "and N more".
const NAMES: usize = 3;
/// Lines of detail in one flip.
const LINES: usize = 50;
/// Characters of a change; what is longer is cut.
const CHANGE: usize = 160;

/// A decision that would be another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flip {
    /// What was decided about.
    #[serde(serialize_with = "word")]
    pub kind: Kind,
    /// Whose.
    pub certname: String,
    /// The id of the decision that was made.
    pub decision: String,
    /// What differs, alike for nodes that change alike: `pending → approve`, `classes + hadoop::worker`.
    pub change: String,
    /// Line by line.
    pub detail: Vec<String>,
}

/// A kind as the word that the journal shows it with.
pub(crate) fn word<S: Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(kind)
}

/// What would change for whom, if anything would.
pub fn compare(was: &Record, now: &Record) -> Option<Flip> {
    let change = if differ(&was.verdict, &now.verdict) {
        Change { words: vec![format!("{} → {}", was.verdict, now.verdict)], lines: reasons(was, now) }
    } else if was.verdict != now.verdict {
        Change::default()
    } else {
        match was.kind {
            Kind::Approval => approvals(was, now),
            Kind::Classification => classifications(answer(was), answer(now)),
            Kind::Provision => catalogs(answer(was), answer(now)),
        }
    };
    if change.words.is_empty() {
        return None;
    }
    Some(Flip {
        kind: was.kind,
        certname: was.certname.clone(),
        decision: was.id.clone(),
        change: cut(&change.words.join(", ")),
        detail: bounded(change.lines),
    })
}

/// What differs, for the heading and line by line.
#[derive(Default)]
struct Change {
    words: Vec<String>,
    lines: Vec<String>,
}

/// Whether two verdicts are not the same to the node: without an answer of the plugins it gets its last
/// good classification or none, which is not theirs to say; and a request waits, whoever keeps it waiting.
fn differ(was: &str, now: &str) -> bool {
    let alike = |pair| matches!(pair, ("last-good", "failed") | ("pending", "no-decision"));
    was != now && !alike((was, now)) && !alike((now, was))
}

/// Who decided either time.
fn reasons(was: &Record, now: &Record) -> Vec<String> {
    let line = |when: &str, record: &Record| {
        let by = record.by.as_deref().map(|by| format!(" [{by}]")).unwrap_or_default();
        let own = record.asked.iter().rev().find(|a| Some(&a.plugin) == record.by.as_ref());
        let words = own.map_or("", |asked| asked.detail.as_str());
        let words = if words.is_empty() { &record.reason } else { words };
        format!("{when} {}{by}: {words}", record.verdict)
    };
    vec![line("was", was), line("now", now)]
}

fn approvals(was: &Record, now: &Record) -> Change {
    let lifetime = |record: &Record| match answer(record).get("lifetime").and_then(Value::as_u64) {
        Some(seconds) => format!("{seconds} s"),
        None => "the CA's".to_owned(),
    };
    let (before, after) = (lifetime(was), lifetime(now));
    if was.verdict != "approve" || before == after {
        return Change::default();
    }
    Change { words: vec![format!("lifetime {before} → {after}")], lines: reasons(was, now) }
}

fn classifications(was: &Value, now: &Value) -> Change {
    let mut change = Change::default();
    let environment = |answer: &Value| match answer.get("environment").and_then(Value::as_str) {
        Some(name) => name.to_owned(),
        None => "none".to_owned(),
    };
    let (before, after) = (environment(was), environment(now));
    if before != after {
        change.words.push(format!("environment {before} → {after}"));
    }
    let (before, after) = (classes(was), classes(now));
    let names = |all: &[(String, Value)]| all.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let (named, renamed) = (names(&before), names(&after));
    let added: Vec<_> = renamed.iter().filter(|name| !named.contains(name)).cloned().collect();
    let removed: Vec<_> = named.iter().filter(|name| !renamed.contains(name)).cloned().collect();
    let by_name: BTreeMap<_, _> = before.into_iter().collect();
    let mut changed = Vec::new();
    for (name, parameters) in after {
        let Some(old) = by_name.get(&name).filter(|old| **old != parameters) else { continue };
        let keys = changed_keys(old, &parameters).join(", ");
        change.lines.push(format!("class {name}: parameters {keys}"));
        changed.push(name);
    }
    change.words.extend(listed("classes +", &added));
    change.words.extend(listed("classes -", &removed));
    change.words.extend(listed("class parameters ~", &changed));
    if added.is_empty() && removed.is_empty() && named != renamed {
        change.words.push("classes in another order".to_owned());
    }
    let none = Value::Null;
    let parameters = |answer: &'_ Value| answer.get("parameters").unwrap_or(&none).clone();
    change.words.extend(listed("parameters ~", &changed_keys(&parameters(was), &parameters(now))));
    change
}

fn catalogs(was: &Value, now: &Value) -> Change {
    let mut change = Change::default();
    let (before, after) = (resources(was), resources(now));
    let names: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
    let (mut differing, mut added, mut gone) = (0_u32, 0_u32, 0_u32);
    for name in names {
        let (sign, count) = match (before.get(name), after.get(name)) {
            (Some(old), Some(new)) if old == new => continue,
            (Some(_), Some(_)) => ("~", &mut differing),
            (None, _) => ("+", &mut added),
            (_, None) => ("-", &mut gone),
        };
        *count = count.saturating_add(1);
        change.lines.push(format!("{sign} {name}"));
    }
    let counts: Vec<String> = [("~", differing), ("+", added), ("-", gone)]
        .into_iter()
        .filter(|(_, n)| *n > 0)
        .map(|(sign, n)| format!("{sign} {n}"))
        .collect();
    if !counts.is_empty() {
        change.words.push(format!("resources {}", counts.join(", ")));
    }
    let edges = |answer: &Value| answer.get("edges").and_then(Value::as_u64).unwrap_or(0);
    if change.words.is_empty() && edges(was) != edges(now) {
        change.words.push(format!("edges {} → {}", edges(was), edges(now)));
    }
    change
}

fn answer(record: &Record) -> &Value {
    record.answer.as_ref().unwrap_or(&Value::Null)
}

/// Classes with their parameters, in order.
fn classes(answer: &Value) -> Vec<(String, Value)> {
    serde_json::from_value(answer.get("classes").cloned().unwrap_or_default()).unwrap_or_default()
}

/// References with the digest of what each holds.
fn resources(answer: &Value) -> BTreeMap<&str, &Value> {
    let all = answer.get("resources").and_then(Value::as_object);
    all.into_iter().flatten().map(|(name, digest)| (name.as_str(), digest)).collect()
}

/// Members that only one of them has, or that differ.
fn changed_keys(was: &Value, now: &Value) -> Vec<String> {
    let keys = |value: &Value| -> BTreeSet<String> {
        value.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect()
    };
    keys(was).union(&keys(now)).filter(|key| was.get(key) != now.get(key)).cloned().collect()
}

/// `classes + a, b and 2 more`; nothing of nothing.
fn listed(what: &str, names: &[String]) -> Option<String> {
    let mut text = format!("{what} {}", names.get(..NAMES).unwrap_or(names).join(", "));
    if let Some(more) = names.len().checked_sub(NAMES).filter(|more| *more > 0) {
        // Writing to memory does not fail.
        let _ = write!(text, " and {more} more");
    }
    (!names.is_empty()).then_some(text)
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(CHANGE) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn bounded(mut lines: Vec<String>) -> Vec<String> {
    if let Some(more) = lines.len().checked_sub(LINES).filter(|more| *more > 0) {
        lines.truncate(LINES);
        lines.push(format!("and {more} more"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use journal::Mode;
    use serde_json::json;
    use time::OffsetDateTime;

    use super::*;

    fn record(kind: Kind, verdict: &str, answer: Value) -> Record {
        Record {
            id: "d1".into(),
            at: OffsetDateTime::UNIX_EPOCH,
            kind,
            certname: "n1".into(),
            occasion: None,
            peer: None,
            input: Value::Null,
            set: "s".into(),
            mode: Mode::Live,
            asked: vec![],
            verdict: verdict.into(),
            reason: "why".into(),
            by: Some("p".into()),
            because: vec![],
            answer: Some(answer).filter(|answer| !answer.is_null()),
            took: Duration::ZERO,
        }
    }

    fn check(kind: Kind, was: (&str, Value), now: (&str, Value), expected: Option<&str>) {
        let flip = compare(&record(kind, was.0, was.1), &record(kind, now.0, now.1));
        assert_eq!(flip.as_ref().map(|flip| flip.change.as_str()), expected, "{flip:?}");
    }

    #[test]
    fn another_verdict_or_lifetime_is_a_flip_and_another_wording_is_none() {
        let approval = |was, now, expected| check(Kind::Approval, was, now, expected);
        let none = || Value::Null;
        approval(("pending", none()), ("approve", none()), Some("pending → approve"));
        approval(("approve", none()), ("no-decision", none()), Some("approve → no-decision"));
        approval(("pending", none()), ("no-decision", none()), None);
        approval(("no-decision", none()), ("deny", none()), Some("no-decision → deny"));
        let lasting = |seconds| ("approve", json!({"lifetime": seconds}));
        approval(lasting(60), lasting(60), None);
        approval(lasting(60), ("approve", none()), Some("lifetime 60 s → the CA's"));
        let mut other = record(Kind::Approval, "pending", none());
        other.reason = "in other words".into();
        assert_eq!(compare(&record(Kind::Approval, "pending", none()), &other), None);
    }

    #[test]
    fn classes_and_parameters_are_told_by_name_and_never_by_value() {
        let is = |classes: Value, parameters: Value| {
            ("matched", json!({"environment": "production", "classes": classes, "parameters": parameters}))
        };
        let class = |was, now, expected| check(Kind::Classification, was, now, expected);
        let worker = || is(json!([["base", {}], ["worker", {"token": "a"}]]), json!({"site": 1}));
        class(worker(), worker(), None);
        class(worker(), is(json!([["base", {}]]), json!({"site": 1})), Some("classes - worker"));
        class(
            is(json!([]), json!({})),
            is(json!([["a", {}], ["b", {}], ["c", {}], ["d", {}], ["e", {}]]), json!({})),
            Some("classes + a, b, c and 2 more"),
        );
        class(
            worker(),
            is(json!([["worker", {"token": "hunter2"}], ["base", {}]]), json!({"zone": 2})),
            Some("class parameters ~ worker, classes in another order, parameters ~ site, zone"),
        );
        class(worker(), ("rejected", Value::Null), Some("matched → rejected"));
        class(("last-good", worker().1), ("failed", Value::Null), None);
        class(("last-good", worker().1), worker(), Some("last-good → matched"));
        let elsewhere = json!({"environment": null, "classes": [], "parameters": {}});
        class(is(json!([]), json!({})), ("matched", elsewhere), Some("environment production → none"));

        let (kind, was) = (Kind::Classification, worker().1);
        let now = is(json!([["base", {}], ["worker", {"token": "hunter2"}]]), json!({"site": 1})).1;
        let flip = compare(&record(kind, "matched", was), &record(kind, "matched", now)).unwrap();
        assert_eq!(flip.detail, ["class worker: parameters token"]);
        let told = serde_json::to_string(&flip).unwrap();
        assert!(told.contains("\"classification\"") && !told.contains("hunter2"), "{told}");
    }

    #[test]
    fn resources_are_counted_and_named() {
        let catalog =
            |resources: Value, edges: u32| ("catalog", json!({"resources": resources, "edges": edges}));
        let (was, now) = (
            catalog(json!({"File[/a]": "1", "File[/b]": "1", "File[/c]": "1"}), 3),
            catalog(json!({"File[/a]": "2", "File[/c]": "1", "File[/d]": "1", "File[/e]": "1"}), 4),
        );
        check(Kind::Provision, was.clone(), now.clone(), Some("resources ~ 1, + 2, - 1"));
        check(Kind::Provision, was.clone(), was.clone(), None);
        check(Kind::Provision, was.clone(), ("catalog", catalog_with_edges(&was.1, 9)), Some("edges 3 → 9"));
        check(Kind::Provision, was.clone(), ("failed", Value::Null), Some("catalog → failed"));
        let flip = compare(&record(Kind::Provision, was.0, was.1), &record(Kind::Provision, now.0, now.1));
        assert_eq!(flip.unwrap().detail, ["~ File[/a]", "- File[/b]", "+ File[/d]", "+ File[/e]"]);
    }

    fn catalog_with_edges(answer: &Value, edges: u32) -> Value {
        json!({"resources": answer["resources"], "edges": edges})
    }

    #[test]
    fn a_flip_stays_small_whatever_the_answer() {
        let many: serde_json::Map<_, _> = (0..5000).map(|n| (format!("File[/{n}]"), json!("1"))).collect();
        let long = "x".repeat(100_000);
        let flip = compare(
            &record(Kind::Provision, "catalog", json!({"resources": {}, "edges": 0})),
            &record(Kind::Provision, "catalog", json!({"resources": many, "edges": 0})),
        );
        let flip = flip.unwrap();
        assert_eq!((flip.detail.len(), flip.detail[LINES].as_str()), (LINES + 1, "and 4950 more"));
        let classes = |name: &str| json!({"classes": [[name, {}]], "parameters": {}});
        let kind = Kind::Classification;
        let flip = compare(&record(kind, "matched", classes("a")), &record(kind, "matched", classes(&long)));
        assert!(flip.unwrap().change.chars().count() <= CHANGE + 1);
    }
}
