//! A name that could be mistaken for something else is refused at load.

use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn describe() -> Metadata {
        Metadata { name: "Not a name".into(), ..hostile::modest() }
    }
}

hostile::export!(Hostile);
