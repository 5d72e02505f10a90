//! Stories that show what the master does; `cargo xtask demo` builds everything and runs this.
//!
//! As root each agent applies its catalog for real, on a throw-away machine of its own (a mount namespace
//! over this system) with small packages that stand in for the real ones. Otherwise agents run with
//! `--noop` and folders of their own. Either way nothing on this machine changes.

mod ground;
mod roles;
mod swap;

use std::process::ExitCode;

fn main() -> ExitCode {
    let asked = |option: &str| std::env::args().any(|argument| argument == option);
    let played = if asked("--swap") { swap::play() } else { roles::play(asked("--keep")) };
    match played {
        Ok(line) => {
            println!("\nheld: {line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("\ndid NOT hold: {error:#}");
            ExitCode::FAILURE
        }
    }
}
