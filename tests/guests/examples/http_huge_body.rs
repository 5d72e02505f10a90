//! A body over the limit is given up before the host keeps it.

use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn decide(_: CallContext, _: Csr) -> Result<Verdict, Failure> {
        let found = hostile::fetch("example.test", &vec![b'x'; 8 << 20]);
        Ok(Verdict::Pending(format!("{:?}", found.err())))
    }
}

hostile::export!(Hostile);
