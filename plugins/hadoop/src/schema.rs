//! The JSON Schemas of the classes' parameters.
//!
//! A parameter whose default hangs on the distribution, or that may be set for the node as a whole,
//! has no `default` here: the host would fill it in, and the class could not tell.

use sdk::{Map, Value, json};

use crate::parameters::{HEAP_MB, MEMORY_MB, REPLICATION};
use crate::repository;

/// Parameters of the three roles, which they share so that a node definition can write them once.
pub const ROLE: [&str; 17] = [
    "distribution",
    "cluster",
    "repositories",
    "host",
    "namenode_port",
    "jobtracker_port",
    "java_package",
    "heap_mb",
    "memory_mb",
    "name_dirs",
    "data_dirs",
    "local_dirs",
    "replication",
    "core_site",
    "hdfs_site",
    "mapred_site",
    "yarn_site",
];

/// What only `hadoop::namenode` has.
pub const NAMENODE: [&str; 2] = ["name_dir_mounts", "cluster_id"];
/// Those of `hadoop::apt`.
pub const APT: [&str; 2] = ["distribution", "repositories"];
/// Those of `hadoop::base`.
pub const BASE: [&str; 7] =
    ["distribution", "java_package", "heap_mb", "name_dirs", "data_dirs", "replication", "hdfs_site"];
/// Those of `hadoop::core_site`.
pub const CORE_SITE: [&str; 3] = ["distribution", "namenode", "core_site"];
/// Those of `hadoop::mapred_site`.
pub const MAPRED_SITE: [&str; 6] =
    ["distribution", "jobtracker", "memory_mb", "local_dirs", "mapred_site", "yarn_site"];

/// The schema of a class with these parameters.
pub fn of<'a>(names: impl IntoIterator<Item = &'a &'a str>, required: &[&str]) -> Value {
    let properties: Map = names.into_iter().map(|name| ((*name).to_owned(), parameter(name))).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": false,
        "required": required,
        "properties": properties,
    })
}

fn parameter(name: &str) -> Value {
    match name {
        "distribution" => json!({
            "enum": ["cdh3", "apache3"],
            "description": "Hadoop 0.20 of CDH3, or Apache Hadoop 3 as Bigtop packages it. \
                            Else node parameter hadoop_distribution, else cdh3.",
        }),
        "cluster" => json!({
            "type": "string",
            "pattern": "^[a-z0-9_][a-z0-9_.-]{0,63}$",
            "description": "Which cluster's addresses to export and to read. \
                            Else node parameter hadoop_cluster, else default.",
        }),
        "repositories" => repository::schema(
            "Package repositories by name. Else node parameter hadoop_repositories, else those of the \
             distribution.",
        ),
        "host" => json!({
            "type": "string",
            "pattern": "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$",
            "maxLength": 253,
            "description": "Under which name or address other nodes reach a namenode or jobtracker here. \
                            Else fact networking.fqdn, else the certname.",
        }),
        "namenode_port" => {
            port("Where a namenode on this node listens. Else 8200 for cdh3, 8020 for apache3.")
        }
        "jobtracker_port" => port(
            "Where a jobtracker or resource manager on this node listens. Else 8021 for cdh3, 8032 for apache3.",
        ),
        "java_package" => json!({
            "type": "string",
            "pattern": "^[a-z0-9][a-z0-9.+-]+$",
            "description": "The package that brings Java. Else sun-java6-bin for cdh3, default-jre-headless \
                            for apache3.",
        }),
        "heap_mb" => number(64, HEAP_MB, "The Java heap of each daemon, in MiB."),
        "memory_mb" => {
            number(256, MEMORY_MB, "apache3: what a worker's containers may use together, in MiB.")
        }
        "name_dirs" => folders("Folders of the namenode. Else dfs/name in the distribution's own folder."),
        "data_dirs" => folders("Folders of the datanode. Else dfs/data in the distribution's own folder."),
        "local_dirs" => folders(
            "Folders for the intermediate data of jobs. Else those that Hadoop makes in hadoop.tmp.dir.",
        ),
        "name_dir_mounts" => {
            folders("Mount points that name_dirs lie below. While one is not mounted nothing is formatted.")
        }
        "replication" => json!({
            "type": "integer",
            "minimum": 1,
            "maximum": 512,
            "default": REPLICATION,
            "description": "Copies of each block.",
        }),
        "cluster_id" => json!({
            "type": "string",
            "minLength": 1,
            "description": "The clusterID of a file system that exists already: nothing is ever formatted.",
        }),
        "namenode" => address("The namenode."),
        "jobtracker" => address("The jobtracker or resource manager."),
        file => json!({
            "type": "object",
            "propertyNames": {"pattern": "^\\S+$"},
            "additionalProperties": {"type": ["string", "number", "boolean"], "minLength": 1},
            "default": {},
            "description": format!("Additional properties of {}.xml.", file.replace('_', "-")),
        }),
    }
}

fn port(description: &str) -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": 65535, "description": description})
}

fn number(minimum: u64, default: u64, description: &str) -> Value {
    json!({"type": "integer", "minimum": minimum, "default": default, "description": description})
}

/// No character of a folder means anything to a shell, to XML or in Hadoop's comma-separated lists.
fn folders(description: &str) -> Value {
    json!({
        "type": "array",
        "minItems": 1,
        "uniqueItems": true,
        "items": {"type": "string", "pattern": "^(/[A-Za-z0-9_@+-][A-Za-z0-9_.@+-]*)+$"},
        "description": description,
    })
}

fn address(description: &str) -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["host", "port"],
        "properties": {"host": parameter("host"), "port": port("Its port.")},
        "description": description,
    })
}
