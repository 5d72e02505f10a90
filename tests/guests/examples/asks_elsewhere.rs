//! A policy that asks a server of its operator reaches that server, and no other. Means no harm.
//!
//! Its settings are `{"at": "http://…"}`; what the server says of a certname is the reason.

use hostile::*;

struct Asks;

impl Guest for Asks {
    fn decide(ctx: CallContext, request: Csr) -> Result<Verdict, Failure> {
        let at = ctx.settings.split('"').nth(3).unwrap_or_default();
        Ok(match hostile::fetch(at, request.certname.as_bytes()) {
            Ok((200, said)) => {
                let reason = String::from_utf8_lossy(&said).into_owned();
                Verdict::Approve(Approval { reason, lifetime: None })
            }
            Ok((status, _)) => Verdict::Pending(format!("the server said {status}")),
            Err(code) => Verdict::Pending(format!("{code:?}")),
        })
    }
}

hostile::export!(Asks);
