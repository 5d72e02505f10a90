//! What it costs to have the key in another process. Run alone, on a machine that does nothing else:
//! `cargo test -p bunraku-signer --test rates -- --ignored --nocapture`.

mod stage;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bunraku_signer::{InProcess, KeyHolder as _};
use pki::{KeyKind, Sign};
use stage::{Spy, Stage};

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
        for threads in [1, 2] {
            let mut rates = [0.0, 0.0];
            for _ in 0..TURNS {
                for (rate, key) in rates.iter_mut().zip([&here, &there]) {
                    *rate += measure(key, &message, threads) / f64::from(TURNS);
                }
            }
            let [here, there] = rates;
            let percent = there / here * 100.0;
            println!("{:<10}{threads:>8}{here:>10.1}{there:>10.1}{percent:>10.1} %", kind.to_string());
            assert!(kind != KeyKind::Rsa4096 || percent >= 90.0, "the target is 97 %, some is noise");
        }
    }
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
