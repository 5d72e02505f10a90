//! Whether a swap of plugins is felt: clients enrol and fetch catalogs while one set takes another's place
//! a thousand times, beside the same clients undisturbed.
//!
//! `cargo xtask bench swap` builds everything in release and runs this; a number says how many swaps. It ends with 1 if a request failed,
//! if a decision was made by two sets, or if sets pile up.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bunraku_tests::authority::Authority;
use bunraku_tests::master::{Master, Settings};
use bunraku_tests::plugins;
use bunraku_tests::request::Request;
use bunraku_tests::wire::{Client, Connection};
use journal::{Journal, Kind};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::runtime::Runtime;

/// Clients that enrol, and as many that fetch catalogs.
const EACH: usize = 32;
const SWAPS: usize = 1_000;
/// How long the clients are left alone, for the comparison.
const UNDISTURBED: Duration = Duration::from_secs(15);
/// Between two swaps, so that every set decides on something.
const PACE: Duration = Duration::from_millis(20);
const PLUGINS: &str = "/bunraku/v1/plugins";
/// Between two catalogs of a client: the journal is to keep up, for it tells whether sets were mixed.
const THINK: Duration = Duration::from_millis(60);
/// Requests that are prepared for each swap; enrolling stops early when they are used up.
const PREPARED: usize = 60;
/// Memory may grow by this much: the journal's queue and allocators breathe.
const GROWTH: u64 = 48 << 20;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let settings = |missing: &str| {
        Authority::config("")
            + "[log]\nlevel = \"warn\"\n[rollout]\nwatch = false\n"
            + &plugins::embedded(missing)
    };
    let server = "requests_per_minute = 1000000\naccess_log = \"off\"";
    let one = settings("{ missing = \"pending\" }");
    let mut master = Master::prepare(&Settings { server, config: &one, ..Settings::default() })?;
    // The CA's key is not what is measured.
    bunraku_tests::authority::cli(&master, 0, &["setup", "--key-kind", "ec-p256"])?;
    master.start_again()?;
    let ca = Authority::of(master)?;
    let swaps = match std::env::args().nth(1) {
        Some(given) => given.parse().context("how many swaps?")?,
        None => SWAPS,
    };
    let crowd = Crowd::prepare(&ca, swaps * PREPARED)?;
    let live = json_of(&ca.wants(200, "GET", PLUGINS, &Value::Null)?.body)?;
    let first = text(live.pointer("/live/id"))?;
    ca.master.configure(&settings("{ missing = \"abstain\" }"))?;
    let staged = ca.wants(200, "POST", &format!("{PLUGINS}/stage"), &json!({"config": true}))?;
    let second = text(json_of(&staged.body)?.pointer("/set/id"))?;
    ensure!(first != second, "both settings make the same set");

    println!("{} clients, one half enrols, the other fetches catalogs (plugins asked for each)", 2 * EACH);
    let alone = crowd.run(&runtime, || {
        std::thread::sleep(UNDISTURBED);
        Ok(())
    })?;
    let before = (resident(&ca.master)?, metric(&ca, "plugin_sets_alive")?);
    let mut swapped = Vec::with_capacity(swaps);
    let disturbed = crowd.run(&runtime, || {
        for turn in 0..swaps {
            let to = if turn % 2 == 0 { &second } else { &first };
            let began = Instant::now();
            ca.wants(200, "POST", &format!("{PLUGINS}/swap"), &json!({"set": to, "force": true}))?;
            swapped.push(began.elapsed().as_secs_f64() * 1e3);
            std::thread::sleep(PACE);
        }
        Ok(())
    })?;
    let after = (resident(&ca.master)?, metric(&ca, "plugin_sets_alive")?);
    let dropped = metric(&ca, "journal_dropped_total")?;
    swapped.sort_by(f64::total_cmp);

    println!("                       undisturbed    {swaps} swaps");
    let row = |name: &str, of: &dyn Fn(&Run) -> String| {
        println!("{name:<20} {:>13} {:>13}", of(&alone), of(&disturbed));
    };
    row("seconds", &|run| format!("{:.1}", run.span.as_secs_f64()));
    row("requests sent", &|run| run.count().to_string());
    row("failed", &|run| run.failed.len().to_string());
    row("enrolled / s", &|run| format!("{:.0}", run.rate(&run.enrolled)));
    row("catalogs / s", &|run| format!("{:.0}", run.rate(&run.catalogs)));
    row("p50 ms", &|run| format!("{:.1}", run.at(500)));
    row("p99 ms", &|run| format!("{:.1}", run.at(990)));
    row("longest pause ms", &|run| format!("{:.1}", run.at(1000)));
    println!(
        "a swap, asked to answered: p50 {:.1} ms, longest {:.1} ms",
        at(&swapped, 500),
        at(&swapped, 1000)
    );
    println!("resident memory        {:>10} KiB {:>9} KiB", before.0 >> 10, after.0 >> 10);
    println!("sets in memory         {:>14} {:>13}", before.1, after.1);
    let state = ca.master.state();
    ensure!(crowd.is_done_well(&[&alone, &disturbed]), "requests failed: {:?}", disturbed.failed.first());
    let mut master = ca.master;
    ensure!(master.stop()?.success(), "the master did not stop cleanly");
    let (decisions, mixed) = runtime.block_on(mixed(&state.join("journal.db")))?;
    println!("decisions in journal   {decisions:>14}, {dropped} dropped");
    ensure!(dropped == 0, "the journal could not keep up, so nothing can be said of mixed sets");
    println!("made by two sets       {mixed:>14}");
    ensure!(mixed == 0, "{mixed} decisions were made by two sets");
    ensure!(after.0 < before.0 + GROWTH, "memory grew by {} KiB", (after.0 - before.0) >> 10);
    ensure!(after.1 <= before.1, "there were {} sets in memory and now there are {}", before.1, after.1);
    println!("held: {swaps} swaps under {} clients, {} requests, none failed", 2 * EACH, disturbed.count());
    Ok(())
}

/// The clients and what they will ask.
struct Crowd {
    stranger: Client,
    nodes: Vec<(String, Client)>,
    requests: Arc<Vec<(String, String)>>,
    next: Arc<AtomicUsize>,
}

/// What came of a span of asking.
struct Run {
    enrolled: Vec<f64>,
    catalogs: Vec<f64>,
    all: Vec<f64>,
    failed: Vec<String>,
    span: Duration,
}

impl Crowd {
    fn prepare(ca: &Authority, most: usize) -> Result<Crowd> {
        let registry = ca.master.state().join("registry");
        let request = |n: usize| {
            let name = format!("new{n}.cluster.test");
            fs::write(registry.join(&name), "classes: {}\n")?;
            let pem = Request::named(&name)?.pem;
            Ok((name, pem))
        };
        let requests = (0..most).map(request).collect::<Result<Vec<_>>>()?;
        let node = |n: usize| {
            let name = format!("node{n}.cluster.test");
            let identity = ca.enrol(&name)?;
            // Two plugins of the set are asked: the classifier and, for this class, a provider.
            ca.master.register(&name, "classes: {'apt::apt': {}}\n")?;
            Ok((name, ca.client(&identity)?))
        };
        let nodes = (0..EACH).map(node).collect::<Result<Vec<_>>>()?;
        let (stranger, requests, next) = (ca.master.stranger()?, Arc::new(requests), Arc::default());
        Ok(Crowd { stranger, nodes, requests, next })
    }

    /// Lets all clients ask for as long as `meanwhile` takes.
    fn run(&self, runtime: &Runtime, meanwhile: impl FnOnce() -> Result<()>) -> Result<Run> {
        let enough = Arc::new(AtomicBool::new(false));
        let began = Instant::now();
        let enrolling = (0..EACH).map(|_| {
            let (client, requests) = (self.stranger.clone(), self.requests.clone());
            let (next, enough) = (self.next.clone(), enough.clone());
            runtime.spawn(async move {
                let mut asked = Asked::default();
                let mut connection = client.connect().await?;
                while !enough.load(Ordering::Relaxed) {
                    let Some((name, pem)) = requests.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                    asked.note(enrol(&mut connection, name, pem).await);
                }
                anyhow::Ok(asked)
            })
        });
        let enrolling: Vec<_> = enrolling.collect();
        let fetching = self.nodes.iter().map(|(name, client)| {
            let (name, client, enough) = (name.clone(), client.clone(), enough.clone());
            runtime.spawn(async move {
                let mut asked = Asked::default();
                let mut connection = client.connect().await?;
                while !enough.load(Ordering::Relaxed) {
                    asked.note(catalog(&mut connection, &name).await);
                    tokio::time::sleep(THINK).await;
                }
                anyhow::Ok(asked)
            })
        });
        let fetching: Vec<_> = fetching.collect();
        let done = meanwhile();
        enough.store(true, Ordering::Relaxed);
        let span = began.elapsed();
        let (mut enrolled, mut catalogs, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for (tasks, times) in [(enrolling, &mut enrolled), (fetching, &mut catalogs)] {
            for task in tasks {
                let asked = runtime.block_on(task)??;
                times.extend(asked.times);
                failed.extend(asked.failed);
            }
        }
        done?;
        let mut all = [enrolled.as_slice(), catalogs.as_slice()].concat();
        all.sort_by(f64::total_cmp);
        Ok(Run { enrolled, catalogs, all, failed, span })
    }

    fn is_done_well(&self, runs: &[&Run]) -> bool {
        if self.next.load(Ordering::Relaxed) > self.requests.len() {
            println!("(the {} prepared requests were used up)", self.requests.len());
        }
        runs.iter().all(|run| run.failed.is_empty())
    }
}

#[derive(Default)]
struct Asked {
    times: Vec<f64>,
    failed: Vec<String>,
}

impl Asked {
    fn note(&mut self, outcome: Result<f64>) {
        match outcome {
            Ok(milliseconds) => self.times.push(milliseconds),
            Err(error) => self.failed.push(format!("{error:#}")),
        }
    }
}

async fn enrol(connection: &mut Connection, name: &str, pem: &str) -> Result<f64> {
    let began = Instant::now();
    let path = format!("/puppet-ca/v1/certificate_request/{name}");
    let answer = connection.send("PUT", &path, &[("content-type", "text/plain")], pem.as_bytes()).await?;
    ensure!(answer.status == 200, "{name}: {} {}", answer.status, answer.text());
    let answer = connection.send("GET", &format!("/puppet-ca/v1/certificate/{name}"), &[], b"").await?;
    ensure!(answer.status == 200, "{name} was not signed: {} {}", answer.status, answer.text());
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

async fn catalog(connection: &mut Connection, name: &str) -> Result<f64> {
    let began = Instant::now();
    let path = format!("/puppet/v3/catalog/{name}?environment=production");
    let headers = [("accept", "application/vnd.puppet.rich+json, application/json")];
    let answer = connection.send("GET", &path, &headers, b"").await?;
    ensure!(answer.status == 200, "{name}: {} {}", answer.status, answer.text());
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

impl Run {
    fn count(&self) -> usize {
        self.all.len() + self.failed.len()
    }

    fn rate(&self, times: &[f64]) -> f64 {
        f64::from(u32::try_from(times.len()).unwrap_or(u32::MAX)) / self.span.as_secs_f64()
    }

    fn at(&self, thousandths: usize) -> f64 {
        at(&self.all, thousandths)
    }
}

/// What so many thousandths of the sorted times stayed below.
fn at(times: &[f64], thousandths: usize) -> f64 {
    let last = times.len().saturating_sub(1);
    times.get(last * thousandths / 1000).copied().unwrap_or_default()
}

/// Decisions in the journal, and how many of them more than one set has made: a set's settings of
/// `s3-registry` are its own, so each goes with one set, and a catalog comes from the set that classified.
async fn mixed(file: &std::path::Path) -> Result<(usize, usize)> {
    let journal = Journal::open_read_only(file).await?;
    let (mut decisions, mut mixed) = (0, 0);
    let mut sets: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut provided: Vec<(OffsetDateTime, String, String)> = Vec::new();
    let mut history: BTreeMap<String, Vec<(OffsetDateTime, String)>> = BTreeMap::new();
    for kind in [Kind::Approval, Kind::Classification, Kind::Provision] {
        let mut after = None;
        loop {
            let page = journal.since(OffsetDateTime::UNIX_EPOCH, kind, after, 1_000).await?;
            for (entry, record) in page.records {
                decisions += 1;
                let record = record?;
                for asked in &record.asked {
                    sets.entry(format!("{} {} {}", asked.plugin, asked.digest, asked.settings_digest))
                        .or_default()
                        .insert(entry.set.clone());
                }
                match kind {
                    Kind::Classification => {
                        history.entry(entry.certname).or_default().push((entry.at, entry.set));
                    }
                    Kind::Provision => provided.push((entry.at, entry.certname, entry.set)),
                    Kind::Approval => {}
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    journal.close().await;
    let of_registry = sets.iter().filter(|(asked, _)| asked.starts_with("s3-registry "));
    mixed += of_registry.filter(|(_, sets)| sets.len() != 1).count();
    for (at, certname, set) in provided {
        // A client asks for one catalog after the other, so the last classification before is its own.
        let all = history.get(&certname).context("a catalog without a classification")?;
        if let Some((_, by)) = all.iter().rev().find(|(when, _)| *when <= at) {
            mixed += usize::from(*by != set);
        }
    }
    Ok((decisions, mixed))
}

fn resident(master: &Master) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", master.pid()?))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
    Ok(kib << 10)
}

/// From the master's own metrics.
fn metric(ca: &Authority, name: &str) -> Result<u64> {
    let (metrics, name) =
        (ca.wants(200, "GET", "/metrics", &Value::Null)?.text(), format!("bunraku_{name} "));
    let line = metrics.lines().find(|line| line.starts_with(&name)).with_context(|| format!("no {name}"))?;
    Ok(line.rsplit(' ').next().unwrap_or_default().parse()?)
}

fn json_of(body: &[u8]) -> Result<Value> {
    Ok(serde_json::from_slice(body)?)
}

fn text(value: Option<&Value>) -> Result<String> {
    Ok(value.and_then(Value::as_str).context("no text in the answer")?.to_owned())
}
