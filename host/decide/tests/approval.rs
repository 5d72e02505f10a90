//! Quorum and on-failure, as a caller sees them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeSet;
use std::fmt::{Debug, Display};
use std::num::NonZeroUsize;
use std::slice;
use std::time::Duration;

use bunraku_decide::{Answer, Approval, Approver, Decision, OnFailure, Step, Verdict};

fn approver(name: &'static str, identity: &str) -> Approver<&'static str> {
    Approver { name, identity: identity.into(), on_failure: OnFailure::Pending }
}

fn yes(reason: &str, seconds: Option<u64>) -> Answer {
    Answer::Approve { reason: reason.into(), lifetime: seconds.map(Duration::from_secs) }
}

fn sign(seconds: Option<u64>) -> Verdict {
    Verdict::Approve { lifetime: seconds.map(Duration::from_secs) }
}

/// Feeds each approver asked its answer; gives how many were asked, who approved and what was decided.
fn run<P: Copy + PartialEq + Debug + Display>(
    approvers: &[Approver<P>],
    require: usize,
    answers: &[Answer],
) -> (usize, Vec<P>, Decision<P>) {
    let mut chain = Approval::quorum(approvers.to_vec(), NonZeroUsize::new(require).unwrap());
    for (asked, answer) in answers.iter().enumerate() {
        if let Step::Done(decision) = chain.next() {
            chain.answer(yes("too late", None));
            assert_eq!(chain.next(), Step::Done(decision.clone()), "an answer after the end changes nothing");
            return (asked, chain.approved_by().copied().collect(), decision);
        }
        chain.answer(answer.clone());
    }
    match chain.next() {
        Step::Done(decision) => (answers.len(), chain.approved_by().copied().collect(), decision),
        Step::Ask(_) => panic!("still asks"),
    }
}

#[test]
fn a_quorum_needs_as_many_independent_approvers_as_it_requires() {
    let abc = [approver("a", "1"), approver("b", "2"), approver("c", "3")];
    let twins = [approver("a", "1"), approver("b", "1"), approver("c", "3")];
    let check = |approvers: &[_], require, answers: &[_], verdict, reason: &str, by: Option<&'static str>| {
        let (_, _, decision) = run(approvers, require, answers);
        assert_eq!(decision, Decision { verdict, reason: reason.into(), by, fault: false });
    };
    let (no, later) = (Answer::Deny("unknown".into()), Answer::Pending("not yet".into()));
    let (x, y, z) = (yes("x", Some(90)), yes("y", Some(60)), yes("z", None));
    let all = [x.clone(), y.clone(), z.clone()];
    check(&abc, 1, &all, sign(Some(90)), "x", Some("a"));
    check(&abc, 2, &all, sign(Some(60)), "`a`: x; `b`: y", Some("b"));
    check(&abc, 3, &all, sign(Some(60)), "`a`: x; `b`: y; `c`: z", Some("c"));
    check(&abc, 2, &[Answer::Abstain, z.clone(), z.clone()], sign(None), "`b`: z; `c`: z", Some("c"));
    // One component under two names is one approver, though the shorter of its lifetimes holds.
    check(&twins, 2, &[x.clone(), y.clone(), z.clone()], sign(Some(60)), "`a`: x; `b`: y; `c`: z", Some("c"));
    let reason = "1 of 2 approvals: `a`, `b` (the same component as `a`)";
    check(&twins, 2, &[x.clone(), y.clone(), Answer::Abstain], Verdict::Pending, reason, None);
    check(&abc, 4, &all, Verdict::Pending, "3 of 4 approvals: `a`, `b`, `c`", None);
    // Whoever approved before, a later word ends it.
    check(&abc, 2, &[x.clone(), no.clone(), z.clone()], Verdict::Deny, "unknown", Some("b"));
    check(&twins, 2, &[x.clone(), no, z.clone()], Verdict::Deny, "unknown", Some("b"));
    check(&abc, 2, &[x.clone(), later, z], Verdict::Pending, "not yet", Some("b"));
    let nobody = [Answer::Abstain, Answer::Abstain, Answer::Abstain];
    check(&abc, 2, &nobody, Verdict::Pending, "0 of 2 approvals: no approver had an opinion", None);
    check(&[], 2, &[], Verdict::Pending, "0 of 2 approvals: no approver is installed", None);
    check(&[], 1, &[], Verdict::Pending, "no approver is installed", None);
}

#[test]
fn a_failure_comes_to_what_its_own_approver_says_and_never_signs() {
    let approvers = [
        Approver { on_failure: OnFailure::Deny, ..approver("a", "1") },
        Approver { on_failure: OnFailure::Pending, ..approver("b", "2") },
    ];
    let check = |answers: &[_], verdict, reason: &str, by| {
        let (_, _, decision) = run(&approvers, 2, answers);
        assert_eq!(decision, Decision { verdict, reason: reason.into(), by: Some(by), fault: true });
    };
    for broken in [Answer::Failure("down".into()), Answer::Fault("down".into())] {
        let good = yes("x", None);
        check(&[broken.clone(), good.clone()], Verdict::Deny, "down; its on_failure is deny", "a");
        check(&[good, broken.clone()], Verdict::Pending, "down", "b");
        check(&[Answer::Abstain, broken], Verdict::Pending, "down", "b");
    }
}

/// Every chain of four approvers: each answer, each way of sharing components, each quorum. It signs where,
/// and only where, so many components approved before anybody said anything else.
#[test]
fn no_order_of_approvers_signs_without_its_quorum() {
    let answers = [
        Answer::Abstain,
        yes("x", None),
        Answer::Deny("x".into()),
        Answer::Pending("x".into()),
        Answer::Failure("x".into()),
        Answer::Fault("x".into()),
    ];
    let (mut signed, mut chains) = (0, 0);
    for said in words(4, &answers) {
        for identities in words(4, &['1', '2', '3', '4']).into_iter().filter(|word| is_partition(word)) {
            for (require, on_failure) in (1..=4).flat_map(|n| [(n, OnFailure::Pending), (n, OnFailure::Deny)])
            {
                let approver = |(name, identity): (usize, &char)| Approver {
                    name,
                    identity: identity.to_string(),
                    on_failure,
                };
                let approvers: Vec<_> = identities.iter().enumerate().map(approver).collect();
                let (asked, approved, decision) = run(&approvers, require, &said);
                let heard = &said[..asked];
                let approves = |answer: &Answer| matches!(answer, Answer::Approve { .. });
                let yeses: Vec<usize> = (0..asked).filter(|&place| approves(&heard[place])).collect();
                let distinct: BTreeSet<char> = yeses.iter().map(|&place| identities[place]).collect();
                let harmless = heard.iter().all(|answer| approves(answer) || *answer == Answer::Abstain);
                let signs = matches!(decision.verdict, Verdict::Approve { .. });
                let case = || format!("{said:?} of {identities:?}, {require} required, came to {decision:?}");
                assert_eq!(signs, harmless && distinct.len() >= require, "{}", case());
                assert_eq!(approved, yeses, "{}", case());
                // Who was not asked was not needed: the quorum was there, or somebody had ended it.
                assert!(asked == 4 || signs || !harmless, "{}", case());
                let denies = heard.iter().any(|answer| match answer {
                    Answer::Deny(_) => true,
                    Answer::Failure(_) | Answer::Fault(_) => on_failure == OnFailure::Deny,
                    _ => false,
                });
                assert_eq!(decision.verdict == Verdict::Deny, denies, "{}", case());
                signed += usize::from(signs);
                chains += 1;
            }
        }
    }
    assert!(signed > 0 && signed < chains, "{signed} of {chains}");
}

/// Which of the approvers are one component is all that matters, so of words that say the same only one is
/// taken: each letter is one that was there, or the next.
fn is_partition(word: &[char]) -> bool {
    let (mut seen, mut new) = (BTreeSet::new(), '1'..);
    word.iter().all(|letter| !seen.insert(letter) || new.next() == Some(*letter))
}

/// All words of that many letters.
fn words<T: Clone>(length: usize, letters: &[T]) -> Vec<Vec<T>> {
    let longer = |words: Vec<Vec<T>>| {
        let with =
            |letter: &T| words.iter().map(|word| [&word[..], slice::from_ref(letter)].concat()).collect();
        letters.iter().flat_map::<Vec<_>, _>(with).collect()
    };
    (0..length).fold(vec![Vec::new()], |words, _| longer(words))
}
