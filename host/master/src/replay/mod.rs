//! Replay: what other plugins would have decided, from the journal alone.
//!
//! Every live decision is made again with what was told then ([`replayed`]), and held against what was
//! decided (`compare.rs`). Nothing is signed, saved or fetched, unless the caller brings a
//! [`Decider`] for what the journal does not know.

mod again;
mod replayed;
#[cfg(test)]
mod swapped;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::{Cursor, Entry, Journal, Kind, Record};
use rollout::PluginSet;
use sandbox::Mode;
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::task::JoinSet;

pub(crate) use again::{Again, again};

use crate::compare::{Flip, compare, word};
use crate::decider::Decider;
use crate::told::Hosts;

/// Decisions read from the journal at once.
const PAGE: u32 = 256;
/// Flips that keep their details; later ones keep what changes and for whom.
const DETAILED: usize = 10_000;
/// How often a decision is made again whose plugins ran out of time: on a busy machine that says nothing.
const TRIES: u32 = 3;
/// In this order.
const KINDS: [Kind; 3] = [Kind::Approval, Kind::Classification, Kind::Provision];

/// What to run again, and how.
#[derive(Default)]
pub struct ReplayOptions {
    /// Decisions from then on; all that the journal has where none.
    pub since: Option<OffsetDateTime>,
    /// Of these kinds; of all where none is named.
    pub kinds: Vec<Kind>,
    /// What is asked where the journal has no answer; without, such decisions cannot be replayed.
    pub live: Option<Arc<Decider>>,
    /// Decisions made at the same time; at least one.
    pub at_once: usize,
}

/// How far a replay is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Decisions made again or passed over.
    pub done: u64,
    /// Decisions there were at the start.
    pub total: u64,
    /// Since the start.
    pub took: Duration,
}

/// What a replay came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Replay {
    /// Decisions made again, with those that could not be.
    pub asked: u64,
    /// Those that stay what they were.
    pub same: u64,
    /// Those that would be others, in the journal's order within each kind.
    pub flips: Vec<Flip>,
    /// Those that could not be made again.
    pub cannot: Vec<NotReplayed>,
    /// What would change for whom, by the newest decision of each kind about a node: what happens when
    /// the set is swapped in and the node asks again.
    pub nodes: BTreeMap<String, Vec<Flip>>,
    /// Plugins that said another thing though nothing about them differs, and how often: they are not
    /// deterministic, and neither are their flips.
    pub unsteady: BTreeMap<String, u64>,
}

/// A decision that could not be made again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotReplayed {
    /// Its id.
    pub decision: String,
    /// Whose.
    pub certname: String,
    /// What was decided about.
    #[serde(serialize_with = "word")]
    pub kind: Kind,
    /// Why not.
    pub reason: String,
}

/// Makes the decisions of a journal again with a set of plugins, oldest first, one kind after the other.
///
/// # Errors
/// Only when the journal's database fails: a decision that cannot be read is in [`Replay::cannot`].
pub async fn replay(
    journal: &Journal,
    set: &Arc<PluginSet>,
    options: ReplayOptions,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Replay, journal::Error> {
    let since = options.since.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (began, mut done, mut total) = (Instant::now(), 0, 0);
    let kinds = || KINDS.into_iter().filter(|k| options.kinds.is_empty() || options.kinds.contains(k));
    for kind in kinds() {
        total += journal.count(since, kind).await?;
    }
    let mut result = Replay::default();
    for kind in kinds() {
        let mut of_kind = OfKind { at_once: options.at_once.max(1), ..OfKind::default() };
        let mut after: Option<Cursor> = None;
        loop {
            let page = journal.since(since, kind, after, PAGE).await?;
            for (entry, record) in page.records {
                done += 1;
                if entry.mode == journal::Mode::Live {
                    of_kind.take(entry, record, set, &options).await;
                }
            }
            progress(Progress { done, total: total.max(done), took: began.elapsed() });
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        of_kind.end(&mut result).await;
    }
    Ok(result)
}

/// The decisions of one kind while they are made again.
#[derive(Default)]
struct OfKind {
    at_once: usize,
    running: JoinSet<(usize, Outcome)>,
    /// By their place in the journal.
    outcomes: Vec<(String, Outcome)>,
}

#[derive(Default)]
enum Outcome {
    /// Not answered yet, or none of the plugins' business.
    #[default]
    None,
    Same,
    Flipped {
        flip: Flip,
        unsteady: Option<String>,
    },
    Cannot(NotReplayed),
}

impl OfKind {
    async fn take(
        &mut self,
        entry: Entry,
        record: Result<Record, journal::Error>,
        set: &Arc<PluginSet>,
        options: &ReplayOptions,
    ) {
        let place = self.outcomes.len();
        match record {
            // The host decided that, and would again.
            Ok(record) if record.input.is_null() => {}
            Ok(record) => {
                self.outcomes.push((entry.certname, Outcome::None));
                if self.running.len() >= self.at_once {
                    self.next().await;
                }
                let (set, live) = (set.clone(), options.live.clone());
                self.running
                    .spawn(async move { (place, outcome(&Arc::new(record), &set, live.as_deref()).await) });
            }
            Err(error) => {
                let reason = match error {
                    journal::Error::Sealed { .. } => "it is sealed with another key".to_owned(),
                    other => other.to_string(),
                };
                let cannot = NotReplayed {
                    decision: entry.id,
                    certname: entry.certname.clone(),
                    kind: entry.kind,
                    reason,
                };
                self.outcomes.push((entry.certname, Outcome::Cannot(cannot)));
            }
        }
    }

    /// Waits for one of those that run.
    async fn next(&mut self) -> bool {
        match self.running.join_next().await {
            None => return false,
            Some(Ok((place, outcome))) => {
                if let Some((_, of)) = self.outcomes.get_mut(place) {
                    *of = outcome;
                }
            }
            // A panic of ours: the decision stays unanswered, and is counted as such.
            Some(Err(error)) => tracing::error!(%error, "a decision could not be made again"),
        }
        true
    }

    async fn end(mut self, result: &mut Replay) {
        while self.next().await {}
        let mut newest: HashMap<String, Option<Flip>> = HashMap::new();
        for (certname, outcome) in self.outcomes {
            result.asked += 1;
            match outcome {
                Outcome::None => {}
                Outcome::Cannot(cannot) => {
                    newest.insert(certname, None);
                    result.cannot.push(cannot);
                }
                Outcome::Same => {
                    newest.insert(certname, None);
                    result.same += 1;
                }
                Outcome::Flipped { mut flip, unsteady } => {
                    if let Some(plugin) = unsteady {
                        *result.unsteady.entry(plugin).or_default() += 1;
                    }
                    if result.flips.len() >= DETAILED {
                        flip.detail.clear();
                    }
                    newest.insert(certname, Some(flip.clone()));
                    result.flips.push(flip);
                }
            }
        }
        for (certname, flip) in newest.into_iter().filter_map(|(name, flip)| Some((name, flip?))) {
            result.nodes.entry(certname).or_default().push(flip);
        }
    }
}

async fn outcome(was: &Arc<Record>, set: &PluginSet, live: Option<&Decider>) -> Outcome {
    let cannot = |reason: String| {
        Outcome::Cannot(NotReplayed {
            decision: was.id.clone(),
            certname: was.certname.clone(),
            kind: was.kind,
            reason,
        })
    };
    let facts = match live {
        Some(decider) if was.kind != Kind::Approval => decider.facts(&was.certname).await,
        _ => Arc::new(Value::Null),
    };
    let mut tries = 1;
    let made = loop {
        let hosts = live.map(|decider| {
            let hosts: &dyn Hosts = decider;
            hosts
        });
        match again(was, set, Mode::Replay, facts.clone(), hosts).await {
            Ok(made) if tries < TRIES && out_of_time(&made.record) => tries += 1,
            Ok(made) => break made,
            Err(reason) => return cannot(reason),
        }
    };
    let Again { record: now, missed } = made;
    if !missed.is_empty() {
        let cut = was.asked.iter().any(|asked| asked.transcript.truncated);
        let why = if cut { " (what was told then is more than the journal keeps)" } else { "" };
        return cannot(format!("it asks for what nobody asked then: {}{why}", missed.join("; ")));
    }
    let Some(mut flip) = compare(was, &now) else { return Outcome::Same };
    let unsteady = again::unsteady(was, &now);
    if let Some(plugin) = &unsteady {
        if out_of_time(was) {
            // Then, and not now: that was the machine, or the service behind.
            return cannot(format!("the plugin {plugin} ran out of time then"));
        }
        flip.detail.push(format!("{plugin} is the same, was told the same, and says otherwise"));
    }
    Outcome::Flipped { flip, unsteady }
}

/// Whether it ended for want of time or of a place to run in.
fn out_of_time(record: &Record) -> bool {
    let fault = record.asked.last().and_then(|asked| asked.fault.as_deref());
    matches!(fault, Some("timeout" | "busy" | "late"))
}
