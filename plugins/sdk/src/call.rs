//! The call a plugin is in, and what it may ask of the host (`wit/host.wit`).

use std::time::Duration;

use crate::{HostError, Level, Map, Mode, Value};

/// One call of a plugin: what the host tells about it, and the host's functions.
pub struct Call<'a> {
    /// Names this decision in logs, traces and the decision journal.
    pub decision_id: String,
    /// Whether the answer will be acted on.
    pub mode: Mode,
    /// When the host took the request up: nanoseconds since the Unix epoch. Time stands still at this
    /// instant for the whole call.
    pub now: u64,
    /// The settings that [`crate::Plugin::validate_settings`] accepted, unchanged.
    pub settings: Value,
    /// Facts about the call, such as `object-store.registry`, which says where that store is.
    pub annotations: Vec<(String, String)>,
    pub(crate) host: HostRef<'a>,
}

impl Call<'_> {
    /// Writes a line to the host's log, tagged there with plugin and decision.
    pub fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
        self.host.log(level, message, fields);
    }

    /// [`Call::log`] at trace.
    pub fn trace(&self, message: impl AsRef<str>) {
        self.log(Level::Trace, message.as_ref(), &[]);
    }

    /// [`Call::log`] at debug.
    pub fn debug(&self, message: impl AsRef<str>) {
        self.log(Level::Debug, message.as_ref(), &[]);
    }

    /// [`Call::log`] at info.
    pub fn info(&self, message: impl AsRef<str>) {
        self.log(Level::Info, message.as_ref(), &[]);
    }

    /// [`Call::log`] at warn.
    pub fn warn(&self, message: impl AsRef<str>) {
        self.log(Level::Warn, message.as_ref(), &[]);
    }

    /// [`Call::log`] at error.
    pub fn error(&self, message: impl AsRef<str>) {
        self.log(Level::Error, message.as_ref(), &[]);
    }

    /// What the host says about this call under a key.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// Real time left before the host ends this call.
    pub fn remaining(&self) -> Duration {
        self.host.remaining()
    }

    /// The node's fact at a dotted path such as `os.family`. Classifiers and providers only: the world
    /// of approvers has no facts, as the node has sent none yet.
    pub fn fact(&self, path: &str) -> Option<Value> {
        self.host.fact(path)
    }

    /// Every fact of the node as one object. The decision then rests on all of them: prefer
    /// [`Call::fact`].
    pub fn facts(&self) -> Value {
        self.host.facts()
    }

    /// The whole object. A body over the grant's limit is [`HostError::Limit`], never cut short.
    ///
    /// # Errors
    /// As the host says.
    pub fn object(&self, store: &str, key: &str) -> Result<Object, HostError> {
        self.host.get_object(store, key, None)
    }

    /// `length` bytes of an object from `start`.
    ///
    /// # Errors
    /// As the host says.
    pub fn object_range(&self, store: &str, key: &str, start: u64, length: u64) -> Result<Object, HostError> {
        self.host.get_object(store, key, Some((start, length)))
    }

    /// What is known of an object without reading it.
    ///
    /// # Errors
    /// As the host says; [`HostError::NotFound`] where it is not there.
    pub fn head_object(&self, store: &str, key: &str) -> Result<ObjectInfo, HostError> {
        self.host.head_object(store, key)
    }

    /// One page of the objects below a prefix, in key order; `cursor` is the last page's
    /// [`Listing::next`].
    ///
    /// # Errors
    /// As the host says.
    pub fn list_objects(
        &self,
        store: &str,
        prefix: &str,
        cursor: Option<&str>,
    ) -> Result<Listing, HostError> {
        self.host.list_objects(store, prefix, cursor)
    }

    /// Exported resources of every node's last catalog, this node's too, ordered by type, title and
    /// exporter. Follows all pages.
    ///
    /// # Errors
    /// As the host says.
    pub fn exported(&self, query: &ResourceQuery) -> Result<Vec<ExportedResource>, HostError> {
        all_pages(|cursor| self.host.exported_resources(query, cursor))
    }

    /// Nodes whose facts equal every given (path, value), with the facts in `select`, ordered by
    /// certname. Follows all pages.
    ///
    /// # Errors
    /// As the host says.
    pub fn nodes(&self, equals: &[(&str, Value)], select: &[&str]) -> Result<Vec<NodeFacts>, HostError> {
        all_pages(|cursor| self.host.nodes(equals, select, cursor))
    }
}

/// What is known of an object in a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectInfo {
    /// The object's key in its store.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// The version of its content, as the store names it.
    pub etag: Option<String>,
    /// Nanoseconds since the Unix epoch.
    pub modified: Option<u64>,
    /// Its media type.
    pub content_type: Option<String>,
}

/// An object with its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// What is known of it.
    pub info: ObjectInfo,
    /// Its content, or the range asked for.
    pub body: Vec<u8>,
}

/// One page of a store's listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The objects of this page.
    pub objects: Vec<ObjectInfo>,
    /// Keys up to and with the next `/`, for what lies deeper.
    pub prefixes: Vec<String>,
    /// For the next page; none on the last.
    pub next: Option<String>,
}

/// Which exported resources to collect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceQuery {
    /// As catalogs write it, such as `File` or `Nagios::Host`.
    pub resource_type: String,
    /// Any title where none.
    pub title: Option<String>,
    /// Every tag must be present.
    pub tags: Vec<String>,
    /// Any environment where none.
    pub environment: Option<String>,
}

impl ResourceQuery {
    /// Every exported resource of a type.
    pub fn new(resource_type: impl Into<String>) -> Self {
        Self { resource_type: resource_type.into(), ..Self::default() }
    }

    /// Only this title.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Only with this tag too.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Only from catalogs of this environment.
    #[must_use]
    pub fn environment(mut self, environment: impl Into<String>) -> Self {
        self.environment = Some(environment.into());
        self
    }
}

/// A resource that some node exported.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExportedResource {
    /// Such as `File`.
    pub resource_type: String,
    /// Its title.
    pub title: String,
    /// The certname of the node whose catalog exported it.
    pub exported_by: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its parameters. Sensitive ones are left out.
    pub parameters: Map,
}

/// A node and the facts asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeFacts {
    /// The node's certname.
    pub node: String,
    /// The facts asked for, by path; absent facts are absent here.
    pub facts: Map,
}

/// A page and the cursor of the next.
pub(crate) type Page<T> = (Vec<T>, Option<String>);

/// What stands behind a [`Call`]: the contract's imports in a component, a fake in native tests.
pub(crate) trait Host {
    fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]);
    fn remaining(&self) -> Duration;
    fn fact(&self, path: &str) -> Option<Value>;
    fn facts(&self) -> Value;
    fn head_object(&self, store: &str, key: &str) -> Result<ObjectInfo, HostError>;
    fn get_object(&self, store: &str, key: &str, range: Option<(u64, u64)>) -> Result<Object, HostError>;
    fn list_objects(&self, store: &str, prefix: &str, cursor: Option<&str>) -> Result<Listing, HostError>;
    fn exported_resources(
        &self,
        query: &ResourceQuery,
        cursor: Option<&str>,
    ) -> Result<Page<ExportedResource>, HostError>;
    fn nodes(
        &self,
        equals: &[(&str, Value)],
        select: &[&str],
        cursor: Option<&str>,
    ) -> Result<Page<NodeFacts>, HostError>;
}

/// Static dispatch in a component, so that it imports only what its plugin calls.
#[cfg(target_arch = "wasm32")]
pub(crate) type HostRef<'a> = &'a crate::guest::Imports;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) type HostRef<'a> = &'a dyn Host;

fn all_pages<T>(
    mut page: impl FnMut(Option<&str>) -> Result<Page<T>, HostError>,
) -> Result<Vec<T>, HostError> {
    let (mut found, mut next) = page(None)?;
    while let Some(cursor) = next {
        let (more, after) = page(Some(&cursor))?;
        found.extend(more);
        next = after;
    }
    Ok(found)
}
