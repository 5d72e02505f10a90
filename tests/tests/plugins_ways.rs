//! The ways in which another set of plugins comes to decide without anybody asking for it at the command
//! line: a changed file, a restart, what the CA tells its catalog masters.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bunraku_tests::master::{Master, Settings};
use bunraku_tests::plugins::{component, embedded, from_file};
use bunraku_tests::request::{self, Request};
use bunraku_tests::s3::Server;
use bunraku_tests::tools;
use bunraku_tests::wire::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Files are looked at every two seconds, and acted upon when they look the same twice.
const SOON: Duration = Duration::from_secs(30);
/// How soon catalog masters follow their CA.
const FOLLOWED: Duration = Duration::from_secs(5);
const FOLLOWER: &str = "master2.cluster.test";

// faults row 57
#[test]
fn a_component_that_is_replaced_goes_live_when_it_is_whole() -> Result<()> {
    let folder = TempDir::new()?;
    let file = folder.path().join("ours.wasm");
    fs::copy(component("base")?, &file)?;
    let registry = "[[plugins]]\nname = \"s3-registry\"\nsettings = { missing = \"abstain\" }\n";
    let config = format!("{registry}{}", from_file("ours", &file));
    let master = Master::start_with(&Settings { config: &config, ..Settings::default() })?;
    let (stranger, pid, live) = (master.stranger()?, master.pid()?, live(&master)?);
    let name = "approve.cluster.test";
    Request::named(name)?.submit(&stranger, name)?;
    ensure!(request::certificate(&stranger, name)?.is_none(), "{name} is expected by nobody");

    // Half of another component, as somebody copies it over a slow line: refused, and told once.
    let other = fs::read(component("hostile/obedient")?)?;
    fs::write(&file, other.get(..other.len() / 2).context("an empty component")?)?;
    master.wait_for(&["the plugins stay as they are", "plugin ours: ", "does not compile"], SOON)?;
    ensure!(live == self::live(&master)?, "half a component changed the live set");
    ensure!(request::certificate(&stranger, name)?.is_none(), "half a component signed");

    // The rest of it comes; what waits is signed by that alone.
    fs::write(&file, &other)?;
    master.wait_for(&["the plugins were reloaded", "file watch"], SOON)?;
    master.wait_for(&["signed", name, "asked to", "ours"], SOON)?;
    ensure!(request::certificate(&stranger, name)?.is_some(), "{name} is not signed");
    let told = master.log().matches("the plugins stay as they are").count();
    ensure!(told == 1, "a refused file was told of {told} times");
    assert_eq!(master.pid()?, pid);
    Ok(())
}

#[test]
fn a_configuration_that_changes_is_read_anew() -> Result<()> {
    let master = Master::start_with(&Settings { config: &abstaining(), ..Settings::default() })?;
    let before = live(&master)?;
    master.configure("[[plugins]]\nnamme = \"base\"\n")?;
    master.wait_for(&["the plugins stay as they are", "did you mean `name`?"], SOON)?;
    ensure!(!master.log().contains("plugins swapped"), "an unreadable configuration swapped plugins");
    master.configure(&format!(
        "{}{}",
        abstaining(),
        ours(&component("autosign")?, "names = [\"a.lab.test\"]")
    ))?;
    master.wait_for(&["the plugins were reloaded", "file watch"], SOON)?;
    let name = "a.lab.test";
    Request::named(name)?.submit(&master.stranger()?, name)?;
    ensure!(request::certificate(&master.stranger()?, name)?.is_some(), "{name} is not signed");
    // And back, by signal: who waits for a file to be looked at twice?
    master.configure(&abstaining())?;
    master.reload(&["the plugins were reloaded", "SIGHUP"])?;
    assert_eq!(live(&master)?, before);
    Ok(())
}

// faults row 57
#[test]
fn a_restart_comes_up_with_the_live_set() -> Result<()> {
    let folder = TempDir::new()?;
    let file = folder.path().join("ours.wasm");
    fs::copy(component("autosign")?, &file)?;
    let config = format!("{}{}", abstaining(), ours(&file, "names = [\"*.lab.test\"]"));
    let mut master = Master::start_with(&Settings { config: &config, ..Settings::default() })?;
    let before = live(&master)?;
    for what in ["truncated", "gone"] {
        match what {
            "gone" => fs::remove_file(&file)?,
            _ => fs::write(&file, b"\0asm")?,
        }
        master.restart()?;
        assert_eq!(live(&master)?, before, "{what}");
        let name = format!("{what}.lab.test");
        Request::named(&name)?.submit(&master.stranger()?, &name)?;
        ensure!(request::certificate(&master.stranger()?, &name)?.is_some(), "{name} is not signed");
    }
    // What the configuration says meanwhile goes live with the next start.
    master.configure(&abstaining())?;
    master.crash_and_restart()?;
    ensure!(live(&master)? != before, "the configured set is not live");
    let name = "later.lab.test";
    Request::named(name)?.submit(&master.stranger()?, name)?;
    ensure!(request::certificate(&master.stranger()?, name)?.is_none(), "the old set signed {name}");
    Ok(())
}

// faults row 60
#[test]
fn a_configuration_that_signs_strangers_is_held_at_a_restart_too() -> Result<()> {
    let mut master = Master::start_with(&Settings { config: &abstaining(), ..Settings::default() })?;
    let before = live(&master)?;
    master.crash()?;
    master.configure(&format!("{}{}", abstaining(), ours(&component("autosign")?, "names = [\"*\"]")))?;
    let name = "stranger.lab.test";
    // It stays held, however often that is tried.
    for _ in 0..2 {
        master.start_again()?;
        assert_eq!(live(&master)?, before);
        Request::named(name)?.submit(&master.stranger()?, name)?;
        ensure!(request::certificate(&master.stranger()?, name)?.is_none(), "a stranger was signed");
        master.crash()?;
    }
    ensure!(master.log().contains("held in shadow"), "nobody is told:\n{}", master.log());
    Ok(())
}

#[test]
fn a_component_of_a_bucket_is_fetched_and_its_signature_checked() -> Result<()> {
    let folder = TempDir::new()?;
    let server = Server::start()?;
    let object = server.object("plugins/ours.wasm");
    fs::create_dir_all(object.parent().context("no folder")?)?;
    fs::copy(component("autosign")?, &object)?;
    let key = folder.path().join("release.pem");
    let public = folder.path().join("release.pub");
    openssl(&["genpkey", "-algorithm", "ed25519", "-out"], &[&key])?;
    openssl(&["pkey", "-pubout", "-in"], &[&key, Path::new("-out"), &public])?;
    let registry = server.registry("nodes/");
    let keys = format!("[rollout]\nrequire_signature = true\n[plugin_keys]\nrelease = {public:?}\n");
    let start = |config: &str| {
        Master::start_with(&Settings { config, environment: Server::CREDENTIALS, ..Settings::default() })
    };
    let from = format!("s3://{}/plugins/ours.wasm", Server::BUCKET);
    let config =
        format!("{registry}{keys}{}{}", abstaining(), ours(Path::new(&from), "names = [\"*.lab.test\"]"));

    let said = format!("{:#}", start(&config).err().context("an unsigned component went live")?);
    ensure!(said.contains("plugin ours: is not signed"), "{said}");
    let signature = object.with_extension("wasm.sig");
    openssl(
        &["pkeyutl", "-sign", "-rawin", "-inkey"],
        &[&key, Path::new("-in"), &object, Path::new("-out"), &signature],
    )?;
    let master = start(&config)?;
    let listed = tools::run(&mut master.program(&["plugin", "list", "--json"])?)?;
    let listed: Value = serde_json::from_slice(&listed.stdout)?;
    assert_eq!(listed["live"]["plugins"][3]["signed_by"], "release", "{listed}");
    assert_eq!(listed["live"]["plugins"][3]["source"], from.as_str(), "{listed}");
    let name = "s3.lab.test";
    Request::named(name)?.submit(&master.stranger()?, name)?;
    ensure!(request::certificate(&master.stranger()?, name)?.is_some(), "{name} is not signed");

    // Another component in its place: the signature is not of that.
    fs::copy(component("base")?, &object)?;
    master.reload(&["the plugins stay as they are", "plugin ours: its signature is of none"])?;
    fs::remove_file(&object)?;
    master.reload(&["the plugins stay as they are", "plugin ours: ", "s3://"])?;
    Ok(())
}

#[test]
fn catalog_masters_decide_with_the_set_of_their_ca_within_seconds() -> Result<()> {
    let folder = TempDir::new()?;
    // A component that no catalog master has.
    let file = folder.path().join("ours.wasm");
    fs::copy(component("autosign")?, &file)?;
    let registry = folder.path().join("registry");
    fs::create_dir(&registry)?;
    let at = format!("[registry]\nurl = \"dir:{}\"\npoll = \"500ms\"\n", registry.display());
    for name in [FOLLOWER, "node.cluster.test"] {
        fs::write(registry.join(name), "classes: {}\n")?;
    }
    let ca = Master::start_with(&Settings { config: &at, ..Settings::default() })?;
    tools::run(&mut ca.program(&["ca", "masters", "add", FOLLOWER, "--dns-alt-name", "localhost"])?)?;
    let bundle = folder.path().join("ca.pem");
    fs::write(&bundle, ca.ca()?)?;
    let config = format!(
        "{at}[ca]\nenabled = false\nserver = \"localhost:{}\"\nbundle = {bundle:?}\n[rollout]\nfollow = true\n",
        ca.address().port()
    );
    let server = "dns_alt_names = [\"localhost\"]";
    let settings = Settings { config: &config, server, certname: Some(FOLLOWER), ..Settings::default() };
    let mut follower = Master::start_with(&settings)?;
    let identity = request::enrol(&ca.stranger()?, "node.cluster.test")?;
    let node = Client::new(follower.address(), &ca.ca()?, Some(&identity))?.of("localhost");
    let catalog = || -> Result<u16> { Ok(node.catalog("node.cluster.test", &json!({}))?.status) };

    let swap = |config: &str| -> Result<Duration> {
        ca.configure(&format!("{at}{config}"))?;
        ca.reload(&["the plugins were reloaded"])?;
        let (since, wanted) = (Instant::now(), live(&ca)?);
        follower.wait_for(&["decides with the plugins of the CA", &wanted], FOLLOWED)?;
        let took = since.elapsed();
        ensure!(live(&follower)? == wanted, "another set is live on the catalog master");
        Ok(took)
    };
    let took = swap(&format!("{}{}", abstaining(), ours(&file, "names = [\"*.lab.test\"]")))?;
    eprintln!("a component that the catalog master had to fetch: live there after {took:.1?}");
    assert_eq!(catalog()?, 200);
    let took = swap(&format!("{}{}", abstaining(), ours(&file, "names = [\"*.other.test\"]")))?;
    eprintln!("other settings: live there after {took:.1?}");
    assert_eq!(catalog()?, 200);

    // A master that was away has it when it is back, and its own configuration does not take it back.
    let wanted = {
        ca.configure(&format!("{at}{}{}", abstaining(), ours(&file, "names = []")))?;
        follower.stop()?;
        ca.reload(&["the plugins were reloaded"])?;
        live(&ca)?
    };
    follower.start_again()?;
    follower.wait_for(&["decides with the plugins of the CA", &wanted], SOON)?;
    follower.reload(&["the plugins stay as they are", "rollout.follow"])?;
    assert_eq!(live(&follower)?, wanted);
    assert_eq!(catalog()?, 200);
    follower.restart()?;
    assert_eq!(live(&follower)?, wanted);

    // Components are for masters and administrators.
    let digest = sha256(&file)?;
    let path = format!("/bunraku/v1/plugins/components/{digest}");
    let stranger = Client::new(ca.address(), &ca.ca()?, Some(&identity))?;
    assert_eq!(stranger.get(&path)?.status, 403);
    assert_eq!(ca.stranger()?.get(&path)?.status, 403);
    Ok(())
}

/// The embedded plugins, of which the registry's leaves strangers to others.
fn abstaining() -> String {
    embedded("{ missing = \"abstain\" }")
}

/// A component of ours, with settings.
fn ours(file: &Path, settings: &str) -> String {
    format!("{}settings = {{ {settings} }}\n", from_file("ours", file))
}

/// The id of the live set.
fn live(master: &Master) -> Result<String> {
    let listed = tools::run(&mut master.program(&["plugin", "list", "--json"])?)?;
    let listed: Value = serde_json::from_slice(&listed.stdout)?;
    let id = listed.pointer("/live/id").and_then(Value::as_str);
    Ok(id.with_context(|| format!("no live set in {listed}"))?.to_owned())
}

fn openssl(words: &[&str], files: &[&Path]) -> Result<()> {
    tools::run(std::process::Command::new("openssl").args(words).args(files)).map(drop)
}

fn sha256(file: &Path) -> Result<String> {
    let said = tools::run(std::process::Command::new("sha256sum").arg(file))?;
    let said = String::from_utf8(said.stdout)?;
    Ok(said.split_whitespace().next().context("sha256sum says nothing")?.to_owned())
}
