//! Which path leads where, and who may take it: the one table of both.
//!
//! The router matches the canonical path of `target.rs`, and so does [`admit`]: a name is compared
//! as the route gets it. A method or path below a known mount that has no row is forbidden, as with
//! the peer; a path outside of the mounts is not found.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::handler::Handler;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{self, MethodRouter, head, post, put};

use crate::answer::Refusal;
use crate::backend::Backend;
use crate::extract::Asked;
use crate::routes::{ca, catalog, filebucket, files, node, report, status};
use crate::server::Shared;

/// Who may take a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// Also a stranger without a certificate.
    Anyone,
    /// Whoever holds a certificate of the CA.
    Holder,
    /// Only the holder of the certificate of the name in the path.
    Owner,
}

/// The routes.
pub fn table<B: Backend>() -> Router<Arc<Shared<B>>> {
    use Who::{Anyone, Holder, Owner};
    let ca = mount([
        ("/certificate/ca", Anyone, get(ca::bundle::<B>)),
        ("/certificate/{name}", Anyone, get(ca::certificate::<B>)),
        ("/certificate_request/{name}", Anyone, get(ca::pending_request::<B>).put(ca::submit::<B>)),
        ("/certificate_revocation_list/{any}", Anyone, get(ca::crl::<B>)),
        ("/certificate_renewal", Holder, post(ca::renew::<B>)),
    ]);
    let backup = head(filebucket::find::<B>).get(filebucket::read::<B>);
    let backup = backup.put(filebucket::save::<B>).post(filebucket::save::<B>);
    let puppet = mount([
        ("/node/{certname}", Owner, get(node::node::<B>)),
        ("/environments", Holder, get(node::environments::<B>)),
        ("/catalog/{certname}", Owner, get(catalog::compile::<B>).post(catalog::compile::<B>)),
        ("/facts/{certname}", Owner, put(catalog::save_facts::<B>)),
        ("/report/{certname}", Owner, put(report::save::<B>)),
        ("/file_metadata/{*key}", Holder, get(files::metadata::<B>)),
        ("/file_metadatas/{*key}", Holder, get(files::metadatas::<B>)),
        ("/file_content/{*key}", Holder, get(files::content::<B>)),
        ("/file_bucket_file/{*key}", Holder, backup),
    ]);
    let status = mount([
        ("/simple", Anyone, get(status::simple::<B>)),
        ("/simple/{service}", Anyone, get(status::simple::<B>)),
        ("/services", Anyone, get(status::services::<B>)),
        ("/services/{service}", Anyone, get(status::services::<B>)),
    ]);
    Router::new()
        .nest("/puppet-ca/v1", ca)
        .nest("/puppet/v3", puppet)
        .nest("/status/v1", status)
        .method_not_allowed_fallback(forbid)
        .fallback(no_route)
}

/// A row has to say who may, so none is open by being forgotten.
fn mount<S, const ROWS: usize>(rows: [(&str, Who, MethodRouter<S>); ROWS]) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    rows.into_iter().fold(Router::new(), |router, (path, who, methods)| {
        router.route(path, methods.route_layer(from_fn_with_state(who, admit)))
    })
}

/// GET alone: axum's own would also answer HEAD, which the peer's rules do not name.
fn get<H, T, S>(handler: H) -> MethodRouter<S>
where
    H: Handler<T, S>,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    routing::get(handler).head(forbid)
}

/// Lets those through who may take the route.
async fn admit(
    State(who): State<Who>,
    asked: Asked,
    name: Option<Path<String>>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let allowed = match (who, asked.peer().certname(), name) {
        (Who::Anyone, _, _) | (Who::Holder, Some(_), _) => true,
        (Who::Owner, Some(certname), Some(Path(name))) => certname.as_str() == name,
        _ => false,
    };
    if allowed { Ok(next.run(request).await) } else { Err(asked.forbid()) }
}

/// A method that a path does not have.
async fn forbid(asked: Asked) -> Refusal {
    asked.forbid()
}

/// A path that is not in the table.
async fn no_route(asked: Asked) -> Refusal {
    match asked.target.segments().as_slice() {
        ["puppet-ca", "v1", ..] | ["puppet", "v3" | "v4", ..] | ["puppet-admin-api", ..] => asked.forbid(),
        _ => Refusal::text(StatusCode::NOT_FOUND, "Not Found"),
    }
}
