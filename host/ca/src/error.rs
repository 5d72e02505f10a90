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
    /// The CA's request was made, but its certificate is not here yet.
    #[error(
        "this CA has a key and a certificate request, and no certificate yet: {} is missing. Have the request signed by the CA above, then install the certificate with its chain and the revocation lists of that chain", path.display()
    )]
    Uncertified {
        /// Where the certificate is going to be.
        path: PathBuf,
    },
    /// An import was begun and not finished.
    #[error("the import of the CA {fingerprint} was not finished: run it again")]
    HalfImported {
        /// SHA-256 of that CA's certificate.
        fingerprint: String,
    },
    /// There is a CA here already.
    #[error("there is a CA here already, {name:?}: nothing was changed")]
    Exists {
        /// Its common name.
        name: String,
    },
    /// There is no CA here yet.
    #[error("there is no CA in {}: {remedy}", dir.display())]
    NoCa {
        /// Where one was looked for.
        dir: PathBuf,
        /// What to do.
        remedy: &'static str,
    },
    /// A certificate that cannot take the CA's place.
    #[error("this cannot be the CA's certificate: {0}")]
    NotTheCas(String),
    /// A list of certificates that is no chain.
    #[error(transparent)]
    Bundle(#[from] pki::BundleError),
    /// Revocation lists that do not fit the chain.
    #[error(transparent)]
    Chain(#[from] pki::ChainError),
    /// The revocation lists of the CAs above cannot be used.
    #[error("the revocation lists of the CAs above: {0}")]
    Ancestors(String),
    /// A backup cannot be used, or not here.
    #[error("{}: {reason}", path.display())]
    Archive {
        /// The backup's file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
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
    /// The request that was to be signed no longer waits.
    #[error("the request of {certname} was taken away meanwhile: nothing is signed")]
    RequestGone {
        /// Whose it was.
        certname: String,
    },
    /// The name's certificate is revoked and nobody has cleaned it. The text is the agents' users'.
    #[error("{certname} has a revoked certificate; ignoring certificate request")]
    NameRevoked {
        /// Whose.
        certname: String,
        /// Its serial.
        serial: String,
    },
    /// The key was revoked for a reason that makes it unfit for ever.
    #[error(
        "this key was revoked with the certificate 0x{serial} and is not certified again: `puppet ssl clean` on the node makes a new key"
    )]
    KeyRevoked {
        /// The revoked certificate.
        serial: String,
    },
    /// Too little room is left on the store's disk to issue anything.
    #[error(
        "{free} bytes are left on the disk of {}, and below {min_free} nothing is issued: free some space; revocation goes on", path.display()
    )]
    LowSpace {
        /// The store.
        path: PathBuf,
        /// What is left, in bytes.
        free: u64,
        /// What there must be.
        min_free: u64,
    },
    /// The request of an administrator cannot be used.
    #[error(transparent)]
    Request(#[from] pki::RequestError),
    /// A master asks for a name that was not declared for it.
    #[error(
        "{certname} is a master, and {name} is none of the names declared for it: `bunraku ca masters` shows those"
    )]
    Undeclared {
        /// The master.
        certname: String,
        /// The name.
        name: String,
    },
    /// There is nothing to renew.
    #[error("{certname} has no certificate that could be renewed")]
    NoCertificate {
        /// Whose.
        certname: String,
    },
    /// A node asks for a name of the server's own.
    #[error("{name} is a name of this server or of a master, and no node may have it")]
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
    /// The CA's key could not be made or opened.
    #[error(transparent)]
    Signer(#[from] signer::Error),
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

/// Why uploaded revocation lists were not taken. The text is one line for the administrator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UploadError {
    /// None could be read. The text is Puppet's.
    #[error("No valid CRLs submitted.")]
    NoValid,
    /// None is newer than what is held. The text is Puppet's.
    #[error("Could not determine newest CRL.")]
    NoneNewer,
    /// One is not of a CA above this one.
    #[error("{0}")]
    Foreign(String),
    /// We are at fault.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Why a certificate is not renewed. The text is one line for the agent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenewError {
    /// The operator has turned it off.
    #[error("certificates are not renewed here: renewal is turned off")]
    Disabled,
    /// Its key was revoked with another certificate.
    #[error("the key was revoked with the certificate 0x{0} and is not certified again")]
    KeyRevoked(String),
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
            store::Error::KeyRevoked { serial } => RenewError::KeyRevoked(serial),
            other => RenewError::Failed(Error::Store(other)),
        }
    }
}
