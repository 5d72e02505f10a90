//! Look-ups beyond the budget end the call.

use hostile::bunraku::plugin::object_store;
use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn decide(_: CallContext, _: Csr) -> Result<Verdict, Failure> {
        (0..10_000).for_each(|n| drop(object_store::head("registry", &n.to_string())));
        Ok(Verdict::Pending("asked".into()))
    }
}

hostile::export!(Hostile);
