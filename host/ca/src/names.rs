//! Names that are not for every node: the server's own, and those of the masters that an administrator
//! has declared. A node with one of them could play that machine (CVE-2011-3872 and its kin).

use std::collections::{BTreeMap, BTreeSet};

use pki::{AltName, Certificate, CertificateRequest, Certname, RequestRules};
use store::{MasterRow, Store};
use time::OffsetDateTime;

use crate::Error;
use crate::authority::{Authority, Inner, parsed, read, whole, write};

/// The server's certname: what an infra CRL is about, even before the server has asked for its own
/// certificate.
const SERVER: &str = "ca.server";

impl Authority {
    /// What requests of most names are to be read with.
    pub fn request_rules(&self) -> RequestRules {
        self.inner.settings.request_rules
    }

    /// What requests of this name are to be read with: a declared master may ask for alternative names.
    /// Which, [`Authority::check_request`] looks at.
    pub fn request_rules_for(&self, certname: &Certname) -> RequestRules {
        let rules = self.inner.settings.request_rules;
        let declared = read(&self.inner.masters).get(certname).is_some_and(|names| !names.is_empty());
        RequestRules { allow_subject_alt_names: rules.allow_subject_alt_names || declared, ..rules }
    }

    /// What can be said against a request before anybody is asked or anything is stored: it is for a
    /// name of the server's or of a master. Only a request that came from the server's own machine may
    /// be for that machine's name, and only the master of that name for what was declared for it. The
    /// error's text is for the agent, with status 400.
    ///
    /// # Errors
    /// [`Error::ServerName`], [`Error::Undeclared`].
    pub fn check_request(&self, request: &CertificateRequest, from_own_host: bool) -> Result<(), Error> {
        let own = AltName::Dns(request.certname.as_str().to_owned());
        if !from_own_host && read(&self.inner.server_names).contains(&own) {
            return Err(Error::ServerName { name: own.value() });
        }
        self.inner.check_names(&request.certname, &request.alt_names)?;
        // Beyond the rules for all, a master may have what was declared for it and nothing else.
        let masters = read(&self.inner.masters);
        let Some(declared) = masters.get(&request.certname) else { return Ok(()) };
        let free = self.inner.settings.request_rules.allow_subject_alt_names;
        match request.alt_names.iter().find(|name| **name != own && !free && !declared.contains(name)) {
            Some(name) => {
                Err(Error::Undeclared { certname: request.certname.to_string(), name: name.value() })
            }
            None => Ok(()),
        }
    }

    /// The certificate in force of the request's name, unless the inventory has something against the
    /// request: its name is revoked and not cleaned, or its key was revoked for good. It is looked at
    /// once more in the transaction that issues; asked here, nobody need decide in vain. The error's
    /// text is for the agent, with status 400.
    ///
    /// # Errors
    /// [`Error::NameRevoked`], [`Error::KeyRevoked`]; [`Error::Store`].
    pub async fn standing(&self, request: &CertificateRequest) -> Result<Option<Certificate>, Error> {
        let (certname, key) = (request.certname.as_str(), request.key_digest.to_hex());
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let against = self.inner.store.against(certname, &key, now).await?;
        if let Some(serial) = against.key_revoked {
            return Err(Error::KeyRevoked { serial });
        }
        if let Some(serial) = against.name_revoked {
            return Err(Error::NameRevoked { certname: certname.to_owned(), serial });
        }
        match against.taken {
            Some(_) => self.certificate(&request.certname).await,
            None => Ok(None),
        }
    }

    /// The declared masters, by name, with the list that each enforces.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn masters(&self) -> Result<Vec<MasterRow>, Error> {
        Ok(self.inner.store.masters().await?)
    }

    /// Whether the name is a declared master's.
    pub fn is_master(&self, certname: &Certname) -> bool {
        read(&self.inner.masters).contains_key(certname)
    }

    /// Declares a master, or gives a declared one other alternative names. It may have names that the
    /// server or another master has too, such as the one that all are reached by, but not the certname
    /// of either.
    ///
    /// # Errors
    /// [`Error::Name`] for a name that cannot be one; [`Error::ServerName`] for the certname of the
    /// server or of another master; [`Error::NodeHasName`] where a node has one of the names.
    pub async fn add_master<S: AsRef<str>>(
        &self,
        certname: &Certname,
        alt_names: &[S],
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let names = parse_names(alt_names)?;
        let (authority, certname) = (self.again(), certname.clone());
        whole(async move { authority.declare(certname, names, now).await }).await
    }

    /// Takes the declaration back; its certificate stays as it is. `false`: there was none.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn remove_master(&self, certname: &Certname, now: OffsetDateTime) -> Result<bool, Error> {
        let (authority, certname) = (self.again(), certname.clone());
        whole(async move {
            let _turn = authority.inner.declaring.lock().await;
            let removed = authority.inner.store.remove_master(certname.as_str()).await?;
            write(&authority.inner.masters).remove(&certname);
            authority.infrastructure_changed(now);
            Ok(removed)
        })
        .await
    }

    /// Notes that a master enforces the list of this number. `false`: it is not declared.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn note_enforcing(
        &self,
        certname: &Certname,
        number: u64,
        address: &str,
        now: OffsetDateTime,
    ) -> Result<bool, Error> {
        if !self.is_master(certname) {
            return Ok(false);
        }
        Ok(self.inner.store.note_master(certname.as_str(), number, now.unix_timestamp(), address).await?)
    }

    async fn declare(
        self,
        certname: Certname,
        names: BTreeSet<AltName>,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let inner = &self.inner;
        let _turn = inner.declaring.lock().await;
        let server = inner.server().await?;
        let own = dns(&certname);
        let is_anothers = |name: &AltName| {
            server.as_deref() == Some(name.value().as_str())
                || *name != own && read(&inner.masters).keys().any(|other| dns(other) == *name)
        };
        if let Some(name) = names.iter().chain([&own]).find(|name| is_anothers(name)) {
            return Err(Error::ServerName { name: name.value() });
        }
        for name in names.iter().filter(|name| **name != own) {
            inner.refuse_a_nodes(name, now).await?;
        }
        let texts: Vec<String> = names.iter().map(AltName::value).collect();
        inner.store.add_master(certname.as_str(), &texts, now.unix_timestamp()).await?;
        tracing::info!(%certname, alt_names = texts.join(", "), "declared a master");
        write(&inner.masters).insert(certname, names);
        self.infrastructure_changed(now);
        Ok(())
    }

    /// Whom the infra CRL is about has changed.
    fn infrastructure_changed(&self, now: OffsetDateTime) {
        if self.inner.settings.infra_crl {
            self.inner.revocations.ask();
            self.wanted.send_replace(now);
        }
    }

    /// Remembers the server's certname.
    pub(crate) async fn note_server(&self, certname: &Certname, now: OffsetDateTime) -> Result<(), Error> {
        if self.inner.server().await?.as_deref() != Some(certname.as_str()) {
            self.inner.store.set_meta(SERVER, certname.as_str()).await?;
            self.infrastructure_changed(now);
        }
        Ok(())
    }
}

impl Inner {
    /// Whether a node of this certname may have these names beside it.
    pub(crate) fn check_names(&self, certname: &Certname, alt_names: &[AltName]) -> Result<(), Error> {
        let own = dns(certname);
        let (servers, masters) = (read(&self.server_names), read(&self.masters));
        let declared = masters.get(certname);
        let reserved = |name: &AltName| {
            if servers.contains(name) && !self.is_host(name) {
                return true;
            }
            masters
                .iter()
                .any(|(master, names)| master != certname && (names.contains(name) || dns(master) == *name))
        };
        // A master's own names are its own, though others that serve the same may have them too.
        let refused = alt_names
            .iter()
            .filter(|name| **name != own && !declared.is_some_and(|declared| declared.contains(name)))
            .chain([&own])
            .find(|name| reserved(name));
        refused.map_or(Ok(()), |name| Err(Error::ServerName { name: name.value() }))
    }

    /// Whether it is the name of the server's machine, which that machine's agent may have too.
    pub(crate) fn is_host(&self, name: &AltName) -> bool {
        let host = self.settings.host.as_ref();
        matches!((host, name), (Some(host), AltName::Dns(name)) if name == host.as_str())
    }

    /// An error if a node has a certificate in force under this name.
    pub(crate) async fn refuse_a_nodes(&self, name: &AltName, now: OffsetDateTime) -> Result<(), Error> {
        let AltName::Dns(name) = name else { return Ok(()) };
        let Some(row) = self.store.live_certificate(name).await? else { return Ok(()) };
        let is_a_nodes = parsed(&row)?.extension("pp_cli_auth") != Some("true");
        if is_a_nodes && row.not_after >= now.unix_timestamp() {
            return Err(Error::NodeHasName { name: row.certname, serial: row.serial });
        }
        Ok(())
    }

    /// Certnames of the server and the masters.
    pub(crate) async fn infrastructure(&self) -> Result<BTreeSet<String>, Error> {
        let masters = read(&self.masters).keys().map(Certname::to_string).collect::<BTreeSet<_>>();
        Ok(masters.into_iter().chain(self.server().await?).collect())
    }

    async fn server(&self) -> Result<Option<String>, Error> {
        server(&self.store).await
    }
}

/// The server's certname, if it ever asked for its certificate.
pub(crate) async fn server(store: &Store) -> Result<Option<String>, Error> {
    Ok(store.meta(SERVER).await?)
}

/// The masters that the store knows.
pub(crate) async fn declared(store: &Store) -> Result<BTreeMap<Certname, BTreeSet<AltName>>, Error> {
    let mut masters = BTreeMap::new();
    for row in store.masters().await? {
        let certname = Certname::parse(&row.certname);
        let certname =
            certname.map_err(|e| Error::Name { name: row.certname.clone(), reason: e.to_string() })?;
        masters.insert(certname, parse_names(&row.alt_names)?);
    }
    Ok(masters)
}

pub(crate) fn parse_names<S: AsRef<str>>(names: &[S]) -> Result<BTreeSet<AltName>, Error> {
    let parse = |name: &S| {
        let name = name.as_ref();
        AltName::parse(name).map_err(|e| Error::Name { name: name.to_owned(), reason: e.to_string() })
    };
    names.iter().map(parse).collect()
}

pub(crate) fn dns(certname: &Certname) -> AltName {
    AltName::Dns(certname.as_str().to_owned())
}
