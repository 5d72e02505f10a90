//! The command line of `bunraku ca`.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use pki::KeyKind;
use rollout::parse_duration;

use crate::arguments::{Online, Output};
use crate::config::ca::Address;

/// Reasons for a revocation, as RFC 5280 §5.3.1 spells them.
const REASONS: [&str; 6] = [
    "unspecified",
    "keyCompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "privilegeWithdrawn",
];

/// What every command's help ends with, after its example.
macro_rules! help {
    ($example:literal) => {
        concat!(
            "Example:\n",
            $example,
            "\n\nExit codes: 0 all done, 1 nothing done, 24 some of several failed, ",
            "2 wrong arguments or configuration."
        )
    };
}

/// The certificate authority.
#[derive(Debug, Subcommand)]
pub enum Ca {
    /// Say who waits for a certificate, and why; with --all, who has one
    #[command(after_help = help!("  bunraku ca list\n  bunraku ca list --all --json | jq -r '.signed[].name'"))]
    List {
        /// Signed and revoked certificates too.
        #[arg(long, conflicts_with = "certname")]
        all: bool,
        /// Only these names, whatever their state; 1 if one is not known.
        #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1..)]
        certname: Vec<String>,
        /// Where the CA is.
        #[command(flatten)]
        online: Online,
    },
    /// Sign requests that wait
    ///
    /// What an administrator signs may have alternative names. Where several
    /// requests of one name wait, say which one with --fingerprint.
    #[command(
        after_help = help!("  bunraku ca sign web1.example.test --ttl 90d\n  bunraku ca sign web1.example.test --fingerprint C5:D0:…\n  bunraku ca sign --all")
    )]
    Sign {
        /// Whose requests.
        #[command(flatten)]
        names: Names,
        /// Every request that waits, but those of names with several.
        #[arg(long)]
        all: bool,
        /// How long the certificates are valid [default: ca.certificate_ttl]
        #[arg(long, value_parser = parse_duration, value_name = "TIME")]
        ttl: Option<Duration>,
        /// SHA-256 of the one request meant, as `ca list` shows it.
        #[arg(long, value_name = "SHA-256", conflicts_with = "all")]
        fingerprint: Option<String>,
        /// Where the CA is.
        #[command(flatten)]
        online: Online,
    },
    /// Revoke certificates: all live ones of a name, or some by serial
    ///
    /// The name stays: it gets no new certificate until it is cleaned.
    #[command(
        after_help = help!("  bunraku ca revoke web1.example.test --reason keyCompromise\n  bunraku ca revoke --serial 0x4A3F…")
    )]
    Revoke {
        /// Whose certificates.
        #[command(flatten)]
        names: Names,
        /// Serial numbers in hexadecimal; known to this CA or not.
        #[arg(long, value_name = "SERIAL", value_delimiter = ',', num_args = 1..)]
        serial: Vec<String>,
        /// Why; a key revoked for one of the first, the second or the last is never certified again
        /// [default: keyCompromise, as Puppet's]
        #[arg(long, value_parser = PossibleValuesParser::new(REASONS))]
        reason: Option<String>,
        /// Where the CA is.
        #[command(flatten)]
        online: Online,
    },
    /// Revoke a name's certificates and forget its requests: the name is free again
    #[command(after_help = help!("  bunraku ca clean web1.example.test web2.example.test"))]
    Clean {
        /// Whose certificates and requests.
        #[command(flatten)]
        names: Names,
        /// Where the CA is.
        #[command(flatten)]
        online: Online,
    },
    /// Make keys here and have certificates signed for them
    ///
    /// The key never leaves this machine. Writes DIR/NAME_key.pem (mode 0600),
    /// DIR/NAME_crt.pem and DIR/ca_crt.pem, and replaces no key.
    #[command(
        after_help = help!("  bunraku ca generate admin.example.test --admin --out ~/ca\n  bunraku ca list --server ca.example.test --cert ~/ca/admin.example.test_crt.pem \\\n      --key ~/ca/admin.example.test_key.pem --ca ~/ca/ca_crt.pem")
    )]
    Generate {
        /// Who they are for.
        #[command(flatten)]
        names: Names,
        /// Other names of each.
        #[arg(long, value_name = "NAME", value_delimiter = ',', alias = "subject-alt-names")]
        dns_alt_names: Vec<String>,
        /// May administer the CA over the network (`pp_cli_auth`).
        #[arg(long, alias = "ca-client")]
        admin: bool,
        /// How long the certificates are valid [default: ca.certificate_ttl]
        #[arg(long, value_parser = parse_duration, value_name = "TIME")]
        ttl: Option<Duration>,
        /// ec-p256, ec-p384, rsa-2048, rsa-3072 or rsa-4096.
        #[arg(long, value_name = "KIND", default_value_t)]
        key_kind: KeyKind,
        /// The folder they are written to.
        #[arg(long, value_name = "DIR", default_value = ".")]
        out: PathBuf,
        /// Where the CA is.
        #[command(flatten)]
        online: Online,
    },
    /// Forget names whose certificates have expired, and sign a list without those
    #[command(after_help = help!("  bunraku ca prune"))]
    Prune {
        /// Where the CA is.
        #[command(flatten)]
        online: Online,
    },
    /// Reject requests, and take ended certificates off the list
    ///
    /// A NAME's requests are dropped; where none waits, its revoked or expired
    /// certificate leaves the list and the name is free again. A certificate in
    /// force is never hidden: `clean` revokes it first.
    #[command(after_help = help!("  bunraku ca delete stranger.example.test\n  bunraku ca delete --expired --revoked"))]
    Delete {
        /// Whose requests or ended certificates.
        #[command(flatten)]
        names: Names,
        /// SHA-256 of the one request meant, as `ca list` shows it.
        #[arg(long, value_name = "SHA-256")]
        fingerprint: Option<String>,
        /// Every name whose certificate has expired.
        #[arg(long)]
        expired: bool,
        /// Every name whose certificate is revoked.
        #[arg(long)]
        revoked: bool,
        /// Where the CA is.
        #[command(flatten)]
        online: Online,
    },
    /// Give names a new certificate for the same key; with --ca, the CA itself (offline)
    ///
    /// Agents 8 renew by themselves; others fetch the new one with `puppet ssl
    /// download_cert`. With --ca, a self-signed CA gets a new certificate for
    /// its key and name; hand the new bundle to agents before the old one ends.
    #[command(after_help = help!("  bunraku ca renew web1.example.test\n  bunraku ca renew --ca"))]
    Renew {
        /// Whose certificates.
        #[command(flatten)]
        names: Names,
        /// Alone: the CA's own certificate, and no daemon may run. With --server: as for other commands.
        #[arg(long, value_name = "FILE", num_args = 0..=1)]
        ca: Option<Option<PathBuf>>,
        /// A CA on another machine; else the daemon of the configuration, over its control socket.
        #[arg(long, value_name = "HOST[:PORT]", requires_all = ["cert", "key", "ca"])]
        server: Option<Address>,
        /// Your certificate, in PEM.
        #[arg(long, value_name = "FILE", requires = "server")]
        cert: Option<PathBuf>,
        /// Its key.
        #[arg(long, value_name = "FILE", requires = "server")]
        key: Option<PathBuf>,
        /// How it is printed.
        #[command(flatten)]
        output: Output,
    },
    /// Show the revocation lists; sign a new one; take ancestors' newer ones
    #[command(after_help = help!("  bunraku ca crl\n  bunraku ca crl --publish\n  bunraku ca crl --install root_crl.pem"))]
    Crl {
        /// Sign a new list now.
        #[arg(long, conflicts_with = "install")]
        publish: bool,
        /// Lists of the CAs above this one, in PEM.
        #[arg(long, value_name = "FILE", num_args = 1..)]
        install: Vec<PathBuf>,
        /// Where the CA is.
        #[command(flatten)]
        online: Online,
    },
    /// Make the CA before its first start, or have it signed by another one (offline)
    ///
    /// Without --csr and --chain, a CA that signs itself. For a CA under an
    /// external root: first --csr, then bring back its chain and lists.
    #[command(
        after_help = help!("  bunraku ca setup --key-kind rsa-4096\n  bunraku ca setup --csr ca.csr\n  bunraku ca setup --chain chain.pem --crl crls.pem")
    )]
    Setup {
        /// The CA's common name [default: ca.name]
        #[arg(long)]
        name: Option<String>,
        /// ec-p256, ec-p384, rsa-2048, rsa-3072 or rsa-4096 [default: ca.key]
        #[arg(long, value_name = "KIND", alias = "key")]
        key_kind: Option<KeyKind>,
        /// Make the key, and write a request for another CA to this file.
        #[arg(long, value_name = "FILE", conflicts_with = "chain")]
        csr: Option<PathBuf>,
        /// The certificate for that request and those above it up to the root, this CA's first.
        #[arg(long, value_name = "FILE", requires = "crl", conflicts_with_all = ["name", "key_kind"])]
        chain: Option<PathBuf>,
        /// The revocation lists of the CAs above this one.
        #[arg(long, value_name = "FILE", requires = "chain")]
        crl: Option<PathBuf>,
        /// How it is printed.
        #[command(flatten)]
        output: Output,
    },
    /// Take over the CA folder of a puppetserver (offline)
    ///
    /// Every row that cannot be taken is named and left out; the exit code is 24
    /// then. The folder is not changed. Cut short, it can be done again.
    #[command(after_help = help!("  bunraku ca import /etc/puppetlabs/puppetserver/ca"))]
    Import {
        /// The folder of ca_crt.pem and inventory.txt.
        dir: PathBuf,
        /// How it is printed.
        #[command(flatten)]
        output: Output,
    },
    /// Write the CA as a puppetserver's CA folder (offline, reads only)
    #[command(after_help = help!("  bunraku ca export /root/puppet-ca"))]
    Export {
        /// A folder that is empty or not there.
        dir: PathBuf,
        /// How it is printed.
        #[command(flatten)]
        output: Output,
    },
    /// Write the whole CA to one file of mode 0600, also while it runs
    ///
    /// It holds the CA's key as it is on the disk: keep it as safe.
    #[command(after_help = help!("  bunraku ca backup /backup/ca-$(date +%F).tar"))]
    Backup {
        /// The file; it must not be there.
        file: PathBuf,
        /// How it is printed.
        #[command(flatten)]
        output: Output,
    },
    /// Bring a backup back (offline)
    ///
    /// Certificates signed after the backup are not known afterwards; serials
    /// and CRL numbers do not repeat all the same.
    #[command(after_help = help!("  bunraku ca restore /backup/ca-2026-11-22.tar"))]
    Restore {
        /// The backup.
        file: PathBuf,
        /// Replace the CA that is there.
        #[arg(long)]
        force: bool,
        /// How it is printed.
        #[command(flatten)]
        output: Output,
    },
    /// Check every certificate, list and file of the CA; changes nothing
    #[command(
        after_help = "Example:\n  bunraku ca verify\n\nExit codes: 0 nothing is wrong, 1 something is or it could not be read, 2 wrong arguments or configuration."
    )]
    Verify {
        /// How it is printed.
        #[command(flatten)]
        output: Output,
    },
    /// Catalog masters that follow this CA
    #[command(after_help = help!("  bunraku ca masters"))]
    Masters {
        /// What to do with them [default: list]
        #[command(subcommand)]
        command: Option<Masters>,
        /// Where the CA is.
        #[command(flatten)]
        online: Online,
    },
}

/// Catalog masters that follow this CA.
#[derive(Debug, Subcommand)]
pub enum Masters {
    /// Say which revocation list each enforces, and when it was last heard of
    #[command(after_help = help!("  bunraku ca masters list --json"))]
    List {
        /// Where the CA is.
        #[command(flatten)]
        online: Online,
    },
    /// Declare a catalog master, and the names that its certificate may have
    #[command(
        after_help = help!("  bunraku ca masters add bunraku.m1.example.test --dns-alt-name m1.example.test --dns-alt-name puppet")
    )]
    Add {
        /// Its server.certname.
        name: String,
        /// A name under which agents reach it; no other node can have it.
        #[arg(long = "dns-alt-name", alias = "dns-alt-names", value_name = "NAME", value_delimiter = ',')]
        dns_alt_names: Vec<String>,
        /// Where the CA is.
        #[command(flatten)]
        online: Online,
    },
    /// Remove catalog masters; their certificates stay until they are revoked
    #[command(after_help = help!("  bunraku ca masters rm bunraku.m1.example.test"))]
    Rm {
        /// Their names.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Where the CA is.
        #[command(flatten)]
        online: Online,
    },
}

/// Certificate names.
#[derive(Args, Clone, Debug)]
pub struct Names {
    /// Certificate names.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// As `puppetserver ca` wants them.
    #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1.., hide = true)]
    certname: Vec<String>,
}

impl Names {
    /// The names, each once, in the order in which they were said.
    pub fn all(&self) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        for name in self.names.iter().chain(&self.certname) {
            if !out.contains(name) {
                out.push(name.clone());
            }
        }
        out
    }
}
