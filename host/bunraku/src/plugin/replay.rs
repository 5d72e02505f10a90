//! `bunraku plugin replay`: what another plugin would have decided, from the journal.
//!
//! It runs in a process of its own beside the daemon, reads journal and store, and changes nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use journal::Journal;
use master::{Flip, NotReplayed, Replay, ReplayOptions};
use rollout::{Means, Origin, PluginSet, SetSpec, Source};
use serde_json::{Value, json};
use store::Store;
use time::OffsetDateTime;

use super::arguments::Again;
use super::{read_settings, refusal, short, wrong};
use crate::config::Config;
use crate::print::{Progress, count, out, printable, table};
use crate::setup::{self, Failure};

/// Decisions made at the same time, for each processor.
const AT_ONCE: usize = 4;
/// Names after a flip, and nodes and decisions in a list.
const NAMES: usize = 3;
const LISTED: usize = 100;

/// Replays, prints what came of it, and fails where it is to fail.
pub async fn run(config: &Config, again: &Again) -> Result<(), Failure> {
    let outcome = replay(config, again).await?;
    out(&if again.output.json { outcome.as_json() } else { outcome.as_text() });
    if again.fail_on_flip && outcome.flips() > 0 { Err(Failure::new("")) } else { Ok(()) }
}

/// What a replay came to, and of what.
pub struct Outcome {
    /// The plugin that took a place, such as `s3-registry 0.2.0`.
    pub plugin: String,
    /// SHA-256 of its component.
    pub digest: String,
    /// What it came to.
    pub replay: Replay,
    /// How long it took.
    pub took: Duration,
}

/// Decides again what the journal has, with a component in the place of one plugin of the live set.
///
/// # Errors
/// With exit code 2 where the component, its settings or its place are wrong.
pub async fn replay(config: &Config, again: &Again) -> Result<Outcome, Failure> {
    let path = config.below_state(setup::JOURNAL);
    if !path.exists() {
        let (folder, journal) = (config.state_dir.display(), setup::JOURNAL);
        let message = format_args!("no master has decided anything in {folder}: there is no {journal}");
        return Err(Failure::new(message));
    }
    let (set, place) = candidate(config, again).await?;
    let journal = Journal::open_read_only(&path).await.map_err(Failure::new)?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let options = ReplayOptions {
        since: again.since.map(|since| OffsetDateTime::now_utc() - since),
        kinds: Vec::new(),
        live: if again.live { Some(Arc::new(crate::csr::decider(config).await?)) } else { None },
        at_once: processors.saturating_mul(AT_ONCE),
    };
    let (mut line, mut took) = (Progress::new(), Duration::ZERO);
    let mut tell = |progress: master::Progress| {
        took = progress.took;
        line.show(&far(progress));
    };
    let replay = master::replay(&journal, &set, options, &mut tell).await.map_err(Failure::new)?;
    drop(line);
    journal.close().await;
    let plugin = set.plugin(&place).ok_or_else(|| Failure::new("the replayed plugin is gone"))?;
    let metadata = plugin.plugin.metadata();
    Ok(Outcome {
        plugin: format!("{} {}", metadata.name, metadata.version),
        digest: plugin.plugin.digest().to_owned(),
        replay,
        took,
    })
}

/// The live set with the component in one plugin's place, and that plugin's name.
async fn candidate(config: &Config, again: &Again) -> Result<(Arc<PluginSet>, String), Failure> {
    let sandbox = setup::sandbox(config)?;
    let place = match &again.name {
        Some(name) => name.clone(),
        None => {
            let (sandbox, file) = (sandbox.clone(), again.file.clone());
            let own = tokio::task::spawn_blocking(move || own_name(&sandbox, &file)).await;
            own.map_err(Failure::new)?.map_err(wrong)?
        }
    };
    let mut spec = live_spec(config).await?;
    let known: Vec<String> = spec.plugins.iter().map(|plugin| plugin.name.clone()).collect();
    let Some(plugin) = spec.plugins.iter_mut().find(|plugin| plugin.name == place) else {
        return Err(wrong(format!(
            "the live set has no plugin {}: say with --as NAME whose place it takes; there are {}",
            printable(&place),
            known.join(", ")
        )));
    };
    let file = std::path::absolute(&again.file).map_err(Failure::new)?;
    (plugin.source, plugin.digest) = (Source::File(file), None);
    if let Some(settings) = &again.settings {
        plugin.settings = read_settings(settings)?;
    }
    // Nothing comes of what it decides here, so nobody need have signed it.
    let means = Means { require_signature: false, ..setup::means(config, &sandbox) };
    let staged = rollout::stage(&means, &spec, Origin::new("replay", "the command line")).await;
    let set =
        staged.map_err(|problems| wrong(refusal(problems.iter().map(ToString::to_string).collect())))?;
    Ok((Arc::new(set), place))
}

/// What the live set was made of; the configured one where no master has run yet.
async fn live_spec(config: &Config) -> Result<SetSpec, Failure> {
    let path = config.below_state(setup::DATABASE);
    let mut recorded = None;
    if path.exists() {
        let store = Store::open_read_only(&path).await.map_err(Failure::new)?;
        recorded = rollout::recorded(&store).await.map_err(Failure::new)?;
        store.close().await;
    }
    Ok(recorded.map_or_else(|| config.plugins.clone(), |row| row.spec))
}

/// What a component calls itself.
fn own_name(sandbox: &Arc<sandbox::Sandbox>, file: &Path) -> Result<String, String> {
    let bytes = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let plugin = sandbox.load(&bytes).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(plugin.metadata().name.clone())
}

/// How far it is, how fast, and how long it will take yet.
fn far(progress: master::Progress) -> String {
    let master::Progress { done, total, took } = progress;
    let rate = whole(done) / took.as_secs_f64().max(0.001);
    let left = whole(total.saturating_sub(done)) / rate.max(1.0);
    format!("{done} of {total} decisions, {rate:.0}/s, {left:.0} s left")
}

/// Beyond 2^32 it is a guess anyway.
fn whole(n: u64) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}

impl Outcome {
    /// How many decisions come out otherwise.
    pub fn flips(&self) -> usize {
        self.replay.flips.len()
    }

    /// For a terminal.
    pub fn as_text(&self) -> String {
        let Replay { asked, same, flips, cannot, nodes, unsteady } = &self.replay;
        let mut text = format!(
            "{}, component {}: {} replayed in {:.1} s, {same} stay, {}, {} could not be replayed\n",
            printable(&self.plugin),
            short(&self.digest),
            count(*asked, "decision"),
            self.took.as_secs_f64(),
            count(long(flips.len()), "flip"),
            cannot.len(),
        );
        if !flips.is_empty() {
            text += &format!("\n{}", by_change(flips));
            text +=
                &format!("\nBy their newest decisions {} would change:\n", count(long(nodes.len()), "node"));
            for (name, flips) in nodes.iter().take(LISTED) {
                let changes: Vec<String> =
                    flips.iter().map(|flip| format!("{}: {}", flip.kind, printable(&flip.change))).collect();
                text += &format!("  {}  {}\n", printable(name), changes.join("; "));
            }
            text += &more(nodes.len());
        }
        if !cannot.is_empty() {
            text += &format!("\nCould not be replayed:\n{}", by_reason(cannot));
        }
        for (plugin, times) in unsteady {
            text += &format!(
                "\n{} is not deterministic: the very same component said otherwise {}, told the same\n",
                printable(plugin),
                count(*times, "time")
            );
        }
        text
    }

    /// For programs.
    pub fn as_json(&self) -> String {
        let mut whole = json!(self.replay);
        if let Value::Object(whole) = &mut whole {
            whole.insert("plugin".to_owned(), json!(self.plugin));
            whole.insert("digest".to_owned(), json!(self.digest));
            whole.insert(
                "took_ms".to_owned(),
                json!(u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX)),
            );
        }
        format!("{whole}\n")
    }
}

/// What would change, how often, for whom; the most frequent first.
fn by_change(flips: &[Flip]) -> String {
    let mut changes: BTreeMap<(String, &str), Vec<&str>> = BTreeMap::new();
    for flip in flips {
        changes.entry((flip.kind.to_string(), &flip.change)).or_default().push(&flip.certname);
    }
    let mut changes: Vec<_> = changes.into_iter().collect();
    changes.sort_by_key(|(_, names)| std::cmp::Reverse(names.len()));
    let rows: Vec<[String; 4]> = changes
        .iter()
        .take(LISTED)
        .map(|((kind, change), names)| {
            let (times, mut names) = (names.len(), names.clone());
            names.sort_unstable();
            names.dedup();
            let dots = if names.len() > NAMES { ", …" } else { "" };
            let some = names.iter().take(NAMES).copied().collect::<Vec<_>>().join(", ");
            [kind.clone(), (*change).to_owned(), times.to_string(), some + dots]
        })
        .collect();
    table(["DECISION", "WOULD CHANGE", "TIMES", "NODES"], &rows) + &more(changes.len())
}

fn by_reason(cannot: &[NotReplayed]) -> String {
    let mut reasons: BTreeMap<&str, Vec<&NotReplayed>> = BTreeMap::new();
    for decision in cannot {
        reasons.entry(&decision.reason).or_default().push(decision);
    }
    let lines = reasons.iter().take(LISTED).map(|(reason, decisions)| {
        let some: Vec<String> = decisions
            .iter()
            .take(NAMES)
            .map(|d| format!("{} of {}", printable(short(&d.decision)), printable(&d.certname)))
            .collect();
        let dots = if decisions.len() > NAMES { ", …" } else { "" };
        format!("  {}: {} ({}{dots})\n", decisions.len(), printable(reason), some.join(", "))
    });
    lines.collect::<String>() + &more(reasons.len())
}

fn more(all: usize) -> String {
    match all.checked_sub(LISTED).filter(|more| *more > 0) {
        Some(more) => format!("  and {more} more: see --json\n"),
        None => String::new(),
    }
}

fn long(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use journal::Kind;

    use super::*;

    fn flip(certname: &str, kind: Kind, change: &str) -> Flip {
        let detail = vec!["was pending".to_owned()];
        Flip { kind, certname: certname.into(), decision: "d".into(), change: change.into(), detail }
    }

    #[test]
    fn what_changes_is_counted_and_whom_it_changes_is_listed() {
        let signed = |name| flip(name, Kind::Approval, "pending → approve");
        let flips = vec![
            signed("d"),
            signed("b"),
            signed("a"),
            signed("c"),
            signed("a\u{1b}[2J"),
            flip("a", Kind::Classification, "classes + base"),
        ];
        let cannot = |name: &str, reason: &str| NotReplayed {
            decision: "6f1d0c9e-ffff-eeee".into(),
            certname: name.into(),
            kind: Kind::Provision,
            reason: reason.into(),
        };
        let outcome = Outcome {
            plugin: "s3-registry 0.2.0".into(),
            digest: "ab12".repeat(16),
            took: Duration::from_millis(1234),
            replay: Replay {
                asked: 12,
                same: 4,
                nodes: BTreeMap::from([("a".to_owned(), vec![flips[2].clone(), flips[5].clone()])]),
                flips,
                cannot: vec![cannot("x", "it is sealed"), cannot("y", "it is sealed")],
                unsteady: BTreeMap::from([("s3-registry".to_owned(), 1)]),
            },
        };
        let expected = "\
s3-registry 0.2.0, component ab12ab12ab12: 12 decisions replayed in 1.2 s, 4 stay, 6 flips, 2 could not be replayed

DECISION        WOULD CHANGE       TIMES  NODES
approval        pending → approve  5      a, a\\u{1b}[2J, b, …
classification  classes + base     1      a

By their newest decisions 1 node would change:
  a  approval: pending → approve; classification: classes + base

Could not be replayed:
  2: it is sealed (6f1d0c9e-fff of x, 6f1d0c9e-fff of y)

s3-registry is not deterministic: the very same component said otherwise 1 time, told the same
";
        assert_eq!(outcome.as_text(), expected);
        let json: Value = serde_json::from_str(&outcome.as_json()).unwrap();
        assert_eq!(json["flips"][5]["kind"], "classification");
        assert_eq!(json["nodes"]["a"][0]["change"], "pending → approve");
        assert_eq!((&json["same"], &json["took_ms"]), (&json!(4), &json!(1234)));
    }
}
