//! A guest that asks a slow host over and over has the host's time once, then its own.

use hostile::bunraku::plugin::{clock, object_store};
use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn decide(_: CallContext, _: Csr) -> Result<Verdict, Failure> {
        while clock::remaining() < u64::MAX {
            let _ = object_store::get("registry", "slow", None);
        }
        Ok(Verdict::Pending("done".into()))
    }
}

hostile::export!(Hostile);
