//! A plugin that cannot say what it is is not loaded, and the load ends.

use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn describe() -> Metadata {
        spin()
    }
}

hostile::export!(Hostile);
