//! Where certificates and the trust in them come from: our own CA, or another master's that is followed.

use std::sync::Arc;

use ca::Authority;
use follower::Follower;
use pki::{Certname, Serial, Trust};
use tokio::sync::watch;

/// Where certificates come from.
#[derive(Clone)]
pub enum Certificates {
    /// From the CA here.
    Authority(Arc<Authority>),
    /// From a CA elsewhere, whose revocation lists are followed.
    Followed(Arc<Follower>),
}

impl Certificates {
    /// The CA, if it is here.
    pub fn authority(&self) -> Option<&Arc<Authority>> {
        match self {
            Certificates::Authority(authority) => Some(authority),
            Certificates::Followed(_) => None,
        }
    }

    /// What follows the CA, if it is elsewhere.
    pub fn follower(&self) -> Option<&Arc<Follower>> {
        match self {
            Certificates::Authority(_) => None,
            Certificates::Followed(follower) => Some(follower),
        }
    }

    /// What is believed of the CA now.
    pub fn trust(&self) -> Arc<Trust> {
        match self {
            Certificates::Authority(authority) => authority.trust(),
            Certificates::Followed(follower) => follower.trust(),
        }
    }

    /// The same, and every later version.
    pub fn watch_trust(&self) -> watch::Receiver<Arc<Trust>> {
        match self {
            Certificates::Authority(authority) => authority.watch_trust(),
            Certificates::Followed(follower) => follower.watch_trust(),
        }
    }

    /// Whether a certificate is revoked. In memory; a CA here knows before its next list says so.
    pub fn is_revoked(&self, serial: &Serial) -> bool {
        match self {
            Certificates::Authority(authority) => authority.is_revoked(serial),
            Certificates::Followed(follower) => follower.trust().is_revoked(serial),
        }
    }

    /// Whether the name is that of a catalog master of the CA here. In memory.
    pub fn is_master(&self, certname: &Certname) -> bool {
        self.authority().is_some_and(|authority| authority.is_master(certname))
    }
}
