//! What a plugin author needs: traits for the three kinds of plugin, plain types that mirror the
//! contract in `wit/`, one [`export!`] macro, and a [`testing::FakeHost`] for native tests.
//!
//! A plugin is a `cdylib` crate that implements [`Plugin`] and at least one of [`CsrApprover`],
//! [`NodeClassifier`] and [`ResourceProvider`], and names them once:
//!
//! ```
//! use sdk::{Call, Csr, CsrApprover, Failure, Metadata, Plugin, Verdict};
//!
//! struct OneDomain;
//!
//! impl Plugin for OneDomain {
//!     fn describe() -> Metadata {
//!         Metadata::new("one-domain", "0.1.0", "approves names below one domain")
//!     }
//! }
//!
//! impl CsrApprover for OneDomain {
//!     fn decide(_: &Call, request: &Csr) -> Result<Verdict, Failure> {
//!         Ok(if request.certname.ends_with(".example.com") {
//!             Verdict::approve("below example.com")
//!         } else {
//!             Verdict::Abstain
//!         })
//!     }
//! }
//!
//! sdk::export!(OneDomain: approver);
//! # fn main() {}
//! ```
//!
//! This crate never decides anything and never runs outside a call: what runs plugins is the host's
//! `sandbox` crate, and what their answers lead to is in `decide` and `catalog`.
//!
//! `cargo xtask plugins` turns the crate into a component; see `plugins/README.md`.

mod approve;
mod call;
mod classify;
mod common;
mod export;
mod provide;

/// The allocator and the bindings, for [`export!`] alone.
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod guest;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use approve::{AltName, Csr, CsrApprover, Occasion, Verdict};
pub use call::{Call, ExportedResource, Listing, NodeFacts, Object, ObjectInfo, ResourceQuery};
pub use classify::{Class, Classification, Node, NodeClassifier, Outcome};
pub use common::{Capability, Failure, HostError, Level, Metadata, Mode, Plugin, Problem, Trusted};
pub use provide::{
    ClassInfo, Fragment, IncludedClass, ParamValue, Request, Resource, ResourceProvider, ResourceRef,
    RunStage,
};

pub use serde_json::{self, Value, json};

/// A JSON object; its keys are sorted.
pub type Map<K = String, V = Value> = serde_json::Map<K, V>;
