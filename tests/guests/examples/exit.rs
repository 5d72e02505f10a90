//! An exit ends the guest, not the host.

use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn decide(_: CallContext, _: Csr) -> Result<Verdict, Failure> {
        wasip2::cli::exit::exit(Ok(()));
        Ok(Verdict::Pending("still here".into()))
    }
}

hostile::export!(Hostile);
