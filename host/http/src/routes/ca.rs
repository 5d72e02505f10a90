//! `/puppet-ca/v1`: the CA's own files, certificate requests, certificates and their renewal.
//!
//! Answers are text. To an agent, 404 on a certificate means "not signed yet" and nothing else does;
//! a request that a policy holds back is answered 200 all the same (protocol page, §4 and §7).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::{Path, Request, State};
use axum::http::header::{CONTENT_ENCODING, IF_MODIFIED_SINCE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use master::{CaFile, Failed, SubmitError};
use tracing::Instrument;

use crate::answer::{self, Outcome, PEM, Refusal};
use crate::backend::Backend;
use crate::body::BodyRules;
use crate::extract::Asked;
use crate::gzip;
use crate::server::Shared;

/// GET `certificate/ca`.
pub async fn bundle<B: Backend>(State(shared): State<Arc<Shared<B>>>, headers: HeaderMap) -> Response {
    file(&headers, &shared.backend.ca_bundle())
}

/// GET `certificate_revocation_list/<anything>`.
pub async fn crl<B: Backend>(State(shared): State<Arc<Shared<B>>>, headers: HeaderMap) -> Response {
    let lists = shared.backend.crl();
    let whole = file(&headers, &lists);
    if whole.status() != StatusCode::OK || !gzip::offered(&headers) {
        return whole;
    }
    match shared.packed.of(&lists.pem).await {
        Some(packed) => ([(CONTENT_ENCODING, "gzip")], answer::ok(PEM, packed)).into_response(),
        None => whole,
    }
}

/// GET `certificate/<name>`.
pub async fn certificate<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    Path(name): Path<String>,
) -> Outcome {
    match shared.backend.certificate(&name).await {
        Ok(Some(pem)) => Ok(answer::ok(PEM, pem)),
        Ok(None) => {
            Err(Refusal::text(StatusCode::NOT_FOUND, format!("Could not find certificate {}", shown(&name))))
        }
        Err(failed) => Err(in_text(failed)),
    }
}

/// GET `certificate_request/<name>`: a stranger learns nothing of it, since it may hold a token
/// (faults row 17), not even that it is there.
pub async fn pending_request<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    asked: Asked,
    Path(name): Path<String>,
) -> Outcome {
    if asked.administrator(&shared.settings.admins).is_some()
        && let Some(pem) = shared.backend.pending_request(&name).await.map_err(in_text)?
    {
        return Ok(answer::ok(PEM, pem));
    }
    let message = format!("Could not find certificate_request {}", shown(&name));
    Err(Refusal::text(StatusCode::NOT_FOUND, message))
}

/// PUT `certificate_request/<name>`.
pub async fn submit<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    asked: Asked,
    Path(name): Path<String>,
    request: Request,
) -> Outcome {
    if let Some(address) = asked.connection.origin.address() {
        shared.quota.turn(address).await.map_err(too_many)?;
    }
    let settings = &shared.settings;
    let rules = BodyRules { cap: settings.request_cap, deadline: settings.request_deadline, json: false };
    let pem = shared.memory.read(request, rules).await?.bytes;
    let (backend, peer) = (shared.backend.clone(), asked.peer().clone());
    // On its own, so that an agent that hangs up does not stop a signature half way.
    let submitting = async move { backend.submit_request(&name, &pem, &peer).await };
    match tokio::spawn(submitting.in_current_span()).await {
        Ok(Ok(_)) => Ok(answer::empty(StatusCode::OK, PEM)),
        Ok(Err(SubmitError::Refused(text))) => Err(Refusal::text(StatusCode::BAD_REQUEST, text)),
        Ok(Err(SubmitError::Quota { retry_after })) => Err(too_many(retry_after)),
        Ok(Err(SubmitError::Failed(failed))) => Err(in_text(failed)),
        Err(_) => Err(internal()),
    }
}

/// POST `certificate_renewal`: the certificate of the connection is the request; one for another key
/// may come with it.
pub async fn renew<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    asked: Asked,
    request: Request,
) -> Outcome {
    if let Some(address) = asked.connection.origin.address() {
        shared.quota.turn(address).await.map_err(too_many)?;
    }
    let settings = &shared.settings;
    let rules = BodyRules { cap: settings.request_cap, deadline: settings.request_deadline, json: false };
    let csr = shared.memory.read(request, rules).await?.bytes;
    let (backend, peer) = (shared.backend.clone(), asked.peer().clone());
    let renewing = async move {
        let csr = csr.as_ref();
        backend.renew(&peer, (!csr.trim_ascii().is_empty()).then_some(csr)).await
    };
    match tokio::spawn(renewing.in_current_span()).await {
        Ok(renewed) => Ok(answer::ok(PEM, renewed.map_err(in_text)?)),
        Err(_) => Err(internal()),
    }
}

fn file(headers: &HeaderMap, file: &CaFile) -> Response {
    if unchanged(headers, file.modified, SystemTime::now()) {
        return answer::empty(StatusCode::NOT_MODIFIED, PEM);
    }
    answer::ok(PEM, file.pem.to_string())
}

/// Whether the client has this version. It sends the time of its own file in whole seconds, so a
/// version made within that second may be one that it has not seen; nor does a time to come count,
/// which only a clock that is ahead can send.
fn unchanged(headers: &HeaderMap, modified: SystemTime, now: SystemTime) -> bool {
    let since = headers.get(IF_MODIFIED_SINCE).and_then(|value| value.to_str().ok());
    let since = since.and_then(|date| httpdate::parse_http_date(date).ok());
    since.is_some_and(|since| modified < since && since <= now)
}

fn too_many(wait: Duration) -> Refusal {
    let message = "too many certificate requests from this address; try again later";
    Refusal { retry_after: Some(wait), ..Refusal::text(StatusCode::TOO_MANY_REQUESTS, message) }
}

fn in_text(failed: Failed) -> Refusal {
    Refusal { issue_kind: None, ..Refusal::from(failed) }
}

fn internal() -> Refusal {
    Refusal { issue_kind: None, ..Refusal::internal() }
}

fn shown(name: &str) -> String {
    name.chars().take(255).collect()
}
