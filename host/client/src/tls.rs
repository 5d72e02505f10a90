//! TLS towards a server: whom to believe, what to show, and what a refusal means.

use std::io;
use std::sync::Arc;

use pki::Identity;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    version,
};

use crate::{Error, Roots};

/// The configuration for all connections to one server. Errors are one line and hold no key.
pub(crate) fn config(roots: &Roots, identity: Option<&Identity>) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match roots {
        Roots::Bundle(bundle) => verifier(&provider, bundle, None)?,
        Roots::BundleWithCrls { bundle, crls } => verifier(&provider, bundle, Some(crls))?,
        Roots::AnyOnce if identity.is_some() => {
            return Err("a client certificate is not shown to a server that nobody vouches for".into());
        }
        Roots::AnyOnce => Arc::new(BelievesAnyone(provider.clone())),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let own = certificates("client certificate", &identity.certificate_pem)?;
            let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes());
            let key = key.map_err(|_| "the client's key cannot be read; it must be unencrypted PEM")?;
            let config = builder.with_client_auth_cert(own, key);
            config.map_err(|error| format!("the client certificate and key cannot be used: {error}"))?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn verifier(
    provider: &Arc<CryptoProvider>,
    bundle: &str,
    crls: Option<&Arc<str>>,
) -> Result<Arc<WebPkiServerVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("CA bundle", bundle)? {
        roots.add(certificate).map_err(|error| format!("the CA bundle cannot be used: {error}"))?;
    }
    let mut builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    if let Some(crls) = crls {
        let lists =
            CertificateRevocationListDer::pem_slice_iter(crls.as_bytes()).collect::<Result<Vec<_>, _>>();
        let lists = lists.map_err(|error| format!("the revocation lists cannot be read: {error}"))?;
        // No list would mean no check.
        if lists.is_empty() {
            return Err("there is no certificate revocation list among the revocation lists".into());
        }
        builder = builder.with_crls(lists);
    }
    builder.build().map_err(|error| format!("the CA bundle and its revocation lists cannot be used: {error}"))
}

fn certificates(of: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| format!("the {of} cannot be read as PEM: {error}"))?;
    if certificates.is_empty() {
        Err(format!("there is no certificate in the {of}"))
    } else {
        Ok(certificates)
    }
}

/// Takes any certificate of any name, as agents do when they fetch the bundle that they will check
/// everything later with. [`crate::Client`] asks through it for that bundle and nothing else. That the
/// server has the certificate's key is checked all the same.
#[derive(Debug)]
struct BelievesAnyone(Arc<CryptoProvider>);

impl ServerCertVerifier for BelievesAnyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// An input or output error as ours: TLS hides its own inside.
pub(crate) fn explain(at: &str, error: &io::Error) -> Error {
    let at = at.to_owned();
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return Error::Broken { at, reason: error.to_string() };
    };
    match tls {
        rustls::Error::InvalidCertificate(certificate) => {
            Error::Untrusted { at, reason: untrusted(certificate) }
        }
        rustls::Error::AlertReceived(alert) => match refused(*alert) {
            Some(reason) => Error::Refused { at, reason },
            None => Error::Broken { at, reason: format!("TLS alert {alert:?}") },
        },
        rustls::Error::NoCertificatesPresented => {
            Error::Untrusted { at, reason: "it has sent none".to_owned() }
        }
        other => Error::Broken { at, reason: format!("TLS: {other}") },
    }
}

fn untrusted(error: &CertificateError) -> String {
    use CertificateError as E;
    match error {
        E::NotValidForName | E::NotValidForNameContext { .. } => {
            "it is not for this name; use a name that it has, or have it made with this one in dns_alt_names"
                .to_owned()
        }
        E::UnknownIssuer | E::BadSignature => {
            "no CA of the bundle has signed it; this is another server, or the bundle is another CA's"
                .to_owned()
        }
        E::Revoked => "it is revoked".to_owned(),
        E::UnknownRevocationStatus => {
            "there is no revocation list of the CA that signed it, so nobody can say whether it is revoked"
                .to_owned()
        }
        E::Expired | E::ExpiredContext { .. } => {
            "it has expired; have it renewed, and see that this machine's clock is right".to_owned()
        }
        E::NotValidYet | E::NotValidYetContext { .. } => {
            "it is not valid yet; see that this machine's clock is right".to_owned()
        }
        other => other.to_string(),
    }
}

/// What an alert says of a client certificate, if it does.
fn refused(alert: AlertDescription) -> Option<String> {
    use AlertDescription as A;
    Some(match alert {
        A::CertificateRevoked => "it is revoked".to_owned(),
        A::CertificateExpired => "it has expired".to_owned(),
        A::UnknownCA => "another CA has signed it than the server believes".to_owned(),
        A::CertificateRequired => "there is none, and the server wants one".to_owned(),
        // Puppet Server says this of every certificate that it does not take, revoked ones included.
        A::CertificateUnknown => "it may be revoked, expired or another CA's".to_owned(),
        A::BadCertificate | A::UnsupportedCertificate | A::AccessDenied | A::DecryptError => {
            format!("TLS alert {alert:?}")
        }
        _ => return None,
    })
}
