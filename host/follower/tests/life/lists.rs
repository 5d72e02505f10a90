//! Which lists are taken, and which are not.

use std::time::{Duration, Instant};

use hyper::StatusCode;
use pki::Serial;
use tempfile::tempdir;

use crate::authority::{Authority, now as sharp};
use crate::fake::Fake;
use crate::world::{Following, follow, follow_fake, now, open};

#[tokio::test]
async fn a_revocation_is_in_force_at_once_and_reported() {
    let fake = Fake::start(Authority::root("Test Root").below("Test CA")).await;
    let temp = tempdir().unwrap();
    let following = follow_fake(&fake, temp.path()).await;
    let mut worst = Duration::ZERO;
    let mut revoked: Vec<Serial> = Vec::new();
    for number in 2..30 {
        revoked.push(Serial::random().unwrap());
        let lists = fake.authority().lists(number, &revoked.iter().collect::<Vec<_>>());
        let began = Instant::now();
        fake.publish(number, &lists);
        following.number(number).await;
        worst = worst.max(began.elapsed());
        assert!(following.follower.trust().is_revoked(revoked.last().unwrap()));
    }
    println!("push to watch_trust: worst of 28 is {worst:?}");
    assert!(worst < Duration::from_secs(5));
    fake.enforced(29).await;
    assert!(fake.reports().is_sorted(), "{:?}", fake.reports());
    let state = following.follower.state(now());
    assert_eq!((state.number, state.refused, state.reconnects), (29, 0, 0));
    assert!(state.contact.is_some());
}

/// faults row 28, as far as a follower goes
#[tokio::test]
async fn a_list_of_a_hundred_thousand_is_followed() {
    let fake = Fake::start(Authority::root("Test CA")).await;
    let temp = tempdir().unwrap();
    let following = follow_fake(&fake, temp.path()).await;
    let mut revoked: Vec<Serial> = (0..100_000).map(|_| Serial::random().unwrap()).collect();
    for number in 2..4 {
        let lists = fake.authority().lists(number, &revoked.iter().collect::<Vec<_>>());
        let began = Instant::now();
        fake.publish(number, &lists);
        following.number(number).await;
        // Printed alone: a test's build on a busy machine says little of the time it takes.
        println!("push of {} bytes to watch_trust: {:?}", lists.len(), began.elapsed());
        revoked.truncate(99_999);
    }
    fake.enforced(3).await;
    assert_eq!(following.follower.trust().revoked.len(), 99_999);
}

/// A CA dates its lists back. What agents are told has changed since is when the list came here, also after
/// a start: one who fetched a list a moment before the next one came would otherwise never be given that.
#[tokio::test]
async fn a_list_is_as_new_as_its_arrival() {
    let fake = Fake::start(Authority::root("Test CA")).await;
    let temp = tempdir().unwrap();
    let following = follow_fake(&fake, temp.path()).await;
    let fetched = now();
    fake.publish(2, &fake.authority().lists(2, &[]));
    fake.enforced(2).await;
    let trust = following.follower.trust();
    assert!(trust.this_update > fetched && trust.this_update <= now() + time::Duration::SECOND);
    drop(following);
    fake.stop().await;
    let again = open(fake.settings(temp.path())).await.trust();
    assert_eq!((again.this_update, again.bundle_modified), (trust.this_update, trust.bundle_modified));
}

#[tokio::test]
async fn two_masters_follow_one_ca() {
    let fake = Fake::start(Authority::root("Test CA")).await;
    let (one, two) = (tempdir().unwrap(), tempdir().unwrap());
    let first = follow_fake(&fake, one.path()).await;
    let mut settings = fake.settings(two.path());
    settings.certname = pki::Certname::parse("master2.test").unwrap();
    let second = follow(settings).await;
    // Two for the first contacts, two that are held.
    fake.streams(4).await;
    fake.publish(2, &fake.authority().lists(2, &[]));
    tokio::join!(first.number(2), second.number(2));
}

/// faults row 30
#[tokio::test]
async fn corrupt_older_foreign_and_delta_lists_are_kept_out() {
    let fake = Fake::start(Authority::root("Test Root").below("Test CA")).await;
    let authority = fake.authority();
    let victim = Serial::random().unwrap();
    let temp = tempdir().unwrap();
    let following = follow_fake(&fake, temp.path()).await;
    fake.publish(7, &authority.lists(7, &[&victim]));
    following.number(7).await;

    let word = |lists: &str, number: u64| serde_json::json!({ "bundle": authority.bundle, "crls": lists, "agents_crls": lists, "number": number });
    let good = authority.lists(8, &[&victim]);
    let own = |of: &Authority, number| of.own_list(number, &[], sharp() + time::Duration::days(7)).to_pem();
    let roots = good.split_inclusive("-----END X509 CRL-----\n").nth(1).unwrap();
    let flipped = {
        use base64::Engine as _;
        let standard = base64::engine::general_purpose::STANDARD;
        let mut der = authority.own_list(8, &[&victim], sharp() + time::Duration::days(7)).der;
        let end = der.len() - 9;
        der[end] ^= 1;
        format!("-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n{roots}", standard.encode(der))
    };
    let mut agents_delta = word(&good, 8);
    agents_delta["agents_crls"] = (authority.delta(8) + roots).into();
    let other = Authority::root("Test Root").below("Test CA");
    let mut another_ca = word(&other.lists(9, &[]), 9);
    another_ca["bundle"] = other.bundle.clone().into();
    let mut bad_bundle = word(&good, 8);
    bad_bundle["bundle"] = good.clone().into();
    let bad = [
        ("no JSON", "hello".to_owned()),
        ("cut off", word(&good, 8).to_string()[..900].to_owned()),
        ("no object", "[1]".to_owned()),
        ("no PEM", word("hello", 8).to_string()),
        ("empty", word("", 8).to_string()),
        ("a flipped bit", word(&flipped, 8).to_string()),
        ("older", word(&authority.lists(6, &[]), 6).to_string()),
        ("foreign", word(&other.lists(8, &[]), 8).to_string()),
        ("foreign beside", word(&(good.clone() + &own(&other, 1)), 8).to_string()),
        ("impostor's", word(&(own(&authority.impostor(), 8) + roots), 8).to_string()),
        ("a delta", word(&(authority.delta(8) + roots), 8).to_string()),
        ("a delta for agents", agents_delta.to_string()),
        ("twice", word(&(good.clone() + &own(&authority, 9)), 8).to_string()),
        ("one missing", word(&own(&authority, 8), 8).to_string()),
        ("another number than said", word(&good, 9).to_string()),
        ("another CA", another_ca.to_string()),
        ("a bundle that is none", bad_bundle.to_string()),
    ];
    for ((what, line), before) in bad.iter().zip(0..) {
        assert_eq!(following.follower.state(now()).refused, before);
        fake.push(line);
        while following.follower.state(now()).refused == before {
            assert_eq!(following.follower.trust().number, 7, "{what} was taken");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(following.follower.trust().is_revoked(&victim), "{what}");
    }
    fake.publish(8, &good);
    fake.enforced(8).await;
    let state = following.follower.state(now());
    assert_eq!(state.refused, u64::try_from(bad.len()).unwrap());
    assert!(!fake.reports().contains(&9) && !fake.reports().contains(&6), "{:?}", fake.reports());
    // What was refused left no trace on disk either.
    drop(following);
    fake.stop().await;
    let follower = open(fake.settings(temp.path())).await;
    assert_eq!(*follower.trust().crls, good);
}

#[tokio::test]
async fn what_is_known_already_and_what_is_unknown_changes_nothing() {
    let fake = Fake::start(Authority::root("Test CA")).await;
    let temp = tempdir().unwrap();
    let following = follow_fake(&fake, temp.path()).await;
    let lists = fake.authority().lists(2, &[]);
    fake.publish(2, &lists);
    following.number(2).await;
    let mut trust = following.follower.watch_trust();
    trust.mark_unchanged();
    fake.publish(2, &lists);
    fake.push(r#"{"news":"of a later version"}"#);
    fake.push(r#"{"alive":true,"more":1}"#);
    fake.publish(3, &fake.authority().lists(3, &[]));
    trust.changed().await.unwrap();
    assert_eq!(trust.borrow_and_update().number, 3);
    assert_eq!(following.follower.state(now()).refused, 0);
}

#[tokio::test]
async fn the_plugins_of_the_ca_are_passed_on_beside_the_lists() {
    let fake = Fake::start(Authority::root("Test CA")).await;
    let temp = tempdir().unwrap();
    let following = follow_fake(&fake, temp.path()).await;
    let mut told = following.follower.watch_plugin_set();
    assert!(told.borrow_and_update().is_none());
    fake.push(r#"{"plugin_set":{"id":"one","spec":{"plugins":[{"settings":{"token":"hush"}}]}}}"#);
    told.changed().await.unwrap();
    let pushed = told.borrow_and_update().clone().unwrap();
    assert_eq!(
        (pushed.id.as_str(), &pushed.spec["plugins"][0]["settings"]["token"]),
        ("one", &"hush".into())
    );
    assert!(!format!("{pushed:?}").contains("hush"));
    // What is no set is refused, and what was told stays.
    fake.push(r#"{"plugin_set":{"id":2}}"#);
    fake.publish(2, &fake.authority().lists(2, &[]));
    following.number(2).await;
    assert!(!told.has_changed().unwrap());
    assert_eq!(following.follower.state(now()).refused, 1);
}

#[tokio::test]
async fn a_renewed_ca_is_followed_and_another_one_is_not() {
    let root = Authority::root("Test Root");
    let fake = Fake::start(root.below("Test CA")).await;
    let temp = tempdir().unwrap();
    let following = follow_fake(&fake, temp.path()).await;
    let replace = |authority: &Authority, number: u64| {
        fake.state().bundle = authority.bundle.clone();
        fake.publish(number, &authority.lists(number, &[]));
    };
    let second = root.below("Second CA");
    replace(&second, 2);
    following.number(2).await;
    assert_eq!(**following.follower.trust().bundle.pem(), second.bundle);
    replace(&Authority::root("Test Root").below("Second CA"), 3);
    while following.follower.state(now()).refused == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(**following.follower.trust().bundle.pem(), second.bundle);
}

#[tokio::test]
async fn a_root_with_a_new_certificate_for_its_key_is_the_same_ca() {
    let fake = Fake::start(Authority::root("Test CA")).await;
    let temp = tempdir().unwrap();
    let following = follow_fake(&fake, temp.path()).await;
    let before = following.follower.trust();
    let renewed = fake.authority().renewed();
    assert_ne!(renewed.bundle, fake.state().bundle);
    fake.state().bundle = renewed.bundle.clone();
    fake.publish(2, &renewed.lists(2, &[]));
    fake.enforced(2).await;
    let after = following.follower.trust();
    assert_eq!(**after.bundle.pem(), renewed.bundle);
    assert!(after.bundle_modified >= before.bundle_modified);
    drop(following);
    // The pin is about the first bundle, and goes on being met.
    let mut settings = fake.settings(temp.path());
    settings.pin =
        Some(bunraku_follower::Pin::fingerprint(&before.bundle.fingerprint().to_string()).unwrap());
    assert_eq!(open(settings).await.trust().number, 2);
}

/// A Puppet CA pushes nothing: its lists are polled, and `If-Modified-Since` saves fetching them again.
#[tokio::test]
async fn a_ca_without_a_stream_is_polled() {
    let fake = Fake::start(Authority::root("Test CA")).await;
    fake.state().no_stream = Some(StatusCode::NOT_FOUND);
    let temp = tempdir().unwrap();
    let following = follow(fake.settings(temp.path())).await;
    let lists = "/puppet-ca/v1/certificate_revocation_list/ca";
    let until = async |what: &str, times: usize| {
        while fake.asked(what) < times {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    until(&format!("GET {lists} 304"), 2).await;
    assert_eq!(fake.asked(&format!("GET {lists} 200")), 2, "at the first contact and at the first poll");
    fake.publish(2, &fake.authority().lists(2, &[]));
    following.number(2).await;
    // An older one is no better for being polled.
    fake.publish(1, &fake.authority().lists(1, &[]));
    while following.follower.state(now()).refused == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(following.follower.trust().number, 2);
    assert!(following.follower.state(now()).contact.is_some());
}

/// A CA with an infrastructure CRL tells agents less than is to be enforced.
#[tokio::test]
async fn the_lists_for_agents_never_take_the_place_of_those_to_enforce() {
    let fake = Fake::start(Authority::root("Test CA")).await;
    let (authority, victim) = (fake.authority(), Serial::random().unwrap());
    {
        let mut state = fake.state();
        state.agents_lists = Some(authority.lists(4, &[]));
        state.lists = authority.lists(4, &[&victim]);
    }
    let temp = tempdir().unwrap();
    // Known from the first word of the stream on, before anything is served.
    let follower = open(fake.settings(temp.path())).await;
    assert!(follower.trust().is_revoked(&victim));
    assert_ne!(follower.trust().crls, follower.trust().agents_crls);
    drop(follower);
    fake.state().no_stream = Some(StatusCode::FORBIDDEN);
    let fifth = authority.lists(5, &[]);
    fake.state().agents_lists = Some(fifth.clone());
    let following: Following = follow(fake.settings(temp.path())).await;
    let mut trust = following.follower.watch_trust();
    let polled = trust.wait_for(|trust| *trust.agents_crls == *fifth);
    drop(tokio::time::timeout(Duration::from_secs(30), polled).await.expect("in time").unwrap());
    let trust = following.follower.trust();
    assert!(trust.is_revoked(&victim));
    assert_eq!((trust.number, following.follower.state(now()).refused), (4, 0));
}
