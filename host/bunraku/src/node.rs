//! `bunraku node classify`: the external node classifier of the original
//! system, also for a puppetserver's `external_nodes`.

use std::sync::Arc;

use master::{Decider, Unclassified};
use sandbox::{Node, Trusted};
use serde_json::{Map, Value};

use crate::arguments::{Common, Node as Command};
use crate::csr::decider;
use crate::registry::name;
use crate::setup::{self, Failure};

/// Runs one of the node's commands.
pub async fn run(common: &Common, command: Command) -> Result<(), Failure> {
    let Command::Classify { certname } = command;
    let config = setup::configure(common)?;
    let certname = name(&certname)?;
    let decider: Decider = decider(&config).await?;
    let sandbox = setup::sandbox(&config)?;
    let set = setup::plugin_set(&config, decider.store.as_deref(), &sandbox).await?;
    let facts = match &decider.store {
        Some(store) => store.facts(certname.as_str()).await.map_err(Failure::new)?.unwrap_or(Value::Null),
        None => Value::Null,
    };
    let trusted = Trusted {
        certname: certname.to_string(),
        authenticated: false,
        extensions: Vec::new(),
        external: Map::new(),
    };
    let node = Node { trusted, requested_environment: None };
    let found = decider.classify(&set, &node, Arc::new(facts)).await.map_err(|error| {
        let code = match error {
            Unclassified::Unreadable(_) | Unclassified::Contradicted(_) => 2,
            Unclassified::TimedOut(_) => 3,
            Unclassified::NoMatch
            | Unclassified::Rejected(_)
            | Unclassified::Unavailable(_)
            | Unclassified::Broken(_) => 1,
        };
        Failure::with_code(code, format_args!("{certname}: {error}"))
    })?;
    let classes = found.classes.into_iter().map(|(name, parameters)| (name, Value::Object(parameters)));
    let mut out = Map::new();
    out.insert("classes".to_owned(), Value::Object(classes.collect()));
    out.insert("parameters".to_owned(), Value::Object(found.parameters));
    if let Some(environment) = found.environment {
        out.insert("environment".to_owned(), Value::String(environment));
    }
    print!("{}", definition::yaml::to_string(&Value::Object(out)));
    Ok(())
}
