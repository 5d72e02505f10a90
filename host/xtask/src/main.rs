//! What a developer runs: `cargo xtask SUBCOMMAND`. Nothing here is part of the product.

mod bench;
mod demo;
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
    },
    /// Run every check and every test.
    Test,
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
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("no workspace around xtask")?;
    match Arguments::parse().task {
        Task::Plugins => plugins::build(root).map(drop),
        Task::Build => build(root),
        Task::Demo { keep } => demo::run(root, keep),
        Task::Test => tests::run(root),
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
