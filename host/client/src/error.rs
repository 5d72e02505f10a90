//! What goes wrong between a client and a server, in words for whoever has to mend it.

use std::time::Duration;

use hyper::StatusCode;

/// Why there is no answer. `at` names the server: `ca.example:8140`, or the path of a socket.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The target itself is unusable; nothing was sent.
    #[error("cannot ask {at}: {reason}")]
    Target {
        /// The server.
        at: String,
        /// What is wrong with its description.
        reason: String,
    },
    /// Something other than the CA's bundle was asked for over a connection that trusts anyone.
    #[error(
        "asking {at} for {what} needs its CA's bundle; only that bundle is fetched from a server that nobody vouches for"
    )]
    Unverified {
        /// The server.
        at: String,
        /// Method and path.
        what: String,
    },
    /// No connection.
    #[error("cannot connect to {at}: {reason}")]
    Connect {
        /// The server.
        at: String,
        /// What the system says, and what to look at.
        reason: String,
    },
    /// The server's certificate is not to be believed.
    #[error("the certificate of {at} is not accepted: {reason}")]
    Untrusted {
        /// The server.
        at: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The server does not accept our certificate, or wants one.
    #[error("{at} does not accept our certificate: {reason}")]
    Refused {
        /// The server.
        at: String,
        /// Its alert, and what to do.
        reason: String,
    },
    /// TLS fails for another reason, or what comes is not HTTP/1.1, or the connection ends half way.
    #[error("the connection to {at} failed: {reason}")]
    Broken {
        /// The server.
        at: String,
        /// What happened.
        reason: String,
    },
    /// A step took too long.
    #[error("{at} did not {what} within {} s; it may be overloaded, or something between drops packets", after.as_secs_f32())]
    Deadline {
        /// The server.
        at: String,
        /// The step: `accept a connection`, `answer`, `finish its answer`.
        what: &'static str,
        /// The deadline.
        after: Duration,
    },
    /// A held answer brought nothing for too long.
    #[error("{at} was silent for {} s on a held connection", after.as_secs_f32())]
    Silent {
        /// The server.
        at: String,
        /// The limit.
        after: Duration,
    },
    /// An answer, or a line of one, beyond the cap.
    #[error("the answer of {at} has more than {cap} bytes")]
    TooLarge {
        /// The server.
        at: String,
        /// The most.
        cap: usize,
    },
    /// Another status than 200 where lines were asked for.
    #[error("{at} answered {status} to {path}: {text}")]
    Status {
        /// The server.
        at: String,
        /// What was asked for.
        path: String,
        /// Its status.
        status: StatusCode,
        /// What it says, at most 500 characters, escaped.
        text: String,
    },
}
