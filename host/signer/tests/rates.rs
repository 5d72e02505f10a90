//! What it costs to have the key in another process. Run alone, on a machine that does nothing else:
//! `cargo test -p bunraku-signer --test rates -- --ignored --nocapture`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::panic,
    reason = "tests"
)]

mod stage;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bunraku_signer::{InProcess, KeyHolder as _};
use pki::{KeyKind, Sign};
use stage::{NOW, Spy, Stage};

/// How long each is measured, in turn, and how often.
const TIME: Duration = Duration::from_millis(500);
const TURNS: u32 = 12;

#[test]
#[ignore = "a measurement"]
fn another_process_costs_little() {
    println!("{:<10}{:>8}{:>10}{:>10}{:>12}", "kind", "threads", "here/s", "there/s", "there/here");
    for kind in [KeyKind::EcP256, KeyKind::EcP384, KeyKind::Rsa2048, KeyKind::Rsa4096] {
        let stage = Stage::new();
        let (path, ca) = stage.ca(kind);
        let here = InProcess::new(None).open(&path, Some(&ca)).unwrap();
        let there = stage.process(&["signer"]).open(&path, Some(&ca)).unwrap();
        let message = Spy::message(&ca, &here);
        let told = |what: &str, here: f64, there: f64| {
            let percent = there / here * 100.0;
            println!("{:<10}{what:>8}{here:>10.1}{there:>10.1}{percent:>10.1} %", kind.to_string());
            percent
        };
        let [quick, quick_there] = quickest(&[&here, &there], &message);
        let percent = told("alone", 1.0 / quick, 1.0 / quick_there);
        assert!(kind != KeyKind::Rsa4096 || percent >= 90.0, "the target is 97 %, some is noise");
        for threads in [1, 2] {
            let mut rates = [0.0, 0.0];
            for _ in 0..TURNS {
                for (rate, key) in rates.iter_mut().zip([&here, &there]) {
                    *rate += measure(key, &message, threads) / f64::from(TURNS);
                }
            }
            told(&threads.to_string(), rates[0], rates[1]);
        }
    }
}

/// Seconds for a signature where nothing else came between: the quickest fiftieth, call by call in turn. Other
/// programs on the machine disturb this less than a rate.
fn quickest(keys: &[&Arc<dyn Sign>; 2], message: &[u8]) -> [f64; 2] {
    let mut times = [Vec::new(), Vec::new()];
    let start = Instant::now();
    while start.elapsed() < TIME * TURNS {
        for (times, key) in times.iter_mut().zip(keys) {
            let start = Instant::now();
            key.sign(message).unwrap();
            times.push(start.elapsed().as_secs_f64());
        }
    }
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 50]
    })
}

fn measure(key: &Arc<dyn Sign>, message: &[u8], threads: u32) -> f64 {
    let start = Instant::now();
    let count: u32 = thread::scope(|scope| {
        let work = || {
            let mut count = 0u32;
            while start.elapsed() < TIME {
                key.sign(message).unwrap();
                count += 1;
            }
            count
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    f64::from(count) / start.elapsed().as_secs_f64()
}

#[test]
#[ignore = "a measurement"]
fn a_list_of_a_million_entries_is_signed_within_the_bound() {
    let stage = Stage::new();
    let (path, ca) = stage.ca(KeyKind::EcP256);
    let key = stage.process(&["signer"]).open(&path, Some(&ca)).unwrap();
    let entry = || pki::crl::Entry {
        serial: pki::Serial::random().unwrap(),
        revoked_at: NOW,
        reason: Some(pki::crl::Reason::KeyCompromise),
    };
    let entries: Vec<_> = (0..1_000_000).map(|_| entry()).collect();
    let spy = Spy::on(Arc::clone(&key));
    let spied = pki::Issuer::open(ca, Arc::clone(&spy) as Arc<dyn Sign>).unwrap();
    let start = Instant::now();
    pki::crl::sign(1, NOW, NOW + time::Duration::DAY, entries, &spied).unwrap();
    let all = start.elapsed();
    let message = spy.seen.lock().unwrap().clone();
    let start = Instant::now();
    key.sign(&message).unwrap();
    println!("{} bytes: {:?} in all, {:?} for the signature", message.len(), all, start.elapsed());
}
