//! One connection, from the handshake to its last answer.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use master::Peer;
use pki::Certificate;
use rustls::CertificateError;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use crate::server::Shared;
use crate::settings::Settings;

/// Most bytes of a request's head, and of what is read of a body at once.
const BUFFER_BYTES: usize = 64 * 1024;
/// How long a drain waits for the first request of a connection that has just been made.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(2);

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// An address; IPv4 as IPv4.
    Network(IpAddr),
    /// The control socket, and the kernel says that this user is at its other end.
    Local {
        /// Root's, or our own.
        uid: u32,
    },
}

impl Origin {
    /// The address, if it came over a network.
    pub fn address(self) -> Option<IpAddr> {
        match self {
            Origin::Network(address) => Some(address),
            Origin::Local { .. } => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Network(address) => address.fmt(formatter),
            Origin::Local { .. } => formatter.write_str("local"),
        }
    }
}

/// What all requests of a connection have in common.
#[derive(Debug)]
pub struct Connection {
    /// Where it comes from.
    pub origin: Origin,
    /// The other end with its certificate.
    pub peer: Peer,
    used: AtomicBool,
}

impl Connection {
    /// One that has not asked anything yet.
    pub fn new(origin: Origin, certificate: Option<Arc<Certificate>>) -> Connection {
        let peer = Peer { address: origin.address(), certificate };
        Connection { origin, peer, used: AtomicBool::new(false) }
    }

    /// The same without its certificate.
    pub fn as_stranger(&self) -> Connection {
        Connection::new(self.origin, None)
    }
}

/// Serves a connection of an agent to its end. When `drain` is cancelled, it answers what it has begun
/// and closes.
pub async fn serve<B: Backend>(
    shared: Arc<Shared<B>>,
    router: Router,
    tcp: TcpStream,
    from: SocketAddr,
    drain: CancellationToken,
) {
    let address = from.ip().to_canonical();
    let Some(tls) = shake_hands(&shared, tcp, address, &drain).await else { return };
    let certificate = match certificate(&tls) {
        Ok(certificate) => certificate,
        Err(error) => {
            tracing::warn!(%address, error, "closed a connection: its client certificate cannot be understood");
            return;
        }
    };
    let connection = Connection::new(Origin::Network(address), certificate);
    converse(&shared.settings, router, tls, connection, drain).await;
}

/// A stream whose other end has to take what it is sent within the deadline: one that does not would
/// hold its answers, and its connection, for ever.
pub fn timed<I: AsyncRead + AsyncWrite>(stream: I, settings: &Settings) -> Timed<I> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(settings.write_deadline));
    Box::pin(stream)
}

/// What [`timed`] returns.
pub type Timed<I> = Pin<Box<TimeoutStream<I>>>;

/// HTTP/1.1 over a stream, to its end.
pub async fn converse<I: AsyncRead + AsyncWrite + Unpin>(
    settings: &Settings,
    router: Router,
    stream: I,
    connection: Connection,
    drain: CancellationToken,
) {
    let connection = Arc::new(connection);
    let router = TowerToHyperService::new(router);
    let service = service_fn(|mut request: Request<Incoming>| {
        connection.used.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(connection.clone());
        router.call(request)
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        // Runs from the last answer on, and so is the longest an idle connection stays, too.
        .header_read_timeout(settings.header_deadline)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = drain.cancelled() => {
            serving.as_mut().graceful_shutdown();
            // The shutdown waits for a first request, were it only to answer that it is the last.
            let idle = async {
                tokio::time::sleep(FIRST_REQUEST_GRACE).await;
                if connection.used.load(Ordering::Relaxed) {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                ended = serving => ended,
                () = idle => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(from = %connection.origin, %error, "a connection ended early");
    }
}

type Stream = TlsStream<Timed<TcpStream>>;

async fn shake_hands<B>(
    shared: &Shared<B>,
    tcp: TcpStream,
    address: IpAddr,
    drain: &CancellationToken,
) -> Option<Stream> {
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(%address, %error, "TCP_NODELAY cannot be set");
    }
    let accepting = TlsAcceptor::from(shared.tls.current()).accept(timed(tcp, &shared.settings));
    let shaken = tokio::select! {
        shaken = timeout(shared.settings.handshake_deadline, accepting) => shaken,
        () = drain.cancelled() => return None,
    };
    match shaken {
        Ok(Ok(tls)) => return Some(tls),
        Ok(Err(error)) if is_revocation(&error) => {
            tracing::warn!(%address, "refused a revoked client certificate")
        }
        Ok(Err(error)) => tracing::info!(%address, %error, "no TLS connection came about"),
        Err(_) => tracing::info!(%address, "no TLS connection came about in time"),
    }
    shared.gauges.refused_handshakes.fetch_add(1, Ordering::Relaxed);
    None
}

fn certificate(tls: &Stream) -> Result<Option<Arc<Certificate>>, String> {
    let Some(der) = tls.get_ref().1.peer_certificates().and_then(<[_]>::first) else { return Ok(None) };
    let certificate = Certificate::parse_der(der).map_err(|error| error.to_string())?;
    Ok(Some(Arc::new(certificate)))
}

fn is_revocation(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(CertificateError::Revoked)))
}
