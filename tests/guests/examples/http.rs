//! HTTP leads to the host's grants, and what they refuse is refused to the guest in its own words.

use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn decide(_: CallContext, request: Csr) -> Result<Verdict, Failure> {
        Ok(Verdict::Pending(match hostile::fetch(&request.certname, b"") {
            Ok((status, body)) => format!("{status} {}", String::from_utf8_lossy(&body)),
            Err(code) => format!("{code:?}"),
        }))
    }
}

hostile::export!(Hostile);
