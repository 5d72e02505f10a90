//! Requests and their answers.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, DATE, HOST, HeaderMap, IF_MODIFIED_SINCE, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use crate::connect::Route;
use crate::{Error, Lines, Roots, Target, tls};

/// Most bytes of an answer, and of a line of a held one: room for the revocation list of a million.
pub const MAX_BODY_BYTES: usize = 64 << 20;

/// What a server that nobody vouches for is asked for.
const BUNDLE: &str = "/puppet-ca/v1/certificate/ca";
/// Most characters of a server's text in an error.
const MAX_TEXT: usize = 500;

/// How long each step of a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// From the name to the end of the TLS handshake.
    pub connect: Duration,
    /// From there to the head of the answer. A CA may hold a client back for 20 s rather than refuse it.
    pub head: Duration,
    /// From there to the end of the answer.
    pub body: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Deadlines { connect: seconds(10), head: seconds(60), body: seconds(60) }
    }
}

/// An answer, whatever its status.
#[derive(Clone)]
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its content type, if it has a readable one.
    pub content_type: Option<String>,
    /// The server's clock, to the second, if it told.
    pub date: Option<SystemTime>,
    /// All of its body.
    pub body: Bytes,
    headers: HeaderMap,
}

impl Response {
    /// The first header of that name, if it is readable.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body for a person: one line of at most 500 characters, escaped.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().escape_debug().take(MAX_TEXT).collect()
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Response({}, {} bytes)", self.status, self.body.len())
    }
}

/// A client of one server. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    at: String,
    host: String,
    route: Route,
    any_once: bool,
    deadlines: Deadlines,
    cap: usize,
}

impl Client {
    /// Makes ready; nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Target`] for certificates, lists, a key or a host name that cannot be used.
    pub fn new(target: Target) -> Result<Client, Error> {
        let (deadlines, cap) = (Deadlines::default(), MAX_BODY_BYTES);
        let (host, port, roots, identity) = match target {
            Target::Unix(path) => {
                let (at, host) = (path.display().to_string(), "localhost".to_owned());
                return Ok(Client { at, host, route: Route::Unix(path), any_once: false, deadlines, cap });
            }
            Target::Https { host, port, roots, identity } => (host, port, roots, identity),
        };
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let at = format!("{bracketed}:{port}");
        let target = |reason: String| Error::Target { at: at.clone(), reason };
        let name = ServerName::try_from(host.clone());
        let name = name.map_err(|_| target("this is no host name and no address".to_owned()))?;
        let config = tls::config(&roots, identity.as_ref()).map_err(target)?;
        let route = Route::Tls { host, port, name, connector: TlsConnector::from(config) };
        let any_once = matches!(roots, Roots::AnyOnce);
        Ok(Client { host: at.clone(), at, route, any_once, deadlines, cap })
    }

    /// The same with other deadlines.
    #[must_use]
    pub fn with_deadlines(self, deadlines: Deadlines) -> Client {
        Client { deadlines, ..self }
    }

    /// The same for answers of at most so many bytes, such as a list of every certificate.
    #[must_use]
    pub fn with_cap(self, cap: usize) -> Client {
        Client { cap, ..self }
    }

    /// The server, as errors name it: `host:port`, or the path of a socket.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// Asks, with a body of some content type or without.
    ///
    /// # Errors
    /// [`Error`] when there is no whole answer; an answer of any status is one.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, Bytes)>,
    ) -> Result<Response, Error> {
        self.whole(self.build(method, path, body, None)?).await
    }

    /// Gets something if it has changed since; the status says so: 304 if not.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn get_since(&self, path: &str, since: Option<SystemTime>) -> Result<Response, Error> {
        self.whole(self.build(Method::GET, path, None, since)?).await
    }

    /// Gets an answer that the server holds open, to be read line by line. It counts as dead when not a
    /// byte came for `silence`.
    ///
    /// # Errors
    /// As [`Client::request`], and [`Error::Status`] for every status but 200.
    pub async fn lines(&self, path: &str, silence: Duration) -> Result<Lines, Error> {
        let (response, connection) = self.send(self.build(Method::GET, path, None, None)?).await?;
        let status = response.status();
        if status != StatusCode::OK {
            let text = self.read(response).await?.text();
            return Err(Error::Status { at: self.at.clone(), path: path.to_owned(), status, text });
        }
        Ok(Lines::new(self.at.clone(), response.into_body(), silence, connection))
    }

    fn build(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, Bytes)>,
        since: Option<SystemTime>,
    ) -> Result<Request<Full<Bytes>>, Error> {
        if self.any_once && (method != Method::GET || path != BUNDLE) {
            return Err(Error::Unverified { at: self.at.clone(), what: format!("{method} {path}") });
        }
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.host)
            .header(USER_AGENT, concat!("bunraku/", env!("CARGO_PKG_VERSION")))
            // Puppet Server wants to be told what it may answer with.
            .header(ACCEPT, "application/json, text/plain;q=0.9, */*;q=0.1");
        if let Some((content_type, _)) = &body {
            request = request.header(CONTENT_TYPE, *content_type);
        }
        if let Some(since) = since {
            request = request.header(IF_MODIFIED_SINCE, httpdate::fmt_http_date(since));
        }
        let request = request.body(Full::new(body.map(|(_, body)| body).unwrap_or_default()));
        request.map_err(|error| Error::Target { at: self.at.clone(), reason: format!("{path:?}: {error}") })
    }

    async fn whole(&self, request: Request<Full<Bytes>>) -> Result<Response, Error> {
        let (response, _connection) = self.send(request).await?;
        self.read(response).await
    }

    /// Sends a request over a connection of its own, which lives as long as the handle.
    async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(hyper::Response<Incoming>, AbortOnDropHandle<()>), Error> {
        let stream = self.route.connect(&self.at, self.deadlines.connect).await?;
        let sent = async {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            // Its error comes out of the request or the body too.
            let connection = AbortOnDropHandle::new(tokio::spawn(async { drop(connection.await) }));
            Ok((sender.send_request(request).await?, connection))
        };
        let after = self.deadlines.head;
        let late = || Error::Deadline { at: self.at.clone(), what: "answer", after };
        timeout(after, sent).await.map_err(|_| late())?.map_err(|error| failed(&self.at, &error))
    }

    async fn read(&self, response: hyper::Response<Incoming>) -> Result<Response, Error> {
        let (head, mut body) = response.into_parts();
        let reading = async {
            let mut read = BytesMut::new();
            while let Some(frame) = body.frame().await {
                if let Ok(data) = frame.map_err(|error| failed(&self.at, &error))?.into_data() {
                    if read.len() + data.len() > self.cap {
                        return Err(Error::TooLarge { at: self.at.clone(), cap: self.cap });
                    }
                    read.extend_from_slice(&data);
                }
            }
            Ok(read.freeze())
        };
        let after = self.deadlines.body;
        let late = || Error::Deadline { at: self.at.clone(), what: "finish its answer", after };
        let body = timeout(after, reading).await.map_err(|_| late())??;
        let text = |name| HeaderMap::get(&head.headers, name).and_then(|value| value.to_str().ok());
        Ok(Response {
            status: head.status,
            content_type: text(CONTENT_TYPE).map(str::to_owned),
            date: text(DATE).and_then(|date| httpdate::parse_http_date(date).ok()),
            body,
            headers: head.headers,
        })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.at)
    }
}

/// An error of the HTTP library as ours. What TLS or the system says is inside it.
pub(crate) fn failed(at: &str, error: &hyper::Error) -> Error {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return tls::explain(at, io);
        }
        source = inner.source();
    }
    Error::Broken { at: at.to_owned(), reason: error.to_string() }
}

const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Client>();
    shared::<Arc<Error>>();
};
