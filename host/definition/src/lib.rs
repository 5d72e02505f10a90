//! A node definition: the YAML that an external node classifier prints, and that the registry keeps
//! for every node.
//!
//! Pure: text in, a checked value or the first problem with its line and column out. It never fetches a
//! definition (`registry` does, or the host for a plugin), never decides on one (`decide`, the
//! `s3-registry` plugin), and does not know which classes exist (`catalog`). It is also compiled into
//! that plugin, so it needs no operating system.
//!
//! # Which YAML
//! A plain scalar means what Ruby's psych makes of it, as that is what Puppet reads its classifier's
//! output with: `yes`, `on` and `true` are true, `0644` is 420, `1.0e5` (no sign in the exponent) and
//! `08` are text. Where psych surprises or gives no JSON value, the text is refused and the operator
//! asked to quote it: base 60 (`12:30`), commas in numbers (`1,000`), dates and times, `:symbols`,
//! infinities, and numbers beyond 64 bits. Keys are text; `8200:` is the key "8200", while `yes:`,
//! `null:` or `1.5:` need quotes.
//!
//! Aliases and merge keys (`<<`) work. Tags (all but `!!str`), duplicate keys, tabs in the indentation or
//! right after a colon, control characters, several documents and anything over the [caps](yaml) are refused.

mod node;
pub mod yaml;

use std::fmt;

pub use node::NodeDefinition;

/// Why a text cannot be used, and where.
///
/// The message names keys and kinds of values but never repeats a value, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// What is wrong and how to mend it: one line, lower case.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}
