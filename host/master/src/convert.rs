//! Between the words of the crates below: `pki` and `sandbox`, `sandbox` and
//! `decide`, `sandbox` and `catalog`, `catalog` and `store`. Each of them knows
//! nothing of the others.

use std::time::Duration;

use ca::Occasion;
use decide::Answer;
use pki::CertificateRequest;
use sandbox::{Csr, Verdict};
use store::ExportRow;

/// A request as approvers see it.
pub fn csr(request: &CertificateRequest, occasion: &Occasion, peer: Option<String>) -> Csr {
    Csr {
        certname: request.certname.to_string(),
        fingerprint: request.fingerprint.to_hex(),
        der: request.der.clone(),
        key_algorithm: request.key.algorithm.to_string(),
        key_bits: request.key.bits,
        alt_names: request
            .alt_names
            .iter()
            .map(|name| sandbox::AltName { kind: name.kind().to_owned(), value: name.value() })
            .collect(),
        extensions: request
            .extensions
            .iter()
            .map(|e| (e.name.map_or_else(|| e.oid.clone(), str::to_owned), e.value.clone()))
            .collect(),
        attributes: request.attributes.clone(),
        occasion: match occasion {
            // An administrator asks no plugin: to one that is asked all the same, the request is a first one.
            Occasion::First | Occasion::Administrator => sandbox::Occasion::First,
            Occasion::Renewal(_) => sandbox::Occasion::Renewal,
        },
        peer,
    }
}

/// A verdict as a chain takes it.
pub fn answer(verdict: Verdict) -> Answer {
    match verdict {
        Verdict::Approve { reason, lifetime } => {
            Answer::Approve { reason, lifetime: lifetime.map(Duration::from_secs) }
        }
        Verdict::Deny(reason) => Answer::Deny(reason),
        Verdict::Pending(reason) => Answer::Pending(reason),
        Verdict::Abstain => Answer::Abstain,
    }
}

/// A provider's answer as the compiler takes it.
pub fn fragment(from: sandbox::Fragment) -> catalog::Fragment {
    catalog::Fragment {
        resources: from.resources.into_iter().map(resource).collect(),
        includes: from
            .includes
            .into_iter()
            .map(|c| catalog::IncludedClass { name: c.name, parameters: c.parameters, in_stage: c.in_stage })
            .collect(),
        stages: from
            .stages
            .into_iter()
            .map(|s| catalog::RunStage { name: s.name, before: s.before })
            .collect(),
        warnings: from.warnings,
    }
}

fn resource(from: sandbox::Resource) -> catalog::FragmentResource {
    catalog::FragmentResource {
        resource_type: from.resource_type,
        title: from.title,
        parameters: from.parameters.into_iter().map(|(name, value)| (name, parameter(value))).collect(),
        tags: from.tags,
        exported: from.exported,
    }
}

fn parameter(from: sandbox::ParamValue) -> catalog::ParamValue {
    match from {
        sandbox::ParamValue::Plain(value) => catalog::ParamValue::Plain(value),
        sandbox::ParamValue::Sensitive(value) => catalog::ParamValue::Sensitive(value),
        sandbox::ParamValue::Refs(refs) => catalog::ParamValue::Refs(
            refs.into_iter().map(|r| catalog::ResourceRef::new(r.resource_type, r.title)).collect(),
        ),
    }
}

/// An exported resource as the store keeps it.
pub fn export_row(from: catalog::Export, environment: &str) -> ExportRow {
    ExportRow {
        resource_type: from.resource_type,
        title: from.title,
        tags: from.tags,
        environment: environment.to_owned(),
        parameters: serde_json::Value::Object(from.parameters),
    }
}
