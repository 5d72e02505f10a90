//! What an agent fetches before its catalog: types, providers and external facts of the master's modules.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use anyhow::Result;
use bunraku_tests::agent::{Agent, Run, Settings};
use bunraku_tests::debian;
use bunraku_tests::machine::Machine;
use bunraku_tests::master::Master;
use bunraku_tests::tools;
use serde_json::json;

/// A public key; its private half was never kept.
const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIKHjBX3R1h0Gf0n2mFiyZ1o9Jx4j0cX5s0iV0a1mW2fL";

/// Puppet has not brought the type `ssh_authorized_key` itself since version 6.
#[test]
fn login_allowed_works_with_the_type_from_the_masters_module_folder() -> Result<()> {
    login(&Agent::installed())
}

#[test]
fn login_allowed_with_agent_8_works_with_the_type_from_the_masters_module_folder() -> Result<()> {
    Agent::eight()?.map_or(Ok(()), |agent| login(&agent))
}

fn login(agent: &Agent) -> Result<()> {
    let master = Master::start()?;
    let module = debian::unpack("puppet-module-puppetlabs-sshkeys-core", None)?;
    let module = module.path().join("usr/share/puppet/modules.available/puppetlabs-sshkeys-core");
    let modules = master.state().join("modules");
    fs::create_dir_all(&modules)?;
    tools::run(Command::new("cp").arg("-r").arg(module).arg(modules.join("sshkeys_core")))?;
    let name = "login.cluster.test";
    let class = json!({"user": "root", "key": KEY, "key_type": "ssh-ed25519"});
    master.register(name, &json!({"classes": {"login_allowed": class}}).to_string())?;
    let machine = Machine::start_with(name, &agent.folders())?;
    machine.shell("rm -rf /root/.ssh")?;
    run(&master, agent, &machine)?.expect_code(2)?;
    let keys = machine.read("/root/.ssh/authorized_keys")?;
    assert!(keys.lines().any(|line| line.starts_with(&format!("ssh-ed25519 {KEY} "))), "{keys}");
    run(&master, agent, &machine)?.expect_code(0)?;
    Ok(())
}

#[test]
fn an_external_fact_of_a_module_reaches_the_agent_with_its_mode() -> Result<()> {
    let master = Master::start()?;
    let facts = master.state().join("modules/site/facts.d");
    fs::create_dir_all(&facts)?;
    fs::write(facts.join("rack.sh"), "#!/bin/sh\necho rack=r12\n")?;
    fs::set_permissions(facts.join("rack.sh"), fs::Permissions::from_mode(0o755))?;
    let name = "facts.cluster.test";
    master.register(name, "classes: {}\n")?;
    let machine = Machine::start(name)?;
    run(&master, &Agent::installed(), &machine)?.expect_code(0)?;
    let fact = machine.shell("facter --external-dir /var/cache/puppet/facts.d rack")?;
    assert_eq!(fact.trim(), "r12");
    Ok(())
}

fn run(master: &Master, agent: &Agent, machine: &Machine) -> Result<Run> {
    let settings = Settings {
        certname: machine.name(),
        server: Master::NAME,
        address: master.address(),
        waitforcert: 5,
    };
    agent.run(machine, &settings)
}
