//! What a plugin reaches while it decides: its grants and nothing else.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use outgoing::{Outgoing, Refused};
use registry::Registry;
use rollout::{Grants, StoreGrant};
use sandbox::{
    BoxFuture, ByteRange, ExportedResource, Host, HostError, HttpRequest, HttpResponse, Level, Listing,
    NodeFacts, NodePage, Object, ObjectInfo, ResourcePage, ResourceQuery,
};
use serde_json::{Map, Value};
use store::{ExportCursor, ExportQuery, Store};
use time::OffsetDateTime;

use crate::told::Told;

/// Rows of stored configuration in one page.
const PAGE: u32 = 1_000;
/// Objects remembered as read by one decision.
const MAX_SEEN: usize = 64;

/// The store that is always there: node definitions.
pub const REGISTRY: &str = "registry";

/// Object stores by the names that grants have for them, [`REGISTRY`] among them.
pub type Stores = BTreeMap<String, Arc<Registry>>;

/// Objects that a decision read, each with the version seen; `None` for one
/// that was not there. Those of other stores than the registry are written `//STORE/KEY`.
pub type Seen = BTreeMap<String, Option<String>>;

/// The store and the key of an object that was seen.
pub(crate) fn seen_in<'s, 'k>(stores: &'s Stores, seen: &'k str) -> Option<(&'s Registry, &'k str)> {
    // No key starts with a slash.
    let (store, key) = match seen.strip_prefix("//") {
        Some(rest) => rest.split_once('/')?,
        None => (REGISTRY, seen),
    };
    stores.get(store).map(|store| (store.as_ref(), key))
}

/// What a call has had of a store.
#[derive(Clone, Copy, Default)]
struct Spent {
    calls: u32,
    bytes: u64,
}

/// The host's side of one call.
pub struct Reach {
    plugin: String,
    decision: String,
    grants: Grants,
    stores: Stores,
    outgoing: Arc<Outgoing>,
    store: Option<Arc<Store>>,
    facts: Arc<Value>,
    spent: Mutex<BTreeMap<String, Spent>>,
    seen: Mutex<Seen>,
    late: AtomicBool,
}

impl Reach {
    /// Gives `plugin` what it was granted, and the facts of the node in question.
    pub fn new(
        plugin: &str,
        grants: &Grants,
        decision: &str,
        stores: &Stores,
        outgoing: &Arc<Outgoing>,
        store: Option<Arc<Store>>,
        facts: Arc<Value>,
    ) -> Arc<Self> {
        Arc::new(Reach {
            plugin: plugin.to_owned(),
            decision: decision.to_owned(),
            grants: grants.clone(),
            stores: stores.clone(),
            outgoing: outgoing.clone(),
            store,
            facts,
            spent: Mutex::default(),
            seen: Mutex::default(),
            late: AtomicBool::new(false),
        })
    }

    /// Waits for an answer from elsewhere. Until it is there the call is late: the sandbox drops this
    /// future when the call's host time is used up.
    async fn timed<T, E>(
        &self,
        answer: impl Future<Output = Result<T, E>>,
        is_late: impl Fn(&E) -> bool,
    ) -> Result<T, E> {
        let was_late = self.late.swap(true, Ordering::Relaxed);
        let answer = answer.await;
        let late = answer.as_ref().err().is_some_and(is_late);
        self.late.store(was_late || late, Ordering::Relaxed);
        answer
    }

    /// Reads an object and notes what came of it.
    async fn object(&self, store: &str, key: &str) -> Result<Arc<registry::Object>, HostError> {
        let (objects, grant) = self.granted(store)?;
        if !key.starts_with(&grant.prefix) {
            return Err(HostError::Denied(format!(
                "of the object store {store:?} only keys that start with {:?} are granted to plugin `{}`",
                grant.prefix, self.plugin
            )));
        }
        self.count(store, grant)?;
        let found = self.timed(objects.get(key), is_late).await;
        self.note(store, key, &found);
        found.map_err(refused)
    }

    fn saw(&self, key: String, version: Option<String>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() < MAX_SEEN {
            seen.insert(key, version);
        }
    }

    /// The store of a name and what of it is granted.
    fn granted(&self, store: &str) -> Result<(&Registry, &StoreGrant), HostError> {
        let Some(grant) = self.grants.object_store.get(store) else {
            let plugin = &self.plugin;
            let message = format!("the object store {store:?} is not granted to plugin `{plugin}`");
            return Err(HostError::Denied(message));
        };
        let objects = self.stores.get(store);
        let objects = objects
            .ok_or_else(|| HostError::Unavailable(format!("there is no object store {store:?} here")))?;
        Ok((objects.as_ref(), grant))
    }

    /// Takes one question from a store's budget.
    fn count(&self, store: &str, grant: &StoreGrant) -> Result<(), HostError> {
        self.spend(store, |spent| {
            if spent.calls >= grant.max_calls {
                return Err(format!("{} questions", grant.max_calls));
            }
            spent.calls += 1;
            Ok(())
        })
    }

    /// Takes the bytes of a body from a store's budget.
    fn weigh(&self, store: &str, bytes: usize) -> Result<(), HostError> {
        let (_, grant) = self.granted(store)?;
        self.spend(store, |spent| {
            let sum = u64::try_from(bytes).ok().and_then(|bytes| spent.bytes.checked_add(bytes));
            match sum.filter(|sum| *sum <= grant.max_bytes) {
                Some(sum) => {
                    spent.bytes = sum;
                    Ok(())
                }
                None => Err(format!("{} bytes", grant.max_bytes)),
            }
        })
    }

    fn spend(
        &self,
        store: &str,
        take: impl FnOnce(&mut Spent) -> Result<(), String>,
    ) -> Result<(), HostError> {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        take(spent.entry(store.to_owned()).or_default()).map_err(|most| {
            HostError::Limit(format!(
                "one call of plugin `{}` may have {most} of the object store {store:?}, and no more",
                self.plugin
            ))
        })
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
    fn note(&self, store: &str, key: &str, found: &Result<Arc<registry::Object>, registry::Error>) {
        let key = if store == REGISTRY { key.to_owned() } else { format!("//{store}/{key}") };
        match found {
            Ok(object) => self.saw(key, object.etag.clone()),
            Err(registry::Error::NotFound { .. }) => self.saw(key, None),
            Err(_) => {}
        }
    }
}

fn is_late(error: &registry::Error) -> bool {
    matches!(error, registry::Error::Unavailable { timed_out: true, .. })
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

/// Why there is no answer, as far as it concerns the plugin; what concerns the operator is logged.
fn unanswered(plugin: &str, refused: &Refused) -> HostError {
    let text = refused.to_string();
    match refused {
        Refused::NotGranted { .. } => HostError::Denied(text),
        Refused::Address { .. } => {
            tracing::warn!(plugin, "a request of a plugin is not sent: {text}");
            HostError::Denied(text)
        }
        Refused::Invalid(_) => HostError::Invalid(text),
        Refused::TooLarge { .. } => HostError::Limit(text),
        Refused::Credential { origin, .. } | Refused::Roots { origin, .. } => {
            tracing::error!(plugin, "a request of a plugin is not sent: {text}");
            let reason = "what is granted with it cannot be used, and the master's log says why";
            HostError::Unavailable(format!("{origin} was not asked: {reason}"))
        }
        Refused::Unavailable { .. } | Refused::Late { .. } => HostError::Unavailable(text),
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
        let granted = self.grants.object_store.keys();
        let stores = granted.filter_map(|name| Some((name, self.stores.get(name)?)));
        stores.map(|(name, store)| (format!("object-store.{name}"), store.describe())).collect()
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
        Box::pin(async move { self.object(store, key).await.map(|object| info(&object)) })
    }

    fn get<'a>(
        &'a self,
        store: &'a str,
        key: &'a str,
        range: Option<ByteRange>,
    ) -> BoxFuture<'a, Result<Object, HostError>> {
        Box::pin(async move {
            let object = self.object(store, key).await?;
            let body = match range {
                None => &object.body,
                Some(range) => slice(&object.body, range)?,
            };
            self.weigh(store, body.len())?;
            Ok(Object { info: info(&object), body: body.to_vec() })
        })
    }

    fn list<'a>(
        &'a self,
        store: &'a str,
        prefix: &'a str,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Listing, HostError>> {
        Box::pin(async move {
            let (objects, grant) = self.granted(store)?;
            // What lies outside of the grant is not there.
            let prefix = if grant.prefix.starts_with(prefix) { &grant.prefix } else { prefix };
            if !prefix.starts_with(&grant.prefix) {
                return Ok(Listing::default());
            }
            self.count(store, grant)?;
            let page = self.timed(objects.list(prefix, cursor), is_late).await.map_err(refused)?;
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

    fn http<'a>(&'a self, request: &'a HttpRequest) -> BoxFuture<'a, Result<HttpResponse, HostError>> {
        Box::pin(async move {
            let HttpRequest { method, url, headers, body } = request.clone();
            let request = outgoing::Request { method, url, headers, body };
            let asking = self.outgoing.fetch(&self.grants.http, request);
            let answer = self.timed(asking, |refused| matches!(refused, Refused::Late { .. })).await;
            let outgoing::Response { status, headers, body } =
                answer.map_err(|refused| unanswered(&self.plugin, &refused))?;
            Ok(HttpResponse { status, headers, body })
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
mod tests;
