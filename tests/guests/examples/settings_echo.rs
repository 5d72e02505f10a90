//! What a plugin writes of its own settings is in its own log, and in no error of the host's.

#![expect(clippy::panic, reason = "that is what it is for")]

use hostile::bunraku::plugin::log;
use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn decide(ctx: CallContext, _: Csr) -> Result<Verdict, Failure> {
        log::write(log::Level::Info, &ctx.settings, &[]);
        panic!("{}", ctx.settings)
    }
}

hostile::export!(Hostile);
