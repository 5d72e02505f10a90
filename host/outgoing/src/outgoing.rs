//! One request from the allow list to the last byte of its answer.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Method;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;
use url::{Host, Url};

use crate::rule::{Rule, Scheme, is_ours, split};
use crate::{Refused, Request, Response, address, secret, tls};

/// Bytes of an answer's head after which no more are read; what one reading brings may exceed it.
const MAX_HEAD: usize = 64 << 10;

/// Lines of an answer's head, at most.
const MAX_HEADERS: usize = 100;

/// How requests are made.
#[derive(Clone)]
pub struct Settings {
    /// Requests at once, of all plugins; more of them wait.
    pub at_once: usize,
    /// Who knows the addresses of names.
    pub resolver: Arc<dyn Resolve>,
}

impl Default for Settings {
    /// 32 at once, and the system's resolver.
    fn default() -> Self {
        Settings { at_once: 32, resolver: Arc::new(SystemResolver) }
    }
}

/// Who knows the addresses of names.
pub trait Resolve: Send + Sync {
    /// Every address of a name. It may block.
    ///
    /// # Errors
    /// Why there is none.
    fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// What the system says: its hosts file and its DNS.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        (name, 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect())
    }
}

/// Makes requests for plugins. One for the whole process.
pub struct Outgoing {
    resolver: Arc<dyn Resolve>,
    permits: Arc<Semaphore>,
    machine: Arc<tls::Machine>,
}

impl Outgoing {
    /// Makes ready; nothing is read or sent yet.
    pub fn new(settings: Settings) -> Outgoing {
        let permits = Arc::new(Semaphore::new(settings.at_once.clamp(1, Semaphore::MAX_PERMITS)));
        Outgoing { resolver: settings.resolver, permits, machine: Arc::default() }
    }

    /// Sends a request that the rules allow, and reads its answer, whatever its status.
    ///
    /// # Errors
    /// [`Refused`]; before [`Refused::Credential`] nothing but a question to the resolver went out.
    pub async fn fetch(&self, rules: &[Rule], request: Request) -> Result<Response, Refused> {
        let (url, rule, method) = granted(rules, &request)?;
        let (origin, cap) = (&rule.origin, rule.max_body);
        if u64::try_from(request.body.len()).map_or(true, |length| length > cap) {
            return Err(Refused::TooLarge { origin: origin.clone(), what: "request", cap });
        }
        let mut headers = headers(&request.headers, rule)?;
        let deadline = Instant::now() + rule.timeout;
        let asking = async {
            // The resolver's thread holds it too, for it runs on when nobody waits any more.
            let Ok(permit) = self.permits.clone().acquire_owned().await else {
                return Err(unavailable(rule, "the master is ending"));
            };
            let permit = Arc::new(permit);
            let addresses = self.addresses(rule, permit.clone()).await?;
            let tls = self.prepare(rule, &mut headers).await?;
            let stream = connect(rule, &addresses, tls, deadline).await?;
            let response = send(rule, stream, build(&url, method, headers, request.body)?).await;
            drop(permit);
            response
        };
        let late = |_| Refused::Late { origin: origin.clone(), after: rule.timeout };
        timeout_at(deadline, asking).await.map_err(late)?
    }

    /// Every address of the origin; all of them may be reached.
    async fn addresses(
        &self,
        rule: &Rule,
        permit: Arc<OwnedSemaphorePermit>,
    ) -> Result<Vec<IpAddr>, Refused> {
        let found = match &rule.origin.host {
            Host::Ipv4(address) => vec![IpAddr::V4(*address)],
            Host::Ipv6(address) => vec![IpAddr::V6(*address)],
            Host::Domain(name) => {
                let (resolver, name) = (self.resolver.clone(), name.clone());
                let asked = tokio::task::spawn_blocking(move || {
                    let found = resolver.resolve(&name);
                    drop(permit);
                    found
                });
                let found = asked.await.map_err(|_| unavailable(rule, "the resolver failed"))?;
                found
                    .map_err(|error| unavailable(rule, format_args!("its name does not resolve: {error}")))?
            }
        };
        if found.is_empty() {
            return Err(unavailable(rule, "its name has no address"));
        }
        for address in &found {
            address::check(rule, *address).map_err(|why| {
                // One bad address is enough: a name that leads inside at times is one not to trust.
                Refused::Address { origin: rule.origin.clone(), address: *address, why }
            })?;
        }
        Ok(found)
    }

    /// Reads what the rule points to: adds the credentials, and says whom to believe.
    async fn prepare(
        &self,
        rule: &Rule,
        headers: &mut HeaderMap,
    ) -> Result<Option<Arc<ClientConfig>>, Refused> {
        let (machine, owned) = (self.machine.clone(), rule.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let origin = &owned.origin;
            let values = owned.credentials.iter().map(|credential| {
                secret::value(credential).map(|value| (credential.header.clone(), value)).map_err(|reason| {
                    let header = credential.header.to_string();
                    Refused::Credential { origin: origin.clone(), header, reason }
                })
            });
            let values = values.collect::<Result<Vec<_>, _>>()?;
            let tls = match origin.scheme {
                Scheme::Http => None,
                Scheme::Https => Some(machine.config(owned.ca_file.as_deref()).map_err(|reason| {
                    Refused::Roots { origin: origin.clone(), file: owned.ca_file.clone(), reason }
                })?),
            };
            Ok((values, tls))
        });
        let (values, tls) =
            reading.await.map_err(|_| unavailable(rule, "reading its credentials failed"))??;
        headers.extend(values.into_iter().map(|(name, value)| (Some(name), value)));
        Ok(tls)
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outgoing({} more at once)", self.permits.available_permits())
    }
}

/// Whether the rules allow a request; where its host's name leads is not looked at.
pub fn allows(rules: &[Rule], request: &Request) -> bool {
    granted(rules, request).is_ok()
}

/// Finds the rule that allows a request. Errors hold no more of the URL than its origin.
fn granted<'r>(rules: &'r [Rule], request: &Request) -> Result<(Url, &'r Rule, Method), Refused> {
    let invalid = |why: &str| Refused::Invalid(why.to_owned());
    let (url, origin) = split(&request.url)
        .map_err(|_| invalid("its URL is none of a web server; it is written https://HOST:PORT/PATH"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("its URL holds a user name or a password; credentials are granted"));
    }
    let method = Method::from_bytes(request.method.as_bytes()).map_err(|_| invalid("its method is none"))?;
    let rule = rules.iter().find(|rule| rule.origin == origin && rule.methods.contains(&method));
    rule.map(|rule| (url, rule, method.clone()))
        .ok_or_else(|| Refused::NotGranted { what: format!("{method} {origin}") })
}

/// What of the plugin's headers goes out.
fn headers(wanted: &[(String, Vec<u8>)], rule: &Rule) -> Result<HeaderMap, Refused> {
    let mut headers = HeaderMap::new();
    for (name, value) in wanted {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| Refused::Invalid(format!("{name:?} is no header's name")))?;
        if is_ours(&name) || rule.credentials.iter().any(|credential| credential.header == name) {
            continue;
        }
        let value = HeaderValue::from_bytes(value)
            .map_err(|_| Refused::Invalid(format!("the header `{name}` holds what none may")))?;
        let full = || Refused::Invalid("it has too many headers".to_owned());
        headers.try_append(name, value).map_err(|_| full())?;
    }
    Ok(headers)
}

fn build(
    url: &Url,
    method: Method,
    mut headers: HeaderMap,
    body: Vec<u8>,
) -> Result<hyper::Request<Full<Bytes>>, Refused> {
    let invalid = |error: &dyn fmt::Display| Refused::Invalid(error.to_string());
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    // As in a browser, the scheme's own port is not written.
    let host = match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => return Err(invalid(&"its URL has no host")),
    };
    headers.insert(HOST, HeaderValue::try_from(host).map_err(|error| invalid(&error))?);
    let ours = HeaderValue::from_static(concat!("bunraku/", env!("CARGO_PKG_VERSION")));
    headers.entry(USER_AGENT).or_insert(ours);
    let request = hyper::Request::builder().method(method).uri(format!("{}{query}", url.path()));
    let mut request = request.body(Full::new(Bytes::from(body))).map_err(|error| invalid(&error))?;
    *request.headers_mut() = headers;
    Ok(request)
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to one of the addresses that were looked at; the name is not asked for again.
async fn connect(
    rule: &Rule,
    addresses: &[IpAddr],
    tls: Option<Arc<ClientConfig>>,
    deadline: Instant,
) -> Result<Box<dyn Stream>, Refused> {
    let tcp = tcp(rule, addresses, deadline).await?;
    let failed = |error: io::Error| unavailable(rule, error);
    tcp.set_nodelay(true).map_err(failed)?;
    let Some(config) = tls else { return Ok(Box::new(tcp)) };
    let name = match &rule.origin.host {
        Host::Domain(name) => ServerName::try_from(name.clone()).map_err(|error| unavailable(rule, error))?,
        Host::Ipv4(address) => ServerName::from(IpAddr::V4(*address)),
        Host::Ipv6(address) => ServerName::from(IpAddr::V6(*address)),
    };
    Ok(Box::new(TlsConnector::from(config).connect(name, tcp).await.map_err(failed)?))
}

/// Each address gets its share of the time that is left, so that one which swallows packets does not
/// hide the next.
async fn tcp(rule: &Rule, addresses: &[IpAddr], deadline: Instant) -> Result<TcpStream, Refused> {
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    for (tried, address) in addresses.iter().enumerate() {
        let now = Instant::now();
        let left = u32::try_from(addresses.len().saturating_sub(tried)).unwrap_or(1).max(1);
        let share = now + deadline.saturating_duration_since(now) / left;
        match timeout_at(share, TcpStream::connect(SocketAddr::new(*address, rule.origin.port))).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => {}
        }
    }
    Err(unavailable(rule, last))
}

async fn send(
    rule: &Rule,
    stream: Box<dyn Stream>,
    request: hyper::Request<Full<Bytes>>,
) -> Result<Response, Refused> {
    let failed = |error: hyper::Error| unavailable(rule, error);
    let mut http = http1::Builder::new();
    let http = http.max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
    let (mut sender, connection) = http.handshake(TokioIo::new(stream)).await.map_err(failed)?;
    // Its error comes out of the request or the body too.
    let _connection = AbortOnDropHandle::new(tokio::spawn(async { drop(connection.await) }));
    let (head, body) = sender.send_request(request).await.map_err(failed)?.into_parts();
    let kept = head.headers.iter().filter(|(name, _)| !is_ours(name) || *name == CONTENT_LENGTH);
    let headers = kept.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
    Ok(Response { status: head.status.as_u16(), headers, body: read(rule, body).await? })
}

async fn read(rule: &Rule, mut body: Incoming) -> Result<Vec<u8>, Refused> {
    let cap = rule.max_body;
    let too_large = || Refused::TooLarge { origin: rule.origin.clone(), what: "answer", cap };
    if body.size_hint().lower() > cap {
        return Err(too_large());
    }
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(part) = frame.map_err(|error| unavailable(rule, error))?.into_data() else { continue };
        if u64::try_from(read.len().saturating_add(part.len())).map_or(true, |length| length > cap) {
            return Err(too_large());
        }
        read.extend_from_slice(&part);
    }
    Ok(read)
}

fn unavailable(rule: &Rule, reason: impl fmt::Display) -> Refused {
    Refused::Unavailable { origin: rule.origin.clone(), reason: reason.to_string() }
}
