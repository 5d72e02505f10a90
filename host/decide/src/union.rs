//! What several classifiers say of one node, as one; or where they contradict each other.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::{self, Display};

/// Longer lists of conflicts are cut when they are told in words.
const TOLD: usize = 100;

/// What a classifier says of a node, where the words of several can be united.
pub trait Unite: Sized {
    /// A value of a parameter. Equal means equal: two that differ are a conflict.
    type Value: PartialEq;

    /// Takes it apart.
    fn into_parts(self) -> Parts<Self::Value>;

    /// Puts the united parts together. `by` names the classifiers that matched, in the order asked; never
    /// empty.
    fn from_parts(parts: Parts<Self::Value>, by: Vec<String>) -> Self;
}

/// What a classifier says of a node, piece by piece. Not `Debug`, for values may be secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Parts<V> {
    /// The environment, if one is named.
    pub environment: Option<String>,
    /// Classes with their parameters, in order.
    pub classes: Vec<(String, BTreeMap<String, V>)>,
    /// Top-scope parameters.
    pub parameters: BTreeMap<String, V>,
    /// What led to this.
    pub because: Vec<String>,
}

/// Two classifiers that contradict each other. No values, for they may be secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict<P> {
    /// Who named it first.
    pub first: P,
    /// Who named it otherwise; the same one where an answer contradicts itself.
    pub second: P,
    /// What they named.
    pub over: Over,
}

/// What two classifiers differ in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Over {
    /// The environment.
    Environment,
    /// A class.
    Class {
        /// As it was spelt first.
        class: String,
        /// The parameters whose values differ or that only one of them gives.
        parameters: Vec<String>,
    },
    /// A top-scope parameter.
    Parameter(String),
}

impl<P: Display> Display for Conflict<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` and `{}` ", self.first, self.second)?;
        match &self.over {
            Over::Environment => f.write_str("name different environments"),
            Over::Class { class, parameters } => {
                let names: Vec<String> = parameters.iter().take(TOLD).map(|name| quoted(name)).collect();
                write!(f, "give class {} different parameters: {}", quoted(class), names.join(", "))?;
                more(f, parameters.len())
            }
            Over::Parameter(name) => write!(f, "set the top-scope parameter {} differently", quoted(name)),
        }
    }
}

/// All conflicts in one sentence.
pub(crate) struct Told<'a, P>(pub &'a [Conflict<P>]);

impl<P: Display> Display for Told<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("classifiers contradict each other (let one of them say it, or all the same): ")?;
        for (place, conflict) in self.0.iter().take(TOLD).enumerate() {
            write!(f, "{}{conflict}", if place == 0 { "" } else { "; " })?;
        }
        more(f, self.0.len())
    }
}

/// Unites what classifiers said, in the order in which they were asked; or all conflicts, each with the
/// classifier that named the key first.
pub(crate) fn unite<P: Clone + Display, T: Unite>(matched: Vec<(P, T)>) -> Result<T, Vec<Conflict<P>>> {
    let mut environment: Option<(P, String)> = None;
    let mut classes: Vec<(P, String, BTreeMap<String, T::Value>)> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut parameters: BTreeMap<String, (P, T::Value)> = BTreeMap::new();
    let (mut because, mut names, mut conflicts) = (Vec::new(), Vec::new(), Vec::new());
    for (by, said) in matched {
        let parts = said.into_parts();
        let mut differ = |first: &P, over| {
            conflicts.push(Conflict { first: first.clone(), second: by.clone(), over });
        };
        match (&environment, parts.environment) {
            (None, Some(name)) => environment = Some((by.clone(), name)),
            (Some((first, known)), Some(name)) if *known != name => differ(first, Over::Environment),
            _ => {}
        }
        for (class, given) in parts.classes {
            let key = looked_up(&class);
            match places.get(&key).and_then(|&place| classes.get(place)) {
                None => {
                    places.insert(key, classes.len());
                    classes.push((by.clone(), class, given));
                }
                Some((first, class, known)) if *known != given => {
                    let parameters = differing(known, &given);
                    differ(first, Over::Class { class: class.clone(), parameters });
                }
                Some(_) => {}
            }
        }
        for (name, value) in parts.parameters {
            match parameters.entry(name) {
                Entry::Vacant(free) => {
                    free.insert((by.clone(), value));
                }
                Entry::Occupied(known) if known.get().1 != value => {
                    differ(&known.get().0, Over::Parameter(known.key().clone()));
                }
                Entry::Occupied(_) => {}
            }
        }
        because.extend(parts.because);
        names.push(by.to_string());
    }
    if !conflicts.is_empty() {
        return Err(conflicts);
    }
    let parts = Parts {
        environment: environment.map(|(_, name)| name),
        classes: classes.into_iter().map(|(_, class, given)| (class, given)).collect(),
        parameters: parameters.into_iter().map(|(name, (_, value))| (name, value)).collect(),
        because,
    };
    Ok(T::from_parts(parts, names))
}

/// A class's name as catalogs look it up: two spellings of one class are one class.
fn looked_up(class: &str) -> String {
    class.strip_prefix("::").unwrap_or(class).to_ascii_lowercase()
}

fn differing<V: PartialEq>(one: &BTreeMap<String, V>, other: &BTreeMap<String, V>) -> Vec<String> {
    let unequal = one.iter().filter(|(name, value)| other.get(*name) != Some(*value));
    let only_in_other = other.iter().filter(|(name, _)| !one.contains_key(*name));
    let mut names: Vec<String> = unequal.chain(only_in_other).map(|(name, _)| name.clone()).collect();
    names.sort();
    names
}

/// A plugin wrote it: on one line, whatever it holds.
fn quoted(name: &str) -> String {
    format!("`{}`", name.escape_debug())
}

fn more(f: &mut fmt::Formatter<'_>, all: usize) -> fmt::Result {
    match all.checked_sub(TOLD) {
        Some(more @ 1..) => write!(f, " and {more} more"),
        _ => Ok(()),
    }
}
