//! Approver by name alone: what Puppet's `autosign.conf` lists is signed
//! (<https://www.puppet.com/docs/puppet/7/config_file_autosign.html>).
//!
//! It knows nothing of who asks, so it is for networks that only own nodes reach. Who was registered
//! beforehand is the business of `s3-registry`.

use sdk::{Call, Csr, CsrApprover, Failure, Metadata, Plugin, Problem, Value, Verdict, json};

/// The plugin.
pub struct Autosign;

impl Plugin for Autosign {
    fn describe() -> Metadata {
        let summary = "approves certificate requests by name, as autosign.conf does";
        Metadata::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), summary).settings(json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "additionalProperties": false,
            "required": ["names"],
            "properties": {
                "names": {
                    "description": "Certnames, whole or with a leading `*.`; `*` is every name.",
                    "type": "array", "items": {"type": "string"},
                },
            },
        }))
    }

    fn validate_settings(settings: &Value) -> Vec<Problem> {
        names(settings).err().unwrap_or_default()
    }
}

impl CsrApprover for Autosign {
    fn decide(call: &Call, request: &Csr) -> Result<Verdict, Failure> {
        let Ok(names) = names(&call.settings) else {
            return Err(Failure::Internal("the settings are not those that were checked".into()));
        };
        Ok(match names.into_iter().find(|pattern| fits(pattern, &request.certname)) {
            Some(pattern) => Verdict::approve(format!("the name fits {pattern}")),
            None => Verdict::Abstain,
        })
    }
}

sdk::export!(Autosign: approver);

/// The patterns, or everything that is wrong with the settings.
fn names(settings: &Value) -> Result<Vec<&str>, Vec<Problem>> {
    let Some(Value::Array(given)) = settings.get("names") else {
        return Err(vec![Problem::new("/names", "a list of certnames, such as [\"*.lab.example.com\"]")]);
    };
    let (mut names, mut problems) = (vec![], vec![]);
    for (place, value) in given.iter().enumerate() {
        match value.as_str().filter(|pattern| is_pattern(pattern)) {
            Some(pattern) => names.push(pattern),
            None => problems.push(Problem::new(
                format!("/names/{place}"),
                "a certname in lower case, or one behind a leading `*.`, or `*` alone",
            )),
        }
    }
    for unknown in settings.as_object().into_iter().flat_map(|all| all.keys()).filter(|k| *k != "names") {
        problems.push(Problem::new(format!("/{unknown}"), "unknown; there is only `names`"));
    }
    if problems.is_empty() { Ok(names) } else { Err(problems) }
}

fn is_pattern(text: &str) -> bool {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
    };
    text == "*" || name.split('.').all(label)
}

/// A leading `*.` stands for one label or more, as in `autosign.conf`.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix('*') {
        None => pattern == name,
        Some("") => true,
        Some(domain) => name.strip_suffix(domain).is_some_and(|host| !host.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::testing::FakeHost;

    #[test]
    fn a_name_that_fits_is_approved() {
        let host = FakeHost::new().settings(json!({"names": ["a.example.com", "*.lab.example.com"]}));
        let check = |name: &str, expected: Option<&str>| {
            let request = Csr { certname: name.into(), ..Csr::default() };
            let verdict = Autosign::decide(&host.call(), &request);
            let approved = expected.map(|why| Verdict::approve(format!("the name fits {why}")));
            assert_eq!(verdict, Ok(approved.unwrap_or(Verdict::Abstain)), "{name}");
        };
        check("a.example.com", Some("a.example.com"));
        check("b.a.example.com", None);
        check("x.lab.example.com", Some("*.lab.example.com"));
        check("x.y.lab.example.com", Some("*.lab.example.com"));
        check("lab.example.com", None);
        check("x.lab.example.com.evil.org", None);
    }

    #[test]
    fn everything_that_is_wrong_with_the_settings_is_said_at_once() {
        let check = |settings: Value, places: &[&str]| {
            let problems = Autosign::validate_settings(&settings);
            assert_eq!(problems.iter().map(|p| p.path.as_str()).collect::<Vec<_>>(), places, "{settings}");
        };
        check(json!({"names": []}), &[]);
        check(json!({"names": ["*", "a", "*.b.c", "a_b-c.d"]}), &[]);
        check(json!({}), &["/names"]);
        check(json!({"names": "*"}), &["/names"]);
        check(
            json!({"names": ["A", "a.*", "*a", "", "*.", 1], "x": 1}),
            &["/names/0", "/names/1", "/names/2", "/names/3", "/names/4", "/names/5", "/x"],
        );
    }
}
