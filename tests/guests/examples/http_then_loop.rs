//! The host's time is no present: a loop beside an open request ends at the deadline.

use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn decide(_: CallContext, _: Csr) -> Result<Verdict, Failure> {
        let _open = hostile::send("example.test", b"");
        spin()
    }
}

hostile::export!(Hostile);
