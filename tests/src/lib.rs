//! The end-to-end test bed: real agents, throw-away machines, stand-in packages, a master as a child, S3.
//!
//! It drives the finished program from outside and never links the master's crates: what it knows of bunraku
//! is its command line, its config file and its wire. For the parts themselves look at the tests in each crate
//! of `host/`; for hostile plugins at `tests/guests`.
//!
//! Everything that a test starts is ended by its process id, also when the test panics.

pub mod agent;
mod agent8;
pub mod authority;
pub mod debian;
pub mod hadoop;
pub mod loopback;
pub mod machine;
pub mod master;
pub mod network;
pub mod openssl;
pub mod packages;
pub mod plugins;
pub mod puppetserver;
pub mod reference;
pub mod request;
pub mod s3;
pub mod tools;
pub mod wire;

use std::path::PathBuf;

use anyhow::{Context, Result};

/// The folder that cargo builds into, found from this test's own program.
///
/// # Errors
/// When the program does not lie in one.
pub fn target_folder() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    // <target>/<profile>/deps/<test>
    let folder = program.ancestors().nth(3).context("the test's program lies in no target folder")?;
    Ok(folder.to_path_buf())
}
