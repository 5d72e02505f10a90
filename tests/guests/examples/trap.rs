//! A plugin that traps on every call never approves, and never spoils the next call.

#![expect(clippy::panic, reason = "that is what it is for")]

use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn decide(_: CallContext, _: Csr) -> Result<Verdict, Failure> {
        panic!("asked to")
    }
}

hostile::export!(Hostile);
