//! `/puppet/v3/node` and `/puppet/v3/environments`: what a node is, and what there is to be.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, json};

use crate::answer::{self, JSON, Outcome};
use crate::backend::Backend;
use crate::extract::{AsJson, Asked, Environment, Own, no_environment};
use crate::server::Shared;

/// GET `node/<certname>`: agents read the environment of it.
pub async fn node<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    asked: Asked,
    Own(certname): Own,
    Environment(environment): Environment,
    AsJson(content_type): AsJson,
) -> Outcome {
    if !shared.backend.environment_exists(&environment) {
        return Err(no_environment(&environment));
    }
    let node = shared.backend.node(&certname, &environment, asked.peer()).await?;
    answer::json(content_type, &node)
}

/// GET `environments`. The peer's answer has the server's folders in it; nobody needs them.
pub async fn environments<B: Backend>(State(shared): State<Arc<Shared<B>>>, _: AsJson) -> Response {
    let settings = json!({"settings": {"modulepath": [], "manifest": "", "environment_timeout": 0, "config_version": ""}});
    let names = shared.backend.environments().into_iter();
    let environments: Map<_, _> = names.map(|name| (name, settings.clone())).collect();
    answer::ok(JSON, json!({"search_paths": [], "environments": environments}).to_string())
}
