//! JSON that ends too early is an invalid answer that says where.

use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn classify(_: CallContext, _: Node) -> Result<Outcome, Failure> {
        Ok(hostile::matched("{", vec![]))
    }
}

hostile::export!(Hostile);
