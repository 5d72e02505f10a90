//! Dice and clocks give the same answer for the same decision: what differs is the input.

use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn decide(_: CallContext, _: Csr) -> Result<Verdict, Failure> {
        let dice =
            wasip2::random::random::get_random_u64() ^ wasip2::random::insecure::get_insecure_random_u64();
        let time = wasip2::clocks::monotonic_clock::now();
        if (dice ^ time).is_multiple_of(2) {
            return Ok(Verdict::Deny(format!("{dice:x}")));
        }
        Ok(Verdict::Approve(Approval { reason: format!("{dice:x}"), lifetime: None }))
    }
}

hostile::export!(Hostile);
