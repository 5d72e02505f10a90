//! An argument of a host call over the limit is cut off before the host copies it.

use hostile::bunraku::plugin::object_store;
use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn decide(_: CallContext, _: Csr) -> Result<Verdict, Failure> {
        let found = object_store::head("registry", &"k".repeat(32 << 20));
        Ok(Verdict::Pending(format!("{}", found.is_ok())))
    }
}

hostile::export!(Hostile);
