//! Approver and classifier over the registry.
use sdk::*;

struct S;
impl Plugin for S {
    fn describe() -> Metadata { Metadata::new("s3-registry", "0.1.0", "x") }
}
impl CsrApprover for S {
    fn decide(call: &Call, r: &Csr) -> Result<Verdict, Failure> {
        call.object("registry", &r.certname)?;
        Ok(Verdict::Abstain)
    }
}
impl NodeClassifier for S {
    fn classify(call: &Call, r: &Node) -> Result<Outcome, Failure> {
        call.object("registry", &r.trusted.certname)?;
        Ok(Outcome::Abstain)
    }
}
export!(S: approver, classifier);
