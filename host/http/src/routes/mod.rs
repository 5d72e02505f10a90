//! The routes, a file for each group; the table in `route.rs` says which path leads to which.

pub mod admin;
pub mod authority;
pub mod ca;
pub mod catalog;
pub mod components;
pub mod filebucket;
pub mod files;
pub mod node;
pub mod plugins;
pub mod report;
pub mod status;
pub mod stream;
