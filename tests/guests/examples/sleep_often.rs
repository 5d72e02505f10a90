//! A wait that ends and begins again counts as one: its sum is bounded.

use hostile::*;
use wasip2::clocks::monotonic_clock::subscribe_duration;

struct Hostile;

impl Guest for Hostile {
    fn decide(_: CallContext, _: Csr) -> Result<Verdict, Failure> {
        loop {
            subscribe_duration(1_000_000).block();
        }
    }
}

hostile::export!(Hostile);
