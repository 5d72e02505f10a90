use std::path::PathBuf;

use time::OffsetDateTime;

/// What can go wrong, by what an operator or a caller can do about it. No message holds key material.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder of the authority could not be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Part of a CA. Nothing was made, for it would not be the CA that agents know.
    #[error(
        "only part of a CA is here: found {found}; missing {missing}. Restore what is missing from a backup; only if no agent knows this CA, move all of it away and start again for a new one"
    )]
    Incomplete {
        /// What there is.
        found: String,
        /// What there is not.
        missing: String,
    },
    /// The files are of another CA than the store.
    #[error("{} is the certificate of another CA than the store's: the store knows SHA-256 {expected}, the file has {found}. Restore the two from the same backup", path.display())]
    OtherCa {
        /// The certificate's file.
        path: PathBuf,
        /// The store's.
        expected: String,
        /// The file's.
        found: String,
    },
    /// Others may read or write a private key.
    #[error("{} has mode {mode:04o}, but a private key is for its owner alone: run `chmod 600 {}`", path.display(), path.display())]
    Mode {
        /// The key's file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A private key belongs to another user.
    #[error("{} belongs to user {owner}, and this process is user {user}: run `chown {user} {}`", path.display(), path.display())]
    Owner {
        /// The key's file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// A file does not hold what it should.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The clock is before the CA's own beginning.
    #[error(
        "the clock says {now}, but the CA's certificate is valid only from {not_before}: set the clock; nothing is signed until then"
    )]
    Clock {
        /// What the clock says.
        now: OffsetDateTime,
        /// When the CA begins.
        not_before: OffsetDateTime,
    },
    /// The CA has ended.
    #[error(
        "the CA's certificate ended at {not_after}, and the clock says {now}: nothing can be signed; a new CA is needed, unless the clock is wrong"
    )]
    CaEnded {
        /// What the clock says.
        now: OffsetDateTime,
        /// When the CA ended.
        not_after: OffsetDateTime,
    },
    /// The name has a good certificate that is not being replaced.
    #[error("{certname} already has a signed certificate; ignoring certificate request")]
    AlreadySigned {
        /// Whose.
        certname: String,
        /// Its serial.
        serial: String,
    },
    /// A node asks for a name of the server's own.
    #[error("{name} is a name of this server and no node may have it")]
    ServerName {
        /// Which.
        name: String,
    },
    /// The server is to have a name that a node has.
    #[error(
        "the server cannot be named {name}: a node has a certificate for that name, serial 0x{serial}. Revoke it, or take another name"
    )]
    NodeHasName {
        /// Which.
        name: String,
        /// The node's certificate.
        serial: String,
    },
    /// The certificate to be replaced is not fit for it.
    #[error("the presented certificate cannot be replaced: {0}")]
    Presented(String),
    /// Not a name for the server.
    #[error("the server name {name:?} cannot be used: {reason}")]
    Name {
        /// Which.
        name: String,
        /// Why.
        reason: String,
    },
    /// A lifetime that leaves nothing.
    #[error("the certificate would end before it begins: its lifetime is {0:?}")]
    Lifetime(std::time::Duration),
    /// Nothing could be signed.
    #[error(transparent)]
    Sign(#[from] pki::SignError),
    /// No key could be made or read.
    #[error(transparent)]
    Key(#[from] pki::KeyError),
    /// No serial could be drawn.
    #[error(transparent)]
    Serial(#[from] pki::SerialError),
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A row of the inventory holds something else than a certificate.
    #[error("the inventory holds an unreadable certificate, serial 0x{0}")]
    Unreadable(String),
    /// The signing thread is gone: the program is stopping.
    #[error("signing was interrupted")]
    Interrupted,
}

/// Why a certificate is not renewed. The text is one line for the agent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenewError {
    /// Nobody presented one.
    #[error("no client certificate was presented")]
    NoCertificate,
    /// It is revoked.
    #[error("the certificate is revoked")]
    Revoked,
    /// Its time is over; enrol anew.
    #[error("the certificate has expired")]
    Expired,
    /// Its time has not come.
    #[error("the certificate is not valid yet")]
    NotYetValid,
    /// Another certificate has taken its place already.
    #[error("the certificate has been replaced by another one already")]
    Superseded,
    /// Not one of this CA, or not in its inventory.
    #[error("the certificate was not issued by this CA")]
    Foreign,
    /// We are at fault.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl From<store::Error> for RenewError {
    /// The store looks again, inside the transaction that issues the new certificate.
    fn from(error: store::Error) -> RenewError {
        match error {
            store::Error::Revoked { .. } => RenewError::Revoked,
            store::Error::Superseded { .. } => RenewError::Superseded,
            store::Error::UnknownSerial { .. } => RenewError::Foreign,
            other => RenewError::Failed(Error::Store(other)),
        }
    }
}
