//! `/status/v1`: whether the master is well, for agents with a `server_list`, the CA's command line
//! and load balancers. Anyone may ask, so nobody is told what is wrong; the log says that.

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::answer::{Answer, Outcome, Refusal, TEXT};
use crate::backend::Backend;
use crate::exchange::Exchange;

/// The services of the peer that have a counterpart here. `master` is what agents of 5.x ask for.
const SERVICES: &[&str] = &["ca", "master", "server", "status-service"];

/// GET `simple[/<service>]`.
pub async fn simple<B: Backend>(exchange: &Exchange<'_, B>, service: Option<&str>) -> Outcome {
    known(service)?;
    match state(exchange).await {
        "running" => Ok(Answer::ok(TEXT, "running")),
        state => Ok(Answer { status: StatusCode::SERVICE_UNAVAILABLE, ..Answer::ok(TEXT, state) }),
    }
}

/// GET `services[/<service>]`. The version is below 8.4.0, which keeps the CA's command line on the
/// endpoints that we have.
pub async fn services<B: Backend>(exchange: &Exchange<'_, B>, service: Option<&str>) -> Outcome {
    known(service)?;
    let level = match exchange.query.one("level") {
        Ok(Some(level @ ("critical" | "debug"))) => level,
        _ => "info",
    };
    let state = state(exchange).await;
    let about = json!({
        "service_version": env!("CARGO_PKG_VERSION"), "service_status_version": 1, "detail_level": level,
        "state": state, "status": {}, "active_alerts": [],
    });
    let answer = match service {
        Some(name) => {
            let mut about = about;
            if let Value::Object(map) = &mut about {
                map.insert("service_name".to_owned(), name.into());
            }
            Answer::json(&about)?
        }
        None => Answer::json(
            &SERVICES.iter().map(|name| (*name, &about)).collect::<std::collections::BTreeMap<_, _>>(),
        )?,
    };
    let status = if state == "running" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(Answer { status, ..answer })
}

async fn state<B: Backend>(exchange: &Exchange<'_, B>) -> &'static str {
    if exchange.backend.status().await.ready { "running" } else { "error" }
}

fn known(service: Option<&str>) -> Result<(), Refusal> {
    match service {
        Some(name) if !SERVICES.contains(&name) => {
            let name: String = name.chars().take(64).collect();
            Err(Refusal::text(StatusCode::NOT_FOUND, format!("not found: {name}")))
        }
        _ => Ok(()),
    }
}
