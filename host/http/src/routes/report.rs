//! PUT `/puppet/v3/report`: what a run did.

use crate::answer::{Answer, JSON, Outcome, Refusal};
use crate::backend::Backend;
use crate::body::{BodyRules, check_depth};
use crate::exchange::{Exchange, SENT_JSON};
use hyper::body::Incoming;

/// PUT `report/<certname>`. The answer is the names of what processed the report: agents insist on
/// a body and its content type.
pub async fn save<B: Backend>(exchange: &Exchange<'_, B>, body: Incoming) -> Outcome {
    let certname = exchange.certname()?;
    exchange.environment()?;
    exchange.sent_as(SENT_JSON)?;
    let settings = exchange.settings;
    let rules = BodyRules { cap: settings.report_cap, deadline: settings.body_deadline, json: true };
    let report = exchange.read(body, rules).await?;
    let text =
        std::str::from_utf8(&report.bytes).map_err(|_| Refusal::bad_request("the report is not UTF-8"))?;
    check_depth(text.as_bytes()).map_err(Refusal::bad_request)?;
    exchange.backend.save_report(&certname, report.bytes.clone()).await?;
    Ok(Answer::ok(JSON, r#"["store"]"#))
}
