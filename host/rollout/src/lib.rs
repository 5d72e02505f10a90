//! The live set of plugins: stages a set on the side, has it answer in shadow, swaps it in whole, takes it
//! back, and remembers all of it.
//!
//! A call holds the set that it began with, so a swap drops no request and never mixes two sets in one
//! decision. A set that was staged is recorded, with its components, so that a restart comes up with the
//! live one. This crate never asks a plugin for a decision (see `master`, which tells the guard how
//! decisions ended), never orders their answers (see `decide`), and knows nothing of how a plugin runs (see
//! `sandbox`) or of how a change is asked for (see `http` and `bunraku`).

mod change;
mod components;
mod error;
mod fetch;
mod grants;
mod guard;
mod history;
mod live;
mod problem;
mod quantity;
mod rollout;
mod set;
mod shadow;
mod signature;
mod spec;
mod staging;
mod standing;
mod start;

pub use error::{Error, Refused};
pub use fetch::{BoxFuture, Component, Fetch, NoFetch};
pub use grants::{Grants, HttpGrant, StoreGrant};
pub use guard::{Kind, Observation, Outcome, Tally};
pub use history::{Event, SetRow};
pub use live::Live;
pub use problem::Problem;
pub use quantity::{parse_bytes, parse_duration};
pub use rollout::{Counts, Opened, Parts, Published, Rollout, Settings, Swapped, recorded};
pub use set::{LivePlugin, PluginSet};
pub use shadow::{Shadow, ShadowPermit, ShadowSummary};
pub use signature::{SignatureError, SigningKeys};
pub use spec::{
    FailedApproval, FailedClassification, Merge, OnFailure, Origin, PluginSpec, QuorumRule, SetSpec, Source,
};
pub use staging::{Means, stage};
