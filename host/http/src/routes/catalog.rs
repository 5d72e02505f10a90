//! POST and GET `/puppet/v3/catalog`, and PUT `/puppet/v3/facts`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use bytes::Bytes;
use master::CatalogRequest;
use pki::Certname;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::answer::{self, JSON, Outcome, RUNTIME_ERROR, Refusal};
use crate::backend::Backend;
use crate::body::{BodyRules, check_depth};
use crate::extract::{
    Asked, Environment, Own, RequestId, SentJson, accepted, bad_pairs, is_environment, not_alphanumeric,
    sent_as,
};
use crate::pairs::{Pairs, decode_value};
use crate::server::Shared;
use crate::settings::Settings;

/// What a catalog may be sent as. Rich data is on for every agent since 6.
const AS_CATALOG: &[(&str, &str)] = &[
    ("application/vnd.puppet.rich+json", "application/vnd.puppet.rich+json; charset=utf-8"),
    ("application/json", JSON),
    ("text/pson", "text/pson"),
];
/// Parameters by which masters of old let an agent be another node (CVE-2013-1652).
const IDENTITY: &[&str] = &["certname", "node", "use_node"];

/// The media type to answer a catalog with. A 406 where none is accepted.
#[derive(Debug)]
pub struct AsCatalog(&'static str);

/// POST and GET `catalog/<certname>`.
pub async fn compile<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    asked: Asked,
    Extension(request_id): Extension<RequestId>,
    Own(certname): Own,
    AsCatalog(content_type): AsCatalog,
    request: Request,
) -> Outcome {
    let posted = request.method() == Method::POST;
    let form = if posted { read_form(&shared, request).await? } else { Pairs::default() };
    for pairs in [asked.query(), &form] {
        refuse_other_identity(pairs, &certname)?;
    }
    let environment = environment(asked.query(), &form)?;
    let facts = sent_facts(asked.query(), &form, &certname)?;
    let request = CatalogRequest { certname, environment, facts, request_id: request_id.to_string() };
    let compiled = shared.backend.compile(request, asked.peer()).await?;
    Ok(answer::ok(content_type, compiled.json))
}

/// PUT `facts/<certname>`.
pub async fn save_facts<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    Own(certname): Own,
    _: Environment,
    _: SentJson,
    request: Request,
) -> Outcome {
    let read = shared.memory.read(request, rules(&shared.settings)).await?;
    let facts = parse_facts(&read.bytes, &certname)?;
    shared.backend.save_facts(&certname, facts).await?;
    Ok(answer::ok(JSON, "0"))
}

impl<S: Send + Sync> FromRequestParts<S> for AsCatalog {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<AsCatalog, Refusal> {
        accepted(&parts.headers, AS_CATALOG).map(AsCatalog)
    }
}

fn rules(settings: &Settings) -> BodyRules {
    BodyRules { cap: settings.facts_cap, deadline: settings.body_deadline, json: true }
}

async fn read_form<B: Backend>(shared: &Shared<B>, request: Request) -> Result<Pairs, Refusal> {
    let is_form = sent_as(request.headers(), &["application/x-www-form-urlencoded"]);
    let read = shared.memory.read(request, rules(&shared.settings)).await?;
    if read.bytes.is_empty() {
        return Ok(Pairs::default());
    }
    is_form?;
    Pairs::parse(&read.bytes).map_err(|error| bad_pairs(&error))
}

fn refuse_other_identity(pairs: &Pairs, certname: &Certname) -> Result<(), Refusal> {
    let own = |value: &str| value == certname.as_str();
    match IDENTITY.iter().find(|name| !pairs.all(name).all(own)) {
        Some(name) => Err(not_yours(&format!("the parameter {name} names another node than {certname}"))),
        None => Ok(()),
    }
}

/// Agents name the environment in the query and in the form. In text, as the peer answers here.
fn environment(query: &Pairs, form: &Pairs) -> Result<String, Refusal> {
    let refuse = |message: String| Err(Refusal::text(StatusCode::BAD_REQUEST, message));
    let one = |pairs: &Pairs| pairs.one("environment").map(|name| name.map(str::to_owned));
    match (one(query), one(form)) {
        (Err(error), _) | (_, Err(error)) => refuse(format!("the request holds {error}")),
        (Ok(Some(query)), Ok(Some(form))) if query != form => {
            refuse("the query and the form name different environments".to_owned())
        }
        (Ok(Some(name)), Ok(_)) | (Ok(None), Ok(Some(name))) if is_environment(&name) => Ok(name),
        (Ok(Some(name)), Ok(_)) | (Ok(None), Ok(Some(name))) => refuse(not_alphanumeric(&name)),
        (Ok(None), Ok(None)) => refuse(not_alphanumeric("null")),
    }
}

fn sent_facts(query: &Pairs, form: &Pairs, certname: &Certname) -> Result<Option<Value>, Refusal> {
    let one = |name: &str| -> Result<Option<String>, Refusal> {
        let form = form.one(name).map_err(|error| bad_pairs(&error))?;
        let query = query.one(name).map_err(|error| bad_pairs(&error))?;
        Ok(form.or(query).map(str::to_owned))
    };
    let Some(facts) = one("facts")? else { return Ok(None) };
    match one("facts_format")?.as_deref() {
        None | Some("application/json" | "json" | "pson" | "text/pson") => {}
        // b64_zlib_yaml is among them: YAML from strangers, and a bomb at that (CVE-2013-1655).
        Some(_) => return Err(Refusal::bad_request("Unsupported facts format; send application/json")),
    }
    // Percent-encoded twice (protocol page, §3). Encoded once, JSON begins with its brace.
    let json = match facts.trim_start().starts_with('{') {
        true => facts,
        false => decode_value(facts.as_bytes()).map_err(|error| bad_pairs(&error))?,
    };
    parse_facts(&Bytes::from(json), certname).map(Some)
}

#[derive(Deserialize)]
struct SentFacts {
    name: Option<String>,
    values: Map<String, Value>,
}

fn parse_facts(json: &[u8], certname: &Certname) -> Result<Value, Refusal> {
    check_depth(json).map_err(Refusal::bad_request)?;
    let sent: SentFacts = serde_json::from_slice(json).map_err(|error| {
        Refusal::bad_request(format!("the facts are no {{name, values}} in JSON: {error}"))
    })?;
    match sent.name {
        Some(name) if name != certname.as_str() => {
            Err(not_yours(&format!("Instance name {name:?} does not match requested key \"{certname}\"")))
        }
        _ => Ok(Value::Object(sent.values)),
    }
}

fn not_yours(message: &str) -> Refusal {
    Refusal::json(StatusCode::FORBIDDEN, RUNTIME_ERROR, format!("Forbidden: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn facts(form: &str) -> Result<Option<Value>, Refusal> {
        let form = Pairs::parse(form.as_bytes()).unwrap();
        sent_facts(&Pairs::default(), &form, &Certname::parse("a.test").unwrap())
    }

    fn encoded(text: &str) -> String {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    }

    #[test]
    fn facts_are_read_as_agents_send_them() {
        let json = r#"{"name":"a.test","values":{"os":"x y+z","p":"100%","u":"é"},"timestamp":"t"}"#;
        let values = json!({"os": "x y+z", "p": "100%", "u": "é"});
        let twice = format!("facts_format=application%2Fjson&facts={}", encoded(&encoded(json)));
        assert_eq!(facts(&twice), Ok(Some(values.clone())));
        assert_eq!(facts(&format!("facts_format=pson&facts={}", encoded(json))), Ok(Some(values)));
        assert_eq!(facts("facts_format=pson"), Ok(None));
    }

    // faults row 66
    #[test]
    fn hostile_facts_are_refused() {
        let check = |form: &str, status: u16, says: &str| {
            let refusal = facts(form).unwrap_err();
            assert_eq!(refusal.status, status, "{form}");
            assert!(refusal.message.contains(says), "{}", refusal.message);
        };
        let deep = format!("facts={{\"values\":{}", "{\"a\":".repeat(1000));
        check(&deep, 400, "nests deeper");
        check("facts_format=b64_zlib_yaml&facts=eJxLTEoGAAJNASc%3D", 400, "Unsupported facts format");
        check("facts_format=yaml&facts=%7B%7D", 400, "Unsupported facts format");
        check("facts=%257B%25ff", 400, "not UTF-8");
        check("facts=%257Bbroken", 400, "no {name, values} in JSON");
        check("facts={\"values\":[]}", 400, "no {name, values} in JSON");
        check("facts={}&facts={\"values\":{}}", 400, "two values");
        check("facts={\"name\":\"b.test\",\"values\":{}}", 403, "does not match requested key \"a.test\""); // row 65
    }

    #[test]
    fn the_environment_is_one_and_named_soundly() {
        let check = |query: &str, form: &str, expected: Result<&str, &str>| {
            let pairs = |text: &str| Pairs::parse(text.as_bytes()).unwrap();
            let found = environment(&pairs(query), &pairs(form));
            let found = found.as_deref().map_err(|refusal| (refusal.message.as_str(), refusal.issue_kind));
            assert_eq!(found, expected.map_err(|message| (message, None)), "{query} {form}");
        };
        check("environment=production", "environment=production", Ok("production"));
        check("", "environment=a_1", Ok("a_1"));
        check("", "", Err("The environment must be purely alphanumeric, not 'null'"));
        check(
            "environment=bad%20name",
            "",
            Err("The environment must be purely alphanumeric, not 'bad name'"),
        );
        check("environment=a", "environment=b", Err("the query and the form name different environments"));
        check("environment=a&environment=b", "", Err("the request holds two values for environment"));
    }
}
