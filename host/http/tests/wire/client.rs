//! A client that sends what it is told to, byte for byte.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::world::{Holder, SERVER, World};

/// One connection.
pub struct Wire<S = TlsStream<TcpStream>> {
    pub tls: S,
    unread: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body without the request's id, which the header has too.
    pub fn text(&self) -> String {
        self.exact_text().replace(&format!(" (request id {})", self.header("x-request-id").unwrap()), "")
    }

    /// The body, word for word.
    pub fn exact_text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json;charset=utf-8"));
        serde_json::from_str(&self.text()).unwrap()
    }
}

pub fn config(world: &World, holder: Option<&Holder>) -> Arc<ClientConfig> {
    config_for(&world.authority.pem(), holder)
}

pub fn config_for(ca_pem: &str, holder: Option<&Holder>) -> Arc<ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match holder {
        Some(holder) => {
            let chain = vec![CertificateDer::from(holder.certificate.der.clone())];
            let key = PrivateKeyDer::from_pem_slice(holder.key_pem.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
        None => builder.with_no_client_auth(),
    })
}

impl Wire {
    pub async fn connect(world: &World, holder: Option<&Holder>) -> Wire {
        Wire::connect_with(world, config(world, holder)).await.unwrap()
    }

    pub async fn connect_with(world: &World, config: Arc<ClientConfig>) -> std::io::Result<Wire> {
        Wire::over(world.address, config).await
    }

    pub async fn over(address: SocketAddr, config: Arc<ClientConfig>) -> std::io::Result<Wire> {
        Wire::named(address, SERVER, config).await
    }

    /// To a server of another name.
    pub async fn named(address: SocketAddr, name: &str, config: Arc<ClientConfig>) -> std::io::Result<Wire> {
        let tcp = TcpStream::connect(address).await?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let tls = TlsConnector::from(config).connect(name, tcp).await?;
        Ok(Wire { tls, unread: Vec::new() })
    }
}

impl Wire<UnixStream> {
    /// Over the control socket.
    pub async fn local(path: &Path) -> Wire<UnixStream> {
        Wire { tls: UnixStream::connect(path).await.unwrap(), unread: Vec::new() }
    }
}

impl Wire<TcpStream> {
    /// Without TLS.
    pub async fn plain(address: SocketAddr) -> Wire<TcpStream> {
        Wire { tls: TcpStream::connect(address).await.unwrap(), unread: Vec::new() }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub async fn get(&mut self, target: &str) -> Reply {
        self.ask("GET", target, &[], b"").await
    }

    /// Sends a request and reads its answer.
    pub async fn ask(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {SERVER}:8140\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() || method == "PUT" || method == "POST" {
            text += &format!("Content-Length: {}\r\n", body.len());
        }
        let mut bytes = (text + "\r\n").into_bytes();
        bytes.extend_from_slice(body);
        // A server that refuses early may have closed; its answer is there to read all the same.
        let _ = self.tls.write_all(&bytes).await;
        let _ = self.tls.flush().await;
        self.reply(method == "HEAD").await.unwrap()
    }

    pub async fn send(&mut self, text: &str) {
        self.tls.write_all(text.as_bytes()).await.unwrap();
        self.tls.flush().await.unwrap();
    }

    /// Reads an answer.
    pub async fn reply(&mut self, without_body: bool) -> std::io::Result<Reply> {
        let mut reply = self.head().await?;
        let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        if without_body || reply.status == 304 {
            return Ok(reply);
        }
        if reply.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk().await? {
                reply.body.extend_from_slice(&chunk);
            }
            return Ok(reply);
        }
        while self.unread.len() < length {
            self.more().await?;
        }
        reply.body = self.unread.drain(..length).collect();
        Ok(reply)
    }

    /// Reads the head of an answer.
    pub async fn head(&mut self) -> std::io::Result<Reply> {
        let head = self.until(b"\r\n\r\n").await?;
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<_> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Ok(Reply { status, headers, body: Vec::new() })
    }

    /// Reads the next part of a body that does not say its length; none at its end.
    pub async fn chunk(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let line = self.until(b"\r\n").await?;
        let length = usize::from_str_radix(String::from_utf8(line).unwrap().trim(), 16).unwrap();
        while self.unread.len() < length + 2 {
            self.more().await?;
        }
        let mut chunk: Vec<u8> = self.unread.drain(..length + 2).collect();
        chunk.truncate(length);
        Ok((length > 0).then_some(chunk))
    }

    async fn until(&mut self, end: &[u8]) -> std::io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|window| window == end) {
                return Ok(self.unread.drain(..at + end.len()).collect());
            }
            self.more().await?;
        }
    }

    /// Whether the server has closed, with nothing more to say.
    pub async fn is_closed(&mut self) -> bool {
        self.unread.is_empty() && self.more().await.is_err()
    }

    async fn more(&mut self) -> std::io::Result<()> {
        let mut chunk = vec![0; 16 * 1024];
        let read = self.tls.read(&mut chunk).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.unread.extend_from_slice(&chunk[..read]);
        Ok(())
    }
}

/// Asks one thing on a connection of its own.
pub async fn once(
    world: &World,
    holder: Option<&Holder>,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    Wire::connect(world, holder).await.ask(method, target, headers, body).await
}
