//! `[[plugins]]`: which plugins decide, and what each may reach.

use std::path::Path;

use rollout::{FailedApproval, FailedClassification, OnFailure, PluginSpec, Source};
use serde_json::{Value, json};

use super::reader::Section;

/// The embedded plugins with what they need, where the operator says nothing.
fn default_plugins() -> Vec<PluginSpec> {
    let plugin = |name: &str, grants: &[(&str, Value)]| PluginSpec {
        grants: grants.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect(),
        ..PluginSpec::new(name, Source::Embedded(name.to_owned()))
    };
    vec![
        plugin("s3-registry", &[("object-store", json!(["registry"]))]),
        plugin("base", &[]),
        plugin("hadoop", &[("stored-config", Value::Bool(true))]),
    ]
}

/// Reads `[[plugins]]`.
pub fn read(top: &Section<'_, '_>, state_dir: &Path) -> Vec<PluginSpec> {
    let Some(sections) = top.sections("plugins") else { return default_plugins() };
    sections.into_iter().map(|section| plugin(section, state_dir)).collect()
}

fn plugin(section: Section<'_, '_>, state_dir: &Path) -> PluginSpec {
    let name = section.string("name").filter(|n| !n.is_empty());
    if name.is_none() {
        section.problem_here("has no `name`");
    }
    let name = name.unwrap_or_default();
    let known = default_plugins().into_iter().find(|p| p.name == name);
    let grants = match section.json("grants") {
        Some(Value::Object(map)) => map.into_iter().collect(),
        Some(_) => {
            section.problem("grants", "must be a table of capabilities");
            std::collections::BTreeMap::new()
        }
        None => known.map(|p| p.grants).unwrap_or_default(),
    };
    let settings = section.json("settings").unwrap_or_else(|| json!({}));
    if !settings.is_object() {
        section.problem("settings", "must be a table");
    }
    let digest = section.parsed("digest", |text| {
        let hex = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        hex.then(|| text.to_lowercase()).ok_or("must be a SHA-256 in hex")
    });
    let path =
        section.parsed("path", |text| match text.strip_prefix("s3://").map(|rest| rest.split_once('/')) {
            None => Ok(Source::File(state_dir.join(text))),
            Some(Some((bucket, key))) if !bucket.is_empty() && !key.is_empty() && !key.ends_with('/') => {
                Ok(Source::Object(text.to_owned()))
            }
            Some(_) => Err(format!("is {text:?}; write s3://BUCKET/KEY, or the path of a file")),
        });
    let on_failure = on_failure(section.section("on_failure"));
    section.finish();
    let source = path.unwrap_or_else(|| Source::Embedded(name.clone()));
    PluginSpec { name, source, settings, grants, digest, on_failure }
}

fn on_failure(section: Section<'_, '_>) -> OnFailure {
    let approval = section.parsed("approval", |text| match text {
        "pending" => Ok(FailedApproval::Pending),
        "deny" => Ok(FailedApproval::Deny),
        other => Err(format!("is {other:?}; it is `pending` or `deny`")),
    });
    let classification = section.parsed("classification", |text| match text {
        "last-good" => Ok(FailedClassification::LastGood),
        "fail" => Ok(FailedClassification::Fail),
        other => Err(format!("is {other:?}; it is `last-good` or `fail`")),
    });
    let max_age = section.duration("max_age");
    if max_age.is_some() && classification == Some(FailedClassification::Fail) {
        section.problem("max_age", "is how old what is `last-good` may be, and `classification` is `fail`");
    }
    section.finish();
    OnFailure { approval, classification, max_age: max_age.map(|age| age.as_secs()) }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Defaults};
    use super::*;

    fn parse(text: &str) -> Result<Vec<PluginSpec>, Vec<String>> {
        let defaults = Defaults::new("/state".into(), "m1.example.test").unwrap();
        let read = Config::parse(text, &defaults);
        read.map(|c| c.plugins.plugins).map_err(|p| p.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_component_is_embedded_or_a_file_or_an_object() {
        fn check(path: &str, expected: Result<Source, &str>) {
            let read = parse(&format!("[[plugins]]\nname = \"a\"\n{path}\n"));
            match (read, expected) {
                (Ok(plugins), Ok(source)) => assert_eq!(plugins[0].source, source),
                (Err(said), Err(words)) => assert!(said.concat().contains(words), "{said:?}"),
                (read, expected) => panic!("{path}: {read:?}, not {expected:?}"),
            }
        }
        check("", Ok(Source::Embedded("a".into())));
        check("path = \"a.wasm\"", Ok(Source::File("/state/a.wasm".into())));
        check("path = \"s3://b/p/a.wasm\"", Ok(Source::Object("s3://b/p/a.wasm".into())));
        for wrong in ["s3://b", "s3://b/", "s3:///k", "s3://b/p/"] {
            check(&format!("path = {wrong:?}"), Err("line 3, column 8: `plugins[0].path` is"));
        }
    }

    #[test]
    fn what_a_failure_comes_to_is_said_for_each_plugin() {
        let text = "[[plugins]]\nname = \"a\"\non_failure = { approval = \"deny\", classification = \"last-good\", max_age = \"1h\" }\n[[plugins]]\nname = \"b\"\n";
        let plugins = parse(text).unwrap();
        let (approval, classification) = (Some(FailedApproval::Deny), Some(FailedClassification::LastGood));
        assert_eq!(plugins[0].on_failure, OnFailure { approval, classification, max_age: Some(3600) });
        assert_eq!(plugins[1].on_failure, OnFailure::default());
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        fn check(text: &str, expected: &str) {
            let said = parse(&format!("[[plugins]]\nname = \"a\"\n{text}\n")).err().unwrap_or_default();
            assert!(said.concat().contains(expected), "{text}: {said:?}");
        }
        check(
            "on_failure = { approval = \"approve\" }",
            "line 3, column 27: `plugins[0].on_failure.approval` is \"approve\"; it is `pending` or `deny`",
        );
        check("on_failure = { classification = \"x\" }", "it is `last-good` or `fail`");
        check("on_failure = { aproval = \"deny\" }", "did you mean `approval`?");
        check(
            "on_failure = { classification = \"fail\", max_age = \"1h\" }",
            "`plugins[0].on_failure.max_age` is how old",
        );
        check("on_failure = \"deny\"", "`plugins[0].on_failure` must be a table");
        check("onfailure = {}", "did you mean `on_failure`?");
        check("settings = 1", "`plugins[0].settings` must be a table");
        check("grants = [\"registry\"]", "must be a table of capabilities");
        check("digest = \"ab\"", "must be a SHA-256");
        check("[[plugins]]", "line 3, column 1: `plugins[1]` has no `name`");
    }

    #[test]
    fn no_setting_is_shown() {
        let config = Config::parse(
            "[[plugins]]\nname = \"a\"\nsettings = { token = \"hush\" }\n",
            &Defaults::new("/state".into(), "m1.example.test").unwrap(),
        );
        assert!(!format!("{config:?}").contains("hush"));
    }
}
