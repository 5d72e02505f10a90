//! What a chain of plugins needs to be asked: the decision it is about, and what each call is told.
//!
//! A live decision is told by [`Decider`](crate::Decider); whoever runs one again brings [`Hosts`] of
//! their own, and the chains of `chains.rs` do not notice.

use std::sync::Arc;

use journal::Transcript;
use rollout::LivePlugin;
use sandbox::{CallContext, Host, Mode};
use serde_json::Value;
use time::OffsetDateTime;

use crate::reach::Seen;

/// The host's side of one call, and what it told.
pub(crate) trait Told: Host {
    /// Everything told since this was last asked; empty where nobody notes it.
    fn transcript(&self) -> Transcript {
        Transcript::default()
    }

    /// Whether something that was asked for did not come in time: the plugin can't tell that from other
    /// failures.
    fn is_late(&self) -> bool;

    /// The objects read so far.
    fn seen(&self) -> Seen;

    /// What was asked for and is not known, where a recorded call is run again.
    fn missed(&self) -> Vec<String> {
        Vec::new()
    }

    /// Further facts for the call's context, such as where an object store is.
    fn annotations(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// Makes the host's side of each call of a decision.
pub(crate) trait Hosts: Send + Sync {
    /// For one call of this plugin; of a provider, for this class.
    fn host(&self, asking: &Asking, plugin: &LivePlugin, class: Option<&str>) -> Arc<dyn Told>;
}

/// One decision about to be made: every plugin asked for it is told the same id and the same instant.
#[derive(Clone)]
pub(crate) struct Asking {
    /// Names the decision.
    pub id: String,
    /// What plugins read as the time.
    pub now: OffsetDateTime,
    /// The node's facts; null where there are none.
    pub facts: Arc<Value>,
    /// Whether the answer will be acted on.
    pub mode: Mode,
}

impl Asking {
    /// A live decision, now.
    pub fn about(facts: Arc<Value>) -> Self {
        let (id, now) = (uuid::Uuid::new_v4().to_string(), OffsetDateTime::now_utc());
        Asking { id, now, facts, mode: Mode::Enforce }
    }

    /// What this plugin is told about the call it is in.
    pub fn context(&self, plugin: &LivePlugin, told: &dyn Told) -> CallContext {
        CallContext {
            decision_id: self.id.clone(),
            mode: self.mode,
            now: u64::try_from(self.now.unix_timestamp_nanos()).unwrap_or(0),
            settings: plugin.settings.clone(),
            annotations: told.annotations(),
        }
    }
}
