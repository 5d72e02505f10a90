//! Clocks stand still however often they are looked at, and cost no host call.

use hostile::bunraku::plugin::clock;
use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn decide(ctx: CallContext, _: Csr) -> Result<Verdict, Failure> {
        let later = (0..200_000).filter(|_| clock::now() != ctx.now).count();
        Ok(Verdict::Pending(format!("{later} other instants")))
    }
}

hostile::export!(Hostile);
