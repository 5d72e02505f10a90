//! `bunraku plugin`: what it does to a running master, what it says, and with which exit code.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bunraku_tests::master::{Master, Settings};
use bunraku_tests::plugins::{component, embedded, from_file};
use bunraku_tests::request::{self, Request};
use bunraku_tests::tools;
use serde_json::Value;
use tempfile::TempDir;

fn openssl(words: &[&str], files: &[&Path]) -> Result<()> {
    tools::run(std::process::Command::new("openssl").args(words).args(files)).map(drop)
}

/// Signs whom it knows by name.
fn master() -> Result<Master> {
    let autosign = from_file("autosign", &component("autosign")?);
    let config = format!(
        "{autosign}settings = {{ names = [\"*.lab.test\"] }}\n[[plugins]]\nname = \"s3-registry\"\nsettings = {{ missing = \"abstain\" }}\n"
    );
    Master::start_with(&Settings { config: &config, ..Settings::default() })
}

/// Both of its outputs; fails on another exit code.
fn cli(master: &Master, code: i32, words: &[&str]) -> Result<String> {
    let all: Vec<&str> = ["plugin"].iter().chain(words).copied().collect();
    let Output { status, stdout, stderr } = master.command(&all)?;
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    ensure!(status.code() == Some(code), "plugin {words:?} ended with {status}, not {code}:\n{said}");
    Ok(said)
}

fn json(master: &Master, words: &[&str]) -> Result<Value> {
    let said = cli(master, 0, &[words, &["--json"]].concat())?;
    serde_json::from_str(&said).with_context(|| format!("plugin {words:?} printed {said}"))
}

fn live(master: &Master) -> Result<String> {
    let list = json(master, &["list"])?;
    let id = list.pointer("/live/id").and_then(Value::as_str);
    Ok(id.context("no live set")?.to_owned())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a folder whose name is no text")
}

#[test]
fn a_policy_is_staged_watched_promoted_and_taken_back() -> Result<()> {
    let (master, folder) = (master()?, TempDir::new()?);
    let (pid, before, stranger) = (master.pid()?, live(&master)?, master.stranger()?);
    let listed = cli(&master, 0, &["list"])?;
    ensure!(listed.contains("autosign 0.") && listed.contains("approver, classifier"), "{listed}");
    let name = "a.other.test";
    Request::named(name)?.submit(&stranger, name)?;
    ensure!(request::certificate(&stranger, name)?.is_none(), "{name} fits no pattern yet");

    let (file, settings) = (component("autosign")?, folder.path().join("new.toml"));
    fs::write(&settings, "names = [\"*.lab.test\", \"*.other.test\"]\n")?;
    let candidate = [text(&file)?, "--settings", text(&settings)?];
    let staged = json(&master, &[&["stage"][..], &candidate].concat())?;
    ensure!(staged["probe"] == "pending", "{staged}");
    let id = staged["set"]["id"].as_str().context("no staged set")?;
    let short = id.get(..12).context("a short id")?;
    let compared = cli(&master, 0, &["list"])?;
    ensure!(
        compared.contains(&format!("staged  {short}")) && compared.contains("~ other settings"),
        "{compared}"
    );
    cli(&master, 0, &["shadow", short])?;
    ensure!(cli(&master, 0, &["shadow"])?.contains("asked 0"), "nobody was asked yet");
    assert_eq!(live(&master)?, before, "a shadow decides nothing");

    let promoted = cli(&master, 0, &["promote"])?;
    ensure!(promoted.starts_with("promoted from ") && promoted.contains(short), "{promoted}");
    // What waited is looked at again by itself.
    master.wait_for(&["signed", name], Duration::from_secs(30))?;
    cli(&master, 0, &["rollback", "--reason", "tried"])?;
    assert_eq!(live(&master)?, before);
    cli(&master, 0, &["swap", "--set", short])?;
    cli(&master, 1, &["rollback", "--to", "0123456789ab"])?;
    let history = cli(&master, 0, &["history"])?;
    let at = |word: &str| history.find(word).with_context(|| format!("no {word} in\n{history}"));
    let told = [at("staged ")?, at("shadowed ")?, at("promoted ")?, at("rolled-back ")?, at("tried")?];
    ensure!(told.is_sorted(), "the history is out of order:\n{history}");
    ensure!(history.contains("autosign.wasm over control socket"), "from where:\n{history}");
    ensure!(!history.contains("other.test") && !listed.contains("lab.test"), "settings are shown");
    // The configuration is another way to the set that it asks for.
    let swapped = json(&master, &["swap"])?;
    assert_eq!(swapped["to"], before.as_str());
    assert_eq!(master.pid()?, pid);
    Ok(())
}

// faults row 60
#[test]
fn a_policy_for_everybody_is_held_in_shadow_until_somebody_insists() -> Result<()> {
    let (master, folder) = (master()?, TempDir::new()?);
    let (before, file, settings) = (live(&master)?, component("autosign")?, folder.path().join("all.json"));
    fs::write(&settings, "{\"names\": [\"*\"]}")?;
    let swap = ["swap", text(&file)?, "--settings", text(&settings)?];
    let said = cli(&master, 1, &swap)?;
    ensure!(said.contains("held in shadow") && said.contains("--force"), "{said}");
    assert_eq!(live(&master)?, before);
    let shadow = json(&master, &["shadow"])?["set"].as_str().context("no shadow")?.to_owned();
    cli(&master, 1, &["promote"])?;
    cli(&master, 0, &[&swap[..], &["--force"]].concat())?;
    assert_eq!(live(&master)?, shadow);
    Ok(())
}

// faults rows 55 and 61
#[test]
fn what_is_wrong_is_said_at_once_and_changes_nothing() -> Result<()> {
    let (master, folder) = (master()?, TempDir::new()?);
    let before = live(&master)?;
    let (noise, wrong) = (folder.path().join("noise.wasm"), folder.path().join("wrong.toml"));
    fs::write(&noise, "no component")?;
    fs::write(&wrong, "names = [\"UPPER\", \"a b\"]\n")?;
    let file = component("autosign")?;
    let wrong = [text(&file)?, "--settings", text(&wrong)?];
    for command in ["check", "stage", "swap"] {
        let said = cli(&master, 1, &[&[command][..], &wrong].concat())?;
        ensure!(
            said.contains("2 problems") && said.contains("/names/0") && said.contains("/names/1"),
            "{said}"
        );
        let said = cli(&master, 1, &[command, text(&noise)?, "--as", "autosign"])?;
        ensure!(said.contains("plugin autosign: "), "{said}");
        cli(&master, 2, &[command, "/nosuch.wasm"])?;
    }
    let base = component("base")?;
    let said = cli(&master, 1, &["stage", text(&base)?])?;
    ensure!(said.contains("no plugin \"base\" whose place to take, but autosign, s3-registry"), "{said}");
    ensure!(cli(&master, 0, &["check"])?.contains("nothing is wrong with "), "the configuration is right");
    let inspected = cli(&master, 0, &["inspect", "s3-registry"])?;
    ensure!(inspected.contains("object-store  yes: ") && !inspected.contains("NOT"), "{inspected}");
    cli(&master, 1, &["inspect", "s3_registry"])?;
    cli(&master, 2, &["inspect", "--set", "000000"])?;
    cli(&master, 1, &["promote"])?;
    cli(&master, 1, &["rollback"])?;
    assert_eq!(live(&master)?, before);
    Ok(())
}

#[test]
fn a_swap_that_would_change_a_decision_is_refused_if_that_is_wanted() -> Result<()> {
    let (master, folder) = (master()?, TempDir::new()?);
    let (before, name) = (live(&master)?, "a.other.test");
    Request::named(name)?.submit(&master.stranger()?, name)?;
    ensure!(request::certificate(&master.stranger()?, name)?.is_none(), "{name} fits no pattern yet");
    // Before it is replayed, it is in the journal.
    master.explain(name, &[])?;
    let (file, settings) = (component("autosign")?, folder.path().join("new.toml"));
    let written = |names: &str| fs::write(&settings, format!("names = [{names}]\n"));
    let candidate = [text(&file)?, "--settings", text(&settings)?];
    let strict = ["--replay", "1h", "--fail-on-flip"];

    written("\"*.lab.test\", \"*.other.test\"")?;
    let said = cli(&master, 1, &[&["swap"][..], &candidate, &strict].concat())?;
    ensure!(said.contains("not swapped: it decides otherwise") && said.contains(name), "{said}");
    assert_eq!(live(&master)?, before);
    let said = cli(&master, 1, &[&["replay"][..], &candidate, &["--fail-on-flip"]].concat())?;
    ensure!(said.contains(name), "{said}");

    written("\"*.lab.test\", \"*.third.test\"")?;
    cli(&master, 0, &[&["swap"][..], &candidate, &strict].concat())?;
    ensure!(live(&master)? != before, "nothing was swapped");
    Ok(())
}

#[test]
fn a_component_goes_live_from_here_with_its_signature_and_not_without() -> Result<()> {
    let folder = TempDir::new()?;
    let (key, public) = (folder.path().join("key.pem"), folder.path().join("key.pub"));
    openssl(&["genpkey", "-algorithm", "ed25519", "-out"], &[&key])?;
    openssl(&["pkey", "-pubout", "-in"], &[&key, Path::new("-out"), &public])?;
    let config = format!("[plugin_keys]\nrelease = {public:?}\n{}", embedded("{ missing = \"abstain\" }"));
    let master = Master::start_with(&Settings { config: &config, ..Settings::default() })?;
    let before = live(&master)?;
    // Somebody else's build in the place of an embedded plugin.
    let (file, settings) = (folder.path().join("ours.wasm"), folder.path().join("ours.toml"));
    fs::copy(component("autosign")?, &file)?;
    fs::write(&settings, "names = [\"*.lab.test\"]\n")?;
    let words = ["stage", text(&file)?, "--as", "s3-registry", "--settings", text(&settings)?];
    let said = cli(&master, 1, &words)?;
    ensure!(said.contains("plugin s3-registry: is not signed"), "{said}");

    let elsewhere = folder.path().join("signature");
    let sign = ["pkeyutl", "-sign", "-rawin", "-inkey"];
    openssl(&sign, &[&key, Path::new("-in"), &file, Path::new("-out"), &elsewhere])?;
    let staged = json(&master, &[&words[..], &["--signature", text(&elsewhere)?]].concat())?;
    let beside = folder.path().join("ours.wasm.sig");
    fs::copy(&elsewhere, &beside)?;
    assert_eq!(json(&master, &words)?["set"]["id"], staged["set"]["id"], "the same set by FILE.sig");
    fs::write(&beside, "not a signature")?;
    let other = [&words[..3], &["base"], &words[4..]].concat();
    let said = cli(&master, 1, &other)?;
    ensure!(said.contains("signature"), "{said}");
    let id = staged["set"]["id"].as_str().context("no staged set")?;
    cli(&master, 0, &["swap", "--set", id])?;
    ensure!(live(&master)? == id && id != before, "another set is live");
    Ok(())
}

#[test]
fn without_a_daemon_there_is_a_way_out_and_components_are_checked_all_the_same() -> Result<()> {
    let mut master = master()?;
    master.stop()?;
    let said = cli(&master, 1, &["list"])?;
    ensure!(said.contains("bunraku serve") && said.contains("--server"), "{said}");
    let said = cli(&master, 0, &["check", text(&component("hadoop")?)?])?;
    ensure!(said.contains("checked with the grants that it needs, stored-config = true"), "{said}");
    Ok(())
}
