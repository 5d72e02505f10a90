//! An answer over the limit is cut off before the host copies it.

use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn decide(_: CallContext, _: Csr) -> Result<Verdict, Failure> {
        Ok(Verdict::Pending("x".repeat(32 << 20)))
    }
}

hostile::export!(Hostile);
