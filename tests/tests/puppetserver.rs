//! Debian's puppetserver beside us: it serves catalogs with certificates of our CA, and its `ca` tool works
//! against us.

use anyhow::{Context, Result, ensure};
use bunraku_tests::agent::{Agent, Settings};
use bunraku_tests::authority;
use bunraku_tests::machine::Machine;
use bunraku_tests::master::{self, Master};
use bunraku_tests::openssl::{self, Verdict};
use bunraku_tests::puppetserver::PuppetServer;
use bunraku_tests::request::{self, Request};
use bunraku_tests::tools;
use serde_json::Value;

const DEFINITION: &str = "classes: {}\n";

#[test]
fn a_puppetserver_without_a_ca_serves_agents_that_our_ca_signed() -> Result<()> {
    let master = Master::start()?;
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
    let port = master.address().port().to_string();
    let ca = ["--ca_server", Master::NAME, "--ca_port", &port];
    let run = Agent::installed().run_with(&machine, &settings, &ca)?.expect_code(2)?;
    assert!(run.changed().iter().any(|r| r.contains(PuppetServer::FILE)), "{}", run.output);
    assert_eq!(machine.read(PuppetServer::FILE)?, format!("{node}\n"));
    Ok(())
}

#[test]
fn the_puppetservers_own_ca_tool_works_against_us() -> Result<()> {
    let config = format!("[ca]\nadmins = [{:?}]\n", PuppetServer::NAME);
    let master = Master::start_with(&master::Settings { config: &config, ..Default::default() })?;
    master.register(PuppetServer::NAME, DEFINITION)?;
    let tool = Tool { server: PuppetServer::configure(master.address())?, master };
    tool.server.bootstrap()?;

    assert!(tool.run(0, &["list"])?.contains("No certificates to list"));
    for name in ["one", "two", "three"] {
        tool.wait_for(name)?;
    }
    let said = tool.run(0, &["list"])?;
    assert!(said.contains("Requested Certificates:") && said.contains("three.cluster.test"), "{said}");
    assert!(!said.contains(PuppetServer::NAME), "{said}");

    tool.run(0, &["sign", "--certname", "one.cluster.test", "--ttl", "1h"])?;
    let certificate = tool.certificate("one")?.context("one was not signed")?;
    let text = openssl::text(&certificate)?;
    assert!(text.contains("CN = one.cluster.test"), "{text}");
    tool.run(1, &["sign", "--certname", "nobody.cluster.test"])?;
    tool.run(0, &["sign", "--all"])?;
    tool.run(24, &["sign", "--all"])?;
    assert!(tool.certificate("two")?.is_some() && tool.certificate("three")?.is_some());

    let said = tool.run(0, &["list", "--all"])?;
    let signed = said.split_once("Signed Certificates:").context("no signed ones")?.1;
    for name in [PuppetServer::NAME, "one.cluster.test", "two.cluster.test", "three.cluster.test"] {
        assert!(signed.contains(name), "{said}");
    }
    let said = tool.run(0, &["list", "--all", "--format", "json"])?;
    let listed: Value = serde_json::from_str(said.trim())?;
    // Those four, and our own server.
    assert_eq!(listed["signed"].as_array().map(Vec::len), Some(5), "{said}");
    tool.run(1, &["list", "--certname", "one.cluster.test,nobody.cluster.test"])?;

    tool.run(0, &["revoke", "--certname", "one.cluster.test"])?;
    authority::agree(&tool.master, &[&*certificate], &[Verdict::Revoked])?;
    assert!(tool.run(0, &["list", "--all"])?.contains("Revoked Certificates:"));
    tool.run(1, &["revoke", "--certname", "nobody.cluster.test"])?;

    // A name that is cleaned is new.
    let two = tool.certificate("two")?.context("two was not signed")?;
    tool.run(0, &["clean", "--certname", "one.cluster.test,two.cluster.test"])?;
    assert!(tool.certificate("one")?.is_none() && tool.certificate("two")?.is_none());
    authority::agree(&tool.master, &[&*certificate, &*two], &[Verdict::Revoked, Verdict::Revoked])?;
    tool.run(1, &["clean", "--certname", "nobody.cluster.test"])?;
    tool.wait_for("two")?;
    tool.run(0, &["sign", "--certname", "two.cluster.test"])?;
    // 24 is the tool's word for a request where a certificate should be.
    tool.wait_for("four")?;
    tool.run(24, &["revoke", "--certname", "two.cluster.test,four.cluster.test"])?;
    tool.run(24, &["clean", "--certname", "four.cluster.test"])?;
    assert!(tool.run(0, &["list"])?.contains("No certificates to list"));

    tool.run(0, &["generate", "--certname", "made.cluster.test"])?;
    let made = tool.server.read("/var/lib/puppet/ssl/certs/made.cluster.test.pem")?;
    assert_eq!(tool.certificate("made")?, Some(made.clone()));
    authority::agree(&tool.master, &[&*made], &[Verdict::Valid])?;
    Ok(())
}

struct Tool {
    server: PuppetServer,
    master: Master,
}

impl Tool {
    /// Runs `puppetserver ca` and wants that exit code.
    fn run(&self, code: i32, arguments: &[&str]) -> Result<String> {
        let output = self.server.ca(arguments)?;
        let said = tools::text(&output);
        eprintln!("puppetserver ca {}: {}\n{said}", arguments.join(" "), output.status);
        ensure!(
            output.status.code() == Some(code),
            "{arguments:?}: {}, wanted {code}\n{said}",
            output.status
        );
        Ok(said)
    }

    /// A request that nobody expects.
    fn wait_for(&self, name: &str) -> Result<()> {
        let name = format!("{name}.cluster.test");
        let answer = Request::named(&name)?.submit(&self.master.stranger()?, &name)?;
        ensure!(answer.status == 200, "{name}: {} {}", answer.status, answer.text());
        Ok(())
    }

    fn certificate(&self, name: &str) -> Result<Option<String>> {
        request::certificate(&self.master.stranger()?, &format!("{name}.cluster.test"))
    }
}
