//! `bunraku plugin`: which plugins decide, from the command line.
//!
//! All but `check` ask a running daemon (`../call.rs`), so that there is one place that swaps.

pub mod arguments;
mod change;
mod check;
mod history;
mod inspect;
mod list;
mod replay;

use std::path::Path;

use client::{Method, Response, StatusCode};
use master::plugins::{Plugins, Set};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::arguments::{Common, Online};
use crate::call::{Call, said};
use crate::config::Config;
use crate::print::printable;
use crate::setup::{self, Failure};

use arguments::Plugin;

/// Where a daemon's plugins are.
const PATH: &str = "/bunraku/v1/plugins";
/// Characters of an identifier or digest that are shown, and that name a set well enough.
const SHORT: usize = 12;
/// The fewest that may be said of a set's identifier.
const FEWEST: usize = 6;

/// Runs one of the commands.
pub async fn run(common: &Common, command: Plugin) -> Result<(), Failure> {
    let config = &setup::configure_quietly(common)?;
    match command {
        Plugin::List { online } => list::run(config, &online).await,
        Plugin::Inspect { name, set, online } => {
            inspect::run(config, name.as_deref(), set.as_deref(), &online).await
        }
        Plugin::Check { file, name, settings, output } => {
            let checked = file.as_deref().map(|file| check::Checked { file, name, settings });
            check::run(config, checked, output).await
        }
        Plugin::Replay(again) => replay::run(config, &again).await,
        Plugin::Stage { candidate, online } => change::stage(config, &candidate, &online).await,
        Plugin::Shadow { set, end, online } => change::shadow(config, set.as_deref(), end, &online).await,
        Plugin::Promote { set, force, online } => {
            change::promote(config, set.as_deref(), force, &online).await
        }
        Plugin::Swap { candidate, set, force, replay, fail_on_flip, online } => {
            let how = change::How { set: set.as_deref(), force, replay, fail_on_flip };
            change::swap(config, &candidate, how, &online).await
        }
        Plugin::Rollback { to, reason, online } => {
            change::rollback(config, to.as_deref(), &reason, &online).await
        }
        Plugin::History { limit, online } => history::run(config, limit, &online).await,
    }
}

/// Settings as an operator writes them to a file: JSON where its name ends so, else TOML.
///
/// # Errors
/// With exit code 2 where they cannot be read or are no table. What they hold is not repeated.
pub fn read_settings(path: &Path) -> Result<Value, Failure> {
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::with_code(2, format_args!("the settings {}: {why}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let settings: Value = if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("json")) {
        serde_json::from_str(&text).map_err(|error| wrong(&error))?
    } else {
        toml::from_str(&text).map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            wrong(&format_args!("line {line}: {}", error.message()))
        })?
    };
    if settings.is_object() { Ok(settings) } else { Err(wrong(&"must be a table")) }
}

/// The sets of the daemon, and the daemon.
async fn plugins(config: &Config, online: &Online) -> Result<(Call, Plugins), Failure> {
    let call = Call::daemon(config, online)?;
    let answered = call.ask(Method::GET, PATH, None).await?;
    let plugins = call.read(&answered)?;
    Ok((call, plugins))
}

/// Asks for a change. What is wrong with a candidate is told line by line.
async fn post<T: DeserializeOwned>(call: &Call, what: &str, body: &Value) -> Result<T, Failure> {
    let answered = call.ask(Method::POST, &format!("{PATH}/{what}"), Some(body)).await?;
    read(call, &answered)
}

fn read<T: DeserializeOwned>(call: &Call, answered: &Response) -> Result<T, Failure> {
    if answered.status == StatusCode::OK {
        return call.read(answered);
    }
    let body: Option<Value> = serde_json::from_slice(&answered.body).ok();
    let problems = body.as_ref().and_then(|body| body.get("problems")).and_then(Value::as_array);
    match problems {
        Some(problems) => {
            let problems = problems.iter().filter_map(Value::as_str);
            Err(Failure::new(refusal(problems.map(str::to_owned).collect())))
        }
        None => Err(Failure::new(printable(&said(answered)))),
    }
}

/// All that is wrong with a set, for a terminal.
fn refusal(problems: Vec<String>) -> String {
    let list: Vec<String> = problems.iter().map(|problem| format!("  {}", printable(problem))).collect();
    let noun = if list.len() == 1 { "problem" } else { "problems" };
    format!("the plugins can't be used, {} {noun}:\n{}", list.len(), list.join("\n"))
}

/// The set whose identifier begins so, of those that the daemon has at hand.
fn chosen<'p>(plugins: &'p Plugins, start: &str) -> Result<&'p Set, Failure> {
    let mut sets = std::iter::once(&plugins.live).chain(&plugins.staged);
    let mut found = sets.by_ref().filter(|set| start.len() >= FEWEST && set.id.starts_with(start));
    match (found.next(), found.next()) {
        (Some(set), None) => Ok(set),
        (Some(_), Some(_)) => Err(wrong(format_args!("several sets begin with {start:?}: say more of it"))),
        (None, _) => {
            let known = std::iter::once(&plugins.live).chain(&plugins.staged).map(|set| short(&set.id));
            let known: Vec<&str> = known.collect();
            Err(wrong(format_args!(
                "no set at hand begins with {start:?} ({FEWEST} characters or more); there are {}",
                known.join(", ")
            )))
        }
    }
}

/// As much of an identifier or digest as people compare.
fn short(id: &str) -> &str {
    id.get(..SHORT).unwrap_or(id)
}

fn wrong(message: impl std::fmt::Display) -> Failure {
    Failure::with_code(2, message)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};
    use serde_json::json;

    use super::*;
    use crate::arguments::{Arguments, Command};

    fn parse(words: &str) -> Result<Plugin, clap::Error> {
        let words = ["bunraku", "plugin"].into_iter().chain(words.split_whitespace());
        Arguments::try_parse_from(words).map(|arguments| match arguments.command {
            Command::Plugin(command) => *command,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn arguments_that_make_no_sense_together_are_refused() {
        for wrong in [
            "check --as policy",
            "check --settings a.toml",
            "stage --as policy",
            "stage --signature a.sig",
            "shadow 44aa02 --end",
            "swap a.wasm --set 44aa02",
            "swap --replay 7d",
            "swap --set 44aa02 --replay 7d",
            "swap a.wasm --fail-on-flip",
            "swap a.wasm --replay soon",
            "swap a.wasm --replay 7d --server ca --cert a --key b --ca c",
            "list --server ca",
            "history --limit 0",
            "history --limit 1001",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        for fine in [
            "list --json",
            "inspect",
            "inspect policy --set 44aa02",
            "check",
            "check a.wasm --as policy --settings a.toml --json",
            "stage",
            "stage a.wasm --as policy --settings a.toml --signature b.sig",
            "shadow",
            "shadow 44aa02",
            "shadow --end",
            "promote",
            "promote 44aa02 --force",
            "swap",
            "swap a.wasm --replay 7d --fail-on-flip",
            "swap --set 44aa02 --force",
            "rollback --to 44aa02 --reason x --server ca --cert a --key b --ca c",
            "history --limit 1000",
        ] {
            assert!(parse(fine).is_ok(), "{fine}: {:?}", parse(fine).unwrap_err().to_string());
        }
    }

    #[test]
    fn every_command_has_an_example_and_says_its_exit_codes() {
        let arguments = Arguments::command();
        for command in arguments.find_subcommand("plugin").unwrap().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let name = command.get_name();
            assert!(
                help.contains("Example:\n  bunraku plugin ") && help.contains("Exit codes: 0 "),
                "{name}: {help}"
            );
        }
    }

    #[test]
    fn settings_are_read_from_toml_and_json_and_never_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let check = |name: &str, text: &str, expected: Result<Value, &str>| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            match (read_settings(&path), expected) {
                (Ok(read), Ok(expected)) => assert_eq!(read, expected, "{text}"),
                (Err(failure), Err(words)) => {
                    assert_eq!(failure.code, 2);
                    let said = failure.message;
                    assert!(said.contains(words) && !said.contains("geheim"), "{said}");
                }
                (read, _) => panic!("{text}: {read:?}"),
            }
        };
        check(
            "a.toml",
            "names = [\"*.test\"]\n[x]\ny = 1\n",
            Ok(json!({"names": ["*.test"], "x": {"y": 1}})),
        );
        check("a.json", "{\"names\": []}", Ok(json!({"names": []})));
        check("b.toml", "a = 1\ntoken = geheim\n", Err("line 2: "));
        check("b.json", "{\"token\": \"geheim\"", Err("line 1 column"));
        check("c.json", "[\"geheim\"]", Err("must be a table"));
        assert_eq!(read_settings(&dir.path().join("none.toml")).unwrap_err().code, 2);
    }

    #[test]
    fn a_set_is_named_by_the_start_of_its_id() {
        let live = list::tests::set("9f3c01", Vec::new());
        let staged = vec![list::tests::set("44aa02", Vec::new()), list::tests::set("44aa03", Vec::new())];
        let plugins = Plugins { live, shadow: None, staged };
        let check = |start: &str, expected: Result<&str, &str>| {
            let found = chosen(&plugins, start).map(|set| set.id.get(..6).unwrap().to_owned());
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(failure), Err(words)) => assert!(failure.message.contains(words), "{}", failure.message),
                (found, _) => panic!("{start}: {found:?}"),
            }
        };
        check("9f3c01", Ok("9f3c01"));
        check("44aa02", Ok("44aa02"));
        check("44aa", Err("6 characters or more"));
        check("000000", Err("there are 9f3c01000000, 44aa02000000, 44aa03000000"));
        check("", Err("no set at hand"));
    }
}
