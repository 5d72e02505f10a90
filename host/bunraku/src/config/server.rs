//! `[server]`: where agents and operators reach this program.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bunraku_http::AccessLogTo;
use pki::Certname;

use super::Defaults;
use super::reader::Section;

/// The agents' listener.
#[derive(Clone, Debug)]
pub struct Server {
    /// Addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// The common name of the server's own certificate; no node can have it.
    pub certname: Certname,
    /// The names under which agents reach the server.
    pub dns_alt_names: Vec<String>,
    /// `stdout`, `off` or a file.
    pub access_log: AccessLogTo,
    /// How long requests in flight may take after SIGTERM.
    pub drain: Duration,
    /// Open connections at once.
    pub max_connections: u32,
    /// Certificate requests an address may submit a minute.
    pub requests_per_minute: u32,
    /// The Unix socket over which root and the daemon's user administer it.
    pub control_socket: PathBuf,
}

/// Reads `[server]`.
pub fn read(section: Section<'_, '_>, state_dir: &Path, defaults: &Defaults, is_ca: bool) -> Server {
    let listen = section.strings("listen").unwrap_or_else(|| vec!["[::]:8140".to_owned()]);
    let addresses: Vec<SocketAddr> = listen
        .iter()
        .filter_map(|text| {
            text.parse()
                .inspect_err(|_| {
                    section.problem(
                        "listen",
                        format_args!("holds {text:?}; write ADDRESS:PORT, such as 0.0.0.0:8140"),
                    );
                })
                .ok()
        })
        .collect();
    if listen.is_empty() {
        section.problem("listen", "is empty: nobody could reach this master");
    }
    let certname =
        section.parsed("certname", |text| Certname::parse(text).map_err(|e| format!("is {text:?}: {e}")));
    let out = Server {
        listen: addresses,
        certname: certname.unwrap_or_else(|| defaults.certname.clone()),
        dns_alt_names: section.strings("dns_alt_names").unwrap_or_else(|| defaults.dns_alt_names(is_ca)),
        access_log: match section.string("access_log").as_deref() {
            None | Some("stdout") => AccessLogTo::Stdout,
            Some("off") => AccessLogTo::Off,
            Some(path) => AccessLogTo::File(state_dir.join(path)),
        },
        drain: section.duration("drain").unwrap_or(Duration::from_secs(25)),
        max_connections: section.number("max_connections", 1..=1_000_000).unwrap_or(20_000),
        requests_per_minute: section.number("requests_per_minute", 1..=1_000_000).unwrap_or(600),
        control_socket: state_dir.join(section.string("control_socket").as_deref().unwrap_or("control.sock")),
    };
    section.finish();
    out
}
