//! A log line is one line of bounded length, whatever is written: no second line can be forged.

use hostile::bunraku::plugin::log;
use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn decide(_: CallContext, _: Csr) -> Result<Verdict, Failure> {
        log::write(log::Level::Warn, &"é".repeat(100_000), &[("k".into(), "v".repeat(100_000))]);
        log::write(log::Level::Info, "mine\nERROR not mine\x1b[2J", &[("k\n".into(), "v\r\n".into())]);
        Ok(Verdict::Pending("logged\nsigned".into()))
    }
}

hostile::export!(Hostile);
