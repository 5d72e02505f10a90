//! `/puppet/v3/file_bucket_file`: backups of what agents replace. The key is the content's sum; the
//! original path that agents add to it is not looked at, and never becomes a path here.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use store::Error;

use crate::answer::{self, OCTETS, Outcome, Refusal};
use crate::backend::Backend;
use crate::body::BodyRules;
use crate::extract::Asked;
use crate::server::Shared;

/// A backup as agents name it: `<kind>/<sum>[/<path>]`. Without a sum there is no such route.
#[derive(Debug)]
pub struct BackupKey {
    kind: String,
    sum: String,
}

/// HEAD.
pub async fn find<B: Backend>(State(shared): State<Arc<Shared<B>>>, key: BackupKey) -> Outcome {
    let sum = key.checked().ok_or_else(|| key.missing())?;
    match shared.backend.filebucket().has(sum).await {
        Ok(true) => Ok(answer::empty(StatusCode::OK, OCTETS)),
        Ok(false) => Err(key.missing()),
        Err(error) => Err(failed(&error)),
    }
}

/// GET.
pub async fn read<B: Backend>(State(shared): State<Arc<Shared<B>>>, key: BackupKey) -> Outcome {
    let sum = key.checked().ok_or_else(|| key.missing())?;
    match shared.backend.filebucket().get(sum).await {
        Ok(Some(content)) => Ok(answer::ok(OCTETS, content)),
        Ok(None) => Err(key.missing()),
        Err(error) => Err(failed(&error)),
    }
}

/// PUT and POST.
pub async fn save<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    key: BackupKey,
    request: Request,
) -> Outcome {
    let sum = key
        .checked()
        .ok_or_else(|| Refusal::bad_request("the key is no sha256/<sum> or md5/<sum> in lower hex"))?;
    let settings = &shared.settings;
    let rules = BodyRules { cap: settings.filebucket_cap, deadline: settings.body_deadline, json: true };
    let content = shared.memory.read(request, rules).await?;
    match shared.backend.filebucket().put(sum, &content.bytes).await {
        Ok(()) => Ok(answer::empty(StatusCode::OK, OCTETS)),
        Err(Error::Sum(text)) => Err(Refusal::bad_request(text)),
        Err(error) => Err(failed(&error)),
    }
}

impl<S: Send + Sync> FromRequestParts<S> for BackupKey {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<BackupKey, Refusal> {
        let asked = Asked::from_request_parts(parts, state).await?;
        let Path(key) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| asked.forbid())?;
        match key.split('/').collect::<Vec<_>>().as_slice() {
            [kind, sum, ..] => Ok(BackupKey { kind: (*kind).to_owned(), sum: (*sum).to_owned() }),
            _ => Err(asked.forbid()),
        }
    }
}

impl BackupKey {
    /// The sum, if it is one.
    fn checked(&self) -> Option<&str> {
        let digits = match self.kind.as_str() {
            "sha256" => 64,
            "md5" => 32,
            _ => return None,
        };
        let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (self.sum.len() == digits && self.sum.bytes().all(hex)).then_some(&self.sum)
    }

    fn missing(&self) -> Refusal {
        let shown = |text: &str| text.chars().take(64).collect::<String>();
        Refusal::not_found(&format!("file_bucket_file {}/{}", shown(&self.kind), shown(&self.sum)))
    }
}

fn failed(error: &Error) -> Refusal {
    tracing::error!(%error, "the filebucket failed");
    Refusal { status: StatusCode::SERVICE_UNAVAILABLE, ..Refusal::internal() }
}
