//! What is known of a node's decisions when they are explained.

use std::collections::BTreeMap;

use journal::{Entry, Kind, Record};
use serde_json::Value;

/// Everything that an explanation is made of.
pub struct Case {
    /// Whose decisions.
    pub certname: String,
    /// Its certificate, as this machine's CA knows it.
    pub certificate: Certificate,
    /// What is explained, in the order approval, classification, catalog.
    pub decisions: Vec<Decision>,
    /// Sets of plugins that the store still knows, by id.
    pub sets: BTreeMap<String, Set>,
    /// What components say of themselves, such as `s3-registry 0.1.0`, by digest.
    pub components: BTreeMap<String, String>,
}

/// One decision.
pub struct Decision {
    /// What is readable without the journal's key.
    pub entry: Entry,
    /// The whole, or why it can't be read.
    pub record: Result<Record, String>,
}

/// What the CA says of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// There is no CA here.
    Unknown,
    /// It has none.
    None,
    /// It has one in force.
    Signed {
        /// In upper hex.
        serial: String,
        /// Unix seconds.
        not_after: i64,
    },
    /// Its last one is revoked.
    Revoked {
        /// In upper hex.
        serial: String,
        /// Unix seconds.
        at: i64,
    },
}

/// A set of plugins as the store knows it.
pub struct Set {
    /// Unix seconds.
    pub made_at: i64,
    /// Who had it staged.
    pub by: String,
    /// From where.
    pub from: String,
    /// Names of each plugin's settings; their values may be secret.
    pub settings: BTreeMap<String, Vec<String>>,
}

impl Case {
    /// The decision about this.
    pub fn of(&self, kind: Kind) -> Option<&Decision> {
        self.decisions.iter().find(|decision| decision.entry.kind == kind)
    }
}

impl Set {
    /// From what a set was made of.
    pub fn new(row: &rollout::SetRow) -> Self {
        let names = |settings: &Value| settings.as_object().map(|all| all.keys().cloned().collect());
        let plugins = row.spec.plugins.iter();
        Set {
            made_at: row.made_at,
            by: row.origin.by.clone(),
            from: row.origin.from.clone(),
            settings: plugins.map(|p| (p.name.clone(), names(&p.settings).unwrap_or_default())).collect(),
        }
    }
}
