//! Certificate authorities: opened, made, renewed, and asked for.

use std::fmt;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyUsagePurpose};
use time::OffsetDateTime;

use crate::certificate::Certificate;
use crate::certname::Certname;
use crate::encode::{self, Unsigned, library};
use crate::pem;
use crate::private::Sign;
use crate::serial::Serial;
use crate::sign::{SignError, Template, sign_certificate};

/// A CA: its certificate and what signs for it.
pub struct Issuer {
    certificate: Certificate,
    pub(crate) key: Arc<dyn Sign>,
    pub(crate) key_id: Vec<u8>,
}

impl Issuer {
    /// Joins a CA's certificate and key, and checks that they belong together and work.
    ///
    /// # Errors
    /// [`SignError`] when the certificate is no CA's, the key is another's, or a throw-away signature
    /// fails.
    pub fn open(certificate: Certificate, key: Arc<dyn Sign>) -> Result<Issuer, SignError> {
        if key.public() != &certificate.key {
            return Err(SignError::WrongKey(certificate.subject_cn));
        }
        if !certificate.is_ca || !certificate.signs_all {
            return Err(SignError::NotAnIssuer(certificate.subject_cn));
        }
        let key_id = certificate.subject_key_id.clone().unwrap_or_else(|| certificate.key.sha1_key_id());
        let issuer = Issuer { certificate, key, key_id };
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
        let signed = sign_certificate(&template, self)?;
        if signed.is_signed_by(own) { Ok(()) } else { Err(SignError::WrongKey(own.subject_cn.clone())) }
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// Makes a self-signed CA that may sign leaf certificates and CRLs, and nothing below another CA.
///
/// # Errors
/// [`SignError`] when the validity is empty or signing fails.
pub fn create_issuer(
    common_name: &str,
    key: Arc<dyn Sign>,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
) -> Result<Issuer, SignError> {
    let serial = fresh(not_before, not_after)?;
    let mut params = encode::params(common_name, &serial, key.public(), not_before, not_after);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let encoded = params.self_signed(&Unsigned(key.public())).map_err(library)?;
    let der = encode::sign(encoded.der(), &[], &*key)?;
    Issuer::open(Certificate::parse_der(&der)?, key)
}

/// Another certificate for a self-signed CA: same subject, same key, same key identifier, another serial
/// and another life. What the old one verifies, it verifies too.
///
/// # Errors
/// [`SignError::NotARoot`] for a CA that another one signed; others when the validity is empty or signing
/// fails.
pub fn renew_issuer(
    issuer: &Issuer,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
) -> Result<Certificate, SignError> {
    let own = issuer.certificate();
    if !own.is_signed_by(own) {
        return Err(SignError::NotARoot(own.subject_cn.clone()));
    }
    let serial = fresh(not_before, not_after)?;
    let mut params = encode::params(&own.subject_cn, &serial, &own.key, not_before, not_after);
    params.key_identifier_method = rcgen::KeyIdMethod::PreSpecified(issuer.key_id.clone());
    params.is_ca = IsCa::Ca(match own.path_len.map(u8::try_from) {
        Some(Ok(length)) => BasicConstraints::Constrained(length),
        _ => BasicConstraints::Unconstrained,
    });
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let encoded = params.self_signed(&Unsigned(&own.key)).map_err(library)?;
    // TBSCertificate: version, serial, algorithm, issuer, validity, subject, …
    let name = own.subject_der.as_slice();
    let der = encode::sign(encoded.der(), &[(3, name), (5, name)], &*issuer.key)?;
    Ok(Certificate::parse_der(&der)?)
}

/// A request, in PEM, for the certificate of a CA of ours below another one: CA:TRUE with nothing but
/// leaves below it, and a key usage for certificates and CRLs.
///
/// # Errors
/// [`SignError`] when signing fails.
pub fn issuer_request(common_name: &str, key: &Arc<dyn Sign>) -> Result<String, SignError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = encode::subject(common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let encoded = params.serialize_request(&Unsigned(key.public())).map_err(library)?;
    Ok(pem::write("CERTIFICATE REQUEST", &encode::sign(encoded.der(), &[], &**key)?))
}

fn fresh(not_before: OffsetDateTime, not_after: OffsetDateTime) -> Result<Serial, SignError> {
    if not_after <= not_before {
        return Err(SignError::Validity(not_before, not_after));
    }
    Serial::random().map_err(|e| SignError::Library(e.to_string()))
}
