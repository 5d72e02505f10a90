//! The master's own key, request and certificate.

use std::collections::BTreeSet;

use pki::{
    AltName, Certificate, CertificateRequest, Fingerprint, Identity, RequestRules, Sign as _, SigningKey,
    Trust,
};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use time::OffsetDateTime;

use crate::disk::Folder;
use crate::{Error, Settings};

/// The key in the folder; made where there is none.
pub(crate) async fn key(settings: &Settings, folder: &Folder) -> Result<SigningKey, Error> {
    if let Some(key) = folder.key()? {
        return Ok(key);
    }
    let kind = settings.key;
    // RSA takes a second or so.
    let made = tokio::task::spawn_blocking(move || SigningKey::generate(kind)).await;
    let key = made.map_err(|_| Error::Interrupted)?;
    let key = key.map_err(|source| Error::Key { path: folder.dir().join("key.pem"), source })?;
    folder.keep_key(&key)?;
    Ok(key)
}

/// A request as it is sent.
pub(crate) struct Csr {
    pub pem: String,
    /// SHA-256 of its DER: what the CA shows whoever is to sign it.
    pub fingerprint: Fingerprint,
}

/// The request for this key and these names. It is kept, for a second one would have another signature,
/// and so another fingerprint than the one that a person was told.
pub(crate) fn request(settings: &Settings, folder: &Folder, key: &SigningKey) -> Result<Csr, Error> {
    if let Some(kept) = folder.request()?.and_then(|text| as_wanted(&text, settings, key)) {
        return Ok(kept);
    }
    let failed = |reason: String| Error::Request { certname: settings.certname.to_string(), reason };
    let pair = KeyPair::from_pem(&key.to_secret_pem()).map_err(|error| failed(error.to_string()))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, settings.certname.as_str());
    for name in names(settings) {
        params.subject_alt_names.push(match &name {
            AltName::Dns(dns) => {
                SanType::DnsName(dns.as_str().try_into().map_err(|_| failed(name.to_string()))?)
            }
            AltName::Ip(address) => SanType::IpAddress(*address),
        });
    }
    let made = params.serialize_request(&pair).map_err(|error| failed(error.to_string()))?;
    let pem = made.pem().map_err(|error| failed(error.to_string()))?;
    folder.keep_request(&pem)?;
    Ok(Csr { fingerprint: Fingerprint::of(made.der()), pem })
}

fn as_wanted(text: &[u8], settings: &Settings, key: &SigningKey) -> Option<Csr> {
    let rules = RequestRules { allow_subject_alt_names: true, ..RequestRules::default() };
    let request = CertificateRequest::parse(text, &rules).ok()?;
    let asked: BTreeSet<_> = request.alt_names.iter().cloned().collect();
    let wanted =
        request.key == *key.public() && request.certname == settings.certname && asked == names(settings);
    wanted.then(|| Csr { pem: request.to_pem(), fingerprint: request.fingerprint })
}

/// All names that the certificate is to have.
fn names(settings: &Settings) -> BTreeSet<AltName> {
    let own = AltName::Dns(settings.certname.as_str().to_owned());
    std::iter::once(own).chain(settings.dns_alt_names.iter().cloned()).collect()
}

/// A certificate as an identity, if it is one for this key, by this CA and in force. The text says what is
/// wrong with it.
pub(crate) fn accept(
    pem: &[u8],
    key: &SigningKey,
    settings: &Settings,
    trust: &Trust,
    now: OffsetDateTime,
) -> Result<Identity, String> {
    let certificate = Certificate::parse_pem(pem).map_err(|error| error.to_string())?;
    let shown = format!("the certificate {}", certificate.serial);
    if certificate.certname.as_ref() != Some(&settings.certname) {
        return Err(format!("{shown} is for {:?}", certificate.subject_cn));
    }
    if certificate.key != *key.public() {
        return Err(format!("{shown} is for another key"));
    }
    if !certificate.is_signed_by(trust.bundle.issuer()) {
        let ca = &trust.bundle.issuer().subject_cn;
        return Err(format!("{shown} is signed by {:?} and not by {ca:?}", certificate.issuer));
    }
    if trust.is_revoked(&certificate.serial) {
        return Err(format!("{shown} is revoked"));
    }
    if now < certificate.not_before {
        return Err(format!(
            "{shown} is not valid before {}; see that the clock is right",
            certificate.not_before
        ));
    }
    if now >= certificate.not_after {
        return Err(format!("{shown} has expired at {}", certificate.not_after));
    }
    let lacking: Vec<_> =
        names(settings).into_iter().filter(|name| !certificate.alt_names.contains(name)).collect();
    if !lacking.is_empty() {
        let lacking = lacking.iter().map(AltName::to_string).collect::<Vec<_>>().join(", ");
        tracing::warn!(
            serial = %certificate.serial,
            lacking,
            "the certificate lacks names that are set; to have them, declare them on the CA with `bunraku ca \
             masters add`, clean the certificate there and remove certificate.pem here"
        );
    }
    let certificate_pem = certificate.to_pem();
    Ok(Identity { certificate, certificate_pem, key_pem: key.to_secret_pem() })
}
