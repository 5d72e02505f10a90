//! The server: listeners, the connections they accept, and the end of both.

use std::collections::HashSet;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access_log::{AccessLog, AccessLogTo};
use crate::backend::Backend;
use crate::body::BodyMemory;
use crate::connection;
use crate::layers;
use crate::quota::{Quota, QuotaSettings};
use crate::tls::{LiveTls, TlsError, TlsMaterial};

/// Addresses whose proxy headers were reported; more than these are reported again.
const REPORTED_ADDRESSES: usize = 4096;
/// How long to wait when no connection can be accepted, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The operator's numbers. Sizes are bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// Connections at once; more wait in the kernel's queue.
    pub connections: usize,
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
            connections: 2048,
            handshake_deadline: Duration::from_secs(10),
            header_deadline: Duration::from_secs(15),
            request_deadline: Duration::from_secs(10),
            body_deadline: Duration::from_secs(60),
            write_deadline: Duration::from_secs(30),
            request_cap: 64 << 10,
            facts_cap: 8 << 20,
            report_cap: 16 << 20,
            filebucket_cap: 64 << 20,
            body_memory: 256 << 20,
            quota: QuotaSettings::default(),
            access_log: AccessLogTo::Off,
        }
    }
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nowhere to listen.
    #[error("no address to listen on is set")]
    NoAddress,
    /// An address that cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Memory for bodies that does not hold one.
    #[error(
        "body_memory is {memory} bytes, less than the largest body of {cap} bytes; raise it or lower that cap"
    )]
    BodyMemory {
        /// As set.
        memory: usize,
        /// The largest cap.
        cap: usize,
    },
    /// No TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No access log.
    #[error("cannot open the access log {to:?}: {source}")]
    AccessLog {
        /// As set.
        to: AccessLogTo,
        /// What the system says.
        source: io::Error,
    },
}

/// What the server counts.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Connections that are open.
    pub connections: AtomicU64,
    /// Connections since the start that TLS refused.
    pub refused_handshakes: AtomicU64,
    /// Requests answered since the start.
    pub requests: AtomicU64,
    /// Lines that the access log did not get written in time, since the start.
    pub dropped_lines: AtomicU64,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that had not ended in time and were cut.
    pub cut: usize,
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared<B> {
    pub backend: Arc<B>,
    pub settings: Settings,
    pub tls: LiveTls,
    pub memory: BodyMemory,
    pub quota: Quota,
    pub access_log: AccessLog,
    pub gauges: Arc<Gauges>,
    pub proxied: FirstTime,
}

/// Addresses that something was reported of.
#[derive(Debug, Default)]
pub(crate) struct FirstTime(Mutex<HashSet<IpAddr>>);

/// A server that listens and does not accept yet.
#[derive(Debug)]
pub struct Server<B> {
    listeners: Vec<TcpListener>,
    shared: Arc<Shared<B>>,
    router: Router,
    material: TlsMaterial,
}

impl<B: Backend> Server<B> {
    /// Listens, so that whoever starts the server knows its ports and that they are its own.
    ///
    /// # Errors
    /// [`Error`]; in particular without a revocation list.
    pub async fn bind(
        settings: Settings,
        backend: Arc<B>,
        mut material: TlsMaterial,
    ) -> Result<Server<B>, Error> {
        let caps = [settings.request_cap, settings.facts_cap, settings.report_cap, settings.filebucket_cap];
        let cap = caps.into_iter().max().unwrap_or_default();
        if settings.body_memory < cap {
            return Err(Error::BodyMemory { memory: settings.body_memory, cap });
        }
        if settings.listen.is_empty() {
            return Err(Error::NoAddress);
        }
        let tls = LiveTls::start(&mut material)?;
        let mut listeners = Vec::new();
        for address in &settings.listen {
            let listener = TcpListener::bind(address).await;
            listeners.push(listener.map_err(|source| Error::Listen { address: *address, source })?);
        }
        let gauges = Arc::<Gauges>::default();
        let access_log = AccessLog::open(&settings.access_log, gauges.clone());
        let access_log =
            access_log.map_err(|source| Error::AccessLog { to: settings.access_log.clone(), source })?;
        let shared = Arc::new(Shared {
            backend,
            tls,
            memory: BodyMemory::new(settings.body_memory),
            quota: Quota::new(settings.quota, Instant::now()),
            access_log,
            gauges,
            proxied: FirstTime::default(),
            settings,
        });
        let router = layers::router(shared.clone());
        Ok(Server { listeners, shared, router, material })
    }

    /// The addresses that are listened on, with the ports that the system chose for 0.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// What the server counts, for metrics.
    pub fn gauges(&self) -> Arc<Gauges> {
        self.shared.gauges.clone()
    }

    /// Serves until `shutdown`. Then accepts no more, closes idle connections, answers what was begun
    /// and, after `drain`, cuts what is left.
    pub async fn run(self, shutdown: impl Future<Output = ()>, drain: Duration) -> Drained {
        let Server { listeners, shared, router, material } = self;
        let (stop, cut, connections) =
            (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        let following = {
            let shared = shared.clone();
            tokio::spawn(async move { shared.tls.follow(material).await })
        };
        let free = Arc::new(Semaphore::new(shared.settings.connections));
        let accepting: Vec<_> = listeners
            .into_iter()
            .map(|listener| {
                let ends = Ends { stop: stop.clone(), cut: cut.clone() };
                let (shared, router) = (shared.clone(), router.clone());
                tokio::spawn(accept(listener, shared, router, free.clone(), ends, connections.clone()))
            })
            .collect();

        shutdown.await;
        stop.cancel();
        for task in accepting {
            // A panic there has been reported by itself; the listener is closed all the same.
            let _ = task.await;
        }
        connections.close();
        let ended = tokio::time::timeout(drain, connections.wait()).await;
        following.abort();
        let left = if ended.is_ok() { 0 } else { connections.len() };
        cut.cancel();
        connections.wait().await;
        Drained { cut: left }
    }
}

/// The two ways a connection is ended: asked to, and made to.
#[derive(Debug, Clone)]
struct Ends {
    stop: CancellationToken,
    cut: CancellationToken,
}

/// A connection that is open, for as long as this lives.
struct Open(Arc<Gauges>);

impl Open {
    fn new(gauges: Arc<Gauges>) -> Open {
        gauges.connections.fetch_add(1, Ordering::Relaxed);
        Open(gauges)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn accept<B: Backend>(
    listener: TcpListener,
    shared: Arc<Shared<B>>,
    router: Router,
    free: Arc<Semaphore>,
    ends: Ends,
    connections: TaskTracker,
) {
    loop {
        let next = async {
            let permit = free.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            next = next => next,
            () = ends.stop.cancelled() => return,
        };
        match accepted {
            Ok((tcp, from)) => {
                let (shared, router, ends) = (shared.clone(), router.clone(), ends.clone());
                connections.spawn(async move {
                    let _open = (permit, Open::new(shared.gauges.clone()));
                    tokio::select! {
                        () = connection::serve(shared, router, tcp, from, ends.stop) => {}
                        () = ends.cut.cancelled() => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl FirstTime {
    /// Whether this address was not here before.
    pub fn is(&self, address: IpAddr) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REPORTED_ADDRESSES {
            known.clear();
        }
        known.insert(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // faults row 69
    #[test]
    fn each_address_is_reported_once_and_the_memory_of_it_is_bounded() {
        let first_time = FirstTime::default();
        let address = |at: u32| IpAddr::from(at.to_be_bytes());
        assert!(first_time.is(address(1)));
        assert!(!first_time.is(address(1)));
        assert!((2..20_000).all(|at| first_time.is(address(at))));
        assert!(first_time.0.lock().unwrap().len() <= REPORTED_ADDRESSES);
    }
}
