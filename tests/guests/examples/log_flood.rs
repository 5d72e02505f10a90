//! Log lines beyond the budget are dropped, and counted in one line more.

use hostile::bunraku::plugin::log;
use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn decide(_: CallContext, _: Csr) -> Result<Verdict, Failure> {
        (0..1_000_000).for_each(|n| log::write(log::Level::Info, &format!("line {n}"), &[]));
        Ok(Verdict::Pending("logged".into()))
    }
}

hostile::export!(Hostile);
