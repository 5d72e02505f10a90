//! `/status/v1`: whether the master is well, for agents with a `server_list`, the CA's command line
//! and load balancers. Anyone may ask, so nobody is told what is wrong; the log says that, and
//! `/bunraku/v1/ca/status` to administrators.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use master::Status;
use serde_json::{Value, json};

use crate::answer::{self, JSON, Outcome, Refusal, TEXT};
use crate::backend::Backend;
use crate::extract::Asked;
use crate::server::Shared;

/// The services of the peer that have a counterpart here, but for the CA, which not every master has.
/// `master` is what agents of 5.x ask for.
const SERVICES: &[&str] = &["master", "server", "status-service"];
const CA: &str = "ca";
/// What the CA can do, in the peer's versions: from this one on it has `sign` and `sign/all`, which its
/// command line looks for (2.6 and later).
const CA_VERSION: &str = "8.4.0";

/// GET `simple[/<service>]`.
pub async fn simple<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    service: Option<Path<String>>,
) -> Outcome {
    let found = shared.backend.status().await;
    let ready = match &service {
        Some(Path(name)) => of_service(name, &found)?,
        None => found.ready,
    };
    let (status, state) = state(ready);
    Ok((status, answer::ok(TEXT, state)).into_response())
}

/// GET `services[/<service>]`.
pub async fn services<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    asked: Asked,
    service: Option<Path<String>>,
) -> Outcome {
    let level = match asked.query().one("level") {
        Ok(Some(level @ ("critical" | "debug"))) => level,
        _ => "info",
    };
    let found = shared.backend.status().await;
    let about = |name: &str, ready: bool| {
        let version = if name == CA { CA_VERSION } else { env!("CARGO_PKG_VERSION") };
        json!({
            "service_version": version, "service_status_version": 1, "detail_level": level,
            "state": state(ready).1, "status": {}, "active_alerts": [],
        })
    };
    if let Some(Path(name)) = service {
        let ready = of_service(&name, &found)?;
        let mut about = about(&name, ready);
        if let Value::Object(map) = &mut about {
            map.insert("service_name".to_owned(), name.into());
        }
        return Ok((state(ready).0, answer::json(JSON, &about)?).into_response());
    }
    let names = SERVICES.iter().copied().chain(found.ca.is_some().then_some(CA));
    let all: BTreeMap<_, _> =
        names.map(|name| (name, about(name, of_service(name, &found).unwrap_or_default()))).collect();
    Ok((state(found.ready).0, answer::json(JSON, &all)?).into_response())
}

/// Whether a service is well: the CA by itself, as its tools ask for it alone, all others with all.
fn of_service(name: &str, found: &Status) -> Result<bool, Refusal> {
    match (name, &found.ca) {
        (CA, Some(wrong)) => Ok(wrong.is_empty()),
        _ if SERVICES.contains(&name) => Ok(found.ready),
        _ => {
            let name: String = name.chars().take(64).collect();
            Err(Refusal::text(StatusCode::NOT_FOUND, format!("not found: {name}")))
        }
    }
}

fn state(ready: bool) -> (StatusCode, &'static str) {
    match ready {
        true => (StatusCode::OK, "running"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "error"),
    }
}
