//! The guard takes back what it was told enough of.

use std::sync::Arc;
use std::time::Duration;

use bunraku_rollout::{Kind, Observation, Outcome, Refused, Settings, Tally};
use tokio::task::JoinHandle;

use crate::support::*;

const FAULT: Observation = Observation { kind: Kind::Approval, outcome: Outcome::Fault, approval: None };

fn first_request(approved: bool) -> Observation {
    Observation { kind: Kind::Approval, outcome: Outcome::Answered, approval: Some(approved) }
}

/// Opens, with somebody to listen to the guard.
async fn tended(place: &Place) -> (Open, JoinHandle<()>) {
    let open = place.open(numbered(0)).await;
    let tending = tokio::spawn(Arc::clone(&open.rollout).tend());
    (open, tending)
}

/// Tells of decisions and waits until the live set is another one.
async fn observe_until_swapped(open: &Open, set: &str, observation: Observation, times: usize) {
    let mut swapped = open.rollout.live().subscribe();
    (0..times).for_each(|_| open.rollout.observe(set, observation));
    swapped.changed().await.unwrap();
}

// faults row 59
#[tokio::test]
async fn a_set_that_traps_on_every_call_is_taken_back_once() {
    let place = Place::new();
    let (open, tending) = tended(&place).await;
    let (first, one) = (open.live(), open.go(numbered(1)).await);
    let two = open.go(numbered(2)).await;
    // What began with the set before says nothing of this one.
    (0..50).for_each(|_| open.rollout.observe(&one, FAULT));
    observe_until_swapped(&open, &two, FAULT, 5).await;
    assert_eq!(open.live(), one);
    let last = open.rollout.history(1).await.unwrap().remove(0);
    assert_eq!(
        (last.event.as_str(), last.by.as_str(), last.set),
        ("rolled-back", "guard", Some(one.clone()))
    );
    assert!(last.reason.contains("5 decisions of kind approval ended in faults"), "{}", last.reason);
    // The outage goes on, and nothing else is undone.
    (0..50).for_each(|_| open.rollout.observe(&one, FAULT));
    tokio::task::yield_now().await;
    assert_eq!(open.live(), one);
    assert_eq!(open.rollout.counts().guarded, 1);
    // An operator goes back to what the guard took back, swaps again, and that is no better.
    open.rollout.rollback(Some(&two), me(), "").await.unwrap();
    let three = open.go(numbered(3)).await;
    observe_until_swapped(&open, &three, FAULT, 5).await;
    assert_eq!(open.live(), one, "not to {two}, which was taken back");
    assert_ne!(open.live(), first);
    tending.abort();
    open.close().await;
}

// faults row 60
#[tokio::test]
async fn a_set_that_approves_everybody_is_taken_back() {
    let place = Place::new();
    let (open, tending) = tended(&place).await;
    let first = open.live();
    (0..30).for_each(|n| open.rollout.observe(&first, first_request(n % 3 == 0)));
    assert_eq!(open.rollout.approvals(), Tally { asked: 30, approved: 10 });
    let one = open.go(numbered(1)).await;
    observe_until_swapped(&open, &one, first_request(true), 20).await;
    assert_eq!(open.live(), first);
    // At once again: what was before is still known, from the time before.
    let two = open.go(numbered(2)).await;
    observe_until_swapped(&open, &two, first_request(true), 20).await;
    assert_eq!(open.live(), first);
    tending.abort();
    open.close().await;
    // And after a restart: it is recorded.
    let (open, tending) = tended(&place).await;
    let staged = open.rollout.stage(numbered(4), me()).await.unwrap();
    open.rollout.swap(staged.id(), me()).await.unwrap();
    observe_until_swapped(&open, staged.id(), first_request(true), 20).await;
    assert_eq!(open.live(), first);
    tending.abort();
    open.close().await;
}

#[tokio::test]
async fn where_there_is_nothing_to_go_back_to_it_says_so_and_stays() {
    let place = Place::new();
    let open = place.open(numbered(0)).await;
    let first = open.live();
    let one = open.go(numbered(1)).await;
    // The set before was taken away: to the same one there is no going back.
    open.rollout.rollback(None, me(), "").await.unwrap();
    assert!(matches!(open.rollout.rollback(None, me(), "").await, Err(Refused::NothingBefore)));
    (0..50).for_each(|_| open.rollout.observe(&first, FAULT));
    assert_eq!(open.live(), first, "nobody watches what was gone back to");
    // What the guard took back is no place to go: first → one (taken back) → one again, by an operator.
    open.rollout.swap(&one, me()).await.unwrap();
    let tending = tokio::spawn(Arc::clone(&open.rollout).tend());
    observe_until_swapped(&open, &one, FAULT, 5).await;
    assert_eq!(open.live(), first);
    tending.abort();
    open.close().await;
}

#[tokio::test]
async fn a_restart_within_the_window_goes_on_watching() {
    let place = Place::new();
    let (open, tending) = tended(&place).await;
    let first = open.live();
    let one = open.go(numbered(1)).await;
    tending.abort();
    open.close().await;
    let (open, tending) = tended(&place).await;
    assert_eq!(open.live(), one);
    observe_until_swapped(&open, &one, FAULT, 5).await;
    assert_eq!(open.live(), first);
    tending.abort();
    open.close().await;

    let place = Place { settings: Settings { window: Duration::ZERO, ..Settings::default() }, ..place };
    let (open, tending) = tended(&place).await;
    let two = open.go(numbered(2)).await;
    (0..50).for_each(|_| open.rollout.observe(&two, FAULT));
    assert_eq!(open.live(), two, "there is no window");
    tending.abort();
    open.close().await;
}

/// A swap by somebody else comes first: then the guard has nothing more to say.
#[tokio::test]
async fn a_trip_that_comes_too_late_changes_nothing() {
    let place = Place::new();
    let open = place.open(numbered(0)).await;
    let one = open.go(numbered(1)).await;
    // Nobody listens yet.
    (0..5).for_each(|_| open.rollout.observe(&one, FAULT));
    let two = open.go(numbered(2)).await;
    let tending = tokio::spawn(Arc::clone(&open.rollout).tend());
    let three = open.go(numbered(3)).await;
    observe_until_swapped(&open, &three, FAULT, 5).await;
    assert_eq!(open.live(), two);
    assert_eq!(open.rollout.counts().guarded, 1);
    tending.abort();
    open.close().await;
}
