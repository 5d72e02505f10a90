//! The server over real TLS connections, with a double of the use cases behind it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::panic,
    reason = "a test may panic; clippy takes only the test functions themselves for tests"
)]

mod admin;
mod authority;
mod bodies;
mod catalogs;
mod client;
mod control;
mod double_admin;
mod double_plugins;
mod files;
mod identity;
mod life;
mod masters;
mod others;
mod plugins;
mod routes;
mod split;
mod whole;
mod world;
