//! What every request passes on its way to a route and back, and the router that it ends in.
//!
//! On the way in, from the top of [`router`]'s list down to the routes:
//! a request id, the access log, the answer's form, the target (parsed once, before any routing),
//! the certificate, then `route.rs` (which route, and who may), and compression around its answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode, Version};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::{Extension, Router};
use time::OffsetDateTime;
use tracing::Instrument;
use uuid::Uuid;

use crate::access_log::Line;
use crate::answer::{PEM, Refusal, TEXT};
use crate::backend::Backend;
use crate::connection::Connection;
use crate::extract::{Asked, RequestId};
use crate::server::Shared;
use crate::target::{Target, TargetError};
use crate::{gzip, route};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_PUPPET_VERSION: HeaderName = HeaderName::from_static("x-puppet-version");
const X_CONTENT_TYPE_OPTIONS: HeaderName = HeaderName::from_static("x-content-type-options");
/// The protocol is that of this version; agents before 4 want to see one.
const PUPPET_VERSION: HeaderValue = HeaderValue::from_static("7.23.0");
/// By these a proxy in front would say who the client is. We are the front.
const PROXY_HEADERS: &[&str] = &["x-client-dn", "x-client-verify", "x-client-cert"];

/// The whole of it, made once. Requests carry their connection as an extension.
pub fn router<B: Backend>(shared: Arc<Shared<B>>) -> Router {
    let routes = route::table(&shared).layer(from_fn(gzip::compress)).with_state(shared.clone());
    // A layer of the routes' own router would run after the routing, which must not see a target
    // that nobody has parsed. So they are the fallback of one that has layers alone.
    Router::new()
        .fallback_service(routes)
        .layer(from_fn_with_state(shared.clone(), refuse_ended::<B>))
        .layer(from_fn(parse_target))
        .layer(from_fn(finish))
        .layer(from_fn_with_state(shared, log::<B>))
        .layer(from_fn(identify))
}

/// Gives the request an id. Ours alone: one that a client chose could point at somebody else's
/// lines in the log.
async fn identify(mut request: Request, next: Next) -> Response {
    let id = RequestId(Uuid::new_v4().to_string().into());
    request.extensions_mut().insert(id.clone());
    let span = tracing::info_span!("request", %id);
    next.run(request).instrument(span).await
}

/// Counts the request and writes its line, as it was sent and as it was answered.
async fn log<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    Extension(connection): Extension<Arc<Connection>>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    note_proxy_headers(&shared, &connection, request.headers());
    let (method, uri, version) = (request.method().clone(), request.uri().clone(), request.version());
    let response = next.run(request).await;
    shared.gauges.requests.fetch_add(1, Ordering::Relaxed);
    let class = usize::from(response.status().as_u16() / 100);
    if let Some(answers) = class.checked_sub(1).and_then(|at| shared.gauges.answers.get(at)) {
        answers.fetch_add(1, Ordering::Relaxed);
    }
    shared.access_log.write(&Line {
        origin: connection.origin,
        certname: connection.peer.certname().map(|name| name.as_str()),
        at: OffsetDateTime::now_utc(),
        method: method.as_str(),
        target: uri.path_and_query().map_or("*", |target| target.as_str()),
        version: if version == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" },
        status: response.status().as_u16(),
        bytes: bytes(&response),
        took: began.elapsed(),
        request_id: &request_id.0,
    });
    response
}

/// Gives refusals their text and all answers the headers that they have in common.
pub async fn finish(Extension(request_id): Extension<RequestId>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        response = refusal.into_answer(&request_id.0);
    }
    let counted = response.body().size_hint().exact().is_some();
    let headers = response.headers_mut();
    if counted {
        // The connection counts for itself, and knows that an answer to HEAD is no empty file.
        headers.remove(CONTENT_LENGTH);
    }
    headers.insert(X_PUPPET_VERSION, PUPPET_VERSION);
    if let Ok(id) = HeaderValue::from_str(&request_id.0) {
        headers.insert(X_REQUEST_ID, id);
    }
    if headers.get(CONTENT_TYPE).is_some_and(|content_type| content_type == TEXT || content_type == PEM) {
        // A message may repeat what the client sent; no browser shall take it for a page.
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    response
}

/// Parses the target and puts it in the place of what the client wrote.
async fn parse_target(mut request: Request, next: Next) -> Result<Response, Refusal> {
    let target = Target::parse(request.uri().path(), request.uri().query()).map_err(bad_target)?;
    *request.uri_mut() = target.canonical().map_err(bad_target)?;
    request.extensions_mut().insert(Arc::new(target));
    Ok(next.run(request).await)
}

fn bad_target(error: TargetError) -> Refusal {
    let status = match error {
        TargetError::HiddenSlash => StatusCode::NOT_FOUND,
        TargetError::TooLong => StatusCode::URI_TOO_LONG,
        _ => StatusCode::BAD_REQUEST,
    };
    Refusal::text(status, error.to_string())
}

/// Says no, whatever is asked, to whose certificate has ended since the handshake.
async fn refuse_ended<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    asked: Asked,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    if let Some(certificate) = &asked.peer().certificate {
        let revoked = shared.backend.is_revoked(&certificate.serial);
        if let Some(reason) = ended(revoked, certificate.not_after, OffsetDateTime::now_utc()) {
            return Err(Refusal { close: true, ..asked.forbidden(reason) });
        }
    }
    Ok(next.run(request).await)
}

/// Why a certificate that was good in the handshake is so no more: connections outlive handshakes.
fn ended(revoked: bool, not_after: OffsetDateTime, now: OffsetDateTime) -> Option<&'static str> {
    match (revoked, not_after < now) {
        (true, _) => Some("The client certificate is revoked."),
        (false, true) => Some("The client certificate has expired."),
        (false, false) => None,
    }
}

/// Identity from a header is ignored, whoever sends it (faults row 69). The log says so once for each
/// address: a proxy in front that nobody told of this would fill it otherwise.
fn note_proxy_headers<B>(shared: &Shared<B>, connection: &Connection, headers: &HeaderMap) {
    if let Some(header) = PROXY_HEADERS.iter().find(|name| headers.contains_key(**name))
        && let Some(address) = connection.origin.address()
        && shared.proxied.is(address)
    {
        tracing::warn!(%address, header, "ignored a proxy's word on who the client is; only its certificate counts");
    }
}

/// Bytes of the body: what it holds, or what is announced of a file that is read while it is sent.
fn bytes(response: &Response) -> u64 {
    let announced = || response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
    response.body().size_hint().exact().or_else(announced).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_certificate_may_end_while_its_connection_lives() {
        let check = |revoked: bool, now: OffsetDateTime, expected: Option<&str>| {
            assert_eq!(ended(revoked, datetime!(2026-11-22 12:00 UTC), now), expected);
        };
        check(false, datetime!(2026-11-22 12:00 UTC), None);
        check(false, datetime!(2026-11-22 12:00:01 UTC), Some("The client certificate has expired."));
        check(true, datetime!(2026-11-22 11:00 UTC), Some("The client certificate is revoked."));
    }
}
