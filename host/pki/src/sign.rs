//! Certificates, written from our own model.

use std::fmt;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use time::{OffsetDateTime, UtcOffset};

use crate::certificate::{Certificate, CertificateError};
use crate::certname::Certname;
use crate::extension::{Extension, KNOWN_SECRETS};
use crate::key::{PublicKey, SigningKey};
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
    /// A subject that would not come out of our encoder as it went in.
    #[error(
        "the issuer's name {0:?} cannot be written exactly as its certificate has it; a single common name can"
    )]
    IssuerName(String),
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

/// A CA: its certificate and its private key, which stays inside.
pub struct Issuer {
    certificate: Certificate,
    pub(crate) inner: rcgen::Issuer<'static, KeyPair>,
    pub(crate) key_id: Vec<u8>,
}

impl Issuer {
    /// Joins a CA's certificate and key, and checks that they belong together and work.
    ///
    /// # Errors
    /// [`SignError`] when the certificate is no CA's, the key another's, or the name not writable.
    pub fn open(certificate: Certificate, key: SigningKey) -> Result<Issuer, SignError> {
        if key.public() != &certificate.key {
            return Err(SignError::WrongKey(certificate.subject_cn));
        }
        let inner =
            rcgen::Issuer::from_ca_cert_der(&certificate.der.as_slice().into(), key.pair).map_err(library)?;
        let usages = inner.key_usages();
        let wanted = [KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        if !certificate.is_ca || !usages.is_empty() && !wanted.iter().all(|usage| usages.contains(usage)) {
            return Err(SignError::NotAnIssuer(certificate.subject_cn));
        }
        let key_id = certificate.subject_key_id.clone().unwrap_or_else(|| certificate.key.sha1_key_id());
        let issuer = Issuer { certificate, inner, key_id };
        issuer.try_out()?;
        Ok(issuer)
    }

    /// Its own certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Signs a throw-away certificate, so that a CA that cannot sign is found when it is opened.
    fn try_out(&self) -> Result<(), SignError> {
        let own = &self.certificate;
        let template = Template {
            serial: own.serial.clone(),
            certname: Certname::parse("try-out").map_err(|e| SignError::Field(e.to_string()))?,
            key: own.key.clone(),
            not_before: own.not_before,
            not_after: own.not_after,
            alt_names: Vec::new(),
            extensions: Vec::new(),
        };
        sign_certificate(&template, self).map(drop)
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("certificate", &self.certificate).finish_non_exhaustive()
    }
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

/// Makes a self-signed CA that may sign leaf certificates and CRLs, and nothing below another CA.
///
/// # Errors
/// [`SignError`] when the validity is empty or the library fails.
pub fn create_issuer(
    common_name: &str,
    key: SigningKey,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
) -> Result<Issuer, SignError> {
    if not_after <= not_before {
        return Err(SignError::Validity(not_before, not_after));
    }
    let serial = Serial::random().map_err(|e| SignError::Library(e.to_string()))?;
    let mut params = params(common_name, &serial, key.public(), not_before, not_after);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key.pair).map_err(library)?;
    Issuer::open(Certificate::parse_der(certificate.der())?, key)
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
        params(template.certname.as_str(), &template.serial, &template.key, not_before, not_after);
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

    let key = SubjectPublicKeyInfo::from_der(&template.key.spki_der).map_err(library)?;
    let signed = params.signed_by(&key, &issuer.inner).map_err(library)?;
    let certificate = Certificate::parse_der(signed.der())?;
    if certificate.issuer_der != own.subject_der {
        return Err(SignError::IssuerName(own.subject_cn.clone()));
    }
    Ok(certificate)
}

/// SEQUENCE { serverAuth, clientAuth } (RFC 5280, 4.2.1.12).
const SERVER_AND_CLIENT: [u8; 22] =
    [0x30, 20, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2];

fn params(
    common_name: &str,
    serial: &Serial,
    key: &PublicKey,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.serial_number = Some(SerialNumber::from_slice(serial.as_be_bytes()));
    params.not_before = not_before.to_offset(UtcOffset::UTC);
    params.not_after = not_after.to_offset(UtcOffset::UTC);
    params.use_authority_key_identifier_extension = true;
    params.key_identifier_method = KeyIdMethod::PreSpecified(key.sha1_key_id());
    params
}

pub(crate) fn library(error: rcgen::Error) -> SignError {
    SignError::Library(error.to_string())
}
