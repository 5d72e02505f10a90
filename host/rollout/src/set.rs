//! One immutable set of plugins.

use std::fmt;
use std::sync::Arc;

use catalog::ClassIndex;
use decide::{Approver, Rules};
use sandbox::Plugin;
use time::OffsetDateTime;

use crate::grants::Grants;
use crate::spec::{FailedApproval, OnFailure, Origin, SetSpec, Source};

/// A plugin as the operator configured it.
#[derive(Clone)]
pub struct LivePlugin {
    /// The operator's name for it.
    pub name: String,
    /// The compiled component.
    pub plugin: Arc<Plugin>,
    /// Handed over with every call: an object as JSON.
    pub settings: String,
    /// SHA-256 of the settings, in lower-case hex.
    pub settings_digest: String,
    /// What it may reach.
    pub grants: Grants,
    /// Where its component came from, as the operator wrote it.
    pub source: String,
    /// The name of the key that signed its component.
    pub signed_by: Option<String>,
    /// What its failure or fault comes to.
    pub on_failure: OnFailure,
    /// What `source` tells.
    pub(crate) written: Source,
}

/// Plugins, settings, grants and order as one value.
pub struct PluginSet {
    pub(crate) id: String,
    pub(crate) spec: SetSpec,
    pub(crate) plugins: Vec<LivePlugin>,
    pub(crate) classes: Arc<ClassIndex>,
    pub(crate) rules: Rules,
    pub(crate) origin: Origin,
    pub(crate) made_at: OffsetDateTime,
    /// No component was named by its digest: so a configuration is written, and nothing else.
    pub(crate) configured: bool,
    /// Counts the sets that are alive.
    pub(crate) _census: Arc<()>,
}

impl PluginSet {
    /// Names the set: SHA-256 in hex over its [`spec`](Self::spec). Where it came from is no part of it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What the set was made from, with every component named by its digest.
    pub fn spec(&self) -> &SetSpec {
        &self.spec
    }

    /// Who had it staged, and from where.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// When it was staged.
    pub fn made_at(&self) -> OffsetDateTime {
        self.made_at
    }

    /// Every plugin in the operator's order.
    pub fn plugins(&self) -> &[LivePlugin] {
        &self.plugins
    }

    /// The plugin of that name.
    pub fn plugin(&self, name: &str) -> Option<&LivePlugin> {
        self.plugins.iter().find(|p| p.name == name)
    }

    /// The plugins that approve certificate requests, in order. Those of one component are one approval.
    pub fn approvers(&self) -> Vec<Approver<String>> {
        let approvers = self.plugins.iter().filter(|p| p.plugin.kinds().approver);
        let approver = |p: &LivePlugin| Approver {
            name: p.name.clone(),
            identity: p.plugin.digest().to_owned(),
            on_failure: match p.on_failure.approval {
                Some(FailedApproval::Deny) => decide::OnFailure::Deny,
                Some(FailedApproval::Pending) | None => decide::OnFailure::Pending,
            },
        };
        approvers.map(approver).collect()
    }

    /// Names of the plugins that classify nodes, in order.
    pub fn classifiers(&self) -> Vec<String> {
        self.plugins.iter().filter(|p| p.plugin.kinds().classifier).map(|p| p.name.clone()).collect()
    }

    /// Every class that some plugin provides.
    pub fn classes(&self) -> &Arc<ClassIndex> {
        &self.classes
    }

    /// How many approvals which names need.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What is made of several classifiers that know a node.
    pub fn merge(&self) -> decide::Merge {
        self.spec.merge.into()
    }
}

/// Without settings, which may hold secrets.
impl fmt::Debug for PluginSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.plugins.iter().map(|p| &p.name).collect();
        f.debug_struct("PluginSet").field("id", &self.id).field("plugins", &names).finish_non_exhaustive()
    }
}
