//! What a route gets to see of a request: who asks, from TLS alone, and the request once it is parsed.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::{HeaderMap, Method, StatusCode};
use master::Peer;
use pki::Certname;

use crate::answer::{RUNTIME_ERROR, Refusal};
use crate::body::{BodyMemory, BodyRules, Read};
use crate::pairs::{Pairs, PairsError};
use crate::quota::Quota;
use crate::server::Settings;

/// Longest name of an environment.
const ENVIRONMENT_CHARS: usize = 128;

/// One request, and what answering it takes.
#[derive(Debug)]
pub struct Exchange<'a, B> {
    /// The use cases.
    pub backend: &'a Arc<B>,
    /// The operator's numbers.
    pub settings: &'a Settings,
    /// The memory for bodies.
    pub memory: &'a BodyMemory,
    /// Submissions of each address.
    pub quota: &'a Quota,
    /// The other end of the connection.
    pub address: IpAddr,
    /// The same with its certificate.
    pub peer: &'a Peer,
    /// The method.
    pub method: &'a Method,
    /// The headers. No route reads who the peer is from them.
    pub headers: &'a HeaderMap,
    /// The decoded query.
    pub query: &'a Pairs,
    /// The request's id, made by us.
    pub request_id: &'a str,
}

impl<B> Exchange<'_, B> {
    /// Reads the body.
    ///
    /// # Errors
    /// See [`BodyMemory::read`].
    pub async fn read(&self, body: Incoming, rules: BodyRules) -> Result<Read<'_>, Refusal> {
        self.memory.read(self.headers, body, rules).await
    }

    /// The name the peer proved; there is one wherever the route is not for anyone.
    ///
    /// # Errors
    /// A 403, should there be none.
    pub fn certname(&self) -> Result<Certname, Refusal> {
        let name = self.peer.certname().cloned();
        name.ok_or_else(|| Refusal::text(StatusCode::FORBIDDEN, "Forbidden: a client certificate is needed"))
    }

    /// Whether the peer's certificate says that it administers the CA.
    pub fn is_administrator(&self) -> bool {
        let certificate = self.peer.certificate.as_ref();
        certificate.and_then(|certificate| certificate.extension("pp_cli_auth")) == Some("true")
    }

    /// The environment that the query names; the routes of `/puppet/v3` want one.
    ///
    /// # Errors
    /// A 400 where it is missing or no name of an environment.
    pub fn environment(&self) -> Result<&str, Refusal> {
        match self.query.one("environment") {
            Ok(Some(name)) if is_environment(name) => Ok(name),
            Ok(Some(name)) => Err(Refusal::bad_request(not_alphanumeric(name))),
            Ok(None) => Err(Refusal::bad_request("An environment parameter must be specified")),
            Err(error) => Err(bad_pairs(&error)),
        }
    }

    /// Refuses a request that accepts none of the media types, and says which of them to answer with.
    /// The order of `ours` decides, as with the peer.
    ///
    /// # Errors
    /// A 406.
    pub fn accepted(&self, ours: &[(&str, &'static str)]) -> Result<&'static str, Refusal> {
        let accept: Vec<&str> =
            self.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
        let accept = accept.join(", ");
        let wanted = |name: &str| {
            accept.trim().is_empty()
                || accept.split(',').any(|range| {
                    let range = range.split(';').next().unwrap_or_default().trim();
                    range.eq_ignore_ascii_case(name) || range == "*/*" || range == "application/*"
                })
        };
        let found = ours.iter().find(|(name, _)| wanted(name)).map(|(_, content_type)| *content_type);
        found.ok_or_else(|| {
            let message = format!("Not Acceptable: No supported formats are acceptable (Accept: {accept})");
            Refusal::json(StatusCode::NOT_ACCEPTABLE, "UNSUPPORTED_FORMAT", message)
        })
    }

    /// Refuses a body that is not said to be of one of these media types.
    ///
    /// # Errors
    /// A 415.
    pub fn sent_as(&self, types: &[&str]) -> Result<(), Refusal> {
        let sent = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let name = sent.split(';').next().unwrap_or_default().trim();
        if types.iter().any(|wanted| wanted.eq_ignore_ascii_case(name)) {
            return Ok(());
        }
        let message = format!(
            "Unsupported Media Type: Client sent a mime-type ({sent}) that doesn't correspond to a format we support"
        );
        Err(Refusal::json(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", message))
    }
}

/// Answers in JSON; agents before 6 call it PSON.
pub const AS_JSON: &[(&str, &str)] = &[
    ("application/json", crate::answer::JSON),
    ("text/json", crate::answer::JSON),
    ("text/pson", "text/pson"),
    ("pson", "text/pson"),
];
/// Bodies in JSON.
pub const SENT_JSON: &[&str] = &["application/json", "text/json", "text/pson"];

/// Whether a text can be the name of an environment (protocol page, §2.2).
pub fn is_environment(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.len() <= ENVIRONMENT_CHARS && name.bytes().all(allowed)
}

/// What a bad name of an environment is answered with, in the peer's words.
pub fn not_alphanumeric(name: &str) -> String {
    let shown: String = name.chars().take(ENVIRONMENT_CHARS).flat_map(char::escape_default).collect();
    format!("The environment must be purely alphanumeric, not '{shown}'")
}

/// A query or form that says two things at once.
pub fn bad_pairs(error: &PairsError) -> Refusal {
    Refusal::bad_request(format!("the request holds {error}"))
}

/// An environment that is not there: 404, but not the kind of a missing file.
pub fn no_environment(name: &str) -> Refusal {
    let message = format!("Not Found: Could not find environment '{name}'");
    Refusal::json(StatusCode::NOT_FOUND, RUNTIME_ERROR, message)
}
