//! `[[plugins]]`: which plugins decide, and what each may reach.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::reader::Section;

/// One plugin.
#[derive(Clone, Debug)]
pub struct Plugin {
    /// The name in logs and in error messages.
    pub name: String,
    /// A component's file; the embedded plugin of that name where none.
    pub path: Option<PathBuf>,
    /// Handed to the plugin with every call.
    pub settings: Value,
    /// What it may reach. Capability to its argument.
    pub grants: BTreeMap<String, Value>,
    /// The only component accepted, as SHA-256 in hex.
    pub digest: Option<String>,
}

/// The embedded plugins with what they need, where the operator says nothing.
fn default_plugins() -> Vec<Plugin> {
    let plugin = |name: &str, grants: &[(&str, Value)]| Plugin {
        name: name.to_owned(),
        path: None,
        settings: Value::Object(serde_json::Map::new()),
        grants: grants.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect(),
        digest: None,
    };
    vec![
        plugin("s3-registry", &[("object-store", serde_json::json!(["registry"]))]),
        plugin("base", &[]),
        plugin("hadoop", &[("stored-config", Value::Bool(true))]),
    ]
}

/// Reads `[[plugins]]`.
pub fn read(top: &Section<'_, '_>, state_dir: &Path) -> Vec<Plugin> {
    let Some(sections) = top.sections("plugins") else { return default_plugins() };
    let mut out = Vec::new();
    for section in sections {
        let name = section.string("name").filter(|n| !n.is_empty());
        if name.is_none() {
            top.problem("plugins", "has an entry without a `name`");
        }
        let name = name.unwrap_or_default();
        let known = default_plugins().into_iter().find(|p| p.name == name);
        let grants = match section.json("grants") {
            Some(Value::Object(map)) => map.into_iter().collect(),
            Some(_) => {
                section.problem("grants", "must be a table of capabilities");
                BTreeMap::new()
            }
            None => known.map(|p| p.grants).unwrap_or_default(),
        };
        let settings = section.json("settings").unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        if !settings.is_object() {
            section.problem("settings", "must be a table");
        }
        let digest = section.parsed("digest", |text| {
            let hex = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
            hex.then(|| text.to_lowercase()).ok_or("must be a SHA-256 in hex")
        });
        let path = section.string("path").map(|p| state_dir.join(p));
        section.finish();
        out.push(Plugin { name, path, settings, grants, digest });
    }
    out
}
