//! The server over real TLS connections, with a double of the use cases behind it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::panic,
    reason = "a test may panic; clippy takes only the test functions themselves for tests"
)]

mod authority;
mod bodies;
mod catalogs;
mod client;
mod files;
mod identity;
mod life;
mod others;
mod routes;
mod whole;
mod world;
