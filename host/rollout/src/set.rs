//! One immutable set of plugins.

use std::sync::Arc;

use catalog::ClassIndex;
use sandbox::Plugin;

use crate::grants::Grants;

/// A plugin as the operator configured it.
#[derive(Clone)]
pub struct LivePlugin {
    /// The operator's name for it.
    pub name: String,
    /// The compiled component.
    pub plugin: Arc<Plugin>,
    /// Handed over with every call: an object as JSON.
    pub settings: String,
    /// What it may reach.
    pub grants: Grants,
}

/// Plugins, settings, grants and order as one value.
pub struct PluginSet {
    pub(crate) id: String,
    pub(crate) plugins: Vec<LivePlugin>,
    pub(crate) classes: Arc<ClassIndex>,
}

impl PluginSet {
    /// Names the set: SHA-256 in hex over digests, settings, grants and order.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Every plugin in the operator's order.
    pub fn plugins(&self) -> &[LivePlugin] {
        &self.plugins
    }

    /// The plugin of that name.
    pub fn plugin(&self, name: &str) -> Option<&LivePlugin> {
        self.plugins.iter().find(|p| p.name == name)
    }

    /// Names of the plugins that approve certificate requests, in order.
    pub fn approvers(&self) -> impl Iterator<Item = &str> {
        self.plugins.iter().filter(|p| p.plugin.kinds().approver).map(|p| p.name.as_str())
    }

    /// Names of the plugins that classify nodes, in order.
    pub fn classifiers(&self) -> impl Iterator<Item = &str> {
        self.plugins.iter().filter(|p| p.plugin.kinds().classifier).map(|p| p.name.as_str())
    }

    /// Every class that some plugin provides.
    pub fn classes(&self) -> &Arc<ClassIndex> {
        &self.classes
    }
}
