//! The doors: who is let in, how many at once, and that each is let go of in the end.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::Backend;
use crate::connection::{self, Connection, Origin};
use crate::control::ControlSocket;
use crate::metrics;
use crate::quota::network;
use crate::server::{Gauges, Shared};

/// Addresses that something was reported of; more than these are reported again.
const REPORTED_ADDRESSES: usize = 4096;
/// How long to wait when no connection can be accepted, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Connections at once over the control socket: apart, so that no crowd of agents keeps an
/// administrator out.
const CONTROL_CONNECTIONS: usize = 64;
/// Connections at once to the metrics.
const METRICS_CONNECTIONS: usize = 16;

/// Addresses that something was reported of.
#[derive(Debug, Default)]
pub struct FirstTime(Mutex<HashSet<IpAddr>>);

/// How many connections of each address are open.
#[derive(Debug, Default)]
pub struct Crowds(Mutex<HashMap<IpAddr, usize>>);

/// What those who accept connections need, and the two ways a connection is ended: asked to (`stop`),
/// and made to (`cut`).
pub struct Door<B> {
    pub shared: Arc<Shared<B>>,
    pub stop: CancellationToken,
    pub cut: CancellationToken,
    pub connections: TaskTracker,
}

impl<B> Clone for Door<B> {
    fn clone(&self) -> Door<B> {
        let (stop, cut) = (self.stop.clone(), self.cut.clone());
        Door { shared: self.shared.clone(), stop, cut, connections: self.connections.clone() }
    }
}

/// A connection that is open, for as long as this lives.
struct Open(Arc<Gauges>);

impl Open {
    fn new(gauges: Arc<Gauges>) -> Open {
        gauges.connections.fetch_add(1, Ordering::Relaxed);
        Open(gauges)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place among the connections of an address, for as long as this lives.
struct Place<B> {
    shared: Arc<Shared<B>>,
    address: IpAddr,
}

impl<B> Drop for Place<B> {
    fn drop(&mut self) {
        self.shared.crowds.leave(self.address);
    }
}

impl<B: Backend> Door<B> {
    /// Accepts agents until it is time to stop.
    pub async fn agents(self, listener: TcpListener, router: Router, free: Arc<Semaphore>) {
        while let Some((permit, (tcp, from))) = self.next(&free, || listener.accept()).await {
            let Some(place) = self.place(from.ip()) else { continue };
            let open = Open::new(self.shared.gauges.clone());
            let (shared, router, stop) = (self.shared.clone(), router.clone(), self.stop.clone());
            self.spawn((permit, place, open), connection::serve(shared, router, tcp, from, stop));
        }
    }

    /// Accepts who enters by the control socket.
    pub async fn administrators(self, socket: ControlSocket, router: Router) {
        let free = Arc::new(Semaphore::new(CONTROL_CONNECTIONS));
        while let Some((permit, (stream, origin))) = self.next(&free, || socket.accept()).await {
            let (shared, router, stop) = (self.shared.clone(), router.clone(), self.stop.clone());
            self.spawn(permit, async move {
                let stream = connection::timed(stream, &shared.settings);
                let connection = Connection::new(origin, None);
                connection::converse(&shared.settings, router, stream, connection, stop).await;
            });
        }
    }

    /// Accepts who collects metrics.
    pub async fn collectors(self, listener: TcpListener) {
        let free = Arc::new(Semaphore::new(METRICS_CONNECTIONS));
        let router = metrics::router(self.shared.clone());
        while let Some((permit, (tcp, from))) = self.next(&free, || listener.accept()).await {
            let (shared, router, stop) = (self.shared.clone(), router.clone(), self.stop.clone());
            self.spawn(permit, async move {
                let tcp = connection::timed(tcp, &shared.settings);
                let connection = Connection::new(Origin::Network(from.ip().to_canonical()), None);
                connection::converse(&shared.settings, router, tcp, connection, stop).await;
            });
        }
    }

    /// The next connection, once there is a place for it; none when it is time to stop.
    async fn next<T, F: Future<Output = io::Result<T>>>(
        &self,
        free: &Arc<Semaphore>,
        accept: impl Fn() -> F,
    ) -> Option<(Option<OwnedSemaphorePermit>, T)> {
        loop {
            let next = async {
                // Nobody closes the semaphore.
                let permit = free.clone().acquire_owned().await.ok();
                (permit, accept().await)
            };
            let (permit, accepted) = tokio::select! {
                next = next => next,
                () = self.stop.cancelled() => return None,
            };
            match accepted {
                Ok(accepted) => return Some((permit, accepted)),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// A place for one more connection of this address, if it has not too many.
    fn place(&self, address: IpAddr) -> Option<Place<B>> {
        let (shared, address) = (self.shared.clone(), network(address));
        let most = shared.settings.connections_per_address;
        if shared.crowds.enter(address, most) {
            return Some(Place { shared, address });
        }
        shared.gauges.crowded_connections.fetch_add(1, Ordering::Relaxed);
        if shared.crowded.is(address) {
            tracing::warn!(%address, most, "closed a connection: its address has too many open");
        }
        None
    }

    /// Serves a connection, and lets go of `held` at its end.
    fn spawn(&self, held: impl Send + 'static, serving: impl Future<Output = ()> + Send + 'static) {
        let cut = self.cut.clone();
        self.connections.spawn(async move {
            let _held = held;
            tokio::select! {
                () = serving => {}
                () = cut.cancelled() => {}
            }
        });
    }
}

impl FirstTime {
    /// Whether this address was not here before.
    pub fn is(&self, address: IpAddr) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REPORTED_ADDRESSES {
            known.clear();
        }
        known.insert(address)
    }
}

impl Crowds {
    /// Counts one more, unless there are `most` already.
    fn enter(&self, address: IpAddr, most: usize) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = known.entry(address).or_default();
        let free = *open < most;
        if free {
            *open += 1;
        } else if *open == 0 {
            known.remove(&address);
        }
        free
    }

    fn leave(&self, address: IpAddr) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = known.get_mut(&address) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                known.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // faults row 69
    #[test]
    fn each_address_is_reported_once_and_the_memory_of_it_is_bounded() {
        let first_time = FirstTime::default();
        let address = |at: u32| IpAddr::from(at.to_be_bytes());
        assert!(first_time.is(address(1)));
        assert!(!first_time.is(address(1)));
        assert!((2..20_000).all(|at| first_time.is(address(at))));
        assert!(first_time.0.lock().unwrap().len() <= REPORTED_ADDRESSES);
    }

    #[test]
    fn an_address_has_so_many_places_and_who_is_gone_takes_no_memory() {
        let (crowds, a, b) = (Crowds::default(), IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        assert_eq!([crowds.enter(a, 2), crowds.enter(a, 2), crowds.enter(a, 2)], [true, true, false]);
        assert!(crowds.enter(b, 2));
        crowds.leave(a);
        assert!(crowds.enter(a, 2));
        for address in [a, a, b] {
            crowds.leave(address);
        }
        assert!(!crowds.enter(a, 0));
        assert!(crowds.0.lock().unwrap().is_empty());
    }
}
