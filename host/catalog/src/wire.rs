//! The catalog as the agent reads it.

use std::{fmt, sync::Arc};

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

/// The format that agents 5 and later read. From it on a resource's [`Kind`] counts.
const FORMAT: u8 = 2;

/// A whole catalog, checked. Its parameters hold secrets in clear, as the agent needs them.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// The node's certname.
    pub certname: String,
    /// Must be the environment that the agent asked for, else it starts over with this one.
    pub environment: String,
    /// Shown in reports as `configuration_version`; none in an empty shell.
    pub version: Option<String>,
    /// Names this catalog in reports; none is null, which agents take.
    pub catalog_uuid: Option<String>,
    /// Every class's name, its segments and tags.
    pub tags: Vec<Arc<str>>,
    /// Every class, `settings` first.
    pub classes: Vec<Arc<str>>,
    /// In the order in which the agent applies them where nothing else orders them.
    pub resources: Vec<Resource>,
    /// What contains what.
    pub edges: Vec<Edge>,
}

/// One resource of a catalog.
#[derive(Clone, PartialEq)]
pub struct Resource {
    /// Capitalised, such as `File`.
    pub resource_type: String,
    /// The title as it was given; a class's name capitalised.
    pub title: String,
    /// Lower case words.
    pub tags: Vec<Arc<str>>,
    /// Without it an agent of format 2 applies nothing, and says nothing.
    pub kind: Kind,
    /// In the order given, each once, none null.
    pub parameters: Vec<(String, Value)>,
    /// Which of the parameters are secret.
    pub sensitive_parameters: Vec<String>,
}

/// What the agent takes a resource for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A type of the agent: it is applied.
    CompilableType,
    /// A class: it only contains.
    Class,
    /// A class that the language brings along.
    Unknown,
}

/// Containment: the source contains the target. Both are references, `Type[title]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// What contains.
    pub source: Arc<str>,
    /// What is contained.
    pub target: Arc<str>,
}

impl Catalog {
    /// A catalog of nothing, which sends an agent that asked for another environment to this one.
    pub fn empty_shell(certname: impl Into<String>, environment: impl Into<String>) -> Self {
        Self {
            certname: certname.into(),
            environment: environment.into(),
            version: None,
            catalog_uuid: None,
            tags: Vec::new(),
            classes: Vec::new(),
            resources: Vec::new(),
            edges: Vec::new(),
        }
    }

    /// The JSON for the agent.
    pub fn to_json(&self) -> Vec<u8> {
        self.write(self.version.as_deref(), self.catalog_uuid.as_deref())
    }

    /// The JSON without version and UUID: the same bytes for as long as nothing of the catalog changes, and
    /// so what a version can be made of. It holds secrets in clear.
    pub fn content(&self) -> Vec<u8> {
        self.write(None, None)
    }

    fn write(&self, version: Option<&str>, catalog_uuid: Option<&str>) -> Vec<u8> {
        let document = Document {
            tags: Texts(&self.tags),
            name: &self.certname,
            version,
            code_id: None,
            catalog_uuid,
            catalog_format: FORMAT,
            environment: &self.environment,
            resources: &self.resources,
            edges: &self.edges,
            classes: Texts(&self.classes),
        };
        let mut json = Vec::with_capacity(1024 + 512 * self.resources.len());
        #[expect(clippy::expect_used, reason = "every key is a string and the writer is memory")]
        serde_json::to_writer(&mut json, &document).expect("a catalog is JSON");
        json
    }
}

/// The fields in puppetserver's order.
#[derive(Serialize)]
struct Document<'a> {
    tags: Texts<'a>,
    name: &'a str,
    version: Option<&'a str>,
    /// Never set: a code id makes a catalog static, and agents then fetch files elsewhere.
    code_id: Option<&'a str>,
    catalog_uuid: Option<&'a str>,
    catalog_format: u8,
    environment: &'a str,
    resources: &'a [Resource],
    edges: &'a [Edge],
    classes: Texts<'a>,
}

struct Texts<'a>(&'a [Arc<str>]);

impl Serialize for Texts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|text| &**text))
    }
}

impl Serialize for Resource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &self.resource_type)?;
        map.serialize_entry("title", &self.title)?;
        map.serialize_entry("tags", &Texts(&self.tags))?;
        map.serialize_entry("exported", &false)?;
        map.serialize_entry("kind", &self.kind)?;
        if !self.parameters.is_empty() {
            map.serialize_entry("parameters", &Parameters(&self.parameters))?;
        }
        if !self.sensitive_parameters.is_empty() {
            map.serialize_entry("sensitive_parameters", &self.sensitive_parameters)?;
        }
        map.end()
    }
}

struct Parameters<'a>(&'a [(String, Value)]);

impl Serialize for Parameters<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Serialize for Edge {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([("source", &*self.source), ("target", &*self.target)])
    }
}

impl fmt::Debug for Resource {
    /// Without the values of secret parameters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        map.entry(&self.resource_type, &self.title);
        for (name, value) in &self.parameters {
            match self.sensitive_parameters.contains(name) {
                true => map.entry(name, &"(sensitive)"),
                false => map.entry(name, value),
            };
        }
        map.finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_empty_shell_is_what_puppetserver_answers_for_another_environment() {
        let mut shell = Catalog::empty_shell("agent1.peer.test", "dev");
        shell.catalog_uuid = Some("dcc5e0aa-6163-463a-9ddb-6373615bd13d".into());
        // Recording 09-enc-environment-override, exchange 3.
        let recorded = json!({
            "tags": [], "name": "agent1.peer.test", "version": null, "code_id": null,
            "catalog_uuid": "dcc5e0aa-6163-463a-9ddb-6373615bd13d", "catalog_format": 2, "environment": "dev",
            "resources": [], "edges": [], "classes": []
        });
        assert_eq!(serde_json::from_slice::<Value>(&shell.to_json()).unwrap(), recorded);
    }

    #[test]
    fn a_secret_is_on_the_wire_and_not_in_debug_output() {
        let resource = Resource {
            resource_type: "File".into(),
            title: "/s".into(),
            tags: vec![],
            kind: Kind::CompilableType,
            parameters: vec![("content".into(), json!("hunter2")), ("mode".into(), json!("0600"))],
            sensitive_parameters: vec!["content".into()],
        };
        let wire = serde_json::to_value(&resource).unwrap();
        assert_eq!(
            wire,
            json!({"type": "File", "title": "/s", "tags": [], "exported": false, "kind": "compilable_type",
                "parameters": {"content": "hunter2", "mode": "0600"}, "sensitive_parameters": ["content"]})
        );
        let shown = format!("{resource:?}");
        assert!(!shown.contains("hunter2") && shown.contains("0600"), "{shown}");
    }
}
