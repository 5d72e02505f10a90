//! Questions for facts are host calls and have the same budget.

use hostile::bunraku::plugin::facts;
use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn decide(_: CallContext, _: Csr) -> Result<Verdict, Failure> {
        (0..10_000).for_each(|n| drop(facts::get(&n.to_string())));
        Ok(Verdict::Pending("asked".into()))
    }
}

hostile::export!(Hostile);
