//! A plain HTTPS client for what no agent would send, or not on demand.
//!
//! One connection a request, or one kept for many ([`Connection`]). Paths go out as they are given, percent
//! signs and all.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::request::Identity;

/// A request that takes longer fails.
const LIMIT: Duration = Duration::from_secs(30);

/// The name that masters are called by.
const SERVER: &str = "puppet";

/// Speaks to one master.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    server: String,
    config: Arc<ClientConfig>,
}

/// What the master answered.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Header names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Client {
    /// A client without a certificate that believes any server, as an agent on its first contact.
    ///
    /// # Errors
    /// None in practice: the cryptography of the build is incomplete.
    pub fn stranger(address: SocketAddr) -> Result<Client> {
        let provider = provider();
        let algorithms = provider.signature_verification_algorithms;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer(algorithms)))
            .with_no_client_auth();
        Ok(Client { address, server: SERVER.to_owned(), config: Arc::new(config) })
    }

    /// A client that knows the CA, with a certificate or without.
    ///
    /// # Errors
    /// A certificate or key that cannot be read.
    pub fn new(address: SocketAddr, ca: &str, identity: Option<&Identity>) -> Result<Client> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
            roots.add(certificate?)?;
        }
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes());
                let chain = chain.collect::<Result<Vec<_>, _>>()?;
                builder
                    .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?)?
            }
        };
        Ok(Client { address, server: SERVER.to_owned(), config: Arc::new(config) })
    }

    /// The same client, for a server of another name than `puppet`.
    #[must_use]
    pub fn of(mut self, server: &str) -> Client {
        server.clone_into(&mut self.server);
        self
    }

    /// GET.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn get(&self, path: &str) -> Result<Answer> {
        self.send("GET", path, &[], b"")
    }

    /// PUT of a text.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn put(&self, path: &str, body: &[u8]) -> Result<Answer> {
        self.send("PUT", path, &[(CONTENT_TYPE.as_str(), "text/plain")], body)
    }

    /// Asks for a catalog as agents do, with facts as JSON.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn catalog(&self, certname: &str, facts: &Value) -> Result<Answer> {
        self.catalog_of_text(certname, &json!({"name": certname, "values": facts}).to_string())
    }

    /// As [`Client::catalog`], with any text for the JSON of the facts.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn catalog_of_text(&self, certname: &str, facts: &str) -> Result<Answer> {
        // The value is encoded once for itself and once for the form.
        let facts = encode(&encode(facts));
        let form = format!("environment=production&facts_format=application%2Fjson&facts={facts}");
        let headers = [
            (CONTENT_TYPE.as_str(), "application/x-www-form-urlencoded"),
            (ACCEPT.as_str(), "application/vnd.puppet.rich+json, application/json"),
        ];
        let path = format!("/puppet/v3/catalog/{certname}?environment=production");
        self.send("POST", &path, &headers, form.as_bytes())
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// No connection, a refused handshake, a connection cut before the answer ended, or 30 seconds.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let exchange = self.exchange(method, path, headers, body);
            tokio::time::timeout(LIMIT, exchange).await.map_err(|_| anyhow!("no answer in {LIMIT:?}"))?
        })
    }

    async fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer> {
        self.connect().await?.send(method, path, headers, body).await
    }

    /// A connection that is kept for many requests.
    ///
    /// # Errors
    /// No connection, or a refused handshake.
    pub async fn connect(&self) -> Result<Connection> {
        let tcp = tokio::net::TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(self.server.clone())?;
        let tls = TlsConnector::from(self.config.clone()).connect(name, tcp).await.context("handshake")?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await?;
        Ok(Connection { sender, driver: Some(tokio::spawn(connection)) })
    }
}

/// One connection, for one request after the other.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: Option<JoinHandle<Result<(), hyper::Error>>>,
}

impl Connection {
    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// A connection cut before the answer ended; it is of no more use then.
    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer> {
        let mut request = hyper::Request::builder().method(method).uri(path).header(HOST, "puppet:8140");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        // A connection that is closed says so again, and why, when it is sent to.
        let _ = self.sender.ready().await;
        let answer = self.sender.send_request(request.body(Full::new(Bytes::copy_from_slice(body)))?).await;
        // With TLS 1.3 a refused certificate shows on the first read: hyper says only "closed", the
        // connection knows the alert.
        let answer = match (answer, self.driver.take()) {
            (Ok(answer), driver) => {
                self.driver = driver;
                answer
            }
            (Err(error), None) => return Err(anyhow!(error)),
            (Err(error), Some(driver)) => {
                let cause = driver.await.ok().and_then(Result::err);
                return Err(cause.map_or_else(|| anyhow!(error), |cause| anyhow!(cause)));
            }
        };
        let (parts, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes().to_vec();
        let text =
            |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers =
            parts.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        Ok(Answer { status: parts.status.as_u16(), headers, body })
    }
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The first value of a header; its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Takes every server certificate; checks that the server holds its key.
#[derive(Debug)]
struct AnyServer(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
