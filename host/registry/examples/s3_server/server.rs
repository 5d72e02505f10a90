//! An S3 server for tests, in this very process: s3s-fs over a folder, with real signatures (key `test`,
//! secret `test-secret`). A bucket is a folder below it. Around it sits a layer that misbehaves on
//! command, as buckets do.
//!
//! s3s-fs checks `If-None-Match` on a PUT and then writes, so two racing writers could both win; here
//! conditional writes go one at a time. It also answers 200 and not 304 to a conditional GET; that
//! servers differ in this is welcome, and `answer_304` turns the other behaviour on.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, ETAG, HeaderValue, IF_MATCH, IF_NONE_MATCH, LOCATION};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::{TcpListener, TcpStream};

/// The access key that the server knows.
pub const ACCESS_KEY: &str = "test";
/// And its secret.
pub const SECRET_KEY: &str = "test-secret";

type AnyError = Box<dyn std::error::Error + Send + Sync>;
type Answer = Response<UnsyncBoxBody<Bytes, AnyError>>;

/// What one request meets instead of an honest answer.
#[allow(dead_code, reason = "the example binary misbehaves never, the tests in every way")]
#[derive(Debug, Clone)]
pub enum Fault {
    /// This status, with an S3 error of this code.
    Status(u16, &'static str),
    /// The right head, half the body, and the connection is gone.
    HalfBody,
    /// The right head, half the body, and then nothing for ever.
    StalledBody,
    /// The right body without a word on its length.
    NoLength,
    /// No answer, for ever.
    Silence,
    /// 307 to this place.
    Redirect(String),
}

/// A running server; it ends with the runtime.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    service: S3Service,
    gate: tokio::sync::Mutex<()>,
    answer_304: AtomicBool,
    faults: Mutex<VecDeque<Fault>>,
    statuses: Mutex<Vec<u16>>,
}

impl Server {
    /// Serves `folder` on a port of 127.0.0.1; 0 picks a free one.
    pub async fn start(folder: &Path, port: u16) -> Result<Server, AnyError> {
        let files = s3s_fs::FileSystem::new(folder).map_err(|e| format!("{}: {e:?}", folder.display()))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            service: builder.build(),
            gate: tokio::sync::Mutex::default(),
            answer_304: AtomicBool::new(false),
            faults: Mutex::default(),
            statuses: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(converse(Arc::clone(&serving), connection));
            }
        });
        Ok(Server { address, shared })
    }

    /// The endpoint to configure.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

#[allow(dead_code, reason = "the example binary misbehaves never")]
impl Server {
    /// The next requests meet these, one each, in order.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        lock(&self.shared.faults).extend(faults);
    }

    /// No more faults.
    pub fn recover(&self) {
        lock(&self.shared.faults).clear();
    }

    /// Whether to answer 304 to a conditional GET of what has not changed.
    pub fn answer_304(&self, yes: bool) {
        self.shared.answer_304.store(yes, Ordering::SeqCst);
    }

    /// The statuses of all answers since the last look; 0 for silence.
    pub fn statuses(&self) -> Vec<u16> {
        std::mem::take(&mut lock(&self.shared.statuses))
    }
}

async fn converse(shared: Arc<Shared>, connection: TcpStream) {
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(shared.answer(request).await) }
    });
    // A client that goes away, or a body broken on purpose: nothing to say about either.
    let _ =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let fault = lock(&self.faults).pop_front();
        let answer = match fault {
            Some(Fault::Silence) => {
                lock(&self.statuses).push(0);
                std::future::pending().await
            }
            Some(Fault::Status(status, code)) => error(status, code),
            Some(Fault::Redirect(place)) => {
                let mut answer = error(307, "TemporaryRedirect");
                answer.headers_mut().insert(LOCATION, header(&place));
                answer
            }
            Some(fault @ (Fault::HalfBody | Fault::StalledBody)) => {
                let stall = matches!(fault, Fault::StalledBody);
                let (head, body) = self.honest(request).await.into_parts();
                let mut bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                let half = bytes.split_to(bytes.len() / 2);
                Response::from_parts(head, Broken { half: Some(half), stall }.boxed_unsync())
            }
            Some(Fault::NoLength) => {
                let mut answer = self.honest(request).await;
                answer.headers_mut().remove(CONTENT_LENGTH);
                answer.map(|body| Unsized(body).boxed_unsync())
            }
            None => self.honest(request).await,
        };
        lock(&self.statuses).push(answer.status().as_u16());
        answer
    }

    async fn honest(&self, mut request: Request<Incoming>) -> Answer {
        let headers = request.headers_mut();
        let conditional = headers.contains_key(IF_NONE_MATCH) || headers.contains_key(IF_MATCH);
        let known = headers.get(IF_NONE_MATCH).cloned().filter(|_| self.answer_304.load(Ordering::SeqCst));
        let is_get = request.method() == Method::GET;
        let _turn = if conditional && !is_get { Some(self.gate.lock().await) } else { None };
        match self.service.call(request.map(s3s::Body::from)).await {
            Ok(answer) if is_get && known.is_some() && answer.headers().get(ETAG) == known.as_ref() => {
                let (mut head, _) = answer.into_parts();
                head.status = StatusCode::NOT_MODIFIED;
                head.headers.remove(CONTENT_LENGTH);
                Response::from_parts(head, whole(String::new()))
            }
            Ok(answer) => answer.map(BodyExt::boxed_unsync),
            Err(error) => {
                eprintln!("s3_server: {error:?}");
                self::error(500, "InternalError")
            }
        }
    }
}

fn error(status: u16, code: &str) -> Answer {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>on command</Message></Error>"
    );
    let mut answer = Response::new(whole(text));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer
}

fn whole(text: String) -> UnsyncBoxBody<Bytes, AnyError> {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync()
}

fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Half a body, then an end that is none.
struct Broken {
    half: Option<Bytes>,
    stall: bool,
}

impl Body for Broken {
    type Data = Bytes;
    type Error = AnyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnyError>>> {
        match self.half.take() {
            Some(half) => Poll::Ready(Some(Ok(Frame::data(half)))),
            None if self.stall => Poll::Pending,
            None => Poll::Ready(Some(Err("cut off on command".into()))),
        }
    }
}

/// Hides the length that a body knows of itself.
struct Unsized(UnsyncBoxBody<Bytes, AnyError>);

impl Body for Unsized {
    type Data = Bytes;
    type Error = AnyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnyError>>> {
        Pin::new(&mut self.0).poll_frame(context)
    }
}
