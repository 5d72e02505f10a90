//! What every kind of plugin shares (`wit/types.wit`, `wit/manifest.wit`).

use std::fmt;

use crate::{Map, Value};

/// What every plugin tells of itself. Both functions run while the host loads the plugin, with no
/// capability granted.
pub trait Plugin {
    /// Name, version, summary, and what the plugin wants from the host.
    fn describe() -> Metadata;

    /// Every problem of a settings document at once; an empty list accepts it.
    ///
    /// `settings` is `{}` where the operator configured none.
    fn validate_settings(_settings: &Value) -> Vec<Problem> {
        vec![]
    }
}

/// A plugin as the operator sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// The plugin's name, usually `env!("CARGO_PKG_NAME")`.
    pub name: String,
    /// Its version, usually `env!("CARGO_PKG_VERSION")`.
    pub version: String,
    /// One line.
    pub summary: String,
    /// What it wants the operator to grant.
    pub capabilities: Vec<Capability>,
    /// A JSON Schema of its settings.
    pub settings_schema: Option<Value>,
}

impl Metadata {
    /// A plugin without capabilities and settings.
    pub fn new(name: &str, version: &str, summary: &str) -> Self {
        Self { name: name.into(), version: version.into(), summary: summary.into(), ..Self::default() }
    }

    /// Adds a capability without which the plugin is useless: the host refuses to load it ungranted.
    #[must_use]
    pub fn needs(self, capability: &str, reason: &str) -> Self {
        self.capability(capability, reason, false)
    }

    /// Adds a capability the plugin can do without.
    #[must_use]
    pub fn may_use(self, capability: &str, reason: &str) -> Self {
        self.capability(capability, reason, true)
    }

    /// Sets the JSON Schema of the settings.
    #[must_use]
    pub fn settings(mut self, schema: Value) -> Self {
        self.settings_schema = Some(schema);
        self
    }

    fn capability(mut self, name: &str, reason: &str, optional: bool) -> Self {
        self.capabilities.push(Capability { name: name.into(), reason: reason.into(), optional });
        self
    }
}

/// Something a plugin wants the operator to grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// `object-store` or `stored-config`.
    pub name: String,
    /// Why, for the operator who is asked.
    pub reason: String,
    /// Whether the plugin can do without it.
    pub optional: bool,
}

/// One thing that is wrong with a settings document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// A JSON Pointer (RFC 6901) into the settings; empty for the whole document.
    pub path: String,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl Problem {
    /// A problem at a JSON Pointer.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

/// Whether the answer of a call will be acted on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The answer decides.
    #[default]
    Enforce,
    /// The answer is compared with the enforcing plugin's and then dropped.
    Shadow,
    /// A recorded call is being run again.
    Replay,
}

/// How important a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// A node as its client certificate presents it. Nothing here is self-reported.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trusted {
    /// The node's certificate name.
    pub certname: String,
    /// False while the node has no verified certificate yet.
    pub authenticated: bool,
    /// Certificate extensions: the short name where one is registered (such as `pp_role`), else the
    /// dotted OID.
    pub extensions: Vec<(String, String)>,
    /// What the operator's own trusted source says of the node.
    pub external: Map,
}

impl Trusted {
    /// The first extension of this name.
    pub fn extension(&self, name: &str) -> Option<&str> {
        self.extensions.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// Why a plugin could not answer. This is not a "no": a refusal is an answer and has its own case in
/// [`crate::Verdict`] and [`crate::Outcome`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The input makes no sense to this plugin; the same input fails again.
    InvalidInput(String),
    /// Something the plugin depends on did not answer; a later try may work.
    Unavailable(String),
    /// Anything else, for the log.
    Internal(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidInput(why) => write!(f, "invalid input: {why}"),
            Self::Unavailable(why) => write!(f, "unavailable: {why}"),
            Self::Internal(why) => write!(f, "internal: {why}"),
        }
    }
}

impl std::error::Error for Failure {}

/// Why the host refused or could not do what a [`crate::Call`] asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostError {
    /// The operator has not granted this, or not this much of it, or the service refused.
    Denied(String),
    /// The thing asked for is not there.
    NotFound,
    /// The call is malformed.
    Invalid(String),
    /// A limit of this plugin was reached: calls, bytes or time.
    Limit(String),
    /// The service behind the host failed; a later try may work.
    Unavailable(String),
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(why) => write!(f, "denied: {why}"),
            Self::NotFound => f.write_str("not found"),
            Self::Invalid(why) => write!(f, "invalid: {why}"),
            Self::Limit(why) => write!(f, "limit: {why}"),
            Self::Unavailable(why) => write!(f, "unavailable: {why}"),
        }
    }
}

impl std::error::Error for HostError {}

/// So that `?` works where a plugin has nothing better to say: only what a later try may mend is
/// [`Failure::Unavailable`].
impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        match error {
            HostError::Unavailable(why) => Self::Unavailable(why),
            other => Self::Internal(other.to_string()),
        }
    }
}
