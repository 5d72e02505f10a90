//! What the routes need of the use cases: [`master::Master`], or a double in tests that records
//! what was asked, so that a test can say that a refused request never got that far.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use master::{CaFile, CatalogRequest, Compiled, Failed, Master, Peer, Status, SubmitError, Submitted};
use pki::{Certname, Serial};
use serde_json::Value;

use crate::administration::Administration;
use crate::plugin_sets::PluginSets;

/// The use cases behind the agents' routes. Each method is [`Master`]'s of the same name.
pub trait Backend: Administration + PluginSets {
    /// The CA's certificate and its chain.
    fn ca_bundle(&self) -> CaFile;
    /// The CA's revocation lists.
    fn crl(&self) -> CaFile;
    /// Whether a serial is revoked. In memory: it is asked for every request.
    fn is_revoked(&self, serial: &Serial) -> bool;
    /// Takes a certificate request.
    fn submit_request(
        &self,
        name: &str,
        pem: &[u8],
        peer: &Peer,
    ) -> impl Future<Output = Result<Submitted, SubmitError>> + Send;
    /// The live certificate of a name, as PEM.
    fn certificate(&self, name: &str) -> impl Future<Output = Result<Option<String>, Failed>> + Send;
    /// The pending request of a name, as PEM. For administrators alone.
    fn pending_request(&self, name: &str) -> impl Future<Output = Result<Option<String>, Failed>> + Send;
    /// A new certificate for the peer's, as PEM; for another key with a request.
    fn renew(&self, peer: &Peer, csr: Option<&[u8]>) -> impl Future<Output = Result<String, Failed>> + Send;
    /// A node's classification.
    fn node(
        &self,
        certname: &Certname,
        environment: &str,
        peer: &Peer,
    ) -> impl Future<Output = Result<Value, Failed>> + Send;
    /// A node's catalog.
    fn compile(
        &self,
        request: CatalogRequest,
        peer: &Peer,
    ) -> impl Future<Output = Result<Compiled, Failed>> + Send;
    /// Keeps facts.
    fn save_facts(
        &self,
        certname: &Certname,
        facts: Value,
    ) -> impl Future<Output = Result<(), Failed>> + Send;
    /// Keeps a report; refuses another node's.
    fn save_report(
        &self,
        certname: &Certname,
        body: Bytes,
    ) -> impl Future<Output = Result<(), Failed>> + Send;
    /// Whether agents may name this environment.
    fn environment_exists(&self, name: &str) -> bool;
    /// Every environment.
    fn environments(&self) -> Vec<String>;
    /// The files agents fetch.
    fn files(&self) -> &Arc<files::Tree>;
    /// The backups agents send.
    fn filebucket(&self) -> &Arc<store::Filebucket>;
    /// Whether agents should come here.
    fn status(&self) -> impl Future<Output = Status> + Send;
}

impl Backend for Master {
    fn ca_bundle(&self) -> CaFile {
        self.ca_bundle()
    }

    fn crl(&self) -> CaFile {
        self.crl()
    }

    fn is_revoked(&self, serial: &Serial) -> bool {
        self.is_revoked(serial)
    }

    async fn submit_request(&self, name: &str, pem: &[u8], peer: &Peer) -> Result<Submitted, SubmitError> {
        self.submit_request(name, pem, peer).await
    }

    async fn certificate(&self, name: &str) -> Result<Option<String>, Failed> {
        self.certificate(name).await
    }

    async fn pending_request(&self, name: &str) -> Result<Option<String>, Failed> {
        self.pending_request(name).await
    }

    async fn renew(&self, peer: &Peer, csr: Option<&[u8]>) -> Result<String, Failed> {
        self.renew(peer, csr).await
    }

    async fn node(&self, certname: &Certname, environment: &str, peer: &Peer) -> Result<Value, Failed> {
        self.node(certname, environment, peer).await
    }

    async fn compile(&self, request: CatalogRequest, peer: &Peer) -> Result<Compiled, Failed> {
        self.compile(request, peer).await
    }

    async fn save_facts(&self, certname: &Certname, facts: Value) -> Result<(), Failed> {
        self.save_facts(certname, facts).await
    }

    async fn save_report(&self, certname: &Certname, body: Bytes) -> Result<(), Failed> {
        self.save_report(certname, body).await
    }

    fn environment_exists(&self, name: &str) -> bool {
        self.environment_exists(name)
    }

    fn environments(&self) -> Vec<String> {
        self.environments()
    }

    fn files(&self) -> &Arc<files::Tree> {
        self.files()
    }

    fn filebucket(&self) -> &Arc<store::Filebucket> {
        self.filebucket()
    }

    async fn status(&self) -> Status {
        self.status().await
    }
}
