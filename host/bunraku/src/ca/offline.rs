//! The commands that need the CA at rest, or read it beside the daemon: they
//! open its store themselves.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::ca::Settings;
use ::ca::import::Problem;
use ::ca::verify::Level;
use pki::{Bundle, KeyKind};
use serde_json::{Value, json};
use signer::InProcess;
use store::Store;
use time::OffsetDateTime;

use super::say;
use super::tally::SOME;
use crate::arguments::Output;
use crate::config::Config;
use crate::print::{Progress, count, out, printable, when};
use crate::setup::{self, Failure};

/// What is to be set up.
pub struct Setup {
    /// The CA's common name, where another than the configuration's.
    pub name: Option<String>,
    /// Its key, where another than the configuration's.
    pub key: Option<KeyKind>,
    /// Write a request for another CA there.
    pub csr: Option<PathBuf>,
    /// Install the chain and the lists of these files.
    pub chain: Option<(PathBuf, PathBuf)>,
}

/// `bunraku ca setup`.
pub async fn setup(config: &Config, wanted: &Setup, output: Output) -> Result<(), Failure> {
    let mut settings = settings(config)?;
    if let Some(name) = &wanted.name {
        settings.ca_name.clone_from(name);
    }
    settings.key = wanted.key.unwrap_or(settings.key);
    let now = OffsetDateTime::now_utc();
    if let Some((chain, lists)) = &wanted.chain {
        let (chain, lists) = (read(chain)?, read(lists)?);
        let store = open(config).await?;
        let bundle = ::ca::setup::install(&settings, &store, &chain, &lists, now).await;
        store.close().await;
        made(output, &bundle.map_err(|e| setup::ca_failure(config, e))?, "installed");
        return Ok(());
    }
    let store = open(config).await?;
    if let Some(file) = &wanted.csr {
        let request = ::ca::setup::request(&settings, &store).await;
        store.close().await;
        let request = request.map_err(|e| setup::ca_failure(config, e))?;
        std::fs::write(file, &request)
            .map_err(|e| Failure::new(format_args!("cannot write {}: {e}", file.display())))?;
        let sentence = format!(
            "wrote the request to {}: have it signed, then: bunraku ca setup --chain CHAIN --crl CRLS",
            file.display()
        );
        say(output, &json!({"result": "requested", "csr": file}), &sentence);
        return Ok(());
    }
    let bundle = ::ca::setup::create(&settings, &store, now).await;
    store.close().await;
    made(output, &bundle.map_err(|e| setup::ca_failure(config, e))?, "made");
    Ok(())
}

/// `bunraku ca renew --ca`.
pub async fn renew(config: &Config, output: Output) -> Result<(), Failure> {
    let settings = settings(config)?;
    exists(config)?;
    let store = open(config).await?;
    let bundle = ::ca::setup::renew_ca(&settings, &store, OffsetDateTime::now_utc()).await;
    store.close().await;
    made(output, &bundle.map_err(|e| setup::ca_failure(config, e))?, "renewed");
    Ok(())
}

/// `bunraku ca import`.
pub async fn import(config: &Config, dir: &Path, output: Output) -> Result<(), Failure> {
    let settings = settings(config)?;
    let store = open(config).await?;
    let now = OffsetDateTime::now_utc();
    let importing = ::ca::import::import(dir, &settings, &store, now);
    let imported = long("taking over", importing, async || {
        let counts = store.counts(now.unix_timestamp()).await.ok()?;
        Some(count(counts.signed + counts.revoked + counts.superseded, "certificate"))
    });
    let imported = imported.await;
    store.close().await;
    let report = imported.map_err(|e| setup::ca_failure(config, e))?;
    let ca = report.bundle.issuer();
    let sentence = format!(
        "took over the CA {}: {}, {} revoked, {}, {}\n  certificate SHA-256 {}",
        printable(&ca.subject_cn),
        count(report.certificates, "certificate"),
        report.revoked,
        count(report.requests, "request"),
        count(report.masters, "catalog master"),
        ca.fingerprint,
    );
    let facts = json!({
        "result": "imported",
        "name": ca.subject_cn,
        "fingerprint": ca.fingerprint.to_string(),
        "certificates": report.certificates,
        "requests": report.requests,
        "revoked": report.revoked,
        "masters": report.masters,
        "problems": problems(&report.problems),
    });
    complain(output, &report.problems);
    say(output, &facts, &sentence);
    // Each has been said.
    if report.problems.is_empty() { Ok(()) } else { Err(Failure::with_code(SOME, "")) }
}

/// `bunraku ca export`.
pub async fn export(config: &Config, dir: &Path, output: Output) -> Result<(), Failure> {
    let settings = settings(config)?;
    let store = open_to_read(config).await?;
    let exported = ::ca::export::export(&settings, &store, dir, OffsetDateTime::now_utc()).await;
    store.close().await;
    let report = exported.map_err(|e| setup::ca_failure(config, e))?;
    let sentence = format!(
        "wrote {}: {} and {}, and the CA's key",
        dir.display(),
        count(report.certificates, "certificate"),
        count(report.requests, "request"),
    );
    let facts = json!({
        "result": "exported",
        "dir": dir,
        "certificates": report.certificates,
        "requests": report.requests,
        "problems": problems(&report.problems),
    });
    complain(output, &report.problems);
    say(output, &facts, &sentence);
    Ok(())
}

/// `bunraku ca backup`.
pub async fn backup(config: &Config, file: &Path, output: Output) -> Result<(), Failure> {
    let settings = settings(config)?;
    let store = open_to_read(config).await?;
    let file = &std::path::absolute(file).map_err(Failure::new)?;
    let written = ::ca::archive::backup(&settings, &store, file, OffsetDateTime::now_utc()).await;
    store.close().await;
    written.map_err(|e| setup::ca_failure(config, e))?;
    let bytes = std::fs::metadata(file).map_or(0, |m| m.len());
    let sentence = format!("wrote {}, {} KiB; it holds the CA's key", file.display(), bytes.div_ceil(1024));
    say(output, &json!({"result": "written", "file": file, "bytes": bytes}), &sentence);
    Ok(())
}

/// `bunraku ca restore`.
pub async fn restore(config: &Config, file: &Path, force: bool, output: Output) -> Result<(), Failure> {
    let settings = settings(config)?;
    let database = config.below_state(setup::DATABASE);
    let now = OffsetDateTime::now_utc();
    let restored = ::ca::archive::restore(file, &settings, &database, force, now).await;
    let restored = restored.map_err(|error| match error {
        ::ca::Error::Store(error) => held(config, error),
        other => setup::ca_failure(config, other),
    })?;
    let mut sentence = format!(
        "restored the CA {} of {}: {}; its next revocation list has a number beyond {}",
        printable(&restored.name),
        when(restored.made.unix_timestamp()),
        count(restored.certificates, "certificate"),
        restored.crl_floor,
    );
    if let Some(moved) = &restored.moved {
        sentence.push_str(&format!("\n  what was there is in {} now", moved.display()));
    }
    if restored.missing.is_empty() {
        sentence.push_str("\n  certificates signed since the backup are not in it: revoke them by serial");
    } else {
        sentence.push_str("\n  signed since the backup, and only to be revoked by serial:");
        for (serial, name) in &restored.missing {
            sentence.push_str(&format!("\n    0x{} {}", printable(serial), printable(name)));
        }
    }
    sentence.push_str("\n  next: start the daemon; it signs the list of all that is revoked");
    let facts = json!({
        "result": "restored",
        "name": restored.name,
        "made": restored.made.unix_timestamp(),
        "certificates": restored.certificates,
        "crl_floor": restored.crl_floor,
        "moved": restored.moved,
        "missing": restored.missing.iter()
            .map(|(serial, name)| json!({"serial": format!("0x{serial}"), "certname": name}))
            .collect::<Vec<_>>(),
    });
    say(output, &facts, &sentence);
    Ok(())
}

/// `bunraku ca verify`.
pub async fn verify(config: &Config, output: Output) -> Result<(), Failure> {
    let settings = settings(config)?;
    let store = open_to_read(config).await?;
    let verifying = ::ca::verify::verify(&settings, &store, OffsetDateTime::now_utc());
    let findings = long("checking", verifying, async || None).await;
    store.close().await;
    let word = |level: Level| match level {
        Level::Ok => "ok",
        Level::Warning => "warning",
        Level::Error => "error",
    };
    let errors = findings.iter().filter(|f| f.level == Level::Error).count();
    let warnings = findings.iter().filter(|f| f.level == Level::Warning).count();
    if output.json {
        let rows = findings.iter().map(|f| json!({"level": word(f.level), "what": f.what}));
        out(&format!("{}\n", Value::Array(rows.collect())));
    } else {
        for finding in &findings {
            out(&format!("{:8} {}\n", word(finding.level), printable(&finding.what)));
        }
        let errors = count(u64::try_from(errors).unwrap_or(u64::MAX), "error");
        out(&format!("{errors}, {}\n", count(u64::try_from(warnings).unwrap_or(u64::MAX), "warning")));
    }
    if errors > 0 { Err(Failure::with_code(1, "")) } else { Ok(()) }
}

/// Waits for something long, and says on the terminal how far it is.
async fn long<T>(what: &str, work: impl Future<Output = T>, so_far: impl AsyncFn() -> Option<String>) -> T {
    let started = Instant::now();
    let mut progress = Progress::new();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    // Its first tick is at once.
    tick.tick().await;
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = tick.tick() => {
                let so_far = so_far().await.map(|so_far| format!(", {so_far}")).unwrap_or_default();
                progress.show(&format!("{what}: {} s{so_far}", started.elapsed().as_secs()));
            }
        }
    }
}

fn problems(problems: &[Problem]) -> Vec<Value> {
    problems.iter().map(|p| json!({"file": p.file, "line": p.line, "why": p.why})).collect()
}

/// Says on standard error what was left out, and why.
fn complain(output: Output, problems: &[Problem]) {
    if output.json {
        return;
    }
    for problem in problems {
        let line = problem.line.map(|line| format!(":{line}")).unwrap_or_default();
        eprintln!("bunraku: {}{line}: {}", printable(&problem.file), printable(&problem.why));
    }
    if !problems.is_empty() {
        eprintln!("bunraku: {}", count(u64::try_from(problems.len()).unwrap_or(u64::MAX), "problem"));
    }
}

fn made(output: Output, bundle: &Bundle, done: &str) {
    let ca = bundle.issuer();
    let facts = json!({
        "result": done,
        "name": ca.subject_cn,
        "fingerprint": ca.fingerprint.to_string(),
        "bundle_fingerprint": bundle.fingerprint().to_string(),
        "not_after": ca.not_after.unix_timestamp(),
    });
    let sentence = format!(
        "{done} the CA {}, valid until {}\n  certificate SHA-256 {}\n  bundle      SHA-256 {} (agents' ca_fingerprint, masters' ca.fingerprint)",
        printable(&ca.subject_cn),
        when(ca.not_after.unix_timestamp()),
        ca.fingerprint,
        bundle.fingerprint(),
    );
    say(output, &facts, &sentence);
}

/// How the CA works, for a process that is no daemon.
fn settings(config: &Config) -> Result<Settings, Failure> {
    if let Some(follows) = &config.ca.follows {
        return Err(Failure::with_code(
            2,
            format_args!("this is a catalog master; its CA is {}: run this there", follows.server),
        ));
    }
    let passphrase = signer::passphrase(config.ca.passphrase_file.as_deref());
    let passphrase = passphrase.map_err(|e| Failure::with_code(2, e))?;
    Ok(setup::ca_settings(config, Arc::new(InProcess::new(passphrase))))
}

/// The store, which no daemon may have.
async fn open(config: &Config) -> Result<Store, Failure> {
    Store::open(&config.below_state(setup::DATABASE)).await.map_err(|error| held(config, error))
}

/// Why the store cannot be had.
fn held(config: &Config, error: store::Error) -> Failure {
    match error {
        store::Error::Held { pid, .. } => {
            let holder =
                pid.map_or_else(|| "a daemon".to_owned(), |pid| format!("the daemon, process {pid},"));
            Failure::new(format_args!(
                "{holder} has the CA in {} open: stop it, do this, and start it again",
                config.state_dir.display()
            ))
        }
        other => Failure::new(other),
    }
}

/// The store for reading; a daemon may have it open.
async fn open_to_read(config: &Config) -> Result<Store, Failure> {
    exists(config)?;
    Store::open_read_only(&config.below_state(setup::DATABASE)).await.map_err(Failure::new)
}

fn exists(config: &Config) -> Result<(), Failure> {
    if config.below_state(setup::DATABASE).exists() {
        return Ok(());
    }
    Err(Failure::new(format_args!(
        "there is no CA in {}: `bunraku ca setup` makes one, and so does the first start of `bunraku serve`",
        config.state_dir.display()
    )))
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file)
        .map_err(|e| Failure::with_code(2, format_args!("cannot read {}: {e}", file.display())))
}
