//! What a node is: the first classifier that knows it decides.

use crate::Step;

/// A chain of classifiers on its way to [`Classified`]. `T` is what a classifier says of a node.
///
/// The first match or rejection wins. A classifier that fails ends the chain: a node must not be given
/// another role because the classifier that knows it was away for a moment.
#[derive(Debug, Clone)]
pub struct Classification<P, T> {
    classifiers: Vec<P>,
    asked: usize,
    outcome: Option<Classified<P, T>>,
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
    /// The input makes no sense to the plugin, such as a definition that cannot be read.
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
        /// Which one.
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
    /// A classifier could not answer.
    Failed {
        /// Which one.
        by: P,
        /// What kept it.
        reason: String,
        /// Of what kind that was.
        kind: FailureKind,
    },
}

impl<P: Clone, T> Classification<P, T> {
    /// A chain that asks `classifiers` in this order.
    pub fn new(classifiers: Vec<P>) -> Self {
        Self { classifiers, asked: 0, outcome: None }
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
        self.outcome = Some(match opinion {
            Opinion::Abstain => {
                self.asked += 1;
                return;
            }
            Opinion::Matched(value) => Classified::Classified { by, value },
            Opinion::Reject(reason) => Classified::Rejected { by, reason },
            Opinion::Failure(kind, reason) => Classified::Failed { by, reason, kind },
            Opinion::Fault(reason) => Classified::Failed { by, reason, kind: FailureKind::Fault },
        });
    }

    /// The outcome by value, once [`next`](Self::next) is done; [`Classified::NoMatch`] where no classifier
    /// had an opinion.
    pub fn into_outcome(self) -> Classified<P, T> {
        self.outcome.unwrap_or(Classified::NoMatch)
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
