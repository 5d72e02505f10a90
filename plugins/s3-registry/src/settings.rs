//! What the operator can set.

use sdk::{Problem, Value, json};

/// The settings, complete.
#[derive(Debug, PartialEq, Eq)]
pub struct Settings {
    /// The store with the definitions.
    pub store: String,
    /// What the approver says of a node without a definition.
    pub missing: Missing,
    /// Whether the classifier leaves a node without a definition to the next classifier.
    pub fallback: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    Pending,
    Abstain,
}

impl Settings {
    /// Every problem at once, where there is one.
    pub fn read(settings: &Value) -> Result<Self, Vec<Problem>> {
        let mut read = Self { store: "registry".into(), missing: Missing::Pending, fallback: false };
        let Value::Object(given) = settings else {
            return Err(vec![Problem::new("", "the settings must be an object")]);
        };
        let mut problems = vec![];
        for (name, value) in given {
            let message = match (name.as_str(), value) {
                ("store", Value::String(store)) if !store.is_empty() => {
                    read.store = store.clone();
                    continue;
                }
                ("store", _) => "the name of a granted object store, such as \"registry\"",
                ("missing", Value::String(missing)) if missing == "pending" => {
                    read.missing = Missing::Pending;
                    continue;
                }
                ("missing", Value::String(missing)) if missing == "abstain" => {
                    read.missing = Missing::Abstain;
                    continue;
                }
                ("missing", _) => "\"pending\" or \"abstain\"",
                ("fallback", Value::Bool(fallback)) => {
                    read.fallback = *fallback;
                    continue;
                }
                ("fallback", _) => "true or false",
                _ => "unknown; known are store, missing and fallback",
            };
            problems.push(Problem::new(pointer(name), message));
        }
        if problems.is_empty() { Ok(read) } else { Err(problems) }
    }
}

pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "store": {
                "description": "The object store with the node definitions.",
                "type": "string", "minLength": 1, "default": "registry",
            },
            "missing": {
                "description": "What the approver says of a node without a definition: pending keeps the \
                                request, abstain asks the next approver.",
                "enum": ["pending", "abstain"], "default": "pending",
            },
            "fallback": {
                "description": "Whether the classifier leaves a node without a definition to the next \
                                classifier instead of rejecting it.",
                "type": "boolean", "default": false,
            },
        },
    })
}

/// RFC 6901, section 3.
fn pointer(key: &str) -> String {
    format!("/{}", key.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_set_is_the_default() {
        let default = Settings { store: "registry".into(), missing: Missing::Pending, fallback: false };
        assert_eq!(Settings::read(&json!({})), Ok(default));
        let all = json!({"store": "nodes", "missing": "abstain", "fallback": true});
        let expected = Settings { store: "nodes".into(), missing: Missing::Abstain, fallback: true };
        assert_eq!(Settings::read(&all), Ok(expected));
    }

    #[test]
    fn every_problem_is_named() {
        let problems =
            Settings::read(&json!({"store": "", "missing": "deny", "fallback": 1, "a/b": 2})).unwrap_err();
        let paths: Vec<_> = problems.iter().map(|p| p.path.as_str()).collect();
        assert_eq!(paths, ["/a~1b", "/fallback", "/missing", "/store"]);
        assert_eq!(Settings::read(&json!([])).unwrap_err()[0].path, "");
    }
}
