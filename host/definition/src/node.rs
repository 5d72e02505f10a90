//! What the text of a node definition has to say.

use std::collections::BTreeSet;

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

/// The classes found so far, in order.
#[derive(Default)]
struct Classes {
    list: Vec<Class>,
    names: BTreeSet<String>,
}

fn classes(tree: &Tree) -> Result<Vec<Class>, Problem> {
    let mut found = Classes::default();
    match &*tree.kind {
        Kind::Scalar(Value::Null) => {}
        Kind::Map(items) => {
            for item in items {
                found.add(&item.value, &item.key, parameters(item)?)?;
            }
        }
        Kind::List(list) => {
            for entry in list {
                match &*entry.kind {
                    Kind::Scalar(Value::String(name)) => found.add(entry, name, Map::new())?,
                    Kind::Map(items) if items.len() == 1 => {
                        for item in items {
                            found.add(entry, &item.key, parameters(item)?)?;
                        }
                    }
                    Kind::Map(_) => return Err(entry.problem(LIST)),
                    _ => return Err(entry.problem(format!("{LIST}, not {}", entry.noun()))),
                }
            }
        }
        Kind::Scalar(_) => {
            return Err(tree.problem(format!("classes are a list or a mapping, not {}", tree.noun())));
        }
    }
    Ok(found.list)
}

const LIST: &str = "a class in the list is a name or one `name: {parameters}`";

impl Classes {
    fn add(&mut self, place: &Tree, name: &str, parameters: Map<String, Value>) -> Result<(), Problem> {
        if name.is_empty() {
            return Err(place.problem("a class without a name"));
        }
        if !self.names.insert(name.into()) {
            return Err(place.problem(format!("class {name:?} is there twice")));
        }
        self.list.push((name.into(), parameters));
        Ok(())
    }
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
