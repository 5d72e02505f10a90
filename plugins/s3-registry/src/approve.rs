//! The original's `check_csr`: sign what the registry expects.

use sdk::{Call, Csr, CsrApprover, Failure, Occasion, Verdict};

use crate::settings::Missing;
use crate::{Found, S3Registry, look_up, url};

impl CsrApprover for S3Registry {
    fn decide(call: &Call, request: &Csr) -> Result<Verdict, Failure> {
        let settings = crate::settings(call)?;
        let name = &request.certname;
        call.debug(format!("Checking {name}"));
        if request.occasion == Occasion::Conflict {
            // The definition says that the name is expected, not that this key is the node's.
            let reason =
                format!("conflict: {name} has a certificate that was not presented; revoke it first");
            return Ok(Verdict::Pending(reason));
        }
        let url = url(call, &settings, name);
        Ok(match look_up(call, &settings, name, &url) {
            Found::Definition(_) => {
                call.info(format!("Signing request: {name}"));
                Verdict::approve(format!("expected: {url}"))
            }
            Found::Missing => match settings.missing {
                Missing::Pending => Verdict::Pending(format!("not-found: no node definition at {url}")),
                Missing::Abstain => Verdict::Abstain,
            },
            // Without leave to list, a bucket says the same of what is not there.
            Found::Denied(why) => Verdict::Pending(format!("denied-or-missing: {url}: {why}")),
            // What cannot be read was not written by who registers nodes, or only in half.
            Found::Unreadable(why) => Verdict::Pending(format!("unreadable: {url}: {why}")),
            Found::Unavailable(why) => return Err(Failure::Unavailable(format!("{url}: {why}"))),
        })
    }
}
