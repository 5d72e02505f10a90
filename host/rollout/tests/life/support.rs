//! A folder in which a rollout lives, and sets to put into it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bunraku_rollout::{
    Error, Event, Fetch, NoFetch, Opened, Origin, Parts, PluginSpec, Problem, QuorumRule, Rollout, SetSpec,
    Settings, SigningKeys, Source,
};
use sandbox::Sandbox;
use serde_json::json;
use store::Store;
use tempfile::TempDir;

/// The component of a default plugin.
pub fn built(name: &str) -> PathBuf {
    let folder = std::env::var_os("BUNRAKU_PLUGINS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins"),
        PathBuf::from,
    );
    let path = folder.join(format!("{name}.wasm"));
    assert!(path.exists(), "{} is not there: build the plugins first: cargo xtask plugins", path.display());
    path
}

/// The same plugin as another component: with `padding` in a section that nobody reads.
pub fn padded(name: &str, padding: &[u8]) -> Vec<u8> {
    let mut bytes = std::fs::read(built(name)).unwrap();
    let section = [&[1, b'x'], padding].concat();
    bytes.push(0);
    let mut size = section.len();
    while size >= 0x80 {
        bytes.push(u8::try_from(size % 0x80).unwrap() | 0x80);
        size /= 0x80;
    }
    bytes.push(u8::try_from(size).unwrap());
    [bytes, section].concat()
}

/// One sandbox for all tests, with what was compiled kept between runs.
pub fn sandbox() -> Arc<Sandbox> {
    static SANDBOX: OnceLock<Arc<Sandbox>> = OnceLock::new();
    let made = || {
        let cache_dir = Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled"));
        Sandbox::new(sandbox::Settings { slots: 8, cache_dir, ..sandbox::Settings::default() }).unwrap()
    };
    Arc::clone(SANDBOX.get_or_init(made))
}

pub fn base(source: impl Into<PathBuf>) -> PluginSpec {
    PluginSpec::new("base", Source::File(source.into()))
}

/// An approver and classifier.
pub fn registry(missing: &str) -> PluginSpec {
    PluginSpec {
        settings: json!({ "missing": missing }),
        grants: [("object-store".to_owned(), json!(["registry"]))].into(),
        ..PluginSpec::new("s3-registry", Source::File(built("s3-registry")))
    }
}

pub fn set(plugins: impl IntoIterator<Item = PluginSpec>) -> SetSpec {
    SetSpec { plugins: plugins.into_iter().collect(), ..SetSpec::default() }
}

/// A set like all others but for its id.
pub fn numbered(number: usize) -> SetSpec {
    let rule = QuorumRule { pattern: format!("node-{number}"), require: 1 };
    SetSpec { quorum: vec![rule], ..set([registry("pending")]) }
}

pub fn me() -> Origin {
    Origin::new("test", "here")
}

/// What a master keeps between two starts.
pub struct Place {
    pub dir: PathBuf,
    /// Removed at the end, unless it is another process's.
    pub _folder: Option<TempDir>,
    pub settings: Settings,
    pub fetch: Arc<dyn Fetch>,
    pub keys: SigningKeys,
}

/// A rollout, and its store, which is to be closed before the next start.
pub struct Open {
    pub rollout: Arc<Rollout>,
    pub problems: Vec<Problem>,
    pub store: Arc<Store>,
}

impl Place {
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        Place { dir: folder.path().to_owned(), _folder: Some(folder), ..Place::at(PathBuf::new()) }
    }

    /// In a folder that somebody else removes.
    pub fn at(dir: PathBuf) -> Self {
        Place {
            dir,
            _folder: None,
            settings: Settings::default(),
            fetch: Arc::new(NoFetch),
            keys: SigningKeys::default(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes a file, whole.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Where the component of a set's only plugin is kept.
    pub fn kept(&self, set: &bunraku_rollout::PluginSet) -> PathBuf {
        self.path("plugins").join(format!("{}.wasm", set.plugins()[0].plugin.digest()))
    }

    pub async fn try_open(&self, configured: SetSpec) -> Result<Open, Error> {
        self.try_open_with(sandbox(), configured).await
    }

    pub async fn open_with(&self, sandbox: Arc<Sandbox>, configured: SetSpec) -> Open {
        self.try_open_with(sandbox, configured).await.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn try_open_with(&self, sandbox: Arc<Sandbox>, configured: SetSpec) -> Result<Open, Error> {
        let store = Arc::new(reopened(&self.path("state.db")).await);
        let parts = Parts {
            dir: self.path("plugins"),
            store: Arc::clone(&store),
            sandbox,
            fetch: Arc::clone(&self.fetch),
            keys: self.keys.clone(),
            stores: ["registry".to_owned()].into(),
        };
        match Rollout::open(parts, self.settings.clone(), configured).await {
            Ok(Opened { rollout, configured, problems }) => {
                // As the program does it.
                if let Some(id) = configured {
                    rollout.swap(&id, Origin::new("start", "the configuration")).await.unwrap();
                }
                Ok(Open { rollout, problems, store })
            }
            Err(error) => {
                store.close().await;
                Err(error)
            }
        }
    }

    pub async fn open(&self, configured: SetSpec) -> Open {
        self.try_open(configured).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Opens and expects no problem.
    pub async fn start(&self, configured: SetSpec) -> Open {
        let open = self.open(configured).await;
        assert_eq!(open.problems, []);
        open
    }
}

impl Open {
    /// Uploads a set's components, stages it and swaps it in, as an operator does beside the
    /// configuration; gives its id.
    pub async fn go(&self, mut spec: SetSpec) -> String {
        for plugin in &mut spec.plugins {
            if let Source::File(path) = &plugin.source {
                let put = self.rollout.put_component(std::fs::read(path).unwrap(), None).await;
                plugin.source = Source::Digest(put.unwrap());
            }
        }
        self.reload(spec).await
    }

    /// Stages a set and swaps it in, as a configuration that is read again; gives its id.
    pub async fn reload(&self, spec: SetSpec) -> String {
        let staged = self.rollout.stage(spec, me()).await.unwrap();
        self.rollout.swap(staged.id(), me()).await.unwrap();
        staged.id().to_owned()
    }

    pub fn live(&self) -> String {
        self.rollout.current().id().to_owned()
    }

    /// Events in the order in which they happened, as one word each.
    pub async fn words(&self) -> Vec<String> {
        self.events().await.into_iter().map(|event| event.event).collect()
    }

    pub async fn events(&self) -> Vec<Event> {
        let mut events = self.rollout.history(1000).await.unwrap();
        events.reverse();
        events
    }

    pub async fn close(self) {
        self.store.close().await;
    }
}

/// Opens a store that was closed just now. A child that another test has forked, and that has not got to
/// its own program yet, holds on to the lock for a moment.
async fn reopened(path: &Path) -> Store {
    for _ in 0..100 {
        match Store::open(path).await {
            Err(store::Error::Held { .. }) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            opened => return opened.unwrap(),
        }
    }
    panic!("{} stayed locked", path.display())
}
