//! Steps the pure chains: asks one plugin after the other, feeds each answer back, and notes what each
//! was told and said. It saves nothing and signs nothing.
//!
//! A live decision and one that is run again differ in their [`Hosts`] alone.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use catalog::{CompileError, Compiler, Target};
use decide::{Answer, Approval, Classification, Classified, Decision, FailureKind, Opinion, Step};
use journal::Asked;
use rollout::{LivePlugin, PluginSet};
use sandbox::{
    Answered, Call, CallError, CallStats, Csr, Failure, Node, Outcome, ProvideRequest, Trusted, Verdict,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::classify::{NodeClassification, Unclassified};
use crate::reach::Seen;
use crate::told::{Asking, Hosts, Told};
use crate::{Failed, convert};

/// What approvers came to.
pub(crate) struct Approved {
    pub decision: Decision<String>,
    /// Each call, in order.
    pub asked: Vec<Asked>,
    /// The objects read.
    pub seen: Seen,
}

/// What providers are asked about: everything of a catalog but the facts.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ProvisionInput {
    pub certname: String,
    pub environment: String,
    pub trusted: Trusted,
    /// With their parameters, in the classifier's order.
    pub classes: Vec<(String, Map<String, Value>)>,
    /// Top-scope parameters.
    pub parameters: Map<String, Value>,
}

/// Asks the approvers of a set in order.
pub(crate) async fn approval(set: &PluginSet, asking: &Asking, csr: &Csr, hosts: &dyn Hosts) -> Approved {
    let mut chain = Approval::quorum(set.approvers(), set.rules().require(&csr.certname));
    let (mut asked, mut seen, mut late) = (Vec::new(), Seen::new(), false);
    loop {
        let name = match chain.next() {
            Step::Ask(name) => name,
            Step::Done(mut decision) => {
                decision.fault |= late;
                return Approved { decision, asked, seen };
            }
        };
        let Some(plugin) = set.plugin(&name) else {
            chain.answer(Answer::Fault(not_in_set(&name)));
            continue;
        };
        let (call, told) = call(asking, plugin, None, hosts);
        let Answered { answer: said, stats } = plugin.plugin.decide(call, csr).await;
        let words = match &said {
            Ok(Verdict::Approve { reason, .. }) => Words::new("approve", reason),
            Ok(Verdict::Deny(reason)) => Words::new("deny", reason),
            // Not an opinion that holds until the object changes, but one to ask for again.
            Ok(Verdict::Pending(reason)) if told.is_late() => {
                late = true;
                Words { fault: Some("late"), ..Words::new("pending", reason) }
            }
            Ok(Verdict::Pending(reason)) => Words::new("pending", reason),
            Ok(Verdict::Abstain) => Words::new("abstain", ""),
            Err(error) => Words::of(error),
        };
        asked.push(words.of_call(plugin, None, &*told, stats));
        seen.extend(told.seen());
        chain.answer(match said {
            Ok(verdict) => convert::answer(verdict),
            Err(CallError::Failure(failure)) => Answer::Failure(format!("plugin `{name}`: {failure}")),
            Err(fault) => Answer::Fault(format!("plugin `{name}`: no-decision({fault})")),
        });
    }
}

/// Asks the classifiers of a set in order.
pub(crate) async fn classification(
    set: &PluginSet,
    asking: &Asking,
    node: &Node,
    hosts: &dyn Hosts,
) -> (Result<NodeClassification, Unclassified>, Vec<Asked>) {
    let mut chain = Classification::merging(set.classifiers(), set.merge());
    let (mut asked, mut late) = (Vec::new(), false);
    while let Step::Ask(name) = chain.next() {
        let Some(plugin) = set.plugin(&name) else {
            chain.answer(Opinion::Fault(not_in_set(&name)));
            continue;
        };
        let (call, told) = call(asking, plugin, None, hosts);
        let Answered { answer: said, stats } = plugin.plugin.classify(call, node).await;
        late |= matches!(said, Err(CallError::Timeout(_) | CallError::Busy(_)));
        // Out of time is out of time, whatever the plugin made of it.
        late |= said.is_err() && told.is_late();
        let words = match &said {
            Ok(Outcome::Matched(_)) => Words::new("matched", ""),
            Ok(Outcome::Abstain) => Words::new("abstain", ""),
            Ok(Outcome::Reject(reason)) => Words::new("reject", reason),
            Err(error) => Words::of(error),
        };
        asked.push(words.of_call(plugin, None, &*told, stats));
        chain.answer(opinion(&name, said));
    }
    let contradict = !chain.conflicts().is_empty();
    (outcome(chain.into_outcome(), late, contradict), asked)
}

/// Asks the providers of a node's classes until the catalog is whole.
///
/// # Errors
/// 500 with the class or resource at fault.
pub(crate) async fn provision(
    set: &PluginSet,
    asking: &Asking,
    input: &ProvisionInput,
    hosts: &dyn Hosts,
) -> (Result<catalog::Compiled, Failed>, Vec<Asked>) {
    let mut asked = Vec::new();
    let compiled = compile(set, asking, input, hosts, &mut asked).await;
    (compiled, asked)
}

async fn compile(
    set: &PluginSet,
    asking: &Asking,
    input: &ProvisionInput,
    hosts: &dyn Hosts,
    asked: &mut Vec<Asked>,
) -> Result<catalog::Compiled, Failed> {
    let refused = |error: CompileError| Failed::internal(error.to_string());
    let target = Target {
        certname: input.certname.clone(),
        environment: input.environment.clone(),
        version: set.id().get(..12).unwrap_or_default().to_owned(),
        catalog_uuid: asking.id.clone(),
    };
    let mut compiler =
        Compiler::new(target, input.classes.clone(), set.classes().clone()).map_err(refused)?;
    while let catalog::Step::Ask(ask) = compiler.next() {
        let ask = ask.clone();
        let plugin = set.plugin(&ask.plugin).ok_or_else(|| Failed::internal(not_in_set(&ask.plugin)))?;
        let request = ProvideRequest {
            node: input.trusted.clone(),
            environment: input.environment.clone(),
            class: ask.class,
            parameters: ask.parameters,
            node_parameters: input.parameters.clone(),
        };
        let (call, told) = call(asking, plugin, Some(&request.class), hosts);
        let Answered { answer: said, stats } = plugin.plugin.provide(call, &request).await;
        let words = said.as_ref().map_or_else(Words::of, |_| Words::new("provided", ""));
        asked.push(words.of_call(plugin, Some(&request.class), &*told, stats));
        match said {
            Ok(fragment) => compiler.answer(convert::fragment(fragment)).map_err(refused)?,
            Err(error) => {
                let reason = match error {
                    CallError::Failure(failure) => failure.to_string(),
                    fault => format!("no-decision({fault})"),
                };
                return Err(Failed::internal(format!(
                    "class `{}` of plugin `{}` on node {}: {reason}",
                    request.class, plugin.name, input.certname
                )));
            }
        }
    }
    compiler.finish().map_err(refused)
}

fn call(
    asking: &Asking,
    plugin: &LivePlugin,
    class: Option<&str>,
    hosts: &dyn Hosts,
) -> (Call, Arc<dyn Told>) {
    let told = hosts.host(asking, plugin, class);
    (Call { context: asking.context(plugin, &*told), host: told.clone() }, told)
}

/// What a plugin said, for the journal.
struct Words<'a> {
    said: &'static str,
    detail: Cow<'a, str>,
    fault: Option<&'static str>,
}

impl<'a> Words<'a> {
    fn new(said: &'static str, detail: &'a str) -> Self {
        Words { said, detail: detail.into(), fault: None }
    }

    fn of(error: &'a CallError) -> Self {
        match error {
            CallError::Failure(failure) => {
                Words { fault: Some(failure.kind()), ..Words::new("failure", failure.message()) }
            }
            fault => Words { said: "fault", detail: fault.to_string().into(), fault: Some(fault.kind()) },
        }
    }

    fn of_call(self, plugin: &LivePlugin, class: Option<&str>, told: &dyn Told, stats: CallStats) -> Asked {
        Asked {
            plugin: plugin.name.clone(),
            digest: plugin.plugin.digest().to_owned(),
            settings_digest: plugin.settings_digest.clone(),
            class: class.map(str::to_owned),
            transcript: told.transcript(),
            said: self.said.to_owned(),
            detail: self.detail.into_owned(),
            fault: self.fault.map(str::to_owned),
            took: stats.took,
            memory_bytes: stats.memory_bytes,
        }
    }
}

fn not_in_set(name: &str) -> String {
    format!("plugin `{name}` is not in its own set")
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
    contradict: bool,
) -> Result<NodeClassification, Unclassified> {
    match outcome {
        Classified::Classified { value, .. } => Ok(value),
        Classified::NoMatch => Err(Unclassified::NoMatch),
        Classified::Rejected { reason, .. } => Err(Unclassified::Rejected(reason)),
        Classified::Failed { reason, .. } if contradict => Err(Unclassified::Contradicted(reason)),
        Classified::Failed { reason, .. } if late => Err(Unclassified::TimedOut(reason)),
        Classified::Failed { kind, reason, .. } => Err(match kind {
            FailureKind::InvalidInput => Unclassified::Unreadable(reason),
            FailureKind::Unavailable => Unclassified::Unavailable(reason),
            FailureKind::Internal | FailureKind::Fault => Unclassified::Broken(reason),
        }),
    }
}

/// What classifiers say of one node, in parts that can be united.
impl decide::Unite for NodeClassification {
    type Value = Value;

    fn into_parts(self) -> decide::Parts<Value> {
        decide::Parts {
            environment: self.environment,
            classes: self
                .classes
                .into_iter()
                .map(|(name, given)| (name, given.into_iter().collect()))
                .collect(),
            parameters: self.parameters.into_iter().collect(),
            because: self.because,
        }
    }

    fn from_parts(parts: decide::Parts<Value>, by: Vec<String>) -> Self {
        let map = |given: BTreeMap<String, Value>| given.into_iter().collect();
        NodeClassification {
            environment: parts.environment,
            classes: parts.classes.into_iter().map(|(name, given)| (name, map(given))).collect(),
            parameters: map(parts.parameters),
            because: parts.because,
            by: by.join(", "),
        }
    }
}
