//! Approver and classifier over the registry: a node whose definition is there gets its certificate and
//! its classes. It does what the original `check_csr` and `node_classifier` did, and logs what they
//! logged.
//!
//! It never fetches anything itself: the host's store `registry` is a folder or a bucket, and what a
//! definition may look like is in the `definition` crate.

mod approve;
mod classify;
mod settings;

use sdk::{Call, Failure, HostError, Metadata, Plugin, Problem, Value};

use definition::NodeDefinition;
use settings::Settings;

/// The plugin.
pub struct S3Registry;

impl Plugin for S3Registry {
    fn describe() -> Metadata {
        let summary = "approves and classifies the nodes that the registry expects";
        Metadata::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), summary)
            .needs("object-store", "reads the definition of the node in question from the registry")
            .settings(settings::schema())
    }

    fn validate_settings(settings: &Value) -> Vec<Problem> {
        Settings::read(settings).err().unwrap_or_default()
    }
}

sdk::export!(S3Registry: approver, classifier);

/// What the registry says of a node.
enum Found {
    Definition(NodeDefinition),
    /// Not usable: where and why, such as `line 3, column 5: …`.
    Unreadable(String),
    Missing,
    /// The store's service refused, or the operator has not granted the store.
    Denied(String),
    Unavailable(String),
}

/// The call's settings, which the host has had validated.
fn settings(call: &Call) -> Result<Settings, Failure> {
    Settings::read(&call.settings).map_err(|problems| {
        let all = problems.iter().map(|p| format!("{} {}", p.path, p.message)).collect::<Vec<_>>().join("; ");
        Failure::Internal(format!("settings: {all}"))
    })
}

/// Reads a node's definition and logs where from.
fn look_up(call: &Call, settings: &Settings, certname: &str, url: &str) -> Found {
    call.debug(format!("Checking url: {url}"));
    let object = match call.object(&settings.store, certname) {
        Ok(object) => object,
        Err(HostError::NotFound) => return Found::Missing,
        Err(HostError::Denied(why)) => return Found::Denied(why),
        Err(HostError::Unavailable(why)) => return Found::Unavailable(why),
        Err(error @ (HostError::Invalid(_) | HostError::Limit(_))) => {
            return Found::Unreadable(error.to_string());
        }
    };
    let Ok(text) = str::from_utf8(&object.body) else { return Found::Unreadable("it is not UTF-8".into()) };
    match NodeDefinition::parse(text) {
        Ok(definition) => {
            if !definition.unknown.is_empty() {
                call.warn(format!("{url}: unknown keys, ignored: {}", definition.unknown.join(", ")));
            }
            Found::Definition(definition)
        }
        Err(problem) => Found::Unreadable(problem.to_string()),
    }
}

/// Where a node's definition is, as an operator would look for it.
fn url(call: &Call, settings: &Settings, certname: &str) -> String {
    match call.annotation(&format!("object-store.{}", settings.store)) {
        Some(folder) if folder.starts_with("dir:") => format!("{}/{certname}", folder.trim_end_matches('/')),
        // The prefix ends as the operator wrote it.
        Some(bucket_and_prefix) => format!("{bucket_and_prefix}{certname}"),
        None => format!("{}:{certname}", settings.store),
    }
}
