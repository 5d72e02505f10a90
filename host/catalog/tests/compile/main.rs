//! Whole catalogs: against a real compiler's, against golden files, and every way in which they fail.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests and what they are made of; the exception in clippy.toml does not reach this far"
)]

mod cases;
mod faults;
mod golden;
mod puppet;
