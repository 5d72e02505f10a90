//! Revocation lists (RFC 5280, section 5).

use std::fmt;

use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber,
};
use time::{OffsetDateTime, UtcOffset};

use crate::certificate::{Certificate, signed_by};
use crate::encode::{self, library};
use crate::issuer::Issuer;
use crate::pem;
use crate::serial::Serial;
use crate::sign::SignError;

/// Why a certificate is revoked (RFC 5280, 5.3.1), under the RFC's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// `unspecified`; written as no reason at all.
    Unspecified,
    /// `keyCompromise`: what Puppet's CA always says.
    KeyCompromise,
    /// `affiliationChanged`.
    AffiliationChanged,
    /// `superseded`: another certificate has taken its place.
    Superseded,
    /// `cessationOfOperation`: the node is gone.
    CessationOfOperation,
    /// `privilegeWithdrawn`.
    PrivilegeWithdrawn,
}

const REASONS: [(Reason, &str, RevocationReason); 6] = [
    (Reason::Unspecified, "unspecified", RevocationReason::Unspecified),
    (Reason::KeyCompromise, "keyCompromise", RevocationReason::KeyCompromise),
    (Reason::AffiliationChanged, "affiliationChanged", RevocationReason::AffiliationChanged),
    (Reason::Superseded, "superseded", RevocationReason::Superseded),
    (Reason::CessationOfOperation, "cessationOfOperation", RevocationReason::CessationOfOperation),
    (Reason::PrivilegeWithdrawn, "privilegeWithdrawn", RevocationReason::PrivilegeWithdrawn),
];

impl Reason {
    /// The RFC's name, which is also the store's.
    pub fn as_str(self) -> &'static str {
        REASONS.iter().find(|(reason, ..)| *reason == self).map_or("unspecified", |(_, name, _)| name)
    }

    /// Reads the RFC's name.
    pub fn parse(text: &str) -> Option<Reason> {
        REASONS.iter().find(|(_, name, _)| *name == text).map(|(reason, ..)| *reason)
    }

    fn code(self) -> RevocationReason {
        REASONS
            .iter()
            .find(|(reason, ..)| *reason == self)
            .map_or(RevocationReason::Unspecified, |(.., code)| *code)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One revoked certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub serial: Serial,
    /// When, to the second.
    pub revoked_at: OffsetDateTime,
    /// Why, if the list says.
    pub reason: Option<Reason>,
}

/// A revocation list.
#[derive(Clone, PartialEq, Eq)]
pub struct Crl {
    /// Its cRLNumber; 0 if it has none.
    pub number: u64,
    /// Made then.
    pub this_update: OffsetDateTime,
    /// Good up to then.
    pub next_update: OffsetDateTime,
    /// The issuer's whole name.
    pub issuer: String,
    /// The revoked certificates, in the list's order.
    pub entries: Vec<Entry>,
    /// The list itself.
    pub der: Vec<u8>,
    issuer_der: Vec<u8>,
}

/// Why bytes are no revocation list that we can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    /// Not one PEM block labelled X509 CRL.
    #[error("the CRL is not PEM: {0}")]
    Pem(String),
    /// Not a CRL in DER.
    #[error("the CRL is malformed")]
    Encoding,
    /// No nextUpdate: it would be good for ever.
    #[error("the CRL has no nextUpdate")]
    NoNextUpdate,
    /// A serial that is not positive or too long, or a number beyond 64 bits.
    #[error("the CRL has a number or serial out of range")]
    Number,
    /// A critical extension, of the list or of an entry: a delta, or one of another scope.
    #[error(
        "the CRL is a delta or of another scope than one CA's certificates: it has the critical extension {0}"
    )]
    Partial(String),
}

/// Signs a list. The caller makes sure that `number` is above every earlier list's.
///
/// # Errors
/// [`SignError`] when the times are the wrong way round or the library fails.
pub fn sign(
    number: u64,
    this_update: OffsetDateTime,
    next_update: OffsetDateTime,
    entries: Vec<Entry>,
    issuer: &Issuer,
) -> Result<Crl, SignError> {
    let params = CertificateRevocationListParams {
        this_update: this_update.to_offset(UtcOffset::UTC),
        next_update: next_update.to_offset(UtcOffset::UTC),
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: entries
            .iter()
            .map(|entry| RevokedCertParams {
                serial_number: SerialNumber::from_slice(entry.serial.as_be_bytes()),
                revocation_time: entry.revoked_at.to_offset(UtcOffset::UTC),
                reason_code: entry.reason.map(Reason::code),
                invalidity_date: None,
            })
            .collect(),
        // The library takes a CRL's authority key identifier from here, not from the issuer; left
        // alone it would name a key that does not exist.
        key_identifier_method: KeyIdMethod::PreSpecified(issuer.key_id.clone()),
    };
    let own = issuer.certificate();
    let encoded = params.signed_by(&encode::issuer(&own.key, &issuer.key_id)).map_err(library)?;
    // TBSCertList: version, algorithm, issuer, …
    let der = encode::sign(encoded.der(), &[(2, &own.subject_der)], &*issuer.key)?;
    Ok(Crl {
        number,
        this_update,
        next_update,
        issuer: own.subject_name(),
        entries,
        der,
        issuer_der: own.subject_der.clone(),
    })
}

impl Crl {
    /// Reads a PEM text of exactly one list.
    ///
    /// # Errors
    /// [`CrlError`].
    pub fn parse_pem(text: &[u8]) -> Result<Crl, CrlError> {
        let der = pem::one(text, &["X509 CRL"]).map_err(|e| CrlError::Pem(e.to_string()))?;
        Crl::parse_der(der)
    }

    /// Reads a PEM text of lists and nothing else, in the text's order; there is at least one.
    ///
    /// # Errors
    /// [`CrlError`], the first.
    pub fn parse_pem_all(text: &[u8]) -> Result<Vec<Crl>, CrlError> {
        let blocks = pem::every(text, "X509 CRL").map_err(|e| CrlError::Pem(e.to_string()))?;
        blocks.into_iter().map(Crl::parse_der).collect()
    }

    /// Reads a list in DER.
    ///
    /// # Errors
    /// [`CrlError`].
    pub fn parse_der(der: Vec<u8>) -> Result<Crl, CrlError> {
        let (rest, list) = x509_parser::parse_x509_crl(&der).map_err(|_| CrlError::Encoding)?;
        if !rest.is_empty() {
            return Err(CrlError::Encoding);
        }
        if let Some(extension) = list.extensions().iter().find(|e| e.critical) {
            return Err(CrlError::Partial(extension.oid.to_id_string()));
        }
        let mut entries = Vec::new();
        for revoked in list.iter_revoked_certificates() {
            if let Some(extension) = revoked.extensions().iter().find(|e| e.critical) {
                return Err(CrlError::Partial(extension.oid.to_id_string()));
            }
            let raw = revoked.raw_serial();
            if raw.first().is_none_or(|b| b & 0x80 != 0) {
                return Err(CrlError::Number);
            }
            let reason = revoked.reason_code().map(|(_, code)| code.0);
            entries.push(Entry {
                serial: Serial::from_be_bytes(raw).map_err(|_| CrlError::Number)?,
                revoked_at: revoked.revocation_date.to_datetime(),
                reason: reason.and_then(reason_of_code),
            });
        }
        let number = match list.crl_number() {
            Some(number) => u64::try_from(number).map_err(|_| CrlError::Number)?,
            None => 0,
        };
        let (this_update, next_update) =
            (list.last_update(), list.next_update().ok_or(CrlError::NoNextUpdate)?);
        Ok(Crl {
            number,
            this_update: this_update.to_datetime(),
            next_update: next_update.to_datetime(),
            issuer: list.issuer().to_string(),
            issuer_der: list.issuer().as_raw().to_vec(),
            entries,
            der,
        })
    }

    /// The list in PEM.
    pub fn to_pem(&self) -> String {
        pem::write("X509 CRL", &self.der)
    }

    /// Whether both are in the same CA's name.
    pub(crate) fn same_issuer(&self, other: &Crl) -> bool {
        self.issuer_der == other.issuer_der
    }

    /// Whether `issuer`'s key signed it and it is in `issuer`'s name.
    pub fn is_signed_by(&self, issuer: &Certificate) -> bool {
        self.issuer_der == issuer.subject_der && signed_by(&self.der, &issuer.key)
    }
}

impl fmt::Debug for Crl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crl")
            .field("number", &self.number)
            .field("issuer", &self.issuer)
            .field("this_update", &self.this_update)
            .field("next_update", &self.next_update)
            .field("entries", &self.entries.len())
            .finish_non_exhaustive()
    }
}

fn reason_of_code(code: u8) -> Option<Reason> {
    Some(match code {
        0 => Reason::Unspecified,
        1 => Reason::KeyCompromise,
        3 => Reason::AffiliationChanged,
        4 => Reason::Superseded,
        5 => Reason::CessationOfOperation,
        9 => Reason::PrivilegeWithdrawn,
        _ => return None,
    })
}
