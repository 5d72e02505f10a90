//! The program's other commands: what they say, and with which exit code.

use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::process::Command;

use anyhow::{Context, Result};
use bunraku_tests::master::{self, Master, Settings};
use bunraku_tests::request::Request;
use bunraku_tests::s3::Server;
use bunraku_tests::tools;
use serde_json::{Value, json};
use tempfile::TempDir;

const DEFINITION: &str = "\
classes:
  apt:
    repositories:
      empty:
        lines: ['# nothing: \"here\"']
  hadoop::worker:
environment: production
parameters:
  rack: \"012\"
  'yes': [no, null, 1.5, \"1:30\", \"~\", \"multi\\nline\\n\", '*x', '&y']
";

#[test]
fn csr_check_says_of_each_request_what_would_become_of_it() -> Result<()> {
    let master = Master::start()?;
    let client = master.stranger()?;
    for name in ["one.cluster.test", "two.cluster.test"] {
        assert_eq!(Request::named(name)?.submit(&client, name)?.status, 200);
    }
    let output = master.command(&["csr", "check"])?;
    let said = tools::text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("stays pending: not-found: no node definition at dir:"), "{said}");
    assert!(said.contains("2 waiting, 0 would be signed now"), "{said}");
    let rows = master.command(&["csr", "check", "--json"])?;
    let rows: Vec<Value> = serde_json::from_slice(&rows.stdout)?;
    let names: Vec<&Value> = rows.iter().map(|row| &row["certname"]).collect();
    assert_eq!(names, ["one.cluster.test", "two.cluster.test"]);
    assert!(rows.iter().all(|row| row["verdict"] == "pending" && row["plugin"] == "s3-registry"), "{rows:?}");
    Ok(())
}

/// A puppetserver's `autosign` calls it with the name, the request on standard input, and signs on 0.
#[test]
fn csr_check_as_an_autosign_policy_is_0_only_for_an_approve() -> Result<()> {
    let master = Master::start()?;
    let (expected, unexpected) = ("expected.cluster.test", "unexpected.cluster.test");
    master.register(expected, DEFINITION)?;
    let (good, other) = (Request::named(expected)?.pem, Request::named(unexpected)?.pem);
    let folder = TempDir::new()?;
    for (name, request, code, words) in [
        (expected, &*good, 0, "would be signed: expected: dir:"),
        (unexpected, &*other, 1, "stays pending: not-found"),
        (expected, &*other, 1, "the request is for unexpected.cluster.test"),
        (expected, "no request", 1, "refused"),
        (expected, "", 1, "refused"),
        ("No/Name", &*good, 2, "no certificate name"),
    ] {
        for output in [
            master.command_with_input(&["csr", "check", name], request)?,
            tools::output_with_input(&mut link(&master, &folder, "check_csr", name)?, request)?,
        ] {
            let said = tools::text(&output);
            assert_eq!(output.status.code(), Some(code), "{name}: {said}");
            assert!(said.contains(words), "{name}: {said}");
        }
    }
    // It asks, and keeps nothing.
    assert!(tools::text(&master.command(&["csr", "check"])?).contains("0 waiting"));
    Ok(())
}

#[test]
fn what_node_classify_prints_is_the_definition_as_ruby_reads_it() -> Result<()> {
    let master = Master::start()?;
    let name = "yaml.cluster.test";
    master.register(name, DEFINITION)?;
    let folder = TempDir::new()?;
    for output in [
        master.command(&["node", "classify", name])?,
        link(&master, &folder, "node_classifier", name)?.output()?,
    ] {
        assert_eq!(output.status.code(), Some(0), "{}", tools::text(&output));
        let printed = String::from_utf8(output.stdout)?;
        let wanted = json!({
            "classes": {
                "apt": {"repositories": {"empty": {"lines": ["# nothing: \"here\""]}}},
                "hadoop::worker": {},
            },
            "environment": "production",
            "parameters": {
                "rack": "012",
                "yes": [false, null, 1.5, "1:30", "~", "multi\nline\n", "*x", "&y"],
            },
        });
        // Puppet reads a classifier's answer with YAML.safe_load and nothing allowed beside plain values.
        let read = "require 'yaml'; require 'json'; puts JSON.generate(YAML.safe_load(STDIN.read))";
        let read = tools::output_with_input(Command::new("ruby").args(["-e", read]), &printed)?;
        let read: Value = serde_json::from_slice(&read.stdout).with_context(|| tools::text(&read))?;
        assert_eq!(read, wanted, "{printed}");
    }
    Ok(())
}

// faults row 35
#[test]
fn a_registry_that_is_silent_or_gone_decides_nothing_and_exit_codes_say_so() -> Result<()> {
    // It takes connections and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let address = silent.local_addr()?;
    let config = |deadline: &str, host_time: &str| {
        format!(
            "[registry]\nurl = \"s3://nodes/\"\nendpoint = \"http://{address}\"\nregion = \"us-east-1\"\n\
             path_style = true\ndeadline = \"{deadline}\"\n[sandbox]\nhost_time = \"{host_time}\"\n"
        )
    };
    let short = config("500ms", "20s");
    let master = Master::start_with(&Settings {
        config: &short,
        environment: Server::CREDENTIALS,
        ..Settings::default()
    })?;
    let (name, client) = ("silent.cluster.test", master.stranger()?);
    assert_eq!(Request::named(name)?.submit(&client, name)?.status, 200, "the request must be kept");
    let exit_codes = |why: &str, wanted: i32| -> Result<()> {
        let output = master.command(&["node", "classify", name])?;
        assert_eq!(output.status.code(), Some(wanted), "{why}: {}", tools::text(&output));
        let output = master.command(&["csr", "check"])?;
        let said = tools::text(&output);
        assert_eq!(output.status.code(), Some(1), "{why}: {said}");
        assert!(said.contains("stays pending") && said.contains("1 could not be decided"), "{why}: {said}");
        Ok(())
    };
    exit_codes("the registry's deadline", 3)?;
    master.configure(&config("20s", "500ms"))?;
    exit_codes("the sandbox's", 3)?;
    master.configure(&short)?;
    drop(silent);
    exit_codes("nobody listens", 1)
}

// faults row 27
#[test]
fn a_second_master_on_one_state_directory_ends_naming_the_first() -> Result<()> {
    let master = Master::start()?;
    let second = master.command(&["serve"])?;
    let said = tools::text(&second);
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("held by process {}:", master.pid()?)), "{said}");
    assert_eq!(master.stranger()?.get("/status/v1/simple")?.status, 200);
    Ok(())
}

/// The program under a name of the original's; a policy is called with a certificate name and nothing else.
fn link(master: &Master, folder: &TempDir, called: &str, certname: &str) -> Result<Command> {
    let link = folder.path().join(called);
    if !link.exists() {
        symlink(master::program()?, &link)?;
    }
    let mut command = Command::new(link);
    command.arg(certname).env("BUNRAKU_CONFIG", master.config_file());
    Ok(command)
}
