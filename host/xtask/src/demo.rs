//! `cargo xtask demo`: builds what the demo needs and plays it. The stories themselves are in `tests/src/bin/demo/`.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::{needs, plugins, shell, tests};

/// Plays a story with those of its options that are set.
pub fn run(root: &Path, options: &[(&str, bool)]) -> Result<()> {
    needs::ensure(needs::demo())?;
    println!("building the plugins, the master and the demo (the first time takes some minutes)");
    plugins::build(root)?;
    // With the features of the whole workspace, as the tests build it: nothing is built twice.
    let build = [&["build", "--quiet", "--locked", "--bins"], tests::NATIVE].concat();
    shell::run(Command::new("cargo").args(build).current_dir(root))?;
    let log = shell::target(root).join("demo.log");
    println!("playing the demo; what the master and the agents log is in {}\n", log.display());
    let built = shell::target(root).join("debug");
    let mut demo = Command::new(built.join("demo"));
    demo.env("BUNRAKU_BIN", built.join("bunraku"))
        .args(options.iter().filter(|(_, set)| *set).map(|(name, _)| name))
        .stderr(File::create(&log)?);
    shell::run(&mut demo)
}
