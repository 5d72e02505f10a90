//! What one approver call costs, fresh instance each, beside the bare engine.
//!
//! `calls COMPONENT.wasm [--certname NAME] [--calls N] [--seconds S]`
//!
//! Both columns come from the same run. "bare" is Wasmtime with the same
//! pooling allocator and the same typed call, and nothing else: no limits, no
//! deadline, no slots, no capped log. Build it with `--release`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::panic,
    missing_docs,
    reason = "a measuring program, and generated code"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bunraku_sandbox::{
    AltName, Call, CallContext, Csr, Mode, NoHost, Occasion, Plugin, Sandbox, Settings, Verdict,
};
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;

mod bare;

type Error = Box<dyn std::error::Error + Send + Sync>;

struct Arguments {
    component: String,
    certname: String,
    calls: usize,
    length: Duration,
}

fn main() -> Result<(), Error> {
    let arguments = arguments()?;
    let bytes = std::fs::read(&arguments.component)?;
    let sandbox = Sandbox::new(Settings { deadline: Duration::from_secs(10), ..Settings::default() })?;
    let plugin = sandbox.load(&bytes)?;
    let bare = bare::Bare::new(&bytes)?;
    let csr = Arc::new(csr(&arguments.certname));

    let one = runtime(1)?;
    let verdict = one.block_on(plugin.decide(call(), &csr));
    println!("{} ({} bytes) answers: {}", plugin.metadata().name, bytes.len(), answer(&verdict.answer));

    // Interleaved, so that whatever else the machine does falls on both.
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    one.block_on(async {
        for n in 0..arguments.calls + arguments.calls / 10 {
            let started = Instant::now();
            let _ = std::hint::black_box(plugin.decide(call(), &csr).await.answer);
            let mine = started.elapsed();
            let started = Instant::now();
            bare.decide(&csr).await?;
            let other = started.elapsed();
            if n >= arguments.calls / 10 {
                ours.push(mine);
                theirs.push(other);
            }
        }
        Ok::<_, Error>(())
    })?;
    let two = runtime(2)?;
    let rates = |runtime: &Runtime, tasks: usize| -> (f64, f64) {
        let (plugin, asked) = (Arc::clone(&plugin), Arc::clone(&csr));
        let ours = rate(runtime, tasks, arguments.length, move || {
            let (plugin, csr): (Arc<Plugin>, Arc<Csr>) = (Arc::clone(&plugin), Arc::clone(&asked));
            async move {
                let _ = std::hint::black_box(plugin.decide(call(), &csr).await.answer);
            }
        });
        let (bare, asked) = (bare.clone(), Arc::clone(&csr));
        let theirs = rate(runtime, tasks, arguments.length, move || {
            let (bare, csr) = (bare.clone(), Arc::clone(&asked));
            async move { bare.decide(&csr).await.expect("the bare call fails") }
        });
        (ours, theirs)
    };
    let single = rates(&one, 1);
    let double = rates(&two, 2);

    println!("{} calls each, one thread, fresh instance each", arguments.calls);
    println!("{:<24}{:>12}{:>12}{:>9}", "", "sandbox", "bare", "ratio");
    let (ours, theirs) = (Distribution::of(ours), Distribution::of(theirs));
    for (name, mine, other) in [
        ("mean, us", ours.mean, theirs.mean),
        ("p50, us", ours.p50, theirs.p50),
        ("p99, us", ours.p99, theirs.p99),
        ("max, us", ours.max, theirs.max),
    ] {
        println!("{name:<24}{mine:>12.1}{other:>12.1}{:>9.2}", mine / other);
    }
    for (name, (mine, other)) in [("calls/s, 1 thread", single), ("calls/s, 2 threads", double)] {
        println!("{name:<24}{mine:>12.0}{other:>12.0}{:>9.2}", mine / other);
    }
    Ok(())
}

fn arguments() -> Result<Arguments, Error> {
    let mut found = Arguments {
        component: String::new(),
        certname: "approve.example.test".into(),
        calls: 20_000,
        length: Duration::from_secs(3),
    };
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        let mut value = || given.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--certname" => found.certname = value()?,
            "--calls" => found.calls = value()?.parse()?,
            "--seconds" => found.length = Duration::from_secs(value()?.parse()?),
            _ => found.component = argument,
        }
    }
    if found.component.is_empty() {
        return Err("usage: calls COMPONENT.wasm [--certname NAME] [--calls N] [--seconds S]".into());
    }
    Ok(found)
}

fn runtime(threads: usize) -> Result<Runtime, Error> {
    Ok(Builder::new_multi_thread().worker_threads(threads).enable_all().build()?)
}

fn call() -> Call {
    Call {
        context: CallContext {
            decision_id: "0190b9f0-7c1e-7000-8000-000000000000".into(),
            mode: Mode::Enforce,
            now: 1_767_323_045_000_000_000,
            settings: "{}".into(),
            annotations: vec![("object-store.registry".into(), "s3://bucket/prefix".into())],
        },
        host: Arc::new(NoHost),
    }
}

fn csr(certname: &str) -> Csr {
    Csr {
        certname: certname.into(),
        fingerprint: "ab".repeat(32),
        der: vec![0x30; 1300],
        key_algorithm: "rsa".into(),
        key_bits: 4096,
        alt_names: vec![AltName { kind: "dns".into(), value: certname.into() }],
        extensions: vec![("pp_role".into(), "hadoop::worker".into())],
        attributes: vec![("challengePassword".into(), "0123456789abcdef".into())],
        occasion: Occasion::First,
        peer: Some("192.0.2.7".into()),
    }
}

fn answer(verdict: &Result<Verdict, bunraku_sandbox::CallError>) -> String {
    match verdict {
        Ok(verdict) => format!("{verdict:?}"),
        Err(error) => error.to_string(),
    }
}

/// Calls per second of `tasks` tasks, each making one call after the other.
fn rate<W, F>(runtime: &Runtime, tasks: usize, length: Duration, work: W) -> f64
where
    W: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let started = Instant::now();
    let handles: Vec<_> = (0..tasks).map(|_| runtime.spawn(repeat(work.clone(), started, length))).collect();
    let done: usize = runtime.block_on(async {
        let mut done = 0;
        for handle in handles {
            done += handle.await.expect("a worker fails");
        }
        done
    });
    done as f64 / started.elapsed().as_secs_f64()
}

async fn repeat<W, F>(work: W, started: Instant, length: Duration) -> usize
where
    W: Fn() -> F,
    F: Future<Output = ()>,
{
    let mut done = 0;
    while started.elapsed() < length {
        work().await;
        done += 1;
        if done % 16 == 0 {
            yield_now().await;
        }
    }
    done
}

/// Microseconds.
struct Distribution {
    mean: f64,
    p50: f64,
    p99: f64,
    max: f64,
}

impl Distribution {
    fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort();
        let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
        let at = |share: f64| micros(samples[((samples.len() - 1) as f64 * share) as usize]);
        let sum: Duration = samples.iter().sum();
        Distribution { mean: micros(sum) / samples.len() as f64, p50: at(0.5), p99: at(0.99), max: at(1.0) }
    }
}
