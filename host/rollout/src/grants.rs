//! What a plugin may reach, read from its `grants` in the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use catalog::nearest;
use outgoing::{Credential, HeaderName, Method, Origin, Scheme};
use serde_json::{Map, Value};

use crate::problem::Problem;
use crate::quantity::{parse_bytes, parse_duration};

/// One origin that a plugin may send requests to.
pub use outgoing::Rule as HttpGrant;

/// Every word that a grant may have.
const CAPABILITIES: [&str; 3] = ["http", "object-store", "stored-config"];
/// What may be asked for of an origin.
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
/// The largest body that may be granted, in bytes: it is held in memory.
const MOST_BODY: u64 = 16 << 20;
/// The longest that may be granted for one request.
const MOST_TIME: Duration = Duration::from_secs(60);

/// What a plugin may reach; it reaches nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Object stores by name.
    pub object_store: BTreeMap<String, StoreGrant>,
    /// Exported resources and facts of all nodes.
    pub stored_config: bool,
    /// Origins, each at most once.
    pub http: Vec<HttpGrant>,
}

/// What of an object store may be read, and how much of it by one call of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreGrant {
    /// Keys that start with this, and no others.
    pub prefix: String,
    /// Bytes of bodies handed over by one call, at most.
    pub max_bytes: u64,
    /// Questions asked by one call, at most.
    pub max_calls: u32,
}

impl Default for StoreGrant {
    fn default() -> Self {
        StoreGrant { prefix: String::new(), max_bytes: 16 << 20, max_calls: 100 }
    }
}

impl Grants {
    /// Reads the grants of a plugin. `stores` are the names of the stores that there are.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn parse(
        plugin: &str,
        configured: &BTreeMap<String, Value>,
        stores: &BTreeSet<String>,
    ) -> Result<Grants, Vec<Problem>> {
        let mut grants = Grants::default();
        let mut wrong = Wrong(Vec::new());
        for (capability, argument) in configured {
            match capability.as_str() {
                "object-store" => grants.object_store = object_store(argument, stores, &mut wrong),
                "stored-config" => match argument {
                    Value::Bool(granted) => grants.stored_config = *granted,
                    _ => wrong.add("stored-config", "is true or false"),
                },
                "http" => grants.http = http(argument, &mut wrong),
                other => {
                    let hint = hint(other, CAPABILITIES);
                    let all = listed(CAPABILITIES);
                    wrong.0.push(format!("`{other}` is no capability{hint}; there are {all}"));
                }
            }
        }
        if wrong.0.is_empty() {
            return Ok(grants);
        }
        Err(wrong.0.into_iter().map(|message| Problem::new(plugin, message)).collect())
    }

    /// Whether anything of this capability is granted; nothing is of one that does not exist.
    pub fn covers(&self, capability: &str) -> bool {
        match capability {
            "object-store" => !self.object_store.is_empty(),
            "stored-config" => self.stored_config,
            "http" => !self.http.is_empty(),
            _ => false,
        }
    }
}

/// What was found wrong so far, in words without the plugin's name.
struct Wrong(Vec<String>);

impl Wrong {
    fn add(&mut self, grant: &str, message: impl fmt::Display) {
        self.0.push(format!("grant `{grant}` {message}"));
    }
}

fn object_store(
    argument: &Value,
    stores: &BTreeSet<String>,
    wrong: &mut Wrong,
) -> BTreeMap<String, StoreGrant> {
    const CALLED: &str = "object-store";
    let mut granted = BTreeMap::new();
    let Value::Array(entries) = argument else {
        wrong.add(CALLED, "takes a list of store names, such as [\"registry\"]");
        return granted;
    };
    for entry in entries {
        let (name, grant) = match entry {
            Value::String(name) => (name.clone(), StoreGrant::default()),
            Value::Object(map) => {
                let mut table = Table { grant: CALLED, map, wrong };
                let Some(read) = store(&mut table) else { continue };
                read
            }
            _ => {
                wrong.add(
                    CALLED,
                    "takes store names and tables such as { store = \"registry\", prefix = \"nodes/\" }",
                );
                continue;
            }
        };
        if !stores.contains(&name) {
            let known = stores.iter().map(String::as_str);
            let (hint, all) = (hint(&name, known.clone()), listed(known));
            wrong.add(CALLED, format_args!("names the store {name:?}{hint}; there are {all}"));
        } else if granted.insert(name.clone(), grant).is_some() {
            wrong.add(CALLED, format_args!("names the store {name:?} twice; name it once"));
        }
    }
    granted
}

fn store(table: &mut Table<'_, '_>) -> Option<(String, StoreGrant)> {
    table.only(&["store", "prefix", "max_bytes", "max_calls"]);
    let usual = StoreGrant::default();
    let prefix = table.text("prefix").unwrap_or_default().to_owned();
    let max_bytes = table.bytes("max_bytes").unwrap_or(usual.max_bytes);
    let max_calls = match table.map.get("max_calls") {
        None => usual.max_calls,
        Some(value) => value.as_u64().and_then(|calls| u32::try_from(calls).ok()).unwrap_or_else(|| {
            table.add("`max_calls` must be a whole number, 0 or more");
            0
        }),
    };
    let name = table.needed("store", "the store's name")?;
    Some((name.to_owned(), StoreGrant { prefix, max_bytes, max_calls }))
}

fn http(argument: &Value, wrong: &mut Wrong) -> Vec<HttpGrant> {
    const CALLED: &str = "http";
    let mut granted: Vec<HttpGrant> = Vec::new();
    let Value::Array(entries) = argument else {
        wrong.add(
            CALLED,
            "takes a list of tables such as { origin = \"https://api.example\", methods = [\"GET\"] }",
        );
        return granted;
    };
    for entry in entries {
        let Value::Object(map) = entry else {
            wrong.add(
                CALLED,
                "takes tables such as { origin = \"https://api.example\", methods = [\"GET\"] }",
            );
            continue;
        };
        let Some(rule) = rule(&mut Table { grant: CALLED, map, wrong }) else { continue };
        if granted.iter().any(|other| other.origin == rule.origin) {
            wrong.add(CALLED, format_args!("names {} twice; put all of it into one table", rule.origin));
        } else {
            granted.push(rule);
        }
    }
    granted
}

fn rule(table: &mut Table<'_, '_>) -> Option<HttpGrant> {
    const SINGLE: [&str; 3] = ["header", "value_env", "value_file"];
    table.only(&[
        "origin",
        "methods",
        "max_body",
        "timeout",
        "private",
        "credentials",
        "ca_file",
        "header",
        "value_env",
        "value_file",
    ]);
    let methods = methods(table);
    let max_body = table.bytes("max_body").unwrap_or(64 << 10);
    if max_body > MOST_BODY {
        table
            .add(format_args!("`max_body` is {max_body} bytes; at most {} MiB are granted", MOST_BODY >> 20));
    }
    let timeout = table.duration("timeout").unwrap_or(Duration::from_secs(2));
    if timeout.is_zero() || timeout > MOST_TIME {
        table.add(format_args!("`timeout` must be more than 0s and at most {}s", MOST_TIME.as_secs()));
    }
    let private = table.flag("private");
    let ca_file = table.path("ca_file");
    let mut credentials = Vec::new();
    if SINGLE.iter().any(|key| table.map.contains_key(*key)) {
        credentials.extend(credential(table));
    }
    match table.map.get("credentials") {
        None => {}
        Some(Value::Array(entries)) if entries.iter().all(Value::is_object) => {
            for map in entries.iter().filter_map(Value::as_object) {
                let mut entry = Table { grant: table.grant, map, wrong: table.wrong };
                entry.only(&SINGLE);
                credentials.extend(credential(&mut entry));
            }
        }
        Some(_) => table.add("`credentials` must be a list of tables such as { header = \"Authorization\", value_env = \"API_TOKEN\" }"),
    }
    for (at, one) in credentials.iter().enumerate() {
        if credentials.iter().take(at).any(|other: &Credential| other.header == one.header) {
            table.add(format_args!("adds the header `{}` twice; add it once", one.header));
        }
    }
    let origin = table.needed("origin", "the origin, such as \"https://api.example\"")?;
    let origin = Origin::parse(origin).map_err(|why| table.add(format_args!("`origin`: {why}"))).ok()?;
    if origin.scheme == Scheme::Http && !credentials.is_empty() && !private {
        table.add(format_args!(
            "would send a credential to {origin} in the clear; use https, or say private = true if that is inside your own network"
        ));
    }
    if origin.scheme == Scheme::Http && ca_file.is_some() {
        table.add(format_args!(
            "has a `ca_file` for {origin}, which shows no certificate; use https or leave it out"
        ));
    }
    Some(HttpGrant { origin, methods, max_body, timeout, private, credentials, ca_file })
}

fn methods(table: &mut Table<'_, '_>) -> Vec<Method> {
    let Some(value) = table.map.get("methods") else { return vec![Method::GET] };
    let names: Option<Vec<&str>> = value.as_array().map(|all| all.iter().filter_map(Value::as_str).collect());
    let whole = value.as_array().map(Vec::len);
    let Some(names) = names.filter(|names| Some(names.len()) == whole && !names.is_empty()) else {
        table.add("`methods` must be a list such as [\"GET\", \"POST\"]");
        return Vec::new();
    };
    let mut methods = Vec::new();
    for name in names {
        let known = METHODS.contains(&name).then(|| Method::from_bytes(name.as_bytes()).ok()).flatten();
        match known {
            Some(method) => methods.push(method),
            None => {
                let hint = hint(&name.to_ascii_uppercase(), METHODS);
                table.add(format_args!("`methods` has {name:?}{hint}; there are {}", listed(METHODS)));
            }
        }
    }
    methods
}

fn credential(table: &mut Table<'_, '_>) -> Option<Credential> {
    let (env, file) = (table.text("value_env").map(str::to_owned), table.path("value_file"));
    let header = table.needed("header", "the header's name, such as \"Authorization\"")?;
    let Ok(name) = HeaderName::from_bytes(header.as_bytes()) else {
        table.add(format_args!("`header` is {header:?}, which is no header's name"));
        return None;
    };
    if outgoing::is_ours(&name) {
        table.add(format_args!(
            "`header` is {header:?}, which belongs to the connection and carries no credential"
        ));
        return None;
    }
    let from = match (env, file) {
        (Some(env), None) if !env.is_empty() && !env.contains(['=', '\0']) => outgoing::From::Env(env),
        (None, Some(path)) => outgoing::From::File(path),
        _ => {
            table.add(format_args!(
                "must say where the value of the header `{name}` is: either `value_env`, an environment variable's name, or `value_file`"
            ));
            return None;
        }
    };
    Some(Credential { header: name, from })
}

/// A table of one grant. What is read from it is right or reported.
struct Table<'a, 'w> {
    grant: &'static str,
    map: &'a Map<String, Value>,
    wrong: &'w mut Wrong,
}

impl<'a> Table<'a, '_> {
    fn add(&mut self, message: impl fmt::Display) {
        self.wrong.add(self.grant, message);
    }

    /// Reports every key but these.
    fn only(&mut self, known: &[&str]) {
        for key in self.map.keys().filter(|key| !known.contains(&key.as_str())) {
            let all = known.iter().copied();
            let (hint, all) = (hint(key, all.clone()), listed(all));
            self.add(format_args!("has the key `{key}`{hint}; there are {all}"));
        }
    }

    fn text(&mut self, key: &str) -> Option<&'a str> {
        let value = self.map.get(key)?;
        if value.as_str().is_none() {
            self.add(format_args!("has `{key}`, which must be a text in quotes"));
        }
        value.as_str()
    }

    fn needed(&mut self, key: &str, what: &str) -> Option<&'a str> {
        if !self.map.contains_key(key) {
            self.add(format_args!("needs `{key}`: {what}"));
        }
        self.text(key)
    }

    fn flag(&mut self, key: &str) -> bool {
        match self.map.get(key) {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => {
                self.add(format_args!("has `{key}`, which is true or false"));
                false
            }
        }
    }

    fn bytes(&mut self, key: &str) -> Option<u64> {
        let read = parse_bytes(self.text(key)?);
        read.map_err(|why| self.add(format_args!("has `{key}`, which {why}"))).ok()
    }

    fn duration(&mut self, key: &str) -> Option<Duration> {
        let read = parse_duration(self.text(key)?);
        read.map_err(|why| self.add(format_args!("has `{key}`, which {why}"))).ok()
    }

    /// A whole path: a set may be configured on one machine and be live on another.
    fn path(&mut self, key: &str) -> Option<PathBuf> {
        let path = PathBuf::from(self.text(key)?);
        if path.is_absolute() {
            return Some(path);
        }
        self.add(format_args!("has `{key}`, which must be a whole path, from / on"));
        None
    }
}

fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known.into_iter()).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
