//! Keys that a child process holds.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use pki::{Certificate, KeyKind, PublicKey, Sign, SignError};

use crate::connection::{BOUND, Outcome, lock};
use crate::protocol::{Kind, MAX_MESSAGE, Start, Task, VERSION};
use crate::supervisor::{self, Shared, Tally};
use crate::{Error, KeyHolder};

/// How long the last user of a key waits for its process to finish, and again for it to be killed.
const PARTING: Duration = Duration::from_secs(2);

/// How a signer's process is started.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The program that calls [`run_child`](crate::run_child). `/proc/self/exe` is the running one, even
    /// when its file has been replaced since: what is started again then speaks the same language.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// The file of the key's passphrase. Without it, the signer looks for
    /// [`PASSPHRASE_VARIABLE`](crate::PASSPHRASE_VARIABLE), the one variable that it is passed.
    pub passphrase_file: Option<PathBuf>,
    /// Threads that sign, 1 to 64.
    pub threads: usize,
}

/// Keeps each key in a child process of its own. The child ends when nobody has the key any more, and when
/// this process does.
///
/// A child that dies is started again at once, and takes the same key; after that less and less eagerly,
/// down to once in 5 s. Whoever wants a signature waits for it up to 10 s, and what a child was signing
/// when it died is asked once more of the next.
#[derive(Debug)]
pub struct Process {
    settings: Settings,
    tally: Arc<Tally>,
}

impl Process {
    /// Nothing is started before a key is made or opened.
    pub fn new(settings: Settings) -> Process {
        Process { settings, tally: Arc::default() }
    }

    fn start(&self, task: Task, path: &Path) -> Result<Arc<dyn Sign>, Error> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        let absolute = |path: &Path| std::path::absolute(path).map_err(io);
        let path = absolute(path)?;
        let again = match &task {
            Task::Create { .. } => Task::Open { sealed_to: None },
            open @ Task::Open { .. } => open.clone(),
        };
        let passphrase_file = self.settings.passphrase_file.as_deref().map(absolute).transpose()?;
        let start = Start { version: VERSION, task, path, passphrase_file, threads: self.settings.threads };
        let shared = Arc::new(Shared::new(Arc::clone(&self.tally)));
        let (public, ended) = supervisor::spawn(self.settings.clone(), start, again, Arc::clone(&shared))?;
        Ok(Arc::new(Remote { public, shared, ended: Mutex::new(ended) }))
    }
}

impl KeyHolder for Process {
    fn create(&self, kind: KeyKind, path: &Path) -> Result<Arc<dyn Sign>, Error> {
        self.start(Task::Create { kind: kind.to_string() }, path)
    }

    fn open(&self, path: &Path, sealed_to: Option<&Certificate>) -> Result<Arc<dyn Sign>, Error> {
        self.start(Task::Open { sealed_to: sealed_to.map(Certificate::to_pem) }, path)
    }

    fn alive(&self) -> bool {
        self.tally.down.load(Ordering::Acquire) == 0
    }

    fn restarts(&self) -> u64 {
        self.tally.restarts.load(Ordering::Relaxed)
    }
}

/// A key in another process.
struct Remote {
    public: PublicKey,
    shared: Arc<Shared>,
    /// Tells when the thread that looks after the process is through.
    ended: Mutex<mpsc::Receiver<()>>,
}

impl Sign for Remote {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        if message.len() > MAX_MESSAGE {
            return Err(SignError::Library(format!(
                "{} bytes are too many to sign at once; {MAX_MESSAGE} may be",
                message.len()
            )));
        }
        let deadline = Instant::now() + BOUND;
        let (mut after, mut lost) = (0, 0);
        while lost < 2 {
            let connection = self.shared.connection(after, deadline)?;
            after = connection.generation;
            match connection.ask(message, deadline) {
                Outcome::Answered(frame) => {
                    return match frame.kind {
                        Kind::Signed => Ok(frame.body),
                        Kind::Refused => Err(SignError::Refused(frame.words())),
                        Kind::Failed => Err(SignError::Library(frame.words())),
                        other => Err(SignError::Library(format!("{other:?} answers a request to sign"))),
                    };
                }
                Outcome::NotAsked => {}
                Outcome::Lost => lost += 1,
                Outcome::Late => {
                    let waited = BOUND.as_secs();
                    return Err(SignError::Unavailable(format!("no answer within {waited} s")));
                }
            }
        }
        Err(SignError::Unavailable("it died twice while it had this to sign".into()))
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a signer's {} {}", self.public.algorithm, self.public.digest())
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let last = self.shared.stop();
        let ended = lock(&self.ended);
        // Disconnected is an end as well.
        if ended.recv_timeout(PARTING) == Err(mpsc::RecvTimeoutError::Timeout)
            && let Some(connection) = last
        {
            connection.kill();
            let _ = ended.recv_timeout(PARTING);
        }
    }
}
