//! Provider of the Hadoop roles: namenode, jobtracker and worker, for Hadoop 0.20 (`cdh3`) and for HDFS
//! and YARN of Hadoop 3 (`apache3`).
//!
//! It never decides which node gets a role (see plugin `s3-registry`), and what it makes of one node it
//! knows of others through exported resources alone. Catalogs are put together, with stages, edges and
//! checks, by the host's crate `catalog`. README.md has the classes, their parameters and the rules.

mod address;
mod base;
mod distribution;
mod parameters;
#[path = "../../base/src/repository.rs"]
mod repository;
mod roles;
mod schema;
mod services;
mod site;
mod xml;

use sdk::{Call, ClassInfo, Failure, Fragment, Metadata, Plugin, Request, ResourceProvider, Value};

use parameters::Parameters;

/// The plugin.
pub struct Hadoop;

impl Plugin for Hadoop {
    fn describe() -> Metadata {
        Metadata::new(
            env!("CARGO_PKG_NAME"),
            env!("CARGO_PKG_VERSION"),
            "Hadoop roles (hadoop::namenode, hadoop::jobtracker, hadoop::worker)",
        )
        .needs("stored-config", "reads the addresses that namenode and jobtracker export")
    }
}

impl ResourceProvider for Hadoop {
    fn classes() -> Vec<ClassInfo> {
        let class = |name: &str, summary: &str, parameters_schema: Value| ClassInfo {
            name: name.into(),
            summary: summary.into(),
            parameters_schema,
        };
        let namenode = schema::ROLE.iter().chain(&schema::NAMENODE);
        vec![
            class("hadoop::namenode", "the master of HDFS", schema::of(namenode, &[])),
            class("hadoop::jobtracker", "the master of jobs", schema::of(&schema::ROLE, &[])),
            class("hadoop::worker", "stores blocks and runs tasks", schema::of(&schema::ROLE, &[])),
            class("hadoop::apt", "package repositories", schema::of(&schema::APT, &[])),
            class("hadoop::base", "what every role needs first", schema::of(&schema::BASE, &[])),
            class("hadoop::core_site", "core-site.xml", schema::of(&schema::CORE_SITE, &["namenode"])),
            class(
                "hadoop::mapred_site",
                "mapred-site.xml and yarn-site.xml",
                schema::of(&schema::MAPRED_SITE, &["jobtracker"]),
            ),
        ]
    }

    fn provide(call: &Call, request: &Request) -> Result<Fragment, Failure> {
        let parameters = Parameters::of(request);
        match request.class.as_str() {
            "hadoop::namenode" => roles::namenode(call, request),
            "hadoop::jobtracker" => roles::jobtracker(call, request),
            "hadoop::worker" => roles::worker(call, request),
            "hadoop::apt" => base::apt(&parameters),
            "hadoop::base" => base::base(&parameters),
            "hadoop::core_site" => site::core(&parameters),
            "hadoop::mapred_site" => site::mapred(&parameters),
            other => Err(Failure::Internal(format!("class {other} is none of this plugin's"))),
        }
    }
}

sdk::export!(Hadoop: provider);
