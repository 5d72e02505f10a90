//! A CA under an external root, made with openssl, and real agents below it; and a CA that was puppetserver's.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bunraku_tests::agent::{self, Agent};
use bunraku_tests::authority::{self, Authority};
use bunraku_tests::machine::Machine;
use bunraku_tests::master::{Master, Settings};
use bunraku_tests::openssl::{self, Verdict};
use bunraku_tests::request::Identity;
use bunraku_tests::tools;
use serde_json::{Value, json};
use tempfile::TempDir;

const LISTS: &str = "/puppet-ca/v1/certificate_revocation_list";

/// A CA signed by a root in that folder, running.
fn below_a_root(folder: &Path) -> Result<Authority> {
    openssl::root(folder)?;
    let mut master = Master::prepare(&Settings { config: &Authority::config(""), ..Settings::default() })?;
    let file = |name: &str| folder.join(name).display().to_string();
    authority::cli(
        &master,
        0,
        &["setup", "--csr", &file("bunraku.csr"), "--name", "Below An External Root"],
    )?;
    tools::run(Command::new("openssl").args(["req", "-verify", "-noout", "-in", &file("bunraku.csr")]))?;
    // A daemon does not make another CA meanwhile.
    ensure!(master.start_again().is_err(), "started with a key and no certificate");
    let chain = openssl::sign_authority(folder, &folder.join("bunraku.csr"))?;
    fs::write(folder.join("chain.pem"), &chain)?;
    // The root's own certificate is no chain for our key, and the lists must be there.
    authority::cli(&master, 1, &["setup", "--chain", &file("root.pem"), "--crl", &file("root_crl.pem")])?;
    authority::cli(&master, 2, &["setup", "--chain", &file("chain.pem")])?;
    authority::cli(&master, 0, &["setup", "--chain", &file("chain.pem"), "--crl", &file("root_crl.pem")])?;
    master.start_again()?;
    assert_eq!(master.ca()?, chain);
    Authority::of(master)
}

#[test]
fn agents_bootstrap_under_an_intermediate_ca() -> Result<()> {
    bootstrap(&Agent::installed())
}

#[test]
fn agents_8_bootstrap_under_an_intermediate_ca() -> Result<()> {
    Agent::eight()?.map_or(Ok(()), |agent| bootstrap(&agent))
}

fn bootstrap(agent: &Agent) -> Result<()> {
    let folder = TempDir::new()?;
    let ca = below_a_root(folder.path())?;
    let name = "node.cluster.test";
    ca.master.register(name, "classes: {}\n")?;
    let machine = Machine::start_with(name, &agent.folders())?;
    let address = ca.master.address();
    let settings = agent::Settings { certname: name, server: Master::NAME, address, waitforcert: 0 };
    let run = agent.run(&machine, &settings)?.expect_code(0)?;
    assert!(run.output.contains("Applied catalog"), "{}", run.output);
    let certificate = machine.read(&format!("/var/lib/puppet/ssl/certs/{name}.pem"))?;
    ca.agree(&[&*certificate], &[Verdict::Valid])?;
    ca.cli(0, &["revoke", name])?;
    ca.agree(&[&*certificate], &[Verdict::Revoked])?;
    let refused = agent.run(&machine, &settings)?;
    assert_eq!(refused.code, 1, "{}", refused.output);
    Ok(())
}

#[test]
fn newer_lists_of_the_ancestors_are_taken_and_no_others() -> Result<()> {
    let folder = TempDir::new()?;
    let ca = below_a_root(folder.path())?;
    let read = |name: &str| fs::read_to_string(folder.path().join(name));
    let node = ca.enrol("node.cluster.test")?;
    let lists =
        |ca: &Authority| -> Result<String> { Ok(ca.master.stranger()?.get(&format!("{LISTS}/ca"))?.text()) };
    let before = lists(&ca)?;
    assert_eq!(before.matches("BEGIN X509 CRL").count(), 2);
    let upload = |body: &str| ca.admin.put(LISTS, body.as_bytes());
    let old = read("root_crl.pem")?;
    for (body, why) in [(old.as_str(), "the one that is there"), ("", "nothing"), ("rubbish", "rubbish")] {
        let answer = upload(body)?;
        assert_eq!(answer.status, 400, "{why}: {}", answer.text());
    }
    assert_eq!(lists(&ca)?, before);
    openssl::root_list(folder.path())?;
    let newer = read("root_crl.pem")?;
    let answer = upload(&newer)?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let after = lists(&ca)?;
    assert!(after.contains(newer.trim().lines().nth(3).context("a short list")?), "{after}");
    ca.agree(&[&*node.certificate], &[Verdict::Valid])?;
    assert_eq!(upload(&old)?.status, 400, "an older list was taken");
    // From the command line.
    openssl::root_list(folder.path())?;
    ca.cli(0, &["crl", "--install", &folder.path().join("root_crl.pem").display().to_string()])?;
    assert_ne!(lists(&ca)?, after);
    // One of a root of the same name and another key.
    let foreign = TempDir::new()?;
    openssl::root(foreign.path())?;
    openssl::root_list(foreign.path())?;
    let answer = upload(&fs::read_to_string(foreign.path().join("root_crl.pem"))?)?;
    assert_eq!(answer.status, 400, "{}", answer.text());
    let said: Value = serde_json::from_slice(&ca.admin.get("/puppet-ca/v1/expirations")?.body)?;
    assert_eq!(said["ca-certs"].as_object().map(serde_json::Map::len), Some(2), "{said}");
    ca.cli(0, &["verify"])?;
    Ok(())
}

/// Certificates of a CA that `puppetserver ca setup` made are good here after the import.
#[test]
fn a_ca_made_by_puppetserver_goes_on_as_ours() -> Result<()> {
    ensure!(
        tools::find("puppetserver").is_some(),
        "this test needs the command puppetserver: apt-get install puppetserver"
    );
    let folder = TempDir::new()?;
    let node = "old.cluster.test";
    let (certificate, key) = {
        let machine = Machine::start("puppetserver.cluster.test")?;
        machine.write(
            "/etc/puppet/puppet.conf",
            "[main]\ncertname = puppetserver.cluster.test\n[server]\ncadir = /srv/ca\n",
        )?;
        machine.shell("puppetserver ca setup --certname puppetserver.cluster.test")?;
        machine.shell(&format!("puppetserver ca generate --ca-client --force --certname {node}"))?;
        let tar = tools::run(machine.command("tar").args(["-C", "/srv", "-cf", "-", "ca"]))?;
        let file = folder.path().join("ca.tar");
        fs::write(&file, tar.stdout)?;
        tools::run(Command::new("tar").arg("-C").arg(folder.path()).arg("-xf").arg(&file))?;
        let ssl = |what: &str| machine.read(&format!("/var/lib/puppet/ssl/{what}/{node}.pem"));
        (ssl("certs")?, ssl("private_keys")?)
    };
    let mut master = Master::prepare(&Settings { config: &Authority::config(""), ..Settings::default() })?;
    // Whose inventory lacks what its own tool generated, and which keeps the root's key beside the CA: both said.
    let output = master.command(&["ca", "import", &folder.path().join("ca").display().to_string()])?;
    let said = tools::text(&output);
    assert_eq!(output.status.code(), Some(24), "{said}");
    assert!(said.contains("root_key.pem") && said.contains(node) && said.contains("2 problems"), "{said}");
    master.start_again()?;
    let ca = Authority::of(master)?;
    assert_eq!(ca.master.ca()?, fs::read_to_string(folder.path().join("ca/ca_crt.pem"))?);
    ca.master.register(node, "classes: {}\n")?;
    let old = Identity { certificate, key };
    // It was made to administer the CA, and still may.
    let client = ca.client(&old)?;
    assert_eq!(client.catalog(node, &json!({}))?.status, 200);
    assert_eq!(client.get("/puppet-ca/v1/certificate_statuses/any")?.status, 200);
    let new = ca.enrol("new.cluster.test")?;
    ca.agree(&[&*old.certificate, &*new.certificate], &[Verdict::Valid, Verdict::Valid])?;
    ca.cli(0, &["revoke", node])?;
    ca.agree(&[&*old.certificate], &[Verdict::Revoked])?;
    assert!(client.catalog(node, &json!({})).map_or(true, |a| a.status == 403));
    ca.cli(0, &["verify"])?;
    Ok(())
}
