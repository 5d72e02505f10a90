//! Classifications united, as a caller sees them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;

use bunraku_decide::{Classification, Classified, FailureKind, Merge, Opinion, Over, Parts, Step, Unite};

/// As a master has it: parameters are texts here.
#[derive(Debug, Clone, Default, PartialEq)]
struct Node {
    environment: Option<String>,
    classes: Vec<(String, BTreeMap<String, String>)>,
    parameters: BTreeMap<String, String>,
    because: Vec<String>,
    by: String,
}

impl Unite for Node {
    type Value = String;

    fn into_parts(self) -> Parts<String> {
        let Node { environment, classes, parameters, because, by: _ } = self;
        Parts { environment, classes, parameters, because }
    }

    fn from_parts(parts: Parts<String>, by: Vec<String>) -> Self {
        let Parts { environment, classes, parameters, because } = parts;
        Node { environment, classes, parameters, because, by: by.join(", ") }
    }
}

/// Reads `env=test ntp(server=x,pool=y) $role=db`, in any order.
fn node(text: &str) -> Node {
    let pairs = |text: &str| -> BTreeMap<String, String> {
        let pair = |pair: &str| pair.split_once('=').map(|(name, value)| (name.into(), value.into()));
        text.split(',').filter_map(pair).collect()
    };
    let mut node = Node { because: vec![text.into()], ..Node::default() };
    for word in text.split_whitespace() {
        if let Some(name) = word.strip_prefix("env=") {
            node.environment = Some(name.into());
        } else if let Some(parameter) = word.strip_prefix('$') {
            node.parameters.extend(pairs(parameter));
        } else {
            let (class, parameters) = word.split_once('(').unwrap_or((word, ""));
            node.classes.push((class.into(), pairs(parameters.trim_end_matches(')'))));
        }
    }
    node
}

fn matched(text: &str) -> Opinion<Node> {
    Opinion::Matched(node(text))
}

/// Feeds the opinions of classifiers a, b, c …; gives who was asked and the chain at its end.
fn run(merge: Merge, opinions: &[Opinion<Node>]) -> (String, Classification<char, Node>) {
    let mut chain = Classification::merging(('a'..).take(opinions.len()).collect(), merge);
    let mut asked = String::new();
    for opinion in opinions {
        let Step::Ask(who) = chain.next() else { break };
        asked.push(who);
        chain.answer(opinion.clone());
    }
    assert!(matches!(chain.next(), Step::Done(_)), "{opinions:?}");
    chain.answer(matched("late"));
    (asked, chain)
}

#[test]
fn a_union_has_what_each_classifier_says_in_the_order_asked() {
    let check = |opinions: &[_], expected: &str, because: &[&str], by: &str| {
        let (asked, chain) = run(Merge::Union, opinions);
        assert_eq!(asked.len(), opinions.len(), "all are asked");
        assert_eq!(chain.conflicts(), []);
        let because = because.iter().map(|&because| because.into()).collect();
        let value = Node { because, by: by.into(), ..node(expected) };
        let first = by.chars().next().unwrap();
        assert_eq!(chain.into_outcome(), Classified::Classified { by: first, value });
    };
    check(
        &[matched("env=test ntp(pool=x) $role=db")],
        "env=test ntp(pool=x) $role=db",
        &["env=test ntp(pool=x) $role=db"],
        "a",
    );
    check(&[matched("z"), matched("a")], "z a", &["z", "a"], "a, b");
    check(&[matched("a"), Opinion::Abstain, matched("b")], "a b", &["a", "b"], "a, c");
    check(&[Opinion::Abstain, matched("b")], "b", &["b"], "b");
    check(&[matched("a"), Opinion::Abstain], "a", &["a"], "a");
    let (one, other) = ("b(x=1,y=2) a $r=1,s=2", "env=test c a b(y=2,x=1) $s=2,t=3");
    check(&[matched(one), matched(other)], "env=test b(x=1,y=2) a c $r=1,s=2,t=3", &[one, other], "a, b");
    check(
        &[matched("env=e a"), matched("env=e b"), matched("c")],
        "env=e a b c",
        &["env=e a", "env=e b", "c"],
        "a, b, c",
    );
    // Two spellings of a class are one class, spelt as first.
    check(&[matched("Ntp(x=1)"), matched("::ntp(x=1)")], "Ntp(x=1)", &["Ntp(x=1)", "::ntp(x=1)"], "a, b");
}

#[test]
fn classifiers_that_contradict_each_other_are_all_told_and_no_value_is() {
    let secret = "hunter2";
    let opinions = [
        matched("env=test ntp(server=hunter2,pool=x) $role=hunter2,same=1 alone"),
        matched("::NTP(server=other,drift=hunter2) $same=1"),
        matched("env=hunter2 $role=web NTP(pool=x,server=hunter2)"),
    ];
    let (_, chain) = run(Merge::Union, &opinions);
    let conflicts: Vec<_> = chain.conflicts().iter().map(|c| (c.first, c.second, c.over.clone())).collect();
    let ntp =
        Over::Class { class: "ntp".into(), parameters: vec!["drift".into(), "pool".into(), "server".into()] };
    let expected =
        [('a', 'b', ntp), ('a', 'c', Over::Environment), ('a', 'c', Over::Parameter("role".into()))];
    assert_eq!(conflicts, expected);
    assert!(!format!("{:?}", chain.conflicts()).contains(secret));
    let reason = "classifiers contradict each other (let one of them say it, or all the same): \
                  `a` and `b` give class `ntp` different parameters: `drift`, `pool`, `server`; \
                  `a` and `c` name different environments; \
                  `a` and `c` set the top-scope parameter `role` differently";
    let failed = Classified::Failed { by: 'b', reason: reason.into(), kind: FailureKind::InvalidInput };
    assert_eq!(chain.into_outcome(), failed);
}

#[test]
fn a_conflict_is_told_on_one_line_and_a_flood_of_them_is_cut() {
    let many = |value| (0..150).map(|n| format!("$p{n}\u{1b}={value}")).collect::<Vec<_>>().join(" ");
    let (_, chain) = run(Merge::Union, &[matched(&many(1)), matched(&many(2))]);
    assert_eq!(chain.conflicts().len(), 150);
    let Classified::Failed { reason, .. } = chain.into_outcome() else { panic!("no conflict") };
    assert!(reason.ends_with(" and 50 more"), "{reason}");
    assert!(!reason.contains(char::is_control), "{reason}");
}

#[test]
fn an_answer_that_contradicts_itself_is_no_answer() {
    let (_, chain) = run(Merge::Union, &[matched("ntp(x=1) ntp(x=2)")]);
    let [conflict] = chain.conflicts() else { panic!("{:?}", chain.conflicts()) };
    assert_eq!((conflict.first, conflict.second), ('a', 'a'));
}

#[test]
fn a_rejection_or_a_failure_ends_a_union_whoever_matched_before() {
    let check = |ends: Opinion<Node>, expected: Classified<char, Node>| {
        let opinions = [matched("env=x a"), matched("env=y b"), ends, matched("c")];
        let (asked, chain) = run(Merge::Union, &opinions);
        assert_eq!(asked, "abc");
        assert_eq!(chain.into_outcome(), expected);
    };
    check(Opinion::Reject("gone".into()), Classified::Rejected { by: 'c', reason: "gone".into() });
    let failed = |kind| Classified::Failed { by: 'c', reason: "down".into(), kind };
    check(Opinion::Failure(FailureKind::Unavailable, "down".into()), failed(FailureKind::Unavailable));
    check(Opinion::Fault("down".into()), failed(FailureKind::Fault));
}

#[test]
fn a_node_that_no_classifier_knows_is_no_empty_node() {
    for opinions in [vec![], vec![Opinion::Abstain], vec![Opinion::Abstain, Opinion::Abstain]] {
        for merge in [Merge::FirstMatch, Merge::Union] {
            assert_eq!(run(merge, &opinions).1.into_outcome(), Classified::NoMatch);
        }
    }
}

#[test]
fn where_the_first_match_wins_nobody_is_asked_or_merged_after_it() {
    let (asked, chain) = run(Merge::default(), &[Opinion::Abstain, matched("env=x a"), matched("env=y a")]);
    assert_eq!(asked, "ab");
    assert_eq!(chain.into_outcome(), Classified::Classified { by: 'b', value: node("env=x a") });
}

/// Which order the classifiers are in decides nothing but order.
#[test]
fn a_union_is_the_same_in_any_order_but_for_the_order() {
    let said = ["a b(x=1) $p=1", "env=e b(x=1) c", "", "c d $q=2", "env=f b(x=2)", "$p=2"];
    for one in said {
        for other in said {
            let ends = |first, second| run(Merge::Union, &[matched(first), matched(second)]).1;
            let (there, back) = (ends(one, other), ends(other, one));
            let keys = |chain: &Classification<_, _>| -> Vec<_> {
                let mut all: Vec<_> = chain.conflicts().iter().map(|c| format!("{:?}", c.over)).collect();
                all.sort();
                all
            };
            assert_eq!(keys(&there), keys(&back), "{one:?} {other:?}");
            if let Classified::Classified { value: mut there, .. } = there.into_outcome() {
                let Classified::Classified { value: mut back, .. } = back.into_outcome() else {
                    panic!("{one:?} {other:?}: united one way only")
                };
                for node in [&mut there, &mut back] {
                    node.classes.sort();
                    node.because.sort();
                }
                assert_eq!(there, back);
            }
        }
    }
}
