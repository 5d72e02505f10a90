use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::file::PASSPHRASE_VARIABLE;

/// Why there is no key. The signer sends it to the daemon as it is; no message holds anything of a key or
/// a passphrase.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Error {
    /// There is no such key.
    #[error("the private key {} is missing: restore it from a backup", path.display())]
    Missing {
        /// The key's file.
        path: PathBuf,
    },
    /// A key is to be made, and there is one.
    #[error("{} is there already, and a private key is never overwritten: if it is not needed, move it away", path.display())]
    Exists {
        /// The key's file.
        path: PathBuf,
    },
    /// A file or folder could not be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[serde(with = "io_error")]
        source: std::io::Error,
    },
    /// Others may read or write a secret.
    #[error("{} has mode {mode:04o}, but it holds a secret, which is for its owner alone: run `chmod 600 {}`", path.display(), path.display())]
    Mode {
        /// The file of the key or the passphrase.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A secret belongs to another user.
    #[error("{} belongs to user {owner}, and this process is user {user}: run `chown {user} {}`", path.display(), path.display())]
    Owner {
        /// The file of the key or the passphrase.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// The key is encrypted, and nobody said with what.
    #[error("{} is encrypted: name the file of its passphrase as ca.passphrase_file, or set {PASSPHRASE_VARIABLE}", path.display())]
    PassphraseMissing {
        /// The key's file.
        path: PathBuf,
    },
    /// The key is encrypted with another passphrase.
    #[error("the passphrase does not open {}: check ca.passphrase_file or {PASSPHRASE_VARIABLE}; `openssl pkey -noout -in {}` asks for it and tries it", path.display(), path.display())]
    PassphraseWrong {
        /// The key's file.
        path: PathBuf,
    },
    /// What should hold the passphrase does not.
    #[error("no passphrase in {place}: {reason}")]
    Passphrase {
        /// The file or the variable.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file holds no key that we can use.
    #[error("{}: {reason}", path.display())]
    Key {
        /// The key's file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The key is another one than expected.
    #[error("{} is not the key of {expected}: restore the two from the same backup", path.display())]
    OtherKey {
        /// The key's file.
        path: PathBuf,
        /// What it should belong to.
        expected: String,
    },
    /// The signer's process could not be started.
    #[error("the signer {} cannot be started: {reason}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said, or what it did instead of answering.
        reason: String,
    },
    /// The signer could not give up what it does not need, and so does not run.
    #[error(
        "the signer cannot confine itself ({0}): it needs Linux with seccomp filters, also in a container"
    )]
    Confine(String),
    /// The child's program was started by hand.
    #[error("this is the part of the daemon that holds the CA's key; the daemon starts it, nobody else")]
    ByHand,
    /// The two ends do not understand each other.
    #[error("the signer and the daemon do not understand each other: {0}; restart the daemon")]
    Protocol(String),
}

impl Error {
    /// Whether it stays until somebody mends something: nobody need wait for it to go away.
    pub(crate) fn is_lasting(&self) -> bool {
        !matches!(self, Error::Start { .. } | Error::Io { .. })
    }
}

/// An error of the system as it is sent: its number if it has one, else its words.
mod io_error {
    use std::io::Error;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(error: &Error, serializer: S) -> Result<S::Ok, S::Error> {
        (error.raw_os_error(), error.to_string()).serialize(serializer)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Error, D::Error> {
        let (number, words) = <(Option<i32>, String)>::deserialize(deserializer)?;
        Ok(number.map_or_else(|| Error::other(words), Error::from_raw_os_error))
    }
}
