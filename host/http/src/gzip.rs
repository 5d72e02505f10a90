//! Compression of answers, for agents that offer `gzip`.

use std::io::Write;

use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::Request;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue, VARY};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::answer::Refusal;

/// Below this, the answer is sent in one packet either way.
const MIN_BYTES: u64 = 1024;
/// Above this, compressing takes long enough to be done away from the threads that serve.
const AWAY_BYTES: usize = 256 * 1024;

/// The layer that compresses what is in memory; files that are read while they are sent stay as they are.
pub async fn compress(request: Request, next: Next) -> Response {
    let head = request.method() == Method::HEAD;
    let offered = offered(request.headers());
    let mut response = next.run(request).await;
    if response.status() != StatusCode::OK || head {
        return response;
    }
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    let packed = response.headers().contains_key(CONTENT_ENCODING);
    if packed || !offered || response.body().size_hint().exact().is_none_or(|bytes| bytes < MIN_BYTES) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let Ok(whole) = to_bytes(body, usize::MAX).await else { return Refusal::internal().into_response() };
    let (body, smaller) = smaller(whole).await;
    if smaller {
        head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        head.headers.remove(CONTENT_LENGTH);
    }
    Response::from_parts(head, Body::from(body))
}

/// Whether the client offers `gzip` (RFC 9110 §12.5.3). A mere `*` is not taken for an offer.
pub fn offered(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
    codings.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let refused = parts.any(|part| {
            part.strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()).is_some_and(|q| q <= 0.0)
        });
        named && !refused
    })
}

/// The body compressed, or as it is where that fails or gains nothing.
pub async fn smaller(body: Bytes) -> (Bytes, bool) {
    let compressed = if body.len() > AWAY_BYTES {
        let body = body.clone();
        tokio::task::spawn_blocking(move || gzip(&body)).await.unwrap_or(None)
    } else {
        gzip(&body)
    };
    match compressed {
        Some(compressed) if compressed.len() < body.len() => (compressed.into(), true),
        _ => (body, false),
    }
}

fn gzip(body: &[u8]) -> Option<Vec<u8>> {
    // The fastest level: the master's time is scarcer than its network.
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_used_when_it_is_offered() {
        let check = |accept: Option<&str>, expected: bool| {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(ACCEPT_ENCODING, accept.parse().unwrap());
            }
            assert_eq!(offered(&headers), expected, "{accept:?}");
        };
        check(None, false);
        check(Some("gzip;q=1.0,deflate;q=0.6,identity;q=0.3"), true);
        check(Some("deflate, GZIP"), true);
        check(Some("*"), false);
        check(Some("gzip;q=0, *"), false);
        check(Some("gzip;q=0"), false);
        check(Some("gzip; q=0.0, identity"), false);
        check(Some("identity"), false);
        check(Some("xgzip"), false);
    }
}
