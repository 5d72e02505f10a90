//! What eight healthy clients notice of each hostile guest.
//!
//! `hostile FOLDER [--only NAME]`
//!
//! Clients ask over TCP, one connection each, as agents do; their server runs
//! in the same runtime as eight callers of the hostile guest, who ask as often
//! as the clients, if they are answered. Undisturbed rounds and disturbed ones
//! take turns. Build it with `--release`.

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
use tokio::time::MissedTickBehavior;

type Error = Box<dyn std::error::Error + Send + Sync>;

const CLIENTS: usize = 8;
const CALLERS: usize = 8;
/// Undisturbed and disturbed ones, by turns.
const ROUNDS: u32 = 12;
const ROUND: Duration = Duration::from_millis(400);
/// What the ratio should be under. A guest that is not is measured again: what
/// it does comes back, what others on the machine's host do does not.
const BOUND: f64 = 2.0;
const TRIES: u32 = 3;
/// How often a client asks, and a caller of the guest.
const PERIOD: Duration = Duration::from_millis(5);

fn main() -> Result<(), Error> {
    let (mut folder, mut only) = (String::new(), None);
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        match argument.as_str() {
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
        "{CLIENTS} clients, each asking every {PERIOD:?}; {CALLERS} callers of a guest; {} threads; times in us",
        thread::available_parallelism()?
    );
    println!(
        "{:<24}{:>9}{:>8}{:>9}{:>9}{:>9}{:>9}{:>8}{:>7}{:>8}  ends as",
        "guest", "calls/s", "MiB", "p50", "alone", "p99", "alone", "ratio", "tries", "failed"
    );
    let mut worst = (0.0, String::new());
    for file in guests {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        // What does not load is no neighbour.
        let Ok(guest) = sandbox.load(&std::fs::read(&file)?) else { continue };
        let mut tries = 1;
        let mut best = Measured::take(&runtime, address, &guest)?;
        while best.ratio() >= BOUND && tries < TRIES {
            tries += 1;
            let again = Measured::take(&runtime, address, &guest)?;
            if again.ratio() < best.ratio() {
                best = again;
            }
        }
        let Measured { alone, beside, seen, failed } = &best;
        println!(
            "{name:<24}{:>9.0}{:>8.1}{:>9.0}{:>9.0}{:>9.0}{:>9.0}{:>8.2}{tries:>7}{failed:>8}  {}",
            f64::from(seen.calls) / (ROUND * ROUNDS).as_secs_f64(),
            seen.memory as f64 / 1048576.0,
            beside.p50,
            alone.p50,
            beside.p99,
            alone.p99,
            best.ratio(),
            seen.ends(),
        );
        // The obedient one is here to compare with.
        if best.ratio() > worst.0 && name != "obedient" {
            worst = (best.ratio(), name);
        }
    }
    println!("worst: {:.2} beside {}", worst.0, worst.1);
    Ok(())
}

/// One guest's rounds.
struct Measured {
    alone: Latencies,
    beside: Latencies,
    seen: Seen,
    failed: u32,
}

impl Measured {
    fn take(runtime: &Runtime, address: SocketAddr, guest: &Arc<Plugin>) -> Result<Self, Error> {
        let (mut alone, mut beside, mut seen) = (Vec::new(), Vec::new(), Seen::default());
        let mut failed = 0;
        for _ in 0..ROUNDS {
            alone.push(Latencies::of(clients(address, ROUND)?.0));
            let callers = Callers::start(runtime, guest);
            let (took, of_them) = clients(address, ROUND)?;
            callers.stop(runtime, &mut seen);
            beside.push(Latencies::of(took));
            failed += of_them;
        }
        let (alone, beside) = (Latencies::quartile(alone), Latencies::quartile(beside));
        Ok(Measured { alone, beside, seen, failed })
    }

    fn ratio(&self) -> f64 {
        self.beside.p99 / self.alone.p99
    }
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
struct Callers {
    tasks: Vec<tokio::task::JoinHandle<()>>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    calls: u32,
    memory: u64,
    ends: BTreeMap<&'static str, u32>,
}

impl Callers {
    fn start(runtime: &Runtime, guest: &Arc<Plugin>) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let tasks = (0..CALLERS).map(|n| {
            let (guest, seen) = (Arc::clone(guest), Arc::clone(&seen));
            runtime.spawn(async move {
                tokio::time::sleep(PERIOD * n as u32 / CALLERS as u32).await;
                let mut pace = tokio::time::interval(PERIOD);
                pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
                for kind in (0..3).cycle() {
                    pace.tick().await;
                    match kind {
                        0 => note(&seen, guest.decide(call(), &csr("any.example.test")).await),
                        1 => note(&seen, guest.classify(call(), &node()).await),
                        _ => note(&seen, guest.provide(call(), &request()).await),
                    }
                }
            })
        });
        Callers { tasks: tasks.collect(), seen }
    }

    fn stop(self, runtime: &Runtime, seen: &mut Seen) {
        for task in self.tasks {
            task.abort();
            let _ = runtime.block_on(task);
        }
        let its = self.seen.lock().unwrap();
        seen.calls += its.calls;
        seen.memory = seen.memory.max(its.memory);
        for (end, count) in &its.ends {
            *seen.ends.entry(end).or_default() += count;
        }
    }
}

impl Seen {
    fn ends(&self) -> String {
        let ends: Vec<_> = self.ends.iter().map(|(end, count)| format!("{end} {count}")).collect();
        ends.join(", ")
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
    fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort();
        let at = |share: f64| samples[((samples.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
        Latencies { p50: at(0.5), p99: at(0.99) }
    }

    /// The first quartile of all rounds', the same for both sides: a machine
    /// that its host lends to others too loses a processor for milliseconds.
    fn quartile(of: Vec<Self>) -> Self {
        let quartile = |read: fn(&Self) -> f64| {
            let mut all: Vec<_> = of.iter().map(read).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 4]
        };
        Latencies { p50: quartile(|one| one.p50), p99: quartile(|one| one.p99) }
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
        let response = HttpResponse { status: 200, headers: vec![], body: vec![b'x'; 64 << 10] };
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
