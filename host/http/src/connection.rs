//! One connection, from the handshake to its last answer.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
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
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use crate::server::Shared;

/// Most bytes of a request's head, and of what is read of a body at once.
const BUFFER_BYTES: usize = 64 * 1024;
/// How long a drain waits for the first request of a connection that has just been made.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(2);

/// What all requests of a connection have in common.
#[derive(Debug)]
pub struct Connection {
    /// The other end's address; IPv4 as IPv4.
    pub address: IpAddr,
    /// The same with its certificate.
    pub peer: Peer,
    used: AtomicBool,
}

/// Serves a connection to its end. When `drain` is cancelled, it answers what it has begun and closes.
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
    let peer = Peer { address: Some(address), certificate };
    let connection = Arc::new(Connection { address, peer, used: AtomicBool::new(false) });
    let router = TowerToHyperService::new(router);
    let service = service_fn(|mut request: Request<Incoming>| {
        connection.used.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(connection.clone());
        router.call(request)
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        // Runs from the last answer on, and so is the longest an idle connection stays, too.
        .header_read_timeout(shared.settings.header_deadline)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(tls), service);
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
        tracing::debug!(%address, %error, "a connection ended early");
    }
}

type Stream = TlsStream<std::pin::Pin<Box<TimeoutStream<TcpStream>>>>;

async fn shake_hands<B>(
    shared: &Shared<B>,
    tcp: TcpStream,
    address: IpAddr,
    drain: &CancellationToken,
) -> Option<Stream> {
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(%address, %error, "TCP_NODELAY cannot be set");
    }
    let mut tcp = TimeoutStream::new(tcp);
    // A client that does not read its answers would hold them, and its connection, for ever.
    tcp.set_write_timeout(Some(shared.settings.write_deadline));
    let accepting = TlsAcceptor::from(shared.tls.current()).accept(Box::pin(tcp));
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
