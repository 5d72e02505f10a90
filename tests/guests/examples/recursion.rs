//! Recursion without an end is a trap, and the host's thread survives it.

use std::hint::black_box;

use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn decide(_: CallContext, _: Csr) -> Result<Verdict, Failure> {
        Ok(Verdict::Pending(deeper(0).to_string()))
    }
}

fn deeper(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if frame[2] == u64::MAX {
        return 0;
    }
    deeper(frame[0] + 1) + frame[1]
}

hostile::export!(Hostile);
