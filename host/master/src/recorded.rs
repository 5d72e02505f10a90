//! The host's side of a call, with everything that it tells noted down: enough to run the call again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use journal::{HostCall, MAX_CALLS, MAX_TRANSCRIPT, Transcript};
use sandbox::{
    BoxFuture, ByteRange, Host, HostError, HttpRequest, HttpResponse, Level, Listing, NodePage, Object,
    ObjectInfo, ResourcePage, ResourceQuery,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::reach::Seen;
use crate::told::Told;

/// How the transcript calls [`Host::head`]; its arguments are `[store, key]`.
pub(crate) const HEAD: &str = "object-store.head";
/// How the transcript calls [`Host::get`]; its arguments are `[store, key, range]`.
pub(crate) const GET: &str = "object-store.get";
/// How the transcript calls [`Host::list`]; its arguments are `[store, prefix, cursor]`.
pub(crate) const LIST: &str = "object-store.list";
/// How the transcript calls [`Host::exported_resources`]; its arguments are `[query, cursor]`.
pub(crate) const EXPORTED_RESOURCES: &str = "stored-config.exported-resources";
/// How the transcript calls [`Host::nodes`]; its arguments are `[equals, select, cursor]`.
pub(crate) const NODES: &str = "stored-config.nodes";
/// How the transcript calls [`Host::http`]; its argument is the request.
pub(crate) const HTTP: &str = "http";
/// How the transcript calls [`Told::annotations`], without arguments. Noted where there are any.
pub(crate) const ANNOTATIONS: &str = "call-context.annotations";
/// The path of all facts together.
pub(crate) const ALL_FACTS: &str = "*";

/// Notes what another host tells.
pub(crate) struct Recorded {
    host: Arc<dyn Told>,
    noted: Mutex<Noted>,
}

/// A transcript in the making, no larger than one that is kept.
#[derive(Default)]
struct Noted {
    /// In the order of the paths: facts do not change during a call, so each is kept once.
    facts: BTreeMap<String, Option<Value>>,
    calls: Vec<HostCall>,
    bytes: usize,
    truncated: bool,
}

impl Recorded {
    /// Tells what `host` tells.
    pub fn new(host: Arc<dyn Told>) -> Arc<Self> {
        Arc::new(Recorded { host, noted: Mutex::default() })
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for an answer and notes it.
    async fn note<T: Serialize>(
        &self,
        function: &'static str,
        arguments: Value,
        answer: BoxFuture<'_, Result<T, HostError>>,
    ) -> Result<T, HostError> {
        let mut noting = Noting { recorded: self, call: Some((function, arguments)) };
        let answer = answer.await;
        noting.end(match &answer {
            Ok(told) => json(told).map_err(|error| HostError::Invalid(error.to_string())),
            Err(error) => Err(error.clone()),
        });
        answer
    }
}

/// A call whose answer is still to come.
struct Noting<'a> {
    recorded: &'a Recorded,
    call: Option<(&'static str, Value)>,
}

impl Noting<'_> {
    fn end(&mut self, answer: Result<Value, HostError>) {
        let Some((function, arguments)) = self.call.take() else { return };
        let answer = answer.map_err(|error| (kind(&error).to_owned(), words(error)));
        self.recorded.noted().call(HostCall { function: function.to_owned(), arguments, answer });
    }
}

impl Drop for Noting<'_> {
    /// The sandbox lets go of an answer that does not come in time, and the plugin is told so.
    fn drop(&mut self) {
        self.end(Err(HostError::Unavailable("the host's time for this call is used up".into())));
    }
}

impl Noted {
    fn fact(&mut self, path: &str, value: Option<&Value>) {
        if self.facts.contains_key(path) {
            return;
        }
        let size = value.map_or(Some(0), journal::weigh).map(|size| size.saturating_add(path.len()));
        if self.has_room(size) {
            self.facts.insert(path.to_owned(), value.cloned());
        }
    }

    fn call(&mut self, call: HostCall) {
        if self.calls.len() >= MAX_CALLS {
            self.truncated = true;
        } else if self.has_room(call.weigh()) {
            self.calls.push(call);
        }
    }

    /// Takes so many bytes, if they are left. After the first that did not fit nothing does: what is
    /// kept is how the call began.
    fn has_room(&mut self, size: Option<usize>) -> bool {
        let bytes = size.map(|size| self.bytes.saturating_add(size)).filter(|bytes| *bytes <= MAX_TRANSCRIPT);
        match bytes.filter(|_| !self.truncated) {
            Some(bytes) => self.bytes = bytes,
            None => self.truncated = true,
        }
        !self.truncated
    }
}

impl Told for Recorded {
    fn transcript(&self) -> Transcript {
        let mut noted = self.noted();
        Transcript {
            facts: std::mem::take(&mut noted.facts).into_iter().collect(),
            calls: std::mem::take(&mut noted.calls),
            truncated: noted.truncated,
        }
    }

    fn is_late(&self) -> bool {
        self.host.is_late()
    }

    fn seen(&self) -> Seen {
        self.host.seen()
    }

    fn missed(&self) -> Vec<String> {
        self.host.missed()
    }

    fn annotations(&self) -> Vec<(String, String)> {
        let annotations = self.host.annotations();
        if !annotations.is_empty() {
            let (function, answer) = (ANNOTATIONS.to_owned(), Ok(json!(annotations)));
            self.noted().call(HostCall { function, arguments: Value::Null, answer });
        }
        annotations
    }
}

impl Host for Recorded {
    fn log(&self, level: Level, message: &str, fields: &[(String, String)]) {
        self.host.log(level, message, fields);
    }

    fn fact(&self, path: &str) -> Option<Value> {
        let value = self.host.fact(path);
        self.noted().fact(path, value.as_ref());
        value
    }

    fn facts(&self) -> Value {
        let all = self.host.facts();
        self.noted().fact(ALL_FACTS, Some(&all));
        all
    }

    fn head<'a>(&'a self, store: &'a str, key: &'a str) -> BoxFuture<'a, Result<ObjectInfo, HostError>> {
        Box::pin(self.note(HEAD, json!([store, key]), self.host.head(store, key)))
    }

    fn get<'a>(
        &'a self,
        store: &'a str,
        key: &'a str,
        range: Option<ByteRange>,
    ) -> BoxFuture<'a, Result<Object, HostError>> {
        Box::pin(self.note(GET, json!([store, key, range]), self.host.get(store, key, range)))
    }

    fn list<'a>(
        &'a self,
        store: &'a str,
        prefix: &'a str,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Listing, HostError>> {
        Box::pin(self.note(LIST, json!([store, prefix, cursor]), self.host.list(store, prefix, cursor)))
    }

    fn exported_resources<'a>(
        &'a self,
        query: &'a ResourceQuery,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<ResourcePage, HostError>> {
        let answer = self.host.exported_resources(query, cursor);
        Box::pin(self.note(EXPORTED_RESOURCES, json!([query, cursor]), answer))
    }

    fn nodes<'a>(
        &'a self,
        equals: &'a [(String, Value)],
        select: &'a [String],
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<NodePage, HostError>> {
        let answer = self.host.nodes(equals, select, cursor);
        Box::pin(self.note(NODES, json!([equals, select, cursor]), answer))
    }

    fn http<'a>(&'a self, request: &'a HttpRequest) -> BoxFuture<'a, Result<HttpResponse, HostError>> {
        Box::pin(self.note(HTTP, json!(request), self.host.http(request)))
    }
}

fn json<T: Serialize>(told: &T) -> Result<Value, serde_json::Error> {
    serde_json::to_value(told)
}

/// The word by which a transcript knows an error.
fn kind(error: &HostError) -> &'static str {
    match error {
        HostError::Denied(_) => "denied",
        HostError::NotFound => "not-found",
        HostError::Invalid(_) => "invalid",
        HostError::Limit(_) => "limit",
        HostError::Unavailable(_) => "unavailable",
    }
}

fn words(error: HostError) -> String {
    match error {
        HostError::NotFound => String::new(),
        HostError::Denied(text)
        | HostError::Invalid(text)
        | HostError::Limit(text)
        | HostError::Unavailable(text) => text,
    }
}

/// The error that a transcript knows by this word and text; one that nobody wrote is [`HostError::Invalid`].
pub(crate) fn error(kind: &str, text: String) -> HostError {
    match kind {
        "denied" => HostError::Denied(text),
        "not-found" => HostError::NotFound,
        "limit" => HostError::Limit(text),
        "unavailable" => HostError::Unavailable(text),
        _ => HostError::Invalid(text),
    }
}
