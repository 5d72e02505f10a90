//! From the contract's types to this crate's and back, one export at a time.

use std::panic;

use super::contract::bunraku::plugin::{log, types};
use super::{Guest, Imports, approver, classifier, manifest, provider};
use crate::{
    AltName, Call, Class, Csr, CsrApprover, Failure, HostError, Map, Mode, Node, NodeClassifier, Occasion,
    Outcome, ParamValue, Plugin, Request, Resource, ResourceProvider, Trusted, Value, Verdict,
};

use approver::exports::bunraku::plugin::csr_approval;
use classifier::exports::bunraku::plugin::node_classification;
use manifest::exports::bunraku::plugin::manifest as contract;
use provider::exports::bunraku::plugin::resource_provision;

/// JSON text from the host, which writes it correctly by contract.
pub(super) fn value(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_default()
}

/// JSON text of one object.
pub(super) fn object(json: &str) -> Map {
    serde_json::from_str(json).unwrap_or_default()
}

fn text(map: Map) -> String {
    Value::Object(map).to_string()
}

impl<P: Plugin> contract::Guest for Guest<P> {
    fn describe() -> contract::Metadata {
        let metadata = P::describe();
        let capabilities = metadata.capabilities.into_iter().map(|c| contract::Capability {
            name: c.name,
            reason: c.reason,
            optional: c.optional,
        });
        contract::Metadata {
            name: metadata.name,
            version: metadata.version,
            summary: metadata.summary,
            capabilities: capabilities.collect(),
            settings_schema: metadata.settings_schema.map(|schema| schema.to_string()),
        }
    }

    fn validate_settings(settings: String) -> Vec<contract::Problem> {
        P::validate_settings(&value(&settings))
            .into_iter()
            .map(|p| contract::Problem { path: p.path, message: p.message })
            .collect()
    }
}

impl<P: CsrApprover> csr_approval::Guest for Guest<P> {
    fn decide(
        ctx: types::CallContext,
        request: csr_approval::Csr,
    ) -> Result<csr_approval::Verdict, types::Failure> {
        let request = Csr {
            certname: request.certname,
            fingerprint: request.fingerprint,
            der: request.der,
            key_algorithm: request.key_algorithm,
            key_bits: request.key_bits,
            alt_names: request
                .alt_names
                .into_iter()
                .map(|name| AltName { kind: name.kind, value: name.value })
                .collect(),
            extensions: request.extensions,
            attributes: request.attributes,
            occasion: match request.occasion {
                csr_approval::Occasion::First => Occasion::First,
                csr_approval::Occasion::Renewal => Occasion::Renewal,
                csr_approval::Occasion::Conflict => Occasion::Conflict,
            },
            peer: request.peer,
        };
        Ok(match P::decide(&call(ctx), &request)? {
            Verdict::Approve { reason, lifetime } => {
                csr_approval::Verdict::Approve(csr_approval::Approval { reason, lifetime })
            }
            Verdict::Deny(reason) => csr_approval::Verdict::Deny(reason),
            Verdict::Pending(reason) => csr_approval::Verdict::Pending(reason),
            Verdict::Abstain => csr_approval::Verdict::Abstain,
        })
    }
}

impl<P: NodeClassifier> node_classification::Guest for Guest<P> {
    fn classify(
        ctx: types::CallContext,
        node: node_classification::Node,
    ) -> Result<node_classification::Outcome, types::Failure> {
        let node = Node { trusted: node.trusted.into(), requested_environment: node.requested_environment };
        Ok(match P::classify(&call(ctx), &node)? {
            Outcome::Matched(found) => {
                node_classification::Outcome::Matched(node_classification::Classification {
                    environment: found.environment,
                    classes: found.classes.into_iter().map(node_classification::Class::from).collect(),
                    parameters: text(found.parameters),
                    because: found.because,
                })
            }
            Outcome::Abstain => node_classification::Outcome::Abstain,
            Outcome::Reject(reason) => node_classification::Outcome::Reject(reason),
        })
    }
}

impl From<Class> for node_classification::Class {
    fn from(class: Class) -> Self {
        Self { name: class.name, parameters: text(class.parameters) }
    }
}

impl<P: ResourceProvider> resource_provision::Guest for Guest<P> {
    fn classes() -> Vec<resource_provision::ClassInfo> {
        P::classes()
            .into_iter()
            .map(|class| resource_provision::ClassInfo {
                name: class.name,
                summary: class.summary,
                parameters_schema: class.parameters_schema.to_string(),
            })
            .collect()
    }

    fn provide(
        ctx: types::CallContext,
        request: resource_provision::Request,
    ) -> Result<resource_provision::Fragment, types::Failure> {
        let request = Request {
            node: request.node.into(),
            environment: request.environment,
            class: request.class,
            parameters: object(&request.parameters),
            node_parameters: object(&request.node_parameters),
        };
        let fragment = P::provide(&call(ctx), &request)?;
        let includes = fragment.includes.into_iter().map(|class| resource_provision::IncludedClass {
            name: class.name,
            parameters: text(class.parameters),
            in_stage: class.in_stage,
        });
        let stages = fragment
            .stages
            .into_iter()
            .map(|stage| resource_provision::RunStage { name: stage.name, before: stage.before });
        Ok(resource_provision::Fragment {
            resources: fragment.resources.into_iter().map(Into::into).collect(),
            includes: includes.collect(),
            stages: stages.collect(),
            warnings: fragment.warnings,
        })
    }
}

impl From<Resource> for resource_provision::CatalogResource {
    fn from(resource: Resource) -> Self {
        let parameters = resource
            .parameters
            .into_iter()
            .map(|(name, value)| resource_provision::Parameter { name, value: value.into() });
        Self {
            resource_type: resource.resource_type,
            title: resource.title,
            parameters: parameters.collect(),
            tags: resource.tags,
            exported: resource.exported,
        }
    }
}

impl From<ParamValue> for resource_provision::Value {
    fn from(value: ParamValue) -> Self {
        match value {
            ParamValue::Plain(json) => Self::Plain(json.to_string()),
            ParamValue::Sensitive(json) => Self::Sensitive(json.to_string()),
            ParamValue::Refs(refs) => Self::Refs(
                refs.into_iter()
                    .map(|r| resource_provision::ResourceRef {
                        resource_type: r.resource_type,
                        title: r.title,
                    })
                    .collect(),
            ),
        }
    }
}

fn call(ctx: types::CallContext) -> Call<'static> {
    // A panic ends in a trap without a word; this way its message is in the host's log.
    panic::set_hook(Box::new(|panic| log::write(log::Level::Error, &panic.to_string(), &[])));
    Call {
        decision_id: ctx.decision_id,
        mode: match ctx.mode {
            types::Mode::Enforce => Mode::Enforce,
            types::Mode::Shadow => Mode::Shadow,
            types::Mode::Replay => Mode::Replay,
        },
        now: ctx.now,
        settings: value(&ctx.settings),
        annotations: ctx.annotations,
        host: &Imports,
    }
}

impl From<types::Trusted> for Trusted {
    fn from(node: types::Trusted) -> Self {
        Self {
            certname: node.certname,
            authenticated: node.authenticated,
            extensions: node.extensions,
            external: object(&node.external),
        }
    }
}

impl From<Failure> for types::Failure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::InvalidInput(why) => Self::InvalidInput(why),
            Failure::Unavailable(why) => Self::Unavailable(why),
            Failure::Internal(why) => Self::Internal(why),
        }
    }
}

impl From<types::HostError> for HostError {
    fn from(error: types::HostError) -> Self {
        match error {
            types::HostError::Denied(why) => Self::Denied(why),
            types::HostError::NotFound => Self::NotFound,
            types::HostError::Invalid(why) => Self::Invalid(why),
            types::HostError::Limit(why) => Self::Limit(why),
            types::HostError::Unavailable(why) => Self::Unavailable(why),
        }
    }
}
