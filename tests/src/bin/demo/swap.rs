//! A signing policy is changed while the master runs: shadowed, looked at, promoted; and a broken one goes back
//! by itself. The master's process is the same from first to last.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bunraku_tests::master::{Master, Settings};
use bunraku_tests::request::{self, Request};
use bunraku_tests::wire::Client;
use bunraku_tests::{plugins, tools};
use serde_json::Value;

use crate::ground::{Ground, machine, run, said};

/// A node that the first policy knows.
const OLD: &str = "web1.demo.test";
/// Nodes that only the new one knows.
const LAB: [&str; 3] = ["lab1.lab.test", "lab2.lab.test", "lab3.lab.test"];
/// A node that comes after the change.
const NEW: &str = "lab4.lab.test";
/// Nodes that ask while the broken policy is in force.
const UNLUCKY: usize = 8;
const SOON: Duration = Duration::from_secs(20);

/// Plays it.
pub fn play() -> Result<String> {
    let began = Instant::now();
    let ground = Ground::find(&[])?;
    let autosign = plugins::component("autosign")?;
    let policy = |names: &str| {
        plugins::from_file("names", &autosign)
            + &format!("settings = {{ names = {names} }}\n")
            + &plugins::embedded("{}")
    };
    let config = policy("[\"*.demo.test\"]");
    let mut master = Master::start_with(&Settings { config: &config, ..Settings::default() })?;
    let pid = master.pid()?;
    println!(
        "master       https://{}, process {pid}; whoever is called *.demo.test is signed\n",
        master.address()
    );

    agent(&ground, &master, OLD)?;
    let client = master.stranger()?;
    let mut waiting = Vec::new();
    for name in LAB {
        let request = Request::named(name)?;
        ask(&client, name, &request)?;
        ensure!(request::certificate(&client, name)?.is_none(), "{name} was signed too early");
        waiting.push((name, request));
    }
    println!("{} ask too and wait: no rule is for them\n", LAB.join(", "));

    println!("What would a wider rule change? Everything that was decided so far is asked again, offline:");
    let wider = settings(&master, "wider", "names = [\"*.demo.test\", \"*.lab.test\"]\n")?;
    let candidate = autosign.display().to_string();
    let wider_words = [candidate.as_str(), "--as", "names", "--settings", &wider];
    let flips = plugin(&master, 0, &[&["replay"], &wider_words[..]].concat())?;
    ensure!(LAB.iter().all(|name| flips.contains(name)), "the flip list lacks a node");

    println!("And on what is asked from now on? It answers beside the live set, and nobody acts on that:");
    let staged = plugin_json(&master, &[&["stage"], &wider_words[..]].concat())?;
    let set = staged.pointer("/set/id").and_then(Value::as_str).context("no id of a set")?.to_owned();
    plugin(&master, 0, &["shadow", &set])?;
    let shadow = wait(|| {
        for (name, request) in &waiting {
            ask(&client, name, request)?;
            ensure!(request::certificate(&client, name)?.is_none(), "{name} was signed by a shadow");
        }
        let list = plugin_json(&master, &["shadow"])?;
        let text = list.to_string();
        Ok(LAB.iter().all(|name| text.contains(name)).then_some(()))
    });
    shadow.context("the shadow never answered for all that wait")?;
    plugin(&master, 0, &["shadow"])?;

    println!("Nothing else changes, so it goes live. Those who wait are looked at once more, by itself:");
    plugin(&master, 0, &["promote"])?;
    for name in LAB {
        wait(|| request::certificate(&client, name)).with_context(|| format!("{name} was not signed"))?;
        println!("  {name} has its certificate");
    }
    println!();
    agent(&ground, &master, NEW)?;

    println!("A rule that signs everybody is held back:");
    let all = settings(&master, "all", "names = [\"*\"]\n")?;
    plugin(&master, 1, &["swap", &candidate, "--as", "names", "--settings", &all])?;
    plugin(&master, 0, &["shadow", "--end"])?;

    println!("A component that breaks on every request is pushed:");
    let broken = plugins::component("hostile/trap")?.display().to_string();
    let none = settings(&master, "none", "")?;
    plugin(&master, 0, &["swap", &broken, "--as", "names", "--settings", &none])?;
    for n in 0..UNLUCKY {
        let name = format!("late{n}.demo.test");
        ask(&client, &name, &Request::named(&name)?)?;
    }
    wait(|| {
        let list = plugin_json(&master, &["list"])?;
        Ok((list.pointer("/live/id").and_then(Value::as_str) == Some(set.as_str())).then_some(()))
    })
    .context("the broken set did not go back")?;
    for n in 0..UNLUCKY {
        let name = format!("late{n}.demo.test");
        wait(|| request::certificate(&client, &name)).with_context(|| format!("{name} was not signed"))?;
    }
    println!(
        "{UNLUCKY} nodes asked meanwhile. It went back by itself, and all of them have their certificates.\n"
    );
    plugin(&master, 0, &["history"])?;

    println!("Why was one of them signed?");
    command(&master, 0, &["explain", LAB[0]])?;
    ensure!(master.pid()? == pid, "the master is another process now");
    ensure!(master.stop()?.success(), "the master did not stop cleanly:\n{}", master.log());
    Ok(format!(
        "a policy was shadowed, promoted and used, one that signs all was held, a broken one went back by itself; \
         process {pid} all along ({:.0} s)",
        began.elapsed().as_secs_f32()
    ))
}

/// A real agent enrols and gets its catalog.
fn agent(ground: &Ground, master: &Master, certname: &str) -> Result<()> {
    // A policy by name says nothing of what a node is.
    master.register(certname, "classes: {}\n")?;
    let machine = machine(ground, certname)?;
    let outcome = run(ground, machine.as_ref(), master, certname)?;
    ensure!([0, 2].contains(&outcome.code), "its agent ended with {}:\n{}", outcome.code, outcome.log);
    println!("{certname}");
    println!("  request    signed, because {}", said(&master.log(), certname, "signed", "reason="));
    println!("  agent      ended with {} after its first catalog\n", outcome.code);
    Ok(())
}

fn ask(client: &Client, name: &str, request: &Request) -> Result<()> {
    let answer = request.submit(client, name)?;
    ensure!(answer.status == 200, "{name}: {} {}", answer.status, answer.text());
    Ok(())
}

fn settings(master: &Master, name: &str, text: &str) -> Result<String> {
    let file: PathBuf = master.state().join(format!("{name}.toml"));
    std::fs::write(&file, text)?;
    Ok(file.display().to_string())
}

/// Runs `bunraku plugin`, shown as a user would see it.
fn plugin(master: &Master, code: i32, words: &[&str]) -> Result<String> {
    command(master, code, &[&["plugin"], words].concat())
}

fn command(master: &Master, code: i32, words: &[&str]) -> Result<String> {
    let output = master.command(words)?;
    let file = |word: &str| Path::new(word).file_name().map(|name| name.to_string_lossy().into_owned());
    let shown: Vec<String> = words
        .iter()
        .map(|word| if word.contains('/') { file(word) } else { None }.unwrap_or((*word).into()))
        .collect();
    println!("  $ bunraku {}", shown.join(" "));
    let said = tools::text(&output);
    for line in said.lines() {
        println!("  {line}");
    }
    println!();
    ensure!(output.status.code() == Some(code), "it ended with {}, wanted {code}", output.status);
    Ok(said)
}

fn plugin_json(master: &Master, words: &[&str]) -> Result<Value> {
    let output = master.command(&[&["plugin"], words, &["--json"]].concat())?;
    ensure!(output.status.success(), "plugin {words:?}: {}\n{}", output.status, tools::text(&output));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Asks until there is an answer.
fn wait<T>(mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let since = Instant::now();
    loop {
        if let Some(found) = ask()? {
            return Ok(found);
        }
        ensure!(since.elapsed() < SOON, "nothing within {SOON:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
