//! `bunraku ca list`: who waits and why, who has a certificate.

use std::collections::BTreeMap;

use client::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::tally::SOME;
use crate::arguments::Online;
use crate::call::{Call, said, segment};
use crate::config::Config;
use crate::print::{count, out, printable};
use crate::setup::Failure;

/// Names beyond this many characters are not lined up with.
const WIDEST: usize = 48;
/// A certificate that ends sooner is pointed at.
const SOON: time::Duration = time::Duration::days(30);
/// Requests, signed and revoked certificates: the API's words, in the order of the list.
const STATES: [(&str, &str); 3] = [
    ("requested", "Requests that wait"),
    ("signed", "Signed certificates"),
    ("revoked", "Revoked certificates"),
];

/// What is listed, by state; beside it names that are not known.
#[derive(Default)]
struct Listed {
    by_state: BTreeMap<&'static str, Vec<Entry>>,
    missing: Vec<String>,
}

/// Prints the list.
pub async fn run(config: &Config, all: bool, names: &[String], online: &Online) -> Result<(), Failure> {
    let call = Call::ca(config, online)?;
    let mut listed = Listed::default();
    if names.is_empty() {
        for (state, _) in STATES.into_iter().take(if all { STATES.len() } else { 1 }) {
            listed.by_state.insert(state, statuses(&call, state).await?);
        }
    } else {
        named(&call, names, &mut listed).await?;
    }
    if online.output.json {
        out(&format!("{}\n", as_json(&listed)));
    } else {
        out(&as_text(&listed, all, OffsetDateTime::now_utc()));
    }
    match listed.missing.len() {
        0 => Ok(()),
        n if n < names.len() => {
            Err(Failure::with_code(SOME, format_args!("{n} of {} are not known", names.len())))
        }
        _ => Err(Failure::with_code(1, "")),
    }
}

/// One request or certificate as the CA lists it.
pub struct Entry {
    /// As it was sent: a serial is a number that most readers of JSON would round.
    raw: Box<RawValue>,
    /// What is read of it.
    value: Value,
    /// Its serial in hexadecimal.
    serial: Option<String>,
}

impl Entry {
    fn read(raw: Box<RawValue>) -> Result<Entry, Failure> {
        #[derive(Deserialize)]
        struct Exact {
            serial_number: Option<Box<RawValue>>,
        }
        let unreadable = |e| Failure::new(format_args!("the CA's list cannot be read: {e}"));
        let value = serde_json::from_str(raw.get()).map_err(unreadable)?;
        let exact: Exact = serde_json::from_str(raw.get()).map_err(unreadable)?;
        let serial = exact.serial_number.and_then(|number| hexadecimal(number.get()));
        Ok(Entry { raw, value, serial })
    }

    /// For tests.
    #[cfg(test)]
    pub fn of(value: &Value) -> Entry {
        Entry::read(RawValue::from_string(value.to_string()).unwrap()).unwrap()
    }

    /// What it says under a key, if that is text.
    pub fn text(&self, key: &str) -> &str {
        text(&self.value, key)
    }

    /// When its certificate ends.
    pub fn not_after(&self) -> Option<OffsetDateTime> {
        OffsetDateTime::parse(&instant(self.text("not_after")), &Rfc3339).ok()
    }
}

/// Everything in one state.
pub async fn statuses(call: &Call, state: &str) -> Result<Vec<Entry>, Failure> {
    let path = format!("/puppet-ca/v1/certificate_statuses/all?state={state}");
    let listed: Vec<Box<RawValue>> = call.list(&path).await?;
    listed.into_iter().map(Entry::read).collect()
}

/// The state of a name: its certificate, or its first request.
pub async fn status(call: &Call, name: &str) -> Result<Option<Entry>, Failure> {
    let path = format!("/puppet-ca/v1/certificate_status/{}", segment(name));
    let answered = call.ask(Method::GET, &path, None).await?;
    match answered.status {
        StatusCode::OK => call.read(&answered).and_then(Entry::read).map(Some),
        StatusCode::NOT_FOUND => Ok(None),
        _ => Err(Failure::new(format_args!("{}: {}", printable(name), said(&answered)))),
    }
}

/// What a JSON object says under a key, if that is text.
pub fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The API writes RFC 3339 with `UTC` for `Z`.
pub fn instant(text: &str) -> String {
    text.replace("UTC", "Z")
}

/// Requests of a name may be several; its certificate is one.
async fn named(call: &Call, names: &[String], listed: &mut Listed) -> Result<(), Failure> {
    let mut waiting: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    for entry in statuses(call, "requested").await? {
        waiting.entry(entry.text("name").to_owned()).or_default().push(entry);
    }
    for name in names {
        let mut found = waiting.remove(name).unwrap_or_default();
        found.extend(status(call, name).await?.filter(|entry| entry.text("state") != "requested"));
        if found.is_empty() {
            listed.missing.push(name.clone());
        }
        for entry in found {
            let state = STATES.into_iter().map(|(state, _)| state).find(|s| *s == entry.text("state"));
            listed.by_state.entry(state.unwrap_or("signed")).or_default().push(entry);
        }
    }
    Ok(())
}

/// The form of `puppetserver ca list --format json`, entry by entry as it came.
fn as_json(listed: &Listed) -> String {
    let mut parts = Vec::new();
    for (state, entries) in &listed.by_state {
        let entries: Vec<&str> = entries.iter().map(|entry| entry.raw.get()).collect();
        parts.push(format!("\"{state}\":[{}]", entries.join(",\n")));
    }
    if !listed.missing.is_empty() {
        parts.push(format!("\"missing\":{}", Value::from(listed.missing.clone())));
    }
    format!("{{{}}}", parts.join(",\n"))
}

fn as_text(listed: &Listed, all: bool, now: OffsetDateTime) -> String {
    let entries = || listed.by_state.values().flatten();
    if entries().next().is_none() && listed.missing.is_empty() {
        return if all { "No requests and no certificates.\n" } else { "No requests wait.\n" }.to_owned();
    }
    let lengths = entries().map(|e| printable(e.text("name")).chars().count());
    let width = lengths.filter(|length| *length <= WIDEST).max().unwrap_or(0);
    let mut out = String::new();
    for (state, title) in STATES {
        let Some(entries) = listed.by_state.get(state).filter(|entries| !entries.is_empty()) else {
            continue;
        };
        out.push_str(&format!("{title} ({}):\n", entries.len()));
        let mut of_name: BTreeMap<&str, usize> = BTreeMap::new();
        for entry in entries {
            *of_name.entry(entry.text("name")).or_default() += 1;
        }
        for entry in entries {
            let name = entry.text("name");
            let fingerprint = printable(entry.text("fingerprint"));
            out.push_str(&format!("  {:width$}  SHA-256 {fingerprint}\n", printable(name)));
            let candidates = of_name.get(name).copied().unwrap_or(1);
            let details =
                if state == "requested" { waiting(entry, candidates) } else { certificate(entry, now) };
            for line in details.iter().filter(|line| !line.is_empty()) {
                out.push_str(&format!("      {}\n", printable(line)));
            }
        }
    }
    for name in &listed.missing {
        out.push_str(&format!("Not known: {}\n", printable(name)));
    }
    out
}

/// Since when and from where a request waits, what it asks for, and why it waits.
fn waiting(entry: &Entry, candidates: usize) -> Vec<String> {
    let mut facts = Vec::new();
    if !entry.text("submitted_at").is_empty() {
        facts.push(format!("since {}", instant(entry.text("submitted_at"))));
    }
    if !entry.text("peer").is_empty() {
        facts.push(format!("from {}", entry.text("peer")));
    }
    facts.extend(names_and_extensions(&entry.value));
    let mut lines = vec![facts.join(", ")];
    if let Some(decision) = entry.value.get("decision").filter(|d| d.is_object()) {
        let by = Some(text(decision, "plugin")).filter(|p| !p.is_empty());
        let by = by.map(|by| format!(" [{by}]")).unwrap_or_default();
        lines.push(format!("{}: {}{by}", text(decision, "verdict"), text(decision, "reason")));
    }
    if candidates > 1 {
        lines.push(format!(
            "one of {} of this name: sign one with --fingerprint",
            count(u64::try_from(candidates).unwrap_or(u64::MAX), "request")
        ));
    }
    lines
}

/// A certificate's serial, life and names.
fn certificate(entry: &Entry, now: OffsetDateTime) -> Vec<String> {
    let mut facts: Vec<String> = entry.serial.iter().cloned().collect();
    let end = entry.not_after();
    let left = match end {
        Some(end) if end <= now => " (expired)".to_owned(),
        Some(end) if end - now < SOON => format!(" ({} left)", count((end - now).whole_days(), "day")),
        _ => String::new(),
    };
    if let Some(end) = end.and_then(|end| end.format(&Rfc3339).ok()) {
        facts.push(format!("until {end}{left}"));
    }
    if !entry.text("revoked_at").is_empty() {
        facts.push(format!("revoked {}", instant(entry.text("revoked_at"))));
    }
    if !entry.text("revocation_reason").is_empty() {
        facts.push(entry.text("revocation_reason").to_owned());
    }
    vec![facts.join(", "), names_and_extensions(&entry.value).join(", ")]
}

/// A whole number of any size, from decimal digits to the form of the inventory.
fn hexadecimal(decimal: &str) -> Option<String> {
    let mut digits: Vec<u32> = vec![0];
    for digit in decimal.chars() {
        let mut carry = digit.to_digit(10)?;
        for digit in &mut digits {
            let value = *digit * 10 + carry;
            (*digit, carry) = (value % 16, value / 16);
        }
        if carry > 0 {
            digits.push(carry);
        }
    }
    // Whole bytes, as everywhere.
    if digits.len() % 2 == 1 {
        digits.push(0);
    }
    let hex: Option<String> = digits.iter().rev().map(|digit| char::from_digit(*digit, 16)).collect();
    hex.map(|hex| format!("0x{}", hex.to_uppercase()))
}

/// Names beyond its own, and authorisation extensions.
fn names_and_extensions(entry: &Value) -> Vec<String> {
    let own = format!("DNS:{}", text(entry, "name"));
    let names = entry.get("subject_alt_names").or(entry.get("dns_alt_names")).and_then(Value::as_array);
    let names: Vec<&str> =
        names.into_iter().flatten().filter_map(Value::as_str).filter(|n| *n != own).collect();
    let mut out = Vec::new();
    if !names.is_empty() {
        out.push(format!("alt names {}", names.join(" ")));
    }
    let extensions = entry.get("authorization_extensions").and_then(Value::as_object);
    for (name, value) in extensions.into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        out.push(if value == "true" { name.clone() } else { format!("{name} {value}") });
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn listed(state: &'static str, entries: &[Value]) -> Listed {
        Listed {
            by_state: BTreeMap::from([(state, entries.iter().map(Entry::of).collect())]),
            missing: Vec::new(),
        }
    }

    fn now() -> OffsetDateTime {
        OffsetDateTime::parse("2026-11-18T09:46:40Z", &Rfc3339).unwrap()
    }

    #[test]
    fn an_empty_list_says_so() {
        assert_eq!(as_text(&Listed::default(), false, now()), "No requests wait.\n");
        assert_eq!(as_text(&Listed::default(), true, now()), "No requests and no certificates.\n");
    }

    // faults rows 5, 14
    #[test]
    fn a_request_says_why_it_waits_and_nothing_of_it_reaches_the_terminal_raw() {
        let request = |fingerprint: &str| {
            json!({
                "name": "web9", "state": "requested", "fingerprint": fingerprint, "submitted_at": "2026-11-18T09:46:40UTC",
                "peer": "192.0.2.7", "subject_alt_names": ["DNS:web9", "DNS:\u{1b}[2J"],
                "authorization_extensions": {"pp_auth_role": "admin"},
                "decision": {"verdict": "pending", "reason": "not-found: no\u{202e}thing", "plugin": "s3-registry"},
            })
        };
        let text = as_text(&listed("requested", &[request("AA:BB"), request("CC:DD")]), false, now());
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
        let one = "      since 2026-11-18T09:46:40Z, from 192.0.2.7, alt names DNS:\\u{1b}[2J, pp_auth_role admin\n      \
             pending: not-found: no\\u{202e}thing [s3-registry]\n      one of 2 requests of this name: sign one with --fingerprint\n";
        let expected =
            format!("Requests that wait (2):\n  web9  SHA-256 AA:BB\n{one}  web9  SHA-256 CC:DD\n{one}");
        assert_eq!(text, expected);
    }

    #[test]
    fn a_certificate_says_when_it_ends_and_what_it_may() {
        fn check(more: &str, expected: &str) {
            let raw = format!("{{\"name\":\"web1\",\"fingerprint\":\"AA\",{more}}}");
            let entry = Entry::read(RawValue::from_string(raw).unwrap()).unwrap();
            let lines: Vec<String> =
                certificate(&entry, now()).into_iter().filter(|l| !l.is_empty()).collect();
            assert_eq!(lines.join("; "), expected);
        }
        check(
            r#""serial_number":340282366920938463463374607431768211455,"not_after":"2031-11-18T09:46:40UTC""#,
            "0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF, until 2031-11-18T09:46:40Z",
        );
        check(
            r#""serial_number":255,"not_after":"2026-11-20T09:46:40UTC""#,
            "0xFF, until 2026-11-20T09:46:40Z (2 days left)",
        );
        check(r#""not_after":"2026-11-18T09:46:40UTC""#, "until 2026-11-18T09:46:40Z (expired)");
        check(
            r#""subject_alt_names":["DNS:web1","IP:192.0.2.1"],"authorization_extensions":{"pp_cli_auth":"true"}"#,
            "alt names IP:192.0.2.1, pp_cli_auth",
        );
        check(
            r#""revoked_at":"2026-11-18T09:46:40UTC","revocation_reason":"keyCompromise""#,
            "revoked 2026-11-18T09:46:40Z, keyCompromise",
        );
    }

    #[test]
    fn serials_are_shown_as_the_inventory_has_them() {
        fn check(decimal: &str, expected: Option<&str>) {
            assert_eq!(hexadecimal(decimal).as_deref(), expected, "{decimal}");
        }
        check("0", Some("0x00"));
        check("1", Some("0x01"));
        check("256", Some("0x0100"));
        check("18446744073709551616", Some("0x010000000000000000"));
        check("1.5", None);
        check("-1", None);
    }

    #[test]
    fn json_keeps_what_the_ca_sent_to_the_last_digit() {
        let raw = r#"{"name":"a","serial_number":340282366920938463463374607431768211455}"#;
        let entries = vec![Entry::read(RawValue::from_string(raw.to_owned()).unwrap()).unwrap()];
        let mut listed =
            Listed { by_state: BTreeMap::from([("signed", entries)]), missing: vec!["b\"".to_owned()] };
        assert_eq!(as_json(&listed), format!("{{\"signed\":[{raw}],\n\"missing\":[\"b\\\"\"]}}"));
        listed = Listed::default();
        assert_eq!(as_json(&listed), "{}");
    }

    #[test]
    fn names_are_lined_up_but_for_the_longest() {
        let long = "x".repeat(60);
        let of = |name: &str, fingerprint: &str| json!({"name": name, "fingerprint": fingerprint});
        let text = as_text(&listed("signed", &[of("a", "1"), of("abc", "2"), of(&long, "3")]), true, now());
        assert_eq!(
            text,
            format!("Signed certificates (3):\n  a    SHA-256 1\n  abc  SHA-256 2\n  {long}  SHA-256 3\n")
        );
    }
}
