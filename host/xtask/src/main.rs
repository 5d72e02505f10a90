//! What a developer runs: `cargo xtask SUBCOMMAND`. Nothing here is part of the product.

mod bench;
mod crash;
mod demo;
mod fuzz;
mod house;
mod needs;
mod plugins;
mod shell;
mod tests;
mod wasm;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

/// Tasks of bunraku's workspace.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build every plugin crate to a component in target/plugins.
    ///
    /// Takes the active toolchain's wasm32-unknown-unknown, else `rustup target add`, else a private
    /// copy of Debian's compiler below target/; BUNRAKU_WASM=native|rustup|debian pins one of them.
    Plugins,
    /// Build the plugins and the program for use: target/release/bunraku.
    Build,
    /// Run the main job on embedded defaults: four real agents, from certificate request to catalog.
    ///
    /// As root, agents apply their catalogs for real on throw-away machines (namespaces over this system);
    /// otherwise they run with --noop and folders of their own. Nothing on this machine changes.
    Demo {
        /// Leave the master running until Ctrl-C.
        #[arg(long)]
        keep: bool,
        /// Instead: shadow, promote and roll back a signing policy while the master runs.
        #[arg(long, conflicts_with = "keep")]
        swap: bool,
    },
    /// Kill a CA again and again while it signs and revokes; nothing that it answered may be lost.
    ///
    /// Each round's certificates and revocation lists are checked with OpenSSL. Ends with 1 if anything was
    /// lost or is there twice, and says which seed repeats it.
    Crash {
        /// How often.
        #[arg(long, default_value_t = crash::ROUNDS)]
        rounds: u32,
        /// Decides the moments; printed by every run.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Feed everything that reads bytes of strangers with bytes that no stranger thought of.
    ///
    /// Builds tests/fuzz with coverage in target/fuzz, then runs its targets two at a time. Ends with 1 if
    /// an input shows a fault, and says how to see it again.
    Fuzz {
        /// Seconds for each target.
        #[arg(long, default_value_t = fuzz::SECONDS)]
        seconds: u32,
        /// The targets; all, if none is named.
        targets: Vec<String>,
    },
    /// Run every check and every test.
    Test {
        /// The long ones too, as CI does: crash rounds and fuzzing.
        #[arg(long)]
        all: bool,
    },
    /// Measure, each figure beside a baseline of the same run.
    Bench {
        /// What to measure.
        #[arg(value_enum)]
        what: bench::What,
    },
    /// Check that imports and files are where host/README.md says.
    House,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nfailed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    // Of this run: a target folder may be shared by several clones.
    let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let root = Path::new(&own).ancestors().nth(2).context("no workspace around xtask")?;
    match Arguments::parse().task {
        Task::Plugins => plugins::build(root).map(drop),
        Task::Build => build(root),
        Task::Demo { keep, swap } => demo::run(root, &[("--keep", keep), ("--swap", swap)]),
        Task::Crash { rounds, seed } => crash::run(root, rounds, seed),
        Task::Fuzz { seconds, targets } => fuzz::run(root, seconds, &targets),
        Task::Test { all } => tests::run(root, all),
        Task::Bench { what } => bench::run(root, what),
        Task::House => house::check(root),
    }
}

fn build(root: &Path) -> Result<()> {
    plugins::build(root)?;
    let arguments = ["build", "--release", "--locked", "--package", "bunraku"];
    shell::run(std::process::Command::new("cargo").args(arguments).current_dir(root))?;
    println!("built {}", root.join("target/release/bunraku").display());
    Ok(())
}
