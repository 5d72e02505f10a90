//! Deciding what a node is (`wit/classify.wit`).

use crate::{Call, Failure, Map, Plugin, Trusted};

/// Decides what a node is.
pub trait NodeClassifier: Plugin {
    /// The node's environment, classes and parameters.
    ///
    /// # Errors
    /// The plugin cannot tell: [`Failure::InvalidInput`] where the node's definition is unreadable,
    /// [`Failure::Unavailable`] where it could not be reached.
    fn classify(call: &Call, node: &Node) -> Result<Outcome, Failure>;
}

/// A node that asks for its catalog.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// The node as its certificate presents it.
    pub trusted: Trusted,
    /// The environment the agent asked for.
    pub requested_environment: Option<String>,
}

/// A classifier's answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// This is what the node is.
    Matched(Classification),
    /// No opinion: ask the next classifier.
    Abstain,
    /// This node must get no catalog, and why.
    Reject(String),
}

/// What a node is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Classification {
    /// The environment to use whatever the agent asked for.
    pub environment: Option<String>,
    /// In the order the catalog should include them.
    pub classes: Vec<Class>,
    /// Top-scope parameters.
    pub parameters: Map,
    /// What led here, shortest first, for `explain` and the journal.
    pub because: Vec<String>,
}

/// A class and its parameters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Class {
    /// As catalogs name it, such as `hadoop::worker`.
    pub name: String,
    /// Empty for the class's defaults.
    pub parameters: Map,
}
