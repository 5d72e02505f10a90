//! Why there is no answer. No text holds a path, a query, a header's value or a body.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::rule::Origin;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// No rule has this origin, or its rule has not this method.
    #[error("{what} is not granted; a plugin reaches the origins and methods of its grant `http`")]
    NotGranted {
        /// Method and origin.
        what: String,
    },
    /// The origin's name leads where requests may not go.
    #[error("{origin} is at {address}, {why}")]
    Address {
        /// The granted origin.
        origin: Origin,
        /// One of its addresses.
        address: IpAddr,
        /// What that is, and what it would take.
        why: String,
    },
    /// The request makes no sense.
    #[error("the request is not sent: {0}")]
    Invalid(String),
    /// A body beyond the rule's cap.
    #[error("the {what} has more than the {cap} bytes that are granted for {origin}")]
    TooLarge {
        /// The granted origin.
        origin: Origin,
        /// `request` or `answer`.
        what: &'static str,
        /// The cap.
        cap: u64,
    },
    /// A credential is not there or is of no use.
    #[error("the credential for the header `{header}` of {origin} {reason}")]
    Credential {
        /// The granted origin.
        origin: Origin,
        /// The header.
        header: String,
        /// Where it should be and what is wrong; never its value.
        reason: String,
    },
    /// The CAs to believe are not there or are of no use.
    #[error("no CA can be believed for {origin}: {reason}")]
    Roots {
        /// The granted origin.
        origin: Origin,
        /// Its `ca_file`; none where the machine's are used.
        file: Option<PathBuf>,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The server is not reached, not believed, or breaks off.
    #[error("{origin} does not answer: {reason}")]
    Unavailable {
        /// The granted origin.
        origin: Origin,
        /// What the resolver, the system, TLS or HTTP says.
        reason: String,
    },
    /// There was no whole answer within the rule's time.
    #[error("{origin} has not answered within {} ms", after.as_millis())]
    Late {
        /// The granted origin.
        origin: Origin,
        /// The rule's time.
        after: Duration,
    },
}
