//! The life of sets in a master: started with, staged, swapped, watched, taken back; through restarts and
//! with the default plugins as they are built.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on says so"
)]

mod changes;
mod components;
mod crash;
mod guard;
mod shadow;
mod signed;
mod start;
mod support;
