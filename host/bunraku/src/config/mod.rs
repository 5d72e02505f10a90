//! What the operator may set, and what holds where nothing is set.
//!
//! The table in the project's README is this file in words. Relative paths are
//! relative to the state directory.

pub mod reader;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bunraku_http::AccessLogTo;
use pki::{Certname, KeyKind};
use serde_json::Value;

use reader::{Document, Problem, Section};

/// Everything `bunraku` needs to know before it starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where keys, certificates, the database and caches live.
    pub state_dir: PathBuf,
    /// This machine's name. Not a setting.
    pub hostname: String,
    /// Environments that exist besides `production` and those with a folder.
    pub environments: Vec<String>,
    /// The agents' listener.
    pub server: Server,
    /// The certificate authority.
    pub ca: Ca,
    /// Where node definitions are.
    pub registry: Registry,
    /// Limits of every plugin call.
    pub sandbox: Sandbox,
    /// How long reports are kept.
    pub reports_keep: Duration,
    /// The program's own log.
    pub log: Log,
    /// The plugins, in the order in which they are asked.
    pub plugins: Vec<Plugin>,
}

/// The agents' listener.
#[derive(Clone, Debug)]
pub struct Server {
    /// Addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// The common name of the server's own certificate; no node can have it.
    pub certname: Certname,
    /// The names under which agents reach the server.
    pub dns_alt_names: Vec<String>,
    /// `stdout`, `off` or a file.
    pub access_log: AccessLogTo,
    /// How long requests in flight may take after SIGTERM.
    pub drain: Duration,
    /// Open connections at once.
    pub max_connections: u32,
    /// Certificate requests an address may submit a minute.
    pub requests_per_minute: u32,
}

/// The certificate authority.
#[derive(Clone, Debug)]
pub struct Ca {
    /// The CA's common name; made from the server's certname where none.
    pub name: Option<String>,
    /// The key of a CA that does not exist yet.
    pub key: KeyKind,
    /// How long a node's certificate is valid.
    pub certificate_ttl: Duration,
    /// How long a CRL is valid; it is signed anew at half of it.
    pub crl_ttl: Duration,
    /// Sign alternative names beyond a node's own.
    pub allow_subject_alt_names: bool,
    /// Sign authorisation extensions (`pp_authorization`, `pp_auth_role`).
    pub allow_authorization_extensions: bool,
    /// Pending requests kept at once.
    pub max_pending: u32,
    /// Pending requests kept for one name.
    pub max_pending_per_name: u32,
    /// How long a pending request is kept.
    pub pending_ttl: Duration,
}

/// Where node definitions are.
#[derive(Clone, Debug)]
pub struct Registry {
    /// `dir:PATH` or `s3://BUCKET/PREFIX`.
    pub url: String,
    /// An S3 server other than AWS's.
    pub endpoint: Option<String>,
    /// The bucket's region.
    pub region: Option<String>,
    /// `http://host/bucket/key` rather than `http://bucket.host/key`.
    pub path_style: bool,
    /// All attempts for one object together.
    pub deadline: Duration,
    /// Attempts for one object.
    pub attempts: u32,
    /// Objects kept in memory.
    pub cache_entries: u32,
    /// The largest object read.
    pub max_object_bytes: u64,
    /// How often pending requests are looked at for a changed object.
    pub poll: Duration,
    /// How old a node's last classification may be to serve while the registry
    /// does not answer.
    pub last_good: Duration,
}

/// Limits of every plugin call.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// Calls that run at once.
    pub slots: u32,
    /// All memories of one call.
    pub memory_bytes: u64,
    /// Time the plugin itself may compute.
    pub deadline: Duration,
    /// Time it may wait for the host beside that: for the registry, mostly.
    pub host_time: Duration,
}

/// The program's own log.
#[derive(Clone, Debug)]
pub struct Log {
    /// A level or a filter such as `info,sandbox=debug`.
    pub level: String,
    /// JSON lines instead of text.
    pub json: bool,
}

/// One plugin.
#[derive(Clone, Debug)]
pub struct Plugin {
    /// The name in logs and in error messages.
    pub name: String,
    /// A component's file; the embedded plugin of that name where none.
    pub path: Option<PathBuf>,
    /// Handed to the plugin with every call.
    pub settings: Value,
    /// What it may reach. Capability to its argument.
    pub grants: BTreeMap<String, Value>,
    /// The only component accepted, as SHA-256 in hex.
    pub digest: Option<String>,
}

/// What the program falls back to, known only at run time.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// The state directory.
    pub state_dir: PathBuf,
    /// This machine's name, with its domain if it has one.
    pub hostname: String,
    /// The server's own certificate name.
    pub certname: Certname,
}

impl Defaults {
    /// Defaults for a host.
    ///
    /// The server's certificate is not the host's: its common name is one that no agent has, so that the
    /// agent of the master's own host enrols as any other.
    pub fn new(state_dir: PathBuf, hostname: &str) -> Result<Self, pki::CertnameError> {
        let hostname = hostname.to_lowercase();
        let certname = Certname::parse(&format!("bunraku.{hostname}"))?;
        Ok(Defaults { state_dir, hostname, certname })
    }

    fn dns_alt_names(&self) -> Vec<String> {
        let short = self.hostname.split('.').next().unwrap_or_default();
        let mut names = vec![self.hostname.clone(), "puppet".to_owned(), "localhost".to_owned()];
        if short != self.hostname {
            names.insert(1, short.to_owned());
        }
        names.dedup();
        names
    }
}

impl Config {
    /// Reads a configuration; an empty text is the embedded defaults.
    ///
    /// # Errors
    /// Every problem at once, in the order of the text.
    pub fn parse(text: &str, defaults: &Defaults) -> Result<Config, Vec<Problem>> {
        let document = Document::new(text);
        let table = document.parse();
        let config = read(Section::top(&document, table.get_ref()), defaults);
        let problems = document.into_problems();
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    /// A path below the state directory, unless it is absolute.
    pub fn below_state(&self, path: impl AsRef<Path>) -> PathBuf {
        self.state_dir.join(path)
    }
}

fn read(top: Section<'_, '_>, defaults: &Defaults) -> Config {
    let state_dir = top.string("state_dir").map_or_else(|| defaults.state_dir.clone(), PathBuf::from);
    let environments = top.strings("environments").unwrap_or_default();
    for name in environments.iter().filter(|n| !files::is_environment(n)) {
        top.problem("environments", format_args!("names {name:?}; letters, digits and `_` make a name"));
    }
    let config = Config {
        environments,
        server: server(top.section("server"), &state_dir, defaults),
        ca: ca(top.section("ca")),
        registry: registry(top.section("registry"), &state_dir),
        sandbox: sandbox(top.section("sandbox")),
        reports_keep: reports_keep(top.section("reports")),
        log: log(top.section("log")),
        plugins: plugins(&top, &state_dir),
        hostname: defaults.hostname.clone(),
        state_dir,
    };
    top.finish();
    config
}

fn server(section: Section<'_, '_>, state_dir: &Path, defaults: &Defaults) -> Server {
    let listen = section.strings("listen").unwrap_or_else(|| vec!["[::]:8140".to_owned()]);
    let addresses: Vec<SocketAddr> = listen
        .iter()
        .filter_map(|text| {
            text.parse()
                .inspect_err(|_| {
                    section.problem(
                        "listen",
                        format_args!("holds {text:?}; write ADDRESS:PORT, such as 0.0.0.0:8140"),
                    );
                })
                .ok()
        })
        .collect();
    if listen.is_empty() {
        section.problem("listen", "is empty: nobody could reach this master");
    }
    let certname =
        section.parsed("certname", |text| Certname::parse(text).map_err(|e| format!("is {text:?}: {e}")));
    let out = Server {
        listen: addresses,
        certname: certname.unwrap_or_else(|| defaults.certname.clone()),
        dns_alt_names: section.strings("dns_alt_names").unwrap_or_else(|| defaults.dns_alt_names()),
        access_log: match section.string("access_log").as_deref() {
            None | Some("stdout") => AccessLogTo::Stdout,
            Some("off") => AccessLogTo::Off,
            Some(path) => AccessLogTo::File(state_dir.join(path)),
        },
        drain: section.duration("drain").unwrap_or(Duration::from_secs(25)),
        max_connections: section.number("max_connections", 1..=1_000_000).unwrap_or(20_000),
        requests_per_minute: section.number("requests_per_minute", 1..=1_000_000).unwrap_or(600),
    };
    section.finish();
    out
}

fn ca(section: Section<'_, '_>) -> Ca {
    let key = section.parsed("key", |text| match text {
        "ec-p256" => Ok(KeyKind::EcP256),
        "rsa-4096" => Ok(KeyKind::Rsa4096),
        other => Err(format!("is {other:?}; a CA's key is `ec-p256` or `rsa-4096`")),
    });
    let out = Ca {
        name: section.string("name"),
        key: key.unwrap_or(KeyKind::EcP256),
        certificate_ttl: section.duration("certificate_ttl").unwrap_or(Duration::from_secs(157_680_000)),
        crl_ttl: section.duration("crl_ttl").unwrap_or(Duration::from_secs(604_800)),
        allow_subject_alt_names: section.boolean("allow_subject_alt_names").unwrap_or(false),
        allow_authorization_extensions: section.boolean("allow_authorization_extensions").unwrap_or(false),
        max_pending: section.number("max_pending", 1..=10_000_000).unwrap_or(100_000),
        max_pending_per_name: section.number("max_pending_per_name", 1..=1_000).unwrap_or(5),
        pending_ttl: section.duration("pending_ttl").unwrap_or(Duration::from_secs(604_800)),
    };
    section.finish();
    out
}

fn registry(section: Section<'_, '_>, state_dir: &Path) -> Registry {
    let url = section.parsed("url", |text| match text.split_once(':') {
        Some(("dir", path)) if !path.is_empty() => Ok(format!("dir:{}", state_dir.join(path).display())),
        Some(("s3", rest))
            if rest.strip_prefix("//").is_some_and(|b| !b.is_empty() && !b.starts_with('/')) =>
        {
            Ok(text.to_owned())
        }
        _ => Err(format!("is {text:?}; write dir:PATH or s3://BUCKET/PREFIX")),
    });
    let out = Registry {
        url: url.unwrap_or_else(|| format!("dir:{}", state_dir.join("registry").display())),
        endpoint: section.string("endpoint"),
        region: section.string("region"),
        path_style: section.boolean("path_style").unwrap_or(false),
        deadline: section.duration("deadline").unwrap_or(Duration::from_secs(5)),
        attempts: section.number("attempts", 1..=20).unwrap_or(4),
        cache_entries: section.number("cache_entries", 0..=10_000_000).unwrap_or(20_000),
        max_object_bytes: section.bytes("max_object_bytes").unwrap_or(1 << 20),
        poll: section.duration("poll").unwrap_or(Duration::from_secs(5)),
        last_good: section.duration("last_good").unwrap_or(Duration::from_secs(86_400)),
    };
    section.finish();
    out
}

fn sandbox(section: Section<'_, '_>) -> Sandbox {
    let out = Sandbox {
        slots: section.number("slots", 1..=1_000).unwrap_or(64),
        memory_bytes: section.bytes("memory").unwrap_or(64 << 20),
        deadline: section.duration("deadline").unwrap_or(Duration::from_millis(100)),
        host_time: section.duration("host_time").unwrap_or(Duration::from_secs(10)),
    };
    section.finish();
    out
}

fn reports_keep(section: Section<'_, '_>) -> Duration {
    let keep = section.duration("keep").unwrap_or(Duration::from_secs(30 * 86_400));
    section.finish();
    keep
}

fn log(section: Section<'_, '_>) -> Log {
    let json = section.parsed("format", |text| match text {
        "text" => Ok(false),
        "json" => Ok(true),
        other => Err(format!("is {other:?}; a log is `text` or `json`")),
    });
    let out = Log {
        level: section.string("level").unwrap_or_else(|| "info".to_owned()),
        json: json.unwrap_or(false),
    };
    section.finish();
    out
}

/// The embedded plugins with what they need, where the operator says nothing.
fn default_plugins() -> Vec<Plugin> {
    let plugin = |name: &str, grants: &[(&str, Value)]| Plugin {
        name: name.to_owned(),
        path: None,
        settings: Value::Object(serde_json::Map::new()),
        grants: grants.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect(),
        digest: None,
    };
    vec![
        plugin("s3-registry", &[("object-store", serde_json::json!(["registry"]))]),
        plugin("base", &[]),
        plugin("hadoop", &[("stored-config", Value::Bool(true))]),
    ]
}

fn plugins(top: &Section<'_, '_>, state_dir: &Path) -> Vec<Plugin> {
    let Some(sections) = top.sections("plugins") else { return default_plugins() };
    let mut out = Vec::new();
    for section in sections {
        let name = section.string("name").filter(|n| !n.is_empty());
        if name.is_none() {
            top.problem("plugins", "has an entry without a `name`");
        }
        let name = name.unwrap_or_default();
        let known = default_plugins().into_iter().find(|p| p.name == name);
        let grants = match section.json("grants") {
            Some(Value::Object(map)) => map.into_iter().collect(),
            Some(_) => {
                section.problem("grants", "must be a table of capabilities");
                BTreeMap::new()
            }
            None => known.map(|p| p.grants).unwrap_or_default(),
        };
        let settings = section.json("settings").unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        if !settings.is_object() {
            section.problem("settings", "must be a table");
        }
        let digest = section.parsed("digest", |text| {
            let hex = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
            hex.then(|| text.to_lowercase()).ok_or("must be a SHA-256 in hex")
        });
        let path = section.string("path").map(|p| state_dir.join(p));
        section.finish();
        out.push(Plugin { name, path, settings, grants, digest });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> Defaults {
        Defaults::new("/var/lib/bunraku".into(), "Master1.example.test").unwrap()
    }

    #[test]
    fn an_empty_file_is_the_embedded_defaults() {
        let config = Config::parse("", &defaults()).unwrap();
        assert_eq!(config.server.certname.as_str(), "bunraku.master1.example.test");
        assert_eq!(config.server.dns_alt_names, ["master1.example.test", "master1", "puppet", "localhost"]);
        assert_eq!(config.registry.url, "dir:/var/lib/bunraku/registry");
        let names: Vec<_> = config.plugins.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["s3-registry", "base", "hadoop"]);
    }

    #[test]
    fn a_plugin_keeps_the_grants_it_is_shipped_with_unless_they_are_said() {
        let text = "[[plugins]]\nname = \"hadoop\"\n[[plugins]]\nname = \"mine\"\npath = \"mine.wasm\"\ngrants.object-store = [\"registry\"]\n";
        let config = Config::parse(text, &defaults()).unwrap();
        assert_eq!(config.plugins[0].grants["stored-config"], Value::Bool(true));
        assert_eq!(config.plugins[1].path.as_deref(), Some(Path::new("/var/lib/bunraku/mine.wasm")));
        assert_eq!(config.plugins[1].grants["object-store"], serde_json::json!(["registry"]));
    }

    #[test]
    fn a_wrong_file_names_each_line() {
        let text = "environments = [\"a-b\"]\n[server]\nlisten = [\"8140\"]\n[registry]\nurl = \"s3:/x\"\n[ca]\nkey = \"dsa\"\n[[plugins]]\npath = \"x\"\n";
        let problems = Config::parse(text, &defaults()).unwrap_err();
        let lines: Vec<usize> = problems.iter().map(|p| p.line).collect();
        assert_eq!(lines, [1, 3, 5, 7, 8]);
    }
}
