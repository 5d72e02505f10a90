//! What is believed of a CA at one moment.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use time::{Duration, OffsetDateTime};

use crate::bundle::Bundle;
use crate::certificate::Certificate;
use crate::serial::Serial;

/// What is believed of a CA at one moment: plain data, which the CA and the masters that follow it both
/// have. A new one takes its place whole.
#[derive(Clone)]
pub struct Trust {
    /// The CA's certificate with its chain.
    pub bundle: Arc<Bundle>,
    /// When the bundle was written.
    pub bundle_modified: SystemTime,
    /// The revocation lists of all its CAs in PEM: what TLS checks with.
    pub crls: Arc<str>,
    /// What agents are given; differs from `crls` only where the CA keeps a list for infrastructure nodes.
    pub agents_crls: Arc<str>,
    /// The number of the signing CA's list.
    pub number: u64,
    /// When that list was made.
    pub this_update: OffsetDateTime,
    /// When the first of the lists ends.
    pub next_update: OffsetDateTime,
    /// The serials on the signing CA's list.
    pub revoked: Arc<HashSet<Serial>>,
}

/// How old what is believed is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Before the lists' end.
    Fresh,
    /// After it, within the grace.
    Stale,
    /// After both: no certificate is to be believed.
    Expired,
}

impl Trust {
    /// Whether the signing CA has revoked this certificate.
    pub fn is_revoked(&self, serial: &Serial) -> bool {
        self.revoked.contains(serial)
    }

    /// How old the lists are: `grace` begins at [`Trust::next_update`].
    pub fn freshness(&self, now: OffsetDateTime, grace: Duration) -> Freshness {
        // A grace beyond what the calendar holds never ends.
        let end = self.next_update.checked_add(grace);
        if now < self.next_update {
            Freshness::Fresh
        } else if end.is_none_or(|end| now < end) {
            Freshness::Stale
        } else {
            Freshness::Expired
        }
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("bundle", &self.bundle)
            .field("number", &self.number)
            .field("this_update", &self.this_update)
            .field("next_update", &self.next_update)
            .field("revoked", &self.revoked.len())
            .finish_non_exhaustive()
    }
}

/// A certificate and its key, for TLS.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: Certificate,
    /// The same in PEM.
    pub certificate_pem: String,
    /// Its private key in PEM. `Debug` does not show it.
    pub key_pem: String,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}
