//! What a signer can still do when it has its key, and who can look into it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::panic,
    reason = "tests"
)]

mod stage;

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _};
use std::process::{Command, Stdio};

use bunraku_signer::{InProcess, KeyHolder as _, PASSPHRASE_VARIABLE};
use pki::{KeyKind, Passphrase};
use stage::{PROGRAM, Stage, child_of};

#[test]
fn a_signer_reaches_nothing_but_its_socket() {
    let stage = Stage::new();
    let (path, _) = stage.ca(KeyKind::EcP256);
    let mut daemon = Command::new(PROGRAM)
        .args(["daemon", "prober"])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut tried = Vec::new();
    for line in BufReader::new(daemon.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        let [probe, what, outcome] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        assert_eq!(probe, "probe");
        if what == "end" {
            assert_eq!(outcome, "0", "a confined thread still panics and goes on");
            break;
        }
        assert_eq!(outcome, "1", "{what}: not EPERM");
        tried.push(what.to_owned());
    }
    let all = "open create list remove tcp udp unix pair fork exec thread kill watch dumpable";
    assert_eq!(tried.join(" "), all);
    drop(daemon.stdin.take());
    assert!(daemon.wait().unwrap().success());
}

#[test]
fn every_thread_of_a_signer_is_under_its_filter() {
    let stage = Stage::new();
    let (path, ca) = stage.ca(KeyKind::EcP256);
    let key = stage.process(&["signer"]).open(&path, Some(&ca)).unwrap();
    let mut threads = 0;
    for thread in fs::read_dir(format!("/proc/{}/task", stage.child().as_raw_nonzero())).unwrap() {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        for line in ["Seccomp:\t2\n", "Seccomp_filters:\t1\n", "NoNewPrivs:\t1\n"] {
            assert!(status.contains(line), "{line}: {status}");
        }
        threads += 1;
    }
    assert_eq!(threads, 3, "two that sign and one that waits for them");
    drop(key);
}

#[test]
fn a_signer_inherits_no_file_and_no_variable_and_nobody_looks_into_it() {
    let stage = Stage::new();
    let path = stage.path("key.pem");
    let secret = "only for the signer";
    InProcess::new(Some(Passphrase::new(secret.into()).unwrap())).create(KeyKind::EcP256, &path).unwrap();
    // A careless parent's descriptor, which exec does not close.
    let mut daemon = Command::new("sh")
        .args(["-c", "exec 9</etc/hostname; exec \"$@\"", "sh", PROGRAM, "daemon", "signer"])
        .arg(&path)
        .env(PASSPHRASE_VARIABLE, secret)
        .env("ANOTHER_SECRET", "none of its business")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    daemon.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    assert_eq!(&ready, b"ready\n");
    let signer = format!("/proc/{}", child_of(daemon.id()).as_raw_nonzero());
    let files = fs::read_dir(format!("{signer}/fd")).map(|files| {
        let mut files: Vec<_> = files.map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        files
    });
    let environment = fs::read_to_string(format!("{signer}/environ"));
    if rustix::process::geteuid().is_root() {
        assert_eq!(files.unwrap(), ["0", "1", "2"]);
        assert_eq!(environment.unwrap(), format!("{PASSPHRASE_VARIABLE}={secret}\0"));
    } else {
        // The same user is not let in.
        assert_eq!(files.unwrap_err().kind(), ErrorKind::PermissionDenied);
        assert_eq!(environment.unwrap_err().kind(), ErrorKind::PermissionDenied);
    }
    drop(daemon.stdin.take());
    assert!(daemon.wait().unwrap().success());
}

#[test]
fn a_signer_is_not_started_by_hand() {
    for stdin in [Stdio::null(), Stdio::piped()] {
        let out = Command::new(PROGRAM).arg("signer").stdin(stdin).output().unwrap();
        assert!(!out.status.success());
        assert!(String::from_utf8_lossy(&out.stderr).contains("ByHand"), "{out:?}");
    }
}
