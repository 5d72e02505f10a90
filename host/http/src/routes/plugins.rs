//! `/bunraku/v1/plugins`: which set of plugins decides, and how another one comes to. Bodies are JSON, but
//! for components; refusals are one line of text, and a set that cannot be staged is 422 with all that is
//! wrong with it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use master::Administrator;
use master::plugins::{Candidate, Origin, Replacement, Unstaged};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{self, JSON, Outcome, Refusal};
use crate::backend::Backend;
use crate::connection;
use crate::extract::{Asked, By, bad_pairs};
use crate::json;
use crate::routes::admin::{exact, read, to_the_end, undisturbed};
use crate::server::Shared;

/// Events told where nobody says how many, and the most.
const EVENTS: u32 = 50;
const MOST_EVENTS: u32 = 1000;
/// Characters of a reason for a rollback.
const REASON_CHARS: usize = 500;

/// What POST `stage` takes: one of the three.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StageBody {
    config: Option<bool>,
    replace: Option<Replacement>,
    set: Option<Value>,
}

/// What POST `shadow` takes; `null` ends the shadow, and has to be said.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShadowBody {
    #[serde(deserialize_with = "Option::deserialize")]
    set: Option<String>,
}

/// What POST `promote` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PromoteBody {
    set: Option<String>,
    #[serde(default)]
    force: bool,
}

/// What POST `swap` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SwapBody {
    set: String,
    #[serde(default)]
    force: bool,
}

/// What POST `rollback` takes; the set before the live one where none is named.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RollbackBody {
    to: Option<String>,
    #[serde(default)]
    reason: String,
}

/// GET `plugins`: the live set, the shadow and those that are staged.
pub async fn describe<B: Backend>(State(shared): State<Arc<Shared<B>>>) -> Outcome {
    answer::json(JSON, &shared.backend.describe_plugins().await.map_err(exact)?)
}

/// GET `shadow`: how the shadow does; `null` where there is none.
pub async fn describe_shadow<B: Backend>(State(shared): State<Arc<Shared<B>>>) -> Outcome {
    answer::json(JSON, &shared.backend.describe_shadow())
}

/// GET `history[?limit=]`: newest first.
pub async fn history<B: Backend>(State(shared): State<Arc<Shared<B>>>, asked: Asked) -> Outcome {
    let limit = match asked.query().one("limit").map_err(|error| bad_pairs(&error))? {
        None => EVENTS,
        Some(text) => match text.parse::<u32>() {
            Ok(limit) if (1..=MOST_EVENTS).contains(&limit) => limit,
            _ => return Err(violation(format!("`limit` is a number from 1 to {MOST_EVENTS}"))),
        },
    };
    answer::json(JSON, &shared.backend.plugin_history(limit).await.map_err(exact)?)
}

/// POST `components[?signature=BASE64]`: keeps a component; answers `{"digest": HEX}`.
pub async fn upload<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    By(by): By,
    asked: Asked,
    request: Request,
) -> Outcome {
    let signature = match asked.query().one("signature").map_err(|error| bad_pairs(&error))? {
        None => None,
        Some(text) => match STANDARD.decode(text) {
            Ok(bytes) => Some(bytes),
            Err(_) => return Err(violation("`signature` is no Base64; a + in a query is %2B".to_owned())),
        },
    };
    let bytes = read(&shared, request, shared.settings.component_cap).await?.to_vec();
    let (backend, origin) = (shared.backend.clone(), origin(&by, &asked));
    let kept = undisturbed(async move { backend.put_component(bytes, signature, origin).await }).await?;
    match kept {
        Ok(digest) => answer::json(JSON, &json!({"digest": digest})),
        Err(unstaged) => refused(unstaged),
    }
}

/// POST `stage`: answers `{"set": …, "probe": …}`.
pub async fn stage<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    By(by): By,
    asked: Asked,
    request: Request,
) -> Outcome {
    let body = read(&shared, request, shared.settings.admin_cap).await?;
    let candidate = match json::shaped(&body)? {
        StageBody { config: Some(true), replace: None, set: None } => Candidate::Config,
        StageBody { config: None, replace: Some(replacement), set: None } => Candidate::Replace(replacement),
        StageBody { config: None, replace: None, set: Some(set) } => {
            Candidate::read(set).map_err(violation)?
        }
        _ => {
            return Err(violation(
                "one of `config` (true), `replace` and `set` says what to stage".to_owned(),
            ));
        }
    };
    let (backend, origin) = (shared.backend.clone(), origin(&by, &asked));
    match undisturbed(async move { backend.stage_candidate(candidate, origin).await }).await? {
        Ok(staged) => answer::json(JSON, &staged),
        Err(unstaged) => refused(unstaged),
    }
}

/// POST `shadow`: answers as GET does.
pub async fn shadow<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    By(by): By,
    asked: Asked,
    request: Request,
) -> Outcome {
    let body = read(&shared, request, shared.settings.admin_cap).await?;
    let ShadowBody { set } = json::shaped(&body)?;
    let (backend, origin) = (shared.backend.clone(), origin(&by, &asked));
    let shadow = async move { backend.shadow_plugins(set.as_deref(), origin).await };
    answer::json(JSON, &to_the_end(shadow).await?)
}

/// POST `promote`: answers `{"from": ID, "to": ID}`.
pub async fn promote<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    By(by): By,
    asked: Asked,
    request: Request,
) -> Outcome {
    let body = read(&shared, request, shared.settings.admin_cap).await?;
    let PromoteBody { set, force } = json::shaped(&body)?;
    let (backend, origin) = (shared.backend.clone(), origin(&by, &asked));
    let promoted = async move { backend.promote_plugins(set.as_deref(), force, origin).await };
    answer::json(JSON, &to_the_end(promoted).await?)
}

/// POST `swap`: answers `{"from": ID, "to": ID}`.
pub async fn swap<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    By(by): By,
    asked: Asked,
    request: Request,
) -> Outcome {
    let body = read(&shared, request, shared.settings.admin_cap).await?;
    let SwapBody { set, force } = json::shaped(&body)?;
    let (backend, origin) = (shared.backend.clone(), origin(&by, &asked));
    let swapped = async move { backend.swap_plugins(&set, force, origin).await };
    answer::json(JSON, &to_the_end(swapped).await?)
}

/// POST `rollback`: answers `{"from": ID, "to": ID}`.
pub async fn rollback<B: Backend>(
    State(shared): State<Arc<Shared<B>>>,
    By(by): By,
    asked: Asked,
    request: Request,
) -> Outcome {
    let body = read(&shared, request, shared.settings.admin_cap).await?;
    let RollbackBody { to, reason } = json::shaped(&body)?;
    if reason.chars().count() > REASON_CHARS {
        return Err(violation(format!("`reason` has at most {REASON_CHARS} characters")));
    }
    let (backend, origin) = (shared.backend.clone(), origin(&by, &asked));
    let rolled = async move { backend.rollback_plugins(to.as_deref(), &reason, origin).await };
    answer::json(JSON, &to_the_end(rolled).await?)
}

/// Who it is, and over which way; the history keeps both.
fn origin(by: &Administrator, asked: &Asked) -> Origin {
    let by = match by {
        Administrator::Local { uid: 0 } => "root (uid 0)".to_owned(),
        Administrator::Local { uid } => format!("uid {uid}"),
        Administrator::Certname(name) => name.to_string(),
    };
    let from = match asked.connection.origin {
        connection::Origin::Local { .. } => "control socket".to_owned(),
        connection::Origin::Network(address) => address.to_string(),
    };
    Origin { by, from }
}

fn violation(text: impl std::fmt::Display) -> Refusal {
    Refusal::exact(StatusCode::UNPROCESSABLE_ENTITY, format!("schema-violation: {text}"))
}

/// All that keeps a set or a component from being taken.
fn refused(unstaged: Unstaged) -> Outcome {
    match unstaged {
        Unstaged::Failed(failed) => Err(exact(failed)),
        Unstaged::Problems(problems) => {
            let body = answer::json(JSON, &json!({"problems": problems}))?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, body).into_response())
        }
    }
}
