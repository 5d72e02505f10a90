//! One signer's process as the daemon has it: the child, its socket, and the requests that it has not
//! answered yet.

use std::collections::HashMap;
use std::io::{self, BufReader};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pki::PublicKey;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags};

use crate::file::PASSPHRASE_VARIABLE;
use crate::protocol::{self, Frame, Kind, MAX_SMALL, Start, Task};
use crate::{Error, Settings};

/// How long a signer may go without any answer while it is asked, and one write to it may take.
pub(crate) const BOUND: Duration = Duration::from_secs(10);
/// How long opening a key may take: a passphrase costs a second or so on purpose.
const OPENING: Duration = Duration::from_secs(30);
/// How long making a key may take: RSA with 4096 bits is a matter of luck.
const CREATING: Duration = Duration::from_secs(300);
/// How long a signer that closed its socket may take to end.
const ENDING: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// A signer that has its key.
pub(crate) struct Connection {
    /// Counts the processes of one key.
    pub generation: u64,
    socket: UnixStream,
    /// Held while a request is written.
    writing: Mutex<()>,
    asked: Mutex<Asked>,
    child: Mutex<Reaped>,
}

struct Asked {
    next: u64,
    waiting: HashMap<u64, SyncSender<Frame>>,
    /// When it last answered, or had nothing to answer.
    heard: Instant,
    answered: bool,
    closed: bool,
}

/// What came of a request.
pub(crate) enum Outcome {
    /// An answer.
    Answered(Frame),
    /// The signer was gone before it had the whole request.
    NotAsked,
    /// The signer died with the request.
    Lost,
    /// There was no time left.
    Late,
}

impl Connection {
    /// Starts a signer and has it take its key.
    pub fn start(
        settings: &Settings,
        start: &Start,
        generation: u64,
    ) -> Result<(Connection, PublicKey), Error> {
        let failed = |reason: String| Error::Start { program: settings.program.clone(), reason };
        let (child, socket) = spawn(settings).map_err(|e| failed(e.to_string()))?;
        let body = serde_json::to_vec(start).map_err(|e| Error::Protocol(e.to_string()))?;
        let bound = if matches!(start.task, Task::Create { .. }) { CREATING } else { OPENING };
        let greeted = socket
            .set_read_timeout(Some(bound))
            .and_then(|()| socket.set_write_timeout(Some(BOUND)))
            .and_then(|()| protocol::write(&mut &socket, 0, Kind::Start, &body))
            .and_then(|()| protocol::read(&mut &socket, MAX_SMALL))
            .and_then(|frame| socket.set_read_timeout(None).map(|()| frame));
        let frame = match greeted {
            Ok(Some(frame)) => frame,
            Ok(None) => return Err(failed(format!("it ended at once ({})", child.end()))),
            // Reset, if it did not even read.
            Err(error) => return Err(failed(format!("{error} ({})", child.end()))),
        };
        let misunderstood = |e: &dyn std::fmt::Display| Error::Protocol(e.to_string());
        match frame.kind {
            Kind::Started => {
                let public = PublicKey::parse(&frame.body).map_err(|e| misunderstood(&e))?;
                let asked = Asked {
                    next: 1,
                    waiting: HashMap::new(),
                    heard: Instant::now(),
                    answered: false,
                    closed: false,
                };
                let (writing, asked, child) = (Mutex::new(()), Mutex::new(asked), Mutex::new(child));
                Ok((Connection { generation, socket, writing, asked, child }, public))
            }
            Kind::NotStarted => Err(serde_json::from_slice(&frame.body).map_err(|e| misunderstood(&e))?),
            other => Err(misunderstood(&format!("{other:?} answers a start"))),
        }
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        lock(&self.child).0.id()
    }

    /// Asks for a signature and waits for the answer.
    pub fn ask(&self, message: &[u8], deadline: Instant) -> Outcome {
        let (answer, answered) = mpsc::sync_channel(1);
        let id = {
            let mut asked = lock(&self.asked);
            if asked.closed {
                return Outcome::NotAsked;
            }
            if asked.waiting.is_empty() {
                asked.heard = Instant::now();
            }
            let id = asked.next;
            asked.next = id.wrapping_add(1);
            asked.waiting.insert(id, answer);
            id
        };
        let written = {
            let _turn = lock(&self.writing);
            protocol::write(&mut &self.socket, id, Kind::Sign, message)
        };
        if written.is_err() {
            // Half a request may be on its way: nothing after it would be understood.
            self.abandon();
            lock(&self.asked).waiting.remove(&id);
            return Outcome::NotAsked;
        }
        match answered.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(frame) => Outcome::Answered(frame),
            Err(RecvTimeoutError::Disconnected) => Outcome::Lost,
            Err(RecvTimeoutError::Timeout) => {
                let silent = {
                    let mut asked = lock(&self.asked);
                    asked.waiting.remove(&id);
                    asked.heard.elapsed() >= BOUND
                };
                // A signer with more to do than it can is left to it; one that does nothing is not.
                if silent {
                    self.abandon();
                }
                Outcome::Late
            }
        }
    }

    /// Hands answers to those who wait for them, until the signer ends or says what it should not. Then
    /// nobody waits any more, and the process is gone. Returns whether it ever answered, and its end.
    pub fn listen(&self) -> (bool, String) {
        let mut from = BufReader::new(&self.socket);
        let trouble = loop {
            match protocol::read(&mut from, MAX_SMALL) {
                Ok(Some(frame)) => {
                    let mut asked = lock(&self.asked);
                    (asked.heard, asked.answered) = (Instant::now(), true);
                    // Nobody waits any more for an answer that comes late.
                    if let Some(waiting) = asked.waiting.remove(&frame.id) {
                        // There is room for it, and it is no matter if nobody takes it.
                        let _ = waiting.try_send(frame);
                    }
                }
                Ok(None) => break None,
                Err(error) => break Some(error.to_string()),
            }
        };
        self.abandon();
        let answered = {
            let mut asked = lock(&self.asked);
            asked.closed = true;
            asked.waiting.clear();
            asked.answered
        };
        let end = lock(&self.child).finish();
        (answered, trouble.map_or(end.clone(), |trouble| format!("{trouble}; {end}")))
    }

    /// Asks it to end: it sees the end of its input, and finishes what it has.
    pub fn close(&self) {
        // It fails if the other end is gone already.
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Makes it end.
    pub fn kill(&self) {
        // It fails if the process is gone already.
        let _ = lock(&self.child).0.kill();
    }

    /// Breaks the connection, so that whoever listens on it, here and there, stops.
    fn abandon(&self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

fn spawn(settings: &Settings) -> io::Result<(Reaped, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new(&settings.program);
    command.args(&settings.arguments).env_clear();
    if settings.passphrase_file.is_none()
        && let Some(passphrase) = std::env::var_os(PASSPHRASE_VARIABLE)
    {
        command.env(PASSPHRASE_VARIABLE, passphrase);
    }
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::inherit());
    // With the command goes our copy of the child's end, or we would never see it close.
    Ok((Reaped(command.spawn()?), ours))
}

/// A child of which no zombie stays.
struct Reaped(Child);

impl Reaped {
    /// Waits for its end, not for long.
    fn finish(&mut self) -> String {
        if let Ok(process) = rustix::process::pidfd_open(Pid::from_child(&self.0), PidfdFlags::empty()) {
            // Whether it ended or the time is over is told by what follows.
            let _ = rustix::event::poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&ENDING));
        }
        let _ = self.0.kill();
        self.0.wait().map_or_else(|error| error.to_string(), |status| status.to_string())
    }

    fn end(mut self) -> String {
        self.finish()
    }
}

impl Drop for Reaped {
    fn drop(&mut self) {
        // Both do nothing to a child that was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whoever panics while holding a lock leaves nothing half done behind it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
