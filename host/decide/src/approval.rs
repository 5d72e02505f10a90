//! Whether to sign: the first approver with an opinion decides, or as many as a name needs.

use std::fmt::Display;
use std::num::NonZeroUsize;
use std::time::Duration;

use crate::Step;

/// A chain of approvers on its way to a [`Decision`].
///
/// It signs once as many independent approvers approved as it requires; any other opinion ends it. An
/// approver that fails ends it too, so that an approver further down cannot sign what the failed one
/// might have denied.
#[derive(Debug, Clone)]
pub struct Approval<P> {
    approvers: Vec<Approver<P>>,
    require: NonZeroUsize,
    asked: usize,
    approved: Vec<Approved<P>>,
    decision: Option<Decision<P>>,
}

/// An approver as a chain knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approver<P> {
    /// Its name, for [`Step::Ask`] and for reasons.
    pub name: P,
    /// What it is, such as its component's digest: approvers of one identity count as one approval.
    pub identity: String,
    /// What its failure or fault comes to.
    pub on_failure: OnFailure,
}

/// What an approver's failure or fault comes to; never an approval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// The request is kept and looked at again later.
    #[default]
    Pending,
    /// The request is refused.
    Deny,
}

#[derive(Debug, Clone)]
struct Approved<P> {
    by: P,
    identity: String,
    reason: String,
    lifetime: Option<Duration>,
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
    /// Why: the approver's own words, those of all who approved where more than one had to, or the chain's
    /// where nobody's answer ended it.
    pub reason: String,
    /// The approver whose answer ended the chain; none where nobody was left to ask.
    pub by: Option<P>,
    /// Whether the chain ended because an approver failed or broke: a verdict without an opinion, pending or
    /// what its [`OnFailure`] says.
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

impl<P: Clone + Display> Approval<P> {
    /// A chain that asks `approvers` in this order and signs at the first approval. With none of them every
    /// request stays pending, and so it does where one fails.
    pub fn new(approvers: Vec<P>) -> Self {
        // One identity for all: were more than one approval required, these could never make it up.
        let approver = |name| Approver { name, identity: String::new(), on_failure: OnFailure::Pending };
        Self::quorum(approvers.into_iter().map(approver).collect(), NonZeroUsize::MIN)
    }

    /// A chain that asks `approvers` in this order and signs once `require` identities approved.
    pub fn quorum(approvers: Vec<Approver<P>>, require: NonZeroUsize) -> Self {
        Self { approvers, require, asked: 0, approved: Vec::new(), decision: None }
    }

    /// Whom to ask next, or what was decided. Asking twice without an answer in between is the same step.
    pub fn next(&self) -> Step<P, Decision<P>> {
        match (&self.decision, self.approvers.get(self.asked)) {
            (Some(decision), _) => Step::Done(decision.clone()),
            (None, Some(approver)) => Step::Ask(approver.name.clone()),
            (None, None) => Step::Done(Decision {
                verdict: Verdict::Pending,
                reason: self.too_few(),
                by: None,
                fault: false,
            }),
        }
    }

    /// Takes the answer of the approver that [`next`](Self::next) named. Past the end it changes nothing.
    pub fn answer(&mut self, answer: Answer) {
        let (None, Some(approver)) = (&self.decision, self.approvers.get(self.asked)) else { return };
        let Approver { name: by, identity, on_failure } = approver.clone();
        self.asked += 1;
        let (verdict, reason, fault) = match answer {
            Answer::Abstain => return,
            Answer::Approve { reason, lifetime } => {
                self.approved.push(Approved { by: by.clone(), identity, reason, lifetime });
                if self.independent().count() < self.require.get() {
                    return;
                }
                let lifetime = self.approved.iter().filter_map(|approved| approved.lifetime).min();
                (Verdict::Approve { lifetime }, self.reasons(), false)
            }
            Answer::Deny(reason) => (Verdict::Deny, reason, false),
            Answer::Pending(reason) => (Verdict::Pending, reason, false),
            Answer::Failure(reason) | Answer::Fault(reason) => match on_failure {
                OnFailure::Pending => (Verdict::Pending, reason, true),
                OnFailure::Deny => (Verdict::Deny, format!("{reason}; its on_failure is deny"), true),
            },
        };
        self.decision = Some(Decision { verdict, reason, by: Some(by), fault });
    }

    /// Who approved so far, in order, also those who don't count because their component already had.
    pub fn approved_by(&self) -> impl Iterator<Item = &P> {
        self.approved.iter().map(|approved| &approved.by)
    }

    /// The first approval of each identity.
    fn independent(&self) -> impl Iterator<Item = &Approved<P>> {
        let counts = |(place, approved): &(usize, &Approved<P>)| self.same_as(*place, approved).is_none();
        self.approved.iter().enumerate().filter(counts).map(|(_, approved)| approved)
    }

    /// Who approved before with the same component.
    fn same_as(&self, place: usize, approved: &Approved<P>) -> Option<&P> {
        let before = self.approved.iter().take(place);
        before.filter(|before| before.identity == approved.identity).map(|before| &before.by).next()
    }

    fn reasons(&self) -> String {
        match self.approved.as_slice() {
            [only] => only.reason.clone(),
            several => {
                let each = several.iter().map(|approved| format!("`{}`: {}", approved.by, approved.reason));
                each.collect::<Vec<_>>().join("; ")
            }
        }
    }

    fn too_few(&self) -> String {
        let nobody = match self.approvers.is_empty() {
            true => "no approver is installed",
            false => "no approver had an opinion",
        };
        if self.require == NonZeroUsize::MIN {
            return nobody.into();
        }
        let each = self.approved.iter().enumerate().map(|(place, approved)| {
            let by = &approved.by;
            match self.same_as(place, approved) {
                None => format!("`{by}`"),
                Some(first) => format!("`{by}` (the same component as `{first}`)"),
            }
        });
        let who = match self.approved.is_empty() {
            true => nobody.into(),
            false => each.collect::<Vec<_>>().join(", "),
        };
        format!("{} of {} approvals: {who}", self.independent().count(), self.require)
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
