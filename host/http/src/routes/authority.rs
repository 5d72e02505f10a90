//! `/bunraku/v1/ca`: what administrators do to the CA that Puppet's API has no words for, and what
//! catalog masters tell it. Bodies are JSON; refusals are one line of text.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use ca::Revoked;
use master::{Metrics, Revoke};
use pki::crl::{Crl, Reason};
use pki::{Freshness, Serial, Trust};
use serde::Deserialize;
use serde_json::{Value, json};
use store::MasterRow;
use time::OffsetDateTime;

use crate::answer::{self, JSON, Outcome, Refusal};
use crate::backend::Backend;
use crate::extract::{Asked, By};
use crate::json;
use crate::routes::admin::{done, exact, read, to_the_end};
use crate::server::Shared;

/// What POST `revoke` takes: a serial in hexadecimal, or a name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RevokeBody {
    serial: Option<String>,
    certname: Option<String>,
    reason: Option<String>,
}

/// What POST `generate` takes; `ttl` in seconds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GenerateBody {
    csr: String,
    ttl: Option<u64>,
    #[serde(default)]
    admin: bool,
}

/// What POST `renew` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RenewBody {
    certname: String,
}

/// What PUT `masters/<name>` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MasterBody {
    #[serde(default)]
    dns_alt_names: Vec<String>,
}

/// What PUT `enforcing` takes; more may come from newer masters.
#[derive(Deserialize)]
struct EnforcingBody {
    crl_number: u64,
}

/// POST `revoke`: answers `{"outcome": "revoked"|"already"|"unknown"}`. The reason is the peer's,
/// `keyCompromise`, unless one is given.
pub async fn revoke<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    By(by): By,
    request: Request,
) -> Outcome {
    let body = read(&shared, request, shared.settings.admin_cap).await?;
    let body: RevokeBody = json::shaped(&body)?;
    let violation =
        |text: String| Refusal::exact(StatusCode::UNPROCESSABLE_ENTITY, format!("schema-violation: {text}"));
    let what = match (body.serial, body.certname) {
        (Some(serial), None) => match Serial::from_hex(&serial) {
            Ok(serial) => Revoke::Serial(serial),
            Err(error) => return Err(violation(error.to_string())),
        },
        (None, Some(name)) => Revoke::Name(name),
        _ => return Err(violation("either `serial` or `certname` says what to revoke".to_owned())),
    };
    let reason = match body.reason.as_deref() {
        None => Reason::KeyCompromise,
        Some(text) => Reason::parse(text)
            .ok_or_else(|| violation("`reason` is none of RFC 5280's that apply here".to_owned()))?,
    };
    let backend = shared.backend.clone();
    let outcome = match to_the_end(async move { backend.revoke(&what, reason, &by).await }).await? {
        Revoked::Done => "revoked",
        Revoked::Already => "already",
        Revoked::Unknown => "unknown",
    };
    answer::json(JSON, &json!({"outcome": outcome}))
}

/// POST `generate`: answers `{"certificate": PEM}`.
pub async fn generate<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    By(by): By,
    request: Request,
) -> Outcome {
    let body = read(&shared, request, shared.settings.admin_cap).await?;
    let GenerateBody { csr, ttl, admin } = json::shaped(&body)?;
    let (backend, lifetime) = (shared.backend.clone(), ttl.map(Duration::from_secs));
    let pem = to_the_end(async move { backend.generate(csr.as_bytes(), lifetime, admin, &by).await }).await?;
    answer::json(JSON, &json!({"certificate": pem}))
}

/// POST `renew`: answers `{"certificate": PEM}`.
pub async fn renew<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    By(by): By,
    request: Request,
) -> Outcome {
    let body = read(&shared, request, shared.settings.admin_cap).await?;
    let RenewBody { certname } = json::shaped(&body)?;
    let backend = shared.backend.clone();
    let pem = to_the_end(async move { backend.renew_name(&certname, &by).await }).await?;
    answer::json(JSON, &json!({"certificate": pem}))
}

/// POST `prune`: forgets what has expired; answers `{"cleaned": n, "crl_number": n}`.
pub async fn prune<B: Backend>(State(shared): State<Arc<Shared<B>>>, By(by): By) -> Outcome {
    let backend = shared.backend.clone();
    let cleaned = to_the_end(async move { backend.prune(&by).await }).await?;
    let number = shared.backend.watch_trust().borrow().number;
    answer::json(JSON, &json!({"cleaned": cleaned, "crl_number": number}))
}

/// GET `crl`: what the revocation lists are.
pub async fn describe_crl<B: Backend>(State(shared): State<Arc<Shared<B>>>) -> Outcome {
    let trust = shared.backend.watch_trust().borrow().clone();
    // A long list takes a while to read.
    let described = tokio::task::spawn_blocking(move || described(&trust)).await;
    answer::json(JSON, &described.unwrap_or_default())
}

/// POST `crl`: signs new lists now, and describes them.
pub async fn publish<B: Backend>(State(shared): State<Arc<Shared<B>>>, By(by): By) -> Outcome {
    let backend = shared.backend.clone();
    to_the_end(async move { backend.publish(&by).await }).await?;
    describe_crl(State(shared)).await
}

/// GET `masters`.
pub async fn masters<B: Backend>(State(shared): State<Arc<Shared<B>>>) -> Outcome {
    let masters = shared.backend.masters().await.map_err(exact)?;
    answer::json(JSON, &masters.iter().map(shown).collect::<Vec<_>>())
}

/// PUT `masters/<name>`.
pub async fn add_master<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    By(by): By,
    Path(name): Path<String>,
    request: Request,
) -> Outcome {
    let body = read(&shared, request, shared.settings.admin_cap).await?;
    let MasterBody { dns_alt_names } = json::shaped(&body)?;
    let backend = shared.backend.clone();
    to_the_end(async move { backend.add_master(&name, &dns_alt_names, &by).await }).await?;
    Ok(done())
}

/// DELETE `masters/<name>`.
pub async fn remove_master<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    By(by): By,
    Path(name): Path<String>,
) -> Outcome {
    match shared.backend.remove_master(&name, &by).await.map_err(exact)? {
        true => Ok(done()),
        false => Err(Refusal::exact(StatusCode::NOT_FOUND, format!("there is no master {name}"))),
    }
}

/// PUT `enforcing`: a master says which list it enforces.
pub async fn enforcing<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    asked: Asked,
    request: Request,
) -> Outcome {
    let body = read(&shared, request, shared.settings.request_cap).await?;
    let EnforcingBody { crl_number } = json::shaped(&body)?;
    match shared.backend.note_enforcing(asked.peer(), crl_number).await.map_err(exact)? {
        true => Ok(done()),
        // Its declaration was taken back just now.
        false => Err(asked.forbid()),
    }
}

/// GET `status`: all that there is to say of the CA, or of how it is followed.
pub async fn status<B: Backend>(State(shared): State<Arc<Shared<B>>>) -> Outcome {
    let status = shared.backend.status().await;
    let metrics = shared.backend.metrics().await.map_err(exact)?;
    let trust = &metrics.trust;
    let mut about = json!({
        "ready": status.ready,
        "why": status.why,
        "role": if status.ca.is_some() { "ca" } else { "catalog-master" },
        "ca": {
            "name": trust.bundle.issuer().subject_cn,
            "fingerprint": trust.bundle.issuer().fingerprint.to_string(),
            "bundle_fingerprint": trust.bundle.fingerprint().to_string(),
            "not_after": json::instant(trust.bundle.issuer().not_after),
        },
        "freshness": freshness(metrics.freshness),
        "crl": {
            "number": trust.number,
            "this_update": json::instant(trust.this_update),
            "next_update": json::instant(trust.next_update),
            "entries": trust.revoked.len(),
        },
    });
    if let Value::Object(fields) = &mut about {
        fields.extend(of_role(&metrics).into_iter().map(|(name, value)| (name.to_owned(), value)));
    }
    answer::json(JSON, &about)
}

/// What is there in one of the two roles only.
fn of_role(metrics: &Metrics) -> Vec<(&'static str, Value)> {
    let mut fields = Vec::new();
    if let Some(counts) = &metrics.counts {
        let counts = json!({
            "signed": counts.signed, "revoked": counts.revoked, "requests": counts.requests,
            "expiring_7d": counts.expiring_7d, "expiring_30d": counts.expiring_30d,
            "superseded": counts.superseded,
        });
        fields.push(("counts", counts));
        fields.push(("masters", metrics.masters.iter().map(shown).collect()));
    }
    if let Some(ca) = &metrics.ca {
        let signer = json!({"restarts": ca.signer_restarts, "crl_sign_seconds": ca.crl_sign_seconds});
        fields.push(("signer", signer));
        fields.push(("free_bytes", ca.free_bytes.into()));
    }
    if let Some(follow) = &metrics.follow {
        let follow = json!({
            "contact": follow.contact.map(json::instant), "refused": follow.refused,
            "reconnects": follow.reconnects,
        });
        fields.push(("follow", follow));
    }
    fields
}

/// The word for how old the lists are.
pub fn freshness(freshness: Freshness) -> &'static str {
    match freshness {
        Freshness::Fresh => "fresh",
        Freshness::Stale => "stale",
        Freshness::Expired => "expired",
    }
}

fn described(trust: &Trust) -> Value {
    let lists = Crl::parse_pem_all(trust.crls.as_bytes()).unwrap_or_default();
    let lists: Vec<Value> = lists
        .iter()
        .map(|list| {
            json!({
                "issuer": list.issuer, "number": list.number, "entries": list.entries.len(),
                "this_update": json::instant(list.this_update),
                "next_update": json::instant(list.next_update),
            })
        })
        .collect();
    json!({
        "number": trust.number, "this_update": json::instant(trust.this_update),
        "next_update": json::instant(trust.next_update), "entries": trust.revoked.len(),
        "bytes": trust.crls.len(), "lists": lists,
    })
}

fn shown(master: &MasterRow) -> Value {
    let at = |unix: i64| OffsetDateTime::from_unix_timestamp(unix).ok().map(json::instant);
    json!({
        "certname": master.certname, "alt_names": master.alt_names, "added_at": at(master.added_at),
        "crl_number": master.crl_number, "seen_at": master.seen_at.and_then(at), "address": master.address,
    })
}
