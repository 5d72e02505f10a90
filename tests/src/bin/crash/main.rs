//! A CA that is killed again and again while it signs and revokes, and what it still knows afterwards.
//!
//! `cargo xtask crash --rounds N` builds everything and runs this. A round: fifty clients enrol names and
//! revoke and clean certificates; at a moment that the seed decides, the daemon, or the process that holds
//! the CA's key, is killed with SIGKILL; the daemon starts again on the same state; then everything that a
//! client was told is held against what the CA says now, and against what OpenSSL says of it. Each client
//! writes down what it asks before it asks, and what it was answered after: only an answer binds the CA.

mod customer;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bunraku_tests::master::{Master, Settings};
use bunraku_tests::openssl::{Believed, Verdict};
use bunraku_tests::request;
use bunraku_tests::tools;
use bunraku_tests::wire::Client;
use fastrand::Rng;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::customer::{Customer, End, Ledger, Life, NAMES, expected, lock, serial};

/// Clients that enrol at once.
const ENROLLING: u32 = 44;
/// Administrators that revoke and clean at once.
const REVOKING: u32 = 6;
/// Certificates of earlier rounds that are looked at in each.
const SAMPLE: usize = 60;
/// Certificates that are received before the clock of the kill runs, for at most so long.
const WARM: usize = 10;
const PATIENCE: Duration = Duration::from_secs(10);
/// Rounds after which the program's own check of the whole CA runs.
const VERIFY_EVERY: u32 = 25;
/// May revoke.
const ADMIN: &str = "admin.crash.test";

fn main() -> ExitCode {
    match Options::read().and_then(|options| run(&options)) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("did NOT hold: {error:#}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    rounds: u32,
    seed: u64,
    /// A program that is given the state directory between each kill and the next start: for showing that the
    /// checks see what it breaks.
    between: Option<String>,
}

impl Options {
    fn read() -> Result<Options> {
        let mut options = Options { rounds: 20, seed: fastrand::u64(..), between: None };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let value = words.next().with_context(|| format!("{word} wants a value"))?;
            match word.as_str() {
                "--rounds" => options.rounds = value.parse()?,
                "--seed" => options.seed = value.parse()?,
                "--between" => options.between = Some(value),
                other => bail!("{other}: the options are --rounds N, --seed N and --between PROGRAM"),
            }
        }
        Ok(options)
    }
}

/// What the rounds came to.
#[derive(Default)]
struct Totals {
    daemon_kills: u32,
    signer_kills: u32,
    number: u128,
    lost: BTreeSet<String>,
    doubled: BTreeSet<String>,
    other: Vec<String>,
}

struct World {
    master: Master,
    runtime: Runtime,
    admin: request::Identity,
    ca: String,
    ledger: Arc<Mutex<Ledger>>,
    totals: Totals,
    /// Of every certificate that was received, and whose it is.
    serials: BTreeMap<String, String>,
    random: Rng,
}

fn run(options: &Options) -> Result<String> {
    let began = Instant::now();
    println!("seed {}: repeat with --seed {}", options.seed, options.seed);
    let server = "requests_per_minute = 1000000\naccess_log = \"off\"";
    let config = format!("[ca]\nadmins = [\"{ADMIN}\"]\n[log]\nlevel = \"warn\"\n");
    let master = Master::start_with(&Settings { config: &config, server, ..Settings::default() })?;
    master.register(ADMIN, "classes: {}\n")?;
    let admin = request::enrol(&master.stranger()?, ADMIN)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ca = master.ca()?;
    let random = Rng::with_seed(options.seed);
    let mut world = World {
        master,
        runtime,
        admin,
        ca,
        ledger: Arc::default(),
        totals: Totals::default(),
        serials: BTreeMap::new(),
        random,
    };
    for round in 1..=options.rounds {
        world.round(round, options)?;
        let Totals { lost, doubled, other, .. } = &world.totals;
        if !(lost.is_empty() && doubled.is_empty() && other.is_empty()) {
            let all: Vec<_> = lost.iter().chain(doubled).chain(other).take(20).cloned().collect();
            bail!(
                "after round {round} (seed {}): lost {}, doubled {}\n  {}\nthe daemon's last lines:\n{}",
                options.seed,
                lost.len(),
                doubled.len(),
                all.join("\n  "),
                last_lines(&world.master.log(), 20)
            );
        }
    }
    world.inventory()?;
    let ledger = lock(&world.ledger);
    let done = |end| ledger.lives.iter().filter(|life| life.ended && life.end == Some(end)).count();
    let Totals { daemon_kills, signer_kills, lost, doubled, .. } = &world.totals;
    let line = format!(
        "{} rounds, {} kills ({daemon_kills} daemon, {signer_kills} signer), {} certificates, {} revocations, \
         {} cleaned, lost {}, doubled {}, in {:.0?}",
        options.rounds,
        daemon_kills + signer_kills,
        ledger.lives.iter().filter(|life| life.certificate.is_some()).count(),
        done(End::Revoke),
        done(End::Clean),
        lost.len(),
        doubled.len(),
        began.elapsed()
    );
    ensure!(lost.is_empty() && doubled.is_empty() && world.totals.other.is_empty(), "{line}");
    Ok(line)
}

impl World {
    fn round(&mut self, round: u32, options: &Options) -> Result<()> {
        let began = Instant::now();
        let registry = self.master.state().join("registry");
        fs::create_dir_all(&registry)?;
        for n in 0..NAMES {
            fs::write(registry.join(expected(round, n)), "classes: {}\n")?;
        }
        let before = lock(&self.ledger).lives.len();
        let how = self.load_and_kill(round, options)?;
        self.master.start_again()?;
        ensure!(self.master.ca()? == self.ca, "another CA after the crash");
        let recovered = self.finish_requests(round);
        let last = round == options.rounds;
        self.check(round, last)?;
        if last || round.is_multiple_of(VERIFY_EVERY) {
            let output = self.master.command(&["ca", "verify"])?;
            if !output.status.success() {
                self.totals.other.push(format!("bunraku ca verify: {}", tools::text(&output)));
            }
        }
        for n in 0..NAMES {
            fs::remove_file(registry.join(expected(round, n)))?;
        }
        let ledger = lock(&self.ledger);
        let of_round = || ledger.lives.iter().skip(before);
        println!(
            "round {round:>3}/{}  {how:<44} {:>4} certificates, {recovered:>2} of them by asking again, {:>3} ended, \
             CRL {}, {:.1?}",
            options.rounds,
            of_round().filter(|life| life.certificate.is_some()).count(),
            ledger.lives.iter().filter(|life| life.ended).count(),
            self.totals.number,
            began.elapsed()
        );
        Ok(())
    }

    /// Lets everybody loose, kills, and leaves the daemon dead.
    fn load_and_kill(&mut self, round: u32, options: &Options) -> Result<String> {
        let stop = Arc::new(AtomicBool::new(false));
        let calm = Arc::new(AtomicBool::new(true));
        let next = Arc::new(AtomicU32::new(0));
        let stranger = self.master.stranger()?;
        let admin = Client::new(self.master.address(), &self.ca, Some(&self.admin))?;
        let mut tasks = Vec::new();
        for n in 0..ENROLLING + REVOKING {
            let client = Customer {
                ledger: self.ledger.clone(),
                stop: stop.clone(),
                calm: calm.clone(),
                next: next.clone(),
                random: Rng::with_seed(self.random.u64(..)),
                round,
            };
            let (stranger, admin) = (stranger.clone(), admin.clone());
            tasks.push(self.runtime.spawn(async move {
                // An error is a connection that the kill cut.
                let _ = match n < ENROLLING {
                    true => client.enrol(stranger).await,
                    false => client.end(stranger, admin).await,
                };
            }));
        }
        let since = Instant::now();
        while lock(&self.ledger).received(round) < WARM && since.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        let after = Duration::from_millis(self.random.u64(0..900));
        std::thread::sleep(after);
        let how = match self.random.u32(0..10) {
            0..5 => {
                calm.store(false, Ordering::SeqCst);
                self.kill_daemon()?;
                format!("killed after {after:.0?}")
            }
            5..8 => {
                calm.store(false, Ordering::SeqCst);
                let signer = self.master.signer()?;
                tools::run(Command::new("kill").args(["-s", "KILL", &signer.to_string()]))?;
                self.totals.signer_kills += 1;
                let then = Duration::from_millis(self.random.u64(0..600));
                std::thread::sleep(then);
                self.kill_daemon()?;
                format!("signer killed after {after:.0?}, all {then:.0?} later")
            }
            _ => {
                calm.store(false, Ordering::SeqCst);
                self.kill_daemon()?;
                let again = Duration::from_millis(self.random.u64(1..400));
                self.master.start_and_crash(again)?;
                self.totals.daemon_kills += 1;
                format!("killed after {after:.0?}, and {again:.0?} after its start")
            }
        };
        stop.store(true, Ordering::SeqCst);
        for task in tasks {
            self.runtime.block_on(task).context("a client panicked")?;
        }
        if let Some(program) = &options.between {
            tools::run(Command::new(program).arg(self.master.state()))?;
        }
        self.totals.other.append(&mut lock(&self.ledger).odd);
        Ok(how)
    }

    fn kill_daemon(&mut self) -> Result<()> {
        self.totals.daemon_kills += 1;
        self.master.crash()
    }

    /// Clients that the kill cut off ask again, with the same key: each gets a certificate, and says so in
    /// the ledger.
    fn finish_requests(&mut self, round: u32) -> usize {
        let mut ledger = lock(&self.ledger);
        let mut recovered = 0;
        for life in ledger.lives.iter_mut().filter(|l| l.round == round && l.certificate.is_none()) {
            let result = (|| {
                let client = self.master.stranger()?;
                let answer = request::submit(&client, &life.name, life.request.as_bytes())?;
                ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
                let since = Instant::now();
                loop {
                    match request::certificate(&client, &life.name)? {
                        Some(certificate) => return Ok(certificate),
                        None if since.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(200)),
                        None => anyhow::bail!("it still waits"),
                    }
                }
            })();
            match result {
                Ok(certificate) => {
                    life.certificate = Some(certificate);
                    recovered += 1;
                }
                Err(error) => {
                    self.totals.lost.insert(format!("{}: its request came to nothing: {error:#}", life.name));
                }
            }
        }
        recovered
    }

    /// Holds the ledger against what the CA and OpenSSL say now.
    fn check(&mut self, round: u32, all: bool) -> Result<()> {
        let ledger = self.ledger.clone();
        let ledger = lock(&ledger);
        let mut places: Vec<usize> = (0..ledger.lives.len()).collect();
        if !all {
            let (mut old, new): (Vec<_>, Vec<_>) =
                places.into_iter().partition(|n| ledger.lives.get(*n).is_some_and(|l| l.round < round));
            self.random.shuffle(&mut old);
            places = old.into_iter().take(SAMPLE).chain(new).collect();
        }
        let looked_at: Vec<&Life> = places.iter().filter_map(|n| ledger.lives.get(*n)).collect();
        self.check_serials(&ledger, round);
        self.check_served(&ledger, &looked_at)?;
        self.check_with_openssl(&looked_at)?;
        for name in &ledger.strangers {
            let answer = self.master.stranger()?.get(&format!("/puppet-ca/v1/certificate/{name}"))?;
            if answer.status != 404 {
                self.totals.other.push(format!("{name} has a certificate, and nobody approved it"));
            }
        }
        Ok(())
    }

    fn check_serials(&mut self, ledger: &Ledger, round: u32) {
        for life in ledger.lives.iter().filter(|life| life.round == round) {
            let Some(serial) = life.certificate.as_deref().and_then(|pem| serial(pem).ok()) else { continue };
            if let Some(other) = self.serials.insert(serial.clone(), life.name.clone()) {
                self.totals.doubled.insert(format!("serial {serial}: {other} and {}", life.name));
            }
        }
    }

    /// Every certificate is still served as it was received, or ended as it was asked.
    fn check_served(&mut self, ledger: &Ledger, looked_at: &[&Life]) -> Result<()> {
        let newest: BTreeMap<&str, &Life> =
            ledger.lives.iter().map(|life| (life.name.as_str(), life)).collect();
        let (stranger, admin) =
            (self.master.stranger()?, Client::new(self.master.address(), &self.ca, Some(&self.admin))?);
        let (lost, doubled) = self.runtime.block_on(async {
            let (mut stranger, mut admin) = (stranger.connect().await?, admin.connect().await?);
            let (mut lost, mut doubled) = (Vec::new(), Vec::new());
            for life in looked_at {
                let Some(certificate) = life.certificate.as_deref() else { continue };
                if !newest.get(life.name.as_str()).is_some_and(|other| std::ptr::eq(*other, *life)) {
                    // Cleaned, and the name has another one now; OpenSSL looks whether this one is revoked.
                    continue;
                }
                let path = format!("/puppet-ca/v1/certificate/{}", life.name);
                let served = stranger.send("GET", &path, &[], b"").await?;
                let path = format!("/puppet-ca/v1/certificate_status/{}", life.name);
                let status = admin.send("GET", &path, &[("accept", "application/json")], b"").await?;
                let state = serde_json::from_slice::<Value>(&status.body).unwrap_or_default();
                let state = state.get("state").and_then(Value::as_str).unwrap_or("unknown").to_owned();
                if served.status == 200 && served.body != certificate.as_bytes() {
                    doubled.push(format!("{} is served another certificate than it received", life.name));
                }
                let fine = match (life.end, life.ended) {
                    (None, _) => served.status == 200 && state == "signed",
                    (Some(End::Revoke), true) => state == "revoked",
                    (Some(End::Revoke), false) => ["signed", "revoked"].contains(&state.as_str()),
                    (Some(End::Clean), true) => served.status == 404 && status.status == 404,
                    (Some(End::Clean), false) => (served.status == 404) == (status.status == 404),
                };
                if !fine {
                    lost.push(format!(
                        "{}: {}, but served with {} and {state}",
                        life.name,
                        life.was_told(),
                        served.status
                    ));
                }
            }
            anyhow::Ok((lost, doubled))
        })?;
        self.totals.lost.extend(lost);
        self.totals.doubled.extend(doubled);
        Ok(())
    }

    fn check_with_openssl(&mut self, looked_at: &[&Life]) -> Result<()> {
        let lists = self.master.stranger()?.get("/puppet-ca/v1/certificate_revocation_list/ca")?;
        ensure!(lists.status == 200, "the revocation list: {} {}", lists.status, lists.text());
        let believed = Believed::new(&self.ca, &lists.text())?;
        let list = believed.list()?;
        if list.number < self.totals.number {
            let fell = format!("the CRL's number fell from {} to {}", self.totals.number, list.number);
            self.totals.other.push(fell);
        }
        self.totals.number = list.number;
        let held: Vec<(&Life, &str)> =
            looked_at.iter().filter_map(|life| Some((*life, life.certificate.as_deref()?))).collect();
        let verdicts = believed.verify(held.iter().map(|(_, certificate)| *certificate))?;
        for ((life, certificate), verdict) in held.iter().zip(verdicts) {
            let fine = match (life.end, life.ended) {
                (None, _) => verdict == Verdict::Valid,
                (Some(_), true) => {
                    verdict == Verdict::Revoked && list.serials.contains(&serial(certificate)?)
                }
                (Some(_), false) => {
                    verdict != Verdict::Valid || !list.serials.contains(&serial(certificate)?)
                }
            };
            if !fine {
                self.totals.lost.insert(format!(
                    "{}: {}, but OpenSSL says {verdict:?}",
                    life.name,
                    life.was_told()
                ));
            }
        }
        Ok(())
    }

    /// After the last round: every certificate that anybody received is one row of the exported inventory,
    /// no serial is there twice, and no name has two certificates in force.
    fn inventory(&mut self) -> Result<()> {
        let crl = self.master.stranger()?.get("/puppet-ca/v1/certificate_revocation_list/ca")?;
        let revoked = Believed::new(&self.ca, &crl.text())?.list()?.serials;
        ensure!(self.master.stop()?.success(), "the daemon did not stop cleanly");
        let folder = tempfile::TempDir::with_prefix("bunraku-crash-")?;
        let folder = folder.path().join("export");
        tools::run(&mut self.master.program(&["ca", "export", &folder.display().to_string()])?)?;
        let rows = inventory(&folder.join("inventory.txt"))?;
        let mut serials: BTreeMap<String, u32> = BTreeMap::new();
        let mut in_force: BTreeMap<String, u32> = BTreeMap::new();
        for (serial, name) in rows {
            if !revoked.contains(&serial) {
                *in_force.entry(name).or_default() += 1;
            }
            *serials.entry(serial).or_default() += 1;
        }
        let twice = serials.iter().filter(|(_, n)| **n > 1).map(|(serial, _)| format!("serial {serial}"));
        self.totals.doubled.extend(twice);
        let twice = in_force.iter().filter(|(_, n)| **n > 1);
        self.totals.doubled.extend(twice.map(|(name, n)| format!("{name} has {n} certificates in force")));
        for life in &lock(&self.ledger).lives {
            let Some(certificate) = &life.certificate else { continue };
            if !serials.contains_key(&serial(certificate)?) {
                self.totals.lost.insert(format!("{} is not in the inventory", life.name));
            }
        }
        println!("inventory of {} certificates", serials.len());
        Ok(())
    }
}

/// Serial and name of every line of an inventory: `0xSERIAL NOT-BEFORE NOT-AFTER /CN=NAME`.
fn inventory(file: &Path) -> Result<Vec<(String, String)>> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let serial = bunraku_tests::openssl::plain(words.next()?);
        Some((serial, words.nth(2)?.strip_prefix("/CN=")?.to_owned()))
    };
    text.lines().map(|line| row(line).with_context(|| format!("inventory: {line:?}"))).collect()
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(count)).map(|line| format!("  {line}\n")).collect()
}
