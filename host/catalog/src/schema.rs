//! A class's JSON Schema: completes parameters with their defaults, then checks them.

use std::fmt;

use jsonschema::{PatternOptions, ValidationError, Validator, error::ValidationErrorKind};
use serde_json::Value;

use crate::{Map, name};

/// How deep defaults within defaults go. Only a schema that refers to itself gets there.
const DEFAULTS_DEPTH: usize = 16;

/// What is wrong with one parameter. It never holds a value, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The parameter, with the path below it, such as `ports/namenode`; empty for all of them together.
    pub parameter: String,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parameter.is_empty() {
            true => f.write_str(&self.message),
            false => write!(f, "parameter {:?}: {}", self.parameter, self.message),
        }
    }
}

/// A schema, compiled once.
#[derive(Debug)]
pub struct Schema {
    document: Value,
    validator: Validator,
    /// The parameters that the schema marks `writeOnly` or `format: password`, sorted.
    pub secrets: Vec<String>,
}

impl Schema {
    /// Compiles `document`. It may refer to itself and to nothing else; patterns are matched in linear time.
    pub fn new(document: Value) -> Result<Self, String> {
        if !document.is_object() {
            return Err("the schema is not an object".into());
        }
        let validator = jsonschema::options()
            .offline()
            .with_pattern_options(PatternOptions::regex())
            .should_validate_formats(true)
            .build(&document)
            .map_err(|error| format!("{error} at {:?}", error.instance_path().as_str()))?;
        let secrets = match document.get("properties") {
            Some(Value::Object(properties)) => properties
                .iter()
                .filter(|(_, schema)| schema["writeOnly"] == true || schema["format"] == "password")
                .map(|(name, _)| name.clone())
                .collect(),
            _ => Vec::new(),
        };
        Ok(Self { document, validator, secrets })
    }

    /// Parameters with the schema's defaults where they say nothing, or every problem that they have.
    ///
    /// An absent object stays absent unless it has a default, be it `{}`, which is then completed too:
    /// that an object is there may mean something of its own.
    pub fn complete(&self, parameters: Map) -> Result<Map, Vec<Problem>> {
        let mut parameters = Value::Object(parameters);
        fill(&self.document, &self.document, &mut parameters, 0);
        let mut problems: Vec<Problem> = match self.validator.is_valid(&parameters) {
            true => Vec::new(),
            false => {
                self.validator.iter_errors(&parameters).flat_map(|error| self.problems(&error)).collect()
            }
        };
        problems.sort();
        problems.dedup();
        match parameters {
            Value::Object(parameters) if problems.is_empty() => Ok(parameters),
            _ => Err(problems),
        }
    }

    fn problems(&self, error: &ValidationError<'_>) -> Vec<Problem> {
        let path = error.instance_path().as_str().trim_start_matches('/');
        let below = |name: &str| match path.is_empty() {
            true => name.to_owned(),
            false => format!("{path}/{name}"),
        };
        match error.kind() {
            ValidationErrorKind::Required { property: Value::String(name) } => {
                vec![Problem { parameter: below(name), message: "is missing".into() }]
            }
            ValidationErrorKind::AdditionalProperties { unexpected }
            | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
                let known = self.properties_at(path);
                let message = |name: &str| match name::nearest(name, known.iter().copied()) {
                    Some(near) => format!("there is no such parameter; did you mean {near:?}?"),
                    None if known.is_empty() => "there is no such parameter".into(),
                    None => format!("there is no such parameter, only {}", known.join(", ")),
                };
                let problem = |name: &String| Problem { parameter: below(name), message: message(name) };
                unexpected.iter().map(problem).collect()
            }
            _ => vec![Problem { parameter: path.into(), message: one_line(&error.masked().to_string()) }],
        }
    }

    /// The names that the schema knows at a path of a parameter document.
    fn properties_at(&self, path: &str) -> Vec<&str> {
        let mut schema = resolve(&self.document, &self.document);
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            let next = schema
                .get("properties")
                .and_then(|properties| properties.get(segment))
                .or_else(|| schema.get("additionalProperties"))
                .or_else(|| schema.get("items"));
            let Some(next) = next else { return Vec::new() };
            schema = resolve(&self.document, next);
        }
        match schema.get("properties") {
            Some(Value::Object(properties)) => properties.keys().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }
}

fn fill(document: &Value, schema: &Value, value: &mut Value, depth: usize) {
    if depth > DEFAULTS_DEPTH {
        return;
    }
    let schema = resolve(document, schema);
    match value {
        Value::Object(object) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            for (name, property) in properties.into_iter().flatten() {
                let property = resolve(document, property);
                if !object.contains_key(name)
                    && let Some(default) = property.get("default")
                    && !default.is_null()
                {
                    object.insert(name.clone(), default.clone());
                }
                if let Some(inner) = object.get_mut(name) {
                    fill(document, property, inner, depth + 1);
                }
            }
            if let Some(others @ Value::Object(_)) = schema.get("additionalProperties") {
                let is_other = |name: &str| properties.is_none_or(|known| !known.contains_key(name));
                for (_, inner) in object.iter_mut().filter(|(name, _)| is_other(name)) {
                    fill(document, others, inner, depth + 1);
                }
            }
        }
        Value::Array(values) => {
            if let Some(items) = schema.get("items") {
                values.iter_mut().for_each(|inner| fill(document, items, inner, depth + 1));
            }
        }
        _ => {}
    }
}

/// Follows `$ref: "#/…"`; a default beside the reference counts before the one behind it.
fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let mut schema = schema;
    for _ in 0..DEFAULTS_DEPTH {
        let Some(pointer) = schema.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix('#'))
        else {
            break;
        };
        match document.pointer(pointer) {
            Some(target) if schema.get("default").is_none() => schema = target,
            _ => break,
        }
    }
    schema
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn complete(schema: Value, parameters: Value) -> Result<Value, String> {
        let Value::Object(parameters) = parameters else { panic!("not an object") };
        let list =
            |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        Schema::new(schema).unwrap().complete(parameters).map(Value::Object).map_err(list)
    }

    fn hadoop() -> Value {
        json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["role"],
            "properties": {
                "role": {"type": "string"},
                "distribution": {"enum": ["cdh3", "apache3"], "default": "cdh3"},
                "ports": {
                    "type": "object",
                    "default": {},
                    "additionalProperties": false,
                    "properties": {"namenode": {"type": "integer", "default": 8200}, "http": {"type": "integer"}}
                },
                "tls": {"type": "object", "properties": {"port": {"default": 443}}},
                "disks": {"type": "array", "items": {"$ref": "#/$defs/disk"}},
                "users": {"type": "object", "additionalProperties": {"$ref": "#/$defs/user"}},
                "token": {"type": "string", "minLength": 20, "writeOnly": true}
            },
            "$defs": {
                "disk": {"properties": {"fs": {"default": "ext4"}}},
                "user": {"properties": {"shell": {"default": "/bin/sh"}}}
            }
        })
    }

    #[test]
    fn defaults_are_filled_in_at_every_depth() {
        let given = json!({"role": "w", "disks": [{}, {"fs": "xfs"}], "users": {"a": {}}});
        let expected = json!({
            "role": "w", "distribution": "cdh3", "ports": {"namenode": 8200},
            "disks": [{"fs": "ext4"}, {"fs": "xfs"}], "users": {"a": {"shell": "/bin/sh"}}
        });
        assert_eq!(complete(hadoop(), given), Ok(expected));
        let given = json!({"role": "w", "distribution": "apache3", "ports": {"http": 1}, "tls": {}});
        let expected = json!({
            "role": "w", "distribution": "apache3", "ports": {"namenode": 8200, "http": 1}, "tls": {"port": 443}
        });
        assert_eq!(complete(hadoop(), given), Ok(expected));
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {
            "a": {"default": {}, "properties": {"a": {"$ref": "#/$defs/a"}}}, "b": {"$ref": "#/$defs/b"}
        }});
        assert!(complete(schema, json!({})).is_ok());
    }

    #[test]
    fn every_problem_is_told_at_once_and_a_misspelt_name_with_the_right_one() {
        let given =
            json!({"distributoin": "cdh3", "ports": {"namenode": "8200", "htpt": 1}, "disks": 3, "zz": 1});
        let text = "parameter \"disks\": value is not of type \"array\"\n\
            parameter \"distributoin\": there is no such parameter; did you mean \"distribution\"?\n\
            parameter \"ports/htpt\": there is no such parameter; did you mean \"http\"?\n\
            parameter \"ports/namenode\": value is not of type \"integer\"\n\
            parameter \"role\": is missing\n\
            parameter \"zz\": there is no such parameter, only disks, distribution, ports, role, tls, token, users";
        assert_eq!(complete(hadoop(), given), Err(text.into()));
    }

    #[test]
    fn a_problem_never_shows_the_value() {
        for given in
            [json!({"role": "w", "token": "hunter2"}), json!({"role": ["hunter2"], "ports": "hunter2"})]
        {
            let problems = complete(hadoop(), given).unwrap_err();
            assert!(!problems.contains("hunter2"), "{problems}");
        }
    }

    #[test]
    fn a_schema_reaches_nothing_outside_itself_and_has_no_slow_patterns() {
        for bad in [
            json!(true),
            json!({"type": "no-such-type"}),
            json!({"$ref": "https://example.com/schema.json"}),
            json!({"$ref": "file:///etc/passwd"}),
            json!({"pattern": "(a)\\1"}),
        ] {
            assert!(Schema::new(bad.clone()).is_err(), "{bad}");
        }
    }
}
