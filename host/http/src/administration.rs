//! What the routes of the CA's administrators and masters need of the use cases, apart from what agents
//! need (`backend.rs`). Each method is [`Master`]'s of the same name.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ca::{Expirations, Revoked};
use master::{
    Administrator, CertificateStatus, Component, Failed, Master, Metrics, Peer, Published, Revoke, Signing,
    State, StatusCursor, StatusPage,
};
use pki::crl::Reason;
use pki::{Certname, Trust};
use store::MasterRow;
use time::OffsetDateTime;
use tokio::sync::watch;

/// The use cases behind the administrators' and masters' routes.
pub trait Administration: Send + Sync + 'static {
    /// What is believed of the CA, and every later version.
    fn watch_trust(&self) -> watch::Receiver<Arc<Trust>>;
    /// The set of plugins that catalog masters are told to use, and every later one; none where they are
    /// not told.
    fn watch_published_plugins(&self) -> watch::Receiver<Option<Published>>;
    /// A component that is kept here, by its SHA-256 in lower-case hex.
    fn component(&self, digest: &str) -> impl Future<Output = Option<Component>> + Send;
    /// Since when the revocation lists are too old to believe any certificate. In memory.
    fn lapsed(&self, now: OffsetDateTime) -> Option<OffsetDateTime>;
    /// Whether the name is a declared master's. In memory: it is asked for every beat of a stream.
    fn is_master(&self, certname: &Certname) -> bool;
    /// A page of all that wait and all that were signed.
    fn statuses(
        &self,
        state: Option<State>,
        after: Option<StatusCursor>,
    ) -> impl Future<Output = Result<StatusPage, Failed>> + Send;
    /// A name's certificate, or else its candidates.
    fn statuses_of(&self, name: &str) -> impl Future<Output = Result<Vec<CertificateStatus>, Failed>> + Send;
    /// Signs a request.
    fn sign(
        &self,
        name: &str,
        fingerprint: Option<&str>,
        lifetime: Option<Duration>,
        by: &Administrator,
    ) -> impl Future<Output = Result<(), Failed>> + Send;
    /// Signs these, or all.
    fn sign_several(
        &self,
        names: Option<Vec<String>>,
        by: &Administrator,
    ) -> impl Future<Output = Result<Signing, Failed>> + Send;
    /// Revokes.
    fn revoke(
        &self,
        what: &Revoke,
        reason: Reason,
        by: &Administrator,
    ) -> impl Future<Output = Result<Revoked, Failed>> + Send;
    /// Forgets names; answers those that have no certificate.
    fn clean(
        &self,
        names: &[String],
        by: &Administrator,
    ) -> impl Future<Output = Result<Vec<String>, Failed>> + Send;
    /// Forgets a name, be it one that only waits.
    fn delete(&self, name: &str, by: &Administrator) -> impl Future<Output = Result<bool, Failed>> + Send;
    /// Takes requests away.
    fn forget_request(
        &self,
        name: &str,
        fingerprint: Option<&str>,
        by: &Administrator,
    ) -> impl Future<Output = Result<bool, Failed>> + Send;
    /// A certificate for a request that an administrator brings.
    fn generate(
        &self,
        csr: &[u8],
        lifetime: Option<Duration>,
        admin: bool,
        by: &Administrator,
    ) -> impl Future<Output = Result<String, Failed>> + Send;
    /// A new certificate for the key that a name's has.
    fn renew_name(
        &self,
        name: &str,
        by: &Administrator,
    ) -> impl Future<Output = Result<String, Failed>> + Send;
    /// Forgets what has expired.
    fn prune(&self, by: &Administrator) -> impl Future<Output = Result<u64, Failed>> + Send;
    /// Signs new lists.
    fn publish(&self, by: &Administrator) -> impl Future<Output = Result<(), Failed>> + Send;
    /// Takes newer lists of the CAs above.
    fn upload_crls(
        &self,
        pem: &[u8],
        by: &Administrator,
    ) -> impl Future<Output = Result<Vec<String>, Failed>> + Send;
    /// When certificates and lists of the CAs end.
    fn expirations(&self) -> Result<Expirations, Failed>;
    /// The declared masters.
    fn masters(&self) -> impl Future<Output = Result<Vec<MasterRow>, Failed>> + Send;
    /// Declares a master.
    fn add_master(
        &self,
        name: &str,
        alt_names: &[String],
        by: &Administrator,
    ) -> impl Future<Output = Result<(), Failed>> + Send;
    /// Takes a declaration back.
    fn remove_master(
        &self,
        name: &str,
        by: &Administrator,
    ) -> impl Future<Output = Result<bool, Failed>> + Send;
    /// Notes which list a master enforces.
    fn note_enforcing(&self, peer: &Peer, number: u64) -> impl Future<Output = Result<bool, Failed>> + Send;
    /// Numbers for whoever watches.
    fn metrics(&self) -> impl Future<Output = Result<Metrics, Failed>> + Send;
}

impl Administration for Master {
    fn watch_trust(&self) -> watch::Receiver<Arc<Trust>> {
        self.watch_trust()
    }

    fn watch_published_plugins(&self) -> watch::Receiver<Option<Published>> {
        self.watch_published_plugins()
    }

    async fn component(&self, digest: &str) -> Option<Component> {
        self.component(digest).await
    }

    fn lapsed(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        self.lapsed(now)
    }

    fn is_master(&self, certname: &Certname) -> bool {
        self.is_master(certname)
    }

    async fn statuses(
        &self,
        state: Option<State>,
        after: Option<StatusCursor>,
    ) -> Result<StatusPage, Failed> {
        self.statuses(state, after).await
    }

    async fn statuses_of(&self, name: &str) -> Result<Vec<CertificateStatus>, Failed> {
        self.statuses_of(name).await
    }

    async fn sign(
        &self,
        name: &str,
        fingerprint: Option<&str>,
        lifetime: Option<Duration>,
        by: &Administrator,
    ) -> Result<(), Failed> {
        self.sign(name, fingerprint, lifetime, by).await
    }

    async fn sign_several(&self, names: Option<Vec<String>>, by: &Administrator) -> Result<Signing, Failed> {
        self.sign_several(names, by).await
    }

    async fn revoke(&self, what: &Revoke, reason: Reason, by: &Administrator) -> Result<Revoked, Failed> {
        self.revoke(what, reason, by).await
    }

    async fn clean(&self, names: &[String], by: &Administrator) -> Result<Vec<String>, Failed> {
        self.clean(names, by).await
    }

    async fn delete(&self, name: &str, by: &Administrator) -> Result<bool, Failed> {
        self.delete(name, by).await
    }

    async fn forget_request(
        &self,
        name: &str,
        fingerprint: Option<&str>,
        by: &Administrator,
    ) -> Result<bool, Failed> {
        self.forget_request(name, fingerprint, by).await
    }

    async fn generate(
        &self,
        csr: &[u8],
        lifetime: Option<Duration>,
        admin: bool,
        by: &Administrator,
    ) -> Result<String, Failed> {
        self.generate(csr, lifetime, admin, by).await
    }

    async fn renew_name(&self, name: &str, by: &Administrator) -> Result<String, Failed> {
        self.renew_name(name, by).await
    }

    async fn prune(&self, by: &Administrator) -> Result<u64, Failed> {
        self.prune(by).await
    }

    async fn publish(&self, by: &Administrator) -> Result<(), Failed> {
        self.publish(by).await
    }

    async fn upload_crls(&self, pem: &[u8], by: &Administrator) -> Result<Vec<String>, Failed> {
        self.upload_crls(pem, by).await
    }

    fn expirations(&self) -> Result<Expirations, Failed> {
        self.expirations()
    }

    async fn masters(&self) -> Result<Vec<MasterRow>, Failed> {
        self.masters().await
    }

    async fn add_master(&self, name: &str, alt_names: &[String], by: &Administrator) -> Result<(), Failed> {
        self.add_master(name, alt_names, by).await
    }

    async fn remove_master(&self, name: &str, by: &Administrator) -> Result<bool, Failed> {
        self.remove_master(name, by).await
    }

    async fn note_enforcing(&self, peer: &Peer, number: u64) -> Result<bool, Failed> {
        self.note_enforcing(peer, number).await
    }

    async fn metrics(&self) -> Result<Metrics, Failed> {
        self.metrics().await
    }
}
