//! The set that decides now, behind one atomic pointer.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::set::PluginSet;

/// The set that decides now.
pub struct Live {
    current: ArcSwap<PluginSet>,
    changes: watch::Sender<()>,
}

impl Live {
    /// Starts with a staged set.
    pub fn new(set: impl Into<Arc<PluginSet>>) -> Self {
        Live { current: ArcSwap::new(set.into()), changes: watch::Sender::new(()) }
    }

    /// The set to decide with. Take it once per decision and keep it.
    pub fn current(&self) -> Arc<PluginSet> {
        self.current.load_full()
    }

    /// Puts a staged set in force and returns the one it replaces, which lives
    /// on until its last call ends.
    pub fn swap(&self, set: impl Into<Arc<PluginSet>>) -> Arc<PluginSet> {
        let old = self.current.swap(set.into());
        self.changes.send_replace(());
        old
    }

    /// Tells of every swap from now on.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}
