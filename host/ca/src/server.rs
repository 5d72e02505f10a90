//! The server's own certificate.

use std::collections::BTreeSet;

use pki::{
    AltName, Certificate, Certname, Extension, Identity, KeyKind, PP_CLI_AUTH, Sign as _, SigningKey,
    Template,
};
use time::OffsetDateTime;

use crate::Error;
use crate::authority::{Authority, Inner, parsed, write};
use crate::files::{self, PUBLIC, SECRET};
use crate::issue::{Wish, fit};
use crate::names::{dns, parse_names};

impl Authority {
    /// The server's certificate and key. They are made once and kept; made anew when the names change,
    /// when a third of the certificate's life is left, or when it is revoked. From then on no node is
    /// issued a certificate with any of these names.
    ///
    /// The certificate is for server and client use and has `pp_cli_auth=true`, as the peer's own has.
    ///
    /// # Errors
    /// [`Error::Name`] for a name that cannot be one; [`Error::NodeHasName`] where a node has one.
    pub async fn server_identity<S: AsRef<str>>(
        &self,
        certname: &Certname,
        alt_names: &[S],
        now: OffsetDateTime,
    ) -> Result<Identity, Error> {
        let inner = &self.inner;
        let mut names = parse_names(alt_names)?;
        names.insert(dns(certname));
        *write(&inner.server_names) = names.clone();
        self.note_server(certname, now).await?;
        match inner.kept(certname, &names, now).await? {
            Some(kept) => Ok(kept),
            None => inner.make_identity(certname, names, now).await,
        }
    }
}

impl Inner {
    /// What is in the files, if it will still do.
    async fn kept(
        &self,
        certname: &Certname,
        names: &BTreeSet<AltName>,
        now: OffsetDateTime,
    ) -> Result<Option<Identity>, Error> {
        let key = files::read_secret(&self.path("server_key.pem"))?;
        let text = files::read(&self.path("server_crt.pem"))?;
        let (Some(key), Some(text)) = (key, text) else { return Ok(None) };
        let (Ok(pair), Ok(certificate)) = (SigningKey::from_pem(&key), Certificate::parse_pem(&text)) else {
            return Ok(None);
        };
        let row = self.store.certificate_by_serial(&certificate.serial.to_hex()).await?;
        let left = certificate.not_after - now;
        let good = row.is_some_and(|row| row.der == certificate.der && fit(&row, now).is_ok())
            && pair.public() == &certificate.key
            && certificate.certname.as_ref() == Some(certname)
            && certificate.alt_names.iter().cloned().collect::<BTreeSet<_>>() == *names
            && left > (certificate.not_after - certificate.not_before) / 3;
        let (Ok(key_pem), Ok(certificate_pem)) = (String::from_utf8(key), String::from_utf8(text)) else {
            return Ok(None);
        };
        Ok(good.then_some(Identity { certificate, certificate_pem, key_pem }))
    }

    async fn make_identity(
        self: &std::sync::Arc<Self>,
        certname: &Certname,
        names: BTreeSet<AltName>,
        now: OffsetDateTime,
    ) -> Result<Identity, Error> {
        let mut old = None;
        for name in names.iter().filter(|name| !self.is_host(name)) {
            self.refuse_a_nodes(name, now).await?;
        }
        if let Some(row) = self.store.live_certificate(certname.as_str()).await? {
            let certificate = parsed(&row)?;
            if certificate.extension("pp_cli_auth") == Some("true") {
                old = Some(certificate.serial);
            }
        }
        let pair = SigningKey::generate(KeyKind::EcP256)?;
        let (certname, key) = (certname.clone(), pair.public().clone());
        let template = move |serial, not_before, not_after| {
            Some(Template {
                serial,
                certname: certname.clone(),
                key: key.clone(),
                not_before,
                not_after,
                alt_names: names.iter().cloned().collect(),
                extensions: vec![Extension::new(PP_CLI_AUTH, "true")],
            })
        };
        let wish = Wish {
            template: Box::new(template),
            lifetime: None,
            from_request: None,
            replaces: old.map(|serial| (serial, None)),
        };
        let certificate = self.issue(wish, now).await?;
        self.counters.note_signed(false);
        let (key_pem, certificate_pem) = (pair.to_secret_pem(), certificate.to_pem());
        // Should the power go between the two, they don't match, and the next start makes another pair.
        files::replace(&self.path("server_key.pem"), key_pem.as_bytes(), SECRET)?;
        files::replace(&self.path("server_crt.pem"), certificate_pem.as_bytes(), PUBLIC)?;
        Ok(Identity { certificate, certificate_pem, key_pem })
    }
}
