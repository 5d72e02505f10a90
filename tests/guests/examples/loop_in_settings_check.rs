//! A check of settings without an end is ended at the deadline.

use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn validate_settings(_: String) -> Vec<Problem> {
        spin()
    }
}

hostile::export!(Hostile);
