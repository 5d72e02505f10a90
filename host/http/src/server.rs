//! The server: what it listens on, and the end of it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access_log::{AccessLog, AccessLogTo};
use crate::backend::Backend;
use crate::body::BodyMemory;
use crate::control::ControlSocket;
use crate::door::{Crowds, Door, FirstTime};
use crate::layers;
use crate::packed::Packed;
use crate::quota::Quota;
use crate::routes::stream::Announcements;
use crate::settings::Settings;
use crate::tls::{LiveTls, TlsError, TlsMaterial};

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
    /// A control socket that cannot be had.
    #[error("cannot listen on the control socket {}: {source}", path.display())]
    ControlSocket {
        /// Its file.
        path: PathBuf,
        /// What is in the way.
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
    /// Connections since the start that were closed since their address had too many.
    pub crowded_connections: AtomicU64,
    /// Connections since the start that TLS refused.
    pub refused_handshakes: AtomicU64,
    /// Requests answered since the start.
    pub requests: AtomicU64,
    /// The same by the first digit of the status: 1 to 5.
    pub answers: [AtomicU64; 5],
    /// Requests refused since the start because the revocation lists are too old.
    pub lapsed: AtomicU64,
    /// Masters that follow the revocation lists over a stream now.
    pub streams: AtomicU64,
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
    pub crowded: FirstTime,
    pub crowds: Crowds,
    pub announcements: Announcements,
    pub packed: Packed,
    /// Cancelled when no more is accepted, so that answers without an end find theirs.
    pub draining: CancellationToken,
}

/// A server that listens and does not accept yet.
#[derive(Debug)]
pub struct Server<B> {
    listeners: Vec<TcpListener>,
    control: Option<ControlSocket>,
    metrics: Option<TcpListener>,
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
        let cap = settings.largest_cap();
        if settings.body_memory < cap {
            return Err(Error::BodyMemory { memory: settings.body_memory, cap });
        }
        if settings.listen.is_empty() {
            return Err(Error::NoAddress);
        }
        let tls = LiveTls::start(&mut material)?;
        let mut listeners = Vec::new();
        for address in &settings.listen {
            listeners.push(listen(*address).await?);
        }
        let metrics = match settings.metrics_listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let control = match &settings.control_socket {
            Some(path) => Some(ControlSocket::bind(path).await?),
            None => None,
        };
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
            crowded: FirstTime::default(),
            crowds: Crowds::default(),
            announcements: Announcements::default(),
            packed: Packed::default(),
            draining: CancellationToken::new(),
            settings,
        });
        let router = layers::router(shared.clone());
        Ok(Server { listeners, control, metrics, shared, router, material })
    }

    /// The addresses that are listened on, with the ports that the system chose for 0.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Where metrics are given away, with the port that the system chose for 0.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics.as_ref()?.local_addr().ok()
    }

    /// What the server counts, for metrics.
    pub fn gauges(&self) -> Arc<Gauges> {
        self.shared.gauges.clone()
    }

    /// Serves until `shutdown`. Then accepts no more, closes idle connections, answers what was begun
    /// and, after `drain`, cuts what is left.
    pub async fn run(self, shutdown: impl Future<Output = ()>, drain: Duration) -> Drained {
        let Server { listeners, control, metrics, shared, router, material } = self;
        let stop = shared.draining.clone();
        let following = {
            let shared = shared.clone();
            tokio::spawn(async move { shared.tls.follow(material).await })
        };
        let door = Door {
            shared: shared.clone(),
            stop: stop.clone(),
            cut: CancellationToken::new(),
            connections: TaskTracker::new(),
        };
        let free = Arc::new(Semaphore::new(shared.settings.connections));
        let mut accepting: Vec<_> = listeners
            .into_iter()
            .map(|listener| tokio::spawn(door.clone().agents(listener, router.clone(), free.clone())))
            .collect();
        accepting.extend(control.map(|socket| tokio::spawn(door.clone().administrators(socket, router))));
        accepting.extend(metrics.map(|listener| tokio::spawn(door.clone().collectors(listener))));

        shutdown.await;
        stop.cancel();
        for task in accepting {
            // A panic there has been reported by itself; the listener is closed all the same.
            let _ = task.await;
        }
        let Door { cut, connections, .. } = door;
        connections.close();
        let ended = tokio::time::timeout(drain, connections.wait()).await;
        following.abort();
        let left = if ended.is_ok() { 0 } else { connections.len() };
        cut.cancel();
        connections.wait().await;
        Drained { cut: left }
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })
}
