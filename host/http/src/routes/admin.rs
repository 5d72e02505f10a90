//! `/puppet-ca/v1` for administrators: statuses, signing, revoking, cleaning, uploads.
//!
//! Status, words and media types are the peer's (recordings 02, 18, 19, 37), for its tools compare them.
//! Where the peer is unsafe we differ: what is deleted is revoked too, several requests of one name
//! wait side by side, and signing one of those takes its fingerprint.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State as Of};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use master::{CertificateStatus, Failed, Revoke, State};
use pki::crl::Reason;
use serde_json::{Map, Value, json};
use tracing::Instrument;

use crate::answer::{self, JSON, Outcome, PEM, Refusal, TEXT};
use crate::backend::Backend;
use crate::body::BodyRules;
use crate::extract::{Asked, By, bad_pairs, sent_as};
use crate::json;
use crate::server::Shared;

/// JSON as the peer labels it on the routes that came later.
const PLAIN_JSON: &str = "application/json";
/// What a certificate's new status may be sent as; nothing said is fine, too.
const STATUS_TYPES: &[&str] = &["application/json", "text/pson", "pson"];

/// GET `certificate_status/<name>`.
pub async fn status<B: Backend>(Of(shared): Of<Arc<Shared<B>>>, Path(name): Path<String>) -> Outcome {
    let found = shared.backend.statuses_of(&name).await.map_err(exact)?;
    match json::Status::of_name(found) {
        Some(status) => answer::json(JSON, &status),
        None => Err(Refusal::exact(StatusCode::NOT_FOUND, "Resource not found.")),
    }
}

/// PUT `certificate_status/<name>`: `{"desired_state": "signed"|"revoked"}`, with `cert_ttl` (seconds)
/// and `fingerprint` (of one of several requests) for the former.
pub async fn set_status<B: Backend>(
    Of(shared): Of<Arc<Shared<B>>>,
    By(by): By,
    Path(name): Path<String>,
    headers: HeaderMap,
    request: Request,
) -> Outcome {
    let body = read(&shared, request, shared.settings.admin_cap).await?;
    let wanted = Wanted::read(&name, &json::value(&body)?)?;
    if headers.contains_key(CONTENT_TYPE) && sent_as(&headers, STATUS_TYPES).is_err() {
        return Err(Refusal::exact(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported media type."));
    }
    let backend = shared.backend.clone();
    to_the_end(async move {
        match wanted {
            Wanted::Signed { lifetime, fingerprint } => {
                backend.sign(&name, fingerprint.as_deref(), lifetime, &by).await
            }
            Wanted::Revoked => {
                let reason = Reason::KeyCompromise;
                backend.revoke(&Revoke::Name(name), reason, &by).await.map(|_| ())
            }
        }
    })
    .await?;
    Ok(answer::empty(StatusCode::NO_CONTENT, PEM))
}

/// DELETE `certificate_status/<name>`.
pub async fn remove<B: Backend>(
    Of(shared): Of<Arc<Shared<B>>>,
    By(by): By,
    Path(name): Path<String>,
) -> Outcome {
    let backend = shared.backend.clone();
    match to_the_end(async move { backend.delete(&name, &by).await }).await? {
        true => Ok(answer::empty(StatusCode::NO_CONTENT, JSON)),
        false => Err(Refusal::exact(StatusCode::NOT_FOUND, "Resource not found.")),
    }
}

/// GET `certificate_statuses/`.
pub async fn no_segment() -> Refusal {
    Refusal::exact(StatusCode::BAD_REQUEST, "Missing URL Segment")
}

/// GET `certificate_statuses/<anything>[?state=…]`: a list that may be long, and so is read while it is
/// sent.
pub async fn statuses<B: Backend>(Of(shared): Of<Arc<Shared<B>>>, asked: Asked) -> Outcome {
    let state = match asked.query().one("state") {
        Ok(Some("requested")) => Some(State::Requested),
        Ok(Some("signed")) => Some(State::Signed),
        Ok(Some("revoked")) => Some(State::Revoked),
        // As the peer does.
        _ => None,
    };
    // What fails now can still be said with a status.
    let first = shared.backend.statuses(state, None).await.map_err(exact)?;
    let (mut sender, body) = answer::channel();
    let backend = shared.backend.clone();
    let sending = async move {
        let (mut page, mut any) = (first, false);
        if sender.send_data(Bytes::from_static(b"[")).await.is_err() {
            return;
        }
        loop {
            if !page.entries.is_empty() {
                let Some(text) = listed(any, page.entries).await else { return sender.abort(cut()) };
                any = true;
                if sender.send_data(text.into()).await.is_err() {
                    // Nobody reads on.
                    return;
                }
            }
            let Some(next) = page.next else { break };
            page = match backend.statuses(state, Some(next)).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::error!(%error, "a list of certificates was cut short");
                    return sender.abort(cut());
                }
            };
        }
        // Whoever is gone does not miss it.
        let _ = sender.send_data(Bytes::from_static(b"]")).await;
    };
    tokio::spawn(sending.in_current_span());
    Ok(answer::ok(JSON, body))
}

/// POST `sign`: `{"certnames": […]}`.
pub async fn sign<B: Backend>(Of(shared): Of<Arc<Shared<B>>>, By(by): By, request: Request) -> Outcome {
    let body = read(&shared, request, shared.settings.admin_cap).await?;
    let submitted = json::value(&body).ok().and_then(|mut body| body.get_mut("certnames").map(Value::take));
    let Some(names) = submitted.as_ref().and_then(strings) else {
        let violation = json!({
            "kind": "schema-violation", "submitted": submitted,
            "error": "certnames must be an array of strings",
        });
        let body = answer::ok(PLAIN_JSON, violation.to_string());
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, body).into_response());
    };
    sign_several(&shared, Some(names), by).await
}

/// POST `sign/all`.
pub async fn sign_all<B: Backend>(Of(shared): Of<Arc<Shared<B>>>, By(by): By) -> Outcome {
    sign_several(&shared, None, by).await
}

async fn sign_several<B: Backend>(
    shared: &Shared<B>,
    names: Option<Vec<String>>,
    by: master::Administrator,
) -> Outcome {
    let backend = shared.backend.clone();
    let signing = to_the_end(async move { backend.sign_several(names, &by).await }).await?;
    let body = json!({"signed": signing.signed, "no-csr": signing.no_csr, "signing-errors": signing.errors});
    answer::json(PLAIN_JSON, &body)
}

/// PUT `clean`: `{"certnames": […]}`.
pub async fn clean<B: Backend>(Of(shared): Of<Arc<Shared<B>>>, By(by): By, request: Request) -> Outcome {
    let refuse = |text: &str| Refusal::exact(StatusCode::BAD_REQUEST, text).labelled(PEM);
    let body = read(&shared, request, shared.settings.admin_cap).await?;
    let body = json::value(&body).map_err(|refusal| refusal.labelled(PEM))?;
    if body.get("async") == Some(&Value::Bool(true)) {
        return Err(refuse("Async mode is not currently supported."));
    }
    let Some(names) = body.get("certnames").and_then(strings) else {
        return Err(refuse(
            "Missing required key: 'certnames'. Please supply the list of certs you want to clean.",
        ));
    };
    let backend = shared.backend.clone();
    let missing = to_the_end(async move { backend.clean(&names, &by).await }).await?;
    if missing.is_empty() {
        return Ok(answer::ok(PEM, "Successfully cleaned all certs."));
    }
    let missing: Vec<String> = missing.iter().map(|name| Value::from(name.as_str()).to_string()).collect();
    let text = format!("The following certs do not exist and cannot be revoked: [{}]", missing.join(" "));
    Ok(answer::ok(PEM, text))
}

/// GET `expirations`.
pub async fn expirations<B: Backend>(Of(shared): Of<Arc<Shared<B>>>) -> Outcome {
    let found = shared.backend.expirations().map_err(exact)?;
    let named = |ends: Vec<(String, time::OffsetDateTime)>| -> Map<String, Value> {
        ends.into_iter().map(|(name, end)| (name, json::instant(end).into())).collect()
    };
    answer::json(PLAIN_JSON, &json!({"ca-certs": named(found.ca_certs), "crls": named(found.crls)}))
}

/// PUT `certificate_revocation_list`: newer lists of the CAs above.
pub async fn upload_crls<B: Backend>(
    Of(shared): Of<Arc<Shared<B>>>,
    By(by): By,
    request: Request,
) -> Outcome {
    let pem = read(&shared, request, shared.settings.crl_cap).await?;
    let backend = shared.backend.clone();
    to_the_end(async move { backend.upload_crls(&pem, &by).await }).await?;
    Ok(answer::ok(TEXT, "Successfully updated CRLs."))
}

/// DELETE `certificate_request/<name>[?fingerprint=…]`: all that wait for the name, or that one.
pub async fn forget_request<B: Backend>(
    Of(shared): Of<Arc<Shared<B>>>,
    By(by): By,
    asked: Asked,
    Path(name): Path<String>,
) -> Outcome {
    let fingerprint = asked.query().one("fingerprint").map_err(|error| bad_pairs(&error))?;
    match shared.backend.forget_request(&name, fingerprint, &by).await.map_err(exact)? {
        true => Ok(answer::empty(StatusCode::NO_CONTENT, PEM)),
        false => Err(Refusal::exact(StatusCode::NOT_FOUND, format!("No certificate request for {name}"))),
    }
}

/// What a certificate's status is to become.
#[derive(Debug, PartialEq)]
enum Wanted {
    Signed { lifetime: Option<Duration>, fingerprint: Option<String> },
    Revoked,
}

impl Wanted {
    fn read(name: &str, body: &Value) -> Result<Wanted, Refusal> {
        let refuse = |text: String| Refusal::exact(StatusCode::BAD_REQUEST, text);
        let Some(state) = body.get("desired_state").and_then(Value::as_str) else {
            return Err(refuse("Missing required parameter \"desired_state\"".to_owned()));
        };
        let lifetime = match body.get("cert_ttl") {
            None | Some(Value::Null) => None,
            Some(ttl) => match ttl.as_u64() {
                Some(seconds) => Some(Duration::from_secs(seconds)),
                None => {
                    let ttl = ttl.as_str().map_or_else(|| ttl.to_string(), str::to_owned);
                    let text =
                        format!("cert_ttl specified for host {name} must be an integer, not \"{ttl}\"");
                    return Err(refuse(text));
                }
            },
        };
        let fingerprint = body.get("fingerprint").and_then(Value::as_str).map(str::to_owned);
        match state {
            "signed" => Ok(Wanted::Signed { lifetime, fingerprint }),
            "revoked" => Ok(Wanted::Revoked),
            other => Err(refuse(format!(
                "State {other} invalid; Must specify desired state of 'signed' or 'revoked' for host {name}."
            ))),
        }
    }
}

/// A part of the list, an entry a line; with a comma before it, if there is something to go on from.
async fn listed(goes_on: bool, entries: Vec<CertificateStatus>) -> Option<String> {
    // Digests of hundreds take a while.
    let listing = tokio::task::spawn_blocking(move || {
        let lines = entries.into_iter().map(|entry| serde_json::to_string(&json::Status::of(entry)));
        let lines = lines.collect::<Result<Vec<_>, _>>().ok()?.join(",\n");
        Some(if goes_on { format!(",\n{lines}") } else { lines })
    });
    listing.await.ok().flatten()
}

fn cut() -> std::io::Error {
    std::io::Error::other("the list could not be read to its end")
}

fn strings(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

/// Reads a body of an administrator.
pub async fn read<B>(shared: &Shared<B>, request: Request, cap: usize) -> Result<Bytes, Refusal> {
    let rules = BodyRules { cap, deadline: shared.settings.body_deadline, json: false };
    Ok(shared.memory.read(request, rules).await?.bytes)
}

/// Does something to its end, though who asked for it should hang up meanwhile.
///
/// # Errors
/// What fails, word for word.
pub async fn to_the_end<T: Send + 'static>(
    doing: impl Future<Output = Result<T, Failed>> + Send + 'static,
) -> Result<T, Refusal> {
    undisturbed(doing).await?.map_err(exact)
}

/// The same of what fails in its own way.
///
/// # Errors
/// A 500 where it fell over.
pub async fn undisturbed<T: Send + 'static>(
    doing: impl Future<Output = T> + Send + 'static,
) -> Result<T, Refusal> {
    let fell = |_| Refusal { issue_kind: None, ..Refusal::internal() };
    tokio::spawn(doing.in_current_span()).await.map_err(fell)
}

/// A failure in text, word for word.
pub fn exact(failed: Failed) -> Refusal {
    Refusal { issue_kind: None, exact: true, ..Refusal::from(failed) }
}

/// An answer without a body.
pub fn done() -> Response {
    answer::empty(StatusCode::NO_CONTENT, TEXT)
}

#[cfg(test)]
mod tests {
    use super::*;

    // recording 18
    #[test]
    fn a_wish_is_read_and_refused_in_the_peers_words() {
        let check = |body: Value, expected: Result<Wanted, &str>| {
            let found = Wanted::read("a.test", &body).map_err(|refusal| {
                assert_eq!(refusal.status, StatusCode::BAD_REQUEST);
                refusal.message
            });
            assert_eq!(found, expected.map_err(str::to_owned), "{body}");
        };
        let signed = |seconds: Option<u64>, fingerprint: Option<&str>| {
            let lifetime = seconds.map(Duration::from_secs);
            Ok(Wanted::Signed { lifetime, fingerprint: fingerprint.map(str::to_owned) })
        };
        check(json!({"desired_state": "signed"}), signed(None, None));
        check(json!({"desired_state": "signed", "cert_ttl": null}), signed(None, None));
        check(json!({"desired_state": "signed", "cert_ttl": 3600}), signed(Some(3600), None));
        check(json!({"desired_state": "signed", "fingerprint": "AA:BB"}), signed(None, Some("AA:BB")));
        check(json!({"desired_state": "revoked"}), Ok(Wanted::Revoked));
        let missing = Err("Missing required parameter \"desired_state\"");
        check(json!({}), missing);
        check(json!([]), Err("Missing required parameter \"desired_state\""));
        check(json!({"desired_state": null}), Err("Missing required parameter \"desired_state\""));
        let burned =
            "State burned invalid; Must specify desired state of 'signed' or 'revoked' for host a.test.";
        check(json!({"desired_state": "burned"}), Err(burned));
        for (ttl, shown) in [(json!("x"), "x"), (json!(1.5), "1.5"), (json!(-1), "-1"), (json!(true), "true")]
        {
            let text = format!("cert_ttl specified for host a.test must be an integer, not \"{shown}\"");
            check(json!({"desired_state": "signed", "cert_ttl": ttl}), Err(&text));
        }
    }
}
