//! Certificates, read into our own model.

use std::fmt;

use time::OffsetDateTime;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::X509Certificate;

use crate::certname::Certname;
use crate::der::{self, Value};
use crate::extension::{self, Extension};
use crate::fingerprint::Fingerprint;
use crate::key::{KeyError, PublicKey};
use crate::name::AltName;
use crate::pem;
use crate::serial::Serial;

/// A certificate. Reading one says nothing of trust: TLS, or [`Certificate::is_signed_by`], does.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The common name, if it is a certname; the authority's own is not.
    pub certname: Option<Certname>,
    /// The subject's first common name.
    pub subject_cn: String,
    /// The issuer's whole name, such as `CN=Puppet CA: puppet.example`.
    pub issuer: String,
    /// Its serial.
    pub serial: Serial,
    /// Valid from then on.
    pub not_before: OffsetDateTime,
    /// Valid up to then.
    pub not_after: OffsetDateTime,
    /// Puppet's extensions: short name or identifier, and the text. Others are left out.
    pub extensions: Vec<(String, String)>,
    /// Host names and addresses among the subject alternative names.
    pub alt_names: Vec<AltName>,
    /// The certified key.
    pub key: PublicKey,
    /// SHA-256 of that key.
    pub key_digest: Fingerprint,
    /// SHA-256 of the certificate.
    pub fingerprint: Fingerprint,
    /// Whether its basic constraints say CA:TRUE.
    pub is_ca: bool,
    /// The certificate itself.
    pub der: Vec<u8>,
    pub(crate) subject_der: Vec<u8>,
    pub(crate) issuer_der: Vec<u8>,
    pub(crate) subject_key_id: Option<Vec<u8>>,
    /// The path length constraint of a CA.
    pub(crate) path_len: Option<u32>,
    /// Whether its key usage, if it has one, lets it sign certificates and CRLs.
    pub(crate) signs_all: bool,
}

/// Why bytes are no certificate that we can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not one PEM block labelled CERTIFICATE.
    #[error("the certificate is not PEM: {0}")]
    Pem(String),
    /// Not X.509 in DER.
    #[error("the certificate is malformed")]
    Encoding,
    /// No common name, or an unreadable one.
    #[error("the certificate's subject has no readable common name")]
    Subject,
    /// Zero, negative or too long.
    #[error("the certificate's serial number is not one of RFC 5280")]
    Serial,
    /// A key of a kind or strength that we don't accept.
    #[error("the certificate's key is refused: {0}")]
    Key(#[from] KeyError),
}

impl Certificate {
    /// Reads a PEM text of exactly one certificate.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn parse_pem(text: &[u8]) -> Result<Certificate, CertificateError> {
        let der = pem::one(text, &["CERTIFICATE"]).map_err(|e| CertificateError::Pem(e.to_string()))?;
        Certificate::parse_der(&der)
    }

    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn parse_der(der: &[u8]) -> Result<Certificate, CertificateError> {
        let (rest, x509) =
            x509_parser::parse_x509_certificate(der).map_err(|_| CertificateError::Encoding)?;
        if !rest.is_empty() {
            return Err(CertificateError::Encoding);
        }
        let subject_cn = x509.subject().iter_common_name().next().and_then(|cn| cn.as_str().ok());
        let subject_cn = subject_cn.ok_or(CertificateError::Subject)?.to_owned();
        let raw_serial = x509.raw_serial();
        if raw_serial.first().is_none_or(|b| b & 0x80 != 0) {
            return Err(CertificateError::Serial);
        }
        let key = PublicKey::parse(x509.public_key().raw)?;
        let mut certificate = Certificate {
            certname: Certname::parse(&subject_cn).ok(),
            subject_cn,
            issuer: x509.issuer().to_string(),
            serial: Serial::from_be_bytes(raw_serial).map_err(|_| CertificateError::Serial)?,
            not_before: x509.validity().not_before.to_datetime(),
            not_after: x509.validity().not_after.to_datetime(),
            extensions: Vec::new(),
            alt_names: Vec::new(),
            key_digest: key.digest(),
            key,
            fingerprint: Fingerprint::of(der),
            is_ca: x509.is_ca(),
            der: der.to_vec(),
            subject_der: x509.subject().as_raw().to_vec(),
            issuer_der: x509.issuer().as_raw().to_vec(),
            subject_key_id: None,
            path_len: None,
            signs_all: true,
        };
        certificate.read_extensions(&x509);
        Ok(certificate)
    }

    /// The certificate in PEM.
    pub fn to_pem(&self) -> String {
        pem::write("CERTIFICATE", &self.der)
    }

    /// Whether `issuer`'s key signed it and its issuer is `issuer`'s subject, byte for byte.
    /// Validity and revocation are not looked at.
    pub fn is_signed_by(&self, issuer: &Certificate) -> bool {
        self.issuer_der == issuer.subject_der && signed_by(&self.der, &issuer.key)
    }

    /// A Puppet extension's text, by short name or identifier.
    pub fn extension(&self, name: &str) -> Option<&str> {
        self.extensions.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Its subject as others name it, in [`Certificate::issuer`].
    pub(crate) fn subject_name(&self) -> String {
        x509_parser::parse_x509_certificate(&self.der)
            .map_or_else(|_| String::new(), |(_, x509)| x509.subject().to_string())
    }

    /// Its Puppet extensions in the form a template takes.
    pub(crate) fn puppet_extensions(&self) -> Vec<Extension> {
        let oid = |label: &str| extension::oid_of(label).unwrap_or_else(|| label.to_owned());
        self.extensions.iter().map(|(label, value)| Extension::new(&oid(label), value)).collect()
    }

    fn read_extensions(&mut self, x509: &X509Certificate<'_>) {
        for extension in x509.extensions() {
            let oid = extension.oid.to_id_string();
            match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => self.subject_key_id = Some(id.0.to_vec()),
                ParsedExtension::BasicConstraints(basic) => self.path_len = basic.path_len_constraint,
                ParsedExtension::KeyUsage(usage) => {
                    self.signs_all = usage.key_cert_sign() && usage.crl_sign();
                }
                ParsedExtension::SubjectAlternativeName(names) => {
                    self.alt_names.extend(names.general_names.iter().filter_map(|name| match name {
                        GeneralName::DNSName(name) => AltName::dns(name).ok(),
                        GeneralName::IPAddress(bytes) => AltName::ip(bytes),
                        _ => None,
                    }));
                }
                _ if extension::arc_of(&oid).is_some() => {
                    let read = Extension::read(&oid, extension.value);
                    self.extensions.extend(read.map(|e| (e.label().to_owned(), e.value)));
                }
                _ => {}
            }
        }
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("subject_cn", &self.subject_cn)
            .field("issuer", &self.issuer)
            .field("serial", &self.serial)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// Whether a signed structure (certificate or CRL: content, algorithm, signature) is signed by this key.
pub(crate) fn signed_by(signed: &[u8], key: &PublicKey) -> bool {
    let check = || {
        let fields = Value::only(signed)?.children(der::SEQUENCE)?;
        let [content, algorithm, signature] = fields.as_slice() else { return Err(der::NotDer) };
        let oid = algorithm.children(der::SEQUENCE)?.first().ok_or(der::NotDer)?.oid()?;
        Ok(key.verify(&oid, content.raw, signature.whole_bits()?))
    };
    check().unwrap_or(false)
}
