//! The engine, and the way from bytes to a [`Plugin`].

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Enabled, Engine, EngineWeak, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::apart::{self, Apart};
use crate::bindings::EveryKind;
use crate::cache::Cache;
use crate::call::{Share, Shared};
use crate::limiter::{INSTANCES, MEMORIES, TABLES};
use crate::plugin::{Checked, Exports};
use crate::state::State;
use crate::text::one_line;
use crate::{Error, LoadError, Metadata, Plugin, Settings, contract, lane};

/// How often running guests are looked at.
const TICK: Duration = Duration::from_millis(5);
/// Memory that a slot keeps between calls. It is above what a Rust guest
/// touches, so that a usual call makes no system call for memory.
const KEEP_RESIDENT: usize = 512 << 10;
/// Slots that stay warm for plugins that are not being called.
const WARM_SLOTS: u32 = 16;
/// Stack of the thread that compiles.
const COMPILER_STACK: usize = 8 << 20;

/// Runs plugins. One for the whole program.
pub struct Sandbox {
    shared: Arc<Shared>,
    linker: Linker<State>,
    cache: Option<Cache>,
    compiling: Mutex<bool>,
    compiled: Condvar,
}

impl Sandbox {
    /// Starts the engine and the thread that ends calls at their deadline.
    ///
    /// A cache folder that cannot be trusted is left alone, with a warning.
    pub fn new(settings: Settings) -> Result<Arc<Sandbox>, Error> {
        let engine = engine(&settings).map_err(|error| Error::Engine(one_line(&format!("{error:#}"))))?;
        let linker = linker(&engine).map_err(|error| Error::Engine(one_line(&format!("{error:#}"))))?;
        let ticking = engine.weak();
        thread::Builder::new()
            .name("sandbox-clock".into())
            .spawn(move || tick(&ticking))
            .map_err(Error::Thread)?;
        let cache = settings.cache_dir.as_deref().and_then(|dir| open_cache(dir, &engine));
        let slots = semaphore(settings.slots);
        let (apart, turns) = (Apart::start().map_err(Error::Thread)?, lane::turns(apart::threads()));
        Ok(Arc::new(Sandbox {
            shared: Arc::new(Shared { engine, settings: Arc::new(settings), slots, turns, apart }),
            linker,
            cache,
            compiling: Mutex::new(false),
            compiled: Condvar::new(),
        }))
    }

    /// Turns the bytes of a component into a plugin, or says why not.
    ///
    /// Blocks for as long as compiling takes (10 ms for a small Rust plugin,
    /// seconds for JavaScript or Python, nothing if it is cached). One at a
    /// time: a compilation that outlives its deadline goes on alone, and until
    /// it ends every other load is [`LoadError::Busy`].
    pub fn load(self: &Arc<Self>, bytes: &[u8]) -> Result<Arc<Plugin>, LoadError> {
        check_bytes(bytes, self.shared.settings.component_bytes)?;
        // Most loads wait here for another one at start-up; a stuck one ends the wait.
        let deadline = self.shared.settings.compile_deadline;
        let turn = Turn::take(Arc::clone(self), deadline)?;
        let (send, receive) = mpsc::sync_channel(1);
        let bytes = bytes.to_vec();
        thread::Builder::new()
            .name("sandbox-compiler".into())
            .stack_size(COMPILER_STACK)
            .spawn(move || {
                let loaded = turn.0.load_now(&bytes);
                // Nobody listens any more once the deadline has passed.
                let _ = send.send(loaded);
                drop(turn);
            })
            .map_err(|error| LoadError::Compile(format!("no thread to compile in: {error}")))?;
        let loads = self.shared.settings.load_deadline.saturating_mul(4);
        match receive.recv_timeout(deadline.saturating_add(loads)) {
            Ok(loaded) => loaded.map(Arc::new),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                Err(LoadError::Compile(format!("not done after {} s", deadline.as_secs())))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                Err(LoadError::Compile("the compiler failed on it".into()))
            }
        }
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Slots that are free now.
    pub fn free_slots(&self) -> usize {
        self.shared.slots.available_permits()
    }

    fn load_now(&self, bytes: &[u8]) -> Result<Plugin, LoadError> {
        let digest = hex::encode(Sha256::digest(bytes));
        let component = self.component(bytes, &digest)?;
        let of_component = component.component_type();
        let kinds = contract::check(&of_component, &self.shared.engine)?;
        let mut imports: Vec<_> =
            of_component.imports(&self.shared.engine).map(|(name, _)| name.to_owned()).collect();
        imports.sort_unstable();
        let differs = |error: wasmtime::Error| LoadError::WrongTypes(one_line(&format!("{error:#}")));
        let pre = self.linker.instantiate_pre(&component).map_err(differs)?;
        let exports = Exports::find(&pre, kinds).map_err(differs)?;
        let share = Share::new(semaphore(self.shared.settings.slots_per_plugin.max(1)));
        let component = Checked { shared: Arc::clone(&self.shared), pre, exports, share };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| LoadError::Compile(format!("no runtime for describe(): {error}")))?;
        let (metadata, classes) = runtime.block_on(async {
            let describe = |function| move |error| LoadError::Describe { function, error };
            let metadata = component.describe().await.map_err(describe("describe"))?;
            let metadata = metadata.map_err(|difference| LoadError::WrongTypes(one_line(&difference)))?;
            let classes = component.classes().await.map_err(describe("classes"))?;
            Ok::<_, LoadError>((metadata, classes))
        })?;
        check_metadata(&metadata)?;
        let mut names: Vec<_> = classes.iter().map(|class| class.name.as_str()).collect();
        names.sort_unstable();
        if let Some(name) = names.windows(2).find_map(|pair| match pair {
            [one, other] if one == other => Some(*one),
            _ => None,
        }) {
            return Err(LoadError::Metadata(format!("it provides the class {name} twice")));
        }
        Ok(Plugin { component, digest, imports, metadata, classes })
    }

    fn component(&self, bytes: &[u8], digest: &str) -> Result<Component, LoadError> {
        let engine = &self.shared.engine;
        if let Some(component) = self.cache.as_ref().and_then(|cache| cache.load(engine, digest)) {
            return Ok(component);
        }
        let component = Component::from_binary(engine, bytes)
            .map_err(|error| LoadError::Compile(one_line(&format!("{error:#}"))))?;
        if let Some(cache) = &self.cache {
            cache.store(digest, &component);
        }
        Ok(component)
    }
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox").field("settings", self.settings()).finish_non_exhaustive()
    }
}

/// The right to compile; given back when dropped.
struct Turn(Arc<Sandbox>);

impl Turn {
    fn take(sandbox: Arc<Sandbox>, deadline: Duration) -> Result<Self, LoadError> {
        let compiling = sandbox.compiling.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut compiling, waited) = sandbox
            .compiled
            .wait_timeout_while(compiling, deadline, |compiling| *compiling)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return Err(LoadError::Busy);
        }
        *compiling = true;
        drop(compiling);
        Ok(Turn(sandbox))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.0.compiling.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.compiled.notify_one();
    }
}

/// Lets running guests notice that time passes, for as long as there is an engine.
fn tick(engine: &EngineWeak) {
    while let Some(engine) = engine.upgrade() {
        engine.increment_epoch();
        drop(engine);
        thread::sleep(TICK);
    }
}

fn engine(settings: &Settings) -> wasmtime::Result<Engine> {
    let slots = settings.slots;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_stacks(slots)
        .total_memories(slots.saturating_mul(MEMORIES))
        .total_tables(slots.saturating_mul(TABLES))
        .total_core_instances(slots.saturating_mul(INSTANCES))
        .max_core_instances_per_component(INSTANCES)
        .max_memories_per_component(MEMORIES)
        .max_tables_per_component(TABLES)
        .max_component_instance_size(4 << 20)
        .max_core_instance_size(4 << 20)
        .table_elements(64 << 10)
        .max_memory_size(settings.memory_bytes)
        .max_unused_warm_slots(WARM_SLOTS)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(64 << 10);
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.pagemap_scan(Enabled::Yes);
    }
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .epoch_interruption(true)
        // One thread compiles; the others serve agents meanwhile.
        .parallel_compilation(false)
        .concurrency_support(false)
        // The same answer on every machine, for replays.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .wasm_backtrace_max_frames(NonZeroUsize::new(16));
    Engine::new(&config)
}

fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    crate::http::link(&mut linker)?;
    EveryKind::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
    Ok(linker)
}

fn semaphore(permits: u32) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(usize::try_from(permits).unwrap_or(Semaphore::MAX_PERMITS)))
}

fn open_cache(dir: &Path, engine: &Engine) -> Option<Cache> {
    Cache::open(dir, engine)
        .inspect_err(|error| {
            tracing::warn!(dir = %dir.display(), %error, "compiled plugins are not cached");
        })
        .ok()
}

fn check_bytes(bytes: &[u8], limit: usize) -> Result<(), LoadError> {
    if bytes.len() > limit {
        return Err(LoadError::TooLarge { bytes: bytes.len(), limit });
    }
    let what = match bytes {
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => return Ok(()),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => "a core module: build it with `cargo xtask plugins`",
        [0, b'a', b's', b'm', ..] => "WebAssembly of an unknown version",
        [] => "an empty file",
        _ => "something else",
    };
    Err(LoadError::NotAComponent(what))
}

fn check_metadata(metadata: &Metadata) -> Result<(), LoadError> {
    let name = &metadata.name;
    let mut letters = name.chars();
    let well_formed = letters.next().is_some_and(|first| first.is_ascii_lowercase())
        && letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && name.len() <= 64;
    if !well_formed {
        return Err(LoadError::Metadata(format!(
            "its name is `{name}`, not a letter and up to 63 of a-z, 0-9 and -"
        )));
    }
    if metadata.version.is_empty() {
        return Err(LoadError::Metadata("it has no version".into()));
    }
    Ok(())
}
