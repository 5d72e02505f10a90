//! Asks plugins, in the order that the pure chains say, and adds up what they
//! answer. It saves nothing and signs nothing, so the command line uses it too.

use std::sync::Arc;

use ca::Occasion;
use decide::{Answer, Approval, Classification, Classified, Decision, FailureKind, Opinion, Step};
use pki::CertificateRequest;
use registry::Registry;
use rollout::{LivePlugin, PluginSet};
use sandbox::{Call, CallContext, CallError, Failure, Mode, Node, Outcome};
use serde_json::Value;
use store::Store;
use time::OffsetDateTime;

use crate::classify::{NodeClassification, Unclassified};
use crate::convert;
use crate::reach::{Reach, Seen};

/// What plugins reach, as far as they are granted it.
pub struct Decider {
    /// Node definitions.
    pub registry: Arc<Registry>,
    /// Stored configuration; none where no master has run.
    pub store: Option<Arc<Store>>,
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
}

/// One decision about to be made: every plugin asked for it is told the same
/// id and the same instant.
pub(crate) struct Asking {
    pub id: String,
    now: OffsetDateTime,
    facts: Arc<Value>,
}

impl Asking {
    pub fn about(facts: Arc<Value>) -> Self {
        Asking { id: uuid::Uuid::new_v4().to_string(), now: OffsetDateTime::now_utc(), facts }
    }
}

impl Decider {
    /// The call of one plugin, and what it will have reached.
    pub(crate) fn call(&self, asking: &Asking, plugin: &LivePlugin) -> (Call, Arc<Reach>) {
        let stores = plugin.grants.object_store.keys();
        let context = CallContext {
            decision_id: asking.id.clone(),
            mode: Mode::Enforce,
            now: u64::try_from(asking.now.unix_timestamp_nanos()).unwrap_or(0),
            settings: plugin.settings.clone(),
            annotations: stores.map(|s| (format!("object-store.{s}"), self.registry.describe())).collect(),
        };
        let reach = Reach::new(
            &plugin.name,
            &plugin.grants,
            &asking.id,
            &self.registry,
            self.store.clone(),
            asking.facts.clone(),
        );
        (Call { context, host: reach.clone() }, reach)
    }

    /// Asks the approvers of a set in order.
    pub async fn approval(
        &self,
        set: &PluginSet,
        request: &CertificateRequest,
        occasion: &Occasion,
        peer: Option<String>,
    ) -> Decided {
        let asking = Asking::about(Arc::new(Value::Null));
        let csr = convert::csr(request, occasion, peer);
        let mut seen = Seen::new();
        let mut chain = Approval::new(set.approvers().map(str::to_owned).collect());
        loop {
            let name = match chain.next() {
                Step::Ask(name) => name,
                Step::Done(decision) => {
                    let by = decision.by.as_deref().and_then(|name| set.plugin(name));
                    let plugin_digest = by.map(|p| p.plugin.digest().to_owned());
                    return Decided { decision, plugin_set: set.id().to_owned(), plugin_digest, seen };
                }
            };
            let Some(plugin) = set.plugin(&name) else {
                chain.answer(Answer::Fault(format!("plugin `{name}` is not in its own set")));
                continue;
            };
            let (call, reach) = self.call(&asking, plugin);
            let answer = match plugin.plugin.decide(call, &csr).await.answer {
                // Not an opinion that holds until the object changes, but one to ask for again.
                Ok(sandbox::Verdict::Pending(reason)) if reach.is_late() => Answer::Failure(reason),
                Ok(verdict) => convert::answer(verdict),
                Err(CallError::Failure(failure)) => Answer::Failure(format!("plugin `{name}`: {failure}")),
                Err(fault) => Answer::Fault(format!("plugin `{name}`: no-decision({fault})")),
            };
            seen.extend(reach.seen());
            chain.answer(answer);
        }
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
        let asking = Asking::about(facts);
        let mut chain = Classification::new(set.classifiers().map(str::to_owned).collect());
        let mut late = false;
        while let Step::Ask(name) = chain.next() {
            let Some(plugin) = set.plugin(&name) else { return Err(Unclassified::NoMatch) };
            let (call, reach) = self.call(&asking, plugin);
            let said = plugin.plugin.classify(call, node).await.answer;
            late |= matches!(said, Err(CallError::Timeout(_) | CallError::Busy(_)));
            // Out of time is out of time, whatever the plugin made of it.
            late |= said.is_err() && reach.is_late();
            chain.answer(opinion(&name, said));
        }
        outcome(chain.into_outcome(), late)
    }
}

fn opinion(name: &str, said: Result<Outcome, CallError>) -> Opinion<NodeClassification> {
    let by_plugin = |text: &dyn std::fmt::Display| format!("plugin `{name}`: {text}");
    match said {
        Ok(Outcome::Matched(found)) => Opinion::Matched(NodeClassification {
            environment: found.environment,
            classes: found.classes.into_iter().map(|c| (c.name, c.parameters)).collect(),
            parameters: found.parameters,
            because: found.because,
            by: name.to_owned(),
        }),
        Ok(Outcome::Abstain) => Opinion::Abstain,
        Ok(Outcome::Reject(reason)) => Opinion::Reject(reason),
        Err(CallError::Failure(failure)) => {
            let reason = by_plugin(&failure);
            match failure {
                Failure::InvalidInput(_) => Opinion::Failure(FailureKind::InvalidInput, reason),
                Failure::Unavailable(_) => Opinion::Failure(FailureKind::Unavailable, reason),
                Failure::Internal(_) => Opinion::Failure(FailureKind::Internal, reason),
            }
        }
        Err(fault) => Opinion::Fault(by_plugin(&format_args!("no-decision({fault})"))),
    }
}

fn outcome(
    outcome: Classified<String, NodeClassification>,
    late: bool,
) -> Result<NodeClassification, Unclassified> {
    match outcome {
        Classified::Classified { value, .. } => Ok(value),
        Classified::NoMatch => Err(Unclassified::NoMatch),
        Classified::Rejected { reason, .. } => Err(Unclassified::Rejected(reason)),
        Classified::Failed { reason, .. } if late => Err(Unclassified::TimedOut(reason)),
        Classified::Failed { kind, reason, .. } => Err(match kind {
            FailureKind::InvalidInput => Unclassified::Unreadable(reason),
            FailureKind::Unavailable => Unclassified::Unavailable(reason),
            FailureKind::Internal | FailureKind::Fault => Unclassified::Broken(reason),
        }),
    }
}
