//! What a set says of a stranger: a request of a node that nobody has ever heard of, while everything that
//! plugins may look up answers that it is not there.
//!
//! A set that approves even this approves everybody.

use std::sync::Arc;

use ca::Occasion;
use decide::{Decision, Verdict};
use pki::{CertificateRequest, RequestRules};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rollout::{LivePlugin, PluginSet};
use sandbox::{
    BoxFuture, ByteRange, Host, HostError, HttpRequest, HttpResponse, Level, Listing, NodePage, Object,
    ObjectInfo, ResourcePage, ResourceQuery,
};
use serde_json::Value;

use crate::chains::approval;
use crate::convert;
use crate::reach::Seen;
use crate::told::{Asking, Hosts, Told};

/// What became of a stranger's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// It would be signed.
    Approve,
    /// It would be refused.
    Deny,
    /// It would wait.
    Pending,
    /// A plugin failed or broke over it, so that it would wait or be refused.
    NoDecision,
}

impl Probe {
    /// The word of the journal for it.
    pub fn word(self) -> &'static str {
        match self {
            Probe::Approve => "approve",
            Probe::Deny => "deny",
            Probe::Pending => "pending",
            Probe::NoDecision => "no-decision",
        }
    }
}

/// Asks the approvers of a set, and nothing but them.
pub async fn probe(set: &PluginSet) -> Probe {
    let Some(request) = stranger() else { return Probe::NoDecision };
    let csr = convert::csr(&request, &Occasion::First, None);
    let Decision { verdict, fault, .. } =
        approval(set, &Asking::about(Arc::new(Value::Null)), &csr, &Nowhere).await.decision;
    match verdict {
        Verdict::Approve { .. } => Probe::Approve,
        _ if fault => Probe::NoDecision,
        Verdict::Deny => Probe::Deny,
        Verdict::Pending => Probe::Pending,
    }
}

/// A request for a new key and a name that nobody has.
fn stranger() -> Option<CertificateRequest> {
    let pair = KeyPair::generate().ok()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // A name below .invalid is nobody's (RFC 6761 §6.4).
    let name = format!("{}.stranger.invalid", uuid::Uuid::new_v4());
    params.distinguished_name.push(DnType::CommonName, name);
    let pem = params.serialize_request(&pair).ok()?.pem().ok()?;
    let rules = RequestRules { allow_subject_alt_names: false, allow_authorization_extensions: false };
    CertificateRequest::parse(pem.as_bytes(), &rules).ok()
}

/// Where nothing is.
struct Nowhere;

impl Hosts for Nowhere {
    fn host(&self, _: &Asking, _: &LivePlugin, _: Option<&str>) -> Arc<dyn Told> {
        Arc::new(Nowhere)
    }
}

impl Told for Nowhere {
    fn is_late(&self) -> bool {
        false
    }

    fn seen(&self) -> Seen {
        Seen::new()
    }
}

impl Host for Nowhere {
    fn log(&self, _: Level, _: &str, _: &[(String, String)]) {}

    fn head<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<ObjectInfo, HostError>> {
        now(Err(HostError::NotFound))
    }

    fn get<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: Option<ByteRange>,
    ) -> BoxFuture<'a, Result<Object, HostError>> {
        now(Err(HostError::NotFound))
    }

    fn list<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Listing, HostError>> {
        now(Ok(Listing { objects: Vec::new(), prefixes: Vec::new(), next: None }))
    }

    fn exported_resources<'a>(
        &'a self,
        _: &'a ResourceQuery,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<ResourcePage, HostError>> {
        now(Ok(ResourcePage { resources: Vec::new(), next: None }))
    }

    fn nodes<'a>(
        &'a self,
        _: &'a [(String, Value)],
        _: &'a [String],
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<NodePage, HostError>> {
        now(Ok(NodePage { nodes: Vec::new(), next: None }))
    }

    fn http<'a>(&'a self, _: &'a HttpRequest) -> BoxFuture<'a, Result<HttpResponse, HostError>> {
        now(Ok(HttpResponse { status: 404, headers: Vec::new(), body: Vec::new() }))
    }
}

fn now<'a, T: Send + 'a>(answer: T) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(answer))
}
