//! What a node is: the first classifier that knows it decides, or all that know it together.

use std::fmt::Display;

use crate::Step;
use crate::union::{self, Conflict, Told, Unite};

/// A chain of classifiers on its way to [`Classified`]. `T` is what a classifier says of a node.
///
/// The first match wins, or all matches are united ([`Merge`]); the first rejection wins. A classifier
/// that fails ends the chain: a node must not be given another role, or half of its own, because the
/// classifier that knows it was away for a moment.
#[derive(Debug, Clone)]
pub struct Classification<P, T> {
    classifiers: Vec<P>,
    asked: usize,
    outcome: Option<Classified<P, T>>,
    /// None where the first match wins.
    unite: Option<UniteAll<P, T>>,
    matched: Vec<(P, T)>,
    conflicts: Vec<Conflict<P>>,
}

/// From those who matched to the outcome of a union, and the conflicts if that is what failed it.
type UniteAll<P, T> = fn(Vec<(P, T)>) -> (Classified<P, T>, Vec<Conflict<P>>);

/// What to make of several classifiers that know a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Merge {
    /// The first one decides, and none further down is asked.
    #[default]
    FirstMatch,
    /// All are asked, and what they say is united. Where two differ there is no answer.
    Union,
}

/// What one classifier answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opinion<T> {
    /// The node is this.
    Matched(T),
    /// Not a node of mine: the next classifier is asked.
    Abstain,
    /// The node gets no catalog.
    Reject(String),
    /// The plugin said that it could not answer.
    Failure(FailureKind, String),
    /// The plugin gave no answer: a trap, a timeout, a limit, nonsense.
    Fault(String),
}

/// Why a classifier had no answer; decides the exit code and whether a later try makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The input makes no sense to the plugin, such as a definition that cannot be read; or the answers of
    /// two classifiers make none together.
    InvalidInput,
    /// Something the plugin depends on did not answer; a later try may work.
    Unavailable,
    /// Anything else that the plugin said of itself.
    Internal,
    /// The plugin broke rather than said so.
    Fault,
}

/// What a chain of classifiers came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Classified<P, T> {
    /// A classifier knows the node.
    Classified {
        /// Which one; the first of them in a union.
        by: P,
        /// What it said.
        value: T,
    },
    /// No classifier knows the node.
    NoMatch,
    /// A classifier refuses the node a catalog.
    Rejected {
        /// Which one.
        by: P,
        /// In its own words.
        reason: String,
    },
    /// A classifier could not answer, or contradicts another one: then the reason tells all
    /// [`conflicts`](Classification::conflicts), and the kind is [`FailureKind::InvalidInput`].
    Failed {
        /// Which one; the second of the first conflict.
        by: P,
        /// What kept it.
        reason: String,
        /// Of what kind that was.
        kind: FailureKind,
    },
}

impl<P: Clone, T> Classification<P, T> {
    /// A chain that asks `classifiers` in this order, of whom the first that knows the node decides.
    pub fn new(classifiers: Vec<P>) -> Self {
        let (matched, conflicts) = (Vec::new(), Vec::new());
        Self { classifiers, asked: 0, outcome: None, unite: None, matched, conflicts }
    }

    /// A chain that asks `classifiers` in this order and merges what they say.
    pub fn merging(classifiers: Vec<P>, merge: Merge) -> Self
    where
        P: Display,
        T: Unite,
    {
        let unite: Option<UniteAll<P, T>> = match merge {
            Merge::FirstMatch => None,
            Merge::Union => Some(united),
        };
        Self { unite, ..Self::new(classifiers) }
    }

    /// Whom to ask next, or what was decided.
    pub fn next(&self) -> Step<P, &Classified<P, T>> {
        match (&self.outcome, self.classifiers.get(self.asked)) {
            (Some(outcome), _) => Step::Done(outcome),
            (None, Some(classifier)) => Step::Ask(classifier.clone()),
            (None, None) => Step::Done(&Classified::NoMatch),
        }
    }

    /// Takes the answer of the classifier that [`next`](Self::next) named. Past the end it changes nothing.
    pub fn answer(&mut self, opinion: Opinion<T>) {
        let (None, Some(by)) = (&self.outcome, self.classifiers.get(self.asked)) else { return };
        let by = by.clone();
        self.asked += 1;
        self.outcome = match opinion {
            Opinion::Abstain => None,
            Opinion::Matched(value) if self.unite.is_some() => {
                self.matched.push((by, value));
                None
            }
            Opinion::Matched(value) => Some(Classified::Classified { by, value }),
            Opinion::Reject(reason) => Some(Classified::Rejected { by, reason }),
            Opinion::Failure(kind, reason) => Some(Classified::Failed { by, reason, kind }),
            Opinion::Fault(reason) => Some(Classified::Failed { by, reason, kind: FailureKind::Fault }),
        };
        if let (None, Some(unite), None) = (&self.outcome, self.unite, self.classifiers.get(self.asked)) {
            let (outcome, conflicts) = unite(std::mem::take(&mut self.matched));
            (self.outcome, self.conflicts) = (Some(outcome), conflicts);
        }
    }

    /// Every contradiction that failed a union; empty where none did.
    pub fn conflicts(&self) -> &[Conflict<P>] {
        &self.conflicts
    }

    /// The outcome by value, once [`next`](Self::next) is done; [`Classified::NoMatch`] where no classifier
    /// had an opinion.
    pub fn into_outcome(self) -> Classified<P, T> {
        self.outcome.unwrap_or(Classified::NoMatch)
    }
}

fn united<P: Clone + Display, T: Unite>(matched: Vec<(P, T)>) -> (Classified<P, T>, Vec<Conflict<P>>) {
    let Some((first, _)) = matched.first() else { return (Classified::NoMatch, Vec::new()) };
    let by = first.clone();
    match union::unite(matched) {
        Ok(value) => (Classified::Classified { by, value }, Vec::new()),
        Err(conflicts) => {
            let by = conflicts.first().map_or(by, |conflict| conflict.second.clone());
            let (reason, kind) = (Told(&conflicts).to_string(), FailureKind::InvalidInput);
            (Classified::Failed { by, reason, kind }, conflicts)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(opinions: &[Opinion<u8>], asked: &str, expected: Classified<char, u8>) {
        let mut chain = Classification::new(('a'..).take(opinions.len()).collect());
        let mut heard = String::new();
        for opinion in opinions {
            let Step::Ask(who) = chain.next() else { break };
            heard.push(who);
            chain.answer(opinion.clone());
        }
        assert_eq!(chain.next(), Step::Done(&expected), "{opinions:?}");
        assert_eq!(heard, asked, "{opinions:?}");
        chain.answer(Opinion::Matched(255));
        assert_eq!(chain.into_outcome(), expected, "an answer after the end changes nothing");
    }

    #[test]
    fn the_first_classifier_that_knows_the_node_decides() {
        use Opinion::*;
        check(&[Matched(1), Matched(2)], "a", Classified::Classified { by: 'a', value: 1 });
        check(&[Abstain, Matched(2)], "ab", Classified::Classified { by: 'b', value: 2 });
        check(
            &[Reject("gone".into()), Matched(2)],
            "a",
            Classified::Rejected { by: 'a', reason: "gone".into() },
        );
        check(&[Abstain, Abstain], "ab", Classified::NoMatch);
        check(&[], "", Classified::NoMatch);
    }

    #[test]
    fn a_failed_classifier_never_lets_a_later_one_give_another_role() {
        use Opinion::*;
        let failed = |kind| Classified::Failed { by: 'a', reason: "x".into(), kind };
        for kind in [FailureKind::InvalidInput, FailureKind::Unavailable, FailureKind::Internal] {
            check(&[Failure(kind, "x".into()), Matched(2)], "a", failed(kind));
        }
        check(&[Fault("x".into()), Matched(2)], "a", failed(FailureKind::Fault));
    }
}
