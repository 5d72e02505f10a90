//! Classes to resources, stages, edges, exports and the JSON an agent applies.
//!
//! Sans-IO: a [`Compiler`] says which class of which plugin it needs next ([`Step::Ask`]), is fed the
//! plugin's [`Fragment`], and at the end gives the [`Catalog`] and what the node exports. Every check that
//! an agent would fail on (names, duplicates, dangling references, stages, cycles) is made here, so that a
//! node gets a whole catalog or an error that names the node, the class and the plugin.
//!
//! It never calls a plugin (see `sandbox` and `master`), never stores an export (see `store`) and never
//! decides which classes a node has (see `decide`). The same classes and fragments give the same bytes.
//!
//! What the agent reads of a catalog, and what it does when a field is missing, was measured; the wire
//! types say so where it matters. The order and the edges are those of puppetserver.

mod assemble;
mod compiler;
mod error;
mod finish;
mod fragment;
mod graph;
mod index;
mod name;
mod resource;
mod schema;
mod wire;

pub use assemble::{Compiled, Export};
pub use compiler::{ClassAsk, Compiler, Step, Target};
pub use error::{CompileError, Fault, Origin, Owner};
pub use fragment::{Fragment, FragmentResource, IncludedClass, ParamValue, ResourceRef, RunStage};
pub use index::{ClassIndex, ClassSpec, IndexError};
pub use name::nearest;
pub use schema::Problem;
pub use wire::{Catalog, Edge, Kind, Resource};

/// A JSON object, as parameters are.
pub type Map = serde_json::Map<String, serde_json::Value>;
