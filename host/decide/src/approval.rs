//! Whether to sign: the first approver with an opinion decides.

use std::time::Duration;

use crate::Step;

/// A chain of approvers on its way to a [`Decision`].
///
/// The first opinion wins. An approver that fails ends the chain as pending, so that an approver further
/// down cannot sign what the failed one might have denied.
#[derive(Debug, Clone)]
pub struct Approval<P> {
    approvers: Vec<P>,
    asked: usize,
    decision: Option<Decision<P>>,
}

/// What one approver answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Sign.
    Approve {
        /// Why, for the log.
        reason: String,
        /// How long the certificate should live; the CA's own setting where none, and never more than it.
        lifetime: Option<Duration>,
    },
    /// Do not sign, whatever approvers further down would say.
    Deny(String),
    /// Do not sign now; a later look may come out otherwise.
    Pending(String),
    /// No opinion: the next approver is asked.
    Abstain,
    /// The plugin said that it could not answer.
    Failure(String),
    /// The plugin gave no answer: a trap, a timeout, a limit, nonsense.
    Fault(String),
}

/// What a chain of approvers came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<P> {
    /// What is to be done with the request.
    pub verdict: Verdict,
    /// Why: the approver's own words, or the chain's where no approver had an opinion.
    pub reason: String,
    /// The approver whose answer ended the chain; none where all abstained.
    pub by: Option<P>,
    /// Whether the chain ended because an approver failed or broke, which is pending without an opinion.
    pub fault: bool,
}

/// What is to be done with a certificate request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Sign it.
    Approve {
        /// How long the certificate should live; the CA's own setting where none.
        lifetime: Option<Duration>,
    },
    /// Refuse it.
    Deny,
    /// Keep it and look again later.
    Pending,
}

impl<P: Clone> Approval<P> {
    /// A chain that asks `approvers` in this order. With none of them every request stays pending.
    pub fn new(approvers: Vec<P>) -> Self {
        Self { approvers, asked: 0, decision: None }
    }

    /// Whom to ask next, or what was decided. Asking twice without an answer in between is the same step.
    pub fn next(&self) -> Step<P, Decision<P>> {
        match (&self.decision, self.approvers.get(self.asked)) {
            (Some(decision), _) => Step::Done(decision.clone()),
            (None, Some(approver)) => Step::Ask(approver.clone()),
            (None, None) => Step::Done(Decision {
                verdict: Verdict::Pending,
                reason: match self.approvers.is_empty() {
                    true => "no approver is installed".into(),
                    false => "no approver had an opinion".into(),
                },
                by: None,
                fault: false,
            }),
        }
    }

    /// Takes the answer of the approver that [`next`](Self::next) named. Past the end it changes nothing.
    pub fn answer(&mut self, answer: Answer) {
        let (None, Some(by)) = (&self.decision, self.approvers.get(self.asked)) else { return };
        let (verdict, reason, fault) = match answer {
            Answer::Abstain => {
                self.asked += 1;
                return;
            }
            Answer::Approve { reason, lifetime } => (Verdict::Approve { lifetime }, reason, false),
            Answer::Deny(reason) => (Verdict::Deny, reason, false),
            Answer::Pending(reason) => (Verdict::Pending, reason, false),
            Answer::Failure(reason) | Answer::Fault(reason) => (Verdict::Pending, reason, true),
        };
        self.decision = Some(Decision { verdict, reason, by: Some(by.clone()), fault });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `answers` to as many approvers named a, b, c … and gives who was asked and what came out.
    fn run(answers: &[Answer]) -> (String, Decision<char>) {
        let mut chain = Approval::new(('a'..).take(answers.len()).collect());
        let mut asked = String::new();
        for answer in answers {
            let Step::Ask(who) = chain.next() else { break };
            assert_eq!(chain.next(), Step::Ask(who), "a step without an answer stays the same");
            asked.push(who);
            chain.answer(answer.clone());
        }
        match chain.next() {
            Step::Done(decision) => (asked, decision),
            Step::Ask(who) => panic!("still asks {who}"),
        }
    }

    fn check(answers: &[Answer], asked: &str, verdict: Verdict, reason: &str, by: Option<char>, fault: bool) {
        let expected = Decision { verdict, reason: reason.into(), by, fault };
        assert_eq!(run(answers), (asked.into(), expected), "{answers:?}");
    }

    fn yes() -> Answer {
        Answer::Approve { reason: "expected".into(), lifetime: Some(Duration::from_secs(60)) }
    }

    const SIGN: Verdict = Verdict::Approve { lifetime: Some(Duration::from_secs(60)) };

    #[test]
    fn the_first_opinion_wins() {
        let no = || Answer::Deny("unknown".into());
        let later = || Answer::Pending("not yet".into());
        check(&[yes(), no()], "a", SIGN, "expected", Some('a'), false);
        check(&[no(), yes()], "a", Verdict::Deny, "unknown", Some('a'), false);
        check(&[later(), yes()], "a", Verdict::Pending, "not yet", Some('a'), false);
        check(&[Answer::Abstain, yes(), no()], "ab", SIGN, "expected", Some('b'), false);
        check(&[Answer::Abstain, Answer::Abstain, no()], "abc", Verdict::Deny, "unknown", Some('c'), false);
    }

    #[test]
    fn without_an_opinion_a_request_stays_pending() {
        check(&[], "", Verdict::Pending, "no approver is installed", None, false);
        let nobody = [Answer::Abstain, Answer::Abstain];
        check(&nobody, "ab", Verdict::Pending, "no approver had an opinion", None, false);
    }

    #[test]
    fn a_failed_approver_never_lets_a_later_one_sign() {
        let down = || Answer::Failure("bucket is down".into());
        let trap = || Answer::Fault("trapped".into());
        check(&[down(), yes()], "a", Verdict::Pending, "bucket is down", Some('a'), true);
        check(&[trap(), yes()], "a", Verdict::Pending, "trapped", Some('a'), true);
        check(&[Answer::Abstain, trap(), yes()], "ab", Verdict::Pending, "trapped", Some('b'), true);
    }

    #[test]
    fn an_answer_after_the_end_changes_nothing() {
        let mut chain = Approval::new(vec!['a', 'b']);
        chain.answer(Answer::Deny("no".into()));
        let before = chain.next();
        chain.answer(yes());
        assert_eq!(chain.next(), before);
        let mut empty = Approval::<char>::new(vec![]);
        empty.answer(yes());
        assert!(matches!(empty.next(), Step::Done(Decision { verdict: Verdict::Pending, .. })));
    }
}
