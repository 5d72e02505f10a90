//! Debian's puppetserver on a throw-away machine, with its own CA disabled: a catalog master beside ours, and
//! its `puppetserver ca` tool.
//!
//! It keeps its files where its package puts them, inside the machine.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::machine::Machine;
use crate::tools;
use crate::wire::Client;

/// A JVM that loads a Ruby; on two busy cores it takes minutes.
const START_LIMIT: Duration = Duration::from_secs(300);

/// A puppetserver that believes another's CA.
pub struct PuppetServer {
    machine: Machine,
    address: SocketAddr,
    server: Option<Child>,
}

impl PuppetServer {
    /// Its name, and the name on its certificate.
    pub const NAME: &'static str = "puppetserver.cluster.test";

    /// The line that it adds to every node's catalog, in a file of this name.
    pub const FILE: &'static str = "/etc/from-puppetserver";

    /// Configures one for a CA at that address, known to it as `puppet`; nothing runs yet.
    ///
    /// # Errors
    /// No machine, or the package `puppetserver` is not installed.
    pub fn configure(ca: SocketAddr) -> Result<PuppetServer> {
        if tools::find("puppetserver").is_none() {
            bail!("this test needs the command puppetserver: apt-get install puppetserver");
        }
        let machine = Machine::start(PuppetServer::NAME)?;
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        machine.shell(&format!("echo '{} puppet' >> /etc/hosts", ca.ip()))?;
        let name = PuppetServer::NAME;
        machine.write(
            "/etc/puppet/puppet.conf",
            &format!(
                "[main]\ncertname = {name}\nserver = {name}\nca_server = puppet\nca_port = {}\n",
                ca.port()
            ),
        )?;
        machine.write(
            "/etc/puppet/code/environments/production/manifests/site.pp",
            &format!(
                "node default {{ file {{ '{}': content => \"${{trusted['certname']}}\\n\" }} }}\n",
                PuppetServer::FILE
            ),
        )?;
        machine.shell_with(CONFIGURE, &[&address.port().to_string()])?;
        Ok(PuppetServer { machine, address, server: None })
    }

    /// Its machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Where it listens once it runs.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gets its certificate from the CA as an agent does: `puppet ssl bootstrap`.
    ///
    /// # Errors
    /// When it gets none, with what the command said.
    pub fn bootstrap(&self) -> Result<()> {
        let mut command = self.machine.command("puppet");
        tools::run(command.args(["ssl", "bootstrap", "--waitforcert", "0", "--color=false"]))?;
        self.machine.shell("chown -R puppet:puppet /var/lib/puppet").map(drop)
    }

    /// Runs `puppetserver ca` with these arguments; its exit code is the caller's business.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn ca(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = self.machine.command("puppetserver");
        command.arg("ca").args(arguments).output().context("cannot start puppetserver ca")
    }

    /// Starts the server and waits until it answers; says how long that took.
    ///
    /// # Errors
    /// When it ends or does not answer in five minutes; with what it said.
    pub fn serve(&mut self) -> Result<Duration> {
        let since = Instant::now();
        let mut command = self.machine.command("puppetserver");
        command.arg("foreground").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut server = command.spawn().context("cannot start puppetserver")?;
        // Read, so that it never waits for a full pipe.
        follow(server.stdout.take().context("no output")?);
        follow(server.stderr.take().context("no output")?);
        let client = Client::stranger(self.address)?;
        let server = self.server.insert(server);
        while since.elapsed() < START_LIMIT {
            if let Some(status) = server.try_wait()? {
                bail!("the puppetserver ended by itself: {status}");
            }
            if client.get("/status/v1/simple").is_ok_and(|a| a.status == 200 && a.body == b"running") {
                return Ok(since.elapsed());
            }
            std::thread::sleep(Duration::from_millis(250));
        }
        bail!("the puppetserver is not ready after {START_LIMIT:?}")
    }

    /// The text of a file of its machine.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, file: &str) -> Result<String> {
        let text = self.machine.read(file)?;
        ensure!(!text.is_empty(), "{file} is empty");
        Ok(text)
    }
}

impl Drop for PuppetServer {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // The JVM itself ends with its machine.
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// Shows what the server says; of a test that fails the harness prints it.
fn follow(stream: impl Read + Send + 'static) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            eprintln!("puppetserver: {line}");
        }
    });
}

/// Its port, its CA disabled as its own comments say, and folders that belong to it.
const CONFIGURE: &str = r#"
cd /etc/puppet/puppetserver
sed -i "s/ssl-host:.*/ssl-host: 127.0.0.1/; s/ssl-port:.*/ssl-port: $1/" conf.d/webserver.conf
sed -i -e '/^puppetlabs.*certificate-authority-service$/s/^/#/' \
    -e '/certificate-authority-disabled-service$/s/^#//' services.d/ca.cfg
sed -i 's/-Xms1g -Xmx1g/-Xms512m -Xmx1g/' /etc/default/puppetserver
install -d -o puppet -g puppet /run/puppetserver /var/log/puppetserver
"#;
