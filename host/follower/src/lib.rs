//! Follows a CA from a catalog master: enrols the master there, and keeps its CRL and bundle in force.
//!
//! What comes from the CA is checked as if anyone had sent it, then in force, then written to disk, and
//! only then reported to the CA as enforced. What is on disk is checked again at each start. So a master
//! that has once been enrolled starts and serves without the CA, and never goes back behind what it
//! reported.
//!
//! # When a list or a bundle is taken
//! It parses, is signed by the CA of the bundle, is no delta, there is one list for each CA of the
//! bundle, and no list has a lower number than the one that is held. Another bundle is taken if its
//! signing CA has the same name and key (the CA was renewed) or if it ends in the same root. Anything
//! else is refused: one log line, one more in [`FollowState::refused`], and what was held stays.
//!
//! # How old is too old
//! Up to the lists' nextUpdate they are *fresh*. From then on, for the grace that the operator set, they
//! are *stale*: the master serves as before, and says so. After that they are *expired*: the master
//! serves nobody who needs a certificate, until the CA has signed a newer list. Each change is one line.
//!
//! # How the CA is followed
//! Over a held request (`/bunraku/v1/ca/stream`), which brings a new list the moment it is signed; a CA
//! that is silent for 10 s counts as gone and is asked again after 0.2 s to 5 s. Where there is no such
//! stream, or it is down for longer, `certificate_revocation_list/ca` and `certificate/ca` are polled. Of a
//! Puppet CA with an infrastructure CRL that is the infrastructure's list alone, which is all such a CA
//! tells anyone.
//!
//! The stream also tells which set of plugins decides at the CA ([`Follower::watch_plugin_set`]). It is passed on
//! as it is: whether it goes live here is decided elsewhere.
//!
//! What it never does: enrol anew by itself with another CA (that is a person's act: remove the folder),
//! sign anything, or answer agents. Look instead at crate `ca` for the authority, at `pki` for the checks,
//! and at `client` for the wire.

mod contact;
mod disk;
mod enrol;
mod error;
mod follower;
mod freshness;
mod identity;
mod judge;
mod renewal;
mod settings;
mod stream;
mod wait;

pub use error::Error;
pub use follower::{FollowState, Follower, PushedSet};
pub use settings::{Pin, Settings};
