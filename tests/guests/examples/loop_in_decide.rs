//! A loop without an end is ended at the deadline, and its neighbours do not feel it.

use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn decide(_: CallContext, _: Csr) -> Result<Verdict, Failure> {
        spin()
    }
}

hostile::export!(Hostile);
