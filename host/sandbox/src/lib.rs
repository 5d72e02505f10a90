//! The only crate that knows Wasmtime.
