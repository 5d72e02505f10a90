//! `/puppet/v3/node` and `/puppet/v3/environments`: what a node is, and what there is to be.

use serde_json::{Map, json};

use crate::answer::{Answer, JSON, Outcome};
use crate::backend::Backend;
use crate::exchange::{AS_JSON, Exchange, no_environment};

/// GET `node/<certname>`: agents read the environment of it.
pub async fn node<B: Backend>(exchange: &Exchange<'_, B>) -> Outcome {
    let certname = exchange.certname()?;
    let environment = exchange.environment()?;
    let content_type = exchange.accepted(AS_JSON)?;
    if !exchange.backend.environment_exists(environment) {
        return Err(no_environment(environment));
    }
    let node = exchange.backend.node(&certname, environment, exchange.peer).await?;
    Ok(Answer { content_type: Some(content_type), ..Answer::json(&node)? })
}

/// GET `environments`. The peer's answer has the server's folders in it; nobody needs them.
pub fn environments<B: Backend>(exchange: &Exchange<'_, B>) -> Outcome {
    exchange.accepted(AS_JSON)?;
    let settings = json!({"settings": {"modulepath": [], "manifest": "", "environment_timeout": 0, "config_version": ""}});
    let names = exchange.backend.environments().into_iter();
    let environments: Map<_, _> = names.map(|name| (name, settings.clone())).collect();
    Ok(Answer::ok(JSON, json!({"search_paths": [], "environments": environments}).to_string()))
}
