//! Where an agent of the 8 line comes from on a machine whose distribution has 7.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::tools;

/// Debian 13 has Puppet 8.10; it is plain Ruby and runs on the Ruby of Debian 12.
const SOURCE: &str = "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: trixie\nComponents: main\n\
    Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n";

/// The folder that `BUNRAKU_AGENT8` names or asks for; `None` when it is not set.
pub(crate) fn folder() -> Result<Option<PathBuf>> {
    match std::env::var("BUNRAKU_AGENT8") {
        Err(_) => Ok(None),
        Ok(wish) if wish.is_empty() => Ok(None),
        Ok(wish) if wish == "debian" => debian().map(Some),
        Ok(wish) => {
            let folder = PathBuf::from(&wish);
            ensure!(
                folder.join("bin/puppet").is_file(),
                "BUNRAKU_AGENT8={wish}: there is no bin/puppet in it"
            );
            Ok(Some(folder.canonicalize()?))
        }
    }
}

/// Fetches the package once and unpacks it under the target folder.
fn debian() -> Result<PathBuf> {
    let kept = crate::target_folder()?.join("agent8");
    if kept.join("bin/puppet").is_file() {
        return Ok(kept);
    }
    let work = tempfile::TempDir::with_prefix("bunraku-agent8-")?;
    let at = work.path();
    for folder in ["sources", "lists/partial", "cache/archives/partial", "tree"] {
        fs::create_dir_all(at.join(folder))?;
    }
    fs::write(at.join("sources/trixie.sources"), SOURCE)?;
    tools::run(apt(at).arg("update")).context("cannot reach Debian's packages for agent 8")?;
    tools::run(apt(at).args(["download", "puppet-agent"]).current_dir(at))?;
    let package = fs::read_dir(at)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|ext| ext == "deb"))
        .context("apt-get download left no package")?;
    tools::run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(at.join("tree")))?;
    let ready = crate::target_folder()?.join(format!("agent8.{}", std::process::id()));
    fs::create_dir_all(ready.join("bin"))?;
    tools::run(Command::new("cp").args(["-a"]).arg(at.join("tree/usr")).arg(ready.join("usr")))?;
    fs::copy(at.join("tree/usr/bin/puppet"), ready.join("bin/puppet"))?;
    fs::set_permissions(ready.join("bin/puppet"), fs::Permissions::from_mode(0o755))?;
    symlink("usr/lib/ruby/vendor_ruby", ready.join("lib"))?;
    // By rename: a half made folder is never taken for the agent. A loser of a race keeps the winner's.
    if fs::rename(&ready, &kept).is_err() {
        fs::remove_dir_all(&ready)?;
    }
    ensure!(kept.join("bin/puppet").is_file(), "the puppet-agent package holds no /usr/bin/puppet");
    Ok(kept)
}

/// An apt-get with sources, lists and cache of its own: the machine's are neither read nor changed.
fn apt(at: &Path) -> Command {
    let mut command = Command::new("apt-get");
    for (option, value) in [
        ("Dir::Etc::sourceparts", at.join("sources")),
        ("Dir::State::lists", at.join("lists")),
        ("Dir::Cache", at.join("cache")),
    ] {
        command.arg("-o").arg(format!("{option}={}", value.display()));
    }
    command.args(["-q", "-o", "Dir::Etc::sourcelist=/dev/null", "-o", "Acquire::Languages=none"]);
    command.args(["-o", "APT::Sandbox::User=root"]);
    command
}
