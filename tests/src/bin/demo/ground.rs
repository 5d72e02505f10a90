//! Where the demo's agents run, and what comes of a run.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use bunraku_tests::agent::{Agent, Settings};
use bunraku_tests::machine::Machine;
use bunraku_tests::master::Master;
use bunraku_tests::packages::{Package, Repository};
use bunraku_tests::request::Identity;
use bunraku_tests::tools;
use bunraku_tests::wire::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

const CORE_SITE: &str = "/etc/hadoop-0.20/conf.puppet/core-site.xml";

/// Where agents run.
pub enum Ground {
    /// Throw-away machines, and the packages that they install.
    Machines(Repository),
    /// This machine, with `--noop`; one folder below this for each agent.
    Noop(TempDir),
}

impl Ground {
    /// Machines with these packages, where they can be had.
    pub fn find(packages: &[Package]) -> Result<Ground> {
        match tools::require() {
            Ok(()) => Ok(Ground::Machines(Repository::build(packages)?)),
            Err(why) => {
                println!("agents run with --noop, for throw-away machines are not to be had: {why:#}");
                Ok(Ground::Noop(TempDir::with_prefix("bunraku-demo-")?))
            }
        }
    }
}

/// What came of one agent's run.
pub struct Outcome {
    pub code: i32,
    pub log: String,
    pub core_site: Option<String>,
    pub daemons: Vec<String>,
}

/// The throw-away machine of a node.
pub fn machine(ground: &Ground, certname: &str) -> Result<Option<Machine>> {
    match ground {
        Ground::Machines(repository) => Machine::start_with(certname, &[repository.folder()]).map(Some),
        Ground::Noop(_) => Ok(None),
    }
}

/// One run of a node's agent.
pub fn run(ground: &Ground, machine: Option<&Machine>, master: &Master, certname: &str) -> Result<Outcome> {
    match (ground, machine) {
        (Ground::Noop(folder), _) => noop(&folder.path().join(certname), master, certname),
        (Ground::Machines(_), None) => bail!("{certname} has no machine"),
        (Ground::Machines(_), Some(machine)) => {
            let settings =
                Settings { certname, server: Master::NAME, address: master.address(), waitforcert: 0 };
            let run = Agent::installed().run(machine, &settings)?;
            let name = |command: &str| command.rsplit('/').next().unwrap_or(command).to_owned();
            let daemons =
                machine.processes()?.into_iter().map(|p| format!("{} as {}", name(&p.command), p.user));
            let core_site = machine.exists(CORE_SITE).then(|| machine.read(CORE_SITE)).transpose()?;
            Ok(Outcome { code: run.code, log: run.output, core_site, daemons: daemons.collect() })
        }
    }
}

/// An agent that changes nothing. It is root in a namespace of its own, for some resources may not even be
/// looked at otherwise. Its catalog is asked for once more, since `--noop` keeps none.
fn noop(own: &Path, master: &Master, certname: &str) -> Result<Outcome> {
    std::fs::create_dir_all(own)?;
    let folder = |name: &str| format!("--{name}={}", own.join(name).display());
    let output = Command::new("unshare")
        .args([
            "--map-root-user",
            "puppet",
            "agent",
            "--onetime",
            "--no-daemonize",
            "--noop",
            "--detailed-exitcodes",
            "--color=false",
        ])
        .args(["--verbose", "--waitforcert=0", "--server=localhost", "--user=root", "--group=root"])
        .arg(format!("--masterport={}", master.address().port()))
        .arg(format!("--certname={certname}"))
        .args(["confdir", "vardir", "rundir", "logdir", "publicdir", "ssldir"].map(folder))
        .stdin(Stdio::null())
        .output()
        .context("cannot start puppet")?;
    let pem =
        |kind: &str| std::fs::read_to_string(own.join("ssldir").join(kind).join(format!("{certname}.pem")));
    let core_site = match (pem("certs"), pem("private_keys")) {
        (Ok(certificate), Ok(key)) => {
            let client = Client::new(master.address(), &master.ca()?, Some(&Identity { certificate, key }))?;
            let catalog: Value = serde_json::from_slice(&client.catalog(certname, &json!({}))?.body)?;
            let resources = catalog.get("resources").and_then(Value::as_array).cloned().unwrap_or_default();
            let file = resources.iter().find(|r| r.get("title").is_some_and(|t| t == "hadoop-core-site"));
            file.and_then(|r| r.pointer("/parameters/content")?.as_str().map(str::to_owned))
        }
        _ => None,
    };
    let code = output.status.code().unwrap_or(-1);
    Ok(Outcome { code, log: tools::text(&output), core_site, daemons: Vec::new() })
}

/// A field of the last line about a node in the master's log.
pub fn said(log: &str, certname: &str, what: &str, field: &str) -> String {
    let line = log.lines().rev().find(|l| l.contains(what) && l.contains(certname) && l.contains(field));
    let value = line.and_then(|l| l.split_once(field)).map(|(_, value)| value);
    value.map_or_else(
        || "the log does not say".to_owned(),
        |v| v.split(" plugin=").next().unwrap_or(v).to_owned(),
    )
}
