//! The command line of `bunraku plugin`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::arguments::{Online, Output};
use rollout::parse_duration;

/// What every command's help ends with, after its example.
macro_rules! help {
    ($example:literal) => {
        concat!(
            "Example:\n",
            $example,
            "\n\nExit codes: 0 done, 1 refused or the daemon does not answer, ",
            "2 wrong arguments or configuration."
        )
    };
}

/// The plugins that decide.
#[derive(Debug, Subcommand)]
pub enum Plugin {
    /// Say which set decides, which one answers in its shadow, and which could be swapped in
    #[command(after_help = help!("  bunraku plugin list\n  bunraku plugin list --json | jq -r '.live.plugins[].digest'"))]
    List {
        /// Where the daemon is.
        #[command(flatten)]
        online: Online,
    },
    /// Hold what a plugin wants and could reach against what it is granted
    #[command(
        after_help = help!("  bunraku plugin inspect s3-registry\n  bunraku plugin inspect --set 44aa02")
    )]
    Inspect {
        /// Only the plugin of this name.
        name: Option<String>,
        /// Of this set, by the start of its id [default: the live one]
        #[arg(long, value_name = "SET")]
        set: Option<String>,
        /// Where the daemon is.
        #[command(flatten)]
        online: Online,
    },
    /// Say everything that would keep a component from going live; needs no daemon
    ///
    /// The component is checked as the configured plugin that goes by its name: with that one's
    /// settings, grants and signing keys. Without FILE, all of the configuration is.
    #[command(
        after_help = "Example:\n  bunraku plugin check policy.wasm --settings policy.toml\n\nExit codes: 0 nothing is wrong, 1 something is, 2 wrong arguments or configuration."
    )]
    Check {
        /// The component; its signature, if it has one, is in FILE.sig.
        file: Option<PathBuf>,
        /// Check it as the configured plugin of this name.
        #[arg(long = "as", value_name = "NAME", requires = "file")]
        name: Option<String>,
        /// Other settings, in TOML or JSON.
        #[arg(long, value_name = "FILE", requires = "file")]
        settings: Option<PathBuf>,
        /// How it is printed.
        #[command(flatten)]
        output: Output,
    },
    /// Decide again what was decided, with another component, and say what it decides otherwise
    ///
    /// It reads the journal of the master in this state directory, which may be running, and changes
    /// nothing: each plugin is told what was told then.
    #[command(
        after_help = "Example:\n  bunraku plugin replay policy.wasm --since 7d --fail-on-flip\n  bunraku plugin replay policy.wasm --as policy --settings policy.toml --json | jq .nodes\n\nExit codes: 0 done, 1 it could not be, or with --fail-on-flip something is decided otherwise, 2 wrong arguments or configuration."
    )]
    Replay(Again),
    /// Make a set ready to go live, and change nothing else
    ///
    /// With FILE, the live set with that component in the place of one plugin; without, what the
    /// daemon's configuration says now.
    #[command(
        after_help = help!("  bunraku plugin stage policy.wasm --as policy --settings policy.toml\n  bunraku plugin stage")
    )]
    Stage {
        /// What is staged.
        #[command(flatten)]
        candidate: Candidate,
        /// Where the daemon is.
        #[command(flatten)]
        online: Online,
    },
    /// Have a staged set answer beside the live one; without SET, say how that goes
    ///
    /// What it answers is compared and never acted on.
    #[command(
        after_help = help!("  bunraku plugin shadow 44aa02\n  bunraku plugin shadow\n  bunraku plugin shadow --end")
    )]
    Shadow {
        /// The set, by the start of its id.
        set: Option<String>,
        /// End it.
        #[arg(long, conflicts_with = "set")]
        end: bool,
        /// Where the daemon is.
        #[command(flatten)]
        online: Online,
    },
    /// Put the set in shadow in force
    #[command(after_help = help!("  bunraku plugin promote"))]
    Promote {
        /// Only if it is this one, by the start of its id.
        set: Option<String>,
        /// Even if it would approve a stranger's request.
        #[arg(long)]
        force: bool,
        /// Where the daemon is.
        #[command(flatten)]
        online: Online,
    },
    /// Put another set in force, for every request that comes from then on
    ///
    /// With FILE, the live set with that component in the place of one plugin; with --set, one that is
    /// staged; with neither, what the daemon's configuration says now. One that fails too often is
    /// rolled back by itself.
    #[command(
        after_help = help!("  bunraku plugin swap policy.wasm --replay 7d --fail-on-flip\n  bunraku plugin swap --set 44aa02\n  bunraku plugin swap")
    )]
    Swap {
        /// What is staged and swapped in.
        #[command(flatten)]
        candidate: Candidate,
        /// A set that is staged, by the start of its id.
        #[arg(long, value_name = "SET", conflicts_with = "file")]
        set: Option<String>,
        /// Even if it would approve a stranger's request.
        #[arg(long)]
        force: bool,
        /// First ask it again what was decided in this time, and say what it decides otherwise.
        #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "file", conflicts_with_all = ["server", "set"])]
        replay: Option<Duration>,
        /// Do not swap if it decides anything otherwise.
        #[arg(long, requires = "replay")]
        fail_on_flip: bool,
        /// Where the daemon is.
        #[command(flatten)]
        online: Online,
    },
    /// Put an earlier set in force, the one before the live one unless told otherwise
    #[command(after_help = help!("  bunraku plugin rollback --reason 'web nodes wait'"))]
    Rollback {
        /// The set, by the start of its id.
        #[arg(long, value_name = "SET")]
        to: Option<String>,
        /// Why, for the history.
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
        /// Where the daemon is.
        #[command(flatten)]
        online: Online,
    },
    /// Say what went live when, by whom, and from where; the newest last
    #[command(after_help = help!("  bunraku plugin history --limit 100"))]
    History {
        /// How many events.
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Where the daemon is.
        #[command(flatten)]
        online: Online,
    },
}

/// What is decided again, and with what.
#[derive(Args, Clone, Debug, Default)]
pub struct Again {
    /// The component.
    pub file: PathBuf,
    /// The plugin of the live set whose place it takes [default: the one that goes by the component's own name]
    #[arg(long = "as", value_name = "NAME")]
    pub name: Option<String>,
    /// Its settings, in TOML or JSON [default: those of the plugin whose place it takes]
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// Only what was decided in this time, such as 7d [default: all that the journal has]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub since: Option<Duration>,
    /// Ask the registry and other services for what nobody asked then
    #[arg(long)]
    pub live: bool,
    /// Exit with 1 if anything is decided otherwise
    #[arg(long)]
    pub fail_on_flip: bool,
    /// How it is printed.
    #[command(flatten)]
    pub output: Output,
}

/// A set that is yet to be staged.
#[derive(Args, Clone, Debug)]
pub struct Candidate {
    /// A component.
    pub file: Option<PathBuf>,
    /// The plugin whose place it takes [default: the one that goes by the component's own name]
    #[arg(long = "as", value_name = "NAME", requires = "file")]
    pub name: Option<String>,
    /// Its settings, in TOML or JSON [default: those of the plugin whose place it takes]
    #[arg(long, value_name = "FILE", requires = "file")]
    pub settings: Option<PathBuf>,
    /// Its signature, raw or in Base64 [default: FILE.sig, if it is there]
    #[arg(long, value_name = "FILE", requires = "file")]
    pub signature: Option<PathBuf>,
}
