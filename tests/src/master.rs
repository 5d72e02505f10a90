//! The `bunraku` program as a child: started on a free loopback port, stopped by its process id.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::network::Host;
use crate::wire::Client;
use crate::{target_folder, tools};

/// How long a master may take to answer after its start; it compiles its plugins first.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long it may take to end after SIGTERM; its own limit for requests in flight is 25 s.
const STOP_LIMIT: Duration = Duration::from_secs(40);

/// What one master is told, besides its listener and its state directory.
#[derive(Clone, Default)]
pub struct Settings<'a> {
    /// More of the configuration file, whole tables of TOML.
    pub config: &'a str,
    /// More lines of its table `[server]`.
    pub server: &'a str,
    /// Where its folder is made, instead of among temporary files.
    pub folder: Option<&'a Path>,
    /// The machine of a network that it runs on, by whose name it is called; else this one.
    pub on: Option<&'a Host>,
    /// The common name of its certificate, where it is not the usual one.
    pub certname: Option<&'a str>,
    /// Environment variables, such as the credentials for S3.
    pub environment: &'a [(&'a str, &'a str)],
}

/// A running master. Dropped, it is ended.
pub struct Master {
    child: Option<Child>,
    address: SocketAddr,
    folder: TempDir,
    config: String,
    words: Vec<OsString>,
    environment: Vec<(String, String)>,
    log: Arc<Log>,
    readers: Vec<JoinHandle<()>>,
}

/// Every line that the master has printed so far.
#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

impl Master {
    /// The name that agents call a master of these tests by.
    pub const NAME: &'static str = "puppet";

    /// Starts a master on the embedded defaults.
    ///
    /// # Errors
    /// As [`Master::start_with`].
    pub fn start() -> Result<Master> {
        Master::start_with(&Settings::default())
    }

    /// Starts a master and waits until it says that it runs.
    ///
    /// # Errors
    /// No program, a master that ends by itself, or one that is not ready in a minute; with its log.
    pub fn start_with(settings: &Settings<'_>) -> Result<Master> {
        let mut master = Master::prepare(settings)?;
        master.start_again()?;
        Ok(master)
    }

    /// Configures a master that is not started yet: offline commands run on it, and [`Master::start_again`].
    ///
    /// # Errors
    /// No folder, or no free port.
    pub fn prepare(settings: &Settings<'_>) -> Result<Master> {
        let folder = match settings.folder {
            None => TempDir::with_prefix("bunraku-master-")?,
            Some(folder) => TempDir::with_prefix_in("bunraku-master-", folder)?,
        };
        let address = match settings.on {
            None => TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?,
            Some(host) => (host.address(), 8140).into(),
        };
        let usual = settings.on.map_or("master.cluster.test", Host::name);
        let certname = settings.certname.unwrap_or(usual);
        let config = format!(
            "state_dir = {state:?}\n[server]\nlisten = [\"{address}\"]\ncertname = {certname:?}\n{server}\n",
            state = folder.path().join("state"),
            server = settings.server,
        );
        let words = settings.on.map(Host::words).unwrap_or_default();
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let environment = settings.environment.iter().map(own).collect();
        let (log, readers) = (Arc::default(), vec![]);
        let master = Master { child: None, address, folder, config, words, environment, log, readers };
        master.configure(settings.config)?;
        Ok(master)
    }

    /// Writes the configuration anew, with other tables; a running master does not know of it yet.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn configure(&self, tables: &str) -> Result<()> {
        // Tests wait for what the master finds in its registry.
        let quick = if tables.contains("[registry]") { "" } else { "[registry]\npoll = \"500ms\"\n" };
        std::fs::write(self.config_file(), format!("{}{tables}\n{quick}", self.config))?;
        Ok(())
    }

    /// Its configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("bunraku.toml")
    }

    /// Sends SIGHUP and waits for a new line of the log that holds all of these words.
    ///
    /// # Errors
    /// As [`Master::wait_for`].
    pub fn reload(&self, words: &[&str]) -> Result<String> {
        let from = self.log.len();
        self.signal("HUP")?;
        self.log.wait_for(from, words, START_LIMIT)
    }

    /// Its process id.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid(&self) -> Result<u32> {
        self.child.as_ref().map(Child::id).context("the master does not run")
    }

    /// Kills the master as a crash would, and starts it again on the same state and the same address.
    ///
    /// # Errors
    /// As [`Master::start_with`].
    pub fn crash_and_restart(&mut self) -> Result<()> {
        self.crash()?;
        self.start_again()
    }

    /// Kills the master as a crash would.
    ///
    /// # Errors
    /// When it does not run.
    pub fn crash(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the master does not run")?;
        child.kill()?;
        child.wait()?;
        self.finish_log();
        Ok(())
    }

    /// Starts a master that was stopped or killed, on the same state and the same address.
    ///
    /// # Errors
    /// As [`Master::start_with`].
    pub fn start_again(&mut self) -> Result<()> {
        self.spawn()?;
        self.wait_until_ready()
    }

    /// Starts a master that was killed, and kills it again after that time, ready or not.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_and_crash(&mut self, after: Duration) -> Result<()> {
        self.spawn()?;
        thread::sleep(after);
        self.crash()
    }

    /// The process that holds the CA's key for it.
    ///
    /// # Errors
    /// When there is none.
    pub fn signer(&self) -> Result<u32> {
        let parent = self.pid()?;
        for thread in fs::read_dir(format!("/proc/{parent}/task"))? {
            let children = fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
            for child in children.split_whitespace() {
                let line = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
                if line.split(|byte| *byte == 0).any(|word| word == b"signer") {
                    return Ok(child.parse()?);
                }
            }
        }
        bail!("the master has no child that signs")
    }

    /// Stops the master and starts it again on the same state and the same address; says how it ended.
    ///
    /// # Errors
    /// As [`Master::start_with`].
    pub fn restart(&mut self) -> Result<ExitStatus> {
        let ended = self.stop()?;
        self.start_again()?;
        Ok(ended)
    }

    /// Ends the master with SIGTERM and returns how it ended.
    ///
    /// # Errors
    /// When it does not end in 40 seconds; it is killed then.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.signal("TERM")?;
        let Some(mut child) = self.child.take() else { bail!("the master does not run") };
        let since = Instant::now();
        while since.elapsed() < STOP_LIMIT {
            if let Some(status) = child.try_wait()? {
                self.finish_log();
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(20));
        }
        child.kill()?;
        child.wait()?;
        bail!("the master did not end within {STOP_LIMIT:?} of SIGTERM:\n{}", self.log())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its state directory.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// A client without a certificate that believes the server.
    ///
    /// # Errors
    /// As [`Client::stranger`].
    pub fn stranger(&self) -> Result<Client> {
        Client::stranger(self.address)
    }

    /// The CA's certificates, as the master serves them.
    ///
    /// # Errors
    /// Any answer but 200.
    pub fn ca(&self) -> Result<String> {
        let answer = self.stranger()?.get("/puppet-ca/v1/certificate/ca")?;
        ensure!(answer.status == 200, "certificate/ca: {} {}", answer.status, answer.text());
        Ok(answer.text())
    }

    /// Runs another command of the program on this master's configuration.
    ///
    /// # Errors
    /// When it cannot be started; its exit code is the caller's business.
    pub fn command(&self, arguments: &[&str]) -> Result<Output> {
        self.program(arguments)?.stdin(Stdio::null()).output().context("cannot start bunraku")
    }

    /// As [`Master::command`], with something on standard input.
    ///
    /// # Errors
    /// As [`Master::command`].
    pub fn command_with_input(&self, arguments: &[&str], input: &str) -> Result<Output> {
        tools::output_with_input(&mut self.program(arguments)?, input)
    }

    /// What `bunraku explain` says of a name, once the journal has a decision about it: one that signs
    /// nobody is written a moment after its answer.
    ///
    /// # Errors
    /// When there is none after ten seconds.
    pub fn explain(&self, certname: &str, options: &[&str]) -> Result<String> {
        let began = Instant::now();
        loop {
            let said = self.command(&[&["explain", certname][..], options].concat())?;
            if said.status.success() {
                return Ok(String::from_utf8(said.stdout)?);
            }
            let why = || String::from_utf8_lossy(&said.stderr).into_owned();
            ensure!(began.elapsed() < Duration::from_secs(10), "{}", why());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Registers a node with its definition.
    ///
    /// # Errors
    /// When `bunraku registry put` fails.
    pub fn register(&self, certname: &str, definition: &str) -> Result<()> {
        let file = self.folder.path().join("definition.yaml");
        std::fs::write(&file, definition)?;
        tools::run(self.program(&["registry", "put", certname])?.arg(file)).map(drop)
    }

    /// Removes a node's definition.
    ///
    /// # Errors
    /// When `bunraku registry rm` fails.
    pub fn unregister(&self, certname: &str) -> Result<()> {
        tools::run(&mut self.program(&["registry", "rm", certname])?).map(drop)
    }

    /// What it has printed so far, access log included.
    pub fn log(&self) -> String {
        self.log.lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Waits for a line that holds all of these words, and returns it.
    ///
    /// # Errors
    /// When there is none within the time; with the log.
    pub fn wait_for(&self, words: &[&str], limit: Duration) -> Result<String> {
        self.log.wait_for(0, words, limit)
    }

    fn signal(&self, name: &str) -> Result<()> {
        tools::run(Command::new("kill").args(["-s", name, &self.pid()?.to_string()])).map(drop)
    }

    fn spawn(&mut self) -> Result<()> {
        let mut command = self.program(&["serve"])?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start bunraku")?;
        if let Some(stream) = child.stdout.take() {
            self.follow(stream);
        }
        if let Some(stream) = child.stderr.take() {
            self.follow(stream);
        }
        self.child = Some(child);
        Ok(())
    }

    fn follow(&mut self, stream: impl Read + Send + 'static) {
        let log = self.log.clone();
        self.readers.push(thread::spawn(move || log.follow(stream)));
    }

    /// Reads what a master that has ended printed last.
    fn finish_log(&mut self) {
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let client = self.stranger()?;
        let since = Instant::now();
        while since.elapsed() < START_LIMIT {
            if let Some(status) = self.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
                self.child = None;
                self.finish_log();
                bail!("the master ended by itself, {status}:\n{}", self.log());
            }
            if client.get("/status/v1/simple").is_ok_and(|a| a.status == 200 && a.body == b"running") {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        bail!("the master is not ready after {START_LIMIT:?}:\n{}", self.log())
    }

    /// The program with this master's configuration, its environment and these arguments, not started yet.
    ///
    /// # Errors
    /// When it was not built.
    pub fn program(&self, arguments: &[&str]) -> Result<Command> {
        let program = program()?;
        let mut command = match self.words.split_first() {
            None => Command::new(program),
            Some((first, more)) => {
                let mut command = Command::new(first);
                command.args(more).arg(program);
                command
            }
        };
        command.arg("--config").arg(self.config_file()).args(arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        if self.child.is_some() && self.stop().is_err() {
            eprintln!("the master had to be killed");
        }
        // The test harness shows this for a test that failed.
        eprintln!("--- the master's log ---\n{}", self.log());
    }
}

impl Log {
    fn follow(&self, stream: impl Read) {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            self.grown.notify_all();
        }
    }

    fn len(&self) -> usize {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn wait_for(&self, from: usize, words: &[&str], limit: Duration) -> Result<String> {
        let fits = |line: &&String| words.iter().all(|word| line.contains(word));
        let found = |lines: &[String]| lines.iter().skip(from).find(fits).cloned();
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.grown.wait_timeout_while(lines, limit, |lines| found(lines).is_none());
        let (lines, _) = waited.unwrap_or_else(PoisonError::into_inner);
        found(&lines).with_context(|| format!("no line with {words:?} in {limit:?}:\n{}", lines.join("\n")))
    }
}

/// The program under test: `BUNRAKU_BIN`, else the one of this target folder.
///
/// # Errors
/// When it was not built.
pub fn program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("BUNRAKU_BIN") {
        ensure!(Path::new(&path).is_file(), "BUNRAKU_BIN={}: there is no such file", path.display());
        return Ok(path.into());
    }
    let built = target_folder()?.join("debug/bunraku");
    ensure!(
        built.is_file(),
        "{} is not there: build it first (cargo xtask test does), or set BUNRAKU_BIN",
        built.display()
    );
    Ok(built)
}
