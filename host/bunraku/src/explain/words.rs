//! An explanation in plain words: the answer first, then what it rests on.
//!
//! Pure. Every line is escaped: it quotes what nodes, plugins and objects say.

use journal::{Asked, HostCall, Kind, Record};
use serde_json::Value;

use super::answer::{answers, at, classes, cut};
use super::case::{Case, Decision, Set};
use super::http;
use crate::print::{count, printable, when};

/// Facts, calls and resources listed one by one.
const LISTED: usize = 12;
/// Characters of a value.
const VALUE: usize = 60;
/// Characters of a digest that tell it from others.
const SHORT: usize = 12;

/// The whole explanation; ends with a line's end.
pub fn explain(case: &Case) -> String {
    let mut lines = Lines(Vec::new());
    for answer in answers(case) {
        lines.add(0, &answer.says);
        for words in &answer.words {
            lines.add(2, &format!("“{words}”"));
        }
        for remedy in &answer.remedy {
            lines.add(2, &format!("→ {remedy}"));
        }
    }
    for decision in &case.decisions {
        lines.0.push(String::new());
        block(&mut lines, case, decision);
    }
    lines.0.join("\n") + "\n"
}

struct Lines(Vec<String>);

impl Lines {
    fn add(&mut self, indent: usize, text: &str) {
        self.0.push(format!("{:indent$}{}", "", printable(text)));
    }
}

fn block(lines: &mut Lines, case: &Case, decision: &Decision) {
    let entry = &decision.entry;
    let what = match entry.kind {
        Kind::Approval => "Certificate request",
        Kind::Classification => "Classification",
        Kind::Provision => "Catalog",
    };
    let shadow = if entry.mode == journal::Mode::Shadow { ", in shadow: nothing came of it" } else { "" };
    lines.add(0, &format!("{what}: {} at {}{shadow}", entry.verdict, at(entry)));
    let occasion = entry.occasion.as_deref().map(|o| format!(", {o} request")).unwrap_or_default();
    let peer = entry.peer.as_deref().map(|peer| format!(" from {peer}")).unwrap_or_default();
    let took = duration(entry.took);
    lines.add(2, &format!("decision {}{occasion}{peer}, took {took}", entry.id));
    if let Ok(record) = &decision.record {
        answer(lines, record);
        for (number, asked) in (1..).zip(&record.asked) {
            call(lines, case, record, number, asked);
        }
        if record.asked.is_empty() {
            lines.add(2, "no plugin was asked");
        }
    }
    lines.add(2, &set_line(&entry.set, case.sets.get(&entry.set)));
}

/// What was answered, beside the verdict.
fn answer(lines: &mut Lines, record: &Record) {
    let Some(answer) = &record.answer else { return };
    match record.kind {
        Kind::Approval => {
            if let Some(seconds) = answer.get("lifetime").and_then(Value::as_u64) {
                lines.add(2, &format!("for {seconds} s at most"));
            }
        }
        Kind::Classification => {
            for (class, parameters) in classes(answer) {
                let with = if parameters.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", parameters.join(", "))
                };
                lines.add(2, &format!("class {class}{with}"));
            }
            if let Some(environment) = answer.get("environment").and_then(Value::as_str) {
                lines.add(2, &format!("environment {environment}"));
            }
            let parameters = answer.get("parameters").and_then(Value::as_object);
            let names: Vec<&str> = parameters.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            if !names.is_empty() {
                lines.add(2, &format!("top-scope parameters {}", names.join(", ")));
            }
        }
        Kind::Provision => {}
    }
}

/// One call of one plugin: what it said, what it is, what it was told.
fn call(lines: &mut Lines, case: &Case, record: &Record, number: u32, asked: &Asked) {
    let decides = record.by.as_ref() == Some(&asked.plugin) && asked.fault.is_none();
    let decided = if decides { ", which decided" } else { "" };
    let name = match &asked.class {
        Some(class) => format!("class {class} of {}", asked.plugin),
        None => asked.plugin.clone(),
    };
    let fault = match &asked.fault {
        Some(fault) if *fault != asked.said => format!(" ({fault})"),
        _ => String::new(),
    };
    lines.add(2, &format!("{number}. {name}: {}{fault}{decided}", asked.said));
    if !asked.detail.is_empty() && !record.because.contains(&asked.detail) {
        lines.add(5, &format!("“{}”", cut(&asked.detail)));
    }
    if let Some(class) = &asked.class {
        resources(lines, record, class);
    }
    let mut seen = 0;
    for (path, value) in asked.transcript.facts.iter().take(LISTED) {
        lines.add(5, &fact(path, value.as_ref()));
        seen += 1;
    }
    more(lines, asked.transcript.facts.len(), seen, "fact");
    let calls: Vec<String> = asked.transcript.calls.iter().filter_map(told).collect();
    calls.iter().take(LISTED).for_each(|line| lines.add(5, line));
    more(lines, calls.len(), calls.len().min(LISTED), "host call");
    if seen == 0 && calls.is_empty() {
        lines.add(5, "it asked the host nothing");
    }
    if asked.transcript.truncated {
        lines.add(5, "and more, which the journal did not keep");
    }
    let is = case.components.get(&asked.digest).map(|is| format!("{is}, ")).unwrap_or_default();
    let memory = format!("{} KiB", asked.memory_bytes.div_ceil(1024));
    lines.add(
        5,
        &format!(
            "{is}component {}, settings {}{}, {}, {memory}",
            short(&asked.digest),
            short(&asked.settings_digest),
            settings(case.sets.get(&record.set), &asked.plugin),
            duration(asked.took),
        ),
    );
}

/// The names of a plugin's settings, where the store knows the set.
fn settings(set: Option<&Set>, plugin: &str) -> String {
    match set.and_then(|set| set.settings.get(plugin)) {
        Some(names) if names.is_empty() => " (none set)".to_owned(),
        Some(names) => format!(" ({})", names.join(", ")),
        None => String::new(),
    }
}

/// The resources that a class contains.
fn resources(lines: &mut Lines, record: &Record, class: &str) {
    let contained = record.answer.as_ref().and_then(|answer| answer.get("contained"));
    let of_class = contained.and_then(|contained| contained.get(class)).and_then(Value::as_array);
    let names: Vec<&str> = of_class.into_iter().flatten().filter_map(Value::as_str).collect();
    for name in names.iter().take(LISTED) {
        lines.add(5, name);
    }
    more(lines, names.len(), names.len().min(LISTED), "resource");
}

fn more(lines: &mut Lines, all: usize, listed: usize, noun: &str) {
    if let Some(more) = all.checked_sub(listed).filter(|more| *more > 0) {
        lines.add(
            5,
            &format!("and {} more: see --json", count(u64::try_from(more).unwrap_or(u64::MAX), noun)),
        );
    }
}

fn fact(path: &str, value: Option<&Value>) -> String {
    match value {
        _ if path == "*" => "read all facts".to_owned(),
        None => format!("looked for the fact {path}, which is not there"),
        Some(value) => format!("read the fact {path} = {}", value_of(value)),
    }
}

/// A call of a host function; none for what every call is told.
fn told(call: &HostCall) -> Option<String> {
    let argument = |at: usize| call.arguments.get(at).and_then(Value::as_str).unwrap_or_default();
    let (asked, found) = match call.function.as_str() {
        "call-context.annotations" => return None,
        "object-store.get" => ("read the object", format!("{} of {}", argument(1), argument(0))),
        "object-store.head" => ("looked at the object", format!("{} of {}", argument(1), argument(0))),
        "object-store.list" => ("listed the objects", format!("{}* of {}", argument(1), argument(0))),
        "stored-config.exported-resources" => {
            let query = call.arguments.get(0).cloned().unwrap_or_default();
            ("collected the exported resources", value_of(query.get("resource_type").unwrap_or(&query)))
        }
        "stored-config.nodes" => ("looked for the nodes with", value_of(call.arguments.get(0)?)),
        http::CALL => ("sent", request(&http::without_secrets(&call.arguments))),
        other => (other, value_of(&call.arguments)),
    };
    let came = match &call.answer {
        Ok(answer) => outcome(&call.function, answer),
        Err((kind, _)) if kind == "not-found" => "there is none".to_owned(),
        Err((kind, text)) => format!("{kind}: {}", cut(text)),
    };
    Some(format!("{asked} {found}: {came}"))
}

/// Method and address of an HTTP request.
fn request(arguments: &Value) -> String {
    let of = |name: &str| arguments.get(name).and_then(Value::as_str).unwrap_or("?");
    format!("{} {}", of("method"), cut(of("url")))
}

/// What an answer holds, not the answer itself.
fn outcome(function: &str, answer: &Value) -> String {
    let info = answer.get("info").unwrap_or(answer);
    let length = |of: &str| answer.get(of).and_then(Value::as_array).map_or(0, Vec::len);
    match function {
        "object-store.get" | "object-store.head" => {
            let version = info.get("etag").and_then(Value::as_str).map(|etag| format!("version {etag}, "));
            let size = info.get("size").and_then(Value::as_u64).unwrap_or(0);
            format!("{}{}", version.unwrap_or_default(), count(size, "byte"))
        }
        "object-store.list" => count_of(length("objects"), "object"),
        "stored-config.exported-resources" => count_of(length("resources"), "resource"),
        "stored-config.nodes" => count_of(length("nodes"), "node"),
        _ => match answer.get("status").and_then(Value::as_u64) {
            Some(status) => format!("status {status}"),
            None => "answered".to_owned(),
        },
    }
}

fn count_of(n: usize, noun: &str) -> String {
    count(u64::try_from(n).unwrap_or(u64::MAX), noun)
}

fn value_of(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(VALUE) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

fn set_line(id: &str, set: Option<&Set>) -> String {
    match set {
        Some(set) => {
            format!("plugin set {}, made at {} by {} from {}", short(id), when(set.made_at), set.by, set.from)
        }
        None => format!("plugin set {}", short(id)),
    }
}

fn short(digest: &str) -> &str {
    digest.get(..SHORT).unwrap_or(digest)
}

fn duration(took: std::time::Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1000.0)
}
