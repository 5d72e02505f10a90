//! The program: arguments, configuration, wiring, signals and exit codes.
//!
//! It decides nothing; see `master` for the use cases.

mod arguments;
mod ca;
mod call;
mod config;
mod csr;
mod embedded;
mod explain;
mod fetch;
mod led;
mod node;
mod plugin;
mod print;
mod registry;
mod reload;
mod serve;
mod setup;
mod watch;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};
use setup::Failure;

fn main() -> ExitCode {
    let arguments = Arguments::parse_from(named_call(std::env::args_os().collect()));
    if let Command::Signer = arguments.command {
        // A process for this alone: one thread, no runtime, nothing of the configuration.
        return signer();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("bunraku: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let common = arguments.common;
    let done = runtime.block_on(async {
        match arguments.command {
            Command::Serve => serve::run(&common).await,
            Command::Registry(command) => registry::run(&common, command).await,
            Command::Csr(command) => csr::run(&common, command).await,
            Command::Node(command) => node::run(&common, command).await,
            Command::Explain(command) => explain::run(&common, command).await,
            Command::Ca(command) => ca::run(&common, *command).await,
            Command::Plugin(command) => plugin::run(&common, *command).await,
            Command::Signer => Ok(()),
        }
    });
    // A plugin or a blocking read may still be at it; nobody waits for it.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, message }) => {
            if !message.is_empty() {
                eprintln!("bunraku: {message}");
            }
            ExitCode::from(code)
        }
    }
}

fn signer() -> ExitCode {
    match signer::run_child() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bunraku signer: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A puppetserver calls its policies by a program's path alone, so links named
/// as in the original system stand for a command.
fn named_call(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let called = arguments.first().map(Path::new).and_then(Path::file_name).and_then(|n| n.to_str());
    let command = match called {
        Some("check_csr") => ["csr", "check"],
        Some("node_classifier") => ["node", "classify"],
        _ => return arguments,
    };
    arguments.splice(1..1, command.map(OsString::from));
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn links_named_as_the_originals_stand_for_commands() {
        let called = |path: &str| named_call(vec![path.into(), "web1".into()]);
        assert_eq!(called("/usr/bin/check_csr"), ["/usr/bin/check_csr", "csr", "check", "web1"]);
        assert_eq!(called("node_classifier"), ["node_classifier", "node", "classify", "web1"]);
        assert_eq!(called("bunraku"), ["bunraku", "web1"]);
    }
}
