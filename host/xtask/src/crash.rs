//! `cargo xtask crash`: builds what the crash rounds need and runs them. What a round is stands in
//! `tests/src/bin/crash.rs`.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::{needs, plugins, shell, tests};

/// Rounds of a run for which nobody says another number.
pub const ROUNDS: u32 = 20;

/// Kills a CA as often; with the same seed, at the same moments.
pub fn run(root: &Path, rounds: u32, seed: Option<u64>) -> Result<()> {
    needs::ensure(needs::CRASH)?;
    plugins::build(root)?;
    // With the features of the whole workspace, as the tests build it: nothing is built twice.
    let build = [&["build", "--quiet", "--locked", "--bins"], tests::NATIVE].concat();
    shell::run(Command::new("cargo").args(build).current_dir(root))?;
    play(root, rounds, seed)
}

/// As [`run`], with what is built already.
pub fn play(root: &Path, rounds: u32, seed: Option<u64>) -> Result<()> {
    let built = shell::target(root).join("debug");
    let mut crash = Command::new(built.join("crash"));
    crash.env("BUNRAKU_BIN", built.join("bunraku")).args(["--rounds", &rounds.to_string()]);
    if let Some(seed) = seed {
        crash.args(["--seed", &seed.to_string()]);
    }
    let log = shell::target(root).join("crash.log");
    println!("what the daemons log is in {}", log.display());
    shell::run(crash.stderr(File::create(&log)?))
}
