//! Between the contract's types and ours. What a guest hands over is checked
//! here: JSON is parsed, text for people is made one line.

use serde_json::{Map, Value};

use crate::bindings::bunraku::plugin::{object_store, stored_config, types};
use crate::bindings::exports::bunraku::plugin as exported;
use crate::text::one_line;
use crate::*;

/// What makes a well-typed answer invalid.
type Invalid = CallError;

fn invalid(place: &str, problem: impl std::fmt::Display) -> Invalid {
    CallError::Invalid(one_line(&format!("{place}: {problem}")))
}

/// Values in the JSON texts of one answer, nested ones included. Each takes
/// tens of bytes here, and two in a text.
const JSON_VALUES: usize = 500_000;

/// Reads the JSON texts of one answer.
struct Json {
    values_left: usize,
}

impl Json {
    fn of_an_answer() -> Self {
        Json { values_left: JSON_VALUES }
    }

    fn value(&mut self, text: &str, place: &str) -> Result<Value, Invalid> {
        self.values_left = self
            .values_left
            .checked_sub(values(text))
            .ok_or_else(|| invalid(place, format!("more than {JSON_VALUES} JSON values in one answer")))?;
        serde_json::from_str(text).map_err(|error| invalid(place, error))
    }

    fn object(&mut self, text: &str, place: &str) -> Result<Map<String, Value>, Invalid> {
        match self.value(text, place)? {
            Value::Object(map) => Ok(map),
            _ => Err(invalid(place, "not a JSON object")),
        }
    }
}

/// At least as many as a JSON text has values, counted without making any.
fn values(text: &str) -> usize {
    let (mut count, mut quoted, mut escaped) = (1_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b',' | b'[' | b'{' if !quoted => count = count.saturating_add(1),
            _ => {}
        }
    }
    count
}

fn lines(texts: Vec<String>) -> Vec<String> {
    texts.iter().map(|text| one_line(text)).collect()
}

fn text(map: &Map<String, Value>) -> String {
    // Cannot fail: the keys are strings.
    serde_json::to_string(map).unwrap_or_default()
}

// To the guest.

impl From<CallContext> for types::CallContext {
    fn from(context: CallContext) -> Self {
        types::CallContext {
            decision_id: context.decision_id,
            mode: match context.mode {
                Mode::Enforce => types::Mode::Enforce,
                Mode::Shadow => types::Mode::Shadow,
                Mode::Replay => types::Mode::Replay,
            },
            now: context.now,
            settings: context.settings,
            annotations: context.annotations,
        }
    }
}

impl From<&Trusted> for types::Trusted {
    fn from(trusted: &Trusted) -> Self {
        types::Trusted {
            certname: trusted.certname.clone(),
            authenticated: trusted.authenticated,
            extensions: trusted.extensions.clone(),
            external: text(&trusted.external),
        }
    }
}

impl From<&Csr> for exported::csr_approval::Csr {
    fn from(csr: &Csr) -> Self {
        use exported::csr_approval as wit;
        wit::Csr {
            certname: csr.certname.clone(),
            fingerprint: csr.fingerprint.clone(),
            der: csr.der.clone(),
            key_algorithm: csr.key_algorithm.clone(),
            key_bits: csr.key_bits,
            alt_names: csr
                .alt_names
                .iter()
                .map(|name| wit::AltName { kind: name.kind.clone(), value: name.value.clone() })
                .collect(),
            extensions: csr.extensions.clone(),
            attributes: csr.attributes.clone(),
            occasion: match csr.occasion {
                Occasion::First => wit::Occasion::First,
                Occasion::Renewal => wit::Occasion::Renewal,
                Occasion::Conflict => wit::Occasion::Conflict,
            },
            peer: csr.peer.clone(),
        }
    }
}

impl From<&Node> for exported::node_classification::Node {
    fn from(node: &Node) -> Self {
        exported::node_classification::Node {
            trusted: (&node.trusted).into(),
            requested_environment: node.requested_environment.clone(),
        }
    }
}

impl From<&ProvideRequest> for exported::resource_provision::Request {
    fn from(request: &ProvideRequest) -> Self {
        exported::resource_provision::Request {
            node: (&request.node).into(),
            environment: request.environment.clone(),
            class: request.class.clone(),
            parameters: text(&request.parameters),
            node_parameters: text(&request.node_parameters),
        }
    }
}

impl From<HostError> for types::HostError {
    fn from(error: HostError) -> Self {
        match error {
            HostError::Denied(text) => types::HostError::Denied(text),
            HostError::NotFound => types::HostError::NotFound,
            HostError::Invalid(text) => types::HostError::Invalid(text),
            HostError::Limit(text) => types::HostError::Limit(text),
            HostError::Unavailable(text) => types::HostError::Unavailable(text),
        }
    }
}

impl From<ObjectInfo> for object_store::ObjectInfo {
    fn from(info: ObjectInfo) -> Self {
        object_store::ObjectInfo {
            key: info.key,
            size: info.size,
            etag: info.etag,
            modified: info.modified,
            content_type: info.content_type,
        }
    }
}

impl From<Object> for object_store::Object {
    fn from(object: Object) -> Self {
        object_store::Object { info: object.info.into(), body: object.body }
    }
}

impl From<Listing> for object_store::Listing {
    fn from(listing: Listing) -> Self {
        object_store::Listing {
            objects: listing.objects.into_iter().map(Into::into).collect(),
            prefixes: listing.prefixes,
            next: listing.next,
        }
    }
}

impl From<ResourcePage> for stored_config::ResourcePage {
    fn from(page: ResourcePage) -> Self {
        let resources = page.resources.into_iter().map(|resource| stored_config::ExportedResource {
            resource_type: resource.resource_type,
            title: resource.title,
            exported_by: resource.exported_by,
            tags: resource.tags,
            parameters: text(&resource.parameters),
        });
        stored_config::ResourcePage { resources: resources.collect(), next: page.next }
    }
}

impl From<NodePage> for stored_config::NodePage {
    fn from(page: NodePage) -> Self {
        let nodes = page
            .nodes
            .into_iter()
            .map(|node| stored_config::NodeFacts { node: node.node, facts: text(&node.facts) });
        stored_config::NodePage { nodes: nodes.collect(), next: page.next }
    }
}

// From the guest.

impl From<types::Failure> for Failure {
    fn from(failure: types::Failure) -> Self {
        match failure {
            types::Failure::InvalidInput(text) => Failure::InvalidInput(one_line(&text)),
            types::Failure::Unavailable(text) => Failure::Unavailable(one_line(&text)),
            types::Failure::Internal(text) => Failure::Internal(one_line(&text)),
        }
    }
}

impl From<exported::csr_approval::Verdict> for Verdict {
    fn from(verdict: exported::csr_approval::Verdict) -> Self {
        use exported::csr_approval::Verdict as Wit;
        match verdict {
            Wit::Approve(approval) => {
                Verdict::Approve { reason: one_line(&approval.reason), lifetime: approval.lifetime }
            }
            Wit::Deny(reason) => Verdict::Deny(one_line(&reason)),
            Wit::Pending(reason) => Verdict::Pending(one_line(&reason)),
            Wit::Abstain => Verdict::Abstain,
        }
    }
}

impl TryFrom<exported::node_classification::Outcome> for Outcome {
    type Error = Invalid;

    fn try_from(outcome: exported::node_classification::Outcome) -> Result<Self, Invalid> {
        use exported::node_classification::Outcome as Wit;
        let found = match outcome {
            Wit::Matched(found) => found,
            Wit::Abstain => return Ok(Outcome::Abstain),
            Wit::Reject(reason) => return Ok(Outcome::Reject(one_line(&reason))),
        };
        let mut json = Json::of_an_answer();
        let parameters = json.object(&found.parameters, "the node's parameters")?;
        let class = |class: exported::node_classification::Class| {
            let parameters =
                json.object(&class.parameters, &format!("parameters of class {}", class.name))?;
            Ok(Class { name: class.name, parameters })
        };
        Ok(Outcome::Matched(Classification {
            environment: found.environment,
            classes: found.classes.into_iter().map(class).collect::<Result<_, Invalid>>()?,
            parameters,
            because: lines(found.because),
        }))
    }
}

impl TryFrom<exported::resource_provision::Fragment> for Fragment {
    type Error = Invalid;

    fn try_from(fragment: exported::resource_provision::Fragment) -> Result<Self, Invalid> {
        let mut json = Json::of_an_answer();
        let resources: Vec<_> = fragment
            .resources
            .into_iter()
            .map(|found| resource(found, &mut json))
            .collect::<Result<_, Invalid>>()?;
        let include = |class: exported::resource_provision::IncludedClass| {
            let parameters =
                json.object(&class.parameters, &format!("parameters of class {}", class.name))?;
            Ok(IncludedClass { name: class.name, parameters, in_stage: class.in_stage })
        };
        let stages = fragment.stages.into_iter();
        Ok(Fragment {
            resources,
            includes: fragment.includes.into_iter().map(include).collect::<Result<_, Invalid>>()?,
            stages: stages.map(|stage| RunStage { name: stage.name, before: stage.before }).collect(),
            warnings: lines(fragment.warnings),
        })
    }
}

fn resource(
    resource: exported::resource_provision::CatalogResource,
    json: &mut Json,
) -> Result<Resource, Invalid> {
    use exported::resource_provision::Value as Wit;
    let mut parameters = Vec::with_capacity(resource.parameters.len());
    for parameter in resource.parameters {
        let mut parsed = |text: &str| {
            // The value itself may be sensitive and is not quoted by serde_json's errors.
            json.value(text, &format!("{}[{}] {}", resource.resource_type, resource.title, parameter.name))
        };
        let value = match &parameter.value {
            Wit::Plain(text) => ParamValue::Plain(parsed(text)?),
            Wit::Sensitive(text) => ParamValue::Sensitive(parsed(text)?),
            Wit::Refs(refs) => ParamValue::Refs(
                refs.iter()
                    .map(|one| ResourceRef {
                        resource_type: one.resource_type.clone(),
                        title: one.title.clone(),
                    })
                    .collect(),
            ),
        };
        parameters.push((parameter.name, value));
    }
    Ok(Resource {
        resource_type: resource.resource_type,
        title: resource.title,
        parameters,
        tags: resource.tags,
        exported: resource.exported,
    })
}

impl TryFrom<exported::manifest::Metadata> for Metadata {
    type Error = Invalid;

    fn try_from(metadata: exported::manifest::Metadata) -> Result<Self, Invalid> {
        let capability = |wanted: exported::manifest::Capability| Capability {
            name: one_line(&wanted.name),
            reason: one_line(&wanted.reason),
            optional: wanted.optional,
        };
        Ok(Metadata {
            name: one_line(&metadata.name),
            version: one_line(&metadata.version),
            summary: one_line(&metadata.summary),
            capabilities: metadata.capabilities.into_iter().map(capability).collect(),
            settings_schema: match &metadata.settings_schema {
                Some(schema) => Some(Json::of_an_answer().value(schema, "the settings' schema")?),
                None => None,
            },
        })
    }
}

impl From<exported::manifest::Problem> for SettingsProblem {
    fn from(problem: exported::manifest::Problem) -> Self {
        SettingsProblem { path: one_line(&problem.path), message: one_line(&problem.message) }
    }
}

impl TryFrom<exported::resource_provision::ClassInfo> for ClassInfo {
    type Error = Invalid;

    fn try_from(class: exported::resource_provision::ClassInfo) -> Result<Self, Invalid> {
        let place = format!("the parameters' schema of class {}", class.name);
        let parameters_schema = Json::of_an_answer().value(&class.parameters_schema, &place)?;
        Ok(ClassInfo { name: one_line(&class.name), summary: one_line(&class.summary), parameters_schema })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_text_are_counted_without_making_them() {
        let check = |text: &str, least: usize, most: usize| {
            let counted = values(text);
            assert!((least..=most).contains(&counted), "{text}: {counted}");
        };
        check("1", 1, 1);
        check("[0,0,0]", 4, 4);
        check(r#"{"a":[{},{}],"b":"[,,,,,,]"}"#, 5, 7);
        check(r#""[\",,,,""#, 1, 1);
        check(r#"["\\",1]"#, 3, 3);
    }

    #[test]
    fn texts_of_one_answer_share_its_values() {
        let mut json = Json { values_left: 5 };
        assert_eq!(json.value("[1,2]", "here"), Ok(serde_json::json!([1, 2])));
        let error = json.value("[1,2]", "there").unwrap_err().to_string();
        assert!(error.contains("there: more than"), "{error}");
    }
}
