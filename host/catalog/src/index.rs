//! Which plugin provides which class, with what parameters.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{error::Owner, name, schema::Schema};

/// A class as its plugin describes it.
#[derive(Debug, Clone)]
pub struct ClassSpec {
    /// The class, such as `hadoop::worker`.
    pub name: String,
    /// The plugin, as its operator calls it.
    pub plugin: String,
    /// A JSON Schema of the class's parameters, as one object, with their defaults.
    pub parameters_schema: Value,
}

/// The classes of one set of plugins. Made once for a set; schemas are compiled here.
#[derive(Debug, Default)]
pub struct ClassIndex {
    classes: BTreeMap<String, Class>,
    aliases: BTreeMap<String, String>,
}

/// A class that there is.
#[derive(Debug)]
pub(crate) struct Class {
    pub owner: Owner,
    pub schema: Schema,
}

/// Why a set of classes is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// The name is no class name.
    #[error(
        "plugin {plugin}: {class:?} is no class name: write lower case words of letters, digits, _ and -, \
         joined by ::"
    )]
    BadName {
        /// The plugin.
        plugin: String,
        /// What it calls the class.
        class: String,
    },
    /// Two plugins, or one plugin twice, provide a class.
    #[error("class {class} is provided by plugin {first} and by plugin {second}: remove one of them")]
    Duplicate {
        /// The class.
        class: String,
        /// The plugin that came first.
        first: String,
        /// The plugin that came later.
        second: String,
    },
    /// A schema that is none.
    #[error("plugin {plugin}: the parameter schema of class {class} cannot be used: {why}")]
    Schema {
        /// The plugin.
        plugin: String,
        /// The class.
        class: String,
        /// What is wrong with the schema, and where.
        why: String,
    },
}

impl ClassIndex {
    /// Compiles the schemas of `classes`. All problems at once.
    pub fn new(classes: impl IntoIterator<Item = ClassSpec>) -> Result<Self, Vec<IndexError>> {
        let (mut index, mut problems) = (Self::default(), Vec::new());
        for ClassSpec { name: raw, plugin, parameters_schema } in classes {
            let Some(class) = name::class(&raw).filter(|name| !matches!(name.as_str(), "main" | "settings"))
            else {
                problems.push(IndexError::BadName { plugin, class: raw });
                continue;
            };
            if let Some(first) = index.classes.get(&class) {
                let first = first.owner.plugin.clone();
                problems.push(IndexError::Duplicate { class, first, second: plugin });
                continue;
            }
            match Schema::new(parameters_schema) {
                Err(why) => problems.push(IndexError::Schema { plugin, class, why }),
                Ok(schema) => {
                    let owner = Owner { class: class.clone(), plugin };
                    index.classes.insert(class, Class { owner, schema });
                }
            }
        }
        // Node definitions of Puppet 2's time write names with a hyphen, which plugins have no need to know.
        for name in index.classes.keys().filter(|name| name.contains('_')) {
            let hyphenated = name.replace('_', "-");
            if !index.classes.contains_key(&hyphenated) {
                index.aliases.insert(hyphenated, name.clone());
            }
        }
        if problems.is_empty() { Ok(index) } else { Err(problems) }
    }

    /// Who provides a class, by its name or an alias.
    pub fn owner(&self, name: &str) -> Option<&Owner> {
        self.get(name).map(|class| &class.owner)
    }

    /// Every class, sorted, with who provides it.
    pub fn owners(&self) -> impl Iterator<Item = &Owner> {
        self.classes.values().map(|class| &class.owner)
    }

    pub(crate) fn get(&self, raw: &str) -> Option<&Class> {
        let name = name::class(raw)?;
        let name = self.aliases.get(&name).unwrap_or(&name);
        self.classes.get(name)
    }

    pub(crate) fn nearest(&self, raw: &str) -> Option<String> {
        let known = self.classes.keys().map(String::as_str);
        name::nearest(&raw.to_ascii_lowercase(), known).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(name: &str, plugin: &str) -> ClassSpec {
        ClassSpec { name: name.into(), plugin: plugin.into(), parameters_schema: json!({}) }
    }

    #[test]
    fn a_class_is_found_by_any_spelling_of_its_name() {
        let index = ClassIndex::new([spec("Base::login_allowed", "base"), spec("a-b", "x")]).unwrap();
        let class = |name| index.owner(name).map(|owner| owner.class.as_str());
        for name in ["base::login_allowed", "::Base::Login_allowed", "base::login-allowed"] {
            assert_eq!(class(name), Some("base::login_allowed"), "{name}");
        }
        assert_eq!(class("a-b"), Some("a-b"));
        assert_eq!(class("a_b"), None);
        assert_eq!(index.nearest("base::login_alowed").as_deref(), Some("base::login_allowed"));
    }

    #[test]
    fn every_problem_of_a_set_of_plugins_is_told_at_once() {
        // faults row 61: two plugins for one class.
        let broken = ClassSpec { parameters_schema: json!({"type": 1}), ..spec("c", "z") };
        let problems =
            ClassIndex::new([spec("a", "x"), spec("A", "y"), spec("9", "y"), spec("main", "y"), broken])
                .unwrap_err();
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 4, "{texts:#?}");
        assert_eq!(texts[0], "class a is provided by plugin x and by plugin y: remove one of them");
        assert!(
            texts[3].starts_with("plugin z: the parameter schema of class c cannot be used: "),
            "{texts:#?}"
        );
    }
}
