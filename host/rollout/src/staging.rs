//! Makes a set on the side: reads, compiles and checks every plugin, and
//! reports all that is wrong at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use catalog::{ClassIndex, ClassSpec};
use sandbox::{Plugin, Sandbox};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::grants::Grants;
use crate::set::{LivePlugin, PluginSet};

/// The largest component file read, in bytes.
const MAX_COMPONENT: u64 = 64 << 20;

/// A plugin as the operator asks for it.
#[derive(Clone, Debug)]
pub struct PluginSpec {
    /// The operator's name for it.
    pub name: String,
    /// Where the component comes from.
    pub source: Source,
    /// Handed over with every call.
    pub settings: Value,
    /// Capability to its argument, as configured.
    pub grants: BTreeMap<String, Value>,
    /// The only component accepted, as SHA-256 in hex.
    pub digest: Option<String>,
}

/// Where a component comes from.
#[derive(Clone)]
pub enum Source {
    /// It is part of this program.
    Embedded(&'static [u8]),
    /// A file, read whole when the set is staged.
    File(PathBuf),
    /// Neither is there.
    Missing,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Embedded(bytes) => write!(f, "Embedded({} bytes)", bytes.len()),
            Source::File(path) => write!(f, "File({})", path.display()),
            Source::Missing => f.write_str("Missing"),
        }
    }
}

/// One reason why a set can't go live: which plugin, what is wrong, how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Problem(String);

impl Problem {
    pub(crate) fn new(plugin: &str, message: impl fmt::Display) -> Self {
        Problem(format!("plugin {plugin}: {message}"))
    }
}

/// Loads every plugin and checks the set as a whole.
///
/// # Errors
/// Every problem of every plugin; the live set is untouched.
pub async fn stage(specs: &[PluginSpec], sandbox: &Arc<Sandbox>) -> Result<PluginSet, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut plugins = Vec::new();
    let mut names = BTreeSet::new();
    for spec in specs {
        if !names.insert(spec.name.as_str()) {
            problems.push(Problem::new(&spec.name, "is configured twice; names are unique"));
            continue;
        }
        match load(spec, sandbox).await {
            Ok(plugin) => plugins.push(plugin),
            Err(found) => problems.extend(found),
        }
    }
    let index = index(&plugins, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(PluginSet { id: identity(&plugins), plugins, classes: Arc::new(index) })
}

async fn load(spec: &PluginSpec, sandbox: &Arc<Sandbox>) -> Result<LivePlugin, Vec<Problem>> {
    let one = |message: String| vec![Problem::new(&spec.name, message)];
    let plugin = compile(spec, sandbox).await.map_err(one)?;
    let mut problems = Vec::new();
    // What is wrongly granted is not reported a second time, as missing.
    let stores = BTreeSet::from(["registry".to_owned()]);
    let grants = Grants::parse(&spec.name, &spec.grants, &stores).unwrap_or_else(|found| {
        problems.extend(found);
        Grants::default()
    });
    if problems.is_empty() {
        problems.extend(ungranted(&spec.name, &plugin, &grants));
    }
    match plugin.validate_settings(&spec.settings).await {
        Ok(found) => problems.extend(found.into_iter().map(|p| {
            let place = if p.path.is_empty() { String::new() } else { format!(" at {}", p.path) };
            Problem::new(&spec.name, format_args!("settings{place}: {}", p.message))
        })),
        Err(error) => {
            problems.push(Problem::new(&spec.name, format_args!("could not check its settings: {error}")))
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(LivePlugin { name: spec.name.clone(), plugin, settings: spec.settings.to_string(), grants })
}

async fn compile(spec: &PluginSpec, sandbox: &Arc<Sandbox>) -> Result<Arc<Plugin>, String> {
    let (source, sandbox, pinned) = (spec.source.clone(), sandbox.clone(), spec.digest.clone());
    // Reading and compiling take a core for as long as they take: off the
    // threads that serve agents.
    let work = move || -> Result<Arc<Plugin>, String> {
        let owned;
        let bytes: &[u8] = match &source {
            Source::Embedded(bytes) => bytes,
            Source::File(path) => {
                owned = read(path)?;
                &owned
            }
            Source::Missing => return Err(
                "is not embedded in this program; give its component's file as `path`, or build with `cargo xtask build`".to_owned(),
            ),
        };
        let digest = hex::encode(Sha256::digest(bytes));
        if let Some(pinned) = pinned.filter(|p| *p != digest) {
            return Err(format!("the component's digest is {digest}, but {pinned} is pinned"));
        }
        sandbox.load(bytes).map_err(|e| e.to_string())
    };
    tokio::task::spawn_blocking(work).await.map_err(|e| format!("loading it failed: {e}"))?
}

fn read(path: &std::path::Path) -> Result<Vec<u8>, String> {
    let place = |e: std::io::Error| format!("cannot read {}: {e}", path.display());
    let size = std::fs::metadata(path).map_err(place)?.len();
    if size > MAX_COMPONENT {
        return Err(format!(
            "{} has {size} bytes, more than the {MAX_COMPONENT} a component may have",
            path.display()
        ));
    }
    std::fs::read(path).map_err(place)
}

/// What the plugin says it needs and is not granted.
fn ungranted(name: &str, plugin: &Plugin, grants: &Grants) -> Vec<Problem> {
    let needed = plugin.metadata().capabilities.iter().filter(|wanted| !wanted.optional);
    let ungranted = needed.filter(|wanted| !grants.covers(&wanted.name)).map(|wanted| {
        let (word, reason) = (&wanted.name, &wanted.reason);
        let message = format!("needs the capability `{word}` ({reason}); grant it or leave the plugin out");
        Problem::new(name, message)
    });
    ungranted.collect()
}

/// Who provides which class; two plugins for one class are a problem.
fn index(plugins: &[LivePlugin], problems: &mut Vec<Problem>) -> ClassIndex {
    let specs = plugins.iter().flat_map(|live| {
        live.plugin.classes().iter().map(|class| ClassSpec {
            name: class.name.clone(),
            plugin: live.name.clone(),
            parameters_schema: class.parameters_schema.clone(),
        })
    });
    ClassIndex::new(specs).unwrap_or_else(|errors| {
        problems.extend(errors.iter().map(|e| Problem(e.to_string())));
        ClassIndex::default()
    })
}

fn identity(plugins: &[LivePlugin]) -> String {
    let mut hash = Sha256::new();
    for live in plugins {
        for part in
            [live.name.as_str(), live.plugin.digest(), live.settings.as_str(), &format!("{:?}", live.grants)]
        {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
    }
    hex::encode(hash.finalize())
}
