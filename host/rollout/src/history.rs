//! What happened to sets, as operators read it.

use serde::{Deserialize, Serialize};
use store::{PluginEventRow, PluginSetRow};
use time::OffsetDateTime;

use crate::Error;
use crate::set::PluginSet;
use crate::spec::{Origin, SetSpec};
use crate::staging::Written;

/// The longest reason kept, in characters.
const REASON: usize = 1000;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Unix seconds.
    pub at: i64,
    /// `staged`, `refused`, `shadowed`, `unshadowed`, `swapped`, `promoted`, `rolled-back`, or `tripped`
    /// where the guard found nothing to go back to.
    pub event: String,
    /// The set, where there is one.
    pub set: Option<String>,
    /// Who did it.
    pub by: String,
    /// From where.
    pub from: String,
    /// Why; empty where nothing is to be said.
    pub reason: String,
}

/// A set as it is recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct SetRow {
    /// Names it.
    pub id: String,
    /// What it was made from; its settings may be secret.
    pub spec: SetSpec,
    /// Unix seconds.
    pub made_at: i64,
    /// Who had it staged, and from where.
    pub origin: Origin,
    pub(crate) written: Written,
}

impl From<PluginEventRow> for Event {
    fn from(row: PluginEventRow) -> Self {
        Event {
            at: row.at,
            event: row.event,
            set: row.set,
            by: row.made_by,
            from: row.source,
            reason: row.reason,
        }
    }
}

impl TryFrom<PluginSetRow> for SetRow {
    type Error = Error;

    fn try_from(row: PluginSetRow) -> Result<Self, Error> {
        let unreadable = |_| Error::Unreadable { set: row.id.clone() };
        Ok(SetRow {
            spec: serde_json::from_str(&row.spec).map_err(unreadable)?,
            written: serde_json::from_str(&row.written).map_err(unreadable)?,
            origin: Origin { by: row.made_by, from: row.source },
            made_at: row.made_at,
            id: row.id,
        })
    }
}

/// As the store keeps a set.
pub(crate) fn row(set: &PluginSet) -> Result<PluginSetRow, Error> {
    let written: Written = set.plugins.iter().map(|p| (p.name.clone(), p.written.clone())).collect();
    let unreadable = |_| Error::Unreadable { set: set.id.clone() };
    Ok(PluginSetRow {
        id: set.id.clone(),
        spec: serde_json::to_string(&set.spec).map_err(unreadable)?,
        written: serde_json::to_string(&written).map_err(unreadable)?,
        made_at: set.made_at.unix_timestamp(),
        made_by: set.origin.by.clone(),
        source: set.origin.from.clone(),
    })
}

/// An event of now.
pub(crate) fn event(word: &str, set: Option<&str>, origin: &Origin, reason: &str) -> PluginEventRow {
    PluginEventRow {
        at: OffsetDateTime::now_utc().unix_timestamp(),
        event: word.to_owned(),
        set: set.map(str::to_owned),
        made_by: origin.by.clone(),
        source: origin.from.clone(),
        reason: reason.chars().take(REASON).collect(),
    }
}
