//! One request: parsed, routed, authorised, answered, logged. In this order, and all of it on the
//! same parsed target.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use futures_util::TryStreamExt;
use http_body_util::{Either, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, VARY,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use time::OffsetDateTime;
use tokio::fs::File;
use tokio_util::io::ReaderStream;
use tracing::Instrument;
use uuid::Uuid;

use crate::access_log::Line;
use crate::answer::{Answer, Content, Outcome, Refusal, TEXT};
use crate::backend::Backend;
use crate::connection::Connection;
use crate::exchange::Exchange;
use crate::gzip;
use crate::route::{self, NoRoute, Route, Who};
use crate::routes;
use crate::server::Shared;
use crate::target::{Target, TargetError};

/// A body on its way out.
pub type Body = Either<Full<Bytes>, StreamBody<FileFrames>>;
type FileFrames = futures_util::stream::MapOk<ReaderStream<tokio::io::Take<File>>, fn(Bytes) -> Frame<Bytes>>;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_PUPPET_VERSION: HeaderName = HeaderName::from_static("x-puppet-version");
/// The protocol is that of this version; agents before 4 want to see one.
const PUPPET_VERSION: HeaderValue = HeaderValue::from_static("7.23.0");
/// Bytes read at once of a file that is sent.
const FILE_CHUNK: usize = 64 * 1024;
/// By these a proxy in front would say who the client is. We are the front.
const PROXY_HEADERS: &[&str] = &["x-client-dn", "x-client-verify", "x-client-cert"];

/// Answers a request.
pub async fn answer<B: Backend>(
    shared: &Arc<Shared<B>>,
    connection: &Connection,
    request: Request<Incoming>,
) -> Response<Body> {
    let began = Instant::now();
    // Ours alone: an id that a client chose could point at somebody else's lines in the log.
    let request_id = Uuid::new_v4().to_string();
    let (head, body) = request.into_parts();
    note_proxy_headers(shared, connection, &head.headers);

    let work = async {
        let target = Target::parse(head.uri.path(), head.uri.query()).map_err(bad_target)?;
        let exchange = Exchange {
            backend: &shared.backend,
            settings: &shared.settings,
            memory: &shared.memory,
            quota: &shared.quota,
            address: connection.address,
            peer: &connection.peer,
            method: &head.method,
            headers: &head.headers,
            query: &target.query,
            request_id: &request_id,
        };
        let segments = target.segments();
        let route = route::find(&head.method, &segments);
        authorise(&exchange, &target, route.as_ref())?;
        match route {
            Ok(route) => dispatch(&exchange, body, route).await,
            Err(_) => Err(Refusal::text(StatusCode::NOT_FOUND, "Not Found")),
        }
    };
    let outcome = work.instrument(tracing::info_span!("request", id = %request_id)).await;
    let answer = outcome.unwrap_or_else(|refusal| refusal.into_answer(&request_id));
    let (response, bytes) = into_response(answer, &head.method, &head.headers, &request_id).await;

    shared.gauges.requests.fetch_add(1, Ordering::Relaxed);
    shared.access_log.write(&Line {
        address: connection.address,
        certname: connection.peer.certname().map(|name| name.as_str()),
        at: OffsetDateTime::now_utc(),
        method: head.method.as_str(),
        target: head.uri.path_and_query().map_or("*", |target| target.as_str()),
        version: if head.version == hyper::Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" },
        status: response.status().as_u16(),
        bytes,
        took: began.elapsed(),
        request_id: &request_id,
    });
    response
}

/// Says no to who may not take the route, and to whose certificate has ended since the handshake.
fn authorise<B: Backend>(
    exchange: &Exchange<'_, B>,
    target: &Target,
    route: Result<&Route<'_>, &NoRoute>,
) -> Result<(), Refusal> {
    if let Some(certificate) = &exchange.peer.certificate {
        let revoked = exchange.backend.is_revoked(&certificate.serial);
        if let Some(reason) = ended(revoked, certificate.not_after, OffsetDateTime::now_utc()) {
            return Err(Refusal { close: true, ..forbidden(exchange, target, reason) });
        }
    }
    let certname = exchange.peer.certname().map(|name| name.as_str());
    let allowed = match route {
        Ok(route) => match route.who() {
            Who::Anyone => true,
            Who::Holder => certname.is_some(),
            Who::Owner(name) => certname == Some(name),
        },
        Err(NoRoute::Unknown) => true,
        Err(NoRoute::Forbidden) => false,
    };
    if allowed {
        return Ok(());
    }
    let path = target.path();
    tracing::info!(address = %exchange.address, certname, method = %exchange.method, path, "forbidden");
    Err(forbidden(exchange, target, "Please see the server logs for details."))
}

/// Why a certificate that was good in the handshake is so no more: connections outlive handshakes.
fn ended(revoked: bool, not_after: OffsetDateTime, now: OffsetDateTime) -> Option<&'static str> {
    match (revoked, not_after < now) {
        (true, _) => Some("The client certificate is revoked."),
        (false, true) => Some("The client certificate has expired."),
        (false, false) => None,
    }
}

/// The peer's words (recording 17).
fn forbidden<B>(exchange: &Exchange<'_, B>, target: &Target, reason: &str) -> Refusal {
    let method = exchange.method.as_str().to_ascii_lowercase();
    let message = format!("Forbidden request: {} (method :{method}). {reason}", target.path());
    Refusal::text(StatusCode::FORBIDDEN, message)
}

fn bad_target(error: TargetError) -> Refusal {
    let status = match error {
        TargetError::HiddenSlash => StatusCode::NOT_FOUND,
        _ => StatusCode::BAD_REQUEST,
    };
    Refusal::text(status, error.to_string())
}

async fn dispatch<B: Backend>(exchange: &Exchange<'_, B>, body: Incoming, route: Route<'_>) -> Outcome {
    match route {
        Route::CaBundle => routes::ca::bundle(exchange),
        Route::Certificate(name) => routes::ca::certificate(exchange, name).await,
        Route::SubmitRequest(name) => routes::ca::submit(exchange, body, name).await,
        Route::PendingRequest(name) => routes::ca::pending_request(exchange, name).await,
        Route::Crl => routes::ca::crl(exchange),
        Route::Renew => routes::ca::renew(exchange).await,
        Route::Node(_) => routes::node::node(exchange).await,
        Route::Environments => routes::node::environments(exchange),
        Route::Catalog(_) => routes::catalog::compile(exchange, body).await,
        Route::Facts(_) => routes::catalog::save_facts(exchange, body).await,
        Route::Report(_) => routes::report::save(exchange, body).await,
        Route::FileMetadata(key) => routes::files::metadata(exchange, key).await,
        Route::FileMetadatas(key) => routes::files::metadatas(exchange, key).await,
        Route::FileContent(key) => routes::files::content(exchange, key).await,
        Route::ReadBackup(key) => routes::filebucket::read(exchange, key).await,
        Route::SaveBackup(key) => routes::filebucket::save(exchange, body, key).await,
        Route::SimpleStatus(service) => routes::status::simple(exchange, service).await,
        Route::Services(service) => routes::status::services(exchange, service).await,
    }
}

/// Identity from a header is ignored, whoever sends it (faults row 69). The log says so once for each
/// address: a proxy in front that nobody told of this would fill it otherwise.
fn note_proxy_headers<B>(shared: &Shared<B>, connection: &Connection, headers: &HeaderMap) {
    if let Some(header) = PROXY_HEADERS.iter().find(|name| headers.contains_key(**name))
        && shared.proxied.is(connection.address)
    {
        let address = connection.address;
        tracing::warn!(%address, header, "ignored a proxy's word on who the client is; only its certificate counts");
    }
}

async fn into_response(
    answer: Answer,
    method: &Method,
    asked: &HeaderMap,
    request_id: &str,
) -> (Response<Body>, u64) {
    let compressible = answer.status == StatusCode::OK && method != Method::HEAD;
    let mut encoded = false;
    let (body, bytes) = match answer.content {
        Content::Whole(mut body) => {
            if compressible && body.len() >= gzip::MIN_BYTES && gzip::offered(asked) {
                (body, encoded) = gzip::compress(body).await;
            }
            let bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
            (Either::Left(Full::new(body)), bytes)
        }
        Content::File(file, bytes) => {
            // No more than was announced, should the file grow meanwhile.
            let chunks = ReaderStream::with_capacity(tokio::io::AsyncReadExt::take(file, bytes), FILE_CHUNK);
            let frame: fn(Bytes) -> Frame<Bytes> = Frame::data;
            (Either::Right(StreamBody::new(chunks.map_ok(frame))), bytes)
        }
    };
    let streamed = matches!(body, Either::Right(_));
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(X_PUPPET_VERSION, PUPPET_VERSION);
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(X_REQUEST_ID, id);
    }
    if let Some(content_type) = answer.content_type {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if content_type == TEXT {
            // A message may repeat what the client sent; no browser shall take it for a page.
            headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        }
    }
    if streamed {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
    }
    if encoded {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if compressible {
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    if answer.close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    headers.extend(answer.headers);
    (response, bytes)
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
