//! Chains of plugins and what their answers add up to.
//!
//! Sans-IO: a chain says which plugin it must hear next ([`Step::Ask`]) and is fed the answer; when it
//! knows enough it says what was decided ([`Step::Done`]). Whoever steps it does the asking, so a live
//! decision and its replay from the journal run through the very same code.
//!
//! It never calls a plugin (see `sandbox`), never signs (see `ca`) and never reads a clock. It knows
//! nothing of what a classification holds (see `master`).

mod approval;
mod classification;

pub use approval::{Answer, Approval, Decision, Verdict};
pub use classification::{Classification, Classified, FailureKind, Opinion};

/// What a chain needs next. `P` names a plugin, `D` is what the chain decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<P, D> {
    /// Ask this plugin and feed its answer to the chain.
    Ask(P),
    /// The chain is at its end. Every later step says the same.
    Done(D),
}
