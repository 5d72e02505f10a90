//! `wasi:http`'s outgoing half, led to the call's [`Host`].
//!
//! A request is a host call. While one is under way, a guest that waits for
//! anything waits on the host's time; otherwise on its own. What the host
//! keeps for a guest is bounded: bodies by the settings, the rest here.

use std::future::{Future, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::io::poll;
use wasmtime_wasi_http::p2::bindings::LinkOptions;
use wasmtime_wasi_http::p2::bindings::http::{outgoing_handler, types};
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttp, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use crate::state::{Calls, State};
use crate::{Host, HostError, HttpRequest, HttpResponse, Settings};

/// Bytes of the header fields of one request or response.
const FIELD_BYTES: usize = 16 << 10;
/// Bytes that a guest writes to a body at once. Two such pieces wait in each
/// body that nobody reads.
const PIECE: usize = 64 << 10;

/// Adds the interfaces to a linker that has the rest of WASI.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    types::add_to_linker::<_, WasiHttp>(linker, &LinkOptions::default().into(), State::http)?;
    outgoing_handler::add_to_linker::<_, WasiHttp>(linker, State::http)?;
    // Waiting is where the host's time begins.
    linker.allow_shadowing(true);
    poll::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// A guest's requests.
pub(crate) struct Http {
    ctx: WasiHttpCtx,
    way: Way,
}

impl Http {
    pub(crate) fn new(
        host: &Arc<dyn Host>,
        settings: &Arc<Settings>,
        calls: &Arc<Calls>,
        home: &Handle,
    ) -> Self {
        let mut ctx = WasiHttpCtx::new();
        ctx.set_field_size_limit(FIELD_BYTES);
        let room = usize::try_from(settings.http_requests).unwrap_or(Semaphore::MAX_PERMITS);
        let way = Way {
            host: Arc::clone(host),
            settings: Arc::clone(settings),
            calls: Arc::clone(calls),
            home: home.clone(),
            room: Arc::new(Semaphore::new(room)),
            under_way: Arc::default(),
            time: Duration::ZERO,
        };
        Http { ctx, way }
    }
}

/// The way of a request to the host.
struct Way {
    host: Arc<dyn Host>,
    settings: Arc<Settings>,
    calls: Arc<Calls>,
    /// Where the host's work is done.
    home: Handle,
    /// For requests under way and for responses not read to their end.
    room: Arc<Semaphore>,
    under_way: Arc<AtomicU32>,
    /// For the next request.
    time: Duration,
}

type Rest = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(Response<WasiBody>, Rest), Error>;

impl WasiHttpHooks for Way {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Rest,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        // A guest that goes on regardless is ended where it waits, or at the next tick.
        if !self.calls.take() {
            return Box::new(ready(Err(Error::ConnectionLimitReached)));
        }
        let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else {
            return Box::new(ready(Err(Error::ConnectionLimitReached)));
        };
        let under_way = UnderWay::begin(&self.under_way);
        let (host, settings, time) = (Arc::clone(&self.host), Arc::clone(&self.settings), self.time);
        let most = settings.http_request_bytes;
        let answered = AbortOnDropHandle::new(self.home.spawn(async move {
            let answered = timeout(time, async {
                let request = read(request, most).await?;
                host.http(&request).await.map_err(code)
            });
            answered.await.unwrap_or(Err(Error::HttpResponseTimeout))
        }));
        Box::new(async move {
            let answered = answered.await.unwrap_or(Err(Error::InternalError(None)));
            drop(under_way);
            let response = answer(answered?, settings.http_response_bytes, room)?;
            let nothing_more: Rest = Box::new(ready(Ok(())));
            Ok((response, nothing_more))
        })
    }

    /// The host knows it from the URL.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        PIECE
    }
}

/// Counts a request from the guest's asking to the host's answer.
struct UnderWay(Arc<AtomicU32>);

impl UnderWay {
    fn begin(count: &Arc<AtomicU32>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(count))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn read(request: Request<WasiBody>, limit: usize) -> Result<HttpRequest, Error> {
    let (parts, body) = request.into_parts();
    // Either it is too long, or the guest gave up on it.
    let too_long = |_| Error::HttpRequestBodySize(u64::try_from(limit).ok());
    let body = Limited::new(body, limit).collect().await.map_err(too_long)?.to_bytes();
    let field = |(name, value): (&HeaderName, &HeaderValue)| (name.to_string(), value.as_bytes().to_vec());
    Ok(HttpRequest {
        method: parts.method.to_string(),
        url: parts.uri.to_string(),
        headers: parts.headers.iter().map(field).collect(),
        body: body.into(),
    })
}

fn answer(
    found: HttpResponse,
    limit: usize,
    room: OwnedSemaphorePermit,
) -> Result<Response<WasiBody>, Error> {
    if found.body.len() > limit {
        return Err(Error::HttpResponseBodySize(u64::try_from(found.body.len()).ok()));
    }
    let fields = found.headers.iter().map(|(name, value)| name.len().saturating_add(value.len()));
    if fields.fold(0, usize::saturating_add) > FIELD_BYTES {
        return Err(Error::HttpResponseHeaderSectionSize(u32::try_from(FIELD_BYTES).ok()));
    }
    let mut response = Response::builder().status(found.status);
    for (name, value) in found.headers {
        response = response.header(name, value);
    }
    let body = Full::new(Bytes::from(found.body)).map_err(Error::from).map_frame(move |frame| {
        // Given back when the body is dropped, read or not.
        let _ = &room;
        frame
    });
    response.body(body.boxed_unsync()).map_err(|_| Error::HttpProtocolError)
}

fn code(error: HostError) -> Error {
    match error {
        HostError::Denied(_) => Error::HttpRequestDenied,
        HostError::NotFound => Error::DestinationNotFound,
        HostError::Invalid(_) => Error::HttpRequestUriInvalid,
        HostError::Limit(text) => Error::InternalError(Some(format!("limit: {text}"))),
        HostError::Unavailable(_) => Error::DestinationUnavailable,
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let time = self.host_time;
        let wasi = self.wasi();
        wasi.http.way.time = time;
        WasiHttpCtxView { hooks: &mut wasi.http.way, table: &mut wasi.table, ctx: &mut wasi.http.ctx }
    }
}

impl poll::Host for State {
    async fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        self.calls.check()?;
        if self.waits_for_host() {
            let same = pollables.iter().map(|pollable| Resource::new_borrow(pollable.rep())).collect();
            let stopped = self.stand_still();
            let time = self.host_time;
            let found = timeout(time, poll::Host::poll(&mut self.wasi().table, same)).await;
            self.go_on(stopped);
            if let Ok(found) = found {
                return found;
            }
        }
        // Its own time goes on, but it needs no thread.
        self.run.lane.leave();
        poll::Host::poll(&mut self.wasi().table, pollables).await
    }
}

impl poll::HostPollable for State {
    async fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        poll::HostPollable::ready(&mut self.wasi().table, pollable).await
    }

    async fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        poll::Host::poll(self, vec![pollable]).await.map(drop)
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        poll::HostPollable::drop(&mut self.wasi().table, pollable)
    }
}

impl State {
    /// Whether the host owes the guest an answer that it may be waiting for.
    fn waits_for_host(&mut self) -> bool {
        self.wasi().http.way.under_way.load(Ordering::Relaxed) > 0
    }
}
