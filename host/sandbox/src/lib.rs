//! Runs plugins: the only crate that knows Wasmtime.
//!
//! A plugin is a WebAssembly component that exports interfaces of `wit/`.
//! [`Sandbox::load`] checks one and compiles it; [`Plugin::decide`],
//! [`Plugin::classify`] and [`Plugin::provide`] each put one question to a
//! fresh instance, within bounds on time, memory, output, log and host calls
//! ([`Settings`]). Nothing survives a call, and nothing is reached except
//! through the call's [`Host`].
//!
//! It never decides what a plugin may reach (`master` builds the [`Host`] from
//! grants), which plugins are live (`rollout`), or what an answer means
//! (`decide`, `catalog`). An answer that is missing is a [`CallError`] and
//! never a verdict.

mod answered;
mod apart;
mod bindings;
mod bytes;
mod cache;
mod call;
mod clock;
mod contract;
mod convert;
mod error;
mod host;
mod http;
mod imports;
mod lane;
mod limiter;
mod log;
mod meter;
mod plugin;
mod sandbox;
mod settings;
mod state;
mod text;
mod types;
mod wasi;

pub use answered::{Answered, CallStats};
pub use error::{CallError, Error, LoadError, Taken};
pub use host::{
    BoxFuture, ByteRange, ExportedResource, Host, HostError, HttpRequest, HttpResponse, Level, Listing,
    NoHost, NodeFacts, NodePage, Object, ObjectInfo, ResourcePage, ResourceQuery,
};
pub use plugin::{Call, Plugin};
pub use sandbox::Sandbox;
pub use settings::Settings;
pub use types::{
    AltName, CallContext, Capability, Class, ClassInfo, Classification, Csr, Failure, Fragment,
    IncludedClass, Kinds, Metadata, Mode, Node, Occasion, Outcome, ParamValue, ProvideRequest, Resource,
    ResourceRef, RunStage, SettingsProblem, Trusted, Verdict,
};
