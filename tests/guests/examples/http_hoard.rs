//! Responses that nobody reads count against the few that a call may hold.

use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn decide(_: CallContext, _: Csr) -> Result<Verdict, Failure> {
        let mut hoard = vec![];
        loop {
            match hostile::ask("example.test", b"") {
                Ok(response) => hoard.push(response),
                Err(code) => return Ok(Verdict::Pending(format!("{} held, then {code:?}", hoard.len()))),
            }
        }
    }
}

hostile::export!(Hostile);
