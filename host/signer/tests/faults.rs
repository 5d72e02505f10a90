//! Signers that die, hang or lie, and daemons that die.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::panic,
    reason = "tests"
)]

mod stage;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bunraku_signer::{Error, KeyHolder as _};
use pki::{KeyKind, Sign, SignError};
use rustix::process::Signal;
use stage::{PROGRAM, Stage, certify, child_of, ends, is_there, signal, watch};

/// The bound that is promised, and what a busy machine adds.
const BOUND: Duration = Duration::from_secs(10 + 5);

fn unavailable(key: &Arc<dyn Sign>) -> String {
    let start = Instant::now();
    let result = key.sign(b"message");
    assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
    match result {
        Err(SignError::Unavailable(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_signer_killed_among_200_signatures_costs_nobody_his() {
    let stage = Stage::new();
    let (path, ca) = stage.ca(KeyKind::EcP256);
    let process = stage.process(&["signer"]);
    let key = process.open(&path, Some(&ca)).unwrap();
    let done = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..25 {
                    assert!(certify(&ca, &key).unwrap().is_signed_by(&ca));
                    if done.fetch_add(1, Ordering::AcqRel) == 50 {
                        signal(stage.child(), Signal::KILL);
                    }
                }
            });
        }
    });
    assert_eq!(done.into_inner(), 200);
    assert_eq!(process.restarts(), 1);
    assert!(process.alive());
    // What it is sealed to, it is sealed to after a restart.
    assert!(matches!(key.sign(b"anything"), Err(SignError::Refused(_))));
}

#[test]
fn a_signer_that_cannot_be_started_again_is_unavailable_until_it_can() {
    let stage = Stage::new();
    let (path, _) = stage.ca(KeyKind::EcP256);
    let broken = stage.path("broken");
    let process = stage.process(&["flaky", broken.to_str().unwrap()]);
    let key = process.open(&path, None).unwrap();
    fs::write(&broken, "").unwrap();
    signal(stage.child(), Signal::KILL);
    let why = unavailable(&key);
    assert!(why.contains("cannot be started") && why.contains("(exit status: 1)"), "{why}");
    assert!(!process.alive());
    fs::remove_file(&broken).unwrap();
    assert!(key.sign(b"message").is_ok());
    assert!(process.alive());
    assert_eq!(process.restarts(), 1);
}

#[test]
fn a_key_that_became_unusable_is_told_at_once() {
    let stage = Stage::new();
    let (path, _) = stage.ca(KeyKind::EcP256);
    let process = stage.process(&["signer"]);
    let key = process.open(&path, None).unwrap();
    let other = stage.process(&["signer"]).create(KeyKind::EcP256, &stage.path("other.pem")).unwrap();
    fs::rename(&path, stage.path("away")).unwrap();
    fs::rename(stage.path("other.pem"), &path).unwrap();
    signal(stage.children().into_iter().min_by_key(|pid| pid.as_raw_nonzero()).unwrap(), Signal::KILL);
    assert!(other.sign(b"message").is_ok());
    let why = unavailable(&key);
    assert!(why.contains("is not the key of the public key"), "{why}");
    fs::rename(stage.path("away"), &path).unwrap();
    // It is tried again every few seconds, and who asks meanwhile is told what is wrong.
    let start = Instant::now();
    while key.sign(b"message").is_err() {
        assert!(start.elapsed() < BOUND);
        thread::yield_now();
    }
}

#[test]
fn a_signer_that_dies_of_a_request_is_asked_twice_and_no_more() {
    let stage = Stage::new();
    let (path, _) = stage.ca(KeyKind::EcP256);
    let process = stage.process(&["dies"]);
    let key = process.open(&path, None).unwrap();
    for restarts in [1, 3, 5] {
        let why = unavailable(&key);
        assert!(why.contains("died twice"), "{why}");
        assert!(process.restarts() >= restarts, "{}", process.restarts());
    }
}

#[test]
fn whatever_a_signer_says_instead_of_taking_its_key_is_an_error() {
    let stage = Stage::new();
    let (path, _) = stage.ca(KeyKind::EcP256);
    let check = |part: &str, expected: &str| {
        let process = stage.process(&[part]);
        let error = process.open(&path, None).unwrap_err();
        assert!(matches!(error, Error::Start { .. } | Error::Protocol(_)), "{part}: {error:?}");
        assert!(error.to_string().contains(expected), "{part}: {error}");
        assert!(process.alive() && stage.children().is_empty(), "{part}");
    };
    check("greets-not", "ended at once (exit status: 0)");
    check("greets-with-4-gib", "a frame of 4294967295 bytes");
    check("greets-in-half", "cannot be started");
    check("greets-with-another-kind", "Signed answers a start");
    check("greets-with-an-unknown-kind", "unknown kind 200");
    check("greets-with-no-key", "public key cannot be read");
    check("greets-with-no-error", "do not understand each other");
    let program = bunraku_signer::Settings {
        program: "/no/such/program".into(),
        arguments: Vec::new(),
        passphrase_file: None,
        threads: 1,
    };
    let error = bunraku_signer::Process::new(program).open(&path, None).unwrap_err();
    assert!(matches!(error, Error::Start { .. }), "{error:?}");
}

#[test]
fn whatever_a_signer_answers_harms_nobody() {
    let stage = Stage::new();
    let (path, _) = stage.ca(KeyKind::EcP256);
    let open = |part: &str| stage.process(&[part]).open(&path, None).unwrap();
    for part in
        ["answers-with-4-gib", "answers-with-too-much", "answers-in-half", "answers-with-an-unknown-kind"]
    {
        let why = if part == "answers-in-half" { continue } else { unavailable(&open(part)) };
        assert!(why.contains("died twice"), "{part}: {why}");
    }
    assert_eq!(open("answers-others-first").sign(b"message").unwrap(), b"yours");
    let another = open("answers-with-another-kind").sign(b"message").unwrap_err();
    assert!(matches!(another, SignError::Library(_)), "{another:?}");
    let words = open("refuses-in-no-words").sign(b"message").unwrap_err();
    assert_eq!(words, SignError::Refused("\u{fffd}\u{fffd}".into()));
}

#[test]
fn a_signer_that_never_answers_is_replaced() {
    for part in ["never-answers", "answers-in-half"] {
        let stage = Stage::new();
        let (path, _) = stage.ca(KeyKind::EcP256);
        let process = stage.process(&[part]);
        let key = process.open(&path, None).unwrap();
        let child = watch(stage.child());
        let why = unavailable(&key);
        assert!(why.contains("no answer within 10 s"), "{part}: {why}");
        assert!(ends(&child), "{part}");
        drop(key);
        assert!(stage.children().is_empty());
    }
}

#[test]
fn a_stopped_signer_is_killed_with_its_key() {
    let stage = Stage::new();
    let (path, _) = stage.ca(KeyKind::EcP256);
    let key = stage.process(&["signer"]).open(&path, None).unwrap();
    let child = stage.child();
    signal(child, Signal::STOP);
    drop(key);
    assert!(!is_there(child));
}

/// A daemon in a process of its own, with a signer.
struct Daemon {
    process: Child,
    out: BufReader<ChildStdout>,
}

impl Daemon {
    fn start(command: &mut Command) -> Daemon {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(process.stdout.take().unwrap());
        let mut daemon = Daemon { process, out };
        assert_eq!(daemon.line(), "ready");
        daemon
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

#[test]
fn a_signer_does_not_outlive_a_daemon_that_is_killed() {
    for stopped in [false, true] {
        let stage = Stage::new();
        let (path, _) = stage.ca(KeyKind::EcP256);
        let mut daemon = Daemon::start(Command::new(PROGRAM).args(["daemon", "signer"]).arg(path));
        let signer = child_of(daemon.process.id());
        let watched = watch(signer);
        if stopped {
            signal(signer, Signal::STOP);
        }
        daemon.process.kill().unwrap();
        daemon.process.wait().unwrap();
        assert!(ends(&watched), "stopped: {stopped}");
    }
}

#[test]
fn a_daemon_that_is_told_to_end_has_its_signer_until_it_does() {
    let stage = Stage::new();
    let (path, _) = stage.ca(KeyKind::EcP256);
    let mut daemon = Daemon::start(Command::new(PROGRAM).args(["daemon", "signer"]).arg(path));
    let signer = child_of(daemon.process.id());
    // systemd and terminals tell the whole group.
    for told in [Signal::TERM, Signal::INT, Signal::HUP] {
        signal(signer, told);
        daemon.process.stdin.as_mut().unwrap().write_all(b"sign this\n").unwrap();
        assert!(daemon.line().starts_with("signed "));
        assert_eq!(child_of(daemon.process.id()), signer, "{told:?}");
    }
    drop(daemon.process.stdin.take());
    assert_eq!(daemon.line(), "done");
    assert!(daemon.process.wait().unwrap().success());
    assert!(!is_there(signer));
}
