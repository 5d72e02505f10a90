//! `cargo xtask test`: everything that must hold, in the order in which it
//! fails fastest.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::{crash, fuzz, house, needs, plugins, shell};

/// What is built for this machine: all but the guests that are nothing but exports, which no native linker takes.
pub const NATIVE: &[&str] = &["--workspace", "--exclude", "hostile-guests"];

/// What a run of the tests came to.
#[derive(Default)]
struct Count {
    passed: u32,
    failed: u32,
    ignored: u32,
}

/// The parts of a run, and how long each took.
struct Steps {
    began: Instant,
    done: Vec<(&'static str, Duration)>,
}

impl Steps {
    fn run<T>(&mut self, name: &'static str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("\n== {name} ({:.0?} so far)", self.began.elapsed());
        let began = Instant::now();
        let result = step();
        self.done.push((name, began.elapsed()));
        result
    }
}

/// Runs what must hold; with `all` the parts that take minutes too.
pub fn run(root: &Path, all: bool) -> Result<()> {
    let mut steps = Steps { began: Instant::now(), done: Vec::new() };
    let result = every_step(root, all, &mut steps);
    println!("\nwhat took how long:");
    for (name, took) in &steps.done {
        println!("  {:>6.0?}  {name}", took);
    }
    println!("  {:>6.0?}  all of it", steps.began.elapsed());
    result?;
    println!("all held");
    Ok(())
}

fn every_step(root: &Path, all: bool, steps: &mut Steps) -> Result<()> {
    steps.run("the house", || {
        house::check(root)?;
        shell::run(Command::new("cargo").args(["fmt", "--all", "--check"]).current_dir(root))
    })?;
    steps.run("programs that the tests use", || needs::ensure(&needs::tests()))?;
    steps.run("plugins", || plugins::build(root))?;
    steps.run("lints", || {
        let lints = ["clippy", "--quiet", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
        shell::run(Command::new("cargo").args(lints).current_dir(root))
    })?;
    steps.run("the program and the tests", || {
        // All of it in one go, with the features that the tests have: nothing is built twice.
        let program = [&["build", "--quiet", "--locked", "--all-targets"], NATIVE].concat();
        shell::run(Command::new("cargo").args(program).current_dir(root))
    })?;
    let count = steps.run("running the tests", || tests(root))?;
    println!("\ntests: {} passed, {} failed, {} ignored", count.passed, count.failed, count.ignored);
    ensure!(count.failed == 0, "{} tests failed", count.failed);
    if all {
        steps.run("killing a CA", || crash::play(root, crash::ROUNDS, None))?;
        steps.run("fuzzing", || fuzz::run(root, fuzz::SECONDS, &[]))?;
    }
    Ok(())
}

/// Runs every test of the workspace, shows the output as it comes, and adds up
/// what each test program says of itself.
fn tests(root: &Path) -> Result<Count> {
    let mut child = Command::new("cargo")
        .args(["test", "--quiet", "--locked", "--no-fail-fast"])
        .args(NATIVE)
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo test")?;
    let mut count = Count::default();
    for line in BufReader::new(child.stdout.take().context("no output")?).lines() {
        let line = line?;
        println!("{line}");
        if let Some(result) = line.strip_prefix("test result: ") {
            count.passed += number(result, " passed");
            count.failed += number(result, " failed");
            count.ignored += number(result, " ignored");
        }
    }
    let status = child.wait()?;
    if !status.success() && count.failed == 0 {
        count.failed = 1;
    }
    Ok(count)
}

/// The number in front of a word.
fn number(text: &str, word: &str) -> u32 {
    text.split([';', '.']).find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod reading {
    use super::number;

    #[test]
    fn a_test_programs_own_count_is_read() {
        let line = "ok. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!([" passed", " failed", " ignored"].map(|word| number(line, word)), [12, 3, 1]);
    }
}
