//! `cargo xtask demo`: the main job on embedded defaults, as a story: four
//! nodes from certificate request to a catalog of their Hadoop role.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{needs, plugins, shell};

/// Certificate name and role. The namenode and the jobtracker come first, since
/// the workers collect their addresses.
const NODES: [(&str, &str); 4] = [
    ("namenode.demo.test", "hadoop::namenode"),
    ("jobtracker.demo.test", "hadoop::jobtracker"),
    ("worker1.demo.test", "hadoop::worker"),
    ("worker2.demo.test", "hadoop::worker"),
];

/// A name that nobody registers.
const STRANGER: &str = "stranger.demo.test";

/// Plays the story. With `keep` the master goes on until Ctrl-C.
pub fn run(root: &Path, keep: bool) -> Result<()> {
    let began = Instant::now();
    needs::ensure(needs::AGENT)?;
    println!("building the plugins and the master (the first time takes some minutes)");
    plugins::build(root)?;
    shell::run(
        Command::new("cargo")
            .args(["build", "--quiet", "--locked", "--package", "bunraku"])
            .current_dir(root),
    )?;

    let folder = root.join("target/demo");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    fs::create_dir_all(&folder)?;
    let mut master = Master::start(root, &folder)?;
    println!("\nmaster     {} (state, log and agents: {})", master.address, folder.display());
    for (certname, role) in NODES {
        master.register(certname, role)?;
        println!("registered {certname} as {role}");
    }
    println!();
    let mut held = true;
    for (certname, role) in NODES {
        held &= master.agent(&folder, certname, Some(role))?;
    }
    held &= master.agent(&folder, STRANGER, None)?;
    held &= core_site(&folder)?;
    if keep {
        println!("\nthe master goes on at {}; stop it with Ctrl-C", master.address);
        master.child.wait()?;
        return Ok(());
    }
    ensure!(master.stop()?, "the master did not stop cleanly: see {}", folder.join("master.log").display());
    ensure!(held, "the demo did NOT hold: see {}", folder.display());
    println!(
        "\nheld: {} nodes went from certificate request to catalog, every decision made by a plugin, one stranger waits ({:.0?})",
        NODES.len(),
        began.elapsed()
    );
    Ok(())
}

/// A master on embedded defaults, on a free port of the loopback.
struct Master {
    child: Child,
    program: PathBuf,
    config: PathBuf,
    address: String,
    port: String,
    log: PathBuf,
}

impl Drop for Master {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Master {
    fn start(root: &Path, folder: &Path) -> Result<Master> {
        let program = shell::target(root).join("debug/bunraku");
        let (config, log) = (folder.join("bunraku.toml"), folder.join("master.log"));
        fs::write(
            &config,
            format!(
                "state_dir = {:?}\n[server]\nlisten = [\"127.0.0.1:0\"]\ncertname = \"puppet\"\naccess_log = \"access.log\"\n",
                folder.join("state").display().to_string()
            ),
        )?;
        let mut child = Command::new(&program)
            .args(["serve", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log)?)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let stdout = child.stdout.take().context("no output")?;
        let mut first = String::new();
        BufReader::new(stdout).read_line(&mut first)?;
        let Some(address) = first.trim().strip_prefix("ready: ").map(str::to_owned) else {
            let _ = child.wait();
            bail!("the master did not start:\n{}", fs::read_to_string(&log).unwrap_or_default());
        };
        let port = address.rsplit(':').next().unwrap_or_default().to_owned();
        Ok(Master { child, program, config, address, port, log })
    }

    fn register(&self, certname: &str, role: &str) -> Result<()> {
        let mut put = Command::new(&self.program)
            .args(["registry", "put", certname, "--config"])
            .arg(&self.config)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        let definition = format!("classes:\n  {role}:\n    host: {certname}\nenvironment: production\n");
        put.stdin.take().context("no input")?.write_all(definition.as_bytes())?;
        ensure!(put.wait()?.success(), "{certname} could not be registered");
        Ok(())
    }

    /// Runs a real agent once, with folders of its own and `--noop`: the demo
    /// changes nothing on this machine.
    fn agent(&self, folder: &Path, certname: &str, role: Option<&str>) -> Result<bool> {
        let own = folder.join("agents").join(certname);
        fs::create_dir_all(&own)?;
        let out = Command::new("puppet")
            .args(["agent", "--onetime", "--no-daemonize", "--noop", "--detailed-exitcodes", "--color=false"])
            .args(["--verbose", "--waitforcert=0", "--no-use_srv_records", "--server=localhost"])
            .arg(format!("--masterport={}", self.port))
            .arg(format!("--certname={certname}"))
            .args(
                ["confdir", "vardir", "rundir", "logdir", "publicdir"]
                    .map(|d| format!("--{d}={}", own.join(d).display())),
            )
            .arg(format!("--ssldir={}", own.join("ssl").display()))
            .stdin(Stdio::null())
            .output()
            .context("cannot start puppet")?;
        let log = [out.stdout, out.stderr].concat();
        fs::write(own.join("agent.log"), &log)?;
        let said = fs::read_to_string(&self.log)?;
        let verdict = reason(&said, certname);
        let Some(role) = role else {
            let waits = said.contains("not signed") && out.status.code() == Some(1);
            println!("{certname:<21} request -> waits: {verdict}");
            return Ok(waits);
        };
        let catalog = catalog(&own, certname);
        let size =
            catalog.as_ref().map_or(0, |c| c.get("resources").and_then(Value::as_array).map_or(0, Vec::len));
        println!("{certname:<21} request -> signed: {verdict}");
        println!(
            "{:<21} {role} -> catalog of {size} resources, agent's exit code {}",
            "",
            out.status.code().unwrap_or(-1)
        );
        Ok(size > 10 && matches!(out.status.code(), Some(0 | 2)))
    }

    /// Stops it as an operator would, and says whether it went in peace.
    fn stop(&mut self) -> Result<bool> {
        shell::run(Command::new("kill").args(["-TERM", &self.child.id().to_string()]))?;
        Ok(self.child.wait()?.success())
    }
}

/// What the master's log says of the last decision on a request.
fn reason(log: &str, certname: &str) -> String {
    let mark = format!("certname={certname} ");
    log.lines()
        .rev()
        .filter(|line| line.contains(&mark))
        .find_map(|line| line.split_once("reason=").map(|(_, reason)| reason.to_owned()))
        .unwrap_or_else(|| "no decision in the log".to_owned())
}

/// The catalog as the agent keeps it.
fn catalog(own: &Path, certname: &str) -> Option<Value> {
    let path = own.join("vardir/client_data/catalog").join(format!("{certname}.json"));
    serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
}

/// Whether the worker's core-site.xml names the namenode.
fn core_site(folder: &Path) -> Result<bool> {
    let (worker, _) = NODES[2];
    let catalog =
        catalog(&folder.join("agents").join(worker), worker).context("the worker has no catalog")?;
    let resources = catalog.get("resources").and_then(Value::as_array).cloned().unwrap_or_default();
    let content = resources
        .iter()
        .find(|r| r.get("title").and_then(Value::as_str) == Some("hadoop-core-site"))
        .and_then(|r| r.pointer("/parameters/content")?.as_str().map(str::to_owned))
        .context("the worker's catalog has no core-site.xml")?;
    let line = content.lines().find(|l| l.contains("hdfs://")).unwrap_or("no address").trim();
    println!("\n{worker}'s core-site.xml: {line}");
    Ok(line.contains(NODES[0].0))
}
