//! Whole catalogs from this plugin and plugin `base`, put together by the host's own compiler.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::sync::Arc;

use sdk::testing::FakeHost;
use sdk::{
    ExportedResource, Failure, Fragment, Map, ParamValue, Request, ResourceProvider, Trusted, Value, json,
};

/// A node to compile a catalog for.
pub struct Node {
    pub certname: &'static str,
    pub classes: Value,
    pub parameters: Value,
    pub host: FakeHost,
}

/// A node with one class and what the cluster has exported so far.
pub fn node(certname: &'static str, class: &str, parameters: Value, exports: &[ExportedResource]) -> Node {
    Node { certname, classes: json!({class: parameters}), parameters: json!({}), host: host(exports) }
}

/// A host that has stored these.
pub fn host(exports: &[ExportedResource]) -> FakeHost {
    exports.iter().fold(FakeHost::new(), |host, export| host.exported(export.clone()))
}

/// What a namenode exports.
pub fn namenode_at(certname: &str, host: &str, port: u16) -> ExportedResource {
    address(certname, "namenode", host, port)
}

/// What a jobtracker exports.
pub fn jobtracker_at(certname: &str, host: &str, port: u16) -> ExportedResource {
    address(certname, "jobtracker", host, port)
}

fn address(certname: &str, master: &str, host: &str, port: u16) -> ExportedResource {
    let Value::Object(parameters) = json!({"host": host, "port": port}) else { unreachable!() };
    ExportedResource {
        resource_type: "Hadoop::Address".into(),
        title: master.into(),
        exported_by: certname.into(),
        tags: vec!["hadoop_cluster:default".into()],
        parameters,
    }
}

/// A namenode and a jobtracker that have run.
pub fn masters() -> [ExportedResource; 2] {
    [namenode_at("nn", "namenode.cluster.test", 8200), jobtracker_at("jt", "jobtracker.cluster.test", 8021)]
}

/// A compiled catalog, as the agent gets it, and what came by the way.
pub struct Compiled {
    pub catalog: Value,
    pub exports: Vec<ExportedResource>,
    /// Each class asked for, with its parameters and its fragment.
    pub fragments: Vec<(String, Map, Fragment)>,
}

/// Compiles a node's catalog, or says why there is none.
pub fn compile(node: &Node) -> Result<Compiled, String> {
    let index = Arc::new(index());
    let target = catalog::Target {
        certname: node.certname.into(),
        environment: "production".into(),
        ..catalog::Target::default()
    };
    let classes = node.classes.as_object().unwrap().iter();
    let classes = classes.map(|(name, parameters)| (name.clone(), parameters.as_object().unwrap().clone()));
    let mut compiler =
        catalog::Compiler::new(target, classes.collect(), index).map_err(|error| error.to_string())?;
    let mut fragments = vec![];
    while let catalog::Step::Ask(ask) = compiler.next() {
        let request = Request {
            node: Trusted { certname: node.certname.into(), authenticated: true, ..Trusted::default() },
            environment: "production".into(),
            class: ask.class.clone(),
            parameters: ask.parameters.clone(),
            node_parameters: node.parameters.as_object().unwrap().clone(),
        };
        let fragment = match ask.plugin.as_str() {
            "hadoop" => hadoop::Hadoop::provide(&node.host.call(), &request),
            _ => base::Base::provide(&node.host.call(), &request),
        };
        let fragment = fragment.map_err(|failure: Failure| format!("{}: {failure}", request.class))?;
        fragments.push((request.class, request.parameters, fragment.clone()));
        compiler.answer(as_host(fragment)).map_err(|error| error.to_string())?;
    }
    let compiled = compiler.finish().map_err(|error| error.to_string())?;
    let catalog = parsed(&compiled.catalog.to_json());
    let exports = fragments.iter().flat_map(|(_, _, fragment)| exports(node.certname, fragment)).collect();
    Ok(Compiled { catalog, exports, fragments })
}

impl Compiled {
    /// The parameters of a resource.
    pub fn find(&self, resource_type: &str, title: &str) -> Option<&Value> {
        let all = self.catalog["resources"].as_array().unwrap();
        all.iter().find(|r| r["type"] == resource_type && r["title"] == title).map(|r| &r["parameters"])
    }

    /// The parameters of a resource that is there.
    pub fn get(&self, resource_type: &str, title: &str) -> &Value {
        self.find(resource_type, title).unwrap_or_else(|| panic!("no {resource_type}[{title}]"))
    }

    /// The content of a file.
    pub fn content(&self, title: &str) -> &str {
        self.get("File", title)["content"].as_str().unwrap()
    }

    /// Titles of a type, in order.
    pub fn titles(&self, resource_type: &str) -> Vec<&str> {
        let all = self.catalog["resources"].as_array().unwrap();
        all.iter().filter(|r| r["type"] == resource_type).map(|r| r["title"].as_str().unwrap()).collect()
    }

    /// Every warning of every class.
    pub fn warnings(&self) -> Vec<&str> {
        self.fragments.iter().flat_map(|(_, _, fragment)| &fragment.warnings).map(String::as_str).collect()
    }
}

/// A fragment as a golden file has it.
pub fn as_json(fragment: &Fragment) -> Value {
    let resources: Vec<Value> = fragment
        .resources
        .iter()
        .map(|resource| {
            let parameters: Map = resource.parameters.iter().map(|(n, v)| (n.clone(), value(v))).collect();
            let name = format!("{}[{}]", resource.resource_type, resource.title);
            match (resource.exported, &resource.tags) {
                (true, tags) => json!({"exported": name, "parameters": parameters, "tags": tags}),
                (false, _) => json!({"resource": name, "parameters": parameters}),
            }
        })
        .collect();
    let includes: Vec<Value> = fragment
        .includes
        .iter()
        .map(|class| json!({"class": class.name, "parameters": class.parameters, "stage": class.in_stage}))
        .collect();
    let stages: Vec<String> =
        fragment.stages.iter().map(|stage| format!("{} before {}", stage.name, stage.before)).collect();
    json!({"resources": resources, "includes": includes, "stages": stages, "warnings": fragment.warnings})
}

fn value(value: &ParamValue) -> Value {
    match value {
        ParamValue::Plain(value) => value.clone(),
        ParamValue::Sensitive(_) => json!("(sensitive)"),
        ParamValue::Refs(refs) => refs.iter().map(|r| format!("{}[{}]", r.resource_type, r.title)).collect(),
    }
}

fn index() -> catalog::ClassIndex {
    let classes = |plugin: &'static str, classes: Vec<sdk::ClassInfo>| {
        classes.into_iter().map(move |class| catalog::ClassSpec {
            name: class.name,
            plugin: plugin.into(),
            parameters_schema: class.parameters_schema,
        })
    };
    let all = classes("hadoop", hadoop::Hadoop::classes()).chain(classes("base", base::Base::classes()));
    catalog::ClassIndex::new(all).map_err(|errors| format!("{errors:?}")).unwrap()
}

fn exports(certname: &str, fragment: &Fragment) -> Vec<ExportedResource> {
    let exported = fragment.resources.iter().filter(|resource| resource.exported);
    exported
        .map(|resource| ExportedResource {
            resource_type: resource.resource_type.clone(),
            title: resource.title.clone(),
            exported_by: certname.into(),
            tags: resource.tags.clone(),
            parameters: resource.parameters.iter().map(|(n, v)| (n.clone(), value(v))).collect(),
        })
        .collect()
}

fn as_host(fragment: Fragment) -> catalog::Fragment {
    let value = |value| match value {
        ParamValue::Plain(value) => catalog::ParamValue::Plain(value),
        ParamValue::Sensitive(value) => catalog::ParamValue::Sensitive(value),
        ParamValue::Refs(refs) => catalog::ParamValue::Refs(
            refs.into_iter().map(|r| catalog::ResourceRef::new(r.resource_type, r.title)).collect(),
        ),
    };
    catalog::Fragment {
        resources: fragment
            .resources
            .into_iter()
            .map(|resource| catalog::FragmentResource {
                resource_type: resource.resource_type,
                title: resource.title,
                parameters: resource.parameters.into_iter().map(|(n, v)| (n, value(v))).collect(),
                tags: resource.tags,
                exported: resource.exported,
            })
            .collect(),
        includes: fragment
            .includes
            .into_iter()
            .map(|class| catalog::IncludedClass {
                name: class.name,
                parameters: class.parameters,
                in_stage: class.in_stage,
            })
            .collect(),
        stages: fragment
            .stages
            .into_iter()
            .map(|stage| catalog::RunStage { name: stage.name, before: stage.before })
            .collect(),
        warnings: fragment.warnings,
    }
}

fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}
