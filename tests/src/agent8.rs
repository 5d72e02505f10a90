//! Where an agent of the 8 line comes from on a machine whose distribution has 7.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::{debian, target_folder, tools};

/// The folder that `BUNRAKU_AGENT8` names or asks for; `None` when it is not set.
pub(crate) fn folder() -> Result<Option<PathBuf>> {
    match std::env::var("BUNRAKU_AGENT8") {
        Err(_) => Ok(None),
        Ok(wish) if wish.is_empty() => Ok(None),
        Ok(wish) if wish == "debian" => from_debian().map(Some),
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

/// Debian 13 has Puppet 8.10; it is plain Ruby and runs on the Ruby of Debian 12. Fetched once and kept.
fn from_debian() -> Result<PathBuf> {
    let kept = target_folder()?.join("agent8");
    if kept.join("bin/puppet").is_file() {
        return Ok(kept);
    }
    let tree = debian::unpack("puppet-agent", Some(debian::TRIXIE))?;
    let ready = target_folder()?.join(format!("agent8.{}", std::process::id()));
    fs::create_dir(&ready)?;
    tools::run(Command::new("cp").arg("-a").arg(tree.path().join("usr")).arg(&ready))?;
    symlink("usr/bin", ready.join("bin"))?;
    symlink("usr/lib/ruby/vendor_ruby", ready.join("lib"))?;
    // By rename: a half made folder is never taken for the agent. The loser of a race keeps the winner's.
    if fs::rename(&ready, &kept).is_err() {
        fs::remove_dir_all(&ready)?;
    }
    ensure!(kept.join("bin/puppet").is_file(), "the puppet-agent package holds no /usr/bin/puppet");
    Ok(kept)
}
