//! A lifetime beyond reason is handed on as it is: the CA only ever shortens.

use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn decide(_: CallContext, _: Csr) -> Result<Verdict, Failure> {
        Ok(Verdict::Approve(Approval { reason: "for ever".into(), lifetime: Some(u64::MAX) }))
    }
}

hostile::export!(Hostile);
