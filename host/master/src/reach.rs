//! What a plugin reaches while it decides: its grants and nothing else.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use registry::Registry;
use rollout::Grants;
use sandbox::{
    BoxFuture, ByteRange, ExportedResource, Host, HostError, Level, Listing, NodeFacts, NodePage, Object,
    ObjectInfo, ResourcePage, ResourceQuery,
};
use serde_json::{Map, Value};
use store::{ExportCursor, ExportQuery, Store};
use time::OffsetDateTime;

use crate::told::Told;

/// Rows of stored configuration in one page.
const PAGE: u32 = 1_000;
/// Objects remembered as read by one decision.
const MAX_SEEN: usize = 64;

/// Objects that a decision read, each with the version seen; `None` for one
/// that was not there.
pub type Seen = BTreeMap<String, Option<String>>;

/// The host's side of one call.
pub struct Reach {
    plugin: String,
    decision: String,
    grants: Grants,
    registry: Arc<Registry>,
    store: Option<Arc<Store>>,
    facts: Arc<Value>,
    seen: Mutex<Seen>,
    late: AtomicBool,
}

impl Reach {
    /// Gives `plugin` what it was granted, and the facts of the node in question.
    pub fn new(
        plugin: &str,
        grants: &Grants,
        decision: &str,
        registry: &Arc<Registry>,
        store: Option<Arc<Store>>,
        facts: Arc<Value>,
    ) -> Arc<Self> {
        Arc::new(Reach {
            plugin: plugin.to_owned(),
            decision: decision.to_owned(),
            grants: grants.clone(),
            registry: registry.clone(),
            store,
            facts,
            seen: Mutex::default(),
            late: AtomicBool::new(false),
        })
    }

    /// Reads an object and notes what came of it.
    async fn object(&self, key: &str) -> Result<Arc<registry::Object>, HostError> {
        // Late until it is there: the sandbox drops this future when the call's host time is used up.
        let was_late = self.late.swap(true, Ordering::Relaxed);
        let found = self.registry.get(key).await;
        let late = matches!(found, Err(registry::Error::Unavailable { timed_out: true, .. }));
        self.late.store(was_late || late, Ordering::Relaxed);
        self.note(key, &found);
        found.map_err(refused)
    }

    fn saw(&self, key: &str, version: Option<String>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() < MAX_SEEN {
            seen.insert(key.to_owned(), version);
        }
    }

    fn may_read(&self, store: &str) -> Result<(), HostError> {
        if self.grants.object_store.contains_key(store) {
            return Ok(());
        }
        Err(HostError::Denied(format!(
            "the object store {store:?} is not granted to plugin `{}`",
            self.plugin
        )))
    }

    fn stored_config(&self) -> Result<&Store, HostError> {
        if self.grants.stored_config {
            return self
                .store
                .as_deref()
                .ok_or_else(|| HostError::Unavailable("no master keeps a store here".to_owned()));
        }
        Err(HostError::Denied(format!("stored configuration is not granted to plugin `{}`", self.plugin)))
    }

    /// Notes the version of what was read, or that it was not there.
    fn note(&self, key: &str, found: &Result<Arc<registry::Object>, registry::Error>) {
        match found {
            Ok(object) => self.saw(key, object.etag.clone()),
            Err(registry::Error::NotFound { .. }) => self.saw(key, None),
            Err(_) => {}
        }
    }
}

fn refused(error: registry::Error) -> HostError {
    let text = error.to_string();
    match error {
        registry::Error::NotFound { .. } => HostError::NotFound,
        registry::Error::DeniedOrMissing { .. } => HostError::Denied(text),
        registry::Error::TooLarge { .. } => HostError::Limit(text),
        registry::Error::BadKey { .. } => HostError::Invalid(text),
        _ => HostError::Unavailable(text),
    }
}

fn down(error: store::Error) -> HostError {
    HostError::Unavailable(format!("the store does not answer: {error}"))
}

impl Told for Reach {
    fn is_late(&self) -> bool {
        self.late.load(Ordering::Relaxed)
    }

    fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn annotations(&self) -> Vec<(String, String)> {
        let stores = self.grants.object_store.keys();
        stores.map(|store| (format!("object-store.{store}"), self.registry.describe())).collect()
    }
}

impl Host for Reach {
    fn log(&self, level: Level, message: &str, fields: &[(String, String)]) {
        let (plugin, decision) = (self.plugin.as_str(), self.decision.as_str());
        let fields = fields.iter().map(|(name, value)| format!(" {name}={value:?}")).collect::<String>();
        match level {
            Level::Trace => tracing::trace!(target: "plugin", plugin, decision, "{message}{fields}"),
            Level::Debug => tracing::debug!(target: "plugin", plugin, decision, "{message}{fields}"),
            Level::Info => tracing::info!(target: "plugin", plugin, decision, "{message}{fields}"),
            Level::Warn => tracing::warn!(target: "plugin", plugin, decision, "{message}{fields}"),
            Level::Error => tracing::error!(target: "plugin", plugin, decision, "{message}{fields}"),
        }
    }

    fn fact(&self, path: &str) -> Option<Value> {
        store::fact(&self.facts, path).cloned()
    }

    fn facts(&self) -> Value {
        if self.facts.is_object() { Value::clone(&self.facts) } else { Value::Object(Map::new()) }
    }

    fn head<'a>(&'a self, store: &'a str, key: &'a str) -> BoxFuture<'a, Result<ObjectInfo, HostError>> {
        Box::pin(async move {
            self.may_read(store)?;
            self.object(key).await.map(|object| info(&object))
        })
    }

    fn get<'a>(
        &'a self,
        store: &'a str,
        key: &'a str,
        range: Option<ByteRange>,
    ) -> BoxFuture<'a, Result<Object, HostError>> {
        Box::pin(async move {
            self.may_read(store)?;
            let object = self.object(key).await?;
            let body = match range {
                None => object.body.clone(),
                Some(range) => slice(&object.body, range)?.to_vec(),
            };
            Ok(Object { info: info(&object), body })
        })
    }

    fn list<'a>(
        &'a self,
        store: &'a str,
        prefix: &'a str,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Listing, HostError>> {
        Box::pin(async move {
            self.may_read(store)?;
            let page = self.registry.list(prefix, cursor).await.map_err(refused)?;
            let objects = page.objects.into_iter().map(|o| ObjectInfo {
                key: o.key,
                size: o.size,
                etag: o.etag,
                modified: o.modified.and_then(nanoseconds),
                content_type: None,
            });
            Ok(Listing { objects: objects.collect(), prefixes: page.prefixes, next: page.next })
        })
    }

    fn exported_resources<'a>(
        &'a self,
        query: &'a ResourceQuery,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<ResourcePage, HostError>> {
        Box::pin(async move {
            let store = self.stored_config()?;
            let after = cursor.map(parse_cursor).transpose()?;
            let query = ExportQuery {
                resource_type: query.resource_type.clone(),
                title: query.title.clone(),
                tags: query.tags.clone(),
                environment: query.environment.clone(),
            };
            let rows = store.exported(&query, after.as_ref(), PAGE).await.map_err(down)?;
            let last = rows
                .last()
                .map(|(by, row)| ExportCursor { title: row.title.clone(), exported_by: by.clone() });
            let next = last.filter(|_| is_full(rows.len())).map(|c| write_cursor(&c));
            let resources = rows.into_iter().map(|(exported_by, row)| ExportedResource {
                resource_type: row.resource_type,
                title: row.title,
                exported_by,
                tags: row.tags,
                parameters: object(row.parameters),
            });
            Ok(ResourcePage { resources: resources.collect(), next })
        })
    }

    fn nodes<'a>(
        &'a self,
        equals: &'a [(String, Value)],
        select: &'a [String],
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<NodePage, HostError>> {
        Box::pin(async move {
            let store = self.stored_config()?;
            let rows = store.nodes_with(equals, select, cursor, PAGE).await.map_err(down)?;
            let next = rows.last().map(|(name, _)| name.clone()).filter(|_| is_full(rows.len()));
            let nodes = rows.into_iter().map(|(node, facts)| NodeFacts { node, facts: object(facts) });
            Ok(NodePage { nodes: nodes.collect(), next })
        })
    }
}

fn is_full(rows: usize) -> bool {
    u32::try_from(rows).is_ok_and(|n| n >= PAGE)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn info(object: &registry::Object) -> ObjectInfo {
    ObjectInfo {
        key: object.key.clone(),
        size: u64::try_from(object.body.len()).unwrap_or(u64::MAX),
        etag: object.etag.clone(),
        modified: object.modified.and_then(nanoseconds),
        content_type: object.content_type.clone(),
    }
}

fn nanoseconds(at: OffsetDateTime) -> Option<u64> {
    u64::try_from(at.unix_timestamp_nanos()).ok()
}

fn slice(body: &[u8], range: ByteRange) -> Result<&[u8], HostError> {
    let outside = || HostError::Invalid(format!("the object has {} bytes", body.len()));
    let start = usize::try_from(range.start).map_err(|_| outside())?;
    let end = usize::try_from(range.start.saturating_add(range.length)).map_err(|_| outside())?;
    body.get(start..end.min(body.len())).ok_or_else(outside)
}

/// A cursor is opaque to plugins: a JSON pair of title and exporter.
fn write_cursor(cursor: &ExportCursor) -> String {
    serde_json::json!([cursor.title, cursor.exported_by]).to_string()
}

fn parse_cursor(text: &str) -> Result<ExportCursor, HostError> {
    serde_json::from_str::<(String, String)>(text)
        .map(|(title, exported_by)| ExportCursor { title, exported_by })
        .map_err(|_| HostError::Invalid("this cursor is not from the last page".to_owned()))
}

#[cfg(test)]
mod tests {
    use rollout::StoreGrant;

    use super::*;

    /// A registry with the node `n1`, and what a plugin with these grants reaches of it.
    async fn reach(grants: Grants) -> (tempfile::TempDir, Arc<Reach>) {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("dir:{}", folder.path().join("registry").display()).parse().unwrap();
        let registry = Arc::new(Registry::open(&registry::Settings::new(url)).await.unwrap());
        registry.put("n1", b"classes: []\n", true).await.unwrap();
        let store = Some(Arc::new(Store::open(&folder.path().join("db")).await.unwrap()));
        let reach = Reach::new("p", &grants, "d", &registry, store, Arc::new(Value::Null));
        (folder, reach)
    }

    fn all_types() -> ResourceQuery {
        ResourceQuery { resource_type: "Any".into(), title: None, tags: vec![], environment: None }
    }

    #[tokio::test]
    async fn a_plugin_without_grants_reaches_nothing() {
        let (_folder, reach) = reach(Grants::default()).await;
        let denied = |error: HostError| assert!(matches!(error, HostError::Denied(_)), "{error}");
        denied(reach.get("registry", "n1", None).await.unwrap_err());
        denied(reach.head("registry", "n1").await.unwrap_err());
        denied(reach.list("registry", "", None).await.unwrap_err());
        denied(reach.exported_resources(&all_types(), None).await.unwrap_err());
        denied(reach.nodes(&[], &[], None).await.unwrap_err());
        assert_eq!(reach.seen(), Seen::new());
    }

    #[tokio::test]
    async fn a_grant_opens_what_it_names_and_nothing_else() {
        let object_store = [("registry".to_owned(), StoreGrant::default())].into();
        let grants = Grants { object_store, ..Grants::default() };
        let (_folder, reach) = reach(grants).await;
        assert_eq!(reach.get("registry", "n1", None).await.unwrap().body, b"classes: []\n");
        assert!(matches!(reach.get("registry", "n2", None).await, Err(HostError::NotFound)));
        assert!(matches!(reach.get("registry", "../db", None).await, Err(HostError::Invalid(_))));
        assert!(matches!(reach.get("other", "n1", None).await, Err(HostError::Denied(_))));
        assert!(matches!(reach.nodes(&[], &[], None).await, Err(HostError::Denied(_))));
        let seen = reach.seen();
        assert_eq!(seen.keys().collect::<Vec<_>>(), ["n1", "n2"]);
        assert!(seen["n1"].is_some() && seen["n2"].is_none());
    }

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        let cursor = ExportCursor { title: "a \"b\"".into(), exported_by: "n1".into() };
        assert_eq!(parse_cursor(&write_cursor(&cursor)).unwrap(), cursor);
        assert!(matches!(parse_cursor("x"), Err(HostError::Invalid(_))));
    }

    #[test]
    fn a_range_never_leaves_the_object() {
        let range = |start, length| ByteRange { start, length };
        assert_eq!(slice(b"hello", range(1, 3)).unwrap(), b"ell");
        assert_eq!(slice(b"hello", range(3, 99)).unwrap(), b"lo");
        assert!(slice(b"hello", range(6, 1)).is_err());
        assert!(slice(b"hello", range(u64::MAX, u64::MAX)).is_err());
    }
}
