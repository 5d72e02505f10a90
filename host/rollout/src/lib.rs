//! The live set of plugins.
