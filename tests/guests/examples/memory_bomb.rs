//! Memory is refused at the limit, and given back afterwards.

use std::hint::black_box;

use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn decide(_: CallContext, _: Csr) -> Result<Verdict, Failure> {
        let mut all = vec![];
        loop {
            all.push(black_box(vec![1_u8; 1 << 20]));
        }
    }
}

hostile::export!(Hostile);
