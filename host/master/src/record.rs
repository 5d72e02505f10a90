//! Decisions as the journal keeps them.
//!
//! `verdict`, `reason` and `by` are in plain columns there: they hold words of ours and names that the
//! operator gave, never what a plugin, a node or an object says. What those say is in the fields that
//! the journal seals.

use std::collections::BTreeMap;
use std::time::Duration;

use decide::Verdict;
use journal::{Asked, Kind, Record};
use rollout::{Observation, Outcome, PluginSet};
use sandbox::{Csr, Mode, Node, Occasion};
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::Failed;
use crate::chains::{Approved, ProvisionInput};
use crate::classify::{NodeClassification, Unclassified};
use crate::told::Asking;

/// What approvers came to: `approve`, `deny`, `pending` or `no-decision`.
pub(crate) fn of_approval(
    set: &PluginSet,
    asking: &Asking,
    csr: &Csr,
    approved: &mut Approved,
    took: Duration,
) -> Record {
    let asked = std::mem::take(&mut approved.asked);
    let decision = &approved.decision;
    let why = asked.last().map(fault).unwrap_or_default();
    let by = decision.by.as_deref().unwrap_or_default();
    let reason = match (decision.verdict, &decision.by) {
        // Nobody's answer ended the chain: these are the chain's own words.
        (_, None) => decision.reason.clone(),
        (Verdict::Approve { .. }, _) => {
            let who = asked.iter().filter(|asked| asked.said == "approve");
            let who: Vec<String> = who.map(|asked| format!("`{}`", asked.plugin)).collect();
            format!("approved by {}", who.join(", "))
        }
        (Verdict::Deny, _) if decision.fault => format!("`{by}` {why}; its on_failure is deny"),
        (Verdict::Deny, _) => format!("denied by `{by}`"),
        (Verdict::Pending, _) if decision.fault => format!("`{by}` {why}"),
        (Verdict::Pending, _) => format!("`{by}` keeps it waiting"),
    };
    let answer = match decision.verdict {
        Verdict::Approve { lifetime } => Some(json!({"lifetime": lifetime.map(|life| life.as_secs())})),
        Verdict::Deny | Verdict::Pending => None,
    };
    let because = decision.by.as_ref().map(|_| decision.reason.clone());
    Record {
        occasion: Some(occasion(csr.occasion).to_owned()),
        peer: csr.peer.clone(),
        verdict: word(decision.verdict, decision.fault).to_owned(),
        reason,
        by: decision.by.clone(),
        because: because.into_iter().collect(),
        answer,
        ..new(set, asking, Kind::Approval, &csr.certname, csr, asked, took)
    }
}

/// A verdict about a request as one word; one that is pending for want of an opinion has its own.
pub(crate) fn word(verdict: Verdict, fault: bool) -> &'static str {
    match (verdict, fault) {
        (Verdict::Approve { .. }, _) => "approve",
        (Verdict::Deny, _) => "deny",
        (Verdict::Pending, false) => "pending",
        (Verdict::Pending, true) => "no-decision",
    }
}

/// What classifiers came to: `matched`, `no-match`, `rejected` or `failed`.
pub(crate) fn of_classification(
    set: &PluginSet,
    asking: &Asking,
    node: &Node,
    said: &Result<NodeClassification, Unclassified>,
    asked: Vec<Asked>,
    took: Duration,
) -> Record {
    let last = asked.last().map(|asked| asked.plugin.clone());
    let who = last.as_deref().unwrap_or_default();
    let (verdict, reason, by) = match said {
        Ok(found) => ("matched", format!("classified by `{}`", found.by), Some(found.by.clone())),
        Err(Unclassified::NoMatch) => ("no-match", "no classifier knows this node".to_owned(), None),
        Err(Unclassified::Rejected(_)) => ("rejected", format!("rejected by `{who}`"), last),
        Err(Unclassified::Contradicted(_)) => {
            ("failed", "classifiers contradict each other".to_owned(), None)
        }
        Err(_) => {
            let why = asked.last().map(fault).unwrap_or_default();
            ("failed", format!("`{who}` {why}"), last)
        }
    };
    let because = match said {
        Ok(found) => found.because.clone(),
        Err(Unclassified::NoMatch) => Vec::new(),
        Err(error) => vec![error.to_string()],
    };
    Record {
        verdict: verdict.to_owned(),
        reason,
        by,
        because,
        answer: said.as_ref().ok().and_then(value),
        ..new(set, asking, Kind::Classification, &node.trusted.certname, node, asked, took)
    }
}

/// The same, where the node was served as so many seconds ago: `last-good`.
pub(crate) fn last_good(failed: Record, last: &NodeClassification, age: u64) -> Record {
    Record {
        verdict: "last-good".to_owned(),
        reason: format!("{}; classified as {age} s ago", failed.reason),
        answer: value(last),
        ..failed
    }
}

/// The same, where what the node was is longer ago than these seconds.
pub(crate) fn too_old(failed: Record, most: u64) -> Record {
    let reason = format!("{}; the last good classification is older than {most} s", failed.reason);
    Record { reason, ..failed }
}

/// What providers came to: `catalog` or `failed`.
pub(crate) fn of_provision(
    set: &PluginSet,
    asking: &Asking,
    input: &ProvisionInput,
    said: &Result<catalog::Compiled, Failed>,
    asked: Vec<Asked>,
    took: Duration,
) -> Record {
    let broken = asked.last().filter(|asked| asked.fault.is_some());
    let (verdict, reason) = match (said, broken) {
        (Ok(_), _) => ("catalog", "compiled".to_owned()),
        (Err(_), Some(broken)) => ("failed", format!("`{}` {}", broken.plugin, fault(broken))),
        (Err(_), None) => ("failed", "the classes make no catalog".to_owned()),
    };
    let by = broken.map(|broken| broken.plugin.clone());
    Record {
        verdict: verdict.to_owned(),
        reason,
        by,
        because: said.as_ref().err().map(|failed| failed.message.clone()).into_iter().collect(),
        answer: said.as_ref().ok().map(|compiled| contents(&compiled.catalog)),
        ..new(set, asking, Kind::Provision, &input.certname, input, asked, took)
    }
}

/// What the host decided without asking a plugin: its input is null, and nobody can run it again.
pub(crate) fn of_host(
    set: &PluginSet,
    kind: Kind,
    certname: &str,
    verdict: &'static str,
    reason: String,
) -> Record {
    let asking = Asking::about(Default::default());
    Record {
        verdict: verdict.to_owned(),
        reason,
        ..new(set, &asking, kind, certname, &Value::Null, Vec::new(), Duration::ZERO)
    }
}

/// What a record tells of its set; nothing where no plugin was asked, or a full sandbox kept one from
/// answering.
pub(crate) fn observation(record: &Record, first: bool) -> Option<Observation> {
    let last = record.asked.last()?;
    let outcome = match (last.said.as_str(), last.fault.as_deref()) {
        ("fault", Some("busy")) => return None,
        ("fault", Some("timeout")) => Outcome::Timeout,
        ("fault", _) => Outcome::Fault,
        _ => Outcome::Answered,
    };
    let (kind, approval) = match record.kind {
        Kind::Approval => (rollout::Kind::Approval, first.then_some(record.verdict == "approve")),
        Kind::Classification => (rollout::Kind::Classification, None),
        Kind::Provision => (rollout::Kind::Provision, None),
    };
    Some(Observation { kind, outcome, approval })
}

fn new(
    set: &PluginSet,
    asking: &Asking,
    kind: Kind,
    certname: &str,
    input: &impl Serialize,
    asked: Vec<Asked>,
    took: Duration,
) -> Record {
    Record {
        id: asking.id.clone(),
        at: asking.now,
        kind,
        certname: certname.to_owned(),
        occasion: None,
        peer: None,
        input: value(input).unwrap_or_default(),
        set: set.id().to_owned(),
        mode: match asking.mode {
            Mode::Enforce => journal::Mode::Live,
            Mode::Shadow | Mode::Replay => journal::Mode::Shadow,
        },
        asked,
        verdict: String::new(),
        reason: String::new(),
        by: None,
        because: Vec::new(),
        answer: None,
        took,
    }
}

/// How a call ended that brought no answer.
fn fault(asked: &Asked) -> String {
    let kind = asked.fault.as_deref().unwrap_or_default();
    match asked.said.as_str() {
        "failure" => format!("could not answer ({kind})"),
        "pending" => "did not get in time what it asked the host for".to_owned(),
        _ => format!("gave no answer ({kind})"),
    }
}

pub(crate) fn occasion(occasion: Occasion) -> &'static str {
    match occasion {
        Occasion::First => "first",
        Occasion::Renewal => "renewal",
        Occasion::Conflict => "conflict",
    }
}

/// A digest of each resource, how many edges there are, and the resources that each class contains: what
/// changed between two catalogs can be told, and where it came from, and the journal holds neither.
fn contents(catalog: &catalog::Catalog) -> Value {
    let mut json = Vec::with_capacity(1024);
    let digests = catalog.resources.iter().map(|resource| {
        json.clear();
        // Writing to memory does not fail, and every key is a text.
        let _ = serde_json::to_writer(&mut json, resource);
        let name = format!("{}[{}]", resource.resource_type, resource.title);
        (name, Value::String(hex::encode(Sha256::digest(&json))))
    });
    let resources: Map<String, Value> = digests.collect();
    let mut contained: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for edge in &catalog.edges {
        let class = edge.source.strip_prefix("Class[").and_then(|rest| rest.strip_suffix(']'));
        if let Some(class) = class.filter(|_| !edge.target.starts_with("Class[")) {
            contained.entry(class.to_lowercase()).or_default().push(&edge.target);
        }
    }
    json!({"resources": resources, "edges": catalog.edges.len(), "contained": contained})
}

fn value(of: &impl Serialize) -> Option<Value> {
    serde_json::to_value(of).ok()
}

#[cfg(test)]
mod tests;
