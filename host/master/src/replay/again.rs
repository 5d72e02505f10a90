//! One decision of the journal made again: the same question, instant and seed, told the same, put to
//! another set of plugins.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use journal::{Asked, Kind, Record};
use rollout::{LivePlugin, PluginSet};
use sandbox::{Csr, Mode, Node};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::chains::{self, ProvisionInput};
use crate::record;
use crate::recorded::Recorded;
use crate::replay::replayed::Replayed;
use crate::told::{Asking, Hosts, Told};

/// What became of it.
pub(crate) struct Again {
    /// As the journal would keep it.
    pub record: Record,
    /// What plugins asked for that the journal does not know.
    pub missed: Vec<String>,
}

/// Asks the plugins of a set what others were asked before. What was not told then is asked of `live`.
///
/// # Errors
/// Why it cannot be: in words for the operator.
pub(crate) async fn again(
    was: &Arc<Record>,
    set: &PluginSet,
    mode: Mode,
    facts: Arc<Value>,
    live: Option<&dyn Hosts>,
) -> Result<Again, String> {
    let asking = Asking { id: was.id.clone(), now: was.at, facts, mode };
    let hosts = Before { was, live, recording: mode == Mode::Shadow, made: Mutex::default() };
    let began = Instant::now();
    let record = match was.kind {
        Kind::Approval => {
            let csr: Csr = read(was)?;
            let mut approved = chains::approval(set, &asking, &csr, &hosts).await;
            record::of_approval(set, &asking, &csr, &mut approved, began.elapsed())
        }
        Kind::Classification => {
            let node: Node = read(was)?;
            let (said, asked) = chains::classification(set, &asking, &node, &hosts).await;
            record::of_classification(set, &asking, &node, &said, asked, began.elapsed())
        }
        Kind::Provision => {
            let input: ProvisionInput = read(was)?;
            let (said, asked) = chains::provision(set, &asking, &input, &hosts).await;
            record::of_provision(set, &asking, &input, &said, asked, began.elapsed())
        }
    };
    let made = hosts.made.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Again { record, missed: made.iter().flat_map(|told| told.missed()).collect() })
}

/// The plugin that said another thing than before, though it is the very same, has the same settings and
/// was told the same: it is not deterministic.
pub(crate) fn unsteady(was: &Record, now: &Record) -> Option<String> {
    let same = |(a, b): &(&Asked, &Asked)| {
        (&a.plugin, &a.digest, &a.settings_digest, &a.class)
            == (&b.plugin, &b.digest, &b.settings_digest, &b.class)
    };
    let pairs = || was.asked.iter().zip(&now.asked).take_while(same);
    if let Some((asked, _)) = pairs().find(|(a, b)| (&a.said, &a.fault) != (&b.said, &b.fault)) {
        return Some(asked.plugin.clone());
    }
    // All said the same in one word, in the same set, and yet the answer is another.
    let whole = was.asked.len() == now.asked.len() && pairs().count() == was.asked.len();
    (whole && was.set == now.set).then(|| was.by.clone().unwrap_or_default())
}

fn read<T: DeserializeOwned>(was: &Record) -> Result<T, String> {
    serde_json::from_value(was.input.clone())
        .map_err(|_| "its question is kept in a form that this program does not know".to_owned())
}

/// The hosts of a decision that is made again.
struct Before<'a> {
    was: &'a Arc<Record>,
    live: Option<&'a dyn Hosts>,
    /// Whether what is told is noted, for the journal.
    recording: bool,
    made: Mutex<Vec<Arc<Replayed>>>,
}

impl Hosts for Before<'_> {
    fn host(&self, asking: &Asking, plugin: &LivePlugin, class: Option<&str>) -> Arc<dyn Told> {
        let live = self.live.map(|hosts| hosts.host(asking, plugin, class));
        let told = Replayed::new(self.was, plugin, class, live);
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push(told.clone());
        if self.recording { Recorded::new(told) } else { told }
    }
}
