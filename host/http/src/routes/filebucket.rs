//! `/puppet/v3/file_bucket_file`: backups of what agents replace. The key is the content's sum; the
//! original path that agents add to it is not looked at, and never becomes a path here.

use hyper::body::Incoming;
use hyper::{Method, StatusCode};
use store::Error;

use crate::answer::{Answer, OCTETS, Outcome, Refusal};
use crate::backend::Backend;
use crate::body::BodyRules;
use crate::exchange::Exchange;
use crate::route::BackupKey;

/// HEAD and GET.
pub async fn read<B: Backend>(exchange: &Exchange<'_, B>, key: BackupKey<'_>) -> Outcome {
    let sum = sum(key).ok_or_else(|| missing(key))?;
    let bucket = exchange.backend.filebucket();
    if *exchange.method == Method::HEAD {
        return match bucket.has(&sum).await {
            Ok(true) => Ok(Answer::empty(StatusCode::OK, Some(OCTETS))),
            Ok(false) => Err(missing(key)),
            Err(error) => Err(failed(&error)),
        };
    }
    match bucket.get(&sum).await {
        Ok(Some(content)) => Ok(Answer::ok(OCTETS, content)),
        Ok(None) => Err(missing(key)),
        Err(error) => Err(failed(&error)),
    }
}

/// PUT and POST.
pub async fn save<B: Backend>(exchange: &Exchange<'_, B>, body: Incoming, key: BackupKey<'_>) -> Outcome {
    let sum = sum(key)
        .ok_or_else(|| Refusal::bad_request("the key is no sha256/<sum> or md5/<sum> in lower hex"))?;
    let settings = exchange.settings;
    let rules = BodyRules { cap: settings.filebucket_cap, deadline: settings.body_deadline, json: true };
    let content = exchange.read(body, rules).await?;
    match exchange.backend.filebucket().put(&sum, &content.bytes).await {
        Ok(()) => Ok(Answer::empty(StatusCode::OK, Some(OCTETS))),
        Err(Error::Sum(text)) => Err(Refusal::bad_request(text)),
        Err(error) => Err(failed(&error)),
    }
}

fn sum(key: BackupKey<'_>) -> Option<String> {
    let digits = match key.kind {
        "sha256" => 64,
        "md5" => 32,
        _ => return None,
    };
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (key.sum.len() == digits && key.sum.bytes().all(hex)).then(|| key.sum.to_owned())
}

fn missing(key: BackupKey<'_>) -> Refusal {
    let shown = |text: &str| text.chars().take(64).collect::<String>();
    Refusal::not_found(&format!("file_bucket_file {}/{}", shown(key.kind), shown(key.sum)))
}

fn failed(error: &Error) -> Refusal {
    tracing::error!(%error, "the filebucket failed");
    Refusal { status: StatusCode::SERVICE_UNAVAILABLE, ..Refusal::internal() }
}
