//! Swapping and going back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bunraku_rollout::{Refused, Settings, Source};

use crate::support::*;

#[tokio::test]
async fn what_was_swapped_in_is_taken_back_step_by_step() {
    let place = Place::new();
    let open = place.start(numbered(0)).await;
    let mut told = open.rollout.live().subscribe();
    let first = open.live();
    let (one, two) = (open.go(numbered(1)).await, open.go(numbered(2)).await);
    assert!(told.has_changed().unwrap());
    told.mark_unchanged();
    let back = |to: Option<&str>| {
        let (rollout, to) = (Arc::clone(&open.rollout), to.map(str::to_owned));
        async move { rollout.rollback(to.as_deref(), me(), "too strict").await }
    };
    assert_eq!(back(None).await.unwrap().to, one);
    assert!(told.has_changed().unwrap());
    assert_eq!(back(None).await.unwrap().to, first);
    assert!(matches!(back(None).await, Err(Refused::NothingBefore)));
    // By the first characters of its id, forward too.
    let done = back(Some(&two[..8])).await.unwrap();
    assert_eq!((done.from, done.to), (first.clone(), two.clone()));
    assert!(matches!(back(Some(&two)).await, Err(Refused::Live(_))));
    assert!(matches!(back(Some("zzzzzzzz")).await, Err(Refused::Unknown(_))));
    assert!(matches!(back(Some(&one[..3])).await, Err(Refused::Unknown(_))));
    assert!(matches!(open.rollout.swap(&"0".repeat(64), me()).await, Err(Refused::Unknown(_))));

    let words =
        ["swapped", "staged", "swapped", "staged", "swapped", "rolled-back", "rolled-back", "rolled-back"];
    assert_eq!(open.words().await, words);
    let last = open.rollout.history(1).await.unwrap().remove(0);
    assert_eq!((last.set, last.by, last.reason), (Some(two), "test".into(), "too strict".into()));
    let counts = open.rollout.counts();
    assert_eq!((counts.staged, counts.swapped, counts.rolled_back, counts.guarded), (2, 2, 3, 0));
    open.close().await;
}

#[tokio::test]
async fn a_refused_set_changes_nothing_and_the_history_quotes_no_setting() {
    let place = Place::new();
    let open = place.start(numbered(0)).await;
    let before = open.rollout.current();
    let problems = open.rollout.stage(set([registry("hunter2"), base("/nowhere")]), me()).await.unwrap_err();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(Arc::ptr_eq(&before, &open.rollout.current()));
    let event = open.rollout.history(1).await.unwrap().remove(0);
    assert_eq!(event.event, "refused");
    assert!(event.reason.contains("plugin s3-registry: refuses its settings"), "{}", event.reason);
    assert!(event.reason.contains("/nowhere"), "{}", event.reason);
    assert!(!event.reason.contains("hunter2"), "{}", event.reason);
    assert!(!format!("{:?} {:?}", before, before.spec()).contains("pending"), "settings are in Debug");
    open.close().await;
}

#[tokio::test]
async fn a_swap_that_cannot_be_recorded_is_refused() {
    let place = Place::new();
    let open = place.start(numbered(0)).await;
    let before = open.live();
    let staged = open.rollout.stage(numbered(1), me()).await.unwrap();
    open.store.close().await;
    assert!(matches!(open.rollout.swap(staged.id(), me()).await, Err(Refused::Record(_))));
    assert!(matches!(open.rollout.rollback(Some(staged.id()), me(), "").await, Err(Refused::Record(_))));
    assert!(matches!(open.rollout.shadow(Some(staged.id()), me()).await, Err(Refused::Record(_))));
    assert!(open.rollout.stage(numbered(2), me()).await.is_err());
    assert_eq!(open.live(), before);
    assert!(open.rollout.shadowed().is_none());
    drop(open);
    assert_eq!(place.start(numbered(0)).await.live(), before);
}

/// Sets and plugins that are alive do not grow with swaps; what a call holds lives on; a swap is quick.
#[tokio::test]
async fn after_many_swaps_only_the_last_sets_are_alive() {
    const SWAPS: usize = 200;
    let place = Place { settings: Settings { keep: 3, ..Settings::default() }, ..Place::new() };
    let open = place.start(numbered(0)).await;
    let held = open.rollout.current();
    let mut longest = Duration::ZERO;
    for number in 1..=SWAPS {
        let staged = open.rollout.stage(numbered(number), me()).await.unwrap();
        let start = Instant::now();
        open.rollout.swap(staged.id(), me()).await.unwrap();
        longest = longest.max(start.elapsed());
        assert_eq!(open.live(), staged.id());
    }
    println!("{SWAPS} swaps, the longest took {longest:?}");
    // The live one, three besides, and the one that a call holds.
    assert_eq!(open.rollout.counts().alive, 5);
    assert_eq!(open.rollout.kept().len(), 3);
    let component = &held.plugins()[0].plugin;
    assert!(Arc::ptr_eq(component, &open.rollout.current().plugins()[0].plugin), "compiled once");
    drop(held);
    assert_eq!(open.rollout.counts().alive, 4);
    // One that is compiled no more is made once more.
    let rows = open.rollout.sets(1000).await.unwrap();
    assert_eq!(rows.len(), 100);
    let old = rows.last().unwrap();
    assert!(open.rollout.set(&old.id).is_none());
    assert_eq!(open.rollout.rollback(Some(&old.id), me(), "").await.unwrap().to, old.id);
    assert_eq!(open.rollout.counts().alive, 4);
    open.close().await;
}

/// Whoever asks for what at once: each change is one event, and the events are what happened.
#[tokio::test(flavor = "multi_thread")]
async fn changes_at_once_come_one_after_another() {
    let place = Place::new();
    let open = place.start(numbered(0)).await;
    let first = open.live();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..6 {
        let rollout = Arc::clone(&open.rollout);
        tasks.spawn(async move {
            let mut done = 0;
            for n in 0..8 {
                let set = rollout.stage(numbered(task * 4 + n % 4), me()).await.unwrap();
                done += usize::from(rollout.swap(set.id(), me()).await.is_ok());
                done += usize::from(rollout.rollback(None, me(), "").await.is_ok());
            }
            done
        });
    }
    // A decision sees one whole set, whenever it looks.
    let looking = {
        let rollout = Arc::clone(&open.rollout);
        tokio::spawn(async move {
            for _ in 0..10_000 {
                let set = rollout.current();
                assert_eq!(set.plugins().len(), 1);
                assert_eq!(set.rules().require("x").get(), 1);
                tokio::task::yield_now().await;
            }
        })
    };
    let done: usize = tasks.join_all().await.into_iter().sum();
    looking.await.unwrap();
    let changes: Vec<_> = open.events().await.into_iter().filter(|event| event.event != "staged").collect();
    assert_eq!(changes.len(), done + 1, "one event for each change");
    assert_eq!(changes[0].set.as_ref(), Some(&first));
    assert_eq!(changes.last().unwrap().set, Some(open.live()));
    for pair in changes.windows(2) {
        assert_ne!(pair[0].set, pair[1].set, "a swap to what is live is none");
    }
    assert_eq!(open.rollout.publish().borrow().as_ref().unwrap().id, open.live());
    open.close().await;
}

#[tokio::test]
async fn what_is_published_is_staged_elsewhere_as_the_same_set() {
    let place = Place::new();
    let ca = place.start(numbered(0)).await;
    let mut told = ca.rollout.publish();
    let id = ca.reload(numbered(1)).await;
    let published = told.borrow_and_update().clone().unwrap();
    assert_eq!(published.id, id);
    assert!(!format!("{published:?}").contains("settings"));

    let elsewhere = Place::new();
    let master = elsewhere.start(set([])).await;
    let spec: bunraku_rollout::SetSpec = serde_json::from_str(&published.spec).unwrap();
    assert!(master.rollout.stage(spec.clone(), me()).await.is_err(), "the component is not there yet");
    for digest in &published.digests {
        let component = ca.rollout.component(digest).await.unwrap();
        assert_eq!(&master.rollout.put_component(component.bytes, None).await.unwrap(), digest);
    }
    assert_eq!(master.go(spec).await, id);
    // A later set names plugins by digest, and what is known of where they came from stays.
    let replaced = ca.rollout.current().spec().clone();
    assert!(matches!(replaced.plugins[0].source, Source::Digest(_)));
    let restaged =
        ca.rollout.stage(bunraku_rollout::SetSpec { quorum: vec![], ..replaced }, me()).await.unwrap();
    assert_eq!(restaged.plugins()[0].source, built("s3-registry").display().to_string());
    ca.close().await;
    master.close().await;
}
