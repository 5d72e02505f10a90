//! The outside commands that the tests run, and what to install for them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// Command, Debian package.
const TOOLS: &[(&str, &str)] = &[
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("mount", "mount"),
    ("ps", "procps"),
    ("puppet", "puppet-agent"),
    ("dpkg-deb", "dpkg"),
    ("dpkg-scanpackages", "dpkg-dev"),
    ("apt-ftparchive", "apt-utils"),
    ("gpg", "gnupg"),
    ("openssl", "openssl"),
];

/// Fails, naming everything that is missing at once, unless this machine can run throw-away machines.
///
/// Tests that need root fail through this; they are never skipped in silence.
pub fn require() -> Result<()> {
    let mut missing = Vec::new();
    if !is_root() {
        missing.push("root (mount and pid namespaces): run the tests as root".to_owned());
    }
    for (tool, package) in TOOLS {
        if find(tool).is_none() {
            missing.push(format!("the command {tool}: apt-get install {package}"));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    bail!("the end-to-end tests need:\n  {}", missing.join("\n  "))
}

/// The first executable file of that name on PATH.
pub fn find(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(tool)).find(|file| is_executable(file))
}

/// Runs a command to its end; anything but exit 0 is an error that holds what it printed.
pub fn run(command: &mut Command) -> Result<Output> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}\n{}", output.status, text(&output));
    }
    Ok(output)
}

/// Runs a command that reads a text; its exit code is the caller's business.
pub fn output_with_input(command: &mut Command, input: &str) -> Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    // One that does not want all of it closes the pipe.
    let _ = child.stdin.take().context("no standard input")?.write_all(input.as_bytes());
    Ok(child.wait_with_output()?)
}

/// What a command printed, standard output first.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}
