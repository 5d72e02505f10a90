//! The command line.

use std::path::PathBuf;

use clap::builder::Resettable;
use clap::{Args, Parser, Subcommand};

use crate::ca::arguments::Ca;
use crate::config::ca::Address;
use crate::explain::Explain;
use crate::plugin::arguments::Plugin;

/// A Puppet-compatible master whose decisions are made by sandboxed plugins.
///
/// Without a configuration file it runs on embedded defaults, with everything
/// it keeps in one state directory.
#[derive(Debug, Parser)]
#[command(
    name = "bunraku",
    version,
    after_help = "Example:\n  bunraku registry put web1.example.test node.yaml\n  bunraku serve\n  puppet agent --test --server $(hostname) --waitforcert 5"
)]
pub struct Arguments {
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// The configuration file [default: /etc/bunraku/bunraku.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE", env = "BUNRAKU_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where keys, certificates and the database live, unless the configuration
    /// says so [default: /var/lib/bunraku for root, else ~/.local/state/bunraku]
    #[arg(long, global = true, value_name = "DIR", env = "BUNRAKU_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// What is logged on standard error: error, warn, info, debug, trace, or a
    /// filter such as `info,plugin=debug`
    #[arg(long, global = true, value_name = "LEVEL", env = "BUNRAKU_LOG")]
    pub log_level: Option<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the master until SIGTERM; SIGHUP reloads the plugins
    #[command(
        after_help = "Example:\n  bunraku serve --config /etc/bunraku/bunraku.toml\n\nExit codes: 0 after SIGTERM, 1 if it could not start or broke, 2 if the configuration is wrong."
    )]
    Serve,
    /// Node definitions in the registry
    #[command(subcommand)]
    Registry(Registry),
    /// Certificate requests
    #[command(subcommand)]
    Csr(Csr),
    /// What nodes are
    #[command(subcommand)]
    Node(Node),
    /// Say why a node was signed or not, is what it is, and got what it got.
    ///
    /// It reads the journal of the master in this state directory, which may be running, and asks nobody.
    #[command(
        after_help = "Example:\n  bunraku explain web1.example.test\n  bunraku explain web1.example.test --decision 6f1d0c --json\n\nExit codes: 0, 1 if the journal knows nothing of it."
    )]
    Explain(Explain),
    /// The certificate authority: who waits, who has a certificate, and the CA itself
    #[command(
        subcommand,
        after_help = "Example:\n  bunraku ca list\n  bunraku ca sign web1.example.test\n\nlist, sign, revoke, clean, generate, prune, delete, renew, crl and masters ask a running CA: the daemon of this configuration as root or as its user, or with --server one on another machine. setup, import, restore and renew --ca want it stopped; export, backup and verify do not care."
    )]
    Ca(Box<Ca>),
    /// The plugins that decide: which are live, what each may reach, and putting others in force
    #[command(
        subcommand,
        after_help = "Example:\n  bunraku plugin list\n  bunraku plugin swap policy.wasm --replay 7d --fail-on-flip\n\nAll but check and replay ask a running daemon: the one of this configuration as root or as its user, or with --server one on another machine."
    )]
    Plugin(Box<Plugin>),
    /// Holds the CA's key and signs with it; started by `serve`
    #[command(hide = true)]
    Signer,
}

/// Node definitions in the registry.
#[derive(Debug, Subcommand)]
pub enum Registry {
    /// Register a node with its definition: YAML as an external node classifier prints it
    #[command(after_help = "Example:\n  echo 'classes: [hadoop::worker]' | bunraku registry put 3f0c…d1")]
    Put {
        /// The node's certificate name.
        certname: String,
        /// The definition's file; `-` or nothing is standard input.
        file: Option<PathBuf>,
        /// Fail if the node is registered already.
        #[arg(long)]
        new: bool,
    },
    /// Print a node's definition as it is stored
    #[command(after_help = "Example:\n  bunraku registry get 3f0c…d1")]
    Get {
        /// The node's certificate name.
        certname: String,
    },
    /// List the registered nodes
    #[command(after_help = "Example:\n  bunraku registry list --json | jq -r '.[].certname'")]
    List {
        /// Only names that begin so.
        #[arg(default_value = "")]
        prefix: String,
        /// Print a JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Remove a node's definition
    #[command(after_help = "Example:\n  bunraku registry rm 3f0c…d1")]
    Rm {
        /// The node's certificate name.
        certname: String,
    },
}

/// Certificate requests.
#[derive(Debug, Subcommand)]
pub enum Csr {
    /// Say which requests wait and what the plugins decide on each, and why.
    ///
    /// Nothing is signed. With a CERTNAME, one request is read from standard
    /// input as PEM instead; that is how a puppetserver calls its `autosign`
    /// policy, and a link named `check_csr` to this program is one.
    #[command(
        after_help = "Example:\n  bunraku csr check --log-level=debug\n\nExit codes: 0 (with a CERTNAME: only for an approve), 1 if something could not be decided."
    )]
    Check {
        /// Decide on one request of this name, read from standard input.
        certname: Option<String>,
        /// Print a JSON array.
        #[arg(long)]
        json: bool,
    },
}

/// What nodes are.
#[derive(Debug, Subcommand)]
pub enum Node {
    /// Print a node's classes, parameters and environment as YAML.
    ///
    /// A puppetserver's `external_nodes` may call this program through a link
    /// named `node_classifier`.
    #[command(
        after_help = "Example:\n  bunraku node classify 3f0c…d1\n\nExit codes: 0, 1 if nobody knows the node or the registry does not answer, 2 if its definition is unreadable, 3 after a timeout."
    )]
    Classify {
        /// The node's certificate name.
        certname: String,
    },
}

/// Which daemon is asked: the one on this machine over its control socket, or one
/// over the network with an administrator's certificate.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub struct Online {
    /// A daemon on another machine; else the one of the configuration, over its control socket.
    #[arg(long, value_name = "HOST[:PORT]", requires_all = ["cert", "key", "ca"])]
    pub server: Option<Address>,
    /// Your certificate, in PEM; one with pp_cli_auth, or named in ca.admins.
    #[arg(long, value_name = "FILE", requires = "server")]
    pub cert: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "server")]
    pub key: Option<PathBuf>,
    /// The CA's certificates: agents have them as ca.pem.
    #[arg(long, value_name = "FILE", requires = "server")]
    pub ca: Option<PathBuf>,
    /// How it is printed.
    #[command(flatten)]
    pub output: Output,
}

/// How a result is printed.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Output {
    /// Print JSON.
    #[arg(long, help_heading = Resettable::Reset)]
    pub json: bool,
}
