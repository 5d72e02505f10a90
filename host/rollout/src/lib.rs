//! The live set of plugins: loads and checks a set on the side, then swaps it
//! in whole.
//!
//! A call holds the set that it began with, so a swap drops no request and
//! never mixes two sets in one decision. This crate never asks a plugin for a
//! decision (see `master`), never orders their answers (see `decide`), and
//! knows nothing of how a plugin runs (see `sandbox`).

mod grants;
mod quantity;
mod set;
mod signature;
mod staging;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

pub use grants::{Grants, HttpGrant, StoreGrant};
pub use quantity::{parse_bytes, parse_duration};
pub use set::{LivePlugin, PluginSet};
pub use signature::{SignatureError, SigningKeys};
pub use staging::{PluginSpec, Problem, Source, stage};

/// The set that decides now, behind one atomic pointer.
pub struct Live {
    current: ArcSwap<PluginSet>,
    changes: watch::Sender<()>,
}

impl Live {
    /// Starts with a staged set.
    pub fn new(set: PluginSet) -> Self {
        Live { current: ArcSwap::from_pointee(set), changes: watch::Sender::new(()) }
    }

    /// The set to decide with. Take it once per decision and keep it.
    pub fn current(&self) -> Arc<PluginSet> {
        self.current.load_full()
    }

    /// Puts a staged set in force and returns the one it replaces, which lives
    /// on until its last call ends.
    pub fn swap(&self, set: PluginSet) -> Arc<PluginSet> {
        let old = self.current.swap(Arc::new(set));
        self.changes.send_replace(());
        old
    }

    /// Tells of every swap from now on.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}
