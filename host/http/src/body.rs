//! Request bodies: read under a cap, a deadline and the memory that all bodies share.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::header::{CONTENT_ENCODING, EXPECT};
use axum::http::{HeaderMap, StatusCode};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use crate::answer::Refusal;

/// Brackets within brackets that a JSON body may have. Facts and reports stay below 20.
pub const JSON_DEPTH: usize = 64;
/// Bytes over a cap that are read and thrown away, so that the sender gets to read the 413.
const OVERRUN: usize = 1024 * 1024;
/// How long such bytes are waited for.
const OVERRUN_DEADLINE: Duration = Duration::from_secs(2);
/// What one permit of the shared memory stands for.
const PERMIT_BYTES: usize = 1024;

/// The memory that all bodies being read share.
#[derive(Debug)]
pub struct BodyMemory {
    free: Semaphore,
    total: u32,
}

/// A body that was read, and its part of the shared memory until it is dropped.
#[derive(Debug)]
pub struct Read<'a> {
    /// The bytes.
    pub bytes: Bytes,
    _memory: SemaphorePermit<'a>,
}

/// The cap and the deadline of one body.
#[derive(Debug, Clone, Copy)]
pub struct BodyRules {
    /// Most bytes.
    pub cap: usize,
    /// From the first wait to the last byte.
    pub deadline: Duration,
    /// Whether a refusal is JSON.
    pub json: bool,
}

impl BodyMemory {
    /// `bytes` in all; no less than the largest cap, or such a body never gets its part.
    pub fn new(bytes: usize) -> BodyMemory {
        let total = u32::try_from(bytes / PERMIT_BYTES).unwrap_or(u32::MAX);
        let free = Semaphore::new(
            usize::try_from(total).unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS),
        );
        BodyMemory { free, total }
    }

    /// Bytes that are taken now.
    pub fn used(&self) -> usize {
        let total = usize::try_from(self.total).unwrap_or(usize::MAX);
        total.saturating_sub(self.free.available_permits()).saturating_mul(PERMIT_BYTES)
    }

    /// Reads a request's whole body.
    ///
    /// # Errors
    /// 415 for a compressed one, 413 over the cap, 408 past the deadline, 400 for a broken one.
    pub async fn read(&self, request: Request, rules: BodyRules) -> Result<Read<'_>, Refusal> {
        let (head, body) = request.into_parts();
        refuse_encoded(&head.headers, rules)?;
        let deadline = Instant::now() + rules.deadline;
        let hint = body.size_hint();
        let declared = hint.exact().map_or(rules.cap, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        if declared > rules.cap {
            // Who waits to be told to go on has sent nothing yet.
            if !head.headers.contains_key(EXPECT) {
                discard(body).await;
            }
            return Err(too_large(rules));
        }
        let permits = u32::try_from(declared / PERMIT_BYTES + 1).unwrap_or(u32::MAX).min(self.total);
        let Ok(Ok(memory)) = timeout_at(deadline, self.free.acquire_many(permits)).await else {
            return Err(too_slow(rules));
        };
        match timeout_at(deadline, collect(body, declared, rules)).await {
            Ok(Ok(bytes)) => Ok(Read { bytes, _memory: memory }),
            Ok(Err(refusal)) => Err(refusal),
            Err(_) => Err(too_slow(rules)),
        }
    }
}

async fn collect(mut body: Body, declared: usize, rules: BodyRules) -> Result<Bytes, Refusal> {
    let mut first: Option<Bytes> = None;
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            let refusal =
                refusal(rules, StatusCode::BAD_REQUEST, "the request body ended early or is malformed");
            return Err(Refusal { close: true, ..refusal });
        };
        let Ok(data) = frame.into_data() else { continue };
        if whole.is_empty() && first.is_none() {
            first = Some(data);
            continue;
        }
        if let Some(data) = first.take() {
            whole.reserve(declared.min(rules.cap));
            whole.extend_from_slice(&data);
        }
        if whole.len().saturating_add(data.len()) > rules.cap {
            drop(whole);
            discard(body).await;
            return Err(too_large(rules));
        }
        whole.extend_from_slice(&data);
    }
    match first {
        // One frame is the whole of a small body: no copy.
        Some(data) if data.len() > rules.cap => Err(too_large(rules)),
        Some(data) => Ok(data),
        None => Ok(whole.freeze()),
    }
}

async fn discard(mut body: Body) {
    let reading = async {
        let mut left = OVERRUN;
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(bytes) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Either way there is nothing more to do for this sender.
    let _ = tokio::time::timeout(OVERRUN_DEADLINE, reading).await;
}

fn refuse_encoded(headers: &HeaderMap, rules: BodyRules) -> Result<(), Refusal> {
    let plain = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity"));
    if plain {
        return Ok(());
    }
    let message = "Unsupported Media Type: a request body must not be compressed";
    Err(Refusal { close: true, ..refusal(rules, StatusCode::UNSUPPORTED_MEDIA_TYPE, message) })
}

fn too_large(rules: BodyRules) -> Refusal {
    let message = format!("the request body is larger than {} bytes", rules.cap);
    Refusal { close: true, ..refusal(rules, StatusCode::PAYLOAD_TOO_LARGE, &message) }
}

fn too_slow(rules: BodyRules) -> Refusal {
    let message = format!("the request body did not arrive within {} s", rules.deadline.as_secs());
    Refusal { close: true, ..refusal(rules, StatusCode::REQUEST_TIMEOUT, &message) }
}

fn refusal(rules: BodyRules, status: StatusCode, message: &str) -> Refusal {
    let issue_kind = match status {
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "UNSUPPORTED_MEDIA_TYPE",
        _ => crate::answer::RUNTIME_ERROR,
    };
    Refusal { issue_kind: rules.json.then_some(issue_kind), ..Refusal::text(status, message) }
}

/// Refuses JSON that nests deeper than [`JSON_DEPTH`], in one pass and without recursion, before
/// anything parses it.
///
/// # Errors
/// What to tell the sender.
pub fn check_depth(json: &[u8]) -> Result<(), String> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                depth = depth.saturating_add(1);
                if depth > JSON_DEPTH {
                    return Err(format!("the JSON nests deeper than {JSON_DEPTH}"));
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    // faults row 66
    #[test]
    fn deeply_nested_json_is_refused_before_it_is_parsed() {
        let nest = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(check_depth(nest(JSON_DEPTH).as_bytes()), Ok(()));
        assert!(check_depth(nest(JSON_DEPTH + 1).as_bytes()).is_err());
        assert!(check_depth(nest(1_000_000).as_bytes()).is_err());
        assert!(check_depth("{\"a\":".repeat(100).as_bytes()).is_err());
        let brackets_in_a_string = format!("\"{}\\\"{}\"", "[".repeat(500), "{".repeat(500));
        assert_eq!(check_depth(brackets_in_a_string.as_bytes()), Ok(()));
        assert_eq!(check_depth("[]".repeat(500).as_bytes()), Ok(()));
        assert_eq!(check_depth(br#"["a\\","[","]"]"#), Ok(()));
    }
}
