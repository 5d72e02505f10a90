//! Why a catalog cannot be compiled. Every text names the node and whoever is to mend it.

use std::fmt;

use crate::{name, schema::Problem};

/// How many problems, and resources along a cycle, an error's text holds. The error itself has them all.
const SHOWN_PROBLEMS: usize = 20;

/// A class and the plugin that provides it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The class, such as `hadoop::worker`.
    pub class: String,
    /// The plugin, as its operator calls it.
    pub plugin: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "class {} (plugin {})", self.class, name::shown(&self.plugin))
    }
}

/// Who brought a class into the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The classifier listed it.
    Classification,
    /// Another class includes it.
    Class(Owner),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Classification => f.write_str("the node's classification"),
            Self::Class(owner) => owner.fmt(f),
        }
    }
}

/// Why a node gets no catalog. Nothing of it may be kept: a catalog is whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("node {node}: {fault}")]
pub struct CompileError {
    /// The node's certname.
    pub node: String,
    /// What is wrong.
    pub fault: Box<Fault>,
}

impl CompileError {
    pub(crate) fn new(node: &str, fault: Fault) -> Self {
        Self { node: node.into(), fault: Box::new(fault) }
    }
}

/// What is wrong with a catalog. Each text names the class and the plugin it is about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No plugin provides a class; or the name is no class name.
    #[error("no plugin provides class \"{name}\", which {origin} asks for{}", hint(suggestion))]
    UnknownClass {
        /// The class as it was asked for, on one line.
        name: String,
        /// Who asked.
        origin: Origin,
        /// A class that there is and that is spelt much like it.
        suggestion: Option<String>,
    },
    /// A class's parameters do not fit its schema. All problems of the class at once; no values.
    #[error("{owner}, as {origin} declares it: {}", list(problems))]
    Parameters {
        /// The class.
        owner: Owner,
        /// Who declares it so.
        origin: Origin,
        /// What is wrong.
        problems: Vec<Problem>,
    },
    /// A class is declared twice and not alike.
    #[error(
        "{owner} is declared by {first} and again by {second}, which differ in {what}: \
         declare it once, such as among the node's classes, and include it without parameters elsewhere"
    )]
    ConflictingParameters {
        /// The class.
        owner: Owner,
        /// Whose declaration stands.
        first: Origin,
        /// Whose does not agree with it.
        second: Origin,
        /// The names of the parameters in which they differ, or the two stages.
        what: String,
    },
    /// A name, a title, a tag or a value that a catalog cannot hold.
    #[error("{owner}: {what}")]
    BadName {
        /// Whose it is.
        owner: Owner,
        /// What is wrong with what.
        what: String,
    },
    /// More than one catalog may hold.
    #[error("{owner} brings the catalog to more than {limit} {what}")]
    TooMany {
        /// The class that is one too much, or has it.
        owner: Owner,
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// Two resources of one type and title, or that are one thing on the node.
    #[error("{resource} is declared by {first} and again by {second}{}", same_as(other))]
    Duplicate {
        /// The second one's reference.
        resource: String,
        /// The first one's reference where it is another, such as two files of one path.
        other: Option<String>,
        /// Whose the first is.
        first: Owner,
        /// Whose the second is.
        second: Owner,
    },
    /// A reference to what the catalog does not have.
    #[error(
        "{owner}: {resource} has {parameter} => {reference}, which is not in the catalog{}",
        hint(suggestion)
    )]
    Dangling {
        /// Whose the resource is.
        owner: Owner,
        /// The resource.
        resource: String,
        /// The parameter that holds the reference.
        parameter: String,
        /// The reference.
        reference: String,
        /// Why it may be missing.
        suggestion: Option<String>,
    },
    /// Resources, classes and stages that wait for each other in a circle.
    #[error("dependency cycle: {}", circle(path))]
    Cycle {
        /// The references along the circle, each before the next; the first is repeated at the end. A
        /// resource is followed by its class and plugin.
        path: Vec<String>,
    },
    /// A run stage that no class declares.
    #[error(
        "{owner} names run stage \"{stage}\" ({how}), which no class of the catalog declares; \
         declared are {}",
        declared.join(", ")
    )]
    UndeclaredStage {
        /// The class that is to run in it, or that places another stage before it.
        owner: Owner,
        /// The stage.
        stage: String,
        /// How it is named.
        how: String,
        /// The stages that there are.
        declared: Vec<String>,
    },
    /// Stages that come before each other in a circle.
    #[error("run stages come before each other in a circle: {} (declared by {})",
        path.join(" before "), owners.join(", "))]
    StageCycle {
        /// The stages along the circle; the first is repeated at the end.
        path: Vec<String>,
        /// The classes and plugins that declare them.
        owners: Vec<String>,
    },
    /// The compiler was stepped wrongly: an answer without a question, or the end before it.
    #[error("the catalog's compiler was {0}")]
    Misstep(&'static str),
}

fn hint(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

fn same_as(other: &Option<String>) -> String {
    other.as_ref().map(|other| format!(" as {other}")).unwrap_or_default()
}

fn list(problems: &[Problem]) -> String {
    let mut texts: Vec<String> = problems.iter().take(SHOWN_PROBLEMS).map(ToString::to_string).collect();
    if let Some(more) = problems.len().checked_sub(SHOWN_PROBLEMS).filter(|more| *more > 0) {
        texts.push(format!("and {more} more"));
    }
    texts.join("; ")
}

fn circle(path: &[String]) -> String {
    match path.get(..SHOWN_PROBLEMS) {
        Some(start) if path.len() > SHOWN_PROBLEMS + 1 => {
            let last = path.last().map(String::as_str).unwrap_or_default();
            format!("{} => ({} more) => {last}", start.join(" => "), path.len() - SHOWN_PROBLEMS - 1)
        }
        _ => path.join(" => "),
    }
}
