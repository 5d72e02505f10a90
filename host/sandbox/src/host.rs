use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What the host's asynchronous answers come in.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a plugin's imports lead to during one call.
///
/// The master makes one for each call from the plugin's grants; what it does
/// not implement is denied. The sandbox counts, cuts and times; the host
/// checks grants. `log`, `fact` and `facts` must not block.
pub trait Host: Send + Sync {
    /// One line of the plugin's log, cut to length. After the last line of a
    /// call comes a warning with the number of those dropped, if any were.
    fn log(&self, level: Level, message: &str, fields: &[(String, String)]);

    /// The fact at a dotted path.
    fn fact(&self, _path: &str) -> Option<Value> {
        None
    }

    /// Every fact, as an object.
    fn facts(&self) -> Value {
        Value::Object(Map::new())
    }

    /// What the object at `key` is.
    fn head<'a>(&'a self, store: &'a str, key: &'a str) -> BoxFuture<'a, Result<ObjectInfo, HostError>> {
        let _ = key;
        Box::pin(std::future::ready(Err(HostError::ungranted_store(store))))
    }

    /// The object at `key`, or a range of it.
    fn get<'a>(
        &'a self,
        store: &'a str,
        key: &'a str,
        range: Option<ByteRange>,
    ) -> BoxFuture<'a, Result<Object, HostError>> {
        let _ = (key, range);
        Box::pin(std::future::ready(Err(HostError::ungranted_store(store))))
    }

    /// One page of keys.
    fn list<'a>(
        &'a self,
        store: &'a str,
        prefix: &'a str,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Listing, HostError>> {
        let _ = (prefix, cursor);
        Box::pin(std::future::ready(Err(HostError::ungranted_store(store))))
    }

    /// One page of exported resources.
    fn exported_resources<'a>(
        &'a self,
        query: &'a ResourceQuery,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<ResourcePage, HostError>> {
        let _ = (query, cursor);
        Box::pin(std::future::ready(Err(HostError::ungranted_stored_config())))
    }

    /// One page of nodes whose facts equal every given (path, value), with the facts in `select`.
    fn nodes<'a>(
        &'a self,
        equals: &'a [(String, Value)],
        select: &'a [String],
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<NodePage, HostError>> {
        let _ = (equals, select, cursor);
        Box::pin(std::future::ready(Err(HostError::ungranted_stored_config())))
    }

    /// The answer to an HTTP request.
    fn http<'a>(&'a self, request: &'a HttpRequest) -> BoxFuture<'a, Result<HttpResponse, HostError>> {
        let _ = request;
        Box::pin(std::future::ready(Err(HostError::Denied("http is not granted to this plugin".into()))))
    }
}

/// An HTTP request of a plugin.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRequest {
    /// Such as `GET`.
    pub method: String,
    /// The whole of it, as the plugin wrote it.
    pub url: String,
    /// Names in lower case, in the plugin's order.
    #[serde(with = "crate::bytes::fields")]
    pub headers: Vec<(String, Vec<u8>)>,
    /// At most [`Settings::http_request_bytes`](crate::Settings::http_request_bytes).
    #[serde(with = "crate::bytes")]
    pub body: Vec<u8>,
}

/// What came back for it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpResponse {
    /// Such as 200.
    pub status: u16,
    /// In the order they came.
    #[serde(with = "crate::bytes::fields")]
    pub headers: Vec<(String, Vec<u8>)>,
    /// The whole of it.
    #[serde(with = "crate::bytes")]
    pub body: Vec<u8>,
}

impl std::fmt::Debug for HttpRequest {
    /// Leaves out what may hold secrets: the query, the headers' values and the body.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("url", &self.url.split(['?', '#']).next())
            .field("headers", &names(&self.headers))
            .field("body", &self.body.len())
            .finish()
    }
}

impl std::fmt::Debug for HttpResponse {
    /// Leaves out what may hold secrets: the headers' values and the body.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpResponse")
            .field("status", &self.status)
            .field("headers", &names(&self.headers))
            .field("body", &self.body.len())
            .finish()
    }
}

fn names(headers: &[(String, Vec<u8>)]) -> Vec<&str> {
    headers.iter().map(|(name, _)| name.as_str()).collect()
}

/// A host that grants nothing and drops the log, as at load.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHost;

impl Host for NoHost {
    fn log(&self, _: Level, _: &str, _: &[(String, String)]) {}
}

/// How loud a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For the plugin's author.
    Trace,
    /// For finding a problem.
    Debug,
    /// For the record.
    Info,
    /// Somebody should look.
    Warn,
    /// Something failed.
    Error,
}

/// Why the host refused or failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Not granted.
    #[error("denied: {0}")]
    Denied(String),
    /// Not there.
    #[error("not found")]
    NotFound,
    /// The call makes no sense.
    #[error("invalid: {0}")]
    Invalid(String),
    /// A limit of this plugin was reached.
    #[error("limit: {0}")]
    Limit(String),
    /// The service behind failed; a later try may work.
    #[error("unavailable: {0}")]
    Unavailable(String),
}

impl HostError {
    fn ungranted_store(store: &str) -> Self {
        HostError::Denied(format!("object-store `{store}` is not granted to this plugin"))
    }

    fn ungranted_stored_config() -> Self {
        HostError::Denied("stored-config is not granted to this plugin".into())
    }
}

/// What is known of an object without its body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectInfo {
    /// Its key.
    pub key: String,
    /// Bytes of its body.
    pub size: u64,
    /// The store's version of it.
    pub etag: Option<String>,
    /// Nanoseconds since the Unix epoch.
    pub modified: Option<u64>,
    /// What the store says that it is.
    pub content_type: Option<String>,
}

/// A part of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByteRange {
    /// The first byte.
    pub start: u64,
    /// How many.
    pub length: u64,
}

/// An object.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// What is known of it.
    pub info: ObjectInfo,
    /// Its bytes.
    #[serde(with = "crate::bytes")]
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Object {
    /// Leaves out the body, which may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Object").field("info", &self.info).finish_non_exhaustive()
    }
}

/// One page of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// In key order.
    pub objects: Vec<ObjectInfo>,
    /// Keys up to and with the next `/`.
    pub prefixes: Vec<String>,
    /// The next page's cursor; none on the last.
    pub next: Option<String>,
}

/// Which exported resources are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceQuery {
    /// The type, as catalogs write it.
    pub resource_type: String,
    /// The title, where only one is wanted.
    pub title: Option<String>,
    /// Tags that must all be there.
    pub tags: Vec<String>,
    /// The exporter's environment.
    pub environment: Option<String>,
}

/// A resource that a node exported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExportedResource {
    /// The type, as catalogs write it.
    pub resource_type: String,
    /// The title.
    pub title: String,
    /// The exporter's certname.
    pub exported_by: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its parameters, without sensitive ones.
    pub parameters: Map<String, Value>,
}

/// One page of exported resources.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResourcePage {
    /// Ordered by type, title and exporter.
    pub resources: Vec<ExportedResource>,
    /// The next page's cursor; none on the last.
    pub next: Option<String>,
}

/// Some facts of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// Its certname.
    pub node: String,
    /// The facts asked for that it has.
    pub facts: Map<String, Value>,
}

/// One page of nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodePage {
    /// Ordered by certname.
    pub nodes: Vec<NodeFacts>,
    /// The next page's cursor; none on the last.
    pub next: Option<String>,
}
