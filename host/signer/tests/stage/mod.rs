//! What the tests stand on: a folder with a key, holders of keys, and a look at the processes.
#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bunraku_signer::{InProcess, KeyHolder, Process, Settings};
use pki::{Certificate, Certname, Issuer, KeyKind, Serial, Sign, SignError, Template};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_signer-play");
pub const NOW: OffsetDateTime = time::macros::datetime!(2026-06-01 12:00 UTC);

pub struct Stage {
    dir: TempDir,
    /// What the children of this stage have as their last argument.
    mark: String,
}

impl Stage {
    pub fn new() -> Stage {
        static STAGES: AtomicU32 = AtomicU32::new(0);
        let number = STAGES.fetch_add(1, Ordering::Relaxed);
        Stage { dir: tempfile::tempdir().unwrap(), mark: format!("stage-{}-{number}", std::process::id()) }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A holder whose children play this part.
    pub fn process(&self, part: &[&str]) -> Process {
        self.process_with(part, None)
    }

    pub fn process_with(&self, part: &[&str], passphrase_file: Option<PathBuf>) -> Process {
        let arguments = part.iter().copied().chain([self.mark.as_str()]).map(OsString::from).collect();
        Process::new(Settings { program: PROGRAM.into(), arguments, passphrase_file, threads: 2 })
    }

    /// A key's file and the certificate of its CA.
    pub fn ca(&self, kind: KeyKind) -> (PathBuf, Certificate) {
        let path = self.path("key.pem");
        let key = InProcess::new(None).create(kind, &path).unwrap();
        (path, self_signed("stage", key))
    }

    /// The children that are there, zombies not counted.
    pub fn children(&self) -> Vec<Pid> {
        let own = format!("PPid:\t{}\n", std::process::id());
        children(&own).into_iter().filter(|(_, line)| line.contains(&self.mark)).map(|(pid, _)| pid).collect()
    }

    /// The one child that there is.
    pub fn child(&self) -> Pid {
        let children = self.children();
        assert_eq!(children.len(), 1, "{children:?}");
        children[0]
    }
}

/// The child of another process.
pub fn child_of(parent: u32) -> Pid {
    let found = children(&format!("PPid:\t{parent}\n"));
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].0
}

/// Processes in whose status that line is, with their command lines.
fn children(line: &str) -> Vec<(Pid, String)> {
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        // Processes come and go meanwhile.
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        status.contains(line).then_some((Pid::from_raw(pid)?, command))
    });
    pids.collect()
}

pub fn signal(pid: Pid, signal: Signal) {
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Whether a process that is, or was, somebody else's child ends within some seconds.
pub fn ends(process: &impl std::os::fd::AsFd) -> bool {
    let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
    rustix::event::poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&limit)).unwrap() == 1
}

pub fn watch(pid: Pid) -> std::os::fd::OwnedFd {
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).unwrap()
}

/// Whether a process is there, be it as a zombie.
pub fn is_there(pid: Pid) -> bool {
    PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero())).exists()
}

/// The certificate of a CA that a key, not sealed, makes itself.
pub fn self_signed(name: &str, key: Arc<dyn Sign>) -> Certificate {
    pki::create_issuer(name, key, NOW - Duration::DAY, NOW + Duration::days(1000))
        .unwrap()
        .certificate()
        .clone()
}

/// A certificate for an agent, of that CA by that key.
pub fn certify(ca: &Certificate, key: &Arc<dyn Sign>) -> Result<Certificate, SignError> {
    let template = Template {
        serial: Serial::random().unwrap(),
        certname: Certname::parse("agent.example").unwrap(),
        key: ca.key.clone(),
        not_before: NOW,
        not_after: NOW + Duration::days(10),
        alt_names: Vec::new(),
        extensions: Vec::new(),
    };
    let issuer = Issuer::open(ca.clone(), Arc::clone(key))?;
    pki::sign_certificate(&template, &issuer)
}

/// Keeps what it is to sign, and asks another to sign it.
#[derive(Debug)]
pub struct Spy {
    pub key: Arc<dyn Sign>,
    pub seen: std::sync::Mutex<Vec<u8>>,
}

impl Spy {
    pub fn on(key: Arc<dyn Sign>) -> Arc<Spy> {
        Arc::new(Spy { key, seen: std::sync::Mutex::default() })
    }

    /// What a CA with this key signs for an agent.
    pub fn message(ca: &Certificate, key: &Arc<dyn Sign>) -> Vec<u8> {
        let spy = Spy::on(Arc::clone(key));
        certify(ca, &(Arc::clone(&spy) as Arc<dyn Sign>)).unwrap();
        spy.seen.lock().unwrap().clone()
    }
}

impl Sign for Spy {
    fn public(&self) -> &pki::PublicKey {
        self.key.public()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        *self.seen.lock().unwrap() = message.to_vec();
        self.key.sign(message)
    }
}
