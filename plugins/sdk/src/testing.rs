//! A stand-in for the host, for native tests of plugins.
//!
//! ```
//! use sdk::{json, testing::FakeHost};
//!
//! let host = FakeHost::new().fact("os.family", "Debian").settings(json!({"strict": true}));
//! let call = host.call();
//! assert_eq!(call.fact("os.family"), Some(json!("Debian")));
//! assert_eq!(call.fact("os.name"), None);
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::call::{Host, Page};
use crate::{
    Call, ExportedResource, HostError, Level, Listing, Map, Mode, NodeFacts, Object, ObjectInfo,
    ResourceQuery, Value, json,
};

/// Items of a page, so that tests of three items already follow a cursor.
const PAGE: usize = 2;

/// A host whose answers a test has written down.
pub struct FakeHost {
    settings: Value,
    annotations: Vec<(String, String)>,
    now: u64,
    mode: Mode,
    facts: Value,
    objects: BTreeMap<(String, String), Result<Vec<u8>, HostError>>,
    exported: Vec<(String, ExportedResource)>,
    nodes: BTreeMap<String, Value>,
    logs: RefCell<Vec<LogLine>>,
}

/// A line a plugin has logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How important it is.
    pub level: Level,
    /// The line.
    pub message: String,
    /// Its fields.
    pub fields: Vec<(String, String)>,
}

impl Default for FakeHost {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeHost {
    /// A host with nothing in it, at 2026-01-01T00:00:00Z.
    pub fn new() -> Self {
        Self {
            settings: json!({}),
            annotations: vec![],
            now: 1_767_225_600_000_000_000,
            mode: Mode::Enforce,
            facts: json!({}),
            objects: BTreeMap::new(),
            exported: vec![],
            nodes: BTreeMap::new(),
            logs: RefCell::default(),
        }
    }

    /// Sets the plugin's settings.
    #[must_use]
    pub fn settings(mut self, settings: Value) -> Self {
        self.settings = settings;
        self
    }

    /// Adds an annotation of the call, such as `object-store.registry`.
    #[must_use]
    pub fn annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.annotations.push((key.into(), value.into()));
        self
    }

    /// Sets the call's instant, in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn now(mut self, now: u64) -> Self {
        self.now = now;
        self
    }

    /// Sets the call's mode.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets the node's fact at a dotted path.
    #[must_use]
    pub fn fact(mut self, path: &str, value: impl Into<Value>) -> Self {
        let mut at = &mut self.facts;
        for part in path.split('.') {
            if !at.is_object() {
                *at = json!({});
            }
            let Value::Object(map) = at else { unreachable!("it was just made an object") };
            at = map.entry(part).or_insert(Value::Null);
        }
        *at = value.into();
        self
    }

    /// Puts an object into a store. A store is granted once it holds an object or an error.
    #[must_use]
    pub fn object(mut self, store: &str, key: &str, body: impl Into<Vec<u8>>) -> Self {
        self.objects.insert((store.into(), key.into()), Ok(body.into()));
        self
    }

    /// Makes every access to an object fail.
    #[must_use]
    pub fn object_error(mut self, store: &str, key: &str, error: HostError) -> Self {
        self.objects.insert((store.into(), key.into()), Err(error));
        self
    }

    /// Adds a resource that some node has exported from environment `production`.
    #[must_use]
    pub fn exported(self, resource: ExportedResource) -> Self {
        self.exported_from("production", resource)
    }

    /// Adds a resource that some node has exported from an environment.
    #[must_use]
    pub fn exported_from(mut self, environment: &str, resource: ExportedResource) -> Self {
        self.exported.push((environment.into(), resource));
        self
    }

    /// Adds a node and its last facts.
    #[must_use]
    pub fn node(mut self, certname: &str, facts: Value) -> Self {
        self.nodes.insert(certname.into(), facts);
        self
    }

    /// A call to hand to the plugin.
    pub fn call(&self) -> Call<'_> {
        Call {
            decision_id: "test".into(),
            mode: self.mode,
            now: self.now,
            settings: self.settings.clone(),
            annotations: self.annotations.clone(),
            host: self,
        }
    }

    /// What was logged so far.
    pub fn logs(&self) -> Vec<LogLine> {
        self.logs.borrow().clone()
    }

    /// What was logged so far, a line each: `debug Checking node1`.
    pub fn log_text(&self) -> Vec<String> {
        let level = |level| format!("{level:?}").to_lowercase();
        self.logs.borrow().iter().map(|l| format!("{} {}", level(l.level), l.message)).collect()
    }
}

impl Host for FakeHost {
    fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
        let fields = fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.logs.borrow_mut().push(LogLine { level, message: message.into(), fields });
    }

    fn remaining(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn fact(&self, path: &str) -> Option<Value> {
        lookup(&self.facts, path).cloned()
    }

    fn facts(&self) -> Value {
        self.facts.clone()
    }

    fn head_object(&self, store: &str, key: &str) -> Result<ObjectInfo, HostError> {
        self.get_object(store, key, None).map(|object| object.info)
    }

    fn get_object(&self, store: &str, key: &str, range: Option<(u64, u64)>) -> Result<Object, HostError> {
        let whole = match self.objects.get(&(store.into(), key.into())) {
            Some(known) => known.clone()?,
            None => return Err(HostError::NotFound),
        };
        let size = u64::try_from(whole.len()).unwrap_or(u64::MAX);
        let info = ObjectInfo { key: key.into(), size, ..ObjectInfo::default() };
        let body = match range {
            None => whole,
            Some((start, length)) => {
                let index = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
                whole.into_iter().skip(index(start)).take(index(length)).collect()
            }
        };
        Ok(Object { info, body })
    }

    fn list_objects(&self, store: &str, prefix: &str, cursor: Option<&str>) -> Result<Listing, HostError> {
        let keys: Vec<&str> = self
            .objects
            .iter()
            .filter(|((s, key), body)| s == store && key.starts_with(prefix) && body.is_ok())
            .map(|((_, key), _)| key.as_str())
            .collect();
        let (keys, next) = page(keys, cursor);
        let objects =
            keys.into_iter().map(|key| self.head_object(store, key)).collect::<Result<Vec<_>, _>>()?;
        Ok(Listing { objects, prefixes: vec![], next })
    }

    fn exported_resources(
        &self,
        query: &ResourceQuery,
        cursor: Option<&str>,
    ) -> Result<Page<ExportedResource>, HostError> {
        let mut found: Vec<_> = self
            .exported
            .iter()
            .filter(|(environment, r)| {
                r.resource_type == query.resource_type
                    && query.title.as_ref().is_none_or(|title| *title == r.title)
                    && query.tags.iter().all(|tag| r.tags.contains(tag))
                    && query.environment.as_ref().is_none_or(|wanted| wanted == environment)
            })
            .map(|(_, resource)| resource.clone())
            .collect();
        found.sort_by(|a, b| (&a.title, &a.exported_by).cmp(&(&b.title, &b.exported_by)));
        Ok(page(found, cursor))
    }

    fn nodes(
        &self,
        equals: &[(&str, Value)],
        select: &[&str],
        cursor: Option<&str>,
    ) -> Result<Page<NodeFacts>, HostError> {
        let found = self
            .nodes
            .iter()
            .filter(|(_, facts)| equals.iter().all(|(path, value)| lookup(facts, path) == Some(value)))
            .map(|(node, facts)| NodeFacts {
                node: node.clone(),
                facts: select
                    .iter()
                    .filter_map(|path| Some(((*path).to_owned(), lookup(facts, path)?.clone())))
                    .collect::<Map>(),
            })
            .collect();
        Ok(page(found, cursor))
    }
}

fn lookup<'a>(facts: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(facts, |at, part| at.get(part))
}

/// The cursor is the number of items already given.
fn page<T>(items: Vec<T>, cursor: Option<&str>) -> Page<T> {
    let start = cursor.and_then(|c| c.parse::<usize>().ok()).unwrap_or(0);
    let end = start.saturating_add(PAGE);
    let next = (items.len() > end).then(|| end.to_string());
    (items.into_iter().skip(start).take(PAGE).collect(), next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_of_exported_resources_is_followed() {
        let host = (0..5).fold(FakeHost::new(), |host, n| {
            host.exported(ExportedResource {
                resource_type: "Hadoop::Address".into(),
                title: format!("node{n}"),
                tags: vec!["cluster".into()],
                ..ExportedResource::default()
            })
        });
        let all = host.call().exported(&ResourceQuery::new("Hadoop::Address").tag("cluster")).unwrap();
        assert_eq!(all.len(), 5);
        assert_eq!(all[4].title, "node4");
        let elsewhere = ResourceQuery::new("Hadoop::Address").environment("test");
        assert_eq!(host.call().exported(&elsewhere).unwrap(), []);
    }

    #[test]
    fn nodes_are_selected_by_their_facts() {
        let host = ["a", "b", "c"].into_iter().fold(FakeHost::new(), |host, name| {
            host.node(name, json!({"role": if name == "b" { "x" } else { "y" }, "n": {"ip": name}}))
        });
        let found = host.call().nodes(&[("role", json!("y"))], &["n.ip", "absent"]).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].node, "c");
        assert_eq!(Value::Object(found[1].facts.clone()), json!({"n.ip": "c"}));
    }

    #[test]
    fn objects_can_be_there_missing_or_refused() {
        let host =
            FakeHost::new().object("s", "a", "hello").object_error("s", "b", HostError::Denied("no".into()));
        let call = host.call();
        assert_eq!(call.object("s", "a").unwrap().body, b"hello");
        assert_eq!(call.object_range("s", "a", 1, 2).unwrap().body, b"el");
        assert_eq!(call.head_object("s", "b"), Err(HostError::Denied("no".into())));
        assert_eq!(call.object("s", "c"), Err(HostError::NotFound));
        assert_eq!(call.list_objects("s", "", None).unwrap().objects.len(), 1);
    }
}
