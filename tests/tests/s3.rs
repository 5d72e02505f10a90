//! The same enrolment with the registry in a real S3-compatible server.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::Result;
use bunraku_tests::agent::{Agent, Run, Settings as AgentSettings};
use bunraku_tests::machine::Machine;
use bunraku_tests::master::{Master, Settings};
use bunraku_tests::request::{self, Request};
use bunraku_tests::s3::Server;
use bunraku_tests::tools;

const DEFINITION: &str =
    "classes:\n  apt:\n    repositories:\n      empty:\n        lines: ['# nothing here']\n";

#[test]
fn a_node_registered_in_a_bucket_is_signed_and_applies_its_catalog_once() -> Result<()> {
    let (server, master) = started()?;
    let name = "s3node.cluster.test";
    master.register(name, DEFINITION)?;
    let object = server.object(&format!("nodes/{name}"));
    assert_eq!(std::fs::read_to_string(object)?, DEFINITION, "the object's body is the definition as given");
    let machine = Machine::start(name)?;
    run(&master, &machine, name, 5)?.expect_code(2)?;
    run(&master, &machine, name, 5)?.expect_code(0)?;
    Ok(())
}

#[test]
fn a_name_without_an_object_in_the_bucket_stays_pending() -> Result<()> {
    let (_server, master) = started()?;
    let name = "s3stranger.cluster.test";
    let request = Request::named(name)?;
    assert_eq!(request.submit(&master.stranger()?, name)?.status, 200);
    assert_eq!(request::certificate(&master.stranger()?, name)?, None);
    let said = tools::text(&master.command(&["csr", "check"])?);
    assert!(said.contains("stays pending") && said.contains("1 waiting"), "{said}");
    Ok(())
}

// faults row 35
#[test]
fn a_bucket_that_is_gone_signs_nobody_and_still_serves_who_is_known() -> Result<()> {
    let (server, master) = started()?;
    let (known, new) = ("s3known.cluster.test", "s3new.cluster.test");
    master.register(known, DEFINITION)?;
    master.register(new, DEFINITION)?;
    let machine = Machine::start(known)?;
    run(&master, &machine, known, 5)?.expect_code(2)?;
    drop(server);
    let request = Request::named(new)?;
    assert_eq!(request.submit(&master.stranger()?, new)?.status, 200, "the request must be kept");
    assert_eq!(request::certificate(&master.stranger()?, new)?, None, "signed without the registry");
    run(&master, &machine, known, 0)?.expect_code(0)?;
    assert!(master.log().contains("classified as last time"), "{}", master.log());
    Ok(())
}

/// Or the tests above would prove nothing about credentials.
#[test]
fn the_bucket_is_closed_to_who_does_not_sign() -> Result<()> {
    let server = Server::start()?;
    let mut connection = TcpStream::connect(server.address())?;
    write!(connection, "GET /{}/x HTTP/1.1\r\nHost: s3\r\nConnection: close\r\n\r\n", Server::BUCKET)?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    Ok(())
}

fn started() -> Result<(Server, Master)> {
    let server = Server::start()?;
    let config = server.registry("nodes/");
    let master = Master::start_with(&Settings {
        config: &config,
        environment: Server::CREDENTIALS,
        ..Settings::default()
    })?;
    Ok((server, master))
}

fn run(master: &Master, machine: &Machine, name: &str, waitforcert: u32) -> Result<Run> {
    let settings =
        AgentSettings { certname: name, server: Master::NAME, address: master.address(), waitforcert };
    Agent::installed().run(machine, &settings)
}
