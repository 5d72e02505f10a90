//! `bunraku ca`: the certificate authority from the command line.
//!
//! Most commands ask a running CA as any client does (`../call.rs`), so that there
//! is one place that changes anything. The few that need the CA at rest open
//! its store themselves (`offline.rs`), and say so where a daemon has it.

pub mod arguments;
mod certificates;
mod crl;
mod generate;
mod list;
mod masters;
mod offline;
mod tally;

use crate::arguments::{Common, Online, Output};
use crate::setup::{self, Failure};

use arguments::Ca;

/// Runs one of the CA's commands.
pub async fn run(common: &Common, command: Ca) -> Result<(), Failure> {
    let config = &setup::configure_quietly(common)?;
    match command {
        Ca::List { all, certname, online } => list::run(config, all, &certname, &online).await,
        Ca::Sign { names, all, ttl, fingerprint, online } => {
            certificates::sign(config, names.all(), all, ttl, fingerprint.as_deref(), &online).await
        }
        Ca::Revoke { names, serial, reason, online } => {
            certificates::revoke(config, names.all(), &serial, reason.as_deref(), &online).await
        }
        Ca::Clean { names, online } => certificates::clean(config, names.all(), &online).await,
        Ca::Generate { names, dns_alt_names, admin, ttl, key_kind, out, online } => {
            let names = names.all();
            let wanted = generate::Wanted { names, dns_alt_names, admin, ttl, key: key_kind, out };
            generate::run(config, &wanted, &online).await
        }
        Ca::Prune { online } => certificates::prune(config, &online).await,
        Ca::Delete { names, fingerprint, expired, revoked, online } => {
            let (fingerprint, ended) = (fingerprint.as_deref(), (expired, revoked));
            certificates::delete(config, names.all(), fingerprint, ended, &online).await
        }
        Ca::Renew { names, ca, server, cert, key, output } => {
            let (own, ca) = renewal(&names.all(), ca, server.is_some())?;
            if own {
                return offline::renew(config, output).await;
            }
            certificates::renew(config, names.all(), &Online { server, cert, key, ca, output }).await
        }
        Ca::Crl { publish, install, online } => crl::run(config, publish, &install, &online).await,
        Ca::Setup { name, key_kind, csr, chain, crl, output } => {
            let wanted = offline::Setup { name, key: key_kind, csr, chain: chain.zip(crl) };
            offline::setup(config, &wanted, output).await
        }
        Ca::Import { dir, output } => offline::import(config, &dir, output).await,
        Ca::Export { dir, output } => offline::export(config, &dir, output).await,
        Ca::Backup { file, output } => offline::backup(config, &file, output).await,
        Ca::Restore { file, force, output } => offline::restore(config, &file, force, output).await,
        Ca::Verify { output } => offline::verify(config, output).await,
        Ca::Masters { command, online } => masters::run(config, command, online).await,
    }
}

/// Whether `renew --ca` means the CA itself, or else the file of a connection.
fn renewal(
    names: &[String],
    ca: Option<Option<std::path::PathBuf>>,
    online: bool,
) -> Result<(bool, Option<std::path::PathBuf>), Failure> {
    let wrong = |message: &str| Err(Failure::with_code(2, message));
    match ca {
        None => Ok((false, None)),
        Some(Some(file)) if online => Ok((false, Some(file))),
        Some(Some(_)) => wrong("--ca FILE goes with --server; `--ca` alone renews the CA itself"),
        Some(None) if online => wrong("with --server, --ca wants the file of the CA's certificates"),
        Some(None) if !names.is_empty() => wrong("say names, or --ca for the CA itself, not both"),
        Some(None) => Ok((true, None)),
    }
}

/// A fact as JSON or as a sentence.
fn say(output: Output, json: &serde_json::Value, sentence: &str) {
    if output.json {
        crate::print::out(&format!("{json}\n"));
    } else {
        crate::print::out(&format!("{sentence}\n"));
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::{Arguments, Command};

    fn parse(words: &str) -> Result<Ca, clap::Error> {
        let words = ["bunraku", "ca"].into_iter().chain(words.split_whitespace());
        Arguments::try_parse_from(words).map(|arguments| match arguments.command {
            Command::Ca(command) => *command,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn names_may_be_said_as_puppets_tool_wants_them() {
        fn check(words: &str, expected: &[&str]) {
            let Ca::Clean { names, .. } = parse(words).unwrap() else { panic!("{words}") };
            assert_eq!(names.all(), expected, "{words}");
        }
        check("clean a b", &["a", "b"]);
        check("clean --certname a,b", &["a", "b"]);
        check("clean --certname a b a", &["a", "b"]);
        check("clean a --certname b", &["a", "b"]);
    }

    #[test]
    fn arguments_that_make_no_sense_together_are_refused() {
        for wrong in [
            "list --all --certname a",
            "list --server ca",
            "list --cert a --key b --ca c",
            "list --server https://ca --cert a --key b --ca c",
            "sign --all --fingerprint AA",
            "sign a --ttl soon",
            "revoke a --reason because",
            "generate a --key-kind dsa",
            "crl --publish --install a",
            "setup --csr a --chain b --crl c",
            "setup --chain b",
            "setup --crl b",
            "masters rm",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        for fine in [
            "list",
            "list --certname a b,c",
            "list --server ca:9140 --cert a --key b --ca c --json",
            "sign a b --ttl 30d",
            "sign a --fingerprint AA:BB",
            "revoke --serial 0x1,2 --reason keyCompromise",
            "generate a --admin --dns-alt-names b,c --ttl 1y --key-kind rsa-2048 --out /tmp",
            "setup --name x --key rsa-4096",
            "setup --csr a",
            "setup --chain b --crl c",
            "masters",
            "masters add a --dns-alt-name b --dns-alt-name c",
        ] {
            assert!(parse(fine).is_ok(), "{fine}: {:?}", parse(fine).unwrap_err().to_string());
        }
    }

    #[test]
    fn renew_tells_the_ca_from_a_file_of_its_certificates() {
        fn check(words: &str, expected: Result<bool, u8>) {
            let Ca::Renew { names, ca, server, .. } = parse(words).unwrap() else { panic!("{words}") };
            let read = renewal(&names.all(), ca, server.is_some());
            assert_eq!(read.map(|(own, _)| own).map_err(|failure| failure.code), expected, "{words}");
        }
        check("renew --ca", Ok(true));
        check("renew web1", Ok(false));
        check("renew web1 --server ca --cert a --key b --ca c", Ok(false));
        check("renew web1 --ca c", Err(2));
        check("renew web1 --ca", Err(2));
    }

    #[test]
    fn every_command_has_an_example_and_says_its_exit_codes() {
        use clap::CommandFactory;
        let arguments = Arguments::command();
        let ca = arguments.find_subcommand("ca").unwrap();
        let masters = ca.find_subcommand("masters").unwrap();
        for command in ca.get_subcommands().chain(masters.get_subcommands()) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let name = command.get_name();
            assert!(
                help.contains("Example:\n  bunraku ca ") && help.contains("Exit codes: 0 "),
                "{name}: {help}"
            );
        }
    }
}
