//! What the operator may set, and what holds where nothing is set.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use pki::Certname;

use crate::access_log::AccessLogTo;
use crate::quota::QuotaSettings;

/// The operator's numbers. Sizes are bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// The file of the control socket, in a folder of ours; none without.
    pub control_socket: Option<PathBuf>,
    /// Where to give metrics away over plain HTTP; nowhere without.
    pub metrics_listen: Option<SocketAddr>,
    /// Certnames that administer the CA beside those whose certificates say `pp_cli_auth`.
    pub admins: BTreeSet<Certname>,
    /// Connections at once; more wait in the kernel's queue.
    pub connections: usize,
    /// Connections of one address (or IPv6 /64) at once; more are closed.
    pub connections_per_address: usize,
    /// From a connection to the end of its TLS handshake.
    pub handshake_deadline: Duration,
    /// For a request's head, and for an idle connection's next request. Agents keep theirs for 4 s.
    pub header_deadline: Duration,
    /// For a certificate request's body.
    pub request_deadline: Duration,
    /// For any other body.
    pub body_deadline: Duration,
    /// For a client to take a part of its answer.
    pub write_deadline: Duration,
    /// Largest certificate request.
    pub request_cap: usize,
    /// Largest form or document of facts.
    pub facts_cap: usize,
    /// Largest report.
    pub report_cap: usize,
    /// Largest backup.
    pub filebucket_cap: usize,
    /// Largest JSON body of an administrator or master.
    pub admin_cap: usize,
    /// Largest upload of revocation lists.
    pub crl_cap: usize,
    /// Largest component of a plugin.
    pub component_cap: usize,
    /// Memory for all bodies being read; no less than the largest cap.
    pub body_memory: usize,
    /// Certificate requests of one address.
    pub quota: QuotaSettings,
    /// Where the access log goes.
    pub access_log: AccessLogTo,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            listen: Vec::new(),
            control_socket: None,
            metrics_listen: None,
            admins: BTreeSet::new(),
            connections: 2048,
            connections_per_address: 512,
            handshake_deadline: Duration::from_secs(10),
            header_deadline: Duration::from_secs(15),
            request_deadline: Duration::from_secs(10),
            body_deadline: Duration::from_secs(60),
            write_deadline: Duration::from_secs(30),
            request_cap: 64 << 10,
            facts_cap: 8 << 20,
            report_cap: 16 << 20,
            filebucket_cap: 64 << 20,
            admin_cap: 1 << 20,
            crl_cap: 16 << 20,
            component_cap: 64 << 20,
            body_memory: 256 << 20,
            quota: QuotaSettings::default(),
            access_log: AccessLogTo::Off,
        }
    }
}

impl Settings {
    /// The most that any body may have.
    pub(crate) fn largest_cap(&self) -> usize {
        [
            self.request_cap,
            self.facts_cap,
            self.report_cap,
            self.filebucket_cap,
            self.admin_cap,
            self.crl_cap,
            self.component_cap,
        ]
        .into_iter()
        .max()
        .unwrap_or_default()
    }
}
