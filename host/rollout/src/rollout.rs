//! Everything that happens to the live set, one change after another.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use sandbox::Sandbox;
use store::Store;
use tokio::sync::{Notify, watch};

use crate::change::Change;
use crate::components::Components;
use crate::error::{Error, Refused};
use crate::fetch::{Component, Fetch};
use crate::guard::{Guard, Observation, Tally};
use crate::history::{Event, SetRow};
use crate::live::Live;
use crate::problem::Problem;
use crate::set::PluginSet;
use crate::shadow::Shadow;
use crate::signature::SigningKeys;
use crate::spec::{Origin, SetSpec};
use crate::staging::{Means, Staging, blocking};
use crate::standing::Standing;

/// How long the guard waits before it tries again to go back, where the store did not record it.
const AGAIN: Duration = Duration::from_secs(5);

/// What a rollout works with.
pub struct Parts {
    /// The folder for components.
    pub dir: PathBuf,
    /// Keeps what was staged and what happened.
    pub store: Arc<Store>,
    /// Compiles and asks plugins.
    pub sandbox: Arc<Sandbox>,
    /// Gets components that are no files.
    pub fetch: Arc<dyn Fetch>,
    /// Whose signatures count.
    pub keys: SigningKeys,
    /// The object stores that a grant may name.
    pub stores: BTreeSet<String>,
}

/// The bounds of a rollout.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Sets besides the live one that stay compiled, and steps that can be gone back.
    pub keep: usize,
    /// How long a set is watched after it was swapped in.
    pub window: Duration,
    /// Whether a component must be signed, unless it is part of this program.
    pub require_signature: bool,
    /// Decisions that a set in shadow is asked for at once.
    pub shadow_slots: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { keep: 10, window: Duration::from_secs(300), require_signature: false, shadow_slots: 4 }
    }
}

/// A rollout that was opened.
pub struct Opened {
    /// With a set in force.
    pub rollout: Arc<Rollout>,
    /// The configured set, by its id, where the configuration comes to another one than it last did: it is
    /// staged, and not in force before somebody [swaps](Rollout::swap) it in.
    pub configured: Option<String>,
    /// What keeps the configured set from being live.
    pub problems: Vec<Problem>,
}

/// A swap that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swapped {
    /// The set that was live, by its id.
    pub from: String,
    /// The one that is.
    pub to: String,
}

/// The live set, for the masters that follow this CA.
#[derive(Clone, PartialEq, Eq)]
pub struct Published {
    /// Its id.
    pub id: String,
    /// Its [`SetSpec`] as JSON, with components by digest. It holds settings, and these may be secret.
    pub spec: String,
    /// Its components.
    pub digests: Vec<String>,
}

/// What happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sets staged.
    pub staged: u64,
    /// Sets refused when they were to be staged.
    pub refused: u64,
    /// Swaps, promotions among them.
    pub swapped: u64,
    /// Roll-backs, those of the guard among them.
    pub rolled_back: u64,
    /// Roll-backs by the guard.
    pub guarded: u64,
    /// Sets alive now: live, kept, in shadow, or held by a decision that began with them.
    pub alive: u64,
}

/// The live set and all that can be done to it. One for the whole program.
///
/// Changes come one after another, whoever asks for them, and each is recorded before it is in force: after
/// a crash the recorded set is live, and what could not be recorded is refused.
pub struct Rollout {
    pub(crate) live: Arc<Live>,
    pub(crate) staging: Staging,
    pub(crate) components: Arc<Components>,
    pub(crate) store: Arc<Store>,
    pub(crate) settings: Settings,
    /// Held for the length of a change.
    pub(crate) standing: tokio::sync::Mutex<Standing>,
    /// Staged or live before, the newest last. The live one is not among them.
    pub(crate) kept: Mutex<VecDeque<Arc<PluginSet>>>,
    pub(crate) shadow: ArcSwapOption<Shadow>,
    pub(crate) guard: Mutex<Guard>,
    pub(crate) tripped: Notify,
    pub(crate) published: watch::Sender<Option<Published>>,
    pub(crate) counters: Counters,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) staged: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) swapped: AtomicU64,
    pub(crate) rolled_back: AtomicU64,
    pub(crate) guarded: AtomicU64,
}

impl Rollout {
    /// Starts with the set that was recorded as live; the first time, with the configured one.
    ///
    /// # Errors
    /// [`Error::Plugins`] where there is no set to start with; what the folder or the store says.
    pub async fn open(parts: Parts, settings: Settings, configured: SetSpec) -> Result<Opened, Error> {
        let Parts { dir, store, sandbox, fetch, keys, stores } = parts;
        let opened = {
            let dir = dir.clone();
            tokio::task::spawn_blocking(move || Components::open(&dir)).await.map_err(std::io::Error::other)
        };
        let components =
            opened.and_then(|opened| opened).map_err(|source| Error::Components { dir, source })?;
        let components = Arc::new(components);
        let require_signature = settings.require_signature;
        let means = Means { sandbox, fetch, keys, require_signature, stores, components: None };
        let staging = Staging::new(means, Some(Arc::clone(&components)), true);
        let start = crate::start::start(&staging, &store, configured).await?;
        let guard = match start.standing.guarded_since {
            Some(since) => crate::start::guard(&start.set.id, since, start.standing.before, settings.window),
            None => Guard::idle(&start.set.id, start.standing.before),
        };
        let rollout = Rollout {
            live: Arc::new(Live::new(Arc::clone(&start.set))),
            staging,
            components,
            store,
            settings,
            standing: tokio::sync::Mutex::new(start.standing),
            kept: Mutex::default(),
            shadow: ArcSwapOption::empty(),
            guard: Mutex::new(guard),
            tripped: Notify::new(),
            published: watch::Sender::new(crate::change::published(&start.set)),
            counters: Counters::default(),
        };
        let configured = start.configured.map(|set| {
            let id = set.id.clone();
            rollout.lock_kept().push_back(set);
            id
        });
        Ok(Opened { rollout: Arc::new(rollout), configured, problems: start.problems })
    }

    /// The pointer to the live set.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// The live set. Take it once per decision and keep it.
    pub fn current(&self) -> Arc<PluginSet> {
        self.live.current()
    }

    /// What runs the plugins.
    pub fn sandbox(&self) -> &Arc<Sandbox> {
        self.staging.sandbox()
    }

    /// Makes a set on the side and keeps it. Nothing changes for decisions.
    ///
    /// # Errors
    /// Every problem of every plugin, or that the set could not be kept.
    pub async fn stage(
        self: &Arc<Self>,
        spec: SetSpec,
        origin: Origin,
    ) -> Result<Arc<PluginSet>, Vec<Problem>> {
        let this = Arc::clone(self);
        // In a task of its own: who hangs up leaves nothing half done.
        let staged = tokio::spawn(async move { this.stage_now(spec, origin).await });
        staged.await.unwrap_or_else(|_| Err(vec![Problem::of_set("staging it was cut short; try again")]))
    }

    /// Keeps a component for a set that names it by its digest. What it is is looked at when it is staged.
    ///
    /// # Errors
    /// The disk.
    pub async fn put_component(&self, bytes: Vec<u8>, signature: Option<Vec<u8>>) -> Result<String, Problem> {
        let components = Arc::clone(&self.components);
        let put = blocking(move || {
            let put = components.put(&bytes, signature.as_deref());
            put.map_err(|error| format!("the component can't be kept: {error}"))
        });
        let digest = put.await.map_err(Problem::of_set)?;
        self.drop_unnamed().await;
        Ok(digest)
    }

    /// A component that is kept, by its digest; none where it is not there, or damaged.
    pub async fn component(&self, digest: &str) -> Option<Component> {
        let (components, name) = (Arc::clone(&self.components), digest.to_owned());
        match blocking(move || components.get(&name)).await {
            Ok(component) => component,
            Err(error) => {
                tracing::warn!(digest, error, "a kept component can't be used");
                None
            }
        }
    }

    /// Puts a set in force, by its id or the first characters of it. The set in shadow is promoted so.
    ///
    /// # Errors
    /// [`Refused`]; then the live set is as it was.
    pub async fn swap(self: &Arc<Self>, id: &str, origin: Origin) -> Result<Swapped, Refused> {
        self.change(Change::Swap { id: id.to_owned(), origin }).await
    }

    /// Goes back to the set before, or to one by its id.
    ///
    /// # Errors
    /// [`Refused`]; then the live set is as it was.
    pub async fn rollback(
        self: &Arc<Self>,
        to: Option<&str>,
        origin: Origin,
        reason: &str,
    ) -> Result<Swapped, Refused> {
        let (to, reason) = (to.map(str::to_owned), reason.to_owned());
        self.change(Change::Rollback { to, origin, reason }).await
    }

    /// Puts a set in shadow, in place of the one that was, or ends the shadow.
    ///
    /// # Errors
    /// [`Refused`]; then the shadow is as it was.
    pub async fn shadow(self: &Arc<Self>, id: Option<&str>, origin: Origin) -> Result<(), Refused> {
        let (this, id) = (Arc::clone(self), id.map(str::to_owned));
        let changed = tokio::spawn(async move { this.shadow_now(id, origin).await });
        changed.await.unwrap_or(Err(Refused::Stopping))
    }

    /// The set in shadow.
    pub fn shadowed(&self) -> Option<Arc<Shadow>> {
        self.shadow.load_full()
    }

    /// Tells of a decision of a set, for the guard. Cheap, in memory.
    pub fn observe(&self, set: &str, observation: Observation) {
        if self.lock_guard().observe(set, observation, Instant::now()) {
            self.tripped.notify_one();
        }
    }

    /// How many new requests the live set approved since it went live or this program started.
    pub fn approvals(&self) -> Tally {
        self.lock_guard().approvals()
    }

    /// Goes back whenever the guard says so. For ever; once per program.
    pub async fn tend(self: Arc<Self>) {
        loop {
            self.tripped.notified().await;
            let Some((set, reason)) = self.lock_guard().tripped().map(|(s, r)| (s.to_owned(), r.to_owned()))
            else {
                continue;
            };
            tracing::error!(set, reason, "the guard takes a plugin set back");
            loop {
                match self.change(Change::Guard { set: set.clone(), reason: reason.clone() }).await {
                    // The store: its disk may recover.
                    Err(refused @ Refused::Record(_)) => {
                        tracing::error!(set, "the guard can't go back yet: {refused}");
                        tokio::time::sleep(AGAIN).await;
                    }
                    Err(refused) => {
                        tracing::error!(set, "the guard can't go back: {refused}");
                        break;
                    }
                    Ok(_) => break,
                }
            }
        }
    }

    /// What happened last, the newest first.
    ///
    /// # Errors
    /// The store.
    pub async fn history(&self, limit: u32) -> Result<Vec<Event>, Error> {
        Ok(self.store.plugin_events(limit).await?.into_iter().map(Event::from).collect())
    }

    /// The sets that are recorded, the newest first.
    ///
    /// # Errors
    /// The store.
    pub async fn sets(&self, limit: u32) -> Result<Vec<SetRow>, Error> {
        self.store.plugin_sets(limit).await?.into_iter().map(SetRow::try_from).collect()
    }

    /// The set of that id, if it is live, kept or in shadow.
    pub fn set(&self, id: &str) -> Option<Arc<PluginSet>> {
        let live = self.current();
        if live.id == id {
            return Some(live);
        }
        let shadow = self.shadowed().map(|shadow| Arc::clone(shadow.set()));
        shadow.filter(|set| set.id == id).or_else(|| self.kept().into_iter().find(|set| set.id == id))
    }

    /// Sets that are compiled besides the live one, the newest first.
    pub fn kept(&self) -> Vec<Arc<PluginSet>> {
        self.lock_kept().iter().rev().cloned().collect()
    }

    /// The live set, now and after each change.
    pub fn publish(&self) -> watch::Receiver<Option<Published>> {
        self.published.subscribe()
    }

    /// What happened since the start.
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            staged: read(&self.counters.staged),
            refused: read(&self.counters.refused),
            swapped: read(&self.counters.swapped),
            rolled_back: read(&self.counters.rolled_back),
            guarded: read(&self.counters.guarded),
            alive: u64::try_from(self.staging.alive()).unwrap_or(u64::MAX),
        }
    }

    pub(crate) fn lock_kept(&self) -> MutexGuard<'_, VecDeque<Arc<PluginSet>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock_guard(&self) -> MutexGuard<'_, Guard> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The set that a store has recorded as live, for who reads it beside a daemon.
///
/// # Errors
/// The store, or a record that is unreadable.
pub async fn recorded(store: &Store) -> Result<Option<SetRow>, Error> {
    let standing = crate::start::standing(store).await?;
    let Some(id) = standing.live() else { return Ok(None) };
    store.plugin_set(id).await?.map(SetRow::try_from).transpose()
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Published")
            .field("id", &self.id)
            .field("digests", &self.digests)
            .finish_non_exhaustive()
    }
}
