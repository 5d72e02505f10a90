//! Which path leads where, and who may take it: the one table of both.
//!
//! The router matches the canonical path of `target.rs`, and so does [`admit`]: a name is compared
//! as the route gets it. A method or path below a known mount that has no row is forbidden, as with
//! the peer; a path outside of the mounts is not found.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::handler::Handler;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{self, MethodRouter, delete, head, post, put};
use time::OffsetDateTime;

use crate::answer::Refusal;
use crate::backend::Backend;
use crate::extract::Asked;
use crate::json;
use crate::metrics;
use crate::routes::{
    admin, authority, ca, catalog, components, filebucket, files, node, plugins, report, status, stream,
};
use crate::server::Shared;

/// Who may take a route. Over the control socket comes an administrator, who holds no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// Also a stranger without a certificate.
    Anyone,
    /// Whoever holds a certificate of the CA, and administrators.
    Holder,
    /// Only the holder of the certificate of the name in the path.
    Owner,
    /// An administrator of the CA: `pp_cli_auth` in the certificate, or named by the operator, or at
    /// the control socket.
    Administrator,
    /// A declared catalog master.
    Master,
    /// A declared catalog master, or an administrator.
    MasterOrAdministrator,
}

/// The routes.
pub fn table<B: Backend>(shared: &Arc<Shared<B>>) -> Router<Arc<Shared<B>>> {
    use Who::{Administrator, Anyone, Holder, Master, MasterOrAdministrator, Owner};
    let request = get(ca::pending_request::<B>).put(ca::submit::<B>);
    let certificate = get(admin::status::<B>).put(admin::set_status::<B>).delete(admin::remove::<B>);
    let ca = mount(
        shared,
        [
            ("/certificate/ca", Anyone, get(ca::bundle::<B>)),
            ("/certificate/{name}", Anyone, get(ca::certificate::<B>)),
            ("/certificate_request/{name}", Anyone, request),
            ("/certificate_request/{name}", Administrator, delete(admin::forget_request::<B>)),
            ("/certificate_revocation_list/{any}", Anyone, get(ca::crl::<B>)),
            ("/certificate_renewal", Holder, post(ca::renew::<B>)),
            ("/expirations", Holder, get(admin::expirations::<B>)),
            ("/certificate_status/{name}", Administrator, certificate),
            ("/certificate_statuses/", Administrator, get(admin::no_segment)),
            ("/certificate_statuses/{any}", Administrator, get(admin::statuses::<B>)),
            ("/certificate_revocation_list", Administrator, put(admin::upload_crls::<B>)),
            ("/clean", Administrator, put(admin::clean::<B>)),
            ("/sign", Administrator, post(admin::sign::<B>)),
            ("/sign/all", Administrator, post(admin::sign_all::<B>)),
        ],
    );
    let list = get(authority::describe_crl::<B>).post(authority::publish::<B>);
    let one = put(authority::add_master::<B>).delete(authority::remove_master::<B>);
    let shadow = get(plugins::describe_shadow::<B>).post(plugins::shadow::<B>);
    let own = mount(
        shared,
        [
            ("/ca/revoke", Administrator, post(authority::revoke::<B>)),
            ("/ca/generate", Administrator, post(authority::generate::<B>)),
            ("/ca/renew", Administrator, post(authority::renew::<B>)),
            ("/ca/prune", Administrator, post(authority::prune::<B>)),
            ("/ca/crl", Administrator, list),
            ("/ca/masters", Administrator, get(authority::masters::<B>)),
            ("/ca/masters/{name}", Administrator, one),
            ("/ca/status", Administrator, get(authority::status::<B>)),
            ("/ca/stream", Master, get(stream::follow::<B>)),
            ("/ca/enforcing", Master, put(authority::enforcing::<B>)),
            ("/plugins/components/{sha256}", MasterOrAdministrator, get(components::component::<B>)),
            ("/plugins", Administrator, get(plugins::describe::<B>)),
            ("/plugins/components", Administrator, post(plugins::upload::<B>)),
            ("/plugins/stage", Administrator, post(plugins::stage::<B>)),
            ("/plugins/shadow", Administrator, shadow),
            ("/plugins/promote", Administrator, post(plugins::promote::<B>)),
            ("/plugins/swap", Administrator, post(plugins::swap::<B>)),
            ("/plugins/rollback", Administrator, post(plugins::rollback::<B>)),
            ("/plugins/history", Administrator, get(plugins::history::<B>)),
        ],
    );
    let backup = head(filebucket::find::<B>).get(filebucket::read::<B>);
    let backup = backup.put(filebucket::save::<B>).post(filebucket::save::<B>);
    let puppet = mount(
        shared,
        [
            ("/node/{certname}", Owner, get(node::node::<B>)),
            ("/environments", Holder, get(node::environments::<B>)),
            ("/catalog/{certname}", Owner, get(catalog::compile::<B>).post(catalog::compile::<B>)),
            ("/facts/{certname}", Owner, put(catalog::save_facts::<B>)),
            ("/report/{certname}", Owner, put(report::save::<B>)),
            ("/file_metadata/{*key}", Holder, get(files::metadata::<B>)),
            ("/file_metadatas/{*key}", Holder, get(files::metadatas::<B>)),
            ("/file_content/{*key}", Holder, get(files::content::<B>)),
            ("/file_bucket_file/{*key}", Holder, backup),
        ],
    );
    let status = mount(
        shared,
        [
            ("/simple", Anyone, get(status::simple::<B>)),
            ("/simple/{service}", Anyone, get(status::simple::<B>)),
            ("/services", Anyone, get(status::services::<B>)),
            ("/services/{service}", Anyone, get(status::services::<B>)),
        ],
    );
    let metrics = mount(shared, [("/metrics", Administrator, get(metrics::metrics::<B>))]);
    Router::new()
        .nest("/puppet-ca/v1", ca)
        .nest("/bunraku/v1", own)
        .nest("/puppet/v3", puppet)
        .nest("/status/v1", status)
        .merge(metrics)
        .method_not_allowed_fallback(forbid)
        .fallback(no_route)
}

/// A path, who may take it, and where it leads.
type Row<B> = (&'static str, Who, MethodRouter<Arc<Shared<B>>>);

/// A row has to say who may, so none is open by being forgotten.
fn mount<B: Backend, const ROWS: usize>(
    shared: &Arc<Shared<B>>,
    rows: [Row<B>; ROWS],
) -> Router<Arc<Shared<B>>> {
    rows.into_iter().fold(Router::new(), |router, (path, who, methods)| {
        let state = (who, shared.clone());
        router.route(path, methods.route_layer(from_fn_with_state(state, admit::<B>)))
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
///
/// When the revocation lists have ended and the grace is over, no certificate is believed: its holder
/// is told so, and counts as a stranger where strangers may go.
async fn admit<B: Backend>(
    State((who, shared)): State<(Who, Arc<Shared<B>>)>,
    asked: Asked,
    name: Option<Path<String>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    if asked.peer().certificate.is_some()
        && let Some(ended) = shared.backend.lapsed(OffsetDateTime::now_utc())
    {
        if who != Who::Anyone {
            shared.gauges.lapsed.fetch_add(1, Ordering::Relaxed);
            return Err(lapsed(ended));
        }
        request.extensions_mut().insert(Arc::new(asked.connection.as_stranger()));
        return Ok(next.run(request).await);
    }
    let certname = asked.peer().certname();
    let administrator = asked.administrator(&shared.settings.admins);
    let allowed = match (who, certname, name) {
        (Who::Anyone, ..) | (Who::Holder, Some(_), _) => true,
        (Who::Holder, None, _) => asked.peer().certificate.is_none() && administrator.is_some(),
        (Who::Administrator, ..) => administrator.is_some(),
        (Who::Master, Some(certname), _) => shared.backend.is_master(certname),
        (Who::MasterOrAdministrator, ..) => {
            administrator.is_some() || certname.is_some_and(|name| shared.backend.is_master(name))
        }
        (Who::Owner, Some(certname), Some(Path(name))) => certname.as_str() == name,
        (Who::Owner | Who::Master, ..) => false,
    };
    if allowed { Ok(next.run(request).await) } else { Err(asked.forbid()) }
}

/// What whoever comes with a certificate is told when none is believed any more.
fn lapsed(ended: OffsetDateTime) -> Refusal {
    let message = format!(
        "the revocation list of the CA expired at {}; this master refuses certificates until it is renewed",
        json::instant(ended)
    );
    Refusal { close: true, ..Refusal::text(StatusCode::FORBIDDEN, message) }
}

/// A method that a path does not have.
async fn forbid(asked: Asked) -> Refusal {
    asked.forbid()
}

/// A path that is not in the table.
async fn no_route(asked: Asked) -> Refusal {
    match asked.target.segments().as_slice() {
        ["puppet-ca" | "bunraku", "v1", ..] | ["puppet", "v3" | "v4", ..] | ["puppet-admin-api", ..] => {
            asked.forbid()
        }
        _ => Refusal::text(StatusCode::NOT_FOUND, "Not Found"),
    }
}
