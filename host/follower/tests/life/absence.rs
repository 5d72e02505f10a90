//! A CA that is gone, silent or back.

use std::time::Duration;

use pki::{Freshness, Serial};
use tempfile::tempdir;

use crate::authority::Authority;
use crate::fake::{Fake, NAME};
use crate::world::{Log, follow, follow_fake, now, open};

/// faults row 31
#[tokio::test]
async fn a_master_starts_and_serves_for_a_week_without_its_ca_and_catches_up() {
    let fake = Fake::start(Authority::root("Test CA")).await;
    let temp = tempdir().unwrap();
    let victim = Serial::random().unwrap();
    let following = follow_fake(&fake, temp.path()).await;
    fake.publish(2, &fake.authority().lists(2, &[&victim]));
    fake.enforced(2).await;
    fake.stop().await;
    drop(following);

    let following = follow(fake.settings(temp.path())).await;
    assert!(following.follower.trust().is_revoked(&victim));
    assert_eq!(following.follower.identity().certificate.subject_cn, NAME);
    let week = following.follower.state(now() + time::Duration::days(7));
    assert_eq!((week.freshness, week.number, week.contact), (Freshness::Stale, 2, None));
    while following.follower.state(now()).reconnects < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    fake.publish(3, &fake.authority().lists(3, &[&victim]));
    fake.start_again().await;
    following.number(3).await;
    fake.enforced(3).await;
    assert!(following.follower.state(now()).contact.is_some());
}

#[tokio::test]
async fn a_ca_that_goes_away_and_comes_back_is_held_again() {
    let fake = Fake::start(Authority::root("Test CA")).await;
    let temp = tempdir().unwrap();
    let following = follow_fake(&fake, temp.path()).await;
    for number in 2..5 {
        fake.stop().await;
        fake.start_again().await;
        fake.streams(u32::try_from(number).unwrap() + 1).await;
        fake.publish(number, &fake.authority().lists(number, &[]));
        following.number(number).await;
    }
    assert!(following.follower.state(now()).reconnects >= 3);
}

#[tokio::test]
async fn a_silent_stream_is_given_up() {
    let fake = Fake::start(Authority::root("Test CA")).await;
    fake.state().alive = false;
    let temp = tempdir().unwrap();
    let _following = follow_fake(&fake, temp.path()).await;
    fake.streams(3).await;
}

#[tokio::test]
async fn a_first_start_waits_for_the_ca_and_says_so() {
    let fake = Fake::start(Authority::root("Test CA")).await;
    let settings = fake.settings(tempdir().unwrap().path());
    fake.stop().await;
    let (log, _guard) = Log::start();
    let opening = tokio::spawn(open(settings));
    while !log.text().contains("knows nothing of its CA yet and waits for it") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let text = log.text();
    assert!(text.contains(&format!("localhost:{}", fake.port)) && text.contains("refused"), "{text}");
    fake.start_again().await;
    opening.await.unwrap();
}

/// faults row 29
#[tokio::test]
async fn freshness_follows_the_clock_either_way() {
    let fake = Fake::start(Authority::root("Test CA")).await;
    let temp = tempdir().unwrap();
    let mut settings = fake.settings(temp.path());
    settings.grace = Duration::from_secs(3 * 24 * 3600);
    let follower = open(settings).await;
    let end = follower.trust().next_update;
    let check = |at: time::OffsetDateTime, expected: Freshness| {
        let state = follower.state(at);
        assert_eq!((state.freshness, state.next_update), (expected, end), "{at}");
    };
    check(now(), Freshness::Fresh);
    check(end - time::Duration::SECOND, Freshness::Fresh);
    check(end, Freshness::Stale);
    check(end + time::Duration::days(3) - time::Duration::SECOND, Freshness::Stale);
    check(end + time::Duration::days(3), Freshness::Expired);
    check(end + time::Duration::days(3000), Freshness::Expired);
    check(now() - time::Duration::days(3000), Freshness::Fresh);
}
