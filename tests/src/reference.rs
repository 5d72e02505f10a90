//! Compares a catalog of ours with one that puppetserver compiled from an equivalent module.
//!
//! What is compared: which classes there are and in which run stage each is, the order of the stages,
//! and every resource that an agent applies, with its parameters, its class and its stage. What is not:
//! names of the compilers' own (version, uuid, file, line, tags), parameters of classes, defined types
//! (a resource counts for the class around them), and by which end a relation is written: `require` on
//! the one resource is `before` on the other.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// Every way in which `ours` is not `recorded`, a line each; none where they agree.
pub fn differences(recorded: &Value, ours: &Value) -> Vec<String> {
    let (recorded, ours) = (Summary::of(recorded), Summary::of(ours));
    let mut found = vec![];
    compare("class", &recorded.classes, &ours.classes, &mut found);
    compare("stage", &recorded.stages, &ours.stages, &mut found);
    compare("resource", &recorded.resources, &ours.resources, &mut found);
    for edge in recorded.relations.difference(&ours.relations) {
        found.push(format!("relation {edge}: only recorded"));
    }
    for edge in ours.relations.difference(&recorded.relations) {
        found.push(format!("relation {edge}: only ours"));
    }
    found
}

/// What of a catalog is compared, by reference.
#[derive(Default)]
struct Summary {
    classes: BTreeMap<String, Map<String, Value>>,
    stages: BTreeMap<String, Map<String, Value>>,
    resources: BTreeMap<String, Map<String, Value>>,
    relations: BTreeSet<String>,
}

/// Both ends of a relation name each other with these, and mean the same by two of them.
const RELATIONS: [(&str, &str, bool); 4] = [
    ("before", "before", true),
    ("require", "before", false),
    ("notify", "notifies", true),
    ("subscribe", "notifies", false),
];

impl Summary {
    fn of(catalog: &Value) -> Self {
        let containers = Containers::of(catalog);
        let mut summary = Self::default();
        for resource in list(catalog, "resources") {
            let (kind, title) = (text(resource, "type"), text(resource, "title"));
            if resource.get("exported").and_then(Value::as_bool) == Some(true) || is_scaffold(kind, title) {
                continue;
            }
            let this = reference(kind, title);
            let mut parameters = Map::new();
            for (name, value) in resource.get("parameters").and_then(Value::as_object).into_iter().flatten() {
                match RELATIONS.iter().find(|(relation, ..)| relation == name) {
                    Some((_, verb, forward)) => {
                        for other in references(value) {
                            let other = normal(other);
                            let (from, to) = if *forward { (&this, &other) } else { (&other, &this) };
                            summary.relations.insert(format!("{from} {verb} {to}"));
                        }
                    }
                    None => {
                        parameters.insert(name.clone(), value.clone());
                    }
                }
            }
            let into = match kind {
                "Stage" => &mut summary.stages,
                "Class" => {
                    parameters = Map::from_iter([("stage".into(), containers.stage(&this).into())]);
                    &mut summary.classes
                }
                _ => {
                    parameters.insert("(class)".into(), containers.class(&this).into());
                    parameters.insert("(stage)".into(), containers.stage(&this).into());
                    let sensitive = resource.get("sensitive_parameters").cloned();
                    parameters
                        .insert("(sensitive)".into(), sensitive.unwrap_or_else(|| Value::Array(vec![])));
                    &mut summary.resources
                }
            };
            if containers.is_defined_type(&this) {
                continue;
            }
            into.insert(this, parameters);
        }
        summary.relations.retain(|relation| !containers.names_defined_type(relation));
        summary
    }
}

/// Which container a resource is in, from the edges.
struct Containers {
    of: BTreeMap<String, Vec<String>>,
    defined: BTreeSet<String>,
}

impl Containers {
    fn of(catalog: &Value) -> Self {
        let mut of: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for edge in list(catalog, "edges") {
            of.entry(normal(text(edge, "target"))).or_default().push(normal(text(edge, "source")));
        }
        let defined = list(catalog, "resources")
            .iter()
            .filter(|resource| resource.get("kind").and_then(Value::as_str) == Some("defined_type"))
            .map(|resource| reference(text(resource, "type"), text(resource, "title")))
            .collect();
        Self { of, defined }
    }

    /// The innermost class around a resource; empty where none.
    fn class(&self, of: &str) -> String {
        self.nearest(of, "Class[")
    }

    /// The stage around a class or resource; that of its class where an edge from a stage says so.
    fn stage(&self, of: &str) -> String {
        self.nearest(of, "Stage[")
    }

    fn nearest(&self, of: &str, kind: &str) -> String {
        let (mut seen, mut level) = (BTreeSet::new(), vec![of.to_owned()]);
        while !level.is_empty() {
            let above: Vec<String> =
                level.iter().filter_map(|at| self.of.get(at)).flatten().cloned().collect();
            if let Some(found) = above.iter().find(|at| at.starts_with(kind)) {
                return found.clone();
            }
            level = above.into_iter().filter(|at| seen.insert(at.clone())).collect();
        }
        String::new()
    }

    fn is_defined_type(&self, reference: &str) -> bool {
        self.defined.contains(reference)
    }

    fn names_defined_type(&self, relation: &str) -> bool {
        self.defined.iter().any(|defined| {
            relation.starts_with(&format!("{defined} ")) || relation.ends_with(&format!(" {defined}"))
        })
    }
}

fn compare(
    what: &str,
    recorded: &BTreeMap<String, Map<String, Value>>,
    ours: &BTreeMap<String, Map<String, Value>>,
    found: &mut Vec<String>,
) {
    let names: BTreeSet<&String> = recorded.keys().chain(ours.keys()).collect();
    for name in names {
        let (recorded, ours) = match (recorded.get(name), ours.get(name)) {
            (Some(recorded), Some(ours)) => (recorded, ours),
            (Some(_), None) => {
                found.push(format!("{what} {name}: only recorded"));
                continue;
            }
            (None, _) => {
                found.push(format!("{what} {name}: only ours"));
                continue;
            }
        };
        let parameters: BTreeSet<&String> = recorded.keys().chain(ours.keys()).collect();
        for parameter in parameters {
            let (recorded, ours) = (recorded.get(parameter), ours.get(parameter));
            if recorded != ours {
                let show = |value: Option<&Value>| value.map_or("nothing".into(), Value::to_string);
                found.push(format!(
                    "{what} {name}: {parameter}: recorded {}, ours {}",
                    show(recorded),
                    show(ours)
                ));
            }
        }
    }
}

/// What puppetserver puts around a catalog, and what warnings are made of.
fn is_scaffold(kind: &str, title: &str) -> bool {
    matches!(kind, "Node" | "Notify")
        || (kind == "Stage" && title == "main")
        || (kind == "Class" && (title.eq_ignore_ascii_case("main") || title.eq_ignore_ascii_case("settings")))
}

fn list<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(of: &'a Value, name: &str) -> &'a str {
    of.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// One reference or a list of them.
fn references(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    }
}

fn reference(kind: &str, title: &str) -> String {
    if kind == "Class" {
        format!("Class[{}]", title.to_ascii_lowercase())
    } else {
        format!("{kind}[{title}]")
    }
}

/// Classes are written in more than one way.
fn normal(text: &str) -> String {
    match text.strip_prefix("Class[") {
        Some(title) => format!("Class[{}", title.to_ascii_lowercase()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn catalog(more: &[Value], edges: &[(&str, &str)]) -> Value {
        let mut resources = vec![
            json!({"type": "Stage", "title": "main"}),
            json!({"type": "Stage", "title": "apt", "parameters": {"before": "Stage[main]"}}),
            json!({"type": "Class", "title": "A::B", "kind": "class"}),
        ];
        resources.extend_from_slice(more);
        let edges: Vec<Value> = [("Stage[main]", "Class[A::B]")]
            .iter()
            .chain(edges)
            .map(|(source, target)| json!({"source": source, "target": target}))
            .collect();
        json!({"resources": resources, "edges": edges})
    }

    #[test]
    fn the_same_by_other_words_is_no_difference() {
        let file = |more: Value| json!({"type": "File", "title": "/a", "parameters": more});
        let exec = |more: Value| json!({"type": "Exec", "title": "x", "parameters": more});
        let recorded = catalog(
            &[
                json!({"type": "D", "title": "d", "kind": "defined_type"}),
                file(json!({"mode": "0644", "notify": ["Exec[x]"]})),
                exec(json!({"require": "Class[A::B]"})),
            ],
            &[("Class[A::B]", "D[d]"), ("D[d]", "File[/a]"), ("Class[A::B]", "Exec[x]")],
        );
        let ours = catalog(
            &[
                exec(json!({"subscribe": "File[/a]", "require": ["Class[a::b]"]})),
                file(json!({"mode": "0644"})),
                json!({"type": "Hadoop::Address", "title": "n", "exported": true}),
            ],
            &[("Class[A::B]", "File[/a]"), ("Class[A::B]", "Exec[x]")],
        );
        assert_eq!(differences(&recorded, &ours), Vec::<String>::new());
    }

    #[test]
    fn every_kind_of_difference_is_told() {
        let recorded = catalog(
            &[
                json!({"type": "File", "title": "/a", "parameters": {"mode": "0644", "before": "Exec[x]"}}),
                json!({"type": "Exec", "title": "x"}),
            ],
            &[("Class[A::B]", "File[/a]"), ("Class[A::B]", "Exec[x]")],
        );
        let mut ours = catalog(
            &[
                json!({"type": "File", "title": "/a", "parameters": {"mode": "0600"}}),
                json!({"type": "User", "title": "u"}),
            ],
            &[("Stage[apt]", "Class[A::B]"), ("Class[A::B]", "File[/a]"), ("Class[A::B]", "User[u]")],
        );
        ours["edges"][0]["source"] = "Stage[apt]".into();
        ours["resources"][1]["parameters"]["before"] = "Stage[other]".into();
        assert_eq!(
            differences(&recorded, &ours),
            [
                "class Class[a::b]: stage: recorded \"Stage[main]\", ours \"Stage[apt]\"",
                "resource Exec[x]: only recorded",
                "resource File[/a]: (stage): recorded \"Stage[main]\", ours \"Stage[apt]\"",
                "resource File[/a]: mode: recorded \"0644\", ours \"0600\"",
                "resource User[u]: only ours",
                "relation File[/a] before Exec[x]: only recorded",
                "relation Stage[apt] before Stage[main]: only recorded",
                "relation Stage[apt] before Stage[other]: only ours",
            ]
        );
    }
}
