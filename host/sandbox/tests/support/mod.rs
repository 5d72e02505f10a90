//! The guests, a host that records, and a short way to ask.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bunraku_sandbox::*;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;

/// 2026-01-02T03:04:05.678901234Z
pub const NOW: u64 = 1_767_323_045_678_901_234;

/// The bytes of a guest in `tests/guests`. Build them with `cargo xtask plugins`.
pub fn guest(name: &str) -> Vec<u8> {
    let path = std::env::var_os("BUNRAKU_PLUGINS")
        .map(PathBuf::from)
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins"))
        .join(format!("hostile/{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!("{}: {error}\nbuild the guests first: cargo xtask plugins", path.display())
    })
}

/// Where compiled guests are kept between the tests of one run.
fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled")
}

pub fn settings() -> Settings {
    Settings { cache_dir: Some(cache()), slots: 8, slots_per_plugin: 8, ..Settings::default() }
}

pub fn sandbox(settings: Settings) -> Arc<Sandbox> {
    Sandbox::new(settings).expect("no sandbox")
}

/// The guest that does as it is told.
pub fn plugin(settings: Settings) -> Arc<Plugin> {
    hostile("obedient", settings)
}

pub fn hostile(name: &str, settings: Settings) -> Arc<Plugin> {
    sandbox(settings).load(&guest(name)).unwrap_or_else(|error| panic!("{name} does not load: {error}"))
}

pub fn call(host: Arc<dyn Host>) -> Call {
    Call {
        context: CallContext {
            decision_id: "decision-1".into(),
            mode: Mode::Enforce,
            now: NOW,
            settings: r#"{"a":1}"#.into(),
            annotations: vec![("object-store.registry".into(), "dir:/x".into())],
        },
        host,
    }
}

pub fn csr(certname: &str) -> Csr {
    Csr {
        certname: certname.into(),
        fingerprint: "ab".repeat(32),
        der: vec![0x30; 1200],
        key_algorithm: "rsa".into(),
        key_bits: 4096,
        alt_names: vec![AltName { kind: "dns".into(), value: certname.into() }],
        extensions: vec![("pp_role".into(), "worker".into())],
        attributes: vec![("challengePassword".into(), "hunter2".into())],
        occasion: Occasion::First,
        peer: Some("192.0.2.7".into()),
    }
}

pub fn trusted(certname: &str) -> Trusted {
    Trusted {
        certname: certname.into(),
        authenticated: true,
        extensions: vec![],
        external: object(json!({"z": 1, "a": 2})),
    }
}

pub fn node(certname: &str) -> Node {
    Node { trusted: trusted(certname), requested_environment: None }
}

pub fn object(value: Value) -> Map<String, Value> {
    value.as_object().expect("not an object").clone()
}

pub async fn decide(plugin: &Plugin, word: &str) -> Result<Verdict, CallError> {
    plugin.decide(call(Arc::new(NoHost)), &csr(&format!("{word}.example.test"))).await.answer
}

pub type Line = (Level, String, Vec<(String, String)>);

/// Remembers what the guest did; answers as it was made.
#[derive(Default)]
pub struct Recorder {
    pub lines: Mutex<Vec<Line>>,
    pub asked: Mutex<Vec<String>>,
    /// `get` and `http` never answer where set.
    pub hangs: bool,
    /// What `http` answers; it is denied where there is none.
    pub response: Option<HttpResponse>,
    /// Requests of `http`.
    pub requests: Mutex<Vec<HttpRequest>>,
    /// `get` says here that it was asked, and waits for `go` to answer.
    pub gate: Option<Gate>,
}

#[derive(Default)]
pub struct Gate {
    pub asked: Notify,
    pub go: Notify,
}

impl Recorder {
    pub fn messages(&self) -> Vec<String> {
        self.lines.lock().unwrap().iter().map(|(_, message, _)| message.clone()).collect()
    }
}

impl Host for Recorder {
    fn log(&self, level: Level, message: &str, fields: &[(String, String)]) {
        self.lines.lock().unwrap().push((level, message.into(), fields.to_vec()));
    }

    fn fact(&self, path: &str) -> Option<Value> {
        self.asked.lock().unwrap().push(path.into());
        (path == "os.family").then(|| json!("Debian"))
    }

    fn facts(&self) -> Value {
        json!({"z": {"b": 1, "a": 2}, "a": null})
    }

    fn head<'a>(&'a self, store: &'a str, key: &'a str) -> BoxFuture<'a, Result<ObjectInfo, HostError>> {
        self.asked.lock().unwrap().push(format!("{store}/{key}"));
        Box::pin(std::future::ready(Err(HostError::NotFound)))
    }

    fn get<'a>(
        &'a self,
        store: &'a str,
        key: &'a str,
        _: Option<ByteRange>,
    ) -> BoxFuture<'a, Result<Object, HostError>> {
        self.asked.lock().unwrap().push(format!("{store}/{key}"));
        Box::pin(async move {
            if self.hangs {
                std::future::pending::<()>().await;
            }
            if let Some(gate) = &self.gate {
                gate.asked.notify_one();
                gate.go.notified().await;
            }
            let info =
                ObjectInfo { key: key.into(), size: 3, etag: None, modified: Some(NOW), content_type: None };
            Ok(Object { info, body: b"abc".to_vec() })
        })
    }

    fn http<'a>(&'a self, request: &'a HttpRequest) -> BoxFuture<'a, Result<HttpResponse, HostError>> {
        self.requests.lock().unwrap().push(request.clone());
        Box::pin(async move {
            if self.hangs {
                std::future::pending::<()>().await;
            }
            self.response.clone().ok_or(HostError::Denied("not granted".into()))
        })
    }

    fn nodes<'a>(
        &'a self,
        equals: &'a [(String, Value)],
        select: &'a [String],
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<NodePage, HostError>> {
        self.asked.lock().unwrap().push(format!("{equals:?} {select:?}"));
        let facts = object(json!({"ip": "192.0.2.9"}));
        let nodes = vec![NodeFacts { node: "other".into(), facts }];
        Box::pin(std::future::ready(Ok(NodePage { nodes, next: None })))
    }
}

pub const SECOND: Duration = Duration::from_secs(1);
