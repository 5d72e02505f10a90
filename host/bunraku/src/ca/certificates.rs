//! `bunraku ca sign|revoke|clean|delete|renew|prune`: what happens to requests
//! and certificates, one name after the other.

use std::collections::BTreeMap;
use std::time::Duration;

use client::{Method, Response, StatusCode};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::list::{Entry, status, statuses};
use super::say;
use super::tally::Tally;
use crate::arguments::Online;
use crate::call::{Call, said, segment};
use crate::config::Config;
use crate::print::count;
use crate::setup::Failure;

/// Done: a word for scripts, a sentence for people, more for scripts.
type Done = (&'static str, String, Map<String, Value>);

/// `bunraku ca sign`.
pub async fn sign(
    config: &Config,
    names: Vec<String>,
    all: bool,
    ttl: Option<Duration>,
    fingerprint: Option<&str>,
    online: &Online,
) -> Result<(), Failure> {
    one_of(!names.is_empty(), all, "--all")?;
    alone_of(fingerprint, &names)?;
    let call = Call::ca(config, online)?;
    let mut tally = Tally::of("certname", online.output);
    let wanted: Vec<(String, Option<String>)> = if all {
        alone(statuses(&call, "requested").await?, &mut tally)
    } else {
        names.into_iter().map(|name| (name, fingerprint.map(str::to_owned))).collect()
    };
    let signing = async |(name, fingerprint): &(String, Option<String>)| {
        let body = object([
            ("desired_state", Some("signed".into())),
            ("fingerprint", fingerprint.as_deref().map(Value::from)),
            ("cert_ttl", ttl.map(|ttl| ttl.as_secs().into())),
        ]);
        let answered = call.ask(Method::PUT, &status_of(name), Some(&body)).await?;
        Ok(expect(&answered, StatusCode::NO_CONTENT, "no request of this name waits")
            .map(|()| ("signed", format!("signed {name}"), Map::new())))
    };
    each(&wanted, |(name, _)| name, tally, signing, "no request waits").await
}

/// `bunraku ca revoke`.
pub async fn revoke(
    config: &Config,
    names: Vec<String>,
    serials: &[String],
    reason: Option<&str>,
    online: &Online,
) -> Result<(), Failure> {
    one_of(!names.is_empty(), !serials.is_empty(), "--serial")?;
    let call = Call::ca(config, online)?;
    let (key, things) = if names.is_empty() { ("serial", serials) } else { ("certname", &*names) };
    let revoking = async |thing: &String| {
        let body = object([(key, Some(thing.as_str().into())), ("reason", reason.map(Value::from))]);
        let answered = call.ask(Method::POST, "/bunraku/v1/ca/revoke", Some(&body)).await?;
        if answered.status == StatusCode::NOT_FOUND {
            return Ok(Err("there is no certificate of this name".to_owned()));
        }
        Ok(success(&answered).map(|more| {
            let outcome = more.get("outcome").and_then(Value::as_str).unwrap_or_default();
            let sentence = match outcome {
                "already" => format!("{thing} was revoked before"),
                "unknown" => {
                    format!("revoked {thing}, which is not in the inventory: it is on the list from now on")
                }
                _ => format!("revoked {thing}"),
            };
            ("revoked", sentence, more)
        }))
    };
    each(things, |thing| thing, Tally::of(key, online.output), revoking, "").await
}

/// `bunraku ca clean`.
pub async fn clean(config: &Config, names: Vec<String>, online: &Online) -> Result<(), Failure> {
    some(&names)?;
    let call = Call::ca(config, online)?;
    let cleaning = async |name: &String| {
        let answered = call.ask(Method::DELETE, &status_of(name), None).await?;
        Ok(expect(
            &answered,
            StatusCode::NO_CONTENT,
            "there is neither a request nor a certificate of this name",
        )
        .map(|()| ("cleaned", format!("cleaned {name}"), Map::new())))
    };
    each(&names, |name| name, Tally::of("certname", online.output), cleaning, "").await
}

/// `bunraku ca delete`.
pub async fn delete(
    config: &Config,
    names: Vec<String>,
    fingerprint: Option<&str>,
    (expired, revoked): (bool, bool),
    online: &Online,
) -> Result<(), Failure> {
    one_of(!names.is_empty(), expired || revoked, "--expired or --revoked")?;
    alone_of(fingerprint, &names)?;
    let call = Call::ca(config, online)?;
    let tally = Tally::of("certname", online.output);
    let now = OffsetDateTime::now_utc();
    let ended = |entry: &Entry| entry.not_after().is_some_and(|end| end <= now);
    if names.is_empty() {
        let mut found = Vec::new();
        if expired {
            found.extend(statuses(&call, "signed").await?.into_iter().filter(ended));
        }
        if revoked {
            found.extend(statuses(&call, "revoked").await?);
        }
        let names: Vec<String> = found.iter().map(|entry| entry.text("name").to_owned()).collect();
        let deleting = async |name: &String| take_off(&call, name).await;
        return each(&names, |name| name, tally, deleting, "nothing to delete").await;
    }
    let deleting = async |name: &String| {
        let mut path = format!("/puppet-ca/v1/certificate_request/{}", segment(name));
        if let Some(fingerprint) = fingerprint {
            path.push_str(&format!("?fingerprint={}", segment(fingerprint)));
        }
        let answered = call.ask(Method::DELETE, &path, None).await?;
        match answered.status {
            StatusCode::NO_CONTENT => {
                return Ok(Ok(("rejected", format!("dropped the request of {name}"), Map::new())));
            }
            StatusCode::NOT_FOUND => {}
            _ => return Ok(Err(said(&answered))),
        }
        if fingerprint.is_some() {
            return Ok(Err("no request with this fingerprint waits".to_owned()));
        }
        let Some(entry) = status(&call, name).await? else {
            return Ok(Err("there is neither a request nor a certificate of this name".to_owned()));
        };
        if entry.text("state") != "revoked" && !ended(&entry) {
            return Ok(Err(
                "its certificate is in force: `bunraku ca clean` revokes it and frees the name".to_owned()
            ));
        }
        take_off(&call, name).await
    };
    each(&names, |name| name, tally, deleting, "").await
}

/// `bunraku ca renew` of nodes.
pub async fn renew(config: &Config, names: Vec<String>, online: &Online) -> Result<(), Failure> {
    some(&names)?;
    let call = Call::ca(config, online)?;
    let renewing = async |name: &String| {
        let body = json!({"certname": name});
        let answered = call.ask(Method::POST, "/bunraku/v1/ca/renew", Some(&body)).await?;
        Ok(success(&answered).map(|more| {
            ("renewed", format!("renewed {name}: `puppet ssl download_cert` brings it to the node"), more)
        }))
    };
    each(&names, |name| name, Tally::of("certname", online.output), renewing, "").await
}

/// `bunraku ca prune`.
pub async fn prune(config: &Config, online: &Online) -> Result<(), Failure> {
    let call = Call::ca(config, online)?;
    let answered = call.ask(Method::POST, "/bunraku/v1/ca/prune", Some(&json!({}))).await?;
    let pruned = success(&answered).map_err(Failure::new)?;
    let number = |key: &str| pruned.get(key).and_then(Value::as_u64).unwrap_or(0);
    let sentence = format!(
        "forgot {}; the revocation list is number {}",
        count(number("cleaned"), "name"),
        number("crl_number")
    );
    say(online.output, &Value::Object(pruned.clone()), &sentence);
    Ok(())
}

/// Asks for each thing in turn. Where the CA does not answer, the rest is not
/// tried.
async fn each<T>(
    things: &[T],
    name: impl Fn(&T) -> &String,
    mut tally: Tally,
    act: impl AsyncFn(&T) -> Result<Result<Done, String>, Failure>,
    nothing: &str,
) -> Result<(), Failure> {
    for (at, thing) in things.iter().enumerate() {
        match act(thing).await {
            Ok(Ok((result, sentence, more))) => tally.done(name(thing), result, &sentence, more),
            Ok(Err(why)) => tally.failed(name(thing), &why),
            Err(failure) => {
                let left = things.len() - at - 1;
                let rest = if left == 0 { String::new() } else { format!("; {left} more not tried") };
                tally.failed(name(thing), &format!("{}{rest}", failure.message));
                break;
            }
        }
    }
    tally.finish(nothing)
}

/// Each request that is the only one of its name, by the fingerprint that was
/// listed, so that what is signed is what was seen.
fn alone(waiting: Vec<Entry>, tally: &mut Tally) -> Vec<(String, Option<String>)> {
    let mut of_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in &waiting {
        of_name.entry(entry.text("name").to_owned()).or_default().push(entry.text("fingerprint").to_owned());
    }
    let mut out = Vec::new();
    for (name, mut fingerprints) in of_name {
        match fingerprints.len() {
            1 => out.push((name, fingerprints.pop())),
            n => tally.failed(&name, &format!("{n} requests of this name wait: sign one with --fingerprint")),
        }
    }
    out
}

async fn take_off(call: &Call, name: &str) -> Result<Result<Done, String>, Failure> {
    let answered = call.ask(Method::DELETE, &status_of(name), None).await?;
    Ok(expect(&answered, StatusCode::NO_CONTENT, "there is nothing of this name any more")
        .map(|()| ("deleted", format!("deleted {name}"), Map::new())))
}

fn status_of(name: &str) -> String {
    format!("/puppet-ca/v1/certificate_status/{}", segment(name))
}

/// A body of those fields that are said.
pub fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect::<Map<_, _>>().into()
}

/// The status hoped for, or what was said instead.
fn expect(answered: &Response, status: StatusCode, not_found: &str) -> Result<(), String> {
    match answered.status {
        got if got == status => Ok(()),
        StatusCode::NOT_FOUND => Err(not_found.to_owned()),
        _ => Err(said(answered)),
    }
}

/// The object of a success, or what was said instead.
pub fn success(answered: &Response) -> Result<Map<String, Value>, String> {
    if !answered.status.is_success() {
        return Err(said(answered));
    }
    match serde_json::from_slice(&answered.body) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Ok(Map::new()),
    }
}

/// Names or a switch, and not both.
fn one_of(names: bool, other: bool, switch: &str) -> Result<(), Failure> {
    match (names, other) {
        (true, true) => Err(Failure::with_code(2, format_args!("say names or {switch}, not both"))),
        (false, false) => Err(Failure::with_code(2, format_args!("say which: names, or {switch}"))),
        _ => Ok(()),
    }
}

/// A fingerprint is of one request.
fn alone_of(fingerprint: Option<&str>, names: &[String]) -> Result<(), Failure> {
    match (fingerprint, names.len()) {
        (None, _) | (Some(_), 1) => Ok(()),
        _ => Err(Failure::with_code(2, "--fingerprint names one request: give one NAME with it")),
    }
}

/// At least one name.
pub fn some(names: &[String]) -> Result<(), Failure> {
    if names.is_empty() { Err(Failure::with_code(2, "say at least one NAME")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Output;

    // faults row 14
    #[test]
    fn signing_all_signs_what_was_listed_and_no_name_of_several_requests() {
        let entry =
            |name: &str, fingerprint: &str| Entry::of(&json!({"name": name, "fingerprint": fingerprint}));
        let waiting = vec![entry("b", "2"), entry("a", "1"), entry("c", "3"), entry("c", "4")];
        let mut tally = Tally::of("certname", Output { json: true });
        let wanted = alone(waiting, &mut tally);
        let expected = [("a".to_owned(), Some("1".to_owned())), ("b".to_owned(), Some("2".to_owned()))];
        assert_eq!(wanted, expected);
        assert_eq!(tally.finish("").unwrap_err().code, 1);
    }
}
