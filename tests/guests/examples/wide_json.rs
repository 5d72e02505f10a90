//! JSON whose values take many times their text is an invalid answer before they are made.

use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn classify(_: CallContext, _: Node) -> Result<Outcome, Failure> {
        Ok(hostile::matched(&format!("{{\"a\":[0{}]}}", ",0".repeat(3 << 20)), vec![]))
    }
}

hostile::export!(Hostile);
