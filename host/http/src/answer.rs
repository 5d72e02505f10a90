//! What a route answers: a response, or a [`Refusal`] that becomes one with the request's id.

use std::io;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use master::Failed;
use serde::Serialize;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

/// Bodies agents take for text.
pub const TEXT: &str = "text/plain;charset=utf-8";
/// PEM, as the peer labels it.
pub const PEM: &str = "text/plain";
/// JSON, as the peer labels it.
pub const JSON: &str = "application/json;charset=utf-8";
/// Contents of files.
pub const OCTETS: &str = "application/octet-stream";

/// Bytes read at once of a file that is sent.
const FILE_CHUNK: usize = 64 * 1024;

/// What every route returns.
pub type Outcome = Result<Response, Refusal>;

/// A body that is there.
pub fn ok(content_type: &'static str, body: impl Into<Body>) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static(content_type))], body.into()).into_response()
}

/// A value as JSON, labelled as the client likes it.
///
/// # Errors
/// A 500, should the value have no JSON form.
pub fn json(content_type: &'static str, value: &impl Serialize) -> Outcome {
    match serde_json::to_vec(value) {
        Ok(body) => Ok(ok(content_type, body)),
        Err(error) => {
            tracing::error!(%error, "an answer has no JSON form");
            Err(Refusal::json(StatusCode::INTERNAL_SERVER_ERROR, RUNTIME_ERROR, "Server Error: no JSON form"))
        }
    }
}

/// A body whose parts are yet to be sent, one waiting at most: whoever sends goes no faster than
/// whoever reads.
pub fn channel() -> (Sender<Bytes, io::Error>, Body) {
    let (sender, body) = Channel::new(1);
    (sender, Body::new(body))
}

/// A status without a body.
pub fn empty(status: StatusCode, content_type: &'static str) -> Response {
    (status, [(CONTENT_TYPE, HeaderValue::from_static(content_type))]).into_response()
}

/// A file that is read while it is sent, and no more of it than `length`, should it grow meanwhile.
pub fn file(file: File, length: u64) -> Response {
    let chunks = ReaderStream::with_capacity(file.take(length), FILE_CHUNK);
    let headers =
        [(CONTENT_TYPE, HeaderValue::from_static(OCTETS)), (CONTENT_LENGTH, HeaderValue::from(length))];
    (headers, Body::from_stream(chunks)).into_response()
}

/// Puppet's kind of most failures.
pub const RUNTIME_ERROR: &str = "RUNTIME_ERROR";

/// An answer of 4xx or 5xx: what is wrong, in a form the agent prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// One line; the request's id is added to it, unless the words are to be exact.
    pub message: String,
    /// Whether the body is the message alone, as the CA's tools expect it of the peer.
    pub exact: bool,
    /// How a refusal in text is labelled.
    pub label: &'static str,
    /// The kind of a JSON refusal; without one the body is text.
    pub issue_kind: Option<&'static str>,
    /// When to come again.
    pub retry_after: Option<Duration>,
    /// Whether the connection ends with this answer, as the rest of the body stays unread.
    pub close: bool,
}

impl Refusal {
    /// A refusal in text, as the CA's routes answer.
    pub fn text(status: StatusCode, message: impl Into<String>) -> Refusal {
        let message = message.into();
        let label = TEXT;
        Refusal { status, message, exact: false, label, issue_kind: None, retry_after: None, close: false }
    }

    /// A refusal in text, word for word: administrators' tools compare it. The request's id is in the
    /// header alone.
    pub fn exact(status: StatusCode, message: impl Into<String>) -> Refusal {
        Refusal { exact: true, ..Refusal::text(status, message) }
    }

    /// The same, labelled otherwise.
    pub fn labelled(self, label: &'static str) -> Refusal {
        Refusal { label, ..self }
    }

    /// A refusal in JSON, as `/puppet/v3` answers.
    pub fn json(status: StatusCode, issue_kind: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { issue_kind: Some(issue_kind), ..Refusal::text(status, message) }
    }

    /// A 400 in JSON.
    pub fn bad_request(message: impl AsRef<str>) -> Refusal {
        let message = format!("Bad Request: {}", message.as_ref());
        Refusal::json(StatusCode::BAD_REQUEST, RUNTIME_ERROR, message)
    }

    /// A 404 in JSON: agents walk a list of sources by these.
    pub fn not_found(thing: &str) -> Refusal {
        let message = format!("Not Found: Could not find {thing}");
        Refusal::json(StatusCode::NOT_FOUND, "RESOURCE_NOT_FOUND", message)
    }

    /// A 500 whose cause is in the log, under the request's id, and not in the answer.
    pub fn internal() -> Refusal {
        let message = "Server Error: the master's log says why";
        Refusal::json(StatusCode::INTERNAL_SERVER_ERROR, RUNTIME_ERROR, message)
    }

    /// The refusal as the agent gets it.
    pub fn into_answer(self, request_id: &str) -> Response {
        let message = match self.exact {
            true => self.message,
            false => format!("{} (request id {request_id})", self.message),
        };
        let (content_type, body) = match self.issue_kind {
            Some(kind) => (JSON, serde_json::json!({"message": message, "issue_kind": kind}).to_string()),
            None => (self.label, message),
        };
        let mut response = (self.status, ok(content_type, body)).into_response();
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after {
            // Rounded up: an agent that comes a moment early would be refused once more.
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().saturating_add(1)));
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl IntoResponse for Refusal {
    /// The status, and the refusal itself for [`crate::layers::finish`], which knows the request's id.
    fn into_response(self) -> Response {
        (self.status, Extension(self)).into_response()
    }
}

impl From<Failed> for Refusal {
    fn from(failed: Failed) -> Refusal {
        let status = StatusCode::from_u16(failed.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Refusal::json(status, failed.issue_kind, failed.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refusal_says_the_request_id_in_its_message() {
        let body = async |refusal: Refusal, content_type: &str| {
            let answer = refusal.into_answer("r-1");
            assert_eq!(answer.headers()[CONTENT_TYPE], content_type);
            let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
            String::from_utf8(body.to_vec()).unwrap()
        };
        let text = body(Refusal::text(StatusCode::BAD_REQUEST, "no"), TEXT).await;
        assert_eq!(text, "no (request id r-1)");
        assert_eq!(body(Refusal::exact(StatusCode::BAD_REQUEST, "no"), TEXT).await, "no");
        let json: serde_json::Value =
            serde_json::from_str(&body(Refusal::not_found("x"), JSON).await).unwrap();
        let message = "Not Found: Could not find x (request id r-1)";
        assert_eq!(json, serde_json::json!({"message": message, "issue_kind": "RESOURCE_NOT_FOUND"}));
    }
}
