//! YAML to JSON values and back, for texts that others write.
//!
//! A text is refused before it can cost much: by its size, by the size of one scalar, by its depth, and
//! by what it would be with every alias written out, whatever the order in which the aliases are nested.

mod load;
mod scalar;
mod write;

use serde_json::Value;

use crate::Problem;
pub(crate) use load::{Item, Kind, Tree};
pub use write::to_string;

/// Bytes of a text. The usual node definition has a few hundred.
pub const MAX_BYTES: usize = 512 << 10;
/// Bytes of one scalar, such as a certificate in a parameter.
pub const MAX_SCALAR_BYTES: usize = 64 << 10;
/// How deep collections may lie in each other.
pub const MAX_DEPTH: usize = 32;
/// Values in a text, aliases written out.
pub const MAX_VALUES: usize = 10_000;

/// Reads one document; an empty one is null.
///
/// # Errors
/// The first thing that is wrong with it, see the crate's page.
pub fn parse(text: &str) -> Result<Value, Problem> {
    Tree::load(text).map(|tree| tree.to_value())
}
