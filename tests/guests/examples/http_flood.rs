//! Requests beyond the budget of host calls end the call.

use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn decide(_: CallContext, _: Csr) -> Result<Verdict, Failure> {
        (0..10_000).for_each(|_| drop(hostile::fetch("example.test", b"")));
        Ok(Verdict::Pending("asked".into()))
    }
}

hostile::export!(Hostile);
