//! JSON nested a hundred thousand deep is an invalid answer, and no stack of the host's.

use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn classify(_: CallContext, _: Node) -> Result<Outcome, Failure> {
        Ok(hostile::matched(&"[".repeat(100_000), vec![]))
    }
}

hostile::export!(Hostile);
