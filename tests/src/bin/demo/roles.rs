//! Four nodes go from certificate request to an applied Hadoop role, and a stranger waits.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bunraku_tests::hadoop;
use bunraku_tests::machine::Machine;
use bunraku_tests::master::Master;
use bunraku_tests::packages::Repository;
use serde_json::json;

use crate::ground::{Ground, machine, run, said};

const NODES: [(&str, &str); 4] = [
    ("namenode.demo.test", "hadoop::namenode"),
    ("jobtracker.demo.test", "hadoop::jobtracker"),
    ("worker1.demo.test", "hadoop::worker"),
    ("worker2.demo.test", "hadoop::worker"),
];
/// A name that nobody registers.
const STRANGER: &str = "stranger.demo.test";
const ADDRESS: &str = "hdfs://namenode.demo.test:8200/";

/// Plays it; with `keep` the master goes on.
pub fn play(keep: bool) -> Result<String> {
    let began = Instant::now();
    let ground = Ground::find(&hadoop::packages())?;
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
