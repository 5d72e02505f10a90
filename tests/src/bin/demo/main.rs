//! The main job as a story: four nodes go from certificate request to an applied Hadoop role, and a
//! stranger waits. `cargo xtask demo` builds everything and runs this.
//!
//! As root each agent applies its catalog for real, on a throw-away machine of its own (a mount namespace
//! over this system) with small packages that stand in for Hadoop's. Otherwise agents run with `--noop`
//! and folders of their own. Either way nothing on this machine changes.

use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bunraku_tests::agent::{Agent, Settings};
use bunraku_tests::machine::Machine;
use bunraku_tests::master::Master;
use bunraku_tests::packages::Repository;
use bunraku_tests::request::Identity;
use bunraku_tests::wire::Client;
use bunraku_tests::{hadoop, tools};
use serde_json::{Value, json};
use tempfile::TempDir;

const NODES: [(&str, &str); 4] = [
    ("namenode.demo.test", "hadoop::namenode"),
    ("jobtracker.demo.test", "hadoop::jobtracker"),
    ("worker1.demo.test", "hadoop::worker"),
    ("worker2.demo.test", "hadoop::worker"),
];
/// A name that nobody registers.
const STRANGER: &str = "stranger.demo.test";
const CORE_SITE: &str = "/etc/hadoop-0.20/conf.puppet/core-site.xml";
const ADDRESS: &str = "hdfs://namenode.demo.test:8200/";

fn main() -> ExitCode {
    let keep = std::env::args().any(|argument| argument == "--keep");
    match play(keep) {
        Ok(line) => {
            println!("\nheld: {line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("\ndid NOT hold: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Where agents run.
enum Ground {
    /// Throw-away machines, and the packages that they install.
    Machines(Repository),
    /// This machine, with `--noop`; one folder below this for each agent.
    Noop(TempDir),
}

/// What came of one agent's run.
struct Outcome {
    code: i32,
    log: String,
    core_site: Option<String>,
    daemons: Vec<String>,
}

fn play(keep: bool) -> Result<String> {
    let began = Instant::now();
    let ground = match tools::require() {
        Ok(()) => Ground::Machines(Repository::build(&hadoop::packages())?),
        Err(why) => {
            println!("agents run with --noop, for throw-away machines are not to be had: {why:#}");
            Ground::Noop(TempDir::with_prefix("bunraku-demo-")?)
        }
    };
    let mut master = Master::start()?;
    println!("master       https://{} on embedded defaults, with a CA made just now", master.address());
    println!("registry     {}", master.state().join("registry").display());
    for (certname, role) in NODES {
        master.register(certname, &definition(&ground, role))?;
    }
    println!("registered   {}\n", NODES.map(|(name, _)| name.trim_end_matches(".demo.test")).join(", "));

    let mut machines = Vec::new();
    for (certname, role) in NODES {
        let began = Instant::now();
        let machine = machine(&ground, certname)?;
        let outcome = run(&ground, machine.as_ref(), &master, certname)?;
        let log = master.log();
        println!("{certname}");
        println!("  request    signed, because {}", said(&log, certname, "signed", "reason="));
        println!("  is         {role}");
        println!(
            "  catalog    {} resources, {:.1} s to the end of the run",
            said(&log, certname, "Compiled", "resources="),
            began.elapsed().as_secs_f32()
        );
        if !outcome.daemons.is_empty() {
            println!("  runs       {}", outcome.daemons.join(", "));
        }
        let fine = if matches!(ground, Ground::Noop(_)) { [0, 2] } else { [2, 2] };
        ensure!(
            fine.contains(&outcome.code),
            "the agent of {certname} ended with {}:\n{}",
            outcome.code,
            outcome.log
        );
        if role == "hadoop::worker" {
            let core_site = outcome.core_site.context("the worker has no core-site.xml")?;
            ensure!(core_site.contains(ADDRESS), "core-site.xml does not hold {ADDRESS}:\n{core_site}");
            println!(
                "  core-site  {}",
                core_site.lines().find(|l| l.contains(ADDRESS)).unwrap_or_default().trim()
            );
        }
        machines.extend(machine);
    }
    stranger(&ground, &master)?;
    let again = again(&ground, machines.last(), &master)?;
    if keep {
        println!(
            "\nthe master goes on at https://{}, state in {}; stop it with Ctrl-C",
            master.address(),
            master.state().display()
        );
        loop {
            std::thread::park();
        }
    }
    ensure!(master.stop()?.success(), "the master did not stop cleanly:\n{}", master.log());
    Ok(format!(
        "{} nodes went from certificate request to {}, every decision made by a plugin; a stranger waits ({:.0} s)",
        NODES.len(),
        again,
        began.elapsed().as_secs_f32()
    ))
}

/// What the registry says of a node. The stand-in packages need their repository; with `--noop` none is asked.
fn definition(ground: &Ground, role: &str) -> String {
    let repositories = match ground {
        Ground::Machines(repository) => {
            let line =
                format!("deb file:{} {} {}", Repository::INSIDE, Repository::SUITE, Repository::COMPONENT);
            json!({"demo": {"lines": [line], "key": repository.key()}})
        }
        Ground::Noop(_) => json!({"demo": {"lines": ["# a mirror of your own"]}}),
    };
    // On machines of their own, nodes have the names that their facts tell.
    let master = NODES.iter().find(|(_, r)| *r == role && role != "hadoop::worker");
    let parameters = master.map_or_else(|| json!({}), |(name, _)| json!({"host": name}));
    json!({"classes": {role: parameters}, "parameters": {"hadoop_repositories": repositories}}).to_string()
}

fn machine(ground: &Ground, certname: &str) -> Result<Option<Machine>> {
    match ground {
        Ground::Machines(repository) => Machine::start_with(certname, &[repository.folder()]).map(Some),
        Ground::Noop(_) => Ok(None),
    }
}

fn run(ground: &Ground, machine: Option<&Machine>, master: &Master, certname: &str) -> Result<Outcome> {
    match (ground, machine) {
        (Ground::Noop(folder), _) => noop(&folder.path().join(certname), master, certname),
        (Ground::Machines(_), None) => anyhow::bail!("{certname} has no machine"),
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
fn noop(own: &std::path::Path, master: &Master, certname: &str) -> Result<Outcome> {
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

/// Nobody registered it, so it waits and is told nothing.
fn stranger(ground: &Ground, master: &Master) -> Result<()> {
    let machine = machine(ground, STRANGER)?;
    let outcome = run(ground, machine.as_ref(), master, STRANGER)?;
    println!("{STRANGER}");
    println!("  request    waits, because {}", said(&master.log(), STRANGER, "not signed", "reason="));
    ensure!(outcome.code == 1, "the stranger's agent ended with {}:\n{}", outcome.code, outcome.log);
    Ok(())
}

/// The last worker once more: its second run changes nothing.
fn again(ground: &Ground, machine: Option<&Machine>, master: &Master) -> Result<&'static str> {
    let (Ground::Machines(_), Some(machine)) = (ground, machine) else {
        return Ok("the catalog of their role");
    };
    let outcome = run(ground, Some(machine), master, machine.name())?;
    ensure!(outcome.code == 0, "the second run ended with {}:\n{}", outcome.code, outcome.log);
    println!("{} again\n  catalog    applied already: nothing changes", machine.name());
    Ok("an applied role")
}

/// A field of the last line about a node in the master's log.
fn said(log: &str, certname: &str, what: &str, field: &str) -> String {
    let line = log.lines().rev().find(|l| l.contains(what) && l.contains(certname) && l.contains(field));
    let value = line.and_then(|l| l.split_once(field)).map(|(_, value)| value);
    value.map_or_else(
        || "the log does not say".to_owned(),
        |v| v.split(" plugin=").next().unwrap_or(v).to_owned(),
    )
}
