//! `cargo xtask bench`: figures as ratios against a baseline of the same run, in release.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use clap::ValueEnum;

use crate::{needs, plugins, shell};

/// What can be measured.
#[derive(Clone, Copy, ValueEnum)]
pub enum What {
    /// One approver call in a fresh instance, beside the bare Wasmtime.
    Calls,
    /// The compilation of a worker's catalog, without its plugins.
    Catalog,
    /// From request to certificate, beside the bare key; and a CA of 100,000 certificates.
    Ca,
    /// What healthy clients notice of each guest in `tests/guests`.
    Hostile,
    /// Enrolments and catalogs while the plugins are swapped a thousand times.
    Swap,
}

/// Builds and runs one benchmark.
pub fn run(root: &Path, what: What) -> Result<()> {
    plugins::build(root)?;
    let mut bench = Command::new("cargo");
    bench.current_dir(root);
    match what {
        What::Ca | What::Swap => {
            needs::ensure(needs::CRASH)?;
            let build = ["build", "--release", "--locked", "--bins", "--package"];
            shell::run(bench.args(build).args(["bunraku", "--package", "bunraku-tests"]))?;
            let built = shell::target(root).join("release");
            let program = if matches!(what, What::Ca) { "bench-ca" } else { "bench-swap" };
            bench = Command::new(built.join(program));
            bench.env("BUNRAKU_BIN", built.join("bunraku"));
            &mut bench
        }
        What::Calls => example(&mut bench, "calls").arg(root.join("target/plugins/s3-registry.wasm")),
        What::Hostile => example(&mut bench, "hostile").arg(root.join("target/plugins/hostile")),
        What::Catalog => bench.args(["bench", "--quiet", "--locked", "--package", "bunraku-catalog"]),
    };
    shell::run(&mut bench)
}

/// An example of the sandbox's.
fn example<'a>(bench: &'a mut Command, name: &str) -> &'a mut Command {
    bench.args(["run", "--release", "--locked", "--package", "bunraku-sandbox", "--example", name, "--"])
}
