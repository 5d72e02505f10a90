//! The set that decides now, behind one atomic pointer.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::set::PluginSet;

/// The set that decides now. Only a [`Rollout`](crate::Rollout) puts another one here.
pub struct Live {
    current: ArcSwap<PluginSet>,
    changes: watch::Sender<()>,
}

impl Live {
    /// Starts with a staged set.
    pub(crate) fn new(set: Arc<PluginSet>) -> Self {
        Live { current: ArcSwap::new(set), changes: watch::Sender::new(()) }
    }

    /// The set to decide with. Take it once per decision and keep it.
    pub fn current(&self) -> Arc<PluginSet> {
        self.current.load_full()
    }

    /// Puts a set in force. The one that it replaces lives on until its last call ends.
    pub(crate) fn swap(&self, set: Arc<PluginSet>) {
        self.current.store(set);
        self.changes.send_replace(());
    }

    /// Tells of every swap from now on.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}
