//! The signer's process.

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

use pki::{Certificate, Sign as _, SignError};
use rustix::fs::FileType;

use crate::in_process::{Held, InProcess};
use crate::protocol::{self, Frame, Kind, MAX_MESSAGE, MAX_SMALL, Start, Task, VERSION};
use crate::{Error, confine, file};

/// Most threads that sign.
const MAX_THREADS: usize = 64;

/// Is the signer: takes a key that the daemon names on the socket that is standard input, gives up all
/// else, and signs until the socket ends. It is the first thing that its process does: what is open above
/// standard error is closed. An error with the key is told to the daemon, and is none here.
///
/// # Errors
/// [`Error`] when it is not started by a daemon, cannot confine itself, or is spoken to in a way that it
/// does not understand.
pub fn run_child() -> Result<(), Error> {
    let kind = rustix::fs::fstat(rustix::stdio::stdin()).map(|stat| FileType::from_raw_mode(stat.st_mode));
    if kind != Ok(FileType::Socket) {
        return Err(Error::ByHand);
    }
    confine::begin()?;
    // A panic's own words might quote what was to be signed.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!("the signer panicked at {place}");
    }));
    let mut input = BufReader::new(Socket::open());
    let Some(first) = protocol::read(&mut input, MAX_SMALL).map_err(misunderstood)? else { return Ok(()) };
    match take(&first) {
        Ok((key, threads)) => serve(&key, threads, first.id, input),
        Err(error) => {
            let told = serde_json::to_vec(&error).map_err(misunderstood)?;
            unless_gone(protocol::write(&mut Socket::open(), first.id, Kind::NotStarted, &told))
        }
    }
}

/// The key that the daemon names, and the threads it wants.
fn take(first: &Frame) -> Result<(Held, usize), Error> {
    let start: Start = match first.kind {
        Kind::Start => serde_json::from_slice(&first.body).map_err(misunderstood)?,
        other => return Err(misunderstood(format!("{other:?} came before a start"))),
    };
    if start.version != VERSION {
        return Err(misunderstood("the program was replaced while the daemon runs"));
    }
    let holder = InProcess::new(file::passphrase(start.passphrase_file.as_deref())?);
    let key = match start.task {
        Task::Create { kind } => holder.make(kind.parse().map_err(misunderstood)?, &start.path)?,
        Task::Open { sealed_to: None } => holder.hold(&start.path, None)?,
        Task::Open { sealed_to: Some(pem) } => {
            let certificate = Certificate::parse_pem(pem.as_bytes()).map_err(misunderstood)?;
            holder.hold(&start.path, Some(&certificate))?
        }
    };
    Ok((key, start.threads.clamp(1, MAX_THREADS)))
}

fn serve(key: &Held, threads: usize, id: u64, input: BufReader<Socket>) -> Result<(), Error> {
    let desk = Desk {
        key,
        input: Mutex::new(input),
        output: Mutex::new(Socket::open()),
        ended: AtomicBool::new(false),
        gate: Mutex::new(false),
        opened: Condvar::new(),
    };
    let told = |kind, body: &[u8]| unless_gone(protocol::write(&mut *lock(&desk.output), id, kind, body));
    let served = thread::scope(|scope| {
        let (ready, warm) = mpsc::channel();
        let closed = (0..threads)
            .try_for_each(|n| {
                let (desk, ready) = (&desk, ready.clone());
                let thread = thread::Builder::new().name(format!("signer-{n}"));
                thread.spawn_scoped(scope, move || desk.work(&ready)).map(drop)
            })
            .map_err(|e| Error::Confine(format!("threads: {e}")))
            .and_then(|()| {
                drop(ready);
                let tried: Vec<Result<(), SignError>> = warm.iter().take(threads).collect();
                let tried: Result<Vec<()>, SignError> = tried.into_iter().collect();
                tried.map_err(|e| Error::Confine(e.to_string()))
            })
            .and_then(|_| confine::seal());
        let told = match &closed {
            Ok(()) => told(Kind::Started, &key.public().spki_der),
            Err(error) => {
                let body = serde_json::to_vec(error).map_err(misunderstood);
                body.and_then(|body| told(Kind::NotStarted, &body))
            }
        };
        if closed.is_err() || told.is_err() {
            desk.ended.store(true, Ordering::Release);
        } else {
            tracing::info!(
                pid = rustix::process::getpid().as_raw_nonzero(),
                key = %key.public().digest(),
                sealed = key.is_sealed(),
                threads,
                "the signer has its key and is confined"
            );
        }
        *lock(&desk.gate) = true;
        desk.opened.notify_all();
        told
    });
    tracing::info!(pid = rustix::process::getpid().as_raw_nonzero(), "the signer ends");
    served
}

/// What the threads share. They take turns at reading, so that a request goes from the socket straight to
/// the thread that signs, and there are never more requests in memory than threads.
struct Desk<'a> {
    key: &'a Held,
    input: Mutex<BufReader<Socket>>,
    output: Mutex<Socket>,
    ended: AtomicBool,
    gate: Mutex<bool>,
    opened: Condvar,
}

impl Desk<'_> {
    fn work(&self, ready: &mpsc::Sender<Result<(), SignError>>) {
        let tried = catch_unwind(AssertUnwindSafe(|| self.key.warm_up()));
        let tried = tried.unwrap_or_else(|_| Err(SignError::Library("the key cannot be used".into())));
        if ready.send(tried).is_err() {
            return;
        }
        let gate = lock(&self.gate);
        drop(self.opened.wait_while(gate, |open| !*open).unwrap_or_else(PoisonError::into_inner));
        while let Some(request) = self.next() {
            let (kind, body) = self.answer(&request);
            if protocol::write(&mut *lock(&self.output), request.id, kind, &body).is_err() {
                self.ended.store(true, Ordering::Release);
            }
        }
    }

    /// The next request; `None` when there will be no more.
    fn next(&self) -> Option<Frame> {
        let mut input = lock(&self.input);
        if self.ended.load(Ordering::Acquire) {
            return None;
        }
        let read = protocol::read(&mut *input, MAX_MESSAGE);
        if let Err(error) = &read {
            tracing::error!(%error, "the signer does not understand the daemon");
        }
        let request = read.ok().flatten();
        if request.is_none() {
            self.ended.store(true, Ordering::Release);
        }
        request
    }

    fn answer(&self, request: &Frame) -> (Kind, Vec<u8>) {
        if request.kind != Kind::Sign {
            return (Kind::Failed, b"a signer that has its key only signs".to_vec());
        }
        match catch_unwind(AssertUnwindSafe(|| self.key.sign(&request.body))) {
            Ok(Ok(signature)) => (Kind::Signed, signature),
            Ok(Err(SignError::Refused(why))) => (Kind::Refused, why.into_bytes()),
            Ok(Err(SignError::Library(why))) => (Kind::Failed, why.into_bytes()),
            Ok(Err(error)) => (Kind::Failed, error.to_string().into_bytes()),
            Err(_) => (Kind::Failed, b"the signer panicked".to_vec()),
        }
    }
}

/// A thread that panics holds no lock in a state that others could not go on from.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A daemon that died meanwhile hears nothing any more; the next read finds the socket's end.
fn unless_gone(written: io::Result<()>) -> Result<(), Error> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(misunderstood),
    }
}

fn misunderstood(what: impl ToString) -> Error {
    Error::Protocol(what.to_string())
}

/// The socket on standard input, with the two calls that are left when the process is confined.
struct Socket(BorrowedFd<'static>);

impl Socket {
    fn open() -> Socket {
        Socket(rustix::stdio::stdin())
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(self.0, buffer)?)
    }
}

impl Write for Socket {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(self.0, buffer)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
