//! From arguments and configuration to the crates below, put together.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::registry::Registry;
use rollout::{Means, Origin, PluginSet};
use sandbox::Sandbox;
use store::Store;
use tracing_subscriber::EnvFilter;

use crate::arguments::Common;
use crate::config::store::{ObjectStore, REGISTRY};
use crate::config::{Config, Defaults};
use crate::fetch::Sources;

/// The store's file below the state directory.
pub const DATABASE: &str = "bunraku.db";
/// The folder of plugins' components below it.
pub const COMPONENTS: &str = "plugins";

/// The journal's file below the state directory.
pub const JOURNAL: &str = "journal.db";

/// Why the program ends, and with which code.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// For the operator; may have several lines.
    pub message: String,
}

impl Failure {
    /// Something broke or is not there.
    pub fn new(message: impl std::fmt::Display) -> Self {
        Failure { code: 1, message: message.to_string() }
    }

    /// An exit code with its reason.
    pub fn with_code(code: u8, message: impl std::fmt::Display) -> Self {
        Failure { code, message: message.to_string() }
    }
}

/// Reads the configuration and starts the log.
pub fn configure(common: &Common) -> Result<Config, Failure> {
    let config = read_config(common)?;
    start_log(&config, common.log_level.as_ref().unwrap_or(&config.log.level))?;
    Ok(config)
}

/// The same for a command whose answer is what it prints: it logs what is
/// wrong, and more only where the arguments say so.
pub fn configure_quietly(common: &Common) -> Result<Config, Failure> {
    let config = read_config(common)?;
    start_log(&config, common.log_level.as_deref().unwrap_or("warn"))?;
    Ok(config)
}

fn start_log(config: &Config, level: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(level)
        .map_err(|e| Failure::with_code(2, format_args!("the log level {level:?} can't be read: {e}")))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if config.log.json { log.json().try_init() } else { log.with_ansi(false).try_init() };
    started.map_err(|e| Failure::new(format_args!("the log can't be started: {e}")))
}

/// Reads the configuration file that the arguments name, or the default one,
/// or none.
pub fn read_config(common: &Common) -> Result<Config, Failure> {
    let hostname = hostname();
    let defaults = Defaults::new(state_dir(common)?, &hostname).map_err(|e| {
        Failure::with_code(
            2,
            format_args!("this machine's name {hostname:?} makes no certificate name ({e}): give it another"),
        )
    })?;
    let Some(file) = config_file(common) else {
        return Config::parse("", &defaults).map_err(|problems| wrong("the embedded defaults", &problems));
    };
    let text = std::fs::read_to_string(&file).map_err(|e| {
        Failure::with_code(2, format_args!("cannot read the configuration {}: {e}", file.display()))
    })?;
    Config::parse(&text, &defaults).map_err(|problems| wrong(&file.display().to_string(), &problems))
}

/// The configuration file that the arguments name, or the default one if it is there.
pub fn config_file(common: &Common) -> Option<PathBuf> {
    let usual = Path::new("/etc/bunraku/bunraku.toml");
    let file = common.config.as_deref().or_else(|| usual.exists().then_some(usual));
    file.map(Path::to_owned)
}

/// Where the configuration is, for people.
pub fn config_place(common: &Common) -> String {
    let shown = |file: PathBuf| std::path::absolute(&file).unwrap_or(file).display().to_string();
    config_file(common).map_or_else(|| "the embedded defaults".to_owned(), shown)
}

fn wrong(place: &str, problems: &[crate::config::reader::Problem]) -> Failure {
    let list: Vec<String> = problems.iter().map(|p| format!("  {p}")).collect();
    let noun = if list.len() == 1 { "problem" } else { "problems" };
    Failure::with_code(2, format_args!("{place} has {} {noun}:\n{}", list.len(), list.join("\n")))
}

fn state_dir(common: &Common) -> Result<PathBuf, Failure> {
    if let Some(dir) = &common.state_dir {
        return std::path::absolute(dir).map_err(Failure::new);
    }
    if is_root() {
        return Ok(PathBuf::from("/var/lib/bunraku"));
    }
    let home = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    home("XDG_STATE_HOME")
        .or_else(|| home("HOME").map(|h| h.join(".local/state")))
        .map(|base| base.join("bunraku"))
        .ok_or_else(|| Failure::with_code(2, "no home directory is set: say --state-dir DIR"))
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

/// This machine's name with its domain, as agents on it know it.
fn hostname() -> String {
    let asked = std::process::Command::new("hostname").arg("--fqdn").output();
    let full =
        asked.ok().filter(|out| out.status.success()).and_then(|out| String::from_utf8(out.stdout).ok());
    let short = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = full.map_or_else(short, |name| if name.trim().is_empty() { short() } else { name });
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

/// Opens the registry that the configuration names.
pub async fn registry(config: &Config) -> Result<Arc<Registry>, Failure> {
    object_store("registry.url", &config.registry.store).await
}

/// Opens a place of objects; `key` is its setting.
pub async fn object_store(key: &str, place: &ObjectStore) -> Result<Arc<Registry>, Failure> {
    let url =
        place.url.parse().map_err(|e| Failure::with_code(2, format_args!("{key} {:?}: {e}", place.url)))?;
    let settings = ::registry::Settings {
        url,
        endpoint: place.endpoint.clone(),
        region: place.region.clone(),
        path_style: place.path_style,
        deadline: place.deadline,
        attempts: place.attempts,
        cache_entries: usize::try_from(place.cache_entries).unwrap_or(usize::MAX),
        max_object_bytes: place.max_object_bytes,
    };
    Registry::open(&settings).await.map(Arc::new).map_err(Failure::new)
}

/// Starts the sandbox; compiled plugins are kept below the state directory.
pub fn sandbox(config: &Config) -> Result<Arc<Sandbox>, Failure> {
    let settings = sandbox::Settings {
        cache_dir: Some(config.below_state("cache/plugins")),
        slots: config.sandbox.slots,
        memory_bytes: usize::try_from(config.sandbox.memory_bytes).unwrap_or(usize::MAX),
        deadline: config.sandbox.deadline,
        host_time: config.sandbox.host_time,
        ..sandbox::Settings::default()
    };
    Sandbox::new(settings).map_err(Failure::new)
}

/// What plugin sets are made with where no daemon runs, or beside it.
pub fn means(config: &Config, sandbox: &Arc<Sandbox>) -> Means {
    Means {
        fetch: Arc::new(Sources::new(config)),
        keys: config.plugin_keys.clone(),
        require_signature: config.rollout.require_signature,
        stores: store_names(config),
        components: Some(config.below_state(COMPONENTS)),
        ..Means::new(sandbox.clone())
    }
}

/// The set that decides: the one that a master has recorded as live, else the configured one.
pub async fn plugin_set(
    config: &Config,
    store: Option<&Store>,
    sandbox: &Arc<Sandbox>,
) -> Result<PluginSet, Failure> {
    let recorded = match store {
        Some(store) => rollout::recorded(store).await.map_err(Failure::new)?,
        None => None,
    };
    let (spec, origin) = match recorded {
        Some(row) => (row.spec, row.origin),
        None => (config.plugins.clone(), Origin::new("start", "the configuration")),
    };
    rollout::stage(&means(config, sandbox), &spec, origin).await.map_err(|problems| unusable(&problems))
}

/// Comes up with the set that was live, the first time with the configured one. What keeps the configured
/// one from being live is said; where it is new, its id is given, for the master to swap it in.
pub async fn rollout(
    config: &Config,
    store: &Arc<Store>,
    sandbox: Arc<Sandbox>,
    sources: Arc<Sources>,
) -> Result<(Arc<rollout::Rollout>, Option<String>), Failure> {
    let parts = rollout::Parts {
        dir: config.below_state(COMPONENTS),
        store: store.clone(),
        sandbox,
        fetch: sources,
        keys: config.plugin_keys.clone(),
        stores: store_names(config),
    };
    let count = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    let settings = rollout::Settings {
        keep: count(config.rollout.keep),
        window: config.rollout.window,
        require_signature: config.rollout.require_signature,
        shadow_slots: count(config.rollout.shadow_slots),
    };
    let opened =
        rollout::Rollout::open(parts, settings, config.plugins.clone()).await.map_err(
            |error| match error {
                rollout::Error::Plugins(problems) => unusable(&problems),
                other => Failure::new(other),
            },
        )?;
    for problem in opened.problems {
        tracing::error!("the plugins are those that were live before: {problem}");
    }
    Ok((opened.rollout, opened.configured))
}

/// Why there is no set, a line for each problem.
pub fn unusable(problems: &[rollout::Problem]) -> Failure {
    let list: Vec<String> = problems.iter().map(|p| format!("  {p}")).collect();
    Failure::new(format_args!("the plugins can't be used:\n{}", list.join("\n")))
}

/// The names of the stores that plugins may be granted.
fn store_names(config: &Config) -> BTreeSet<String> {
    config.stores.keys().cloned().chain([REGISTRY.to_owned()]).collect()
}

/// Opens what plugins may be granted besides the registry.
pub async fn stores(config: &Config) -> Result<master::Stores, Failure> {
    let mut opened = master::Stores::new();
    for (name, place) in &config.stores {
        opened.insert(name.clone(), object_store(&format!("stores.{name}.url"), place).await?);
    }
    Ok(opened)
}

/// What a certificate request may ask for.
pub fn request_rules(config: &Config) -> pki::RequestRules {
    pki::RequestRules {
        allow_subject_alt_names: config.ca.allow_subject_alt_names,
        allow_authorization_extensions: config.ca.allow_authorization_extensions,
    }
}

/// How the CA works, with whoever holds its key.
pub fn ca_settings(config: &Config, keys: Arc<dyn signer::KeyHolder>) -> ca::Settings {
    ca::Settings {
        dir: config.below_state("ca"),
        key: config.ca.key,
        ca_name: config.ca.name.clone().unwrap_or_else(|| format!("Puppet CA: {}", config.server.certname)),
        certificate_ttl: config.ca.certificate_ttl,
        crl_ttl: config.ca.crl_ttl,
        request_rules: request_rules(config),
        host: pki::Certname::parse(&config.hostname).ok(),
        keys,
        min_free: config.ca.min_free,
        infra_crl: config.ca.infra_crl,
        renewal: config.ca.renewal,
    }
}

/// Why the CA does not open. A passphrase that is missing, wrong or for
/// everybody to read is the operator's setting.
pub fn ca_failure(config: &Config, error: ca::Error) -> Failure {
    use signer::Error::{Mode, Owner, Passphrase, PassphraseMissing, PassphraseWrong};
    let set = match &error {
        ca::Error::Signer(Passphrase { .. } | PassphraseMissing { .. } | PassphraseWrong { .. }) => true,
        ca::Error::Signer(Mode { path, .. } | Owner { path, .. }) => {
            config.ca.passphrase_file.as_ref() == Some(path)
        }
        _ => false,
    };
    Failure::with_code(if set { 2 } else { 1 }, error)
}
