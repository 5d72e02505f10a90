//! The host's side of a call that is made again: it tells what it told then.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use journal::{Asked, HostCall, Kind, Record};
use rollout::{Grants, LivePlugin};
use sandbox::{
    BoxFuture, ByteRange, Host, HostError, HttpRequest, HttpResponse, Level, Listing, NodePage, Object,
    ObjectInfo, ResourcePage, ResourceQuery,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::reach::Seen;
use crate::recorded::{ALL_FACTS, ANNOTATIONS, EXPORTED_RESOURCES, GET, HEAD, HTTP, LIST, NODES, error};
use crate::told::Told;

/// What was asked for in vain is told so often, each in so many characters.
const MISSED: usize = 16;
const MISSED_TEXT: usize = 200;
/// In the text of every refusal for want of a grant (see `reach.rs`).
const UNGRANTED: &str = "granted";

/// Answers as the journal says that was answered: the same function and arguments get the same answer,
/// and where they were asked more than once, the answers in their order, the last one from then on.
///
/// What the call that is made again was told comes first. What only others were told in the same
/// decision is taken where it tells of the world and not of what they were granted.
pub(crate) struct Replayed {
    was: Arc<Record>,
    plugin: String,
    class: Option<String>,
    grants: Grants,
    live: Option<Arc<dyn Told>>,
    told: Mutex<ToldAgain>,
}

#[derive(Default)]
struct ToldAgain {
    /// Calls of the transcript that were answered with.
    used: HashSet<usize>,
    late: bool,
    missed: Vec<String>,
}

impl Replayed {
    /// For the call of this plugin, or class of it, in a decision. Where the journal knows no answer,
    /// `live` is asked; where there is none, the answer is missed.
    pub fn new(
        was: &Arc<Record>,
        plugin: &LivePlugin,
        class: Option<&str>,
        live: Option<Arc<dyn Told>>,
    ) -> Arc<Self> {
        Arc::new(Replayed {
            was: was.clone(),
            plugin: plugin.name.clone(),
            class: class.map(str::to_owned),
            grants: plugin.grants.clone(),
            live,
            told: Mutex::default(),
        })
    }

    /// The same call, then.
    fn own(&self) -> Option<&Asked> {
        self.was.asked.iter().find(|asked| self.is_own(asked))
    }

    /// The other calls of the decision.
    fn others(&self) -> impl Iterator<Item = &Asked> {
        self.was.asked.iter().filter(|asked| !self.is_own(asked))
    }

    fn is_own(&self, asked: &Asked) -> bool {
        asked.plugin == self.plugin && asked.class == self.class
    }

    /// A request's decision is told no facts.
    fn has_facts(&self) -> bool {
        self.was.kind != Kind::Approval
    }

    fn told(&self) -> MutexGuard<'_, ToldAgain> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was answered then, if anything was; but nothing that the plugin is not granted now.
    fn answer(&self, function: &str, arguments: &Value) -> Option<Result<Value, HostError>> {
        if !self.is_granted(function, arguments) {
            let message = format!("{function} is not {UNGRANTED} to plugin `{}` like this", self.plugin);
            return Some(Err(HostError::Denied(message)));
        }
        // What it was not granted then says nothing of the world.
        let is_it = |call: &HostCall| {
            let ungranted =
                matches!(&call.answer, Err((kind, text)) if kind == "denied" && text.contains(UNGRANTED));
            call.function == function && call.arguments == *arguments && !ungranted
        };
        if let Some(own) = self.own() {
            let mut told = self.told();
            let mut calls = own.transcript.calls.iter().enumerate().filter(|(_, call)| is_it(call));
            let mut last = None;
            let next = calls.find(|(at, call)| {
                last = Some(*call);
                !told.used.contains(at)
            });
            if let Some((at, _)) = next {
                told.used.insert(at);
            }
            if let Some(call) = next.map(|(_, call)| call).or(last) {
                let unavailable = matches!(&call.answer, Err((kind, _)) if kind == "unavailable");
                told.late |= unavailable && own.fault.as_deref() == Some("late");
                return Some(again(call));
            }
        }
        let mut calls = self.others().flat_map(|asked| &asked.transcript.calls);
        let of_the_world = |call: &HostCall| match &call.answer {
            Ok(_) => true,
            Err((kind, _)) => kind == "not-found",
        };
        calls.find(|call| is_it(call) && of_the_world(call)).map(again)
    }

    fn is_granted(&self, function: &str, arguments: &Value) -> bool {
        let argument = |at: usize| arguments.get(at).and_then(Value::as_str).unwrap_or_default();
        match function {
            HEAD | GET | LIST => self
                .grants
                .object_store
                .get(argument(0))
                .is_some_and(|grant| argument(1).starts_with(&grant.prefix)),
            EXPORTED_RESOURCES | NODES => self.grants.stored_config,
            HTTP => serde_json::from_value(arguments.clone()).is_ok_and(|request: HttpRequest| {
                let HttpRequest { method, url, headers, body } = request;
                outgoing::allows(&self.grants.http, &outgoing::Request { method, url, headers, body })
            }),
            _ => true,
        }
    }

    fn miss(&self, what: &str) {
        let mut told = self.told();
        if told.missed.len() < MISSED {
            told.missed.push(what.chars().take(MISSED_TEXT).collect());
        }
    }

    /// From the journal, or from `live`, or not at all.
    async fn ask<T: DeserializeOwned>(
        &self,
        function: &str,
        arguments: Value,
        live: Option<BoxFuture<'_, Result<T, HostError>>>,
    ) -> Result<T, HostError> {
        match (self.answer(function, &arguments), live) {
            (Some(answer), _) => answer.and_then(|told| {
                serde_json::from_value(told).map_err(|_| {
                    self.miss(&format!("{function}, whose answer the journal keeps in another form"));
                    unknown()
                })
            }),
            (None, Some(live)) => live.await,
            (None, None) => {
                // What a plugin sends may be secret.
                let shown = if function == HTTP { String::new() } else { arguments.to_string() };
                self.miss(&format!("{function}{shown}"));
                Err(unknown())
            }
        }
    }

    /// The fact as it was told then: by itself, or as a part of what was told.
    fn told_fact(&self, path: &str) -> Option<Option<Value>> {
        let facts = || self.was.asked.iter().flat_map(|asked| &asked.transcript.facts);
        if let Some((_, value)) = facts().find(|(read, _)| read == path) {
            return Some(value.clone());
        }
        let part = |(read, value): &(String, Option<Value>)| {
            let rest = if read == ALL_FACTS { path } else { path.strip_prefix(read)?.strip_prefix('.')? };
            Some(value.as_ref().and_then(|value| store::fact(value, rest)).cloned())
        };
        facts().find_map(part)
    }
}

fn again(call: &HostCall) -> Result<Value, HostError> {
    call.answer.clone().map_err(|(kind, text)| error(&kind, text))
}

fn unknown() -> HostError {
    HostError::Unavailable("the journal does not know the answer".to_owned())
}

impl Told for Replayed {
    fn is_late(&self) -> bool {
        self.told().late || self.live.as_ref().is_some_and(|live| live.is_late())
    }

    fn seen(&self) -> Seen {
        self.live.as_ref().map(|live| live.seen()).unwrap_or_default()
    }

    fn missed(&self) -> Vec<String> {
        self.told().missed.clone()
    }

    fn annotations(&self) -> Vec<(String, String)> {
        let known = self.answer(ANNOTATIONS, &Value::Null).and_then(Result::ok);
        let known = known.and_then(|told| serde_json::from_value(told).ok());
        known.or_else(|| self.live.as_ref().map(|live| live.annotations())).unwrap_or_default()
    }
}

impl Host for Replayed {
    /// Said once already, or by nobody whose answer counts.
    fn log(&self, _: Level, _: &str, _: &[(String, String)]) {}

    fn fact(&self, path: &str) -> Option<Value> {
        if !self.has_facts() {
            return None;
        }
        match (self.told_fact(path), &self.live) {
            (Some(told), _) => told,
            (None, Some(live)) => live.fact(path),
            (None, None) => {
                self.miss(&format!("the fact {path}"));
                None
            }
        }
    }

    fn facts(&self) -> Value {
        let none = || Value::Object(Map::new());
        if !self.has_facts() {
            return none();
        }
        match (self.told_fact(ALL_FACTS), &self.live) {
            (Some(told), _) => told.unwrap_or_else(none),
            (None, Some(live)) => live.facts(),
            (None, None) => {
                self.miss("all facts");
                none()
            }
        }
    }

    fn head<'a>(&'a self, store: &'a str, key: &'a str) -> BoxFuture<'a, Result<ObjectInfo, HostError>> {
        let live = self.live.as_ref().map(|live| live.head(store, key));
        Box::pin(self.ask(HEAD, json!([store, key]), live))
    }

    fn get<'a>(
        &'a self,
        store: &'a str,
        key: &'a str,
        range: Option<ByteRange>,
    ) -> BoxFuture<'a, Result<Object, HostError>> {
        let live = self.live.as_ref().map(|live| live.get(store, key, range));
        Box::pin(self.ask(GET, json!([store, key, range]), live))
    }

    fn list<'a>(
        &'a self,
        store: &'a str,
        prefix: &'a str,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Listing, HostError>> {
        let live = self.live.as_ref().map(|live| live.list(store, prefix, cursor));
        Box::pin(self.ask(LIST, json!([store, prefix, cursor]), live))
    }

    fn exported_resources<'a>(
        &'a self,
        query: &'a ResourceQuery,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<ResourcePage, HostError>> {
        let live = self.live.as_ref().map(|live| live.exported_resources(query, cursor));
        Box::pin(self.ask(EXPORTED_RESOURCES, json!([query, cursor]), live))
    }

    fn nodes<'a>(
        &'a self,
        equals: &'a [(String, Value)],
        select: &'a [String],
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<NodePage, HostError>> {
        let live = self.live.as_ref().map(|live| live.nodes(equals, select, cursor));
        Box::pin(self.ask(NODES, json!([equals, select, cursor]), live))
    }
    fn http<'a>(&'a self, request: &'a HttpRequest) -> BoxFuture<'a, Result<HttpResponse, HostError>> {
        let live = self.live.as_ref().map(|live| live.http(request));
        Box::pin(self.ask(HTTP, json!(request), live))
    }
}
