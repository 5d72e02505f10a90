//! A candidate that answers beside the live set, and where the two differ.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sandbox::Sandbox;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::guard::Kind;
use crate::set::PluginSet;

/// Nodes listed whose decisions differ; more are only counted.
const NODES: usize = 1000;
/// Changes counted apart; more are counted as [`OTHER`].
const CHANGES: usize = 100;
/// What stands for changes that are too many to count apart.
const OTHER: &str = "other changes";

/// A set in shadow. What it says is compared and never acted on.
pub struct Shadow {
    set: Arc<PluginSet>,
    sandbox: Arc<Sandbox>,
    permits: Arc<Semaphore>,
    seen: Mutex<Seen>,
}

/// The right to ask a set in shadow once.
#[derive(Debug)]
pub struct ShadowPermit {
    _permit: OwnedSemaphorePermit,
}

/// What came of a shadow so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowSummary {
    /// Decisions that it was asked for.
    pub asked: u64,
    /// Decisions that it was not asked for, because there was too much to do.
    pub dropped: u64,
    /// Decisions that were as those of the live set.
    pub same: u64,
    /// Decisions that were not.
    pub differ: u64,
    /// How often each change was seen.
    pub by_change: BTreeMap<String, u64>,
    /// The newest change of each node and kind, up to 1,000, as certname, kind and change.
    pub nodes: Vec<(String, Kind, String)>,
}

#[derive(Default)]
struct Seen {
    asked: u64,
    dropped: u64,
    same: u64,
    differ: u64,
    by_change: BTreeMap<String, u64>,
    nodes: BTreeMap<(String, Kind), String>,
}

impl Shadow {
    /// With room for `permits` decisions at once.
    pub(crate) fn new(set: Arc<PluginSet>, sandbox: Arc<Sandbox>, permits: usize) -> Self {
        let permits = Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Shadow { set, sandbox, permits, seen: Mutex::default() }
    }

    /// The candidate.
    pub fn set(&self) -> &Arc<PluginSet> {
        &self.set
    }

    /// Takes a permit for one decision; keep it while the candidate is asked. None where all are taken, or
    /// less than half of the sandbox is free: live decisions come first.
    pub fn enter(&self) -> Option<ShadowPermit> {
        let slots = usize::try_from(self.sandbox.settings().slots).unwrap_or(usize::MAX);
        let room = self.sandbox.free_slots().saturating_mul(2) >= slots;
        let permit = room.then(|| Arc::clone(&self.permits).try_acquire_owned().ok()).flatten();
        let mut seen = self.seen();
        match permit {
            Some(permit) => {
                seen.asked = seen.asked.saturating_add(1);
                Some(ShadowPermit { _permit: permit })
            }
            None => {
                seen.dropped = seen.dropped.saturating_add(1);
                None
            }
        }
    }

    /// The candidate said what the live set said.
    pub fn agreed(&self, _kind: Kind) {
        let mut seen = self.seen();
        seen.same = seen.same.saturating_add(1);
    }

    /// The candidate said something else. `change` is a class of differences, such as `pending → approve`.
    pub fn disagreed(&self, kind: Kind, certname: &str, change: &str) {
        let mut seen = self.seen();
        seen.differ = seen.differ.saturating_add(1);
        let known = seen.by_change.contains_key(change) || seen.by_change.len() < CHANGES;
        let counted = if known { change } else { OTHER };
        let count = seen.by_change.entry(counted.to_owned()).or_default();
        *count = count.saturating_add(1);
        let node = (certname.to_owned(), kind);
        if seen.nodes.contains_key(&node) || seen.nodes.len() < NODES {
            seen.nodes.insert(node, change.to_owned());
        }
    }

    /// What came of it so far.
    pub fn summary(&self) -> ShadowSummary {
        let seen = self.seen();
        let nodes = seen.nodes.iter();
        ShadowSummary {
            asked: seen.asked,
            dropped: seen.dropped,
            same: seen.same,
            differ: seen.differ,
            by_change: seen.by_change.clone(),
            nodes: nodes.map(|((name, kind), change)| (name.clone(), *kind, change.clone())).collect(),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
