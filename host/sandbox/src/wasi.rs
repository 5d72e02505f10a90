//! WASI 0.2, linked and closed.
//!
//! Guests of any toolchain instantiate, and reach nothing: no arguments, no
//! environment, no files, no addresses, output to nowhere, input at its end,
//! clocks that stand still at the call's `now`, random bytes that follow from
//! the decision id. HTTP leads to the call's host ([`crate::http`]). Made on first use, since a Rust guest never asks.

use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sha2::{Digest as _, Sha256};
use wasmtime_wasi::{
    HostMonotonicClock, HostWallClock, ResourceTable, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView,
};

use crate::http::Http;
use crate::state::State;

/// Bytes that a guest may ask for at once.
const RANDOM_BYTES: u64 = 64 << 10;
/// Streams, pollables and the like of one call.
const RESOURCES: usize = 256;

pub(crate) struct Wasi {
    ctx: WasiCtx,
    pub(crate) table: ResourceTable,
    pub(crate) http: Http,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi();
        WasiCtxView { ctx: &mut wasi.ctx, table: &mut wasi.table }
    }
}

impl State {
    /// The guest's side of WASI, made now if this is the first that it asks for.
    pub(crate) fn wasi(&mut self) -> &mut Wasi {
        self.wasi.get_or_insert_with(|| {
            Box::new(Wasi::closed(
                &self.decision_id,
                self.now,
                Http::new(&self.host, &self.settings, &self.calls, &self.run.home),
            ))
        })
    }
}

impl Wasi {
    fn closed(decision_id: &str, now: u64, http: Http) -> Self {
        let seed: [u8; 32] = Sha256::digest(decision_id).into();
        let insecure: [u8; 32] = Sha256::digest(seed).into();
        let mut half = [0; 16];
        half.iter_mut().zip(insecure).for_each(|(to, from)| *to = from);
        let ctx = WasiCtxBuilder::new()
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .wall_clock(Frozen(now))
            .monotonic_clock(Frozen(now))
            .secure_random(StdRng::from_seed(seed))
            .insecure_random(StdRng::from_seed(insecure))
            .insecure_random_seed(u128::from_le_bytes(half))
            .max_random_size(RANDOM_BYTES)
            .build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES);
        Wasi { ctx, table, http }
    }
}

struct Frozen(u64);

impl HostWallClock for Frozen {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.0)
    }
}

impl HostMonotonicClock for Frozen {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        self.0
    }
}
