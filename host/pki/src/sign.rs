//! Certificates, written from our own model.

use rcgen::{CustomExtension, IsCa, KeyUsagePurpose, SanType};
use time::OffsetDateTime;

use crate::certificate::{Certificate, CertificateError};
use crate::certname::Certname;
use crate::encode::{self, Unsigned, library};
use crate::extension::{Extension, KNOWN_SECRETS};
use crate::issuer::Issuer;
use crate::key::PublicKey;
use crate::name::AltName;
use crate::request::CertificateRequest;
use crate::serial::Serial;

/// Everything in a certificate that differs from one to the next.
///
/// The rest is fixed, as Puppet's own CA has it (protocol page, section 4): version 3; a subject of
/// the common name alone; SHA-256; `DNS:<certname>` first among the alternative names; subject and
/// authority key identifiers (SHA-1 of the key, RFC 5280 method 1); and, all critical, CA:FALSE, key
/// usage digitalSignature and keyEncipherment, extended key usage server and client. Puppet's Netscape
/// comment "Puppet Server Internal Certificate" is left out: nothing reads it, and it is not true here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// A serial of its own.
    pub serial: Serial,
    /// The subject.
    pub certname: Certname,
    /// The key to certify.
    pub key: PublicKey,
    /// Valid from then on.
    pub not_before: OffsetDateTime,
    /// Valid up to then; not past the issuer's own end.
    pub not_after: OffsetDateTime,
    /// Names beside the certname.
    pub alt_names: Vec<AltName>,
    /// Puppet extensions; those of [`KNOWN_SECRETS`] are left out of the certificate.
    pub extensions: Vec<Extension>,
}

/// Why nothing was signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// Ends before it begins, or begins before or ends after the issuer's own validity.
    #[error("the validity from {0} to {1} is not within the issuer's own, or is empty")]
    Validity(OffsetDateTime, OffsetDateTime),
    /// The issuer is no CA, or its key usage forbids signing certificates or CRLs.
    #[error("the certificate of {0:?} is not a CA's that may sign certificates and CRLs")]
    NotAnIssuer(String),
    /// The private key is another one's.
    #[error("the private key does not belong to the certificate of {0:?}")]
    WrongKey(String),
    /// Only a self-signed certificate can be renewed without its issuer.
    #[error("the certificate of {0:?} is not self-signed: ask the CA above it for another")]
    NotARoot(String),
    /// The key may sign certificates and revocation lists of its CA alone, and this is neither.
    #[error("the signer refuses: {0}")]
    Refused(String),
    /// The key cannot be reached.
    #[error("the signer does not answer: {0}")]
    Unavailable(String),
    /// A name or an identifier that does not fit in a certificate.
    #[error("{0:?} does not fit in a certificate")]
    Field(String),
    /// The signing library failed.
    #[error("signing failed: {0}")]
    Library(String),
    /// What was signed could not be read back.
    #[error("the signed certificate cannot be read back: {0}")]
    ReadBack(#[from] CertificateError),
}

impl Template {
    /// For a checked request: its name, key, alternative names and extensions.
    pub fn for_request(
        request: &CertificateRequest,
        serial: Serial,
        not_before: OffsetDateTime,
        not_after: OffsetDateTime,
    ) -> Template {
        Template {
            serial,
            certname: request.certname.clone(),
            key: request.key.clone(),
            not_before,
            not_after,
            alt_names: request.alt_names.clone(),
            extensions: request.extensions.clone(),
        }
    }

    /// For a certificate that is to live on under a new serial: same name, key, alternative names and
    /// extensions. `None` when its subject is no certname.
    pub fn for_renewal(
        certificate: &Certificate,
        serial: Serial,
        not_before: OffsetDateTime,
        not_after: OffsetDateTime,
    ) -> Option<Template> {
        Some(Template {
            serial,
            certname: certificate.certname.clone()?,
            key: certificate.key.clone(),
            not_before,
            not_after,
            alt_names: certificate.alt_names.clone(),
            extensions: certificate.puppet_extensions(),
        })
    }
}

/// Signs a certificate for an agent or a server. The template's serial must be one never used before;
/// keeping that promise is the caller's part.
///
/// # Errors
/// [`SignError`] when the template does not fit the issuer, or the library fails.
pub fn sign_certificate(template: &Template, issuer: &Issuer) -> Result<Certificate, SignError> {
    let (not_before, not_after) = (template.not_before, template.not_after);
    let own = issuer.certificate();
    if not_after <= not_before || not_before < own.not_before || not_after > own.not_after {
        return Err(SignError::Validity(not_before, not_after));
    }
    let mut params =
        encode::params(template.certname.as_str(), &template.serial, &template.key, not_before, not_after);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];

    let own_name = AltName::Dns(template.certname.as_str().to_owned());
    let others = template.alt_names.iter().filter(|name| **name != own_name);
    for name in std::iter::once(&own_name).chain(others) {
        params.subject_alt_names.push(match name {
            AltName::Dns(name) => {
                SanType::DnsName(name.as_str().try_into().map_err(|_| SignError::Field(name.clone()))?)
            }
            AltName::Ip(address) => SanType::IpAddress(*address),
        });
    }

    // The library writes the extended key usage as not critical, and Puppet's is critical.
    let mut usage = CustomExtension::from_oid_content(&[2, 5, 29, 37], SERVER_AND_CLIENT.to_vec());
    usage.set_criticality(true);
    params.custom_extensions.push(usage);
    for extension in template.extensions.iter().filter(|e| !KNOWN_SECRETS.contains(&e.oid.as_str())) {
        if crate::extension::arc_of(&extension.oid).is_none() {
            return Err(SignError::Field(extension.oid.clone()));
        }
        let arcs: Result<Vec<u64>, _> = extension.oid.split('.').map(str::parse).collect();
        let arcs = arcs.map_err(|_| SignError::Field(extension.oid.clone()))?;
        params.custom_extensions.push(CustomExtension::from_oid_content(&arcs, extension.der.clone()));
    }

    let by = encode::issuer(&own.key, &issuer.key_id);
    let encoded = params.signed_by(&Unsigned(&template.key), &by).map_err(library)?;
    // TBSCertificate: version, serial, algorithm, issuer, …
    let der = encode::sign(encoded.der(), &[(3, &own.subject_der)], &*issuer.key)?;
    Ok(Certificate::parse_der(&der)?)
}

/// SEQUENCE { serverAuth, clientAuth } (RFC 5280, 4.2.1.12).
const SERVER_AND_CLIENT: [u8; 22] =
    [0x30, 20, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2];
