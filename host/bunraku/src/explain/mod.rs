//! `bunraku explain`: why a node was signed or not, is what it is, and got what it got.
//!
//! It reads the journal and the store beside a running daemon, and asks nobody: `case.rs` is what is
//! known, `answer.rs` what it comes to, `words.rs` and `json.rs` how it is told.

mod answer;
mod case;
mod http;
mod json;
#[cfg(test)]
mod tests;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use journal::{Entry, Journal, Kind, Mode};
use rollout::SetRow;
use store::Store;

use crate::arguments::Common;
use crate::config::Config;
use crate::print::{out, printable};
use crate::setup::{self, Failure};
use case::{Case, Certificate, Decision, Set};

/// Decisions about a name that are looked through for the newest of each kind.
const NEWEST: u32 = 1_000;
/// In which order they are told.
const KINDS: [Kind; 3] = [Kind::Approval, Kind::Classification, Kind::Provision];

/// What is to be explained.
#[derive(Args, Debug)]
pub struct Explain {
    /// Whose decisions.
    pub certname: String,
    /// This decision, by its id or the beginning of it, and not the newest of each kind.
    #[arg(long, value_name = "ID")]
    pub decision: Option<String>,
    /// Print a JSON object with all that the journal keeps.
    #[arg(long)]
    pub json: bool,
}

/// Explains the newest decisions about a node, or one.
pub async fn run(common: &Common, command: Explain) -> Result<(), Failure> {
    let config = setup::configure_quietly(common)?;
    let path = config.below_state(setup::JOURNAL);
    if !path.exists() {
        return Err(Failure::new(format_args!(
            "no master has decided anything in {}: there is no {}",
            config.state_dir.display(),
            setup::JOURNAL
        )));
    }
    let journal = Journal::open_read_only(&path).await.map_err(Failure::new)?;
    let entries = chosen(&journal, &command).await?;
    let case = gather(&config, &journal, command.certname, entries).await?;
    journal.close().await;
    match command.json {
        true => out(&format!("{}\n", json::explain(&case))),
        false => out(&words::explain(&case)),
    }
    Ok(())
}

/// The decisions to explain: that one, or the newest of each kind that was acted on.
async fn chosen(journal: &Journal, command: &Explain) -> Result<Vec<Entry>, Failure> {
    let name = &command.certname;
    let unknown = |what: &str| {
        Failure::new(format_args!(
            "the journal has no {what} of {}: it may never have asked here, or too long ago",
            printable(name)
        ))
    };
    if let Some(id) = &command.decision {
        let found = journal.find(id).await.map_err(Failure::new)?;
        let entry = found.filter(|entry| entry.certname == *name);
        return entry.map(|entry| vec![entry]).ok_or_else(|| unknown(&format!("decision {}", printable(id))));
    }
    let mut newest = journal.of(name, NEWEST).await.map_err(Failure::new)?;
    newest.retain(|entry| entry.mode == Mode::Live);
    let of = |kind| newest.iter().find(|entry| entry.kind == kind).cloned();
    let entries: Vec<Entry> = KINDS.into_iter().filter_map(of).collect();
    if entries.is_empty() { Err(unknown("decision")) } else { Ok(entries) }
}

async fn gather(
    config: &Config,
    journal: &Journal,
    certname: String,
    entries: Vec<Entry>,
) -> Result<Case, Failure> {
    let mut decisions = Vec::new();
    for entry in entries {
        let record = match journal.get(&entry.id).await {
            Ok(Some(record)) => Ok(record),
            Ok(None) => Err("it is gone".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        decisions.push(Decision { entry, record });
    }
    let mut case = Case {
        certname,
        certificate: Certificate::Unknown,
        decisions,
        sets: BTreeMap::new(),
        components: BTreeMap::new(),
    };
    let path = config.below_state(setup::DATABASE);
    if path.exists() {
        let store = Store::open_read_only(&path).await.map_err(Failure::new)?;
        look_up(config, &store, &mut case).await?;
        store.close().await;
    }
    case.components = components(config, &case).await;
    Ok(case)
}

/// What the store knows: the certificate, and what the sets were made of.
async fn look_up(config: &Config, store: &Store, case: &mut Case) -> Result<(), Failure> {
    if config.ca.follows.is_none() {
        let current = store.current_certificate(&case.certname).await.map_err(Failure::new)?;
        case.certificate = match current {
            None => Certificate::None,
            Some(row) => match row.revoked_at {
                Some(at) => Certificate::Revoked { serial: row.serial, at },
                None => Certificate::Signed { serial: row.serial, not_after: row.not_after },
            },
        };
    }
    let ids: BTreeSet<&str> = case.decisions.iter().map(|decision| decision.entry.set.as_str()).collect();
    for id in ids {
        let row = store.plugin_set(id).await.map_err(Failure::new)?;
        // One that a newer program wrote is not known here, which is no reason to explain nothing.
        if let Some(Ok(row)) = row.map(SetRow::try_from) {
            case.sets.insert(id.to_owned(), Set::new(&row));
        }
    }
    Ok(())
}

/// What the components say of themselves, as far as they are still kept.
async fn components(config: &Config, case: &Case) -> BTreeMap<String, String> {
    let records = case.decisions.iter().filter_map(|decision| decision.record.as_ref().ok());
    let digests: BTreeSet<String> =
        records.flat_map(|record| &record.asked).map(|asked| asked.digest.clone()).collect();
    let is_name = |digest: &String| digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit());
    let Ok(sandbox) = setup::sandbox(config) else { return BTreeMap::new() };
    let folder = config.below_state(setup::COMPONENTS);
    let load = move || {
        let name = |digest: String| {
            let bytes = std::fs::read(folder.join(format!("{digest}.wasm"))).ok()?;
            let plugin = sandbox.load(&bytes).ok().filter(|plugin| plugin.digest() == digest)?;
            let metadata = plugin.metadata();
            Some((digest, format!("{} {}", metadata.name, metadata.version)))
        };
        digests.into_iter().filter(is_name).filter_map(name).collect()
    };
    // Compiled already, unless the cache was removed.
    tokio::task::spawn_blocking(load).await.unwrap_or_default()
}
