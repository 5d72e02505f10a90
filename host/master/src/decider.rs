//! What plugins reach when a decision is made here and now. It saves nothing and signs nothing, so the
//! command line uses it too.

use std::sync::Arc;

use ca::Occasion;
use decide::Decision;
use outgoing::Outgoing;
use pki::CertificateRequest;
use registry::Registry;
use rollout::{LivePlugin, PluginSet};
use sandbox::Node;
use serde_json::Value;
use store::Store;

use crate::chains::{Approved, approval, classification};
use crate::classify::{NodeClassification, Unclassified};
use crate::convert;
use crate::reach::{REGISTRY, Reach, Seen, Stores};
use crate::recorded::Recorded;
use crate::told::{Asking, Hosts, Told};

/// What plugins reach, as far as they are granted it.
pub struct Decider {
    /// Object stores, the registry among them.
    pub stores: Stores,
    /// Stored configuration; none where no master has run.
    pub store: Option<Arc<Store>>,
    outgoing: Arc<Outgoing>,
}

/// A decision and what it rests on.
pub struct Decided {
    /// What the chain says.
    pub decision: Decision<String>,
    /// The set that decided.
    pub plugin_set: String,
    /// The deciding component.
    pub plugin_digest: Option<String>,
    /// The objects read.
    pub seen: Seen,
}

impl Decided {
    /// A request that the host's own checks refuse, so that no plugin is asked.
    pub fn refused(set: &PluginSet, reason: String) -> Self {
        let decision = Decision { verdict: decide::Verdict::Deny, reason, by: None, fault: false };
        Decided { decision, plugin_set: set.id().to_owned(), plugin_digest: None, seen: Seen::new() }
    }

    pub(crate) fn of(set: &PluginSet, approved: Approved) -> Self {
        let Approved { decision, seen, .. } = approved;
        let by = decision.by.as_deref().and_then(|name| set.plugin(name));
        let plugin_digest = by.map(|plugin| plugin.plugin.digest().to_owned());
        Decided { decision, plugin_set: set.id().to_owned(), plugin_digest, seen }
    }
}

impl Decider {
    /// Lets plugins reach, as far as they are granted it: the registry, further stores, stored
    /// configuration, and origins on the network.
    pub fn new(registry: Arc<Registry>, mut stores: Stores, store: Option<Arc<Store>>) -> Self {
        stores.insert(REGISTRY.to_owned(), registry);
        Decider { stores, store, outgoing: Arc::new(Outgoing::new(outgoing::Settings::default())) }
    }

    /// Asks the approvers of a set in order.
    pub async fn approval(
        &self,
        set: &PluginSet,
        request: &CertificateRequest,
        occasion: &Occasion,
        peer: Option<String>,
    ) -> Decided {
        let csr = convert::csr(request, occasion, peer);
        Decided::of(set, approval(set, &Asking::about(Arc::new(Value::Null)), &csr, self).await)
    }

    /// Asks the classifiers of a set in order.
    ///
    /// # Errors
    /// See [`Unclassified`].
    pub async fn classify(
        &self,
        set: &PluginSet,
        node: &Node,
        facts: Arc<Value>,
    ) -> Result<NodeClassification, Unclassified> {
        classification(set, &Asking::about(facts), node, self).await.0
    }

    /// The facts that a node sent last; null where none are known.
    pub(crate) async fn facts(&self, certname: &str) -> Arc<Value> {
        let known = match &self.store {
            Some(store) => store.facts(certname).await,
            None => Ok(None),
        };
        let known = known.inspect_err(|error| tracing::warn!(%error, "the facts of a node cannot be read"));
        Arc::new(known.ok().flatten().unwrap_or_default())
    }
}

impl Hosts for Decider {
    fn host(&self, asking: &Asking, plugin: &LivePlugin, _class: Option<&str>) -> Arc<dyn Told> {
        let facts = asking.facts.clone();
        let store = self.store.clone();
        let (name, grants) = (&plugin.name, &plugin.grants);
        let reach = Reach::new(name, grants, &asking.id, &self.stores, &self.outgoing, store, facts);
        Recorded::new(reach)
    }
}

impl Hosts for Arc<Decider> {
    fn host(&self, asking: &Asking, plugin: &LivePlugin, class: Option<&str>) -> Arc<dyn Told> {
        Decider::host(self, asking, plugin, class)
    }
}
