//! What a provider answers for one class: plain types that mirror the contract's `fragment`.

use std::fmt;

use serde_json::Value;

use crate::{Map, name};

/// What one class adds to the catalog.
#[derive(Debug, Clone, Default)]
pub struct Fragment {
    /// The class's resources, in the order in which the agent shall apply them.
    pub resources: Vec<FragmentResource>,
    /// Classes that come into the catalog with this one, before its own resources.
    pub includes: Vec<IncludedClass>,
    /// Run stages that this class declares.
    pub stages: Vec<RunStage>,
    /// Texts for the agent's log.
    pub warnings: Vec<String>,
}

/// A resource as a provider made it. Nothing of it is checked yet.
#[derive(Debug, Clone, Default)]
pub struct FragmentResource {
    /// Such as `File`; any case.
    pub resource_type: String,
    /// The title, unique for its type in the whole catalog.
    pub title: String,
    /// Parameters and metaparameters; a null is left out.
    pub parameters: Vec<(String, ParamValue)>,
    /// Tags beside those that a resource has by its type, its title and its class.
    pub tags: Vec<String>,
    /// Kept for other nodes to collect, and not applied on this one.
    pub exported: bool,
}

/// The value of a parameter.
#[derive(Clone, PartialEq)]
pub enum ParamValue {
    /// Any JSON value.
    Plain(Value),
    /// As plain, but the agent masks it, exports leave it out, and no log shows it.
    Sensitive(Value),
    /// References to other resources of the catalog.
    Refs(Vec<ResourceRef>),
}

impl fmt::Debug for ParamValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(value) => write!(f, "{value}"),
            Self::Sensitive(_) => f.write_str("(sensitive)"),
            Self::Refs(refs) => f.debug_list().entries(refs).finish(),
        }
    }
}

/// A reference to a resource, a class or a stage: `Type[title]` in a catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceRef {
    /// Such as `File` or `Class`; any case.
    pub resource_type: String,
    /// The title; of a class its name in any case.
    pub title: String,
}

impl ResourceRef {
    /// A reference from its two halves.
    pub fn new(resource_type: impl Into<String>, title: impl Into<String>) -> Self {
        Self { resource_type: resource_type.into(), title: title.into() }
    }
}

impl fmt::Display for ResourceRef {
    /// On one line and short, whatever the title holds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", name::shown(&self.resource_type), name::shown(&self.title))
    }
}

/// A class that comes into the catalog with another.
#[derive(Debug, Clone, Default)]
pub struct IncludedClass {
    /// The class, of whichever plugin.
    pub name: String,
    /// Its parameters; empty to take it as it is declared elsewhere.
    pub parameters: Map,
    /// The run stage to put it in; that of the including class where none.
    pub in_stage: Option<String>,
}

/// A run stage. `main` always exists.
#[derive(Debug, Clone, Default)]
pub struct RunStage {
    /// Its name.
    pub name: String,
    /// The stage it comes before; empty where only other stages say where it stands.
    pub before: String,
}
