//! A real, unmodified `puppet agent` on a throw-away machine, and what one run of it did.
//!
//! The agent keeps its files where its Debian package puts them, inside the machine. Two agents are known:
//! the distribution's own ([`Agent::installed`], Puppet 7 on Debian 12) and one of the 8 line
//! ([`Agent::eight`], chosen by `BUNRAKU_AGENT8`).

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use crate::machine::Machine;
use crate::{agent8, tools};

/// An agent run that takes longer is killed.
const LIMIT_SECONDS: u32 = 300;

const SKIPPED: &str =
    "SKIPPED: agent 8 is not tested here; set BUNRAKU_AGENT8 to debian, or to a folder with bin/puppet";

/// Where the agent's machine sees the folder of an agent that is not installed.
const FOLDER: &str = "/opt/agent";

/// Which agent to run.
#[derive(Debug, Clone)]
pub struct Agent {
    program: String,
    folder: Option<PathBuf>,
}

/// One finished run.
#[derive(Debug)]
pub struct Run {
    /// The exit code: with `--detailed-exitcodes` 0 = nothing to change, 2 = changed, 4 and 6 = failures,
    /// 1 = the run itself failed.
    pub code: i32,
    /// All that the agent printed.
    pub output: String,
    /// `last_run_report.yaml` as JSON, if this run left one.
    pub report: Option<Value>,
    /// Wall time.
    pub took: Duration,
}

/// What to tell the agent.
#[derive(Debug, Clone)]
pub struct Settings<'a> {
    /// The name on its certificate.
    pub certname: &'a str,
    /// The name of the master; the machine's /etc/hosts is told its address.
    pub server: &'a str,
    /// Where the master listens.
    pub address: SocketAddr,
    /// Seconds between two looks at a pending request; 0 = give up at once.
    pub waitforcert: u32,
}

impl Agent {
    /// The agent on PATH, which must be the distribution's.
    pub fn installed() -> Agent {
        Agent { program: "puppet".to_owned(), folder: None }
    }

    /// An agent of the 8 line, or `None` after a loud line on standard error.
    ///
    /// `BUNRAKU_AGENT8` = a folder with `bin/puppet` (its `lib` is put on Ruby's path), or `debian`: the
    /// `puppet-agent` package of Debian 13 is fetched with apt, kept under the target folder and not installed.
    ///
    /// # Errors
    /// When the variable is set and no agent comes of it.
    pub fn eight() -> Result<Option<Agent>> {
        static FOUND: OnceLock<Result<Option<PathBuf>, String>> = OnceLock::new();
        let found = FOUND.get_or_init(|| agent8::folder().map_err(|error| format!("{error:#}")));
        let folder = found.clone().map_err(|error| anyhow!(error))?;
        if folder.is_none() {
            // Not with eprintln!, which the test harness swallows.
            writeln!(std::io::stderr(), "{SKIPPED}")?;
        }
        Ok(folder.map(|folder| Agent { program: format!("{FOLDER}/bin/puppet"), folder: Some(folder) }))
    }

    /// The folders that a machine must see for this agent to run on it.
    pub fn folders(&self) -> Vec<(&Path, &str)> {
        self.folder.iter().map(|folder| (folder.as_path(), FOLDER)).collect()
    }

    /// The agent's version on that machine.
    ///
    /// # Errors
    /// When it does not start.
    pub fn version(&self, machine: &Machine) -> Result<String> {
        let output = tools::run(self.command(machine).arg("--version"))?;
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// `puppet agent --test` with these settings, as a user would by hand.
    ///
    /// # Errors
    /// When the agent cannot be started, or its report cannot be read. A failed run is not an error.
    pub fn run(&self, machine: &Machine, settings: &Settings<'_>) -> Result<Run> {
        self.run_with(machine, settings, &[])
    }

    /// As [`Agent::run`], with more arguments.
    ///
    /// # Errors
    /// As [`Agent::run`].
    pub fn run_with(&self, machine: &Machine, settings: &Settings<'_>, more: &[&str]) -> Result<Run> {
        let started = Instant::now();
        machine.shell(&format!("rm -f {REPORT}"))?;
        let host = format!("{} {}", settings.address.ip(), settings.server);
        machine.shell_with("grep -qxF \"$1\" /etc/hosts || echo \"$1\" >> /etc/hosts", &[&host])?;
        let mut command = self.command(machine);
        command.args(["agent", "--test", "--color=false", "--certname", settings.certname]);
        command.args(["--server", settings.server, "--masterport", &settings.address.port().to_string()]);
        command.args(["--waitforcert", &settings.waitforcert.to_string()]).args(more);
        let output = command.output().context("cannot start the agent")?;
        let code = output.status.code().context("the agent was killed by a signal")?;
        let report = report(machine)?;
        Ok(Run { code, output: tools::text(&output), report, took: started.elapsed() })
    }

    /// Applies a catalog or manifest without a master: `puppet apply`.
    ///
    /// # Errors
    /// As [`Agent::run`].
    pub fn apply(&self, machine: &Machine, arguments: &[&str]) -> Result<Run> {
        let started = Instant::now();
        machine.shell(&format!("rm -f {REPORT}"))?;
        let mut command = self.command(machine);
        command.args(["apply", "--detailed-exitcodes", "--color=false"]).args(arguments);
        let output = command.output().context("cannot start puppet apply")?;
        let code = output.status.code().context("puppet apply was killed by a signal")?;
        let report = report(machine)?;
        Ok(Run { code, output: tools::text(&output), report, took: started.elapsed() })
    }

    fn command(&self, machine: &Machine) -> std::process::Command {
        let mut command = machine.command("timeout");
        command.args(["--kill-after=5", &LIMIT_SECONDS.to_string(), &self.program]);
        command.env("RUBYLIB", if self.folder.is_some() { format!("{FOLDER}/lib") } else { String::new() });
        command
    }
}

impl Run {
    /// The run itself when it ended with this code, else an error with all it printed.
    ///
    /// # Errors
    /// Another code.
    pub fn expect_code(self, code: i32) -> Result<Run> {
        ensure!(self.code == code, "the agent ended with {}, wanted {code}:\n{}", self.code, self.output);
        Ok(self)
    }

    /// Resources that this run changed, as `Type[title]`, in the report's order.
    pub fn changed(&self) -> Vec<String> {
        self.resources("changed")
    }

    /// Resources that this run could not bring into their state.
    pub fn failed(&self) -> Vec<String> {
        self.resources("failed")
    }

    /// The time at which the agent evaluated a resource, for comparing two of them.
    pub fn evaluated_at(&self, resource: &str) -> Option<&str> {
        self.report.as_ref()?.get("resource_statuses")?.get(resource)?.get("time")?.as_str()
    }

    fn resources(&self, flag: &str) -> Vec<String> {
        let statuses =
            self.report.as_ref().and_then(|r| r.get("resource_statuses")).and_then(Value::as_object);
        let set = |status: &Value| status.get(flag).and_then(Value::as_bool).unwrap_or(false);
        statuses
            .into_iter()
            .flatten()
            .filter(|(_, status)| set(status))
            .map(|(name, _)| name.clone())
            .collect()
    }
}

const REPORT: &str = "/var/cache/puppet/state/last_run_report.yaml";

/// The report names Ruby's classes; read as plain data.
const TO_JSON: &str = "require 'yaml'; require 'json'; \
    puts JSON.generate(YAML.unsafe_load(File.read(ARGV[0]).gsub(/!ruby\\/\\S+/, '')))";

fn report(machine: &Machine) -> Result<Option<Value>> {
    if !machine.exists(REPORT) {
        return Ok(None);
    }
    let output = tools::run(machine.command("ruby").args(["-e", TO_JSON, REPORT]))?;
    Ok(Some(serde_json::from_slice(&output.stdout)?))
}
