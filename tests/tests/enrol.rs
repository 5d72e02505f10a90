//! From a certificate request to an applied catalog, with a real agent: who is signed, who waits, and why.

use std::time::Duration;

use anyhow::{Context, Result};
use bunraku_tests::agent::{Agent, Run, Settings};
use bunraku_tests::machine::Machine;
use bunraku_tests::master::Master;
use bunraku_tests::request::{Identity, Request};
use bunraku_tests::tools;
use bunraku_tests::wire::Client;

/// A node definition that changes something on any machine, once.
const DEFINITION: &str =
    "classes:\n  apt:\n    repositories:\n      empty:\n        lines: ['# nothing here']\n";

const LIST: &str = "File[/etc/apt/sources.list.d/empty.list]";

/// How soon a changed object must lead to a signature: the registry is polled every few seconds.
const SOON: Duration = Duration::from_secs(60);

#[test]
fn an_expected_node_is_signed_and_applies_its_catalog_once() -> Result<()> {
    first_and_second_run(&Agent::installed())
}

#[test]
fn an_expected_node_with_agent_8_is_signed_and_applies_its_catalog_once() -> Result<()> {
    Agent::eight()?.map_or(Ok(()), |agent| first_and_second_run(&agent))
}

fn first_and_second_run(agent: &Agent) -> Result<()> {
    let master = Master::start()?;
    let name = "node1.cluster.test";
    master.register(name, DEFINITION)?;
    let machine = Machine::start_with(name, &agent.folders())?;
    let first = run(&master, agent, &machine, name, 5)?.expect_code(2)?;
    assert!(first.changed().iter().any(|r| r == LIST), "{:?}\n{}", first.changed(), first.output);
    assert_eq!(machine.read("/etc/apt/sources.list.d/empty.list")?, "# nothing here\n");
    let second = run(&master, agent, &machine, name, 5)?.expect_code(0)?;
    assert_eq!(second.changed(), Vec::<String>::new());
    for report in [&first, &second] {
        assert!(!report.output.contains("Could not send report"), "{}", report.output);
    }
    eprintln!("first run {:.1?}, second {:.1?}", first.took, second.took);
    Ok(())
}

#[test]
fn a_known_node_is_served_after_a_restart_of_the_master() -> Result<()> {
    let (mut master, machine, name) = enrolled("restart.cluster.test")?;
    let ca = master.ca()?;
    assert!(master.restart()?.success(), "{}", master.log());
    assert_eq!(master.ca()?, ca, "the CA bundle changed by a restart");
    run(&master, &Agent::installed(), &machine, name, 0)?.expect_code(0)?;
    Ok(())
}

#[test]
fn an_unknown_name_stays_pending_and_csr_check_says_why() -> Result<()> {
    let master = Master::start()?;
    let name = "stranger.cluster.test";
    let machine = Machine::start(name)?;
    let refused = run(&master, &Agent::installed(), &machine, name, 0)?.expect_code(1)?;
    assert!(refused.output.contains("has not been signed yet"), "{}", refused.output);
    let said = check(&master)?;
    assert!(said.contains(name) && said.contains("stays pending"), "{said}");
    assert!(said.contains("1 waiting, 0 would be signed"), "{said}");
    // Once more with the same key: it neither fails otherwise nor adds a request.
    run(&master, &Agent::installed(), &machine, name, 0)?.expect_code(1)?;
    assert!(check(&master)?.contains("1 waiting, 0 would be signed"));
    Ok(())
}

#[test]
fn a_deleted_object_leaves_the_request_pending_until_it_is_there_again() -> Result<()> {
    let master = Master::start()?;
    let name = "deleted.cluster.test";
    master.register(name, DEFINITION)?;
    master.unregister(name)?;
    let machine = Machine::start(name)?;
    let agent = Agent::installed();
    run(&master, &agent, &machine, name, 0)?.expect_code(1)?;
    let said = check(&master)?;
    assert!(said.contains(name) && said.contains("stays pending"), "{said}");
    // An agent that waits gets its certificate by a poll of its own.
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| run(&master, &agent, &machine, name, 2));
        master.register(name, DEFINITION)?;
        waiting.join().ok().context("the agent's thread panicked")??.expect_code(2).map(drop)
    })?;
    assert!(check(&master)?.contains("0 waiting"));
    Ok(())
}

#[test]
fn an_object_that_appears_is_signed_without_the_agents_asking() -> Result<()> {
    let master = Master::start()?;
    let name = "late.cluster.test";
    let machine = Machine::start(name)?;
    run(&master, &Agent::installed(), &machine, name, 0)?.expect_code(1)?;
    master.register(name, DEFINITION)?;
    master.wait_for(&["signed", "serial", name], SOON)?;
    run(&master, &Agent::installed(), &machine, name, 0)?.expect_code(2)?;
    Ok(())
}

// faults row 38
#[test]
fn a_node_whose_object_is_deleted_after_signing_gets_no_catalog() -> Result<()> {
    let (master, machine, name) = enrolled("orphan.cluster.test")?;
    master.unregister(name)?;
    let failed = run(&master, &Agent::installed(), &machine, name, 0)?.expect_code(1)?;
    assert!(failed.output.contains("not-found"), "{}", failed.output);
    Ok(())
}

/// Whoever holds a node's key may have it signed anew under another; the old certificate is revoked with that.
#[test]
fn a_revoked_agent_is_refused() -> Result<()> {
    let (master, machine, name) = enrolled("revoked.cluster.test")?;
    let old = Identity {
        certificate: machine.read(&format!("/var/lib/puppet/ssl/certs/{name}.pem"))?,
        key: machine.read(&format!("/var/lib/puppet/ssl/private_keys/{name}.pem"))?,
    };
    let holder = Client::new(master.address(), &master.ca()?, Some(&old))?;
    assert_eq!(Request::named(name)?.submit(&holder, name)?.status, 200);
    let refused = run(&master, &Agent::installed(), &machine, name, 0)?.expect_code(1)?;
    assert!(!refused.output.contains("Caching catalog"), "{}", refused.output);
    Ok(())
}

/// A master, and a machine whose node is signed and has applied its catalog.
fn enrolled(name: &'static str) -> Result<(Master, Machine, &'static str)> {
    let master = Master::start()?;
    master.register(name, DEFINITION)?;
    let machine = Machine::start(name)?;
    run(&master, &Agent::installed(), &machine, name, 5)?.expect_code(2)?;
    Ok((master, machine, name))
}

fn run(master: &Master, agent: &Agent, machine: &Machine, name: &str, waitforcert: u32) -> Result<Run> {
    let settings = Settings { certname: name, server: Master::NAME, address: master.address(), waitforcert };
    agent.run(machine, &settings)
}

fn check(master: &Master) -> Result<String> {
    let output = master.command(&["csr", "check"])?;
    assert!(output.status.success(), "{}", tools::text(&output));
    Ok(tools::text(&output))
}
