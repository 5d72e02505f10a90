//! A set of plugins as somebody asks for it: what is compiled and checked when it is staged.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A whole set: the plugins in the order in which they are asked, and how their answers add up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetSpec {
    /// In the operator's order.
    pub plugins: Vec<PluginSpec>,
    /// What is made of several classifiers that know a node.
    #[serde(default)]
    pub merge: Merge,
    /// Names that need more than one approval; the first rule that fits holds.
    #[serde(default)]
    pub quorum: Vec<QuorumRule>,
}

/// One plugin of a set.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginSpec {
    /// The operator's name for it.
    pub name: String,
    /// Where the component comes from.
    pub source: Source,
    /// Handed over with every call: an object. It may hold secrets.
    #[serde(default = "no_settings")]
    pub settings: Value,
    /// Capability to its argument, as configured.
    #[serde(default)]
    pub grants: BTreeMap<String, Value>,
    /// The only component accepted, as SHA-256 in lower-case hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What its failure or fault comes to.
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// Where a component comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// It is part of this program, by that name.
    Embedded(String),
    /// A file, read whole when the set is staged. A signature is looked for in `FILE.sig`.
    File(PathBuf),
    /// An object, by its URL. A signature is looked for in `URL.sig`.
    Object(String),
    /// A component that is kept already, or that the CA has: SHA-256 in lower-case hex.
    Digest(String),
}

/// What the failure or fault of a plugin comes to. Where none is given, the master's own rule holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnFailure {
    /// Of an approver; pending where none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<FailedApproval>,
    /// Of a classifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<FailedClassification>,
    /// How old, in seconds, the last good classification may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<u64>,
}

/// What the failure of an approver comes to; never an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailedApproval {
    /// The request is kept and looked at again later.
    Pending,
    /// The request is refused.
    Deny,
}

/// What the failure of a classifier comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailedClassification {
    /// The node is what it last was, up to [`OnFailure::max_age`].
    LastGood,
    /// The node gets no catalog.
    Fail,
}

/// What is made of several classifiers that know a node; see [`decide::Merge`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Merge {
    /// The first one decides.
    #[default]
    FirstMatch,
    /// What they say is united; a conflict is an error.
    Union,
}

impl From<Merge> for decide::Merge {
    fn from(merge: Merge) -> Self {
        match merge {
            Merge::FirstMatch => decide::Merge::FirstMatch,
            Merge::Union => decide::Merge::Union,
        }
    }
}

/// How many independent approvals the names of one pattern need; see [`decide::Rules`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuorumRule {
    /// A certname in which each `*` stands for any run of characters.
    pub pattern: String,
    /// Approvals by as many different components.
    pub require: usize,
}

/// Who changed something, and with what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Such as `root (uid 0)`, a certname, `SIGHUP`, `file watch`, `start`, `guard`.
    pub by: String,
    /// Such as a configuration file, the name of an uploaded file, an address.
    pub from: String,
}

impl Origin {
    /// From any two words.
    pub fn new(by: impl Into<String>, from: impl Into<String>) -> Self {
        Origin { by: by.into(), from: from.into() }
    }
}

impl PluginSpec {
    /// A plugin without settings and grants.
    pub fn new(name: impl Into<String>, source: Source) -> Self {
        PluginSpec {
            name: name.into(),
            source,
            settings: no_settings(),
            grants: BTreeMap::new(),
            digest: None,
            on_failure: OnFailure::default(),
        }
    }
}

/// Without the settings, which may hold secrets.
impl fmt::Debug for PluginSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginSpec")
            .field("name", &self.name)
            .field("source", &self.source)
            .field("grants", &self.grants)
            .field("digest", &self.digest)
            .field("on_failure", &self.on_failure)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Embedded(name) => write!(f, "embedded {name}"),
            Source::File(path) => write!(f, "{}", path.display()),
            Source::Object(url) => f.write_str(url),
            Source::Digest(digest) => write!(f, "sha256:{digest}"),
        }
    }
}

fn no_settings() -> Value {
    Value::Object(serde_json::Map::new())
}
