//! What goes into a call and what comes out, as `wit/` defines it. JSON texts
//! are parsed; text that a guest writes for people is one line of bounded length.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Whether the answer of a call will be acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The answer decides.
    Enforce,
    /// The answer is compared with the enforcing plugin's, then dropped.
    Shadow,
    /// A recorded call is run again.
    Replay,
}

/// What a plugin is told about the call it is in.
#[derive(Clone, Debug)]
pub struct CallContext {
    /// Names the decision in logs; also the seed of WASI's random bytes.
    pub decision_id: String,
    /// Whether the answer will be acted on.
    pub mode: Mode,
    /// Nanoseconds since the Unix epoch; every clock of the guest stands still here.
    pub now: u64,
    /// The plugin's settings as JSON text with sorted keys.
    pub settings: String,
    /// Further facts about the call.
    pub annotations: Vec<(String, String)>,
}

/// A node as its client certificate presents it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trusted {
    /// Its name.
    pub certname: String,
    /// False while it has no verified certificate.
    pub authenticated: bool,
    /// Certificate extensions by short name or dotted OID.
    pub extensions: Vec<(String, String)>,
    /// What the operator's own trusted source says of it.
    pub external: Map<String, Value>,
}

/// Another name that a request asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AltName {
    /// `dns`, `ip`, `uri` or `email`.
    pub kind: String,
    /// The name.
    pub value: String,
}

/// Why a request is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Occasion {
    /// The CA holds no certificate for this name.
    First,
    /// The node presented its valid certificate with the request.
    Renewal,
    /// A certificate for this name exists and was not presented.
    Conflict,
}

/// A certificate signing request that the host has checked.
#[derive(Clone, Serialize, Deserialize)]
pub struct Csr {
    /// The name it asks for.
    pub certname: String,
    /// SHA-256 of the DER, lower-case hex.
    pub fingerprint: String,
    /// The request itself.
    #[serde(with = "crate::bytes")]
    pub der: Vec<u8>,
    /// `rsa`, `ec-p256`, `ec-p384`, `ec-p521` or `ed25519`.
    pub key_algorithm: String,
    /// The key's size.
    pub key_bits: u32,
    /// Further names.
    pub alt_names: Vec<AltName>,
    /// Certificate extensions by short name or dotted OID.
    pub extensions: Vec<(String, String)>,
    /// CSR attributes; they may hold secrets.
    pub attributes: Vec<(String, String)>,
    /// Why it is here.
    pub occasion: Occasion,
    /// The address it came from.
    pub peer: Option<String>,
}

impl fmt::Debug for Csr {
    /// Leaves out the attributes' values, and the DER that holds them too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Csr")
            .field("certname", &self.certname)
            .field("fingerprint", &self.fingerprint)
            .field("key_algorithm", &self.key_algorithm)
            .field("key_bits", &self.key_bits)
            .field("alt_names", &self.alt_names)
            .field("extensions", &self.extensions)
            .field("attributes", &self.attributes.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("occasion", &self.occasion)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// What an approver says of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Sign it.
    Approve {
        /// Why.
        reason: String,
        /// Seconds; the CA's own lifetime where none. The CA only shortens.
        lifetime: Option<u64>,
    },
    /// Refuse it.
    Deny(String),
    /// Keep it for a person or the next try.
    Pending(String),
    /// No opinion.
    Abstain,
}

/// The plugin's own word that it could not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The same input fails again.
    InvalidInput(String),
    /// A later try may work.
    Unavailable(String),
    /// Anything else.
    Internal(String),
}

impl Failure {
    /// `invalid-input`, `unavailable` or `internal`.
    pub fn kind(&self) -> &'static str {
        match self {
            Failure::InvalidInput(_) => "invalid-input",
            Failure::Unavailable(_) => "unavailable",
            Failure::Internal(_) => "internal",
        }
    }

    /// The plugin's words.
    pub fn message(&self) -> &str {
        match self {
            Failure::InvalidInput(text) | Failure::Unavailable(text) | Failure::Internal(text) => text,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind(), self.message())
    }
}

/// A node to be classified.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Who it is.
    pub trusted: Trusted,
    /// The environment that the agent asked for.
    pub requested_environment: Option<String>,
}

/// A class that a node gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Its parameters.
    pub parameters: Map<String, Value>,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub struct Classification {
    /// The environment it belongs to, where the classifier says so.
    pub environment: Option<String>,
    /// In the order the catalog includes them.
    pub classes: Vec<Class>,
    /// Parameters of the node as a whole.
    pub parameters: Map<String, Value>,
    /// What led here, shortest first.
    pub because: Vec<String>,
}

/// What a classifier says of a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// This is what it is.
    Matched(Classification),
    /// No opinion.
    Abstain,
    /// It must get no catalog.
    Reject(String),
}

/// One class of one node, to be turned into resources.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProvideRequest {
    /// Who it is.
    pub node: Trusted,
    /// Its environment.
    pub environment: String,
    /// The class.
    pub class: String,
    /// The class's parameters, valid for its schema.
    pub parameters: Map<String, Value>,
    /// Parameters of the node as a whole.
    pub node_parameters: Map<String, Value>,
}

/// `Type[title]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceRef {
    /// The type, as catalogs write it.
    pub resource_type: String,
    /// The title.
    pub title: String,
}

/// The value of a resource's parameter.
#[derive(Clone, PartialEq)]
pub enum ParamValue {
    /// Any JSON value.
    Plain(Value),
    /// The same, never shown.
    Sensitive(Value),
    /// What `require`, `before`, `notify` and `subscribe` hold.
    Refs(Vec<ResourceRef>),
}

impl fmt::Debug for ParamValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParamValue::Plain(value) => f.debug_tuple("Plain").field(value).finish(),
            ParamValue::Sensitive(_) => f.write_str("Sensitive(..)"),
            ParamValue::Refs(refs) => f.debug_tuple("Refs").field(refs).finish(),
        }
    }
}

/// One resource of a fragment.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// The type, as catalogs write it.
    pub resource_type: String,
    /// The title.
    pub title: String,
    /// Its parameters, in the plugin's order.
    pub parameters: Vec<(String, ParamValue)>,
    /// Its own tags.
    pub tags: Vec<String>,
    /// Stored for other nodes, not applied on this one.
    pub exported: bool,
}

/// A class that another class needs.
#[derive(Clone, Debug, PartialEq)]
pub struct IncludedClass {
    /// Its name.
    pub name: String,
    /// Its parameters.
    pub parameters: Map<String, Value>,
    /// The stage to put it in; the including class's own where none.
    pub in_stage: Option<String>,
}

/// A run stage, placed before another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunStage {
    /// Its name.
    pub name: String,
    /// The stage that comes after it.
    pub before: String,
}

/// What a provider makes of one class.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fragment {
    /// The resources.
    pub resources: Vec<Resource>,
    /// Classes it needs too.
    pub includes: Vec<IncludedClass>,
    /// Stages it declares.
    pub stages: Vec<RunStage>,
    /// For the agent's log.
    pub warnings: Vec<String>,
}

/// Which kinds a plugin is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    /// It decides on certificate signing requests.
    pub approver: bool,
    /// It decides what a node is.
    pub classifier: bool,
    /// It turns classes into resources.
    pub provider: bool,
}

/// Something that a plugin wants to be granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// `object-store` or `stored-config`; what else there may be, this host cannot grant.
    pub name: String,
    /// Why, for the operator.
    pub reason: String,
    /// Whether the plugin is of use without it.
    pub optional: bool,
}

/// What a plugin says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    /// Its name: a letter, then lower-case letters, digits and dashes.
    pub name: String,
    /// Its version.
    pub version: String,
    /// One sentence.
    pub summary: String,
    /// What it wants to be granted.
    pub capabilities: Vec<Capability>,
    /// A JSON Schema of its settings.
    pub settings_schema: Option<Value>,
}

/// Something wrong with a plugin's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsProblem {
    /// A JSON Pointer; empty for the whole document.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

/// A class that a provider provides.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassInfo {
    /// Its name.
    pub name: String,
    /// One sentence.
    pub summary: String,
    /// A JSON Schema of its parameters, with their defaults.
    pub parameters_schema: Value,
}
