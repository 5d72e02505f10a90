//! Servers on loopback that answer with fixed bytes, and a CA for them.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Told: yes\r\nConnection: keep-alive\r\n\
                      Keep-Alive: timeout=9\r\n\r\nfine";

/// Answers the first request of each connection and, unless it is to hang, closes. What it was asked
/// comes out of the channel.
pub struct Server {
    pub port: u16,
    pub asked: mpsc::UnboundedReceiver<String>,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    pub async fn plain(answer: &str) -> Server {
        Server::start("127.0.0.1:0", None, answer, false).await
    }

    pub async fn plain_at(address: &str, answer: &str) -> Server {
        Server::start(address, None, answer, false).await
    }

    pub async fn hanging(answer: &str) -> Server {
        Server::start("127.0.0.1:0", None, answer, true).await
    }

    pub async fn tls(authority: &Authority, name: &str, answer: &str) -> Server {
        Server::start("127.0.0.1:0", Some(authority.acceptor(name)), answer, false).await
    }

    async fn start(address: &str, tls: Option<TlsAcceptor>, answer: &str, hang: bool) -> Server {
        let listener = TcpListener::bind(address).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, asked) = mpsc::unbounded_channel();
        let answer: Arc<[u8]> = answer.as_bytes().into();
        let task = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (tls, answer, tell) = (tls.clone(), answer.clone(), tell.clone());
                tokio::spawn(async move {
                    match tls {
                        None => converse(tcp, &answer, hang, &tell).await,
                        Some(acceptor) => {
                            let Ok(stream) = acceptor.accept(tcp).await else { return };
                            converse(stream, &answer, hang, &tell).await;
                        }
                    }
                });
            }
        });
        Server { port, asked, _task: AbortOnDropHandle::new(task) }
    }
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &[u8],
    hang: bool,
    tell: &mpsc::UnboundedSender<String>,
) {
    let mut read = Vec::new();
    while !is_whole(&read) {
        if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
            return;
        }
        // Someone wants TLS where there is none.
        if read.first() == Some(&0x16) {
            return;
        }
    }
    let _ = tell.send(String::from_utf8_lossy(&read).into_owned());
    let _ = stream.write_all(answer).await;
    let _ = stream.flush().await;
    if hang {
        std::future::pending::<()>().await;
    }
    let _ = stream.shutdown().await;
}

/// Whether a request is there with its body.
fn is_whole(read: &[u8]) -> bool {
    let text = String::from_utf8_lossy(read);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

/// A CA of its own.
pub struct Authority(Issuer<'static, KeyPair>, String);

impl Authority {
    pub fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority(Issuer::new(params, key), pem)
    }

    pub fn pem(&self) -> &str {
        &self.1
    }

    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        let config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(
                    vec![leaf.der().clone()],
                    PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
                )
                .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}
