//! The catalog put together from what the compiler gathered and checked.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    Map,
    compiler::{Compiler, Declared, Event, Stage},
    index::ClassIndex,
    name, resource,
    wire::{Catalog, Edge, Kind, Resource},
};

/// What a compilation comes to.
#[derive(Debug)]
pub struct Compiled {
    /// For the agent.
    pub catalog: Catalog,
    /// For other nodes to collect.
    pub exports: Vec<Export>,
}

/// A resource that other nodes may collect.
#[derive(Debug, Clone, PartialEq)]
pub struct Export {
    /// Capitalised, such as `Hadoop::Address`; need not be a type that agents know.
    pub resource_type: String,
    /// Unique for its type on this node; other nodes may export the same.
    pub title: String,
    /// With those of its class, as on a resource of the catalog.
    pub tags: Vec<String>,
    /// Without the sensitive ones.
    pub parameters: Map,
}

impl Compiler {
    /// `stages` holds the name of each class's stage where the class is not in `main` by itself.
    pub(crate) fn assemble(self, edges: Vec<Edge>, mut stages: Vec<Option<String>>) -> Compiled {
        let mut resources = language(&self.stages);
        let (mut tags, mut names) = (vec![Arc::from("settings")], vec![Arc::from("settings")]);
        let mut classes: Vec<_> = self.classes.into_iter().map(Some).collect();
        let mut own: Vec<_> = self.resources.into_iter().map(|checked| Some(checked.resource)).collect();
        let mut ranges = vec![0..0; classes.len()];
        for event in self.log {
            match event {
                Event::Enter(class) => {
                    let Some(declared) = classes.get_mut(class).and_then(Option::take) else { continue };
                    if let Some(range) = ranges.get_mut(class) {
                        *range = declared.resources.clone();
                    }
                    for tag in declared.tags.iter().take(declared.own_tags).filter(|tag| ***tag != *"class") {
                        resource::push_tag(&mut tags, tag.clone());
                    }
                    names.push(declared.owner.class.as_str().into());
                    let stage = stages.get_mut(class).and_then(Option::take);
                    resources.push(class_resource(declared, stage, &self.index));
                }
                Event::Leave(class) => {
                    let range = ranges.get(class).cloned().unwrap_or_default();
                    resources
                        .extend(range.filter_map(|resource| own.get_mut(resource).and_then(Option::take)));
                }
            }
        }
        if names.len() > 1 {
            resource::push_tag(&mut tags, "class".into());
        }
        let exports = self.exports.into_iter().map(|(_, checked)| {
            let (resource_type, title) =
                (checked.resource.resource_type.clone(), checked.resource.title.clone());
            let tags = checked.resource.tags.iter().map(|tag| tag.to_string()).collect();
            Export { resource_type, title, tags, parameters: resource::exported_parameters(checked) }
        });
        Compiled {
            exports: exports.collect(),
            catalog: Catalog {
                certname: self.target.certname,
                environment: self.target.environment,
                version: Some(self.target.version),
                catalog_uuid: Some(self.target.catalog_uuid),
                tags,
                classes: names,
                resources,
                edges,
            },
        }
    }
}

/// The resources that stand before every class: the main stage, the classes of the language, the stages.
fn language(stages: &[Stage]) -> Vec<Resource> {
    let container = |resource_type: &str, title: &str, tags: &[&str], kind, parameters| Resource {
        resource_type: resource_type.into(),
        title: title.into(),
        tags: tags.iter().map(|tag| Arc::from(*tag)).collect(),
        kind,
        parameters,
        sensitive_parameters: Vec::new(),
    };
    let main = || vec![("name".into(), Value::from("main"))];
    let before = |stage: &Stage| {
        let mut names: Vec<Value> =
            stage.before.iter().map(|(name, _)| format!("Stage[{name}]").into()).collect();
        let value = if names.len() > 1 { Some(Value::Array(names)) } else { names.pop() };
        value.map(|value| ("before".to_owned(), value))
    };
    let main_before = stages.iter().find(|stage| stage.name == "main").and_then(before);
    let main_stage = main().into_iter().chain(main_before).collect();
    let mut resources = vec![
        container("Stage", "main", &["stage"], Kind::CompilableType, main_stage),
        container("Class", "Settings", &["class", "settings"], Kind::Unknown, Vec::new()),
        container("Class", "main", &["class"], Kind::Unknown, main()),
    ];
    resources.extend(stages.iter().filter(|stage| stage.name != "main").map(|stage| {
        let tags = ["stage", &stage.name.to_ascii_lowercase(), "class"];
        container("Stage", &stage.name, &tags, Kind::CompilableType, before(stage).into_iter().collect())
    }));
    resources
}

fn class_resource(declared: Declared, stage: Option<String>, index: &ClassIndex) -> Resource {
    let secrets = index.get(&declared.owner.class).map(|class| &*class.schema.secrets).unwrap_or_default();
    let is_there = |name: &&String| declared.parameters.contains_key(*name);
    let stage = stage.map(|stage| ("stage".to_owned(), Value::from(stage)));
    Resource {
        resource_type: "Class".into(),
        title: name::capitalised(&declared.owner.class),
        tags: declared.tags,
        kind: Kind::Class,
        sensitive_parameters: secrets.iter().filter(is_there).cloned().collect(),
        parameters: stage.into_iter().chain(declared.meta).chain(declared.parameters).collect(),
    }
}
