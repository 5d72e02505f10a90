//! What eight healthy clients notice of each hostile guest.
//!
//! `hostile FOLDER [--seconds S] [--only NAME]`
//!
//! Clients ask over TCP, one connection each, as agents do; their server runs
//! in the same runtime as eight loops that call the hostile guest. Each guest
//! has its own undisturbed round beside it. Build it with `--release`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    missing_docs,
    reason = "a measuring program"
)]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bunraku_sandbox::*;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

type Error = Box<dyn std::error::Error + Send + Sync>;

const CLIENTS: usize = 8;
const LOOPS: usize = 8;
/// How often a client asks.
const PERIOD: Duration = Duration::from_millis(5);

fn main() -> Result<(), Error> {
    let (mut folder, mut length, mut only) = (String::new(), Duration::from_secs(2), None);
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--seconds" => length = Duration::from_secs(given.next().ok_or("seconds?")?.parse()?),
            "--only" => only = given.next(),
            _ => folder = argument,
        }
    }
    let mut guests: Vec<_> =
        std::fs::read_dir(Path::new(&folder))?.map(|file| Ok(file?.path())).collect::<Result<_, Error>>()?;
    guests.sort();
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let sandbox = Sandbox::new(Settings::default())?;
    let healthy = sandbox.load(&std::fs::read(Path::new(&folder).join("obedient.wasm"))?)?;
    let address = runtime.block_on(serve(healthy))?;
    println!(
        "{CLIENTS} clients, each asking every {PERIOD:?}; {LOOPS} loops of a guest; {} threads; times in us",
        thread::available_parallelism()?
    );
    println!(
        "{:<24}{:>9}{:>8}{:>9}{:>9}{:>9}{:>9}{:>8}{:>8}  ends as",
        "guest", "calls/s", "MiB", "p50", "alone", "p99", "alone", "ratio", "failed"
    );
    let mut worst = (0.0, String::new());
    for file in guests {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if name == "obedient" || only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        // What does not load is no neighbour.
        let Ok(guest) = sandbox.load(&std::fs::read(&file)?) else { continue };
        let (mut alone, _) = clients(address, length)?;
        let loops = Loops::start(&runtime, &guest);
        let (mut beside, failed) = clients(address, length)?;
        let (calls, memory, ends) = loops.stop(&runtime);
        alone.extend(clients(address, length)?.0);
        let (alone, beside) = (Latencies::of(&mut alone), Latencies::of(&mut beside));
        let ratio = beside.p99 / alone.p99;
        println!(
            "{name:<24}{:>9.0}{:>8.1}{:>9.0}{:>9.0}{:>9.0}{:>9.0}{ratio:>8.2}{failed:>8}  {ends}",
            calls / length.as_secs_f64(),
            memory as f64 / 1048576.0,
            beside.p50,
            alone.p50,
            beside.p99,
            alone.p99,
        );
        if ratio > worst.0 {
            worst = (ratio, name);
        }
    }
    println!("worst: {:.2} beside {}", worst.0, worst.1);
    Ok(())
}

/// Answers each byte with a byte, after a call of the plugin.
async fn serve(plugin: Arc<Plugin>) -> Result<SocketAddr, Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let plugin = Arc::clone(&plugin);
            tokio::spawn(async move {
                let _ = stream.set_nodelay(true);
                let request = csr("ask.example.test");
                while stream.read_u8().await.is_ok() {
                    let answer = plugin.decide(call(), &request).await.answer;
                    if stream.write_u8(u8::from(answer.is_ok())).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(address)
}

/// How long each question of each client took, and how many had no answer.
fn clients(address: SocketAddr, length: Duration) -> Result<(Vec<Duration>, u32), Error> {
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            thread::spawn(move || -> Result<_, Error> {
                let mut stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                let (mut took, mut failed) = (Vec::new(), 0);
                let (started, mut answer) = (Instant::now(), [0]);
                thread::sleep(PERIOD * n as u32 / CLIENTS as u32);
                while started.elapsed() < length {
                    let asked = Instant::now();
                    stream.write_all(&[1])?;
                    stream.read_exact(&mut answer)?;
                    took.push(asked.elapsed());
                    failed += u32::from(answer != [1]);
                    thread::sleep(PERIOD.saturating_sub(asked.elapsed()));
                }
                Ok((took, failed))
            })
        })
        .collect();
    let (mut took, mut failed) = (Vec::new(), 0);
    for client in clients {
        let (its, of_it) = client.join().map_err(|_| "a client panicked")??;
        took.extend(its);
        failed += of_it;
    }
    Ok((took, failed))
}

/// The hostile side.
struct Loops {
    tasks: Vec<tokio::task::JoinHandle<()>>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    calls: u32,
    memory: u64,
    ends: BTreeMap<&'static str, u32>,
}

impl Loops {
    fn start(runtime: &Runtime, guest: &Arc<Plugin>) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let tasks = (0..LOOPS).map(|_| {
            let (guest, seen) = (Arc::clone(guest), Arc::clone(&seen));
            runtime.spawn(async move {
                loop {
                    let decided = guest.decide(call(), &csr("any.example.test")).await;
                    note(&seen, decided);
                    note(&seen, guest.classify(call(), &node()).await);
                    note(&seen, guest.provide(call(), &request()).await);
                    tokio::task::yield_now().await;
                }
            })
        });
        Loops { tasks: tasks.collect(), seen }
    }

    fn stop(self, runtime: &Runtime) -> (f64, u64, String) {
        for task in self.tasks {
            task.abort();
            let _ = runtime.block_on(task);
        }
        let seen = self.seen.lock().unwrap();
        let ends: Vec<_> = seen.ends.iter().map(|(end, count)| format!("{end} {count}")).collect();
        (f64::from(seen.calls), seen.memory, ends.join(", "))
    }
}

fn note<T>(seen: &Mutex<Seen>, answered: Answered<T>) {
    let mut seen = seen.lock().unwrap();
    seen.calls += 1;
    seen.memory = seen.memory.max(answered.stats.memory_bytes);
    *seen.ends.entry(answered.answer.map_or_else(|error| error.kind(), |_| "answer")).or_default() += 1;
}

/// Microseconds.
struct Latencies {
    p50: f64,
    p99: f64,
}

impl Latencies {
    fn of(samples: &mut [Duration]) -> Self {
        samples.sort();
        let at = |share: f64| samples[((samples.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
        Latencies { p50: at(0.5), p99: at(0.99) }
    }
}

/// Has one object, a fact, and nothing at all over HTTP.
struct Bucket;

impl Host for Bucket {
    fn log(&self, _: Level, _: &str, _: &[(String, String)]) {}

    fn fact(&self, _: &str) -> Option<Value> {
        Some(Value::Bool(true))
    }

    fn get<'a>(
        &'a self,
        _: &'a str,
        key: &'a str,
        _: Option<ByteRange>,
    ) -> BoxFuture<'a, Result<Object, HostError>> {
        let info = ObjectInfo { key: key.into(), size: 3, etag: None, modified: None, content_type: None };
        Box::pin(std::future::ready(Ok(Object { info, body: b"abc".to_vec() })))
    }

    fn http<'a>(&'a self, _: &'a HttpRequest) -> BoxFuture<'a, Result<HttpResponse, HostError>> {
        let response = HttpResponse { status: 200, headers: vec![], body: vec![b'x'; 1 << 20] };
        Box::pin(std::future::ready(Ok(response)))
    }
}

fn call() -> Call {
    Call {
        context: CallContext {
            decision_id: "0190b9f0-7c1e-7000-8000-000000000000".into(),
            mode: Mode::Enforce,
            now: 1_767_323_045_000_000_000,
            settings: "{}".into(),
            annotations: vec![],
        },
        host: Arc::new(Bucket),
    }
}

fn csr(certname: &str) -> Csr {
    Csr {
        certname: certname.into(),
        fingerprint: "ab".repeat(32),
        der: vec![0x30; 1300],
        key_algorithm: "rsa".into(),
        key_bits: 4096,
        alt_names: vec![],
        extensions: vec![],
        attributes: vec![],
        occasion: Occasion::First,
        peer: Some("192.0.2.7".into()),
    }
}

fn trusted() -> Trusted {
    Trusted {
        certname: "any.example.test".into(),
        authenticated: true,
        extensions: vec![],
        external: Default::default(),
    }
}

fn node() -> Node {
    Node { trusted: trusted(), requested_environment: None }
}

fn request() -> ProvideRequest {
    ProvideRequest {
        node: trusted(),
        environment: "production".into(),
        class: "hostile".into(),
        parameters: Default::default(),
        node_parameters: Default::default(),
    }
}
