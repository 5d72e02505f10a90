//! `bunraku plugin inspect`: what a plugin wants, could reach and may reach, side by side.

use std::collections::BTreeSet;

use master::plugins::{Plugin, Set};
use serde_json::{Value, json};

use super::{chosen, plugins};
use crate::arguments::Online;
use crate::config::Config;
use crate::print::{out, printable, table};
use crate::setup::Failure;

/// Capabilities, and how the names of the interfaces begin that make use of them.
const CAPABILITIES: [(&str, &str); 3] = [
    ("object-store", "bunraku:plugin/object-store"),
    ("stored-config", "bunraku:plugin/stored-config"),
    ("http", "wasi:http/"),
];

/// Prints what the plugins of a set reach.
pub async fn run(
    config: &Config,
    name: Option<&str>,
    set: Option<&str>,
    online: &Online,
) -> Result<(), Failure> {
    let (_, plugins) = plugins(config, online).await?;
    let set = match set {
        Some(start) => chosen(&plugins, start)?,
        None => &plugins.live,
    };
    let found: Vec<&Plugin> = set.plugins.iter().filter(|p| name.is_none_or(|name| p.name == name)).collect();
    if let (Some(name), true) = (name, found.is_empty()) {
        return Err(Failure::new(unknown(set, name)));
    }
    if online.output.json {
        out(&format!("{}\n", Value::Array(found.into_iter().map(as_json).collect())));
    } else {
        let texts: Vec<String> = found.into_iter().map(as_text).collect();
        out(&texts.join("\n"));
    }
    Ok(())
}

/// One capability of a plugin.
struct Row<'p> {
    name: &'p str,
    wanted: Option<&'p master::plugins::Wanted>,
    possible: bool,
    granted: Option<&'p Value>,
}

impl Row<'_> {
    /// What does not fit together.
    fn remark(&self) -> Option<&'static str> {
        let Row { wanted, possible, granted, .. } = self;
        match (wanted, possible, granted) {
            (Some(wanted), _, None) if !wanted.optional => Some("wanted and NOT GRANTED"),
            (Some(_), _, None) => Some("wanted, works without, not granted"),
            (_, false, Some(_)) => Some("granted and NOT POSSIBLE: its component imports none of it"),
            (None, true, Some(_)) => Some("granted, and the plugin does not ask for it"),
            _ => None,
        }
    }
}

fn rows(plugin: &Plugin) -> Vec<Row<'_>> {
    let imports = |prefix: &str| plugin.possible.iter().any(|interface| interface.starts_with(prefix));
    let known = CAPABILITIES.iter().map(|(name, _)| *name);
    let wanted = plugin.wanted.iter().map(|wanted| wanted.name.as_str());
    let names: BTreeSet<&str> =
        known.chain(wanted).chain(plugin.granted.keys().map(String::as_str)).collect();
    let row = |name| Row {
        name,
        wanted: plugin.wanted.iter().find(|wanted| wanted.name == name),
        possible: CAPABILITIES.iter().any(|(known, prefix)| *known == name && imports(prefix)),
        granted: plugin.granted.get(name).filter(|granted| !nothing(granted)),
    };
    let rows = names.into_iter().map(row);
    rows.filter(|row| row.wanted.is_some() || row.possible || row.granted.is_some()).collect()
}

/// A grant that is spelt out and grants nothing.
fn nothing(grant: &Value) -> bool {
    matches!(grant, Value::Null | Value::Bool(false)) || grant.as_array().is_some_and(Vec::is_empty)
}

/// All of it, with what does not fit together.
fn as_json(plugin: &Plugin) -> Value {
    let mut value = json!(plugin);
    let remarks: Vec<Value> = rows(plugin)
        .iter()
        .filter_map(|row| row.remark().map(|remark| json!({"capability": row.name, "remark": remark})))
        .collect();
    if let Value::Object(fields) = &mut value {
        fields.insert("remarks".to_owned(), remarks.into());
    }
    value
}

/// What a plugin is and reaches, for people.
pub fn as_text(plugin: &Plugin) -> String {
    let Plugin { name, plugin: own, version, summary, digest, kinds, source, .. } = plugin;
    let mut lines = vec![format!("{name}: {own} {version}, {}", kinds.join(" and "))];
    lines.push(format!("  {summary}"));
    lines.push(format!("  component   sha256:{digest}"));
    lines.push(format!("  from        {source}"));
    lines.push(format!("  signed by   {}", plugin.signed_by.as_deref().unwrap_or("nobody")));
    let on_failure = plugin.on_failure.as_object().into_iter().flatten();
    let on_failure: Vec<String> = on_failure
        .filter(|(_, v)| !v.is_null())
        .map(|(key, value)| format!("{key} {}", bare(value)))
        .collect();
    if !on_failure.is_empty() {
        lines.push(format!("  on failure  {}", on_failure.join(", ")));
    }
    if !plugin.classes.is_empty() {
        lines.push(format!("  classes     {}", plugin.classes.join(" ")));
    }
    let mut text: String = lines.iter().map(|line| format!("{}\n", printable(line))).collect();
    let rows = rows(plugin);
    if rows.is_empty() {
        text.push_str("  wants nothing, could reach nothing, is granted nothing\n");
        return text;
    }
    let cells = |row: &Row<'_>| {
        let wanted = match row.wanted {
            None => "no".to_owned(),
            Some(wanted) if wanted.optional => format!("optional: {}", wanted.reason),
            Some(wanted) => format!("yes: {}", wanted.reason),
        };
        let possible = if row.possible { "yes" } else { "no" };
        let granted = row.granted.map_or_else(|| "no".to_owned(), bare);
        let remark = row.remark().map(|remark| format!("<- {remark}")).unwrap_or_default();
        [row.name.to_owned(), wanted, possible.to_owned(), granted, remark]
    };
    let cells: Vec<[String; 5]> = rows.iter().map(cells).collect();
    for line in table(["CAPABILITY", "WANTED", "POSSIBLE", "GRANTED", ""], &cells).lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

/// A value without the marks of JSON where it is plain text or yes.
fn bare(value: &Value) -> String {
    match value {
        Value::Bool(true) => "yes".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(bare).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn unknown(set: &Set, name: &str) -> String {
    let names: Vec<&str> = set.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
    let near = names.iter().find(|known| strsim::jaro_winkler(known, name) > 0.8);
    let hint = near.map(|near| format!("; is it {near}?")).unwrap_or_default();
    printable(&format!("the set has no plugin {name:?}, but {}{hint}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use master::plugins::Wanted;

    use super::super::list::tests::{plugin, set};
    use super::*;

    fn wanted(name: &str, optional: bool) -> Wanted {
        Wanted { name: name.to_owned(), reason: "reads nodes".to_owned(), optional }
    }

    #[test]
    fn wanted_possible_and_granted_stand_side_by_side() {
        let mut policy = plugin("policy", "0.1");
        policy.wanted = vec![wanted("object-store", false), wanted("stored-config", true)];
        policy.possible = ["log", "object-store", "stored-config"]
            .map(|name| format!("bunraku:plugin/{name}@0.1.0"))
            .to_vec();
        policy.granted.insert("object-store".to_owned(), json!(["registry"]));
        policy.granted.insert("http".to_owned(), json!([{"origin": "https://api.test"}]));
        policy.on_failure = json!({"approval": "deny", "max_age": null});
        policy.classes = vec!["a::b".to_owned(), "c".to_owned()];
        let expected = format!(
            "policy: policy 0.1, approver and classifier
  Says who is who.
  component   sha256:0.1{}
  from        embedded policy
  signed by   nobody
  on failure  approval deny
  classes     a::b c
  CAPABILITY     WANTED                 POSSIBLE  GRANTED
  http           no                     no        {{\"origin\":\"https://api.test\"}}  <- granted and NOT POSSIBLE: its component imports none of it
  object-store   yes: reads nodes       yes       registry
  stored-config  optional: reads nodes  yes       no                             <- wanted, works without, not granted
",
            "0".repeat(60)
        );
        assert_eq!(as_text(&policy), expected);
        let remarks = as_json(&policy)["remarks"].clone();
        assert_eq!(remarks[0]["capability"], "http");
        assert_eq!(remarks.as_array().unwrap().len(), 2);
    }

    #[test]
    fn what_does_not_fit_is_marked() {
        fn check(want: Option<bool>, possible: bool, grant: Option<Value>, expected: Option<&str>) {
            let mut policy = plugin("policy", "0.1");
            policy.wanted = want.map(|optional| wanted("stored-config", optional)).into_iter().collect();
            policy.possible =
                possible.then(|| "bunraku:plugin/stored-config@0.1.0".to_owned()).into_iter().collect();
            policy.granted = grant.map(|grant| ("stored-config".to_owned(), grant)).into_iter().collect();
            let rows = rows(&policy);
            let remark = rows.first().and_then(Row::remark);
            let start = |text: &str| text.split([':', ',']).next().unwrap_or_default().to_owned();
            assert_eq!(remark.map(start).as_deref(), expected);
        }
        let yes = || Some(json!(true));
        check(Some(false), true, yes(), None);
        check(None, true, None, None);
        check(None, false, None, None);
        check(Some(false), true, None, Some("wanted and NOT GRANTED"));
        check(Some(false), true, Some(json!(false)), Some("wanted and NOT GRANTED"));
        check(Some(true), true, None, Some("wanted"));
        check(None, false, yes(), Some("granted and NOT POSSIBLE"));
        check(Some(false), false, yes(), Some("granted and NOT POSSIBLE"));
        check(None, true, yes(), Some("granted"));
        check(Some(false), false, None, Some("wanted and NOT GRANTED"));
    }

    #[test]
    fn a_misspelt_plugin_is_guessed() {
        let set = set("9f", vec![plugin("s3-registry", "1"), plugin("base", "1")]);
        let hint = "the set has no plugin \"s3_registry\", but s3-registry, base; is it s3-registry?";
        assert_eq!(unknown(&set, "s3_registry"), hint);
        assert_eq!(unknown(&set, "x"), "the set has no plugin \"x\", but s3-registry, base");
    }
}
