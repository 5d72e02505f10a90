//! A CA on loopback that says what a test wants it to say.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use bunraku_follower::{Pin, Settings};
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Channel, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use pki::{Certificate, CertificateRequest, Certname, KeyKind, PublicKey, RequestRules};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::authority::{Authority, Life};

pub const NAME: &str = "master1.test";

/// What the CA does with a request.
pub enum Policy {
    Sign(Life),
    Leave,
    Refuse(&'static str),
}

/// What it says and what it was told.
pub struct State {
    pub authority: Arc<Authority>,
    pub bundle: String,
    pub lists: String,
    /// The lists for agents, where they are others.
    pub agents_lists: Option<String>,
    pub lists_modified: SystemTime,
    pub policy: Policy,
    /// Status of the stream, if it is not there.
    pub no_stream: Option<StatusCode>,
    /// Whether the stream says that it lives.
    pub alive: bool,
    pub certificates: HashMap<String, Certificate>,
    pub requests: HashMap<String, CertificateRequest>,
    /// Method, path and status of every request.
    pub log: Vec<String>,
}

pub struct Fake {
    pub port: u16,
    shared: Arc<Shared>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    lines: broadcast::Sender<Bytes>,
    /// Numbers that masters have reported, in order.
    enforced: watch::Sender<Vec<u64>>,
    /// Streams that were begun.
    streams: watch::Sender<u32>,
}

type Body = BoxBody<Bytes, Infallible>;

impl Fake {
    /// A CA that signs all, with an empty list of number 1.
    pub async fn start(authority: Authority) -> Fake {
        let state = State {
            bundle: authority.bundle.clone(),
            lists: authority.lists(1, &[]),
            agents_lists: None,
            lists_modified: SystemTime::now() - Duration::from_secs(3600),
            policy: Policy::Sign(Life::default()),
            no_stream: None,
            alive: true,
            certificates: HashMap::new(),
            requests: HashMap::new(),
            log: Vec::new(),
            authority: Arc::new(authority),
        };
        let shared = Shared {
            state: Mutex::new(state),
            lines: broadcast::channel(64).0,
            enforced: watch::Sender::default(),
            streams: watch::Sender::default(),
        };
        let mut fake = Fake { port: 0, shared: Arc::new(shared), accepting: Mutex::default() };
        fake.port = fake.listen(0).await;
        fake
    }

    /// Cuts all connections and listens no more.
    pub async fn stop(&self) {
        let accepting = self.accepting.lock().unwrap().take().unwrap();
        accepting.abort();
        let _ = accepting.await;
    }

    /// Listens again, where it did.
    pub async fn start_again(&self) {
        self.listen(self.port).await;
    }

    async fn listen(&self, port: u16) -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (shared, authority) = (self.shared.clone(), self.state().authority.clone());
        let acceptor = acceptor(&authority);
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                connections.spawn(serve(tcp, acceptor.clone(), shared.clone()));
            }
        });
        *self.accepting.lock().unwrap() = Some(accepting);
        port
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    pub fn authority(&self) -> Arc<Authority> {
        self.state().authority.clone()
    }

    /// Publishes new lists: they are served and pushed.
    pub fn publish(&self, number: u64, lists: &str) {
        let line = {
            let mut state = self.state();
            state.lists = lists.to_owned();
            state.lists_modified = SystemTime::now();
            state.word(Some(number))
        };
        self.push(&line);
    }

    /// Pushes a line as it is.
    pub fn push(&self, line: &str) {
        let _ = self.shared.lines.send(Bytes::from(format!("{line}\n")));
    }

    /// Waits until a master has reported this number.
    pub async fn enforced(&self, number: u64) {
        let mut enforced = self.shared.enforced.subscribe();
        let waited = enforced.wait_for(|numbers| numbers.contains(&number));
        tokio::time::timeout(Duration::from_secs(30), waited).await.expect("in time").unwrap();
    }

    /// The numbers reported so far.
    pub fn reports(&self) -> Vec<u64> {
        self.shared.enforced.borrow().clone()
    }

    /// Waits until so many streams were begun since the start.
    pub async fn streams(&self, number: u32) {
        let mut streams = self.shared.streams.subscribe();
        let waited = streams.wait_for(|begun| *begun >= number);
        tokio::time::timeout(Duration::from_secs(30), waited).await.expect("in time").unwrap();
    }

    /// How often something was asked for with this outcome.
    pub fn asked(&self, what: &str) -> usize {
        self.state().log.iter().filter(|line| line.contains(what)).count()
    }

    /// Signs a request that was left.
    pub fn sign(&self, name: &str) {
        let mut state = self.state();
        let request = state.requests.get(name).unwrap().clone();
        state.certify(name, &request.key, Life::default());
    }

    /// How a master is set that follows this CA.
    pub fn settings(&self, dir: &std::path::Path) -> Settings {
        Settings {
            dir: dir.join("follow"),
            server: ("localhost".to_owned(), self.port),
            certname: Certname::parse(NAME).unwrap(),
            dns_alt_names: Vec::new(),
            pin: Some(
                Pin::fingerprint(&pki::Fingerprint::of(self.state().bundle.as_bytes()).to_hex()).unwrap(),
            ),
            grace: Duration::from_secs(7 * 24 * 3600),
            key: KeyKind::EcP256,
            poll: Duration::from_millis(300),
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        if let Some(accepting) = self.accepting.lock().unwrap().take() {
            accepting.abort();
        }
    }
}

impl State {
    /// What the stream says of the present.
    pub fn word(&self, number: Option<u64>) -> String {
        let number = number.unwrap_or_else(|| {
            let own = self.lists.split_inclusive("-----END X509 CRL-----\n").next().unwrap();
            pki::crl::Crl::parse_pem(own.as_bytes()).unwrap().number
        });
        let agents = self.agents_lists.as_ref().unwrap_or(&self.lists);
        serde_json::json!({ "bundle": self.bundle, "crls": self.lists, "agents_crls": agents, "number": number })
            .to_string()
    }

    fn certify(&mut self, name: &str, key: &PublicKey, life: Life) -> String {
        let certificate = self.authority.certify(name, &[], key, life);
        let pem = certificate.to_pem();
        self.certificates.insert(name.to_owned(), certificate);
        pem
    }
}

fn acceptor(authority: &Authority) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(authority.bundle.as_bytes()) {
        roots.add(root.unwrap()).unwrap();
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let verifier = verifier.allow_unauthenticated().build().unwrap();
    let identity = authority.identity("ca.test", &["localhost"]);
    let own = CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_client_cert_verifier(verifier).with_single_cert(vec![own], key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(tcp: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    tcp.set_nodelay(true).unwrap();
    let Ok(tls) = acceptor.accept(tcp).await else { return };
    let peer = tls.get_ref().1.peer_certificates().and_then(|chain| chain.first().cloned());
    let peer = peer.map(|der| Certificate::parse_der(&der).unwrap());
    let service = service_fn(|request| {
        let (shared, peer) = (shared.clone(), peer.clone());
        async move {
            let what = format!("{} {}", request.method(), request.uri().path());
            let answer = answer(&shared, request, peer).await;
            shared.state.lock().unwrap().log.push(format!("{what} {}", answer.status().as_u16()));
            Ok::<_, Infallible>(answer)
        }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tls), service).await;
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    Response::builder().status(status).body(Full::new(text.into()).boxed()).unwrap()
}

async fn answer(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
    peer: Option<Certificate>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let (get, path) = (head.method == Method::GET, head.uri.path());
    let own_name = peer.as_ref().is_some_and(|peer| peer.subject_cn.starts_with("master"));
    let mut state = shared.state.lock().unwrap();
    match path.strip_prefix("/puppet-ca/v1/").unwrap_or(path) {
        "certificate/ca" => text(StatusCode::OK, state.bundle.clone()),
        "certificate_revocation_list/ca" => {
            let since = head.headers.get("if-modified-since");
            let since = since.map(|since| httpdate::parse_http_date(since.to_str().unwrap()).unwrap());
            let whole = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
            if since.is_some_and(|since| whole(since) >= whole(state.lists_modified)) {
                return text(StatusCode::NOT_MODIFIED, "");
            }
            text(StatusCode::OK, state.agents_lists.clone().unwrap_or_else(|| state.lists.clone()))
        }
        "certificate_renewal" => match peer {
            Some(peer) => {
                let pem = state.certify(&peer.subject_cn, &peer.key, Life::default());
                text(StatusCode::OK, pem)
            }
            None => text(StatusCode::BAD_REQUEST, "no certificate"),
        },
        "/bunraku/v1/ca/stream" if !own_name => text(StatusCode::FORBIDDEN, "no master"),
        "/bunraku/v1/ca/stream" => match state.no_stream {
            Some(status) => text(status, "there is no stream here"),
            None => stream(shared, &state),
        },
        "/bunraku/v1/ca/enforcing" if own_name => {
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let number = body["crl_number"].as_u64().unwrap();
            shared.enforced.send_modify(|numbers| numbers.push(number));
            text(StatusCode::NO_CONTENT, "")
        }
        other => {
            if let Some(name) = other.strip_prefix("certificate/").filter(|_| get) {
                return match state.certificates.get(name) {
                    Some(certificate) => text(StatusCode::OK, certificate.to_pem()),
                    None => text(StatusCode::NOT_FOUND, format!("Could not find certificate {name}")),
                };
            }
            let Some(name) = other.strip_prefix("certificate_request/") else {
                return text(StatusCode::NOT_FOUND, "");
            };
            let rules = RequestRules { allow_subject_alt_names: true, ..RequestRules::default() };
            let request = CertificateRequest::parse(&body, &rules).unwrap();
            request.check_name(name).unwrap();
            state.requests.insert(name.to_owned(), request.clone());
            match state.policy {
                Policy::Refuse(why) => return text(StatusCode::BAD_REQUEST, why),
                Policy::Leave => {}
                Policy::Sign(life) => drop(state.certify(name, &request.key, life)),
            }
            text(StatusCode::OK, "")
        }
    }
}

fn stream(shared: &Arc<Shared>, state: &State) -> Response<Body> {
    let (mut sender, body) = Channel::<Bytes>::new(8);
    let (mut lines, word, alive) = (shared.lines.subscribe(), state.word(None), state.alive);
    tokio::spawn(async move {
        let mut sent = sender.send_data(Bytes::from(word + "\n")).await;
        let mut ticks = tokio::time::interval(Duration::from_secs(2));
        while sent.is_ok() {
            sent = tokio::select! {
                line = lines.recv() => match line {
                    Ok(line) => sender.send_data(line).await,
                    Err(_) => return,
                },
                _ = ticks.tick(), if alive => sender.send_data(Bytes::from_static(b"{\"alive\":true}\n")).await,
            };
        }
    });
    shared.streams.send_modify(|begun| *begun += 1);
    Response::new(body.boxed())
}
