//! The files agents fetch: plugins, external facts and module files.
