//! A throw-away machine: this machine's files under an overlay, with its own processes and host name.
//!
//! What is written inside lands on a tmpfs that only the machine's mount namespace knows. Process 1 of its
//! pid namespace ends when the pipe to the test closes, so the kernel kills every process and drops every
//! mount of the machine when [`Machine`] is dropped, and also when the test panics or is killed.
//! The network is the host's, whose loopback ports are shared, or that of a [`Host`] of the test's own network.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::network::Host;
use crate::tools;

/// Process 1 of a machine. Arguments: stage folder, host name, then pairs of host folder and inside folder.
/// It waits for the end of its standard input; as a shell's `wait` it also reaps orphans, without which
/// `start-stop-daemon --stop` would take a dead daemon for a live one.
const INIT: &str = r#"
set -e
stage=$1 name=$2; shift 2
hostname "$name"
mount -t tmpfs -o mode=0755 machine "$stage"
mkdir "$stage/upper" "$stage/work" "$stage/root"
mount -t overlay -o "lowerdir=/,upperdir=$stage/upper,workdir=$stage/work" machine "$stage/root"
root=$stage/root
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=0755 run "$root/run"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
while [ $# -gt 0 ]; do
  mkdir -p "$root$2"
  mount --bind "$1" "$root$2"
  mount -o remount,bind,ro "$root$2"
  shift 2
done
mkdir -p "$root/.host"
cd "$root"
pivot_root . .host
cd /
umount -l /.host
rmdir /.host
exec 3<&0
cat <&3 >/dev/null &
echo ready
exec >/dev/null 2>&1
wait $!
"#;

/// Turns the copy of this machine into a plain one: no Puppet state, no package sources but those that a
/// catalog writes, services may start.
const FURNISH: &str = r#"
set -e
rm -rf /etc/puppet/ssl /etc/puppet/puppet.conf /var/lib/puppet /var/cache/puppet /var/log/puppet
install -d -o puppet -g puppet -m 0750 /var/lib/puppet /var/cache/puppet /var/log/puppet
mkdir -p /run/lock
rm -f /usr/sbin/policy-rc.d
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d /etc/apt/trusted.gpg /etc/apt/auth.conf.d /var/lib/apt/lists
mkdir -p /etc/apt/sources.list.d /var/lib/apt/lists/partial
find /etc/apt/apt.conf.d -type f ! -name 70debconf -delete
printf '127.0.0.1 localhost\n127.0.0.1 %s %s\n' "$1" "${1%%.*}" > /etc/hosts
"#;

/// A running throw-away machine.
pub struct Machine {
    name: String,
    unshare: Child,
    init: u32,
    _stage: TempDir,
}

/// A process inside a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Name of the user that it runs as.
    pub user: String,
    /// Process id inside the machine.
    pub pid: u32,
    /// The command line.
    pub command: String,
}

impl Machine {
    /// Starts a machine with a fully qualified host name.
    ///
    /// # Errors
    /// What is missing on this machine ([`tools::require`]), or what the kernel refused.
    pub fn start(name: &str) -> Result<Machine> {
        Machine::start_with(name, &[])
    }

    /// Starts a machine that also sees some of the host's folders, read-only, as `(host, inside)`.
    ///
    /// # Errors
    /// As [`Machine::start`].
    pub fn start_with(name: &str, folders: &[(&Path, &str)]) -> Result<Machine> {
        Machine::make(Command::new("unshare"), name, folders)
    }

    /// As [`Machine::start_with`], on a network of the test's own.
    ///
    /// # Errors
    /// As [`Machine::start`].
    pub fn start_on(host: &Host, folders: &[(&Path, &str)]) -> Result<Machine> {
        let machine = Machine::make(host.enter("unshare"), host.name(), folders)?;
        machine.write("/etc/hosts", &std::fs::read_to_string(host.hosts())?)?;
        Ok(machine)
    }

    fn make(mut command: Command, name: &str, folders: &[(&Path, &str)]) -> Result<Machine> {
        tools::require()?;
        let stage = TempDir::with_prefix("bunraku-machine-")?;
        command.args(["--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]);
        command.args(["--propagation", "private", "--", "sh", "-c", INIT, "init"]);
        command.arg(stage.path()).arg(name);
        for (host, inside) in folders {
            command.arg(host).arg(inside);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut unshare = command.spawn().context("cannot start unshare")?;
        let stdout = unshare.stdout.take().context("unshare has no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line.trim() != "ready" {
            let _ = unshare.kill();
            let output = unshare.wait_with_output()?;
            bail!(
                "cannot make a throw-away machine (it needs root, mount and pid namespaces and overlayfs): {}",
                tools::text(&output).trim()
            );
        }
        let init = child_of(unshare.id())?;
        let machine = Machine { name: name.to_owned(), unshare, init, _stage: stage };
        machine.shell_with(FURNISH, &[name])?;
        Ok(machine)
    }

    /// The host name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that runs inside the machine.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string()]);
        command.args(["--mount", "--pid", "--uts", "--ipc", "--net", "--root", "--wd", "--", program]);
        command.env_clear().env("LANG", "C.UTF-8").env("HOME", "/root");
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::null());
        command
    }

    /// Runs a shell script inside and returns what it printed on standard output.
    ///
    /// # Errors
    /// An exit code other than 0, with the output.
    pub fn shell(&self, script: &str) -> Result<String> {
        self.shell_with(script, &[])
    }

    /// As [`Machine::shell`], with positional parameters.
    ///
    /// # Errors
    /// As [`Machine::shell`].
    pub fn shell_with(&self, script: &str, parameters: &[&str]) -> Result<String> {
        let output: Output = self.command("sh").args(["-c", script, "sh"]).args(parameters).output()?;
        ensure!(
            output.status.success(),
            "on {}: {}: {}\n{}",
            self.name,
            script.trim(),
            output.status,
            tools::text(&output)
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The text of a file inside; links are followed inside.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, file: &str) -> Result<String> {
        self.shell_with("cat -- \"$1\"", &[file])
    }

    /// Whether there is a file, folder or working link of that name inside.
    pub fn exists(&self, file: &str) -> bool {
        self.shell_with("test -e \"$1\"", &[file]).is_ok()
    }

    /// Writes a file inside, with its folders.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, file: &str, text: &str) -> Result<()> {
        let script = "mkdir -p \"$(dirname \"$1\")\" && printf %s \"$2\" > \"$1\"";
        self.shell_with(script, &[file, text]).map(|_| ())
    }

    /// Every process that runs inside, without process 1, its reader, and what a test itself put there just now.
    ///
    /// # Errors
    /// When `ps` does not run.
    pub fn processes(&self) -> Result<Vec<Process>> {
        let list = tools::run(self.command("ps").args(["-e", "-o", "pid=,ppid=,stat=,user:32=,args="]))?;
        Ok(String::from_utf8(list.stdout)?.lines().filter_map(process).collect())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.unshare.stdin.take());
        let _ = self.unshare.wait();
    }
}

/// The only child of a process: what `unshare --fork` made.
fn child_of(parent: u32) -> Result<u32> {
    let file = format!("/proc/{parent}/task/{parent}/children");
    let children = std::fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    children.trim().parse().with_context(|| format!("{file} holds {children:?}, wanted one process id"))
}

/// One line of `ps`. A dead process that waits to be reaped is none; one that entered from outside has no parent.
fn process(line: &str) -> Option<Process> {
    let mut words = line.split_whitespace();
    let (pid, parent) = (words.next()?.parse().ok()?, words.next()?);
    let state = words.next()?;
    let user = words.next()?.to_owned();
    let command = words.collect::<Vec<_>>().join(" ");
    let ours = pid == 1 || parent == "0" || (parent == "1" && command == "cat");
    (!ours && !state.starts_with('Z')).then_some(Process { user, pid, command })
}
