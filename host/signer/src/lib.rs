//! Holds the private key of the CA: the only crate that reads its file, and everything that signs gets
//! it from here as a [`pki::Sign`].
//!
//! There are two holders. [`InProcess`] keeps the key in this process, for commands that run while no
//! daemon does, and for tests. [`Process`] keeps it in a child that has nothing else: it opens the key,
//! gives up files, sockets, programs and tracing for good, and then answers requests to sign over the
//! socket that is its standard input. When it dies it is started again, and callers wait meanwhile.
//!
//! A key that is opened for a CA's certificate is sealed to it: it signs what `pki::may_sign` allows
//! (certificates of leaves, and full revocation lists, of that very CA) and refuses anything else.
//!
//! What the child guards against: a bug in the daemon that reads memory or files it should not, a plugin
//! that gets out of its sandbox without being able to start programs, and wrong things to sign. What it
//! cannot guard against is somebody who *is* the daemon's user and can open the key's file himself.
//!
//! What it never does: decide what is to be certified (crates `master` and `ca`), write a certificate
//! (crate `pki`), or use the network. No key and no passphrase is in a message, a log line or `Debug`.
//!
//! A passphrase comes from a file or from the environment ([`PASSPHRASE_VARIABLE`]). Prefer the file: a
//! variable stays readable in `/proc/PID/environ` of the daemon for root and for the daemon's user as long
//! as it runs (not of the child, which cannot be looked into). The child gets no other variable.

mod child;
mod confine;
mod connection;
mod error;
mod file;
mod in_process;
mod process;
mod protocol;
mod supervisor;

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use pki::{Certificate, KeyKind, Sign};

pub use child::run_child;
pub use error::Error;
pub use file::{PASSPHRASE_VARIABLE, passphrase};
pub use in_process::InProcess;
pub use process::{Process, Settings};

/// Somebody who keeps private keys and signs with them. Its calls wait for disks, and for the making of
/// RSA keys: call them where waiting hurts nobody.
pub trait KeyHolder: Send + Sync + Debug {
    /// Makes a key and its file: mode 0600, through to the disk before it has its name, encrypted when
    /// there is a passphrase. The key is not sealed: until it is [`open`](KeyHolder::open)ed again, it may
    /// sign anything, such as the CA's own certificate. Open it again also after its file got another
    /// name; a signer that died meanwhile would not find it.
    ///
    /// # Errors
    /// [`Error`], among others when there is a file of that name: a key is never overwritten.
    fn create(&self, kind: KeyKind, path: &Path) -> Result<Arc<dyn Sign>, Error>;

    /// Opens a key. With `sealed_to`, which must be the certificate of this very key, it signs only what
    /// `pki::may_sign` allows for that CA from then on.
    ///
    /// # Errors
    /// [`Error`] when the file is missing, readable by others, another user's, encrypted without the right
    /// passphrase, no key, or not the certificate's.
    fn open(&self, path: &Path, sealed_to: Option<&Certificate>) -> Result<Arc<dyn Sign>, Error>;

    /// Whether every key that is in use can sign at this moment.
    fn alive(&self) -> bool {
        true
    }

    /// How often a signer was started again because it had died; for metrics.
    fn restarts(&self) -> u64 {
        0
    }
}
