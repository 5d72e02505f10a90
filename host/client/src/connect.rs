//! A connection: addresses tried in turn, TLS on top, all within one deadline.

use std::io;
use std::path::Path;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::Error;
use crate::tls::explain;

/// Either kind of stream.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Where a client connects to, ready to be used again and again.
#[derive(Clone)]
pub(crate) enum Route {
    Unix(std::path::PathBuf),
    Tls { host: String, port: u16, name: ServerName<'static>, connector: TlsConnector },
}

impl Route {
    /// Connects.
    pub async fn connect(&self, at: &str, within: Duration) -> Result<Box<dyn Stream>, Error> {
        let deadline = Instant::now() + within;
        let connecting = async {
            match self {
                Route::Unix(path) => unix(at, path).await,
                Route::Tls { host, port, name, connector } => {
                    let tcp = tcp(at, host, *port, deadline).await?;
                    // The requests are small and each waits for its answer.
                    tcp.set_nodelay(true).map_err(|error| explain(at, &error))?;
                    let tls = connector.connect(name.clone(), tcp).await;
                    let stream: Box<dyn Stream> = Box::new(tls.map_err(|error| explain(at, &error))?);
                    Ok(stream)
                }
            }
        };
        let late = || Error::Deadline { at: at.to_owned(), what: "accept a connection", after: within };
        timeout_at(deadline, connecting).await.map_err(|_| late())?
    }
}

async fn unix(at: &str, path: &Path) -> Result<Box<dyn Stream>, Error> {
    let stream = UnixStream::connect(path).await.map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => "; is the daemon running?",
            io::ErrorKind::PermissionDenied => "; run this as root or as the daemon's user",
            _ => "",
        };
        Error::Connect { at: at.to_owned(), reason: format!("{error}{hint}") }
    })?;
    Ok(Box::new(stream))
}

/// Tries every address of the host; each gets its share of the time that is left, so that one which
/// swallows packets does not hide the next.
async fn tcp(at: &str, host: &str, port: u16, deadline: Instant) -> Result<TcpStream, Error> {
    let refused = |reason: String| Error::Connect { at: at.to_owned(), reason };
    let found = lookup_host((host, port)).await;
    let found = found.map_err(|error| {
        refused(format!("its name does not resolve ({error}); check the name, DNS and /etc/hosts"))
    })?;
    let addresses: Vec<_> = found.collect();
    let mut reasons = Vec::new();
    for (tried, address) in addresses.iter().enumerate() {
        let now = Instant::now();
        let left = u32::try_from(addresses.len().saturating_sub(tried)).unwrap_or(1).max(1);
        let share = now + deadline.saturating_duration_since(now) / left;
        match timeout_at(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => reasons.push(format!("{}: {error}", address.ip())),
            Err(_) => reasons.push(format!("{}: no answer", address.ip())),
        }
    }
    Err(refused(format!(
        "{}; check that the server runs, that this is its address and port, and that no firewall is between",
        if reasons.is_empty() { "its name has no address".to_owned() } else { reasons.join(", ") }
    )))
}
