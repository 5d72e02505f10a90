//! Sets of plugins as administrators see them: names, digests, who asked for what, and no settings.

use std::collections::BTreeMap;

use rollout::{LivePlugin, PluginSet, ShadowSummary};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Every set that matters now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plugins {
    /// The one that decides.
    pub live: Set,
    /// The one that answers beside it.
    pub shadow: Option<Shadow>,
    /// Those that can go live at once, newest first; the live one is not among them.
    pub staged: Vec<Set>,
}

/// One set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Set {
    /// SHA-256 in hex over all that makes it what it is.
    pub id: String,
    /// In the order in which they are asked.
    pub plugins: Vec<Plugin>,
    /// How the answers of several classifiers are merged: `first-match` or `union`.
    pub merge: String,
    /// Names that need several approvals.
    pub quorum: Vec<Quorum>,
    /// When it was staged, as RFC 3339.
    pub made_at: String,
    /// Who had it staged.
    pub by: String,
    /// Where it came from.
    pub from: String,
}

/// A plugin in its set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plugin {
    /// The operator's name for it.
    pub name: String,
    /// Its own name.
    pub plugin: String,
    /// Its own version.
    pub version: String,
    /// What it does, in its own words.
    pub summary: String,
    /// SHA-256 of its component, in hex.
    pub digest: String,
    /// `approver`, `classifier`, `provider`.
    pub kinds: Vec<String>,
    /// Where its component came from, as the operator wrote it.
    pub source: String,
    /// The name of the key whose signature it has.
    pub signed_by: Option<String>,
    /// What it asks for.
    pub wanted: Vec<Wanted>,
    /// The interfaces that it imports: what it could reach at most.
    pub possible: Vec<String>,
    /// What it may reach, as the operator wrote it.
    pub granted: BTreeMap<String, Value>,
    /// What its faults lead to.
    pub on_failure: Value,
    /// The classes that it provides.
    pub classes: Vec<String>,
}

/// A capability that a plugin asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Its name, such as `object-store`.
    pub name: String,
    /// Why, in the plugin's words.
    pub reason: String,
    /// Whether the plugin works without.
    pub optional: bool,
}

/// Names that need several approvals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quorum {
    /// Which names.
    pub pattern: String,
    /// How many independent approvals.
    pub require: u64,
}

/// How the set that answers beside the live one does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shadow {
    /// Which set.
    pub set: String,
    /// Decisions that it was asked for.
    pub asked: u64,
    /// Decisions that it was not asked for, since there was no room.
    pub dropped: u64,
    /// Where it says what the live one says.
    pub same: u64,
    /// Where it says something else.
    pub differ: u64,
    /// How often, by what changes: `pending → approve`.
    pub by_change: BTreeMap<String, u64>,
    /// Whom it is about; bounded, newest last.
    pub nodes: Vec<Differs>,
}

/// A node of which the shadow says something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differs {
    /// The node.
    pub certname: String,
    /// What was decided.
    pub kind: String,
    /// What changes.
    pub change: String,
}

/// Something that happened to a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, as RFC 3339.
    pub at: String,
    /// `staged`, `shadowed`, `swapped`, `promoted`, `rolled-back`, `refused`, …
    pub event: String,
    /// The set, where there is one.
    pub set: Option<String>,
    /// Who did it.
    pub by: String,
    /// Where it came from.
    pub from: String,
    /// Why; empty where nobody said.
    pub reason: String,
}

/// A set that was staged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Staged {
    /// The set.
    pub set: Set,
    /// What its approvers say of a stranger's request: `pending`, `deny`, `approve` or `no-decision`.
    pub probe: String,
}

/// What came of a swap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swapped {
    /// The set that decided until now.
    pub from: String,
    /// The one that decides.
    pub to: String,
}

impl From<rollout::Swapped> for Swapped {
    fn from(rollout::Swapped { from, to }: rollout::Swapped) -> Self {
        Swapped { from, to }
    }
}

impl Set {
    /// The set as it is shown.
    pub fn of(set: &PluginSet) -> Self {
        let spec = set.spec();
        let quorum = spec.quorum.iter().map(|rule| Quorum {
            pattern: rule.pattern.clone(),
            require: u64::try_from(rule.require).unwrap_or(u64::MAX),
        });
        let granted = |name: &str| {
            spec.plugins.iter().find(|plugin| plugin.name == name).map(|plugin| plugin.grants.clone())
        };
        Set {
            id: set.id().to_owned(),
            plugins: set.plugins().iter().map(|live| plugin(live, granted(&live.name))).collect(),
            merge: word(&spec.merge),
            quorum: quorum.collect(),
            made_at: instant(set.made_at()),
            by: set.origin().by.clone(),
            from: set.origin().from.clone(),
        }
    }
}

fn plugin(live: &LivePlugin, granted: Option<BTreeMap<String, Value>>) -> Plugin {
    let (metadata, kinds) = (live.plugin.metadata(), live.plugin.kinds());
    let kinds =
        [("approver", kinds.approver), ("classifier", kinds.classifier), ("provider", kinds.provider)];
    let wanted = metadata.capabilities.iter().map(|capability| Wanted {
        name: capability.name.clone(),
        reason: capability.reason.clone(),
        optional: capability.optional,
    });
    Plugin {
        name: live.name.clone(),
        plugin: metadata.name.clone(),
        version: metadata.version.clone(),
        summary: metadata.summary.clone(),
        digest: live.plugin.digest().to_owned(),
        kinds: kinds.iter().filter(|(_, is)| *is).map(|(kind, _)| (*kind).to_owned()).collect(),
        source: live.source.clone(),
        signed_by: live.signed_by.clone(),
        wanted: wanted.collect(),
        possible: live.plugin.imports().to_vec(),
        granted: granted.unwrap_or_default(),
        on_failure: json!(live.on_failure),
        classes: live.plugin.classes().iter().map(|class| class.name.clone()).collect(),
    }
}

pub(super) fn shadow(set: &str, summary: ShadowSummary) -> Shadow {
    let ShadowSummary { asked, dropped, same, differ, by_change, nodes } = summary;
    let differs = |(certname, kind, change): (String, rollout::Kind, String)| Differs {
        certname,
        kind: kind.to_string(),
        change,
    };
    let nodes = nodes.into_iter().map(differs).collect();
    Shadow { set: set.to_owned(), asked, dropped, same, differ, by_change, nodes }
}

pub(super) fn event(event: rollout::Event) -> Event {
    let rollout::Event { at, event, set, by, from, reason } = event;
    let at = OffsetDateTime::from_unix_timestamp(at).map(instant).unwrap_or_else(|_| at.to_string());
    Event { at, event, set, by, from, reason }
}

fn instant(at: OffsetDateTime) -> String {
    // The history goes to the second.
    at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
}

/// The word that serde has for it.
fn word(value: &impl Serialize) -> String {
    json!(value).as_str().unwrap_or_default().to_owned()
}
