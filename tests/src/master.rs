//! The `bunraku` program as a child: started on a free loopback port, stopped by its process id.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::wire::Client;
use crate::{target_folder, tools};

/// How long a master may take to answer after its start; it compiles its plugins first.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long it may take to end after SIGTERM; its own limit for requests in flight is 25 s.
const STOP_LIMIT: Duration = Duration::from_secs(40);

/// What one master is told, besides its listener and its state directory.
#[derive(Debug, Clone, Default)]
pub struct Settings<'a> {
    /// More of the configuration file, whole tables of TOML.
    pub config: &'a str,
    /// Environment variables, such as the credentials for S3.
    pub environment: &'a [(&'a str, &'a str)],
}

/// A running master. Dropped, it is ended.
pub struct Master {
    child: Option<Child>,
    address: SocketAddr,
    folder: TempDir,
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
        let folder = TempDir::with_prefix("bunraku-master-")?;
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let config = format!(
            "state_dir = {state:?}\n[server]\nlisten = [\"{address}\"]\ncertname = \"master.cluster.test\"\n{}",
            settings.config,
            state = folder.path().join("state"),
        );
        std::fs::write(folder.path().join("bunraku.toml"), config)?;
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let environment = settings.environment.iter().map(own).collect();
        let mut master =
            Master { child: None, address, folder, environment, log: Arc::default(), readers: vec![] };
        master.launch()?;
        Ok(master)
    }

    /// Stops the master and starts it again on the same state and the same address.
    ///
    /// # Errors
    /// As [`Master::start_with`].
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.launch()
    }

    /// Ends the master with SIGTERM and returns how it ended.
    ///
    /// # Errors
    /// When it does not end in 40 seconds; it is killed then.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        let Some(mut child) = self.child.take() else { bail!("the master does not run") };
        tools::run(Command::new("kill").args(["-TERM", &child.id().to_string()]))?;
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
        let found =
            |lines: &[String]| lines.iter().find(|line| words.iter().all(|w| line.contains(w))).cloned();
        let lines = self.log.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.log.grown.wait_timeout_while(lines, limit, |lines| found(lines).is_none());
        let (lines, _) = waited.unwrap_or_else(PoisonError::into_inner);
        found(&lines).with_context(|| format!("no line with {words:?} in {limit:?}:\n{}", lines.join("\n")))
    }

    fn launch(&mut self) -> Result<()> {
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
        self.wait_until_ready()
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

    fn program(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(program()?);
        command.arg("--config").arg(self.folder.path().join("bunraku.toml")).args(arguments);
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
