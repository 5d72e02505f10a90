//! Programs that the demo and the tests use beside Rust's: looks for them and,
//! where it may, installs them.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::shell;

/// A program and the Debian package that brings it.
pub type Need = (&'static str, &'static str);

/// An unmodified agent.
const AGENT: &[Need] = &[("puppet", "puppet-agent"), ("unshare", "util-linux")];

/// What throw-away machines and their packages take.
const MACHINES: &[Need] = &[
    ("puppet", "puppet-agent"),
    ("openssl", "openssl"),
    ("gpg", "gnupg"),
    ("apt-ftparchive", "apt-utils"),
    ("dpkg-deb", "dpkg"),
    ("dpkg-scanpackages", "dpkg-dev"),
    ("mount", "mount"),
    ("ps", "procps"),
    ("unshare", "util-linux"),
];

/// What the tests use beside machines: networks, faults under every write, and the rival.
const OTHERS: &[Need] = &[("ip", "iproute2"), ("strace", "strace"), ("puppetserver", "puppetserver")];

/// What the crash rounds use.
pub const CRASH: &[Need] = &[("openssl", "openssl")];

/// What fuzzing uses: libFuzzer is C++.
pub const FUZZ: &[Need] = &[("c++", "g++")];

/// What the tests use: agents, packages made and installed in throw-away roots, and outside tools that
/// check our work.
pub fn tests() -> Vec<Need> {
    [MACHINES, OTHERS].concat()
}

/// What the demo uses: throw-away machines where this system can have them, else an agent alone.
pub fn demo() -> &'static [Need] {
    if is_root() && shell::has("apt-get") { MACHINES } else { AGENT }
}

/// Makes sure that every program is there.
pub fn ensure(needs: &[Need]) -> Result<()> {
    let missing = missing(needs);
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    let may_install = shell::has("apt-get") && is_root();
    if !may_install {
        bail!("missing programs: install the packages {packages} (Debian: sudo apt-get install {packages})");
    }
    println!("installing {packages}");
    let apt = |arguments: &[&str]| {
        shell::run(
            Command::new("apt-get")
                .args(["-q", "-y"])
                .args(arguments)
                .env("DEBIAN_FRONTEND", "noninteractive"),
        )
    };
    let install = [&["install", "--no-install-recommends"][..], &missing].concat();
    // A fresh machine knows no packages yet; one that does needs no update.
    if apt(&install).is_err() {
        apt(&["update"])?;
        apt(&install)?;
    }
    Ok(())
}

fn missing(needs: &[Need]) -> Vec<&'static str> {
    let mut packages: Vec<&str> =
        needs.iter().filter(|(program, _)| !shell::has(program)).map(|(_, package)| *package).collect();
    packages.dedup();
    packages
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(Path::new("/proc/self")).is_ok_and(|m| m.uid() == 0)
}
