//! What the authority says of itself: what keeps it from being ready, when things end, and numbers.

use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};

use pki::SignError;
use time::OffsetDateTime;

use crate::Error;
use crate::authority::{Authority, read, write};

/// When certificates and lists of the CAs end, by common name, the signing CA's first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expirations {
    /// Certificates of the bundle.
    pub ca_certs: Vec<(String, OffsetDateTime)>,
    /// Their revocation lists' nextUpdate.
    pub crls: Vec<(String, OffsetDateTime)>,
}

/// Numbers for whoever watches. Totals are since the start of the program.
#[derive(Debug, Clone, PartialEq)]
pub struct CaMetrics {
    /// Certificates issued, renewed ones and the server's own included.
    pub signed_total: u64,
    /// Certificates revoked.
    pub revoked_total: u64,
    /// Certificates renewed, with the same key or for another.
    pub renewals_total: u64,
    /// The number of the list in force.
    pub crl_number: u64,
    /// Its size in DER.
    pub crl_bytes: u64,
    /// Revoked certificates on it.
    pub crl_entries: u64,
    /// Seconds it took to make it; 0 if it is from before the start.
    pub crl_sign_seconds: f64,
    /// Unix seconds: when it was made.
    pub crl_made: i64,
    /// Unix seconds: when the first of the lists ends, those of the CAs above included.
    pub crl_next_update: i64,
    /// Unix seconds: when the first certificate of the bundle ends.
    pub ca_cert_expiry: i64,
    /// How often the signer was started again.
    pub signer_restarts: u64,
    /// Bytes left on the store's disk; `None` where the file system would not say.
    pub free_bytes: Option<u64>,
    /// Declared masters.
    pub masters: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    signed: AtomicU64,
    revoked: AtomicU64,
    renewals: AtomicU64,
    /// What the signer's last failure was; `None` once it signs again.
    signer: RwLock<Option<String>>,
}

impl Counters {
    pub(crate) fn note_signed(&self, renewal: bool) {
        self.signed.fetch_add(1, Ordering::Relaxed);
        self.renewals.fetch_add(u64::from(renewal), Ordering::Relaxed);
    }

    pub(crate) fn note_revoked(&self) {
        self.revoked.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the signer answered.
    pub(crate) fn note_signer<T>(&self, outcome: &Result<T, Error>) {
        match outcome {
            Err(Error::Sign(SignError::Unavailable(why))) => *write(&self.signer) = Some(why.clone()),
            Err(_) => {}
            Ok(_) if read(&self.signer).is_some() => *write(&self.signer) = None,
            Ok(_) => {}
        }
    }
}

impl Authority {
    /// Everything that keeps the CA from doing its work, a line each; nothing if it is ready.
    pub fn health(&self, now: OffsetDateTime) -> Vec<String> {
        let inner = &self.inner;
        let mut said = Vec::new();
        said.extend(inner.refuse_low_space().err().map(|error| error.to_string()));
        match read(&inner.counters.signer).clone() {
            Some(why) => said.push(format!("the signer does not sign: {why}")),
            None if !inner.settings.keys.alive() => said.push("the signer is not running".into()),
            None => {}
        }
        let failing = inner.revocations.failing();
        said.extend(failing.map(|why| format!("no revocation list can be published: {why}")));
        let expirations = self.expirations();
        for (what, ends) in [("certificate", &expirations.ca_certs), ("revocation list", &expirations.crls)] {
            for (name, end) in ends.iter().filter(|(_, end)| *end <= now) {
                said.push(format!("the {what} of {name:?} ended at {end}"));
            }
        }
        said
    }

    /// When the CAs' certificates and lists end.
    pub fn expirations(&self) -> Expirations {
        let revocations = &self.inner.revocations;
        let own = (self.name().to_owned(), revocations.own().next_update);
        let above = revocations.ancestors().into_iter().map(|list| (list.of, list.crl.next_update));
        let certificates = self.inner.bundle.certificates().iter();
        Expirations {
            ca_certs: certificates.map(|ca| (ca.subject_cn.clone(), ca.not_after)).collect(),
            crls: std::iter::once(own).chain(above).collect(),
        }
    }

    /// The numbers of this moment. None of them waits for the store: see [`store::Store::counts`] for
    /// how many there are of what.
    pub fn metrics(&self) -> CaMetrics {
        let inner = &self.inner;
        let (own, trust, counters) = (inner.revocations.own(), self.trust(), &inner.counters);
        let ends = inner.bundle.certificates().iter().map(|ca| ca.not_after.unix_timestamp());
        let free = inner.space.free(&inner.store);
        CaMetrics {
            signed_total: counters.signed.load(Ordering::Relaxed),
            revoked_total: counters.revoked.load(Ordering::Relaxed),
            renewals_total: counters.renewals.load(Ordering::Relaxed),
            crl_number: trust.number,
            crl_bytes: own.bytes,
            crl_entries: own.entries,
            crl_sign_seconds: own.seconds,
            crl_made: own.made.unix_timestamp(),
            crl_next_update: trust.next_update.unix_timestamp(),
            ca_cert_expiry: ends.min().unwrap_or_default(),
            signer_restarts: inner.settings.keys.restarts(),
            free_bytes: (free != u64::MAX).then_some(free),
            masters: u64::try_from(read(&inner.masters).len()).unwrap_or(u64::MAX),
        }
    }
}
