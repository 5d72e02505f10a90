//! The use cases: enrol a node, classify it, compile its catalog, take its
//! report.
//!
//! Each use case asks plugins, steps the pure crates (`decide`, `catalog`) and
//! saves what came of it. It knows nothing of HTTP (see `http`), never touches
//! the CA key (see `ca`) and never runs a plugin itself (see `sandbox`).
//!
//! | question | file |
//! |---|---|
//! | who is signed, and when a pending request is looked at again | `enrol.rs`, `pending.rs` |
//! | how plugins are asked, one after the other | `chains.rs`, `told.rs` |
//! | what a decision leaves in the journal | `record.rs`, `recorded.rs` |
//! | how a decision is made without a master | `decider.rs` |
//! | what a node is | `classify.rs` |
//! | what it gets | `compile.rs` |
//! | what a plugin reaches while it decides | `reach.rs` |
//! | what other plugins would have decided | `replay/`, `shadow.rs`, `compare.rs` |
//! | facts and reports | `reports.rs` |
//! | where certificates come from: our CA, or one elsewhere | `certificates.rs` |
//! | what administrators do, and see | `admin.rs`, `statuses.rs`, `masters.rs` |
//! | which set of plugins decides, and how another one comes to | `plugins/` |
//! | how the master is | `health.rs` |

mod admin;
mod certificates;
mod chains;
mod classify;
mod compare;
mod compile;
mod convert;
mod decider;
mod enrol;
#[cfg(test)]
mod fixture;
mod health;
mod masters;
mod pending;
pub mod plugins;
mod reach;
mod record;
mod recorded;
mod replay;
mod reports;
mod shadow;
mod statuses;
mod told;
mod turns;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ca::Authority;
use journal::{Journal, Record};
use pki::{Certificate, Certname, Serial, Trust};
use registry::Registry;
use rollout::{PluginSet, Rollout};
use store::{Filebucket, Store};
use tokio::sync::watch;

pub use admin::{Administrator, Revoke, Signing};
pub use certificates::Certificates;
pub use classify::{NodeClassification, Unclassified};
pub use compare::{Flip, compare};
pub use compile::{CatalogRequest, Compiled};
pub use decider::{Decided, Decider};
pub use enrol::{SubmitError, Submitted};
pub use health::{Metrics, Status};
pub use reach::{REGISTRY, Stores};
pub use replay::{NotReplayed, Progress, Replay, ReplayOptions, replay};
pub use rollout::{Component, Published};
pub use statuses::{CertificateStatus, Standing, State, StatusCursor, StatusPage};

/// Who is on the other side of a connection, from TLS alone.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// The address the connection came from.
    pub address: Option<IpAddr>,
    /// The client certificate, verified by the handshake.
    pub certificate: Option<Arc<Certificate>>,
}

impl Peer {
    /// The name the peer proved to be.
    pub fn certname(&self) -> Option<&Certname> {
        self.certificate.as_ref()?.certname.as_ref()
    }
}

/// Why a use case could not answer an agent. The message is fit for the agent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failed {
    /// The HTTP status that says it.
    pub status: u16,
    /// Puppet's name of the kind of failure.
    pub issue_kind: &'static str,
    /// One line.
    pub message: String,
}

impl Failed {
    /// A failure of ours or of a plugin.
    pub fn internal(message: impl Into<String>) -> Self {
        Failed { status: 500, issue_kind: "RUNTIME_ERROR", message: message.into() }
    }

    /// The agent's request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Failed { status: 400, issue_kind: "RUNTIME_ERROR", message: message.into() }
    }

    /// The peer may not do this.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Failed { status: 403, issue_kind: "FORBIDDEN", message: message.into() }
    }

    /// There is no such thing here.
    pub fn not_found(message: impl Into<String>) -> Self {
        Failed { status: 404, issue_kind: "RESOURCE_NOT_FOUND", message: message.into() }
    }

    /// What there is does not allow it.
    pub fn conflict(message: impl Into<String>) -> Self {
        Failed { status: 409, issue_kind: "RUNTIME_ERROR", message: message.into() }
    }

    /// It can't be done now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Failed { status: 503, issue_kind: "RUNTIME_ERROR", message: message.into() }
    }
}

impl From<store::Error> for Failed {
    fn from(error: store::Error) -> Self {
        tracing::error!(%error, "the store failed");
        Failed {
            status: 503,
            issue_kind: "RUNTIME_ERROR",
            message: "the master's store does not answer".to_owned(),
        }
    }
}

/// A CA file as agents fetch it.
#[derive(Clone, Debug)]
pub struct CaFile {
    /// One or more PEM blocks; agents may pin these bytes.
    pub pem: Arc<str>,
    /// For `If-Modified-Since`.
    pub modified: SystemTime,
}

/// What the operator may set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Environments that exist besides `production` and those with a folder.
    pub environments: Vec<String>,
    /// Pending requests kept at once.
    pub max_pending: u32,
    /// Pending requests kept for one name.
    pub max_pending_per_name: u32,
    /// How long a pending request is kept.
    pub pending_ttl: Duration,
    /// How often pending requests are looked at for a change.
    pub pending_poll: Duration,
    /// How long reports are kept.
    pub report_ttl: Duration,
    /// How old a node's last classification may be to serve while the registry
    /// does not answer.
    pub last_good_max_age: Duration,
    /// How long after their end the CA's revocation lists are believed; past it no certificate is.
    pub grace: Duration,
    /// Whether nodes may renew their certificates for another key; for the same one the CA's own
    /// setting says it.
    pub renewal: bool,
    /// Whether catalog masters are told which set of plugins decides.
    pub publish_plugins: bool,
    /// On a catalog master, the CA's `HOST:PORT`: where whoever wants a certificate is sent.
    pub ca_server: Option<String>,
}

/// The crates below, put together.
pub struct Parts {
    /// Durable state.
    pub store: Arc<Store>,
    /// Where certificates come from.
    pub certificates: Certificates,
    /// Node definitions.
    pub registry: Arc<Registry>,
    /// Further object stores that plugins may be granted, by name.
    pub stores: Stores,
    /// The plugins that decide.
    pub rollout: Arc<Rollout>,
    /// The plugins that the configuration asks for, whenever it is read anew.
    pub configured: Arc<plugins::Configured>,
    /// Where decisions are kept.
    pub journal: Arc<Journal>,
    /// What agents fetch.
    pub files: Arc<files::Tree>,
    /// Backups that agents send.
    pub filebucket: Arc<Filebucket>,
}

/// Answers agents.
pub struct Master {
    parts: Parts,
    settings: Settings,
    decider: Arc<Decider>,
    enrolments: turns::Turns,
}

impl Master {
    /// Puts a master together. Run [`Master::tend`] beside it.
    pub fn new(parts: Parts, settings: Settings) -> Arc<Self> {
        let (registry, stores) = (parts.registry.clone(), parts.stores.clone());
        let decider = Decider::new(registry, stores, Some(parts.store.clone()));
        Arc::new(Master { parts, settings, decider: Arc::new(decider), enrolments: turns::Turns::default() })
    }

    /// The CA's certificate, and its chain.
    pub fn ca_bundle(&self) -> CaFile {
        let trust = self.trust();
        CaFile { pem: trust.bundle.pem().clone(), modified: trust.bundle_modified }
    }

    /// The CA's current revocation lists, as agents get them.
    pub fn crl(&self) -> CaFile {
        let trust = self.trust();
        CaFile { pem: trust.agents_crls.clone(), modified: trust.this_update.into() }
    }

    /// What is believed of the CA now.
    pub fn trust(&self) -> Arc<Trust> {
        self.parts.certificates.trust()
    }

    /// The same, and every later version.
    pub fn watch_trust(&self) -> watch::Receiver<Arc<Trust>> {
        self.parts.certificates.watch_trust()
    }

    /// The CA.
    ///
    /// # Errors
    /// 404 on a catalog master, with where the CA is.
    pub(crate) fn ca(&self) -> Result<&Arc<Authority>, Failed> {
        self.parts.certificates.authority().ok_or_else(|| {
            let server = self.settings.ca_server.as_deref().unwrap_or("the CA");
            Failed::not_found(format!(
                "this is a catalog master; certificates come from https://{server} (set ca_server)"
            ))
        })
    }

    /// What agents fetch.
    pub fn files(&self) -> &Arc<files::Tree> {
        &self.parts.files
    }

    /// Backups that agents send.
    pub fn filebucket(&self) -> &Arc<Filebucket> {
        &self.parts.filebucket
    }

    /// The set of plugins that decides now.
    pub fn plugins(&self) -> Arc<PluginSet> {
        self.parts.rollout.current()
    }

    /// The set of plugins that catalog masters are told to use, and every later one; none where they are
    /// not told.
    pub fn watch_published_plugins(&self) -> watch::Receiver<Option<Published>> {
        match self.settings.publish_plugins {
            true => self.parts.rollout.publish(),
            false => watch::channel(None).1,
        }
    }

    /// A component that is kept here, by its SHA-256 in lower-case hex; none where it is damaged.
    pub async fn component(&self, digest: &str) -> Option<Component> {
        self.parts.rollout.component(digest).await
    }

    /// Keeps a decision, and tells whoever watches the set that made it. `first`: of a request that
    /// nobody had looked at before.
    pub(crate) fn note(&self, record: Record, first: bool) {
        self.observe(&record, first);
        self.shadow(&record);
        self.parts.journal.append(record);
    }

    /// The same for a decision that is about to be acted on for good: when this returns, its record
    /// outlives a power cut.
    ///
    /// # Errors
    /// 503 where the journal can't be written: nothing may come of the decision then.
    pub(crate) async fn note_durably(&self, record: Record, first: bool) -> Result<(), Failed> {
        self.observe(&record, first);
        self.shadow(&record);
        self.parts.journal.append_durable(record).await.map_err(|error| {
            tracing::error!(%error, "a decision could not be written down, and nothing came of it");
            Failed::unavailable("the master's journal does not answer")
        })
    }

    /// Tells whoever watches the set that made a decision, and keeps nothing.
    pub(crate) fn observe(&self, record: &Record, first: bool) {
        if let Some(observation) = record::observation(record, first) {
            self.parts.rollout.observe(&record.set, observation);
        }
    }

    /// Whether a certificate is on the current CRL. In memory.
    pub fn is_revoked(&self, serial: &Serial) -> bool {
        self.parts.certificates.is_revoked(serial)
    }

    /// Whether agents may name this environment.
    pub fn environment_exists(&self, name: &str) -> bool {
        name == "production"
            || self.settings.environments.iter().any(|e| e == name)
            || self.parts.files.has_environment(name)
    }

    /// Every environment, sorted.
    pub fn environments(&self) -> Vec<String> {
        let mut names = self.parts.files.environments();
        names.extend(self.settings.environments.iter().cloned());
        names.push("production".to_owned());
        names.sort();
        names.dedup();
        names
    }
}
