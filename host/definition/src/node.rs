//! What the text of a node definition has to say.

use serde_json::{Map, Value};

use crate::Problem;
use crate::yaml::{Item, Kind, Tree};

/// What a node is: the output of an external node classifier.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeDefinition {
    /// Classes and their parameters, in the order they were written.
    pub classes: Vec<(String, Map<String, Value>)>,
    /// Top-scope parameters.
    pub parameters: Map<String, Value>,
    /// Letters, digits and underscores.
    pub environment: Option<String>,
    /// The optional reserved key `bunraku`: what enrolment needs to know.
    pub enrolment: Option<Map<String, Value>>,
    /// Top-level keys that mean nothing, for a warning.
    pub unknown: Vec<String>,
}

impl NodeDefinition {
    /// Reads a definition. `classes` may be a mapping of names to parameters, a list of names, or a list
    /// with names and single-key mappings; `classes`, `parameters` and a class's parameters may be empty.
    ///
    /// # Errors
    /// The first thing that is wrong with it. An empty text is a problem too: a node without classes says
    /// `classes: []`, while an object cut short says nothing.
    pub fn parse(yaml: &str) -> Result<Self, Problem> {
        let tree = Tree::load(yaml)?;
        let Kind::Map(items) = &*tree.kind else {
            let message = "a node definition is a mapping with classes, parameters and environment";
            return Err(tree.problem(format!("{message}, not {}", tree.noun())));
        };
        let mut definition = Self::default();
        for Item { key, value, .. } in items {
            match key.as_str() {
                "classes" => definition.classes = classes(value)?,
                "parameters" => definition.parameters = map(value, "parameters")?.unwrap_or_default(),
                "environment" => definition.environment = environment(value)?,
                "bunraku" => definition.enrolment = map(value, "bunraku")?,
                _ => definition.unknown.push(key.clone()),
            }
        }
        Ok(definition)
    }
}

type Class = (String, Map<String, Value>);

fn classes(tree: &Tree) -> Result<Vec<Class>, Problem> {
    let mut found = vec![];
    match &*tree.kind {
        Kind::Scalar(Value::Null) => {}
        Kind::Map(items) => {
            for item in items {
                add(&mut found, &item.value, &item.key, parameters(item)?)?;
            }
        }
        Kind::List(list) => {
            for entry in list {
                match &*entry.kind {
                    Kind::Scalar(Value::String(name)) => add(&mut found, entry, name, Map::new())?,
                    Kind::Map(items) => {
                        let [item] = items.as_slice() else {
                            return Err(
                                entry.problem("a class in the list is a name or one `name: {parameters}`")
                            );
                        };
                        add(&mut found, entry, &item.key, parameters(item)?)?;
                    }
                    _ => {
                        let message = "a class in the list is a name or one `name: {parameters}`";
                        return Err(entry.problem(format!("{message}, not {}", entry.noun())));
                    }
                }
            }
        }
        Kind::Scalar(_) => {
            return Err(tree.problem(format!("classes are a list or a mapping, not {}", tree.noun())));
        }
    }
    Ok(found)
}

fn add(
    found: &mut Vec<Class>,
    place: &Tree,
    name: &str,
    parameters: Map<String, Value>,
) -> Result<(), Problem> {
    if name.is_empty() {
        return Err(place.problem("a class without a name"));
    }
    if found.iter().any(|(known, _)| known == name) {
        return Err(place.problem(format!("class {name:?} is there twice")));
    }
    found.push((name.into(), parameters));
    Ok(())
}

fn parameters(class: &Item) -> Result<Map<String, Value>, Problem> {
    Ok(map(&class.value, &format!("the parameters of class {:?}", class.key))?.unwrap_or_default())
}

fn map(tree: &Tree, what: &str) -> Result<Option<Map<String, Value>>, Problem> {
    match (&*tree.kind, tree.to_value()) {
        (Kind::Scalar(Value::Null), _) => Ok(None),
        (_, Value::Object(map)) => Ok(Some(map)),
        _ => Err(tree.problem(format!("{what} must be a mapping, not {}", tree.noun()))),
    }
}

fn environment(tree: &Tree) -> Result<Option<String>, Problem> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match &*tree.kind {
        Kind::Scalar(Value::Null) => Ok(None),
        Kind::Scalar(Value::String(name)) if !name.is_empty() && name.chars().all(word) => {
            Ok(Some(name.clone()))
        }
        Kind::Scalar(Value::String(_)) => {
            Err(tree.problem("environment must consist of letters, digits and underscores"))
        }
        _ => Err(tree.problem(format!("environment must be text, not {}", tree.noun()))),
    }
}
