//! Chains of plugins and what their answers add up to.
//!
//! Sans-IO: a chain says which plugin it must hear next ([`Step::Ask`]) and is fed the answer; when it
//! knows enough it says what was decided ([`Step::Done`]). Whoever steps it does the asking, so a live
//! decision and its replay from the journal run through the very same code.
//!
//! It never calls a plugin (see `sandbox`), never signs (see `ca`) and never reads a clock. It does not
//! read settings: which names need how many approvals it is told as [`Rules`], and what a value of a
//! class holds only `master` knows.
//!
//! # Approval
//!
//! Approvers are asked in the operator's order. `n` approvals are needed: one, unless a rule for the name
//! says more.
//!
//! | an approver says | then |
//! |---|---|
//! | abstain | the next one is asked |
//! | approve | it counts unless the same component has approved before; the `n`th that counts signs, else the next one is asked |
//! | deny | denied, though others approved before |
//! | pending | pending, though others approved before |
//! | failure or fault | pending, or denied where its [`OnFailure`] says so; never asks further, so that nobody signs what it might have denied |
//! | (nobody is left) | pending, with how many approved and who |
//!
//! The certificate lives as long as the shortest lifetime that an approver gave. The reason is the
//! reasons of all who approved, in order. Two approvers are independent where their components' digests
//! differ; one component under two names can't make a quorum, yet each of its names can still deny.
//!
//! # Classification
//!
//! Classifiers are asked in the operator's order, and merged in one of two ways ([`Merge`]).
//!
//! | a classifier says | first match | union |
//! |---|---|---|
//! | abstain | the next one is asked | the next one is asked |
//! | matched | that is the node | it is kept, and the next one is asked |
//! | reject | no catalog | no catalog, though others matched before |
//! | failure or fault | no answer | no answer, though others matched before |
//! | (nobody is left) | no match | what was kept, united; no match where nothing was |
//!
//! What a union makes of what was kept:
//!
//! | of | one names it, or all alike | two differ |
//! |---|---|---|
//! | environment | that one; none where nobody names one | conflict |
//! | class | once, at its first place and as first spelt, with its parameters | conflict: a parameter with another value, or that only one of them gives |
//! | top-scope parameter | once | conflict |
//! | because | all, in the order asked | no conflict |
//! | by | all who matched, in the order asked | no conflict |
//!
//! Classes are in the order asked, and within one answer in its own. `::Ntp` and `ntp` are one class.
//! Environments, parameters and values are compared as they are: nothing is merged inside a value, and no
//! order of plugins resolves a conflict. All conflicts come at once, each with both plugins and the key,
//! never with a value.

mod approval;
mod classification;
mod rules;
mod union;

pub use approval::{Answer, Approval, Approver, Decision, OnFailure, Verdict};
pub use classification::{Classification, Classified, FailureKind, Merge, Opinion};
pub use rules::{Error, Rules};
pub use union::{Conflict, Over, Parts, Unite};

/// What a chain needs next. `P` names a plugin, `D` is what the chain decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<P, D> {
    /// Ask this plugin and feed its answer to the chain.
    Ask(P),
    /// The chain is at its end. Every later step says the same.
    Done(D),
}
