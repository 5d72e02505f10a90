//! HTTP requests on behalf of plugins, to the origins that they were granted.
//!
//! A request goes out when its origin and method are granted and every address that the origin's name
//! has is one that may be reached; it goes to an address that was looked at, over a connection of its
//! own, with the credentials that the grant names. Time and bodies are bounded.
//!
//! What it never does: follow a redirect, read a proxy from the environment, try again, keep cookies, or
//! let a plugin say what a hop or a credential header holds. It judges no answer.
//!
//! Look instead at crate `rollout` for how a grant is written, at `master::reach` for who asks, and at
//! `client` for requests to a CA.

mod address;
mod message;
mod outgoing;
mod refused;
mod rule;
mod secret;
mod tls;

pub use hyper::Method;
pub use hyper::header::HeaderName;
pub use message::{Request, Response};
pub use outgoing::{Outgoing, Resolve, Settings, SystemResolver, allows};
pub use refused::Refused;
pub use rule::{Credential, From, Origin, Rule, Scheme, is_ours};
