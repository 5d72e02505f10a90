//! A small HTTP/1.1 client for one server: a CA over TLS, or a daemon over its control socket.
//!
//! It makes one connection for each request, checks the server's certificate by name, chain and
//! revocation lists, and bounds everything by a size and a deadline. A held answer is read line by line
//! and counts as dead when it is silent for too long.
//!
//! What it never does: follow a redirect (credentials don't travel, CVE-2021-27023), read a proxy from
//! the environment, try again, or judge what it was answered. The one connection that it makes without
//! knowing whom to trust is [`Roots::AnyOnce`], and it gets nothing but the CA's bundle through that.
//!
//! Look instead at crate `follower` for how a master follows its CA, and at `http` for the server's side.

mod client;
mod connect;
mod error;
mod lines;
mod target;
mod tls;

pub use client::{Client, Deadlines, MAX_BODY_BYTES, Response};
pub use error::Error;
pub use hyper::{Method, StatusCode};
pub use lines::Lines;
pub use target::{Roots, Target};
