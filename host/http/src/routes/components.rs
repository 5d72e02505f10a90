//! `/bunraku/v1/plugins/components/{sha256}`: the components of plugin sets, for the catalog masters that
//! are told to use them.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::answer::{self, OCTETS, Outcome, Refusal};
use crate::backend::Backend;
use crate::server::Shared;

/// The header with a component's detached signature in base64, where it has one.
pub const SIGNATURE: &str = "bunraku-signature";

/// GET `components/{sha256}`.
pub async fn component<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    Path(digest): Path<String>,
) -> Outcome {
    let hex = digest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if digest.len() != 64 || !hex {
        return Err(Refusal::text(
            StatusCode::BAD_REQUEST,
            "a component is named by its SHA-256 in lower-case hex",
        ));
    }
    let Some(component) = shared.backend.component(&digest).await else {
        return Err(Refusal::text(StatusCode::NOT_FOUND, format!("no component {digest} is kept here")));
    };
    let signature = component.signature.map(|signature| STANDARD.encode(signature));
    let mut answer = answer::ok(OCTETS, component.bytes);
    if let Some(value) = signature.and_then(|text| HeaderValue::from_str(&text).ok()) {
        answer.headers_mut().insert(HeaderName::from_static(SIGNATURE), value);
    }
    Ok(answer)
}
