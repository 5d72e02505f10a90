//! A schema that is no JSON is refused at load.

use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn classes() -> Vec<ClassInfo> {
        vec![hostile::class("{")]
    }
}

hostile::export!(Hostile);
