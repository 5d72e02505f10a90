//! Which set a start begins with.

use bunraku_rollout::{Error, PluginSpec, Source, recorded};

use crate::support::*;

async fn check(problems: &[bunraku_rollout::Problem], expected: &[&str]) {
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.to_string().contains(expected), "{problem} does not say {expected:?}");
    }
}

#[tokio::test]
async fn a_restart_comes_up_with_the_set_that_was_live() {
    let place = Place::new();
    let file = place.write("base.wasm", &padded("base", b"1"));
    let configured = || set([base(&file)]);
    let open = place.start(configured()).await;
    let first = open.live();
    // Unchanged: nothing is staged once more.
    open.close().await;
    let open = place.start(configured()).await;
    assert_eq!((open.live(), open.words().await), (first.clone(), vec!["swapped".to_owned()]));
    // Somebody swaps in another one: that one it is, and it is told that it is not the configured one.
    let other = open.go(numbered(1)).await;
    assert_eq!(recorded(&open.store).await.unwrap().unwrap().id, other);
    open.close().await;
    let open = place.open(configured()).await;
    assert_eq!(open.live(), other);
    check(&open.problems, &["set "]).await;
    let made = open.rollout.current();
    assert_eq!(made.origin(), &me());
    assert!(made.plugins()[0].source.starts_with("sha256:"));
    // What was before it can be gone back to after a restart too.
    assert_eq!(open.rollout.rollback(None, me(), "").await.unwrap().to, first);
    open.close().await;
    let open = place.start(configured()).await;
    assert_eq!(open.live(), first);
    open.close().await;
}

#[tokio::test]
async fn a_configuration_that_changed_takes_over() {
    let place = Place::new();
    let file = place.write("base.wasm", &padded("base", b"1"));
    let open = place.start(set([base(&file)])).await;
    let first = open.live();
    let other = open.go(numbered(1)).await;
    open.close().await;
    // The same words, and another component behind them.
    place.write("base.wasm", &padded("base", b"2"));
    let open = place.start(set([base(&file)])).await;
    assert!(open.live() != first && open.live() != other);
    let last = open.rollout.history(1).await.unwrap().remove(0);
    assert_eq!((last.event.as_str(), last.by.as_str()), ("swapped", "start"));
    assert_eq!(open.rollout.rollback(None, me(), "").await.unwrap().to, other);
    open.close().await;
    // It was told once; what was done since stays.
    let open = place.open(set([base(&file)])).await;
    assert_eq!((open.live(), open.problems.len()), (other, 1));
    open.close().await;
}

// faults row 57
#[tokio::test]
async fn a_configuration_that_cannot_be_used_leaves_the_recorded_set_live() {
    let place = Place::new();
    let file = place.write("base.wasm", &padded("base", b"1"));
    let open = place.start(set([base(&file)])).await;
    let live = open.live();
    open.close().await;
    let half = &padded("base", b"2")[..70_000];
    for (bytes, expected) in [(half, "plugin base: "), (b"", "plugin base: not a WebAssembly component")] {
        place.write("base.wasm", bytes);
        let open = place.open(set([base(&file)])).await;
        assert_eq!(open.live(), live);
        check(&open.problems, &[expected]).await;
        open.close().await;
    }
    std::fs::remove_file(&file).unwrap();
    let broken = set([base(&file), base(&file), PluginSpec::new("x", Source::Object("s3://b/x".into()))]);
    let open = place.open(broken).await;
    assert_eq!(open.live(), live);
    check(&open.problems, &["cannot read", "cannot read", "no object is fetched here"]).await;
    open.close().await;
}

#[tokio::test]
async fn a_first_start_needs_the_configured_set() {
    let place = Place::new();
    let error = place.try_open(set([base("/nowhere"), registry("hunter2")])).await.err().unwrap();
    let Error::Plugins(problems) = error else { panic!("{error}") };
    check(&problems, &["cannot read /nowhere", "settings at /missing"]).await;
    place.start(numbered(0)).await.close().await;
}

/// What the configuration came to is known too where it was swapped in by a reload, or held in shadow.
#[tokio::test]
async fn a_configuration_that_was_reloaded_is_not_new_at_the_next_start() {
    let place = Place::new();
    let open = place.start(numbered(0)).await;
    open.go(numbered(1)).await;
    let operators = open.rollout.current().spec().clone();
    let two = open.reload(numbered(2)).await;
    open.rollout.rollback(None, me(), "").await.unwrap();
    let live = open.live();
    assert_eq!(open.rollout.current().spec(), &operators);
    open.close().await;
    let open = place.open(numbered(2)).await;
    assert_eq!((open.live(), open.problems.len()), (live.clone(), 1));
    let held = open.rollout.stage(numbered(3), me()).await.unwrap();
    open.rollout.shadow(Some(held.id()), me()).await.unwrap();
    open.close().await;
    let open = place.open(numbered(3)).await;
    assert_eq!((open.live(), open.problems.len()), (live.clone(), 1));
    // Reloaded while it is live: told that it is, and known from then on.
    open.rollout.rollback(Some(&two), me(), "").await.unwrap();
    let same = open.rollout.stage(numbered(2), me()).await.unwrap();
    assert!(open.rollout.swap(same.id(), me()).await.is_err());
    let other = open.reload(numbered(4)).await;
    assert_ne!(other, two);
    open.rollout.rollback(Some(&live), me(), "").await.unwrap();
    open.close().await;
    let open = place.open(numbered(4)).await;
    assert_eq!((open.live(), open.problems.len()), (live, 1));
    open.close().await;
}
