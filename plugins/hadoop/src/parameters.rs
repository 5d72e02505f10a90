//! What a class is told: its own parameters, and some from the node as a whole.
//!
//! The host has checked a class's parameters against its schema (see `schema.rs`). Parameters of the
//! node have no schema, so what is read from there is checked here.

use sdk::{Failure, Map, Request, Value};

use crate::distribution::{CDH3, Distribution};
use crate::xml::{self, Properties};

/// The Java heap of a daemon, in MiB.
pub const HEAP_MB: u64 = 1000;
/// Copies of each block.
pub const REPLICATION: u64 = 3;
/// What the containers of a node may use together, in MiB; YARN's own default.
pub const MEMORY_MB: u64 = 8192;
/// The cluster of a node that names none.
pub const CLUSTER: &str = "default";

/// Properties that other resources of a catalog rest on, such as the guard of `format-dfs` or an
/// exported address. They follow from parameters, under the names of either Hadoop.
const OURS: [(&str, &str); 16] = [
    ("fs.default.name", "an address that the namenode exports"),
    ("fs.defaultFS", "an address that the namenode exports"),
    ("mapred.job.tracker", "an address that the jobtracker exports"),
    ("yarn.resourcemanager.hostname", "an address that the jobtracker exports"),
    ("yarn.resourcemanager.address", "an address that the jobtracker exports"),
    ("mapreduce.jobhistory.address", "an address that the jobtracker exports"),
    ("mapreduce.jobhistory.webapp.address", "an address that the jobtracker exports"),
    ("dfs.name.dir", "parameter name_dirs"),
    ("dfs.namenode.name.dir", "parameter name_dirs"),
    ("dfs.data.dir", "parameter data_dirs"),
    ("dfs.datanode.data.dir", "parameter data_dirs"),
    ("mapred.local.dir", "parameter local_dirs"),
    ("mapreduce.cluster.local.dir", "parameter local_dirs"),
    ("yarn.nodemanager.local-dirs", "parameter local_dirs"),
    ("dfs.replication", "parameter replication"),
    ("yarn.nodemanager.resource.memory-mb", "parameter memory_mb"),
];

/// The parameters of one class on one node.
pub struct Parameters<'a> {
    class: &'a str,
    own: &'a Map,
    node: &'a Map,
}

impl<'a> Parameters<'a> {
    /// Those of a request.
    pub fn of(request: &'a Request) -> Self {
        Self { class: &request.class, own: &request.parameters, node: &request.node_parameters }
    }

    /// The distribution: of the class, else `hadoop_distribution` of the node, else `cdh3`.
    pub fn distribution(&self) -> Result<&'static Distribution, Failure> {
        match self.of_class_or_node("distribution") {
            None => Ok(&CDH3),
            Some(value) => value
                .as_str()
                .and_then(Distribution::named)
                .ok_or_else(|| self.wrong("distribution", "is neither cdh3 nor apache3")),
        }
    }

    /// The cluster: of the class, else `hadoop_cluster` of the node, else `default`.
    pub fn cluster(&self) -> Result<&'a str, Failure> {
        match self.of_class_or_node("cluster") {
            None => Ok(CLUSTER),
            Some(value) => value.as_str().filter(|name| is_cluster(name)).ok_or_else(|| {
                self.wrong("cluster", "is not of lower case letters, digits, `_`, `.` and `-`")
            }),
        }
    }

    /// The repositories: of the class, else `hadoop_repositories` of the node. Unchecked in that case:
    /// pass them on to a class whose schema checks them.
    pub fn repositories(&self) -> Option<&'a Value> {
        self.of_class_or_node("repositories")
    }

    /// Those of the class's own that another class takes too.
    pub fn only(&self, names: &[&str]) -> Map {
        names.iter().filter_map(|name| Some(((*name).to_owned(), self.own.get(*name)?.clone()))).collect()
    }

    /// A parameter of the class's own, as it is.
    pub fn given(&self, name: &str) -> Option<&'a Value> {
        self.own.get(name)
    }

    /// A text.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.own.get(name)?.as_str()
    }

    /// A whole number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.own.get(name)?.as_u64()
    }

    /// A TCP port.
    pub fn port(&self, name: &str) -> Option<u16> {
        self.number(name).and_then(|port| u16::try_from(port).ok())
    }

    /// A list of texts; empty where there is none.
    pub fn list(&self, name: &str) -> Vec<String> {
        let items = self.own.get(name).and_then(Value::as_array);
        items.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// A list of folders, or this one.
    pub fn folders(&self, name: &str, default: String) -> Vec<String> {
        let given = self.list(name);
        if given.is_empty() { vec![default] } else { given }
    }

    /// An object; empty where there is none.
    pub fn object(&self, name: &str) -> Map {
        self.own.get(name).and_then(Value::as_object).cloned().unwrap_or_default()
    }

    /// Additional properties of a configuration file.
    ///
    /// # Errors
    /// One of them is not the operator's to set here, or no XML file can hold it.
    pub fn properties(&self, name: &str) -> Result<Properties, Failure> {
        self.object(name)
            .into_iter()
            .map(|(key, value)| {
                let text = match value {
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                if let Some((_, instead)) = OURS.iter().find(|(ours, _)| *ours == key) {
                    return Err(self.wrong(name, &format!("sets {key}, which follows from {instead}")));
                }
                if !xml::can_hold(&key) || !xml::can_hold(&text) {
                    let what = format!("has a control character in {key:?}, which XML cannot hold");
                    return Err(self.wrong(name, &what));
                }
                Ok((key, text))
            })
            .collect()
    }

    /// What is said about a parameter that cannot be right.
    pub fn wrong(&self, name: &str, what: &str) -> Failure {
        let whose = if self.own.contains_key(name) {
            format!("parameter {name} of {}", self.class)
        } else {
            format!("node parameter hadoop_{name}")
        };
        Failure::InvalidInput(format!("{whose} {what}"))
    }

    fn of_class_or_node(&self, name: &str) -> Option<&'a Value> {
        self.own.get(name).or_else(|| self.node.get(&format!("hadoop_{name}")))
    }
}

/// Whether a cluster may be called so: the name becomes part of a tag.
fn is_cluster(name: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.len() <= 64 && name.starts_with(word) && name.chars().all(|c| word(c) || matches!(c, '.' | '-'))
}
