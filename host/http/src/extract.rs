//! What routes take out of a request: who asks, from TLS alone, and the request once it is parsed.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use master::{Administrator, Peer};
use pki::Certname;

use crate::answer::{RUNTIME_ERROR, Refusal};
use crate::backend::Backend;
use crate::connection::{Connection, Origin};
use crate::pairs::{Pairs, PairsError};
use crate::server::Shared;
use crate::target::Target;

/// Longest name of an environment.
const ENVIRONMENT_CHARS: usize = 128;

/// The request's id, made by us.
#[derive(Debug, Clone)]
pub struct RequestId(pub Arc<str>);

/// What is asked, and by whom.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The connection, and so the peer. No route reads who that is from a header.
    pub connection: Arc<Connection>,
    /// Path and query, decoded.
    pub target: Arc<Target>,
    method: Method,
}

/// The name that the peer proved; there is one wherever the route is not for anyone. Else a 403.
#[derive(Debug)]
pub struct Own(pub Certname);

/// The environment that the query names; the routes of `/puppet/v3` want one. A 400 where it is
/// missing or no name of an environment.
#[derive(Debug)]
pub struct Environment(pub String);

/// The media type to answer JSON with; agents before 6 call it PSON. A 406 where none is accepted.
#[derive(Debug)]
pub struct AsJson(pub &'static str);

/// Who administers the CA here; there is one wherever the route is for administrators. Else a 403.
#[derive(Debug)]
pub struct By(pub Administrator);

/// The body is said to be JSON. A 415 where it is not.
#[derive(Debug)]
pub struct SentJson;

const AS_JSON: &[(&str, &str)] = &[
    ("application/json", crate::answer::JSON),
    ("text/json", crate::answer::JSON),
    ("text/pson", "text/pson"),
    ("pson", "text/pson"),
];
const SENT_JSON: &[&str] = &["application/json", "text/json", "text/pson"];

impl Asked {
    /// The peer, with its certificate.
    pub fn peer(&self) -> &Peer {
        &self.connection.peer
    }

    /// The decoded query.
    pub fn query(&self) -> &Pairs {
        &self.target.query
    }

    /// Who the peer is as an administrator of the CA: by its certificate's `pp_cli_auth`, by the
    /// operator's list of certnames, or, over the control socket, by the kernel's word.
    pub fn administrator(&self, admins: &BTreeSet<Certname>) -> Option<Administrator> {
        if let Origin::Local { uid } = self.connection.origin {
            return Some(Administrator::Local { uid });
        }
        let certificate = self.peer().certificate.as_ref()?;
        let certname = certificate.certname.as_ref()?;
        let may = certificate.extension("pp_cli_auth") == Some("true") || admins.contains(certname);
        may.then(|| Administrator::Certname(certname.clone()))
    }

    /// A 403 for what the table does not give to this peer, and a line in the log.
    pub fn forbid(&self) -> Refusal {
        let (from, method, path) = (self.connection.origin, &self.method, self.target.path());
        let certname = self.peer().certname().map(|name| name.as_str());
        tracing::info!(%from, certname, %method, path, "forbidden");
        self.forbidden("Please see the server logs for details.")
    }

    /// A 403 in the peer's words (recording 17).
    pub fn forbidden(&self, reason: &str) -> Refusal {
        let (path, method) = (self.target.path(), self.method.as_str().to_ascii_lowercase());
        let message = format!("Forbidden request: {path} (method :{method}). {reason}");
        Refusal::text(StatusCode::FORBIDDEN, message)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Asked, Refusal> {
        let (connection, target) = (parts.extensions.get(), parts.extensions.get());
        // The layers have put them there; without them nobody is anybody.
        let (Some(connection), Some(target)) = (connection, target) else { return Err(Refusal::internal()) };
        Ok(Asked {
            connection: Arc::clone(connection),
            target: Arc::clone(target),
            method: parts.method.clone(),
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Own {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Own, Refusal> {
        let asked = Asked::from_request_parts(parts, state).await?;
        let name = asked.peer().certname().cloned().map(Own);
        name.ok_or_else(|| Refusal::text(StatusCode::FORBIDDEN, "Forbidden: a client certificate is needed"))
    }
}

impl<B: Backend> FromRequestParts<Arc<Shared<B>>> for By {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared<B>>) -> Result<By, Refusal> {
        let asked = Asked::from_request_parts(parts, shared).await?;
        let administrator = asked.administrator(&shared.settings.admins);
        // The table has let nobody else in.
        administrator.map(By).ok_or_else(|| asked.forbid())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Environment {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Environment, Refusal> {
        let asked = Asked::from_request_parts(parts, state).await?;
        match asked.query().one("environment") {
            Ok(Some(name)) if is_environment(name) => Ok(Environment(name.to_owned())),
            Ok(Some(name)) => Err(Refusal::bad_request(not_alphanumeric(name))),
            Ok(None) => Err(Refusal::bad_request("An environment parameter must be specified")),
            Err(error) => Err(bad_pairs(&error)),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for AsJson {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<AsJson, Refusal> {
        accepted(&parts.headers, AS_JSON).map(AsJson)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for SentJson {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<SentJson, Refusal> {
        sent_as(&parts.headers, SENT_JSON).map(|()| SentJson)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Refuses a request that accepts none of the media types, and says which of them to answer with.
/// The order of `ours` decides, as with the peer.
///
/// # Errors
/// A 406.
pub fn accepted(headers: &HeaderMap, ours: &[(&str, &'static str)]) -> Result<&'static str, Refusal> {
    let accept: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
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
pub fn sent_as(headers: &HeaderMap, types: &[&str]) -> Result<(), Refusal> {
    let sent = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = sent.split(';').next().unwrap_or_default().trim();
    if types.iter().any(|wanted| wanted.eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    let message = format!(
        "Unsupported Media Type: Client sent a mime-type ({sent}) that doesn't correspond to a format we support"
    );
    Err(Refusal::json(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", message))
}

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
