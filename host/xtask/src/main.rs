//! What a developer runs: `cargo xtask SUBCOMMAND`. Nothing here is part of the product.

mod plugins;
mod wasm;

use std::path::Path;

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
}

fn main() -> Result<()> {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("no workspace around xtask")?;
    match Arguments::parse().task {
        Task::Plugins => plugins::build(root).map(drop),
    }
}
