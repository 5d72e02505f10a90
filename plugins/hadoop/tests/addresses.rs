//! The rules of exported addresses, as the README has them; faults row 67 among them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails where it finds something else"
)]

mod common;

use common::{Compiled, Node, compile, host, jobtracker_at, masters, namenode_at, node};
use sdk::{Value, json};

#[test]
fn no_namenode_the_worker_waits_and_the_next_run_completes_it() {
    // faults row 67
    let first = compile(&node("w1", "hadoop::worker", json!({}), &[])).unwrap();
    assert_eq!(first.titles("Service"), Vec::<&str>::new());
    assert_eq!(
        first.titles("Package"),
        ["sun-java6-bin", "hadoop-0.20", "hadoop-0.20-datanode", "hadoop-0.20-tasktracker"]
    );
    assert_eq!(
        (first.find("File", "hadoop-core-site"), first.find("File", "hadoop-mapred-site")),
        (None, None)
    );
    assert_eq!(
        first.warnings(),
        [
            "no namenode has registered for cluster default yet: left out for now: core-site.xml, \
             hadoop-0.20-datanode, hadoop-0.20-tasktracker",
            "no jobtracker has registered for cluster default yet: left out for now: mapred-site.xml, \
             hadoop-0.20-tasktracker",
        ]
    );

    let [namenode, jobtracker] = masters();
    let second = compile(&node("w1", "hadoop::worker", json!({}), &[namenode])).unwrap();
    assert_eq!(second.titles("Service"), ["hadoop-0.20-datanode"]);
    assert_eq!(second.warnings().len(), 1);
    let only_jobs = compile(&node("w1", "hadoop::worker", json!({}), &[jobtracker])).unwrap();
    assert_eq!(only_jobs.titles("Service"), Vec::<&str>::new());
    assert!(only_jobs.content("hadoop-mapred-site").contains("jobtracker.cluster.test:8021"));

    let last = compile(&node("w1", "hadoop::worker", json!({}), &masters())).unwrap();
    assert_eq!(last.titles("Service"), ["hadoop-0.20-datanode", "hadoop-0.20-tasktracker"]);
    assert_eq!(last.warnings(), Vec::<&str>::new());
}

#[test]
fn no_namenode_the_jobtracker_waits_but_is_known() {
    for (distribution, services) in [
        ("cdh3", vec!["hadoop-0.20-jobtracker"]),
        ("apache3", vec!["hadoop-yarn-resourcemanager", "hadoop-mapreduce-historyserver"]),
    ] {
        let parameters = json!({"distribution": distribution});
        let first = compile(&node("jt", "hadoop::jobtracker", parameters.clone(), &[])).unwrap();
        assert_eq!(first.titles("Service"), Vec::<&str>::new());
        assert_eq!(first.warnings().len(), 1);
        assert_eq!(first.exports.len(), 1);
        let then = [namenode_at("nn", "nn.test", 1)];
        let second = compile(&node("jt", "hadoop::jobtracker", parameters, &then)).unwrap();
        assert_eq!(second.titles("Service"), services);
        assert_eq!(second.warnings(), Vec::<&str>::new());
    }
}

#[test]
fn no_run_ever_writes_an_empty_value() {
    let [namenode, jobtracker] = masters();
    for known in [vec![], vec![namenode.clone()], vec![jobtracker.clone()], vec![namenode, jobtracker]] {
        for distribution in ["cdh3", "apache3"] {
            for class in ["hadoop::namenode", "hadoop::jobtracker", "hadoop::worker"] {
                let certname = if class == "hadoop::namenode" { "nn" } else { "jt" };
                let host = if certname == "nn" { "namenode.cluster.test" } else { "jobtracker.cluster.test" };
                let parameters = json!({"distribution": distribution, "host": host});
                let compiled = compile(&node(certname, class, parameters, &known)).unwrap();
                for resource in compiled.catalog["resources"].as_array().unwrap() {
                    let content = resource["parameters"]["content"].as_str().unwrap_or_default();
                    assert!(
                        !content.contains("<value></value>") && !content.contains("hdfs://:"),
                        "{content}"
                    );
                    assert!(!content.contains("<value>:"), "{content}");
                }
            }
        }
    }
}

/// Expects that there is no catalog, and that these are named.
fn refused(node: &Node, named: &[&str]) {
    let Err(error) = compile(node) else { panic!("there is a catalog") };
    for name in named {
        assert!(error.contains(name), "{error:?} does not name {name}");
    }
}

#[test]
fn two_namenodes_in_a_cluster_are_an_error_that_names_both() {
    // faults row 67
    let two = [namenode_at("nn1", "a.test", 8200), namenode_at("nn2", "b.test", 8200)];
    let names = ["nn1 (a.test:8200)", "nn2 (b.test:8200)", "cluster default", "retire"];
    refused(&node("w1", "hadoop::worker", json!({}), &two), &names);
    refused(&node("jt", "hadoop::jobtracker", json!({}), &two), &names);
    let ports = [namenode_at("nn1", "a.test", 8200), namenode_at("nn2", "a.test", 8020)];
    refused(&node("w1", "hadoop::worker", json!({}), &ports), &["nn1", "nn2", "8020"]);
    let trackers = [jobtracker_at("jt1", "a.test", 1), jobtracker_at("jt2", "b.test", 1)];
    refused(&node("w1", "hadoop::worker", json!({}), &trackers), &["more than one jobtracker", "jt1", "jt2"]);

    let same = [namenode_at("nn1", "nn.test", 8200), namenode_at("nn2", "nn.test", 8200)];
    assert!(
        compile(&node("w1", "hadoop::worker", json!({}), &same)).is_ok(),
        "one address, no contradiction"
    );
}

#[test]
fn a_second_master_gets_no_catalog_and_so_never_exports() {
    let first = [namenode_at("nn1", "a.test", 8200)];
    let second = |certname| node(certname, "hadoop::namenode", json!({"host": "b.test"}), &first);
    refused(&second("nn2"), &["nn1 (a.test:8200)", "nn2 (b.test:8200)"]);
    // The same node under another address moves.
    let moved = compile(&second("nn1")).unwrap();
    assert_eq!(moved.exports[0].parameters["host"], "b.test");
    let first = [jobtracker_at("jt1", "a.test", 8021)];
    refused(&node("jt2", "hadoop::jobtracker", json!({}), &first), &["jt1", "jt2"]);
}

#[test]
fn another_cluster_is_another_world() {
    let mut elsewhere = namenode_at("nn2", "b.test", 8200);
    elsewhere.tags = vec!["hadoop_cluster:blue".into()];
    let both = [namenode_at("nn1", "a.test", 8200), elsewhere];
    let blue = compile(&node("w1", "hadoop::worker", json!({"cluster": "blue"}), &both)).unwrap();
    assert!(blue.content("hadoop-core-site").contains("hdfs://b.test:8200/"));
    let default = compile(&node("w1", "hadoop::worker", json!({}), &both)).unwrap();
    assert!(default.content("hadoop-core-site").contains("hdfs://a.test:8200/"));
}

#[test]
fn an_export_that_cannot_be_read_is_an_error_that_names_its_node() {
    let mut broken = namenode_at("nn9", "a.test", 8200);
    for (name, bad) in [
        ("host", json!("")),
        ("host", json!(7)),
        ("host", json!("a b")),
        ("port", json!(0)),
        ("port", json!("8200")),
        ("port", json!(65536)),
    ] {
        let good = broken.parameters.insert(name.into(), bad).unwrap();
        refused(&node("w1", "hadoop::worker", json!({}), &[broken.clone()]), &["nn9", "host and port"]);
        broken.parameters.insert(name.into(), good);
    }
}

/// The namenode and worker of one node, after what was exported before.
fn both_roles(parameters: &Value, worker: &Value, before: Option<&Compiled>) -> Result<Compiled, String> {
    let exports = before.map(|before| before.exports.clone()).unwrap_or_default();
    compile(&Node {
        certname: "one",
        classes: json!({
            "hadoop::namenode": parameters,
            "hadoop::jobtracker": parameters,
            "hadoop::worker": worker,
        }),
        parameters: json!({}),
        host: host(&exports).fact("networking.fqdn", "one.test"),
    })
}

#[test]
fn a_node_of_its_own_completes_on_its_second_run() {
    let parameters = json!({"namenode_port": 9000});
    let first = both_roles(&parameters, &parameters, None).unwrap();
    assert_eq!(first.titles("Service"), ["hadoop-0.20-namenode"]);
    let second = both_roles(&parameters, &parameters, Some(&first)).unwrap();
    assert_eq!(second.titles("Service").len(), 4);
    assert!(second.content("hadoop-core-site").contains("hdfs://one.test:9000/"));
    assert_eq!(second.warnings(), Vec::<&str>::new());

    // A port that changes takes effect at once: what was exported before does not stand in the way.
    let parameters = json!({"namenode_port": 9001});
    let third = both_roles(&parameters, &parameters, Some(&second)).unwrap();
    assert!(third.content("hadoop-core-site").contains("hdfs://one.test:9001/"));

    // Roles of one node that disagree are told so.
    let Err(error) = both_roles(&parameters, &json!({}), Some(&third)) else { panic!("there is a catalog") };
    assert!(error.contains("hadoop::core_site") && error.contains("namenode"), "{error}");
}

#[test]
fn a_role_that_leaves_its_node_leaves_no_reference_behind() {
    let before = both_roles(&json!({}), &json!({}), None).unwrap();
    let mut node = node("one", "hadoop::worker", json!({}), &before.exports);
    node.host = node.host.fact("networking.fqdn", "one.test");
    assert!(compile(&node).is_ok());
}

#[test]
fn the_address_is_the_parameter_or_the_fact_or_the_certname() {
    let exported = |fact: Value, parameters: Value| {
        let mut node = node("4f1c.test", "hadoop::namenode", parameters, &[]);
        node.host = node.host.fact("networking.fqdn", fact);
        let compiled = compile(&node).unwrap();
        let export = &compiled.exports[0].parameters;
        format!("{}:{}", export["host"].as_str().unwrap(), export["port"])
    };
    assert_eq!(exported(json!("ip-10-0-0-1.internal"), json!({"host": "nn.test"})), "nn.test:8200");
    assert_eq!(exported(json!("ip-10-0-0-1.internal"), json!({})), "ip-10-0-0-1.internal:8200");
    assert_eq!(exported(json!("nn.test"), json!({"distribution": "apache3"})), "nn.test:8020");
    for unusable in [json!(null), json!(""), json!("a</value>"), json!(1)] {
        assert_eq!(exported(unusable, json!({"namenode_port": 9000})), "4f1c.test:9000");
    }
}
