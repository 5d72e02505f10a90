//! PUT `/puppet/v3/report`: what a run did.

use std::sync::Arc;

use axum::extract::{Request, State};

use crate::answer::{self, JSON, Outcome, Refusal};
use crate::backend::Backend;
use crate::body::{BodyRules, check_depth};
use crate::extract::{Environment, Own, SentJson};
use crate::server::Shared;

/// PUT `report/<certname>`. The answer is the names of what processed the report: agents insist on
/// a body and its content type.
pub async fn save<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    Own(certname): Own,
    _: Environment,
    _: SentJson,
    request: Request,
) -> Outcome {
    let settings = &shared.settings;
    let rules = BodyRules { cap: settings.report_cap, deadline: settings.body_deadline, json: true };
    let report = shared.memory.read(request, rules).await?;
    let text =
        std::str::from_utf8(&report.bytes).map_err(|_| Refusal::bad_request("the report is not UTF-8"))?;
    check_depth(text.as_bytes()).map_err(Refusal::bad_request)?;
    shared.backend.save_report(&certname, report.bytes.clone()).await?;
    Ok(answer::ok(JSON, r#"["store"]"#))
}
