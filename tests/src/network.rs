//! A network of this test's own: a bridge, and machines that are plugged into it with an address each.
//!
//! [`alone`] runs a test in a network namespace that only it and its children know, so the kernel takes
//! bridge, cables and machines away with the test's last process, however the test ends. The test itself
//! is on the bridge and reaches every machine. Names are those of a hosts file that all of them share.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::tools;

/// Tells a test that it is the copy of itself that [`alone`] started.
const INSIDE: &str = "BUNRAKU_TEST_NETWORK";

/// Holds a machine's network namespace open until its standard input ends.
const HOLDER: &str = "ip link set lo up; echo ready; exec cat >/dev/null";

/// A program on a machine of the network finds names in the network's hosts file.
const RESOLVING: &str = "mount --bind \"$1\" /etc/hosts; shift; exec \"$@\"";

/// Runs a test's body in a network and with mounts of its own: starts the test's program once more, for this
/// test only.
///
/// # Errors
/// What the body says, or what this machine does not permit.
pub fn alone(test: &str, body: impl FnOnce() -> Result<()>) -> Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        ip("link set lo up")?;
        return body();
    }
    tools::require()?;
    ensure!(tools::find("ip").is_some(), "this test needs the command ip: apt-get install iproute2");
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--propagation", "private", "--"]);
    command.arg(std::env::current_exe()?).args(["--exact", test, "--nocapture", "--test-threads=1"]);
    let status = command.env(INSIDE, test).stdin(Stdio::null()).status().context("cannot start unshare")?;
    ensure!(status.success(), "{test} failed in its own network ({status}); see above");
    Ok(())
}

/// The bridge that machines are plugged into.
pub struct Network {
    hosts: PathBuf,
    _folder: TempDir,
}

/// One machine's end of the network: a namespace with an interface. Dropped, it is gone.
pub struct Host {
    name: String,
    address: Ipv4Addr,
    cable: String,
    hosts: PathBuf,
    holder: Child,
}

impl Network {
    /// Where the test itself is.
    const BRIDGE: &'static str = "10.86.0.1/24";

    /// Makes the bridge, and a hosts file with these names; the place in the list is the address. A machine
    /// has one name or several with spaces between.
    ///
    /// # Errors
    /// Not called in [`alone`], or bridges are not permitted on this machine.
    pub fn new(names: &[&str]) -> Result<Network> {
        ensure!(std::env::var_os(INSIDE).is_some(), "a network is made only in network::alone");
        let folder = TempDir::with_prefix("bunraku-network-")?;
        let hosts = folder.path().join("hosts");
        let lines: Vec<String> = names
            .iter()
            .enumerate()
            .map(|(n, name)| Ok(format!("{} {name}\n", address(n)?)))
            .collect::<Result<_>>()?;
        std::fs::write(&hosts, format!("127.0.0.1 localhost\n{}", lines.concat()))?;
        for line in [
            "link add bunraku0 type bridge",
            &format!("addr add {} dev bunraku0", Network::BRIDGE),
            "link set bunraku0 up",
        ] {
            ip(line).context("this machine permits no bridge in a network namespace")?;
        }
        Ok(Network { hosts, _folder: folder })
    }

    /// Plugs in the machine of that name.
    ///
    /// # Errors
    /// A name that [`Network::new`] was not told, or cables are not permitted on this machine.
    pub fn host(&self, name: &str) -> Result<Host> {
        let text = std::fs::read_to_string(&self.hosts)?;
        let line = text.lines().find(|line| line.split(' ').skip(1).any(|word| word == name));
        let address: Ipv4Addr = line.and_then(|l| l.split(' ').next()).context("an unknown name")?.parse()?;
        let cable = format!("cable{}", address.octets()[3]);
        let mut command = Command::new("unshare");
        command.args(["--net", "--", "sh", "-c", HOLDER]);
        let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(holder.stdout.take().context("no output")?).read_line(&mut line)?;
        if line.trim() != "ready" {
            bail!("this machine permits no network namespace: {}", holder.wait()?);
        }
        let host = Host { name: name.to_owned(), address, cable, hosts: self.hosts.clone(), holder };
        ip(&format!("link add {} type veth peer name eth0 netns {}", host.cable, host.holder.id()))?;
        ip(&format!("link set {} master bunraku0 up", host.cable))?;
        for line in [&format!("addr add {address}/24 dev eth0"), "link set eth0 up"] {
            tools::run(host.enter("ip").args(line.split(' ')))?;
        }
        Ok(host)
    }
}

impl Host {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The hosts file of its network.
    pub fn hosts(&self) -> &Path {
        &self.hosts
    }

    /// A program on this machine's network that sees the test's own files and processes. It takes the
    /// place of what is started, so it has the child's process id.
    pub fn enter(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.holder.id())).arg("--").arg(program);
        command
    }

    /// What to put before a program's name so that it starts as by [`Host::enter`] and finds the network's names.
    pub fn words(&self) -> Vec<OsString> {
        let mut command = self.enter("unshare");
        command.args(["--mount", "--propagation", "private", "--", "sh", "-ec", RESOLVING, "sh"]);
        command.arg(&self.hosts);
        [command.get_program()].into_iter().chain(command.get_args()).map(OsString::from).collect()
    }

    /// Pulls the cable: nothing gets in or out, and nobody is told.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn unplug(&self) -> Result<()> {
        ip(&format!("link set {} down", self.cable))
    }

    /// Puts the cable back.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn plug(&self) -> Result<()> {
        ip(&format!("link set {} up", self.cable))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

fn address(place: usize) -> Result<Ipv4Addr> {
    Ok(Ipv4Addr::new(10, 86, 0, u8::try_from(place + 10)?))
}

fn ip(line: &str) -> Result<()> {
    tools::run(Command::new("ip").args(line.split(' '))).map(drop)
}
