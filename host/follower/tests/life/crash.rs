//! `kill -9` at any instant: what was reported as enforced is in force at the next start.

use std::hash::{BuildHasher as _, RandomState};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::tempdir;

use crate::authority::Authority;
use crate::fake::Fake;
use crate::world::{follow, open};

const PLACE: &str = "BUNRAKU_FOLLOWER_CRASH";

#[tokio::test]
#[ignore = "the child that the test below kills"]
async fn child() {
    let place = std::env::var(PLACE).unwrap();
    let [dir, port, pin] = place.split('|').collect::<Vec<_>>()[..] else { panic!("{place}") };
    let fake = Fake::start(Authority::root("unused")).await;
    let mut settings = fake.settings(std::path::Path::new(dir));
    settings.server.1 = port.parse().unwrap();
    settings.pin = Some(bunraku_follower::Pin::fingerprint(pin).unwrap());
    let _following = follow(settings).await;
    std::future::pending::<()>().await;
}

/// faults row 21, as far as a follower goes
#[tokio::test]
async fn a_killed_master_goes_back_to_no_list_older_than_it_reported() {
    let fake = Fake::start(Authority::root("Test CA")).await;
    let temp = tempdir().unwrap();
    let pin = pki::Fingerprint::of(fake.state().bundle.as_bytes()).to_hex();
    let place = format!("{}|{}|{pin}", temp.path().display(), fake.port);
    let mut number = 1;
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "crash::child", "--test-threads=1"])
            .env(PLACE, &place)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        fake.enforced(number).await;
        let chance = RandomState::new().hash_one(round) % 20;
        for _ in 0..10 + chance {
            number += 1;
            fake.publish(number, &fake.authority().lists(number, &[]));
            tokio::time::sleep(Duration::from_micros(chance * 700)).await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What was on its way has come.
        tokio::time::sleep(Duration::from_millis(50)).await;
        fake.stop().await;
        let reported = *fake.reports().iter().max().unwrap();
        let settings = fake.settings(temp.path());
        let held = open(settings).await.trust().number;
        assert!(held >= reported, "round {round}: {held} is in force and {reported} was reported");
        println!("round {round}: {reported} reported, {held} in force of {number} published");
        fake.start_again().await;
    }
}
