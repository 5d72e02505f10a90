//! The agent protocol over HTTPS: TLS, routes, and who may take which.
//!
//! It turns requests into calls of the use cases and their results into answers that unmodified
//! agents 7 and 8 understand. It never decides about a node (see `master`), never signs (see `ca`),
//! and takes nobody's word for who they are but the TLS certificate's, or the kernel's.
//!
//! | path | what | file |
//! |---|---|---|
//! | `/puppet-ca/v1/certificate/ca`, `…/certificate/<name>` | CA bundle, certificates | `routes/ca.rs` |
//! | `/puppet-ca/v1/certificate_request/<name>` | submit, and look at what waits | `routes/ca.rs` |
//! | `/puppet-ca/v1/certificate_revocation_list/ca` | revocation lists | `routes/ca.rs` |
//! | `/puppet-ca/v1/certificate_renewal` | renewal | `routes/ca.rs` |
//! | `/puppet-ca/v1/certificate_status(es)`, `sign`, `clean`, … | what administrators do | `routes/admin.rs` |
//! | `/bunraku/v1/ca/…` | what they do that Puppet's API has no words for; catalog masters | `routes/authority.rs` |
//! | `/bunraku/v1/ca/stream` | masters follow the revocation lists | `routes/stream.rs` |
//! | `/bunraku/v1/plugins/…` | sets of plugins: stage, shadow, swap, roll back | `routes/plugins.rs` |
//! | `/puppet/v3/node/<certname>`, `…/environments` | classification | `routes/node.rs` |
//! | `/puppet/v3/catalog/<certname>`, `…/facts/<certname>` | catalogs, facts | `routes/catalog.rs` |
//! | `/puppet/v3/report/<certname>` | reports | `routes/report.rs` |
//! | `/puppet/v3/file_metadata`, `file_metadatas`, `file_content` | plugins and module files | `routes/files.rs` |
//! | `/puppet/v3/file_bucket_file/…` | backups | `routes/filebucket.rs` |
//! | `/status/v1/simple`, `/status/v1/services` | health | `routes/status.rs` |
//! | `/metrics` | numbers, for administrators and on a port of its own | `metrics.rs` |
//!
//! A request passes `door.rs` (accept, caps), `connection.rs` (handshake, deadlines) or `control.rs` (the
//! local socket, where the kernel says who it is), the axum router
//! that is made once, and in it: `layers.rs` (request id, log, the certificate), `target.rs` (decode
//! the path, once), `route.rs` (which route, and who may), then its route. That takes what it needs
//! by the extractors of `extract.rs`, reads a body through `body.rs` and returns what `answer.rs`
//! has, which `gzip.rs` may compress.

mod access_log;
mod administration;
mod answer;
mod backend;
mod body;
mod connection;
mod control;
mod door;
mod extract;
mod gzip;
mod json;
mod layers;
mod metrics;
mod packed;
mod pairs;
mod plugin_sets;
mod quota;
mod route;
mod routes;
mod server;
mod settings;
mod target;
mod tls;

pub use access_log::AccessLogTo;
pub use administration::Administration;
pub use backend::Backend;
pub use plugin_sets::PluginSets;
pub use quota::QuotaSettings;
pub use server::{Drained, Error, Gauges, Server};
pub use settings::Settings;
pub use tls::{TlsError, TlsMaterial};
