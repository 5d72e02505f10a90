//! Packages of Debian, fetched and unpacked into a folder, and not installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::tools;

/// Debian 13's packages, for a machine whose own release is older.
pub const TRIXIE: &str = "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: trixie\nComponents: main\n\
    Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n";

/// The files of a package: of this machine's own release (`apt-get update` must have run once), or of the
/// sources given.
///
/// # Errors
/// When the package cannot be had; apt's output is in the error.
pub fn unpack(package: &str, sources: Option<&str>) -> Result<TempDir> {
    let work = TempDir::with_prefix("bunraku-debian-")?;
    let at = work.path();
    if let Some(sources) = sources {
        for folder in ["sources", "lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(at.join(folder))?;
        }
        fs::write(at.join("sources/only.sources"), sources)?;
        tools::run(apt(at, true).arg("update")).context("cannot reach Debian's packages")?;
    }
    let mut download = apt(at, sources.is_some());
    tools::run(download.args(["download", package]).current_dir(at))
        .with_context(|| format!("cannot fetch the package {package}; apt-get update may help"))?;
    let file = downloaded(at)?;
    let tree = TempDir::with_prefix("bunraku-debian-")?;
    tools::run(Command::new("dpkg-deb").arg("-x").arg(file).arg(tree.path()))?;
    Ok(tree)
}

/// With sources, lists and cache of its own the machine's are neither read nor changed.
fn apt(at: &Path, own: bool) -> Command {
    let mut command = Command::new("apt-get");
    command.args(["-q", "-o", "APT::Sandbox::User=root"]);
    if own {
        for (option, value) in [
            ("Dir::Etc::sourceparts", at.join("sources")),
            ("Dir::State::lists", at.join("lists")),
            ("Dir::Cache", at.join("cache")),
        ] {
            command.arg("-o").arg(format!("{option}={}", value.display()));
        }
        command.args(["-o", "Dir::Etc::sourcelist=/dev/null", "-o", "Acquire::Languages=none"]);
    }
    command
}

fn downloaded(at: &Path) -> Result<PathBuf> {
    let mut files = fs::read_dir(at)?.filter_map(|entry| Some(entry.ok()?.path()));
    files.find(|path| path.extension().is_some_and(|ext| ext == "deb")).context("apt-get left no package")
}
