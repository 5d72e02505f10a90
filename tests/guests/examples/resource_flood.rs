//! Handles of the host are bounded: whoever hoards them traps.

use hostile::*;
use wasip2::clocks::monotonic_clock::subscribe_duration;

struct Hostile;

impl Guest for Hostile {
    fn decide(_: CallContext, _: Csr) -> Result<Verdict, Failure> {
        let hoard: Vec<_> = (0..1_000_000).map(subscribe_duration).collect();
        Ok(Verdict::Pending(format!("{} handles", hoard.len())))
    }
}

hostile::export!(Hostile);
