//! Sleep counts: a guest that blocks for an hour is ended at the deadline.

use hostile::*;
use wasip2::clocks::monotonic_clock::subscribe_duration;

struct Hostile;

impl Guest for Hostile {
    fn decide(_: CallContext, _: Csr) -> Result<Verdict, Failure> {
        subscribe_duration(3_600_000_000_000).block();
        Ok(Verdict::Pending("slept".into()))
    }
}

hostile::export!(Hostile);
