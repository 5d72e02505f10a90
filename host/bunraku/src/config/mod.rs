//! What the operator may set, and what holds where nothing is set.
//!
//! The table in the project's README is this file in words. Relative paths are
//! relative to the state directory.

pub mod ca;
pub mod plugins;
pub mod reader;
pub mod rollout;
pub mod server;
pub mod store;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::rollout::{SetSpec, SigningKeys};
use pki::Certname;

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
    pub server: server::Server,
    /// The certificate authority.
    pub ca: ca::Ca,
    /// Where node definitions are.
    pub registry: store::Registry,
    /// What else plugins may be granted to read, by name.
    pub stores: BTreeMap<String, store::ObjectStore>,
    /// Where metrics are served as plain HTTP; only on the control socket where none.
    pub metrics_listen: Option<SocketAddr>,
    /// Limits of every plugin call.
    pub sandbox: Sandbox,
    /// How long decisions are kept.
    pub journal: Journal,
    /// How long reports are kept.
    pub reports_keep: Duration,
    /// The program's own log.
    pub log: Log,
    /// How a set of plugins goes live.
    pub rollout: rollout::Rollout,
    /// Whose signatures on components are good.
    pub plugin_keys: SigningKeys,
    /// The plugins, in the order in which they are asked, and how their answers add up.
    pub plugins: SetSpec,
}

/// How long decisions are kept to be explained and replayed.
#[derive(Clone, Debug)]
pub struct Journal {
    /// Older ones go.
    pub keep: Duration,
    /// Of the database's files together.
    pub max_bytes: u64,
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

    /// A catalog master's names are asked of its CA, which has been told each
    /// of them: so only its own.
    fn dns_alt_names(&self, is_ca: bool) -> Vec<String> {
        let short = self.hostname.split('.').next().unwrap_or_default();
        let mut names = vec![self.hostname.clone()];
        if short != self.hostname {
            names.push(short.to_owned());
        }
        if is_ca {
            names.extend(["puppet".to_owned(), "localhost".to_owned()]);
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
    let ca = ca::read(top.section("ca"), &state_dir);
    let plugin_keys = rollout::plugin_keys(&top, &state_dir);
    let rollout = rollout::read(top.section("rollout"), ca.follows.is_none(), !plugin_keys.is_empty());
    let plugins = SetSpec {
        plugins: plugins::read(&top, &state_dir),
        merge: rollout.merge,
        quorum: rollout::quorum(&top),
    };
    let config = Config {
        environments,
        server: server::read(top.section("server"), &state_dir, defaults, ca.follows.is_none()),
        ca,
        registry: store::registry(top.section("registry"), &state_dir),
        stores: store::stores(&top, &state_dir),
        metrics_listen: metrics_listen(top.section("metrics")),
        sandbox: sandbox(top.section("sandbox")),
        journal: journal(top.section("journal")),
        reports_keep: reports_keep(top.section("reports")),
        log: log(top.section("log")),
        rollout,
        plugin_keys,
        plugins,
        hostname: defaults.hostname.clone(),
        state_dir,
    };
    top.finish();
    config
}

fn journal(section: Section<'_, '_>) -> Journal {
    let usual = ::journal::Settings::default();
    let max_bytes = section.parsed("max_bytes", |text| {
        let bytes = ::rollout::parse_bytes(text)?;
        let least = ::journal::MIN_BYTES;
        if bytes < least { Err(format!("must be at least {}MiB", least >> 20)) } else { Ok(bytes) }
    });
    let out = Journal {
        keep: section.duration("keep").unwrap_or(usual.max_age),
        max_bytes: max_bytes.unwrap_or(usual.max_bytes),
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

fn metrics_listen(section: Section<'_, '_>) -> Option<SocketAddr> {
    let listen = section.parsed("listen", |text| {
        text.parse().map_err(|_| format!("is {text:?}; write ADDRESS:PORT, such as 127.0.0.1:9140"))
    });
    section.finish();
    listen
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

#[cfg(test)]
mod tests {
    use super::*;
    use ::rollout::Source;
    use serde_json::Value;

    fn defaults() -> Defaults {
        Defaults::new("/var/lib/bunraku".into(), "Master1.example.test").unwrap()
    }

    #[test]
    fn an_empty_file_is_the_embedded_defaults() {
        let config = Config::parse("", &defaults()).unwrap();
        assert_eq!(config.server.certname.as_str(), "bunraku.master1.example.test");
        assert_eq!(config.server.dns_alt_names, ["master1.example.test", "master1", "puppet", "localhost"]);
        assert_eq!(config.server.control_socket, Path::new("/var/lib/bunraku/control.sock"));
        assert_eq!(
            (config.metrics_listen, &*config.registry.store.url),
            (None, "dir:/var/lib/bunraku/registry")
        );
        let names: Vec<_> = config.plugins.plugins.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["s3-registry", "base", "hadoop"]);
    }

    #[test]
    fn a_catalog_master_asks_for_its_own_names_only() {
        let text = "[ca]\nenabled = false\nserver = \"ca\"\n[metrics]\nlisten = \"[::1]:9140\"\n";
        let config = Config::parse(text, &defaults()).unwrap();
        assert_eq!(config.server.dns_alt_names, ["master1.example.test", "master1"]);
        assert_eq!(config.metrics_listen, Some("[::1]:9140".parse().unwrap()));
    }

    #[test]
    fn a_plugin_keeps_the_grants_it_is_shipped_with_unless_they_are_said() {
        let text = "[[plugins]]\nname = \"hadoop\"\n[[plugins]]\nname = \"mine\"\npath = \"mine.wasm\"\ngrants.object-store = [\"registry\"]\n";
        let config = Config::parse(text, &defaults()).unwrap();
        assert_eq!(config.plugins.plugins[0].grants["stored-config"], Value::Bool(true));
        assert_eq!(config.plugins.plugins[1].source, Source::File("/var/lib/bunraku/mine.wasm".into()));
        assert_eq!(config.plugins.plugins[1].grants["object-store"], serde_json::json!(["registry"]));
    }

    #[test]
    fn the_journal_has_bounds() {
        let journal = |text: &str| Config::parse(text, &defaults()).map(|c| c.journal);
        let usual = journal("").unwrap();
        assert_eq!((usual.keep.as_secs(), usual.max_bytes), (30 * 86_400, 1 << 30));
        let set = journal("[journal]\nkeep = \"90d\"\nmax_bytes = \"16GiB\"\n").unwrap();
        assert_eq!((set.keep.as_secs(), set.max_bytes), (90 * 86_400, 16 << 30));
        let said =
            |text: &str| journal(text).unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            said("[journal]\nmax_bytes = \"1MiB\"\nkeeep = \"1d\"\n"),
            [
                "line 2, column 13: `journal.max_bytes` must be at least 2MiB",
                "line 3, column 9: `journal.keeep` is no setting; did you mean `keep`?",
            ]
        );
    }

    #[test]
    fn a_wrong_file_names_each_line() {
        let text = "environments = [\"a-b\"]\n[server]\nlisten = [\"8140\"]\n[registry]\nurl = \"s3:/x\"\n[ca]\nkey = \"dsa\"\n[metrics]\nlisten = \"9140\"\n[[plugins]]\npath = \"x\"\n";
        let problems = Config::parse(text, &defaults()).unwrap_err();
        let lines: Vec<usize> = problems.iter().map(|p| p.line).collect();
        assert_eq!(lines, [1, 3, 5, 7, 9, 10]);
    }
}
