//! `cargo xtask demo`: builds what the demo needs and plays it. The story itself is `tests/src/bin/demo.rs`.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::{needs, plugins, shell, tests};

/// Plays the story. With `keep` the master goes on until Ctrl-C.
pub fn run(root: &Path, keep: bool) -> Result<()> {
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
    demo.env("BUNRAKU_BIN", built.join("bunraku")).args(keep.then_some("--keep")).stderr(File::create(&log)?);
    shell::run(&mut demo)
}
