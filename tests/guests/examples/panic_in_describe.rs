//! A plugin whose description traps is not loaded, and the reason is said.

#![expect(clippy::panic, reason = "that is what it is for")]

use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn describe() -> Metadata {
        panic!("describe")
    }
}

hostile::export!(Hostile);
