//! `cargo xtask fuzz`: runs the targets of `tests/fuzz` under libFuzzer, guided by coverage.
//!
//! The stable compiler has what that takes: LLVM's pass for coverage, asked for by code generation flags.
//! Sanitizers it has not, and code without `unsafe` has little for them to find.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{needs, shell};

/// Seconds of each target for which nobody says another number.
pub const SECONDS: u32 = 60;

/// What coverage takes, on stable: a counter for each edge, and the operands of each comparison.
const COVERAGE: [&str; 8] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    // The tables of one code unit must not be thrown away apart from its counters.
    "-Ccodegen-units=1",
    "-Clink-dead-code",
    "-Cforce-frame-pointers",
];

/// Targets that run at a time.
const AT_ONCE: usize = 2;

/// The built binary and where the targets keep their files.
struct Fuzzer {
    binary: PathBuf,
    /// What the repository has: `tests/fuzz/corpus`.
    seeds: PathBuf,
    /// What runs on this machine found, below `target/fuzz`.
    found: PathBuf,
}

/// A target while it runs.
struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

/// Runs the targets of these names, or else all, each for so many seconds. What adds coverage is kept
/// below `target/fuzz/found`, where the next run begins.
pub fn run(root: &Path, seconds: u32, names: &[String]) -> Result<()> {
    needs::ensure(needs::FUZZ)?;
    let fuzzer = build(root)?;
    let names = targets(&fuzzer.seeds, names)?;
    println!("fuzzing {} targets for {seconds} s each, {AT_ONCE} at a time", names.len());
    let (mut executions, mut faults) = (0, Vec::new());
    for some in names.chunks(AT_ONCE) {
        let running: Vec<Running> =
            some.iter().map(|name| fuzzer.start(name, seconds)).collect::<Result<_>>()?;
        for one in running {
            let name = one.name.clone();
            match fuzzer.finish(one)? {
                Ok(count) => executions += count,
                Err(fault) => faults.push(format!("{name}: {fault}")),
            }
        }
    }
    if !faults.is_empty() {
        bail!("{} of {} targets failed:\n  {}", faults.len(), names.len(), faults.join("\n  "));
    }
    println!("fuzz: {} targets, {executions} executions, nothing found", names.len());
    Ok(())
}

fn build(root: &Path) -> Result<Fuzzer> {
    let folder = shell::target(root).join("fuzz");
    let about = shell::output("rustc", &["-vV"], root)?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    // With a target named, the flags are for it alone and not for macros and build scripts.
    shell::run(
        Command::new("cargo")
            .args(["build", "--quiet", "--locked", "--package", "bunraku-fuzz", "--features", "libfuzzer"])
            .args(["--bin", "fuzz", "--profile", "fuzz", "--target", host])
            .env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\u{1f}"))
            .env("CARGO_TARGET_DIR", &folder)
            .current_dir(root),
    )?;
    let binary = folder.join(host).join("fuzz").join("fuzz");
    Ok(Fuzzer { binary, seeds: root.join("tests/fuzz/corpus"), found: folder.join("found") })
}

/// The targets' names: the folders of the corpus, which the tests check to be complete.
fn targets(seeds: &Path, wanted: &[String]) -> Result<Vec<String>> {
    let mut known = Vec::new();
    for entry in fs::read_dir(seeds).with_context(|| seeds.display().to_string())? {
        known.push(entry?.file_name().to_string_lossy().into_owned());
    }
    known.sort();
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(name)) {
        bail!("{unknown} is no target; there are {}", known.join(", "));
    }
    Ok(if wanted.is_empty() { known } else { wanted.to_vec() })
}

impl Fuzzer {
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.env("BUNRAKU_FUZZ_TARGET", name).stdin(Stdio::null());
        command
    }

    fn start(&self, name: &str, seconds: u32) -> Result<Running> {
        let (corpus, faults) = (self.found.join(name).join("corpus"), self.found.join(name).join("faults"));
        fs::create_dir_all(&corpus)?;
        fs::create_dir_all(&faults)?;
        let log = self.found.join(name).join("log");
        let file = File::create(&log).with_context(|| log.display().to_string())?;
        let child = self
            .command(name)
            .args([&format!("-max_total_time={seconds}"), "-print_final_stats=1", "-max_len=16384"])
            .args(["-timeout=20", "-rss_limit_mb=1024"])
            .arg(format!("-artifact_prefix={}/", faults.display()))
            .arg(corpus)
            .arg(self.seeds.join(name))
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        Ok(Running { name: name.to_owned(), child, log })
    }

    /// How often it was executed, or what it found.
    fn finish(&self, mut running: Running) -> Result<Result<u64, String>> {
        let status = running.child.wait()?;
        let log = String::from_utf8_lossy(&fs::read(&running.log)?).into_owned();
        let word = |line: &str, before: &str| {
            let mut words = line.split_whitespace().skip_while(|word| *word != before);
            words.nth(1).and_then(|word| word.parse::<u64>().ok())
        };
        let coverage: Vec<u64> = log.lines().filter_map(|line| word(line, "cov:")).collect();
        let count =
            |what: &str| log.lines().find_map(|line| word(line, &format!("stat::{what}:"))).unwrap_or(0);
        let (executions, inputs) = (count("number_of_executed_units"), count("new_units_added"));
        let (from, to) = (coverage.first().copied().unwrap_or(0), coverage.last().copied().unwrap_or(0));
        println!(
            "  {:<12} {executions:>10} executions, {inputs:>5} new inputs, coverage {from} to {to}",
            running.name
        );
        if status.success() {
            // Without feedback a fuzzer only rolls dice.
            return Ok(if to > 0 { Ok(executions) } else { Err("it was built without coverage".into()) });
        }
        let unit = log.lines().find_map(|line| line.split("Test unit written to ").nth(1));
        // Where, and on the next line why.
        let said: Vec<&str> = log.lines().skip_while(|line| !line.contains("panicked at")).take(2).collect();
        let said = if said.is_empty() { "see the log".to_owned() } else { said.join(" ") };
        let place = unit.map_or_else(
            || format!("the log is {}", running.log.display()),
            |unit| {
                format!(
                    "found by {unit}\n    again: BUNRAKU_FUZZ_TARGET={} {} {unit}\n    for good: cp {unit} tests/fuzz/corpus/{}/ and cargo test -p bunraku-fuzz",
                    running.name,
                    self.binary.display(),
                    running.name
                )
            },
        );
        Ok(Err(format!("{status}, {said}\n    {place}")))
    }
}
