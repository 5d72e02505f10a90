//! Debian's puppetserver beside us: it serves catalogs with certificates of our CA, and its `ca` tool works
//! against us.

use anyhow::Result;
use bunraku_tests::agent::{Agent, Settings};
use bunraku_tests::machine::Machine;
use bunraku_tests::master::{self, Master};
use bunraku_tests::puppetserver::PuppetServer;

const DEFINITION: &str = "classes: {}\n";

#[test]
fn a_puppetserver_without_a_ca_serves_agents_that_our_ca_signed() -> Result<()> {
    let config = "";
    let master = Master::start_with(&master::Settings { config, ..Default::default() })?;
    let node = "node.cluster.test";
    for name in [PuppetServer::NAME, node] {
        master.register(name, DEFINITION)?;
    }
    let mut server = PuppetServer::configure(master.address())?;
    server.bootstrap()?;
    eprintln!("the puppetserver started in {:.0?}", server.serve()?);
    let machine = Machine::start(node)?;
    machine.shell(&format!("echo '127.0.0.1 {}' >> /etc/hosts", Master::NAME))?;
    let settings =
        Settings { certname: node, server: PuppetServer::NAME, address: server.address(), waitforcert: 0 };
    let ca_port = master.address().port().to_string();
    let run = Agent::installed().run_with(
        &machine,
        &settings,
        &["--ca_server", Master::NAME, "--ca_port", &ca_port],
    )?;
    let run = run.expect_code(2)?;
    assert!(run.changed().iter().any(|r| r.contains(PuppetServer::FILE)), "{}", run.output);
    assert_eq!(machine.read(PuppetServer::FILE)?, format!("{node}\n"));
    Ok(())
}
