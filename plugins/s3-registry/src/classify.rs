//! The original's `node_classifier`: a node is what its definition says.

use sdk::{Call, Class, Classification, Failure, Node, NodeClassifier, Outcome};

use definition::NodeDefinition;

use crate::{Found, S3Registry, look_up, url};

impl NodeClassifier for S3Registry {
    fn classify(call: &Call, node: &Node) -> Result<Outcome, Failure> {
        let settings = crate::settings(call)?;
        let name = &node.trusted.certname;
        let url = url(call, &settings, name);
        match look_up(call, &settings, name, &url) {
            Found::Definition(definition) => {
                call.debug(format!("Getting node configuration: {name}"));
                call.debug(format!("Node configuration ({name}): classes: [{}]", class_names(&definition)));
                Ok(Outcome::Matched(classification(definition, url)))
            }
            Found::Missing if settings.fallback => Ok(Outcome::Abstain),
            Found::Missing => Ok(Outcome::Reject(format!("not-found: no node definition at {url}"))),
            Found::Denied(why) => Err(Failure::Unavailable(format!("denied-or-missing: {url}: {why}"))),
            Found::Unreadable(why) => Err(Failure::InvalidInput(format!("{url}: {why}"))),
            Found::Unavailable(why) => Err(Failure::Unavailable(format!("{url}: {why}"))),
        }
    }
}

fn classification(definition: NodeDefinition, url: String) -> Classification {
    Classification {
        environment: definition.environment,
        classes: definition
            .classes
            .into_iter()
            .map(|(name, parameters)| Class { name, parameters })
            .collect(),
        parameters: definition.parameters,
        because: vec![format!("node definition {url}")],
    }
}

fn class_names(definition: &NodeDefinition) -> String {
    definition.classes.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
}
