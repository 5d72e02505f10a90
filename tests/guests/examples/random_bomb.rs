//! Random bytes are handed out in bounded pieces.

use hostile::*;
use wasip2::random::random::get_random_bytes;

struct Hostile;

impl Guest for Hostile {
    fn decide(_: CallContext, _: Csr) -> Result<Verdict, Failure> {
        let bytes = get_random_bytes(1 << 40);
        Ok(Verdict::Pending(format!("{} bytes", bytes.len())))
    }
}

hostile::export!(Hostile);
