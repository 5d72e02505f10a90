//! Makes a set on the side: fetches, compiles and checks every plugin, and reports all that is wrong at
//! once.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use catalog::{ClassIndex, ClassSpec};
use decide::Rules;
use sandbox::{Plugin, Sandbox};
use time::OffsetDateTime;

use crate::components::{Components, digest, is_digest, read_file};
use crate::fetch::{Fetch, NoFetch};
use crate::grants::Grants;
use crate::problem::Problem;
use crate::set::{LivePlugin, PluginSet};
use crate::signature::SigningKeys;
use crate::spec::{FailedClassification, Origin, PluginSpec, SetSpec, Source};

/// Plugins of one set, at most.
const MAX_PLUGINS: usize = 100;

/// Bytes of a plugin's name, at most.
const MAX_NAME: usize = 100;

/// What a set is staged with.
#[derive(Clone)]
pub struct Means {
    /// Compiles and asks plugins.
    pub sandbox: Arc<Sandbox>,
    /// Gets what is no file.
    pub fetch: Arc<dyn Fetch>,
    /// Whose signatures count.
    pub keys: SigningKeys,
    /// Whether a component must be signed, unless it is part of this program.
    pub require_signature: bool,
    /// The object stores that there are.
    pub stores: BTreeSet<String>,
    /// The folder of components kept by a master; read only.
    pub components: Option<PathBuf>,
}

impl Means {
    /// A sandbox and nothing else: no components but files, no keys, no stores.
    pub fn new(sandbox: Arc<Sandbox>) -> Self {
        Means {
            sandbox,
            fetch: Arc::new(NoFetch),
            keys: SigningKeys::default(),
            require_signature: false,
            stores: BTreeSet::new(),
            components: None,
        }
    }
}

/// Loads every plugin and checks the set as a whole. Nothing is kept: see
/// [`Rollout::stage`](crate::Rollout::stage) for a master.
///
/// # Errors
/// Every problem of every plugin.
pub async fn stage(means: &Means, spec: &SetSpec, origin: Origin) -> Result<PluginSet, Vec<Problem>> {
    let components = means.components.as_deref().map(Components::at);
    let staging = Staging::new(means.clone(), components.map(Arc::new), false);
    staging.stage(spec, &Written::new(), origin).await
}

/// Where plugins' components came from before they were named by digest.
pub(crate) type Written = BTreeMap<String, Source>;

/// Makes sets, and knows the plugins of those that are alive.
pub(crate) struct Staging {
    means: Means,
    components: Option<Arc<Components>>,
    /// Whether components are kept.
    keep: bool,
    /// Compiled plugins that some set still has, by digest.
    loaded: Mutex<HashMap<String, Weak<Plugin>>>,
    census: Arc<()>,
}

/// The bytes of a component, and what is known of them.
struct Found {
    bytes: Cow<'static, [u8]>,
    digest: String,
    signature: Option<Vec<u8>>,
    /// It is part of this program, and trusted as that.
    embedded: bool,
    /// Where it came from, as an operator would write it.
    written: Source,
}

impl Staging {
    pub(crate) fn new(means: Means, components: Option<Arc<Components>>, keep: bool) -> Self {
        Staging { means, components, keep, loaded: Mutex::default(), census: Arc::default() }
    }

    pub(crate) fn sandbox(&self) -> &Arc<Sandbox> {
        &self.means.sandbox
    }

    /// Sets that are alive: live, kept, in shadow, or held by a call.
    pub(crate) fn alive(&self) -> usize {
        Arc::strong_count(&self.census).saturating_sub(1)
    }

    /// The id that the set would have, if all of its components can be had.
    pub(crate) async fn identify(&self, spec: &SetSpec) -> Result<String, Vec<Problem>> {
        let mut digests = Vec::new();
        let mut problems = Vec::new();
        for plugin in &spec.plugins {
            match self.find(plugin, None).await {
                Ok(found) => digests.push(found.digest),
                Err(message) => problems.push(Problem::new(&plugin.name, message)),
            }
        }
        if problems.is_empty() { Ok(identity(&resolved(spec, digests))) } else { Err(problems) }
    }

    /// Makes a set. `written` tells where a component named by its digest may be found as well.
    pub(crate) async fn stage(
        &self,
        spec: &SetSpec,
        written: &Written,
        origin: Origin,
    ) -> Result<PluginSet, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut plugins = Vec::new();
        let mut names = BTreeSet::new();
        if spec.plugins.len() > MAX_PLUGINS {
            let count = spec.plugins.len();
            return Err(vec![Problem::of_set(format_args!(
                "{count} plugins are more than the {MAX_PLUGINS} that a set may have"
            ))]);
        }
        for plugin in &spec.plugins {
            if !names.insert(plugin.name.as_str()) {
                problems.push(Problem::new(&plugin.name, "is configured twice; names are unique"));
                continue;
            }
            match self.load(plugin, written.get(&plugin.name)).await {
                Ok(plugin) => plugins.push(plugin),
                Err(found) => problems.extend(found),
            }
        }
        let complete = problems.is_empty();
        let classes = Arc::new(index(&plugins, &mut problems));
        let rules = rules(spec, complete.then_some(plugins.as_slice()), &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        let configured = !spec.plugins.iter().any(|plugin| matches!(plugin.source, Source::Digest(_)));
        let spec = resolved(spec, plugins.iter().map(|live| live.plugin.digest().to_owned()));
        Ok(PluginSet {
            id: identity(&spec),
            spec,
            plugins,
            classes,
            rules,
            origin,
            made_at: OffsetDateTime::now_utc(),
            configured,
            _census: Arc::clone(&self.census),
        })
    }

    async fn load(&self, spec: &PluginSpec, written: Option<&Source>) -> Result<LivePlugin, Vec<Problem>> {
        let one = |message: String| vec![Problem::new(&spec.name, message)];
        if spec.name.is_empty() || spec.name.len() > MAX_NAME || spec.name.contains(char::is_control) {
            return Err(vec![Problem::of_set(format_args!(
                "{:?} can't be the name of a plugin; give it up to {MAX_NAME} printable characters",
                spec.name.chars().take(MAX_NAME).collect::<String>()
            ))]);
        }
        if !spec.settings.is_object() {
            return Err(one("settings must be a table".to_owned()));
        }
        let found = self.find(spec, written).await.map_err(one)?;
        if let Some(pinned) = spec.digest.as_ref().filter(|pinned| **pinned != found.digest) {
            return Err(one(format!("the component's digest is {}, but {pinned} is pinned", found.digest)));
        }
        let signed_by = self.signed_by(&found).map_err(one)?;
        let written = found.written.clone();
        let plugin = self.compile(found).await.map_err(one)?;
        let mut problems = Vec::new();
        // What is wrongly granted is not reported a second time, as missing.
        let grants = Grants::parse(&spec.name, &spec.grants, &self.means.stores).unwrap_or_else(|found| {
            problems.extend(found);
            Grants::default()
        });
        if problems.is_empty() {
            problems.extend(ungranted(&spec.name, &plugin, &grants));
        }
        on_failure(spec, &plugin, &mut problems);
        match plugin.validate_settings(&spec.settings).await {
            Ok(found) => problems.extend(found.into_iter().map(|p| {
                let place = if p.path.is_empty() { String::new() } else { format!(" at {}", p.path) };
                Problem::quoted(&spec.name, format_args!("settings{place}: {}", p.message))
            })),
            Err(error) => {
                let message = format_args!("could not check its settings: {error}");
                problems.push(Problem::quoted(&spec.name, message));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let settings = spec.settings.to_string();
        Ok(LivePlugin {
            name: spec.name.clone(),
            plugin,
            settings_digest: digest(settings.as_bytes()),
            settings,
            grants,
            source: written.to_string(),
            signed_by,
            on_failure: spec.on_failure,
            written,
        })
    }

    async fn find(&self, spec: &PluginSpec, written: Option<&Source>) -> Result<Found, String> {
        let wanted = match &spec.source {
            Source::Digest(wanted) => wanted,
            source => return self.fetch(source).await,
        };
        if !is_digest(wanted) {
            return Err(format!("{wanted:?} is no SHA-256 in lower-case hex"));
        }
        // An embedded component needs no signature, so it is looked for first.
        let embedded = Source::Embedded(spec.name.clone());
        let known = |found: &Found| found.digest == *wanted;
        if let Some(found) = self.fetch(&embedded).await.ok().filter(known) {
            return Ok(found);
        }
        let written_as = written.cloned().unwrap_or_else(|| spec.source.clone());
        let mut damaged = None;
        if let Some(components) = self.components.clone() {
            let name = wanted.clone();
            let kept = blocking(move || components.get(&name)).await;
            match kept {
                Ok(Some(component)) => return Ok(Found::new(component, written_as)),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(plugin = spec.name, error, "a kept component can't be used");
                    damaged = Some(error);
                }
            }
        }
        if let Some(source) = written.filter(|source| !matches!(source, Source::Digest(_)))
            && let Some(found) = self.fetch(source).await.ok().filter(known)
        {
            return Ok(found);
        }
        match self.means.fetch.component(wanted).await {
            Ok(Some(component)) => {
                let found = Found::new(component, written_as);
                match known(&found) {
                    true => Ok(found),
                    false => Err(format!("asked for component {wanted}, the CA gave {}", found.digest)),
                }
            }
            Ok(None) => Err(damaged.map_or_else(
                || format!("component {wanted} is not here: upload it, or give its file as `path`"),
                |damaged| {
                    format!("{damaged}; put component {wanted} there again, or give its file as `path`")
                },
            )),
            Err(error) => Err(format!("cannot get component {wanted}: {error}")),
        }
    }

    async fn fetch(&self, source: &Source) -> Result<Found, String> {
        match source {
            Source::Embedded(name) => {
                let bytes = self.means.fetch.embedded(name).ok_or(
                    "is not embedded in this program; give its component's file as `path`, or build with `cargo xtask build`",
                )?;
                Ok(Found {
                    digest: digest(bytes),
                    bytes: Cow::Borrowed(bytes),
                    signature: None,
                    embedded: true,
                    written: source.clone(),
                })
            }
            Source::File(path) => {
                let path = path.clone();
                let component = blocking(move || read_file(&path)).await?;
                Ok(Found::new(component, source.clone()))
            }
            Source::Object(url) => {
                let bytes = self.means.fetch.object(url).await?;
                let signature = match self.means.keys.is_empty() {
                    true => None,
                    // Where a signature is needed, its lack is said.
                    false => self.means.fetch.object(&format!("{url}.sig")).await.ok(),
                };
                Ok(Found::new(crate::Component { bytes, signature }, source.clone()))
            }
            Source::Digest(wanted) => Err(format!("component {wanted} is not here")),
        }
    }

    /// The key that signed it. A signature that is there must be a good one, wherever there are keys.
    fn signed_by(&self, found: &Found) -> Result<Option<String>, String> {
        let keys = &self.means.keys;
        match &found.signature {
            _ if found.embedded => Ok(None),
            Some(signature) if !keys.is_empty() => match keys.verify(&found.bytes, signature) {
                Ok(name) => Ok(Some(name.to_owned())),
                Err(error) => Err(error.to_string()),
            },
            _ if self.means.require_signature => Err(
                "is not signed, and unsigned components are refused; put the signature beside it as `.sig`, or set rollout.require_signature to false".to_owned(),
            ),
            _ => Ok(None),
        }
    }

    /// Compiles what no set that is alive has compiled already, and keeps the component.
    async fn compile(&self, found: Found) -> Result<Arc<Plugin>, String> {
        let known = self.loaded().get(&found.digest).and_then(Weak::upgrade);
        let sandbox = Arc::clone(&self.means.sandbox);
        let components = self.components.clone().filter(|_| self.keep);
        // Reading and compiling take a core for as long as they take: off the threads that serve agents.
        let plugin = blocking(move || {
            let plugin = match known {
                Some(plugin) => plugin,
                None => sandbox.load(&found.bytes).map_err(|e| e.to_string())?,
            };
            if let Some(components) = components {
                components
                    .put(&found.bytes, found.signature.as_deref())
                    .map_err(|e| format!("its component can't be kept: {e}"))?;
            }
            Ok(plugin)
        })
        .await?;
        let mut loaded = self.loaded();
        loaded.retain(|_, plugin| plugin.strong_count() > 0);
        loaded.insert(plugin.digest().to_owned(), Arc::downgrade(&plugin));
        Ok(plugin)
    }

    fn loaded(&self) -> std::sync::MutexGuard<'_, HashMap<String, Weak<Plugin>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Found {
    fn new(component: crate::Component, written: Source) -> Self {
        Found {
            digest: digest(&component.bytes),
            bytes: Cow::Owned(component.bytes),
            signature: component.signature,
            embedded: false,
            written,
        }
    }
}

/// Does what would keep a thread that serves agents.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|e| format!("loading it failed: {e}"))?
}

/// With every component named by its digest, and no pin besides.
fn resolved(spec: &SetSpec, digests: impl IntoIterator<Item = String>) -> SetSpec {
    let plugins = spec.plugins.iter().zip(digests).map(|(plugin, digest)| PluginSpec {
        source: Source::Digest(digest),
        digest: None,
        ..plugin.clone()
    });
    SetSpec { plugins: plugins.collect(), ..spec.clone() }
}

/// Over JSON, whose objects have their keys in order.
fn identity(resolved: &SetSpec) -> String {
    // All of its keys are strings, so it always has a JSON form.
    digest(serde_json::to_string(resolved).unwrap_or_default().as_bytes())
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

/// A rule for a kind that the plugin is not is a mistake about the plugin.
fn on_failure(spec: &PluginSpec, plugin: &Plugin, problems: &mut Vec<Problem>) {
    let (rule, kinds) = (spec.on_failure, plugin.kinds());
    let mut wrong = |message: &str| problems.push(Problem::new(&spec.name, message));
    if rule.approval.is_some() && !kinds.approver {
        wrong("on_failure.approval is set, and it is no approver; remove it");
    }
    if (rule.classification.is_some() || rule.max_age.is_some()) && !kinds.classifier {
        wrong("on_failure.classification or on_failure.max_age is set, and it is no classifier; remove it");
    }
    if rule.max_age.is_some() && rule.classification == Some(FailedClassification::Fail) {
        wrong("on_failure.max_age has no meaning where on_failure.classification is \"fail\"; remove one");
    }
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
        problems.extend(errors.iter().map(Problem::of_set));
        ClassIndex::default()
    })
}

/// The quorum rules. What more approvers than there are must approve would never be signed; that is
/// told where all `plugins` are known.
fn rules(spec: &SetSpec, plugins: Option<&[LivePlugin]>, problems: &mut Vec<Problem>) -> Rules {
    let parsed = Rules::parse(spec.quorum.iter().map(|rule| (rule.pattern.as_str(), rule.require)));
    let rules = parsed.unwrap_or_else(|errors| {
        problems.extend(errors.iter().map(Problem::of_set));
        Rules::default()
    });
    if let Some(plugins) = plugins {
        let approvers = plugins.iter().filter(|live| live.plugin.kinds().approver);
        let independent = approvers.map(|live| live.plugin.digest()).collect::<BTreeSet<_>>().len();
        for (number, rule) in (1..).zip(&spec.quorum).filter(|(_, rule)| rule.require > independent) {
            problems.push(Problem::of_set(format_args!(
                "quorum rule {number}: \"{}\" requires {} approvals, and the set has {independent} approvers of different components: no such name could ever be signed",
                rule.pattern.escape_debug(), rule.require
            )));
        }
    }
    rules
}
