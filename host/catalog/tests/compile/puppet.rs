//! The catalog that Puppet 7.23 compiles from `tests/puppet/` and ours from fragments that say the same.
//!
//! `catalog.json` is what `puppet catalog compile worker1.example.net --modulepath modules --manifest site.pp`
//! printed there, without the files and lines that ours has no word of.

use serde_json::{Value, json};

use crate::cases::*;

/// A worker whose classes span three stages and two plugins.
pub fn worker() -> Plugins {
    let schema = json!({"additionalProperties": false, "properties": {
        "distribution": {"enum": ["cdh3", "apache3"], "default": "cdh3"},
        "ports": {"type": "object", "default": {}, "properties": {"namenode": {"type": "integer", "default": 8200}}}
    }});
    let data = "/var/lib/hadoop-0.20/dfs/data/";
    let mut data_folder = resource("File", data, json!({"ensure": "directory"}))
        .refs("require", &[("package", "hadoop-0.20-datanode")]);
    data_folder
        .parameters
        .push(("tag".into(), bunraku_catalog::ParamValue::Plain(json!(["Storage::Disk", "data"]))));
    let worker = fragment([
        resource(
            "file",
            "hadoop-core-site",
            json!({"path": "/etc/hadoop-0.20/conf.puppet/core-site.xml", "content": "<configuration/>\n"}),
        )
        .refs("notify", &[("Service", "hadoop-0.20-datanode"), ("Service", "hadoop-0.20-tasktracker")]),
        resource("package", "hadoop-0.20-datanode", json!({"ensure": "latest"})),
        data_folder,
        // The folder without its slash and the class in lower case: written out as they are declared.
        resource("service", "hadoop-0.20-datanode", json!({"ensure": "running"}))
            .refs("require", &[("File", data.trim_end_matches('/')), ("Class", "hadoop::user")]),
        resource("service", "hadoop-0.20-tasktracker", json!({"ensure": "running"}))
            .refs("subscribe", &[("File", "/etc/hadoop-0.20/conf.puppet/core-site.xml")]),
        resource("file", "/etc/hadoop.token", json!({"mode": "0600", "owner": null}))
            .sensitive("content", json!("t0ken")),
    ]);
    let apt = fragment([
        resource(
            "file",
            "/etc/apt/cloudera.key",
            json!({"content": "key\n", "notify": "Exec[import apt key cloudera]"}),
        ),
        resource(
            "exec",
            "import apt key cloudera",
            json!({"command": "/usr/bin/apt-key add /etc/apt/cloudera.key", "refreshonly": true}),
        ),
    ]);
    let update = json!({"command": "/usr/bin/apt-get update", "refreshonly": true, "tries": 3});
    let base = fragment([
        resource("package", "hadoop-0.20", json!({"ensure": "latest"})),
        resource("notify", "two\nlines", json!({"loglevel": "debug", "noop": false})),
    ]);
    let user =
        fragment([resource("user", "hdfs", json!({"ensure": "present", "groups": ["hadoop", "disk"]}))]);
    Plugins::default()
        .class_with(
            "hadoop",
            "hadoop::worker",
            schema,
            worker
                .stage("apt", "hadoop-base")
                .stage("hadoop-base", "main")
                .include_in("apt", "hadoop::apt")
                .include_in("hadoop-base", "hadoop::base")
                .include("hadoop::user"),
        )
        .class("hadoop", "hadoop::apt", apt.include("apt::update"))
        .class("base", "apt::update", fragment([resource("exec", "apt-get_update", update)]))
        .class("hadoop", "hadoop::base", base)
        .class("hadoop", "hadoop::user", user)
}

/// Makes of a catalog what both compilers must agree in: the order of parameters is none, and a class that
/// is included is of another kind than one that is declared, which agents do not tell apart.
fn comparable(catalog: &[u8]) -> Value {
    let mut catalog: Value = serde_json::from_slice(catalog).unwrap();
    for resource in catalog["resources"].as_array_mut().unwrap() {
        if resource["type"] == "Class" {
            resource.as_object_mut().unwrap().remove("kind");
        }
    }
    catalog
}

#[test]
fn a_worker_gets_the_catalog_that_puppet_compiles() {
    let ours = worker().compile(json!(["hadoop::worker"])).unwrap().catalog.to_json();
    let (ours, puppets) = (comparable(&ours), comparable(include_bytes!("../puppet/catalog.json")));
    for (ours, puppets) in
        ours["resources"].as_array().unwrap().iter().zip(puppets["resources"].as_array().unwrap())
    {
        assert_eq!(ours, puppets);
    }
    assert_eq!(ours, puppets);
}
