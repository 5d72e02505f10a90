//! A candidate beside the live set.

use bunraku_rollout::{Kind, Refused, Settings};

use crate::support::*;

#[tokio::test]
async fn a_candidate_is_counted_promoted_and_gone() {
    let place = Place { settings: Settings { shadow_slots: 2, ..Settings::default() }, ..Place::new() };
    let open = place.start(numbered(0)).await;
    let first = open.live();
    let candidate = open.rollout.stage(numbered(1), me()).await.unwrap();
    assert!(matches!(open.rollout.shadow(None, me()).await, Err(Refused::NoShadow)));
    assert!(matches!(open.rollout.shadow(Some(&first), me()).await, Err(Refused::Live(_))));
    open.rollout.shadow(Some(candidate.id()), me()).await.unwrap();
    let shadow = open.rollout.shadowed().unwrap();
    assert_eq!(shadow.set().id(), candidate.id());
    assert_eq!(open.live(), first, "it is not live");

    let permits = [shadow.enter(), shadow.enter()];
    assert!(permits.iter().all(Option::is_some) && shadow.enter().is_none());
    drop(permits);
    assert!(shadow.enter().is_some());
    shadow.agreed(Kind::Classification);
    shadow.disagreed(Kind::Approval, "a.example", "pending → approve");
    shadow.disagreed(Kind::Approval, "a.example", "pending → deny");
    shadow.disagreed(Kind::Classification, "a.example", "classes + x");
    let summary = shadow.summary();
    assert_eq!((summary.asked, summary.dropped, summary.same, summary.differ), (3, 1, 1, 3));
    assert_eq!(summary.by_change["pending → approve"], 1);
    let node = |kind, change: &str| ("a.example".to_owned(), kind, change.to_owned());
    let nodes = [node(Kind::Approval, "pending → deny"), node(Kind::Classification, "classes + x")];
    assert_eq!(summary.nodes, nodes);
    let json = serde_json::to_string(&summary).unwrap();
    assert_eq!(serde_json::from_str::<bunraku_rollout::ShadowSummary>(&json).unwrap(), summary);

    // Another live set: what was compared says nothing any more.
    open.go(numbered(2)).await;
    let anew = open.rollout.shadowed().unwrap();
    assert_eq!((anew.set().id(), anew.summary().differ), (candidate.id(), 0));
    open.rollout.swap(candidate.id(), me()).await.unwrap();
    assert!(open.rollout.shadowed().is_none());
    open.rollout.shadow(Some(&first), me()).await.unwrap();
    open.rollout.shadow(None, me()).await.unwrap();
    let words = ["swapped", "staged", "shadowed", "staged", "swapped", "promoted", "shadowed", "unshadowed"];
    assert_eq!(open.words().await, words);
    open.close().await;
}

#[tokio::test]
async fn what_a_shadow_remembers_is_bounded() {
    let place = Place::new();
    let open = place.start(numbered(0)).await;
    let candidate = open.rollout.stage(numbered(1), me()).await.unwrap();
    open.rollout.shadow(Some(candidate.id()), me()).await.unwrap();
    let shadow = open.rollout.shadowed().unwrap();
    for n in 0..3000 {
        shadow.disagreed(Kind::Provision, &format!("node-{n}"), &format!("resources + {n}"));
    }
    let summary = shadow.summary();
    assert_eq!((summary.differ, summary.nodes.len(), summary.by_change.len()), (3000, 1000, 101));
    assert_eq!(summary.by_change.values().sum::<u64>(), 3000);
    assert_eq!(summary.by_change["other changes"], 2900);
    open.close().await;
}

/// Live decisions come first: with half of the sandbox taken, the candidate is not asked.
#[tokio::test]
async fn a_candidate_is_dropped_first_under_load() {
    // A sandbox of one slot that is taken has none free.
    let sandbox = sandbox::Sandbox::new(sandbox::Settings { slots: 1, ..Default::default() }).unwrap();
    let bytes = std::fs::read(built("hostile/loop_in_decide")).unwrap();
    let guest = tokio::task::spawn_blocking({
        let sandbox = sandbox.clone();
        move || sandbox.load(&bytes).unwrap()
    });
    let guest = guest.await.unwrap();
    let place = Place::new();
    let open = place.open_with(sandbox.clone(), numbered(0)).await;
    let candidate = open.rollout.stage(numbered(1), me()).await.unwrap();
    open.rollout.shadow(Some(candidate.id()), me()).await.unwrap();
    let shadow = open.rollout.shadowed().unwrap();
    assert!(shadow.enter().is_some());
    let looping = tokio::spawn(async move { guest.decide(call(), &csr("any.example")).await });
    while sandbox.free_slots() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(shadow.enter().is_none());
    assert!(looping.await.unwrap().answer.is_err());
    // Its caller does not wait for the guest's end.
    while sandbox.free_slots() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(shadow.enter().is_some());
    assert_eq!((shadow.summary().asked, shadow.summary().dropped), (2, 1));
    open.close().await;
}

fn call() -> sandbox::Call {
    sandbox::Call {
        context: sandbox::CallContext {
            decision_id: "1".into(),
            mode: sandbox::Mode::Enforce,
            now: 0,
            settings: "{}".into(),
            annotations: vec![],
        },
        host: std::sync::Arc::new(sandbox::NoHost),
    }
}

fn csr(certname: &str) -> sandbox::Csr {
    sandbox::Csr {
        certname: certname.into(),
        fingerprint: "ab".repeat(32),
        der: vec![],
        key_algorithm: "rsa".into(),
        key_bits: 4096,
        alt_names: vec![],
        extensions: vec![],
        attributes: vec![],
        occasion: sandbox::Occasion::First,
        peer: None,
    }
}
