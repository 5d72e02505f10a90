//! Standard output leads nowhere and keeps nothing.

use hostile::*;
use wasip2::cli::stdout::get_stdout;

struct Hostile;

impl Guest for Hostile {
    fn decide(_: CallContext, _: Csr) -> Result<Verdict, Failure> {
        let out = get_stdout();
        let written = (0..100).take_while(|_| out.blocking_write_and_flush(&[b'x'; 4096]).is_ok()).count();
        Ok(Verdict::Pending(format!("{written} writes")))
    }
}

hostile::export!(Hostile);
