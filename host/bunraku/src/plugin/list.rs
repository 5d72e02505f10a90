//! `bunraku plugin list`, and how a shadow does.

use master::plugins::{Plugin, Plugins, Set, Shadow};

use super::{plugins, short};
use crate::arguments::Online;
use crate::config::Config;
use crate::print::{count, out, printable, table};
use crate::setup::Failure;

/// Nodes that are named of those that a shadow decides otherwise.
const NODES: usize = 20;

/// Prints the sets.
pub async fn run(config: &Config, online: &Online) -> Result<(), Failure> {
    let (_, plugins) = plugins(config, online).await?;
    if online.output.json {
        out(&format!("{}\n", serde_json::json!(plugins)));
    } else {
        out(&as_text(&plugins));
    }
    Ok(())
}

fn as_text(plugins: &Plugins) -> String {
    let mut text = format!("live    {}\n", provenance(&plugins.live));
    text.push_str(&indented(&members(&plugins.live)));
    if let Some(rules) = rules(&plugins.live) {
        text.push_str(&indented(&rules));
    }
    if let Some(shadow) = &plugins.shadow {
        text.push_str(&format!("\nshadow  {}\n{}", short(&shadow.set), indented(&counts(shadow))));
    }
    if !plugins.staged.is_empty() {
        text.push('\n');
    }
    for set in &plugins.staged {
        text.push_str(&format!("staged  {}\n", provenance(set)));
        let differs = differences(&plugins.live, set);
        text.push_str(&indented(&differs));
    }
    text
}

/// How a shadow does, for people.
pub fn summary(shadow: &Shadow) -> String {
    let mut text = format!("shadow  {}\n{}", short(&shadow.set), indented(&counts(shadow)));
    if shadow.nodes.is_empty() {
        return text;
    }
    let rows: Vec<[String; 3]> = shadow
        .nodes
        .iter()
        .take(NODES)
        .map(|node| [node.certname.clone(), node.kind.clone(), node.change.clone()])
        .collect();
    text.push('\n');
    text.push_str(&indented(&table(["NODE", "DECISION", "CHANGE"], &rows)));
    let more = shadow.nodes.len().saturating_sub(NODES);
    if more > 0 {
        text.push_str(&format!("  and {more} more: --json names them\n"));
    }
    text
}

fn counts(shadow: &Shadow) -> String {
    let Shadow { asked, dropped, same, differ, by_change, .. } = shadow;
    let mut text = format!("asked {asked}, same {same}, differ {differ}");
    if *dropped > 0 {
        text.push_str(&format!(", not asked for lack of room {dropped}"));
    }
    text.push('\n');
    for (change, times) in by_change {
        text.push_str(&format!("{times:>6} × {}\n", printable(change)));
    }
    text
}

fn provenance(set: &Set) -> String {
    let Set { id, made_at, by, from, .. } = set;
    printable(&format!("{}  staged {made_at} by {by}, from {from}", short(id)))
}

/// The plugins of a set, a line each.
pub fn members(set: &Set) -> String {
    let head = ["NAME", "PLUGIN", "KINDS", "DIGEST", "SIGNED BY", "FROM"];
    let row = |plugin: &Plugin| {
        [
            plugin.name.clone(),
            format!("{} {}", plugin.plugin, plugin.version),
            plugin.kinds.join(", "),
            short(&plugin.digest).to_owned(),
            plugin.signed_by.clone().unwrap_or_else(|| "-".to_owned()),
            plugin.source.clone(),
        ]
    };
    table(head, &set.plugins.iter().map(row).collect::<Vec<_>>())
}

/// What holds for the set as a whole, where it is not the usual.
fn rules(set: &Set) -> Option<String> {
    let mut said = Vec::new();
    if set.merge != "first-match" {
        said.push(format!("classifiers are merged by {}", set.merge));
    }
    for rule in &set.quorum {
        said.push(format!("{} needs {}", rule.pattern, count(rule.require, "approval")));
    }
    (!said.is_empty()).then(|| format!("{}\n", printable(&said.join("; "))))
}

/// What another set has otherwise, in a line a plugin.
pub fn differences(live: &Set, other: &Set) -> String {
    let mut text = String::new();
    let mut say = |line: String| text.push_str(&format!("{}\n", printable(&line)));
    for plugin in &other.plugins {
        match live.plugins.iter().find(|p| p.name == plugin.name) {
            None => say(format!("+ {} {} {}", plugin.name, plugin.version, short(&plugin.digest))),
            Some(before) if before.digest != plugin.digest => say(format!(
                "~ {} {} {} in place of {} {}",
                plugin.name,
                plugin.version,
                short(&plugin.digest),
                before.version,
                short(&before.digest)
            )),
            Some(before) if before.granted != plugin.granted => {
                say(format!("~ {} with other grants", plugin.name));
            }
            Some(before) if before.on_failure != plugin.on_failure => {
                say(format!("~ {} with another on_failure", plugin.name));
            }
            Some(_) => {}
        }
    }
    for plugin in &live.plugins {
        if !other.plugins.iter().any(|p| p.name == plugin.name) {
            say(format!("- {}", plugin.name));
        }
    }
    let names = |set: &Set| set.plugins.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
    let (mut before, mut after) = (names(live), names(other));
    if before != after {
        before.sort();
        after.sort();
        if before == after {
            say("~ in another order".to_owned());
        }
    }
    if (&live.merge, &live.quorum) != (&other.merge, &other.quorum) {
        say("~ with another merge or quorum".to_owned());
    }
    if text.is_empty() && live.id != other.id {
        text.push_str("~ other settings\n");
    }
    text
}

fn indented(text: &str) -> String {
    text.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") }).collect()
}

#[cfg(test)]
pub mod tests {
    use std::collections::BTreeMap;

    use master::plugins::{Differs, Quorum};
    use serde_json::json;

    use super::*;

    pub fn plugin(name: &str, version: &str) -> Plugin {
        Plugin {
            name: name.to_owned(),
            plugin: name.to_owned(),
            version: version.to_owned(),
            summary: "Says who is who.".to_owned(),
            digest: format!("{version}{}", "0".repeat(60)),
            kinds: vec!["approver".to_owned(), "classifier".to_owned()],
            source: format!("embedded {name}"),
            signed_by: None,
            wanted: Vec::new(),
            possible: Vec::new(),
            granted: BTreeMap::new(),
            on_failure: json!({}),
            classes: Vec::new(),
        }
    }

    pub fn set(id: &str, plugins: Vec<Plugin>) -> Set {
        Set {
            id: format!("{id}{}", "0".repeat(60)),
            plugins,
            merge: "first-match".to_owned(),
            quorum: Vec::new(),
            made_at: "2026-11-23T01:40:00Z".to_owned(),
            by: "root (uid 0)".to_owned(),
            from: "bunraku.toml".to_owned(),
        }
    }

    fn shadow(nodes: usize) -> Shadow {
        let node = |n| Differs {
            certname: format!("n{n:02}\u{1b}[2J"),
            kind: "approval".to_owned(),
            change: "pending → approve".to_owned(),
        };
        Shadow {
            set: format!("44aa{}", "0".repeat(60)),
            asked: 120,
            dropped: 0,
            same: 118,
            differ: 2,
            by_change: BTreeMap::from([("pending → approve".to_owned(), 2)]),
            nodes: (0..nodes).map(node).collect(),
        }
    }

    #[test]
    fn a_list_tells_what_decides_what_is_in_its_shadow_and_what_is_at_hand() {
        let mut live = set("9f3c", vec![plugin("policy", "0.1"), plugin("base", "0.2")]);
        live.plugins[0].signed_by = Some("release".to_owned());
        live.merge = "union".to_owned();
        live.quorum = vec![Quorum { pattern: "*.prod".to_owned(), require: 2 }];
        let next = set("44aa", vec![plugin("policy", "0.3"), plugin("extra", "1")]);
        let next = Set { merge: live.merge.clone(), quorum: live.quorum.clone(), ..next };
        let text = as_text(&Plugins { live, shadow: Some(shadow(0)), staged: vec![next] });
        let expected = "\
live    9f3c00000000  staged 2026-11-23T01:40:00Z by root (uid 0), from bunraku.toml
  NAME    PLUGIN      KINDS                 DIGEST        SIGNED BY  FROM
  policy  policy 0.1  approver, classifier  0.1000000000  release    embedded policy
  base    base 0.2    approver, classifier  0.2000000000  -          embedded base
  classifiers are merged by union; *.prod needs 2 approvals

shadow  44aa00000000
  asked 120, same 118, differ 2
       2 × pending → approve

staged  44aa00000000  staged 2026-11-23T01:40:00Z by root (uid 0), from bunraku.toml
  ~ policy 0.3 0.3000000000 in place of 0.1 0.1000000000
  + extra 1 100000000000
  - base
";
        assert_eq!(text, expected);
    }

    #[test]
    fn another_set_is_told_by_what_it_has_otherwise() {
        fn check(change: impl FnOnce(&mut Set), expected: &str) {
            let live = set("9f3c", vec![plugin("a", "1"), plugin("b", "1")]);
            let mut other = Set { id: "other".to_owned(), ..live.clone() };
            change(&mut other);
            assert_eq!(differences(&live, &other), expected);
        }
        check(|_| (), "~ other settings\n");
        check(|set| set.plugins.reverse(), "~ in another order\n");
        check(|set| set.merge = "union".to_owned(), "~ with another merge or quorum\n");
        check(
            |set| drop(set.plugins[0].granted.insert("http".to_owned(), json!([]))),
            "~ a with other grants\n",
        );
        check(|set| set.plugins[1].on_failure = json!({"approval": "deny"}), "~ b with another on_failure\n");
    }

    #[test]
    fn a_shadow_names_the_nodes_it_is_about_and_nothing_of_them_reaches_the_terminal_raw() {
        let text = summary(&shadow(21));
        assert!(
            text.contains("  NODE          DECISION  CHANGE\n  n00\\u{1b}[2J  approval  pending → approve\n"),
            "{text}"
        );
        assert!(text.ends_with("  and 1 more: --json names them\n"), "{text}");
        assert!(!text.contains('\u{1b}'));
        assert!(!summary(&shadow(0)).contains("NODE"));
    }
}
