//! Which plugins decide: a set that cannot be used is refused as a whole, a set that can is swapped in
//! under load.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use bunraku_tests::master::{Master, Settings};
use bunraku_tests::plugins::{component, embedded, from_file};
use bunraku_tests::request::{self, Request};
use bunraku_tests::wire::Client;
use serde_json::json;
use tempfile::TempDir;

const DEFINITION: &str = "classes: {}\n";

/// What is no plugin, and what is said of it.
struct Bad {
    name: &'static str,
    file: PathBuf,
    reason: &'static str,
}

/// An empty module: magic number and version of WebAssembly's core.
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";

fn bad(folder: &Path) -> Result<Vec<Bad>> {
    let plugin = fs::read(component("base")?)?;
    let half = plugin.get(..plugin.len() / 2).context("an empty plugin")?;
    let written = |name: &'static str, bytes: &[u8], reason| -> Result<Bad> {
        let file = folder.join(format!("{name}.wasm"));
        fs::write(&file, bytes)?;
        Ok(Bad { name, file, reason })
    };
    fs::create_dir(folder.join("folder.wasm"))?;
    Ok(vec![
        written("core-module", CORE_MODULE, "not a WebAssembly component but a core module")?,
        written("random", &[0x5a; 4096], "not a WebAssembly component")?,
        written("empty", b"", "not a WebAssembly component")?,
        written("truncated", half, "does not compile")?,
        Bad { name: "unreadable", file: folder.join("folder.wasm"), reason: "cannot read" },
        Bad { name: "gone", file: folder.join("gone.wasm"), reason: "cannot read" },
    ])
}

// faults rows 55, 57
#[test]
fn no_master_starts_with_a_plugin_that_is_none() -> Result<()> {
    let folder = TempDir::new()?;
    let all = bad(folder.path())?;
    let config: String = all.iter().map(|bad| from_file(bad.name, &bad.file)).collect();
    let said = refused(&config)?;
    // All of them at once, so that an operator mends the file once.
    for Bad { name, reason, .. } in &all {
        let named =
            said.lines().any(|line| line.contains(&format!("plugin {name}: ")) && line.contains(reason));
        assert!(named, "{name}: no {reason:?} in\n{said}");
    }
    Ok(())
}

// faults row 61
#[test]
fn no_master_starts_with_two_plugins_for_one_class_or_of_one_name() -> Result<()> {
    let again = from_file("base2", &component("base")?);
    let said = refused(&format!("{}{again}", embedded("{}")))?;
    assert!(said.contains("is provided by plugin base and by plugin base2"), "{said}");
    let said = refused(&format!("{}[[plugins]]\nname = \"base\"\n", embedded("{}")))?;
    assert!(said.contains("plugin base: is configured twice"), "{said}");
    Ok(())
}

// faults row 57
#[test]
fn no_master_starts_with_another_component_than_the_pinned_one() -> Result<()> {
    let said =
        refused(&format!("{}digest = \"{}\"\n", from_file("base", &component("base")?), "0".repeat(64)))?;
    assert!(said.contains("plugin base: ") && said.contains("is pinned"), "{said}");
    Ok(())
}

// faults rows 55, 57, 61
#[test]
fn a_reload_of_bad_plugins_leaves_the_old_ones_at_work() -> Result<()> {
    let folder = TempDir::new()?;
    let file = folder.path().join("live.wasm");
    fs::copy(component("hostile/obedient")?, &file)?;
    let good = format!("{}{}", embedded("{}"), from_file("live", &file));
    let master = Master::start_with(&Settings { config: &good, ..Settings::default() })?;
    let (client, name) = (node(&master, "reload.cluster.test")?, "reload.cluster.test");
    let kept = |words: &[&str]| -> Result<()> {
        master.reload(&[&["the plugins stay as they are"], words].concat())?;
        assert_eq!(client.catalog(name, &json!({}))?.status, 200, "after {words:?}");
        Ok(())
    };
    for Bad { name, file, reason } in bad(folder.path())? {
        master.configure(&format!("{}{}", embedded("{}"), from_file(name, &file)))?;
        kept(&[&format!("plugin {name}: "), reason])?;
    }
    master.configure(&format!("{}{}", embedded("{}"), from_file("base2", &component("base")?)))?;
    kept(&["is provided by plugin base and by plugin base2"])?;
    master.configure("[[plugins]]\nname = 3\n")?;
    kept(&["must be a string"])?;
    // The file of a plugin that is at work, overwritten by half.
    master.configure(&good)?;
    let bytes = fs::read(&file)?;
    fs::write(&file, bytes.get(..bytes.len() / 2).unwrap_or_default())?;
    kept(&["plugin live: ", "does not compile"])?;
    fs::write(&file, bytes)?;
    master.reload(&["the plugins were read anew, and are the same"])?;
    assert_eq!(client.catalog(name, &json!({}))?.status, 200);
    Ok(())
}

#[test]
fn the_signing_policy_is_swapped_under_load_without_a_restart() -> Result<()> {
    let master = Master::start()?;
    let name = "busy.cluster.test";
    let client = node(&master, name)?;
    let (stranger, pid) = (master.stranger()?, master.pid()?);
    let submit = |name: &str| -> Result<Option<String>> {
        let request = Request::named(name)?;
        anyhow::ensure!(request.submit(&stranger, name)?.status == 200, "{name} was not taken");
        request::certificate(&stranger, name)
    };
    let also = from_file("obedient", &component("hostile/obedient")?);
    let stop = AtomicBool::new(false);
    let answered = std::thread::scope(|scope| {
        let load = scope.spawn(|| -> Result<u32> {
            let mut answered = 0;
            while !stop.load(Ordering::Relaxed) {
                let answer = client.catalog(name, &json!({}))?;
                anyhow::ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
                answered += 1;
            }
            Ok(answered)
        });
        let swapped = (|| -> Result<()> {
            // Nobody expects it, and the registry has the last word.
            assert_eq!(submit("approve.cluster.test")?, None);
            // The registry abstains, and another approver has it: what waits is signed by the swap alone.
            master.configure(&format!("{}{also}", embedded("{ missing = \"abstain\" }")))?;
            master.reload(&["the plugins were reloaded"])?;
            master.wait_for(&["signed", "approve.cluster.test", "asked to", "obedient"], SOON)?;
            assert!(request::certificate(&stranger, "approve.cluster.test")?.is_some());
            assert_eq!(submit("deny.cluster.test")?, None);
            // And back: it decides like before.
            master.configure("")?;
            master.reload(&["the plugins were reloaded"])?;
            assert_eq!(submit("approve.again.test")?, None);
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        let answered = load.join().ok().context("the load's thread panicked")?;
        swapped.and(answered)
    })?;
    assert!(answered > 0, "there was no load");
    assert_eq!(master.pid()?, pid);
    eprintln!("{answered} catalogs meanwhile");
    Ok(())
}

const SOON: std::time::Duration = std::time::Duration::from_secs(30);

/// An enrolled node's client.
fn node(master: &Master, name: &str) -> Result<Client> {
    master.register(name, DEFINITION)?;
    let identity = request::enrol(&master.stranger()?, name)?;
    Client::new(master.address(), &master.ca()?, Some(&identity))
}

/// What a master says that must not start; exit code 1.
fn refused(config: &str) -> Result<String> {
    let settings = Settings { config, ..Settings::default() };
    let error = Master::start_with(&settings).err().context("the master started")?;
    let said = format!("{error:#}");
    anyhow::ensure!(said.contains("ended by itself, exit status: 1:"), "{said}");
    Ok(said)
}
