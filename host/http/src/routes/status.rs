//! `/status/v1`: whether the master is well, for agents with a `server_list`, the CA's command line
//! and load balancers. Anyone may ask, so nobody is told what is wrong; the log says that.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use crate::answer::{self, JSON, Outcome, Refusal, TEXT};
use crate::backend::Backend;
use crate::extract::Asked;
use crate::server::Shared;

/// The services of the peer that have a counterpart here. `master` is what agents of 5.x ask for.
const SERVICES: &[&str] = &["ca", "master", "server", "status-service"];

/// GET `simple[/<service>]`.
pub async fn simple<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    service: Option<Path<String>>,
) -> Outcome {
    known(service.as_deref())?;
    let (status, state) = state(&shared).await;
    Ok((status, answer::ok(TEXT, state)).into_response())
}

/// GET `services[/<service>]`. The version is below 8.4.0, which keeps the CA's command line on the
/// endpoints that we have.
pub async fn services<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    asked: Asked,
    service: Option<Path<String>>,
) -> Outcome {
    known(service.as_deref())?;
    let level = match asked.query().one("level") {
        Ok(Some(level @ ("critical" | "debug"))) => level,
        _ => "info",
    };
    let (status, state) = state(&shared).await;
    let about = json!({
        "service_version": env!("CARGO_PKG_VERSION"), "service_status_version": 1, "detail_level": level,
        "state": state, "status": {}, "active_alerts": [],
    });
    let answer = match service {
        Some(Path(name)) => {
            let mut about = about;
            if let Value::Object(map) = &mut about {
                map.insert("service_name".to_owned(), name.into());
            }
            answer::json(JSON, &about)?
        }
        None => answer::json(JSON, &SERVICES.iter().map(|name| (*name, &about)).collect::<BTreeMap<_, _>>())?,
    };
    Ok((status, answer).into_response())
}

async fn state<B: Backend>(shared: &Shared<B>) -> (StatusCode, &'static str) {
    match shared.backend.status().await.ready {
        true => (StatusCode::OK, "running"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "error"),
    }
}

fn known(service: Option<&String>) -> Result<(), Refusal> {
    match service {
        Some(name) if !SERVICES.contains(&name.as_str()) => {
            let name: String = name.chars().take(64).collect();
            Err(Refusal::text(StatusCode::NOT_FOUND, format!("not found: {name}")))
        }
        _ => Ok(()),
    }
}
