//! What the roles put into a catalog: the golden fragments, and the facts that the original cluster's
//! logs show.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails where it finds something else"
)]

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use common::{Compiled, as_json, compile, masters, node};
use sdk::{ExportedResource, Map, Value, json};

const ROLES: [&str; 3] = ["hadoop::namenode", "hadoop::jobtracker", "hadoop::worker"];

/// A role of a cluster whose masters are known. The masters' own names are those of [`masters`].
fn role(class: &str, mut parameters: Value) -> Compiled {
    let certname = match class {
        "hadoop::namenode" => "nn",
        "hadoop::jobtracker" => "jt",
        _ => "worker",
    };
    if certname != "worker" {
        let master = class.trim_start_matches("hadoop::");
        parameters["host"] = json!(format!("{master}.cluster.test"));
    }
    compile(&node(certname, class, parameters, &known())).unwrap()
}

fn known() -> [ExportedResource; 2] {
    masters()
}

#[test]
fn every_role_is_as_blessed() {
    for distribution in ["cdh3", "apache3"] {
        for class in ROLES {
            let compiled = role(class, json!({"distribution": distribution}));
            golden(&format!("{distribution}-{}", class.trim_start_matches("hadoop::")), &compiled);
        }
        let alone = compile(&node("worker", "hadoop::worker", json!({"distribution": distribution}), &[]));
        golden(&format!("{distribution}-worker-alone"), &alone.unwrap());
    }
}

/// Compares with `tests/golden/<name>.json`; `BLESS=1 cargo test -p hadoop` writes it instead.
fn golden(name: &str, compiled: &Compiled) {
    let fragments: Map = compiled.fragments.iter().map(|(class, _, f)| (class.clone(), as_json(f))).collect();
    let text = format!("{}\n", serde_json::to_string_pretty(&fragments).unwrap());
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.json"));
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, text).unwrap();
        return;
    }
    let blessed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == blessed,
        "{name} is not as blessed; if it is right: BLESS=1 cargo test -p hadoop\n{text}"
    );
}

#[test]
fn the_resources_are_those_of_the_original_logs() {
    let base = [
        "File[/etc/apt/cloudera.key]",
        "Exec[import apt key cloudera]",
        "File[/etc/apt/sources.list.d/canonical.list]",
        "File[/etc/apt/sources.list.d/cloudera.list]",
        "Exec[apt-get_update]",
        "File[/var/cache/debconf/sun-java6.seeds]",
        "Package[sun-java6-bin]",
        "Package[hadoop-0.20]",
        "File[/var/lib/hadoop-0.20/dfs]",
        "File[/etc/hadoop-0.20/conf.puppet]",
        "File[/etc/hadoop-0.20/conf.puppet/hdfs-site.xml]",
        "Exec[/usr/sbin/update-alternatives --install /etc/hadoop-0.20/conf hadoop-0.20-conf \
         /etc/hadoop-0.20/conf.puppet 15]",
        "File[/etc/default/hadoop-0.20]",
        "File[hadoop-core-site]",
    ];
    check(
        "hadoop::namenode",
        &base,
        &[
            "Package[hadoop-0.20-namenode]",
            "File[/var/lib/hadoop-0.20/dfs/name]",
            "Exec[format-dfs]",
            "Service[hadoop-0.20-namenode]",
        ],
    );
    check(
        "hadoop::jobtracker",
        &base,
        &["File[hadoop-mapred-site]", "Package[hadoop-0.20-jobtracker]", "Service[hadoop-0.20-jobtracker]"],
    );
    check(
        "hadoop::worker",
        &base,
        &[
            "File[hadoop-mapred-site]",
            "Package[hadoop-0.20-datanode]",
            "File[/var/lib/hadoop-0.20/dfs/data]",
            "Package[hadoop-0.20-tasktracker]",
            "Service[hadoop-0.20-datanode]",
            "Service[hadoop-0.20-tasktracker]",
        ],
    );

    fn check(class: &str, base: &[&str], own: &[&str]) {
        let compiled = role(class, json!({}));
        let mut expected: Vec<&str> = base.iter().chain(own).copied().collect();
        let mut found: Vec<String> = resources(&compiled);
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "{class}");
    }
}

/// References of everything an agent applies.
fn resources(compiled: &Compiled) -> Vec<String> {
    let all = compiled.catalog["resources"].as_array().unwrap().iter();
    all.filter(|r| r["type"] != "Class" && r["type"] != "Stage")
        .map(|r| format!("{}[{}]", r["type"].as_str().unwrap(), r["title"].as_str().unwrap()))
        .collect()
}

#[test]
fn core_site_and_mapred_site_are_the_same_bytes_on_every_role() {
    for distribution in ["cdh3", "apache3"] {
        let parameters = json!({
            "distribution": distribution,
            "namenode_port": 8200,
            "jobtracker_port": 8021,
            "core_site": {"io.file.buffer.size": 65536},
            "mapred_site": {"a": "b"},
        });
        let [namenode, jobtracker, worker] = ROLES.map(|class| role(class, parameters.clone()));
        let core_site = worker.content("hadoop-core-site");
        assert!(core_site.contains("hdfs://namenode.cluster.test:8200/") && core_site.contains("65536"));
        assert_eq!(namenode.content("hadoop-core-site"), core_site);
        assert_eq!(jobtracker.content("hadoop-core-site"), core_site);
        for file in ["hadoop-mapred-site", "hadoop-yarn-site"] {
            if distribution == "apache3" || file == "hadoop-mapred-site" {
                assert!(worker.content(file).contains("jobtracker.cluster.test"));
                assert_eq!(jobtracker.content(file), worker.content(file));
            }
        }
    }
}

#[test]
fn stages_come_one_after_the_other_and_hold_their_classes() {
    for class in ROLES {
        let compiled = role(class, json!({}));
        assert_eq!(compiled.get("Stage", "apt")["before"], "Stage[hadoop-base]");
        assert_eq!(compiled.get("Stage", "hadoop-base")["before"], "Stage[main]");
        let edges = compiled.catalog["edges"].as_array().unwrap();
        for (stage, class) in [
            ("apt", "Hadoop::Apt"),
            ("apt", "Apt::Apt"),
            ("hadoop-base", "Hadoop::Base"),
            ("main", "Hadoop::Core_site"),
        ] {
            let edge = json!({"source": format!("Stage[{stage}]"), "target": format!("Class[{class}]")});
            assert!(edges.contains(&edge), "{edge}");
        }
    }
}

#[test]
fn three_notifiers_share_one_update_of_the_package_lists() {
    let compiled = role("hadoop::worker", json!({}));
    let all = compiled.catalog["resources"].as_array().unwrap();
    let notifiers: Vec<&str> = all
        .iter()
        .filter(|r| r["parameters"]["notify"].to_string().contains("Exec[apt-get_update]"))
        .map(|r| r["title"].as_str().unwrap())
        .collect();
    assert_eq!(
        notifiers,
        [
            "import apt key cloudera",
            "/etc/apt/sources.list.d/canonical.list",
            "/etc/apt/sources.list.d/cloudera.list"
        ]
    );
    assert_eq!(compiled.get("Exec", "apt-get_update")["refreshonly"], true);
}

#[test]
fn every_stage_that_a_class_names_is_declared_by_it() {
    for class in ROLES {
        for (class, _, fragment) in role(class, json!({})).fragments {
            for include in &fragment.includes {
                let Some(stage) = &include.in_stage else { continue };
                assert!(fragment.stages.iter().any(|s| s.name == *stage), "{class} puts {include:?}");
            }
        }
    }
}

#[test]
fn nothing_hangs_on_a_service_so_that_a_failed_restart_stops_nothing() {
    for class in ROLES {
        for distribution in ["cdh3", "apache3"] {
            let compiled = role(class, json!({"distribution": distribution}));
            for resource in compiled.catalog["resources"].as_array().unwrap() {
                for relation in ["require", "subscribe"] {
                    let hangs = resource["parameters"][relation].to_string();
                    assert!(!hangs.contains("Service["), "{resource}");
                }
                if resource["type"] == "Service" {
                    let parameters = resource["parameters"].as_object().unwrap();
                    assert!(!parameters.contains_key("provider"), "the agent knows its first process");
                    assert!(!parameters.contains_key("before") && !parameters.contains_key("notify"));
                    assert_eq!(parameters.contains_key("restart"), distribution == "cdh3");
                }
            }
        }
    }
}

#[test]
fn a_restart_waits_for_the_old_process() {
    let compiled = role("hadoop::worker", json!({}));
    let restart = compiled.get("Service", "hadoop-0.20-datanode")["restart"].as_str().unwrap();
    assert!(restart.contains("hadoop-hadoop-datanode.pid"));
    // The command itself, with a `service` of ours whose `stop` only asks a slow process to go.
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("pid");
    let script = format!(
        "sh -c 'trap \"sleep 1; exit 0\" TERM; while :; do sleep 0.1; done' & old=$!; echo $old > {pid}\n\
         service() {{ case $2 in\n\
           stop) kill $old ;;\n\
           start) if kill -0 $old 2>/dev/null; then echo early; return 1; fi; echo started ;;\n\
         esac; }}\n\
         {}",
        restart.replace("/var/run/hadoop-0.20/hadoop-hadoop-datanode.pid", &pid_file.to_string_lossy()),
        pid = pid_file.to_string_lossy(),
    );
    let output = Command::new("bash").arg("-c").arg(script).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "started\n");
    assert!(output.status.success());
}

#[test]
fn formatting_follows_a_new_folder_and_never_a_file_system() {
    for (distribution, folder) in
        [("cdh3", "/var/lib/hadoop-0.20/dfs/name"), ("apache3", "/var/lib/hadoop-hdfs/dfs/name")]
    {
        let compiled = role("hadoop::namenode", json!({"distribution": distribution}));
        let format = compiled.get("Exec", "format-dfs");
        assert_eq!(format["refreshonly"], true);
        assert_eq!(format["unless"], json!([format!("test -e {folder}/current/VERSION")]));
        assert!(!format["command"].as_str().unwrap().contains("-force"));
        assert_eq!(
            format["command"].as_str().unwrap().contains("-nonInteractive"),
            distribution == "apache3"
        );
        assert!(format.get("returns").is_none() && format.get("onlyif").is_none());
        assert_eq!(compiled.get("File", folder)["notify"], "Exec[format-dfs]");
    }

    let several = json!({
        "name_dirs": ["/data/1/name", "/data/2/name"],
        "name_dir_mounts": ["/data/1", "/data/2"],
    });
    let compiled = role("hadoop::namenode", several);
    let format = compiled.get("Exec", "format-dfs");
    assert_eq!(format["onlyif"], json!(["mountpoint -q /data/1", "mountpoint -q /data/2"]));
    assert_eq!(
        format["unless"],
        json!(["test -e /data/1/name/current/VERSION", "test -e /data/2/name/current/VERSION"])
    );
    assert!(
        compiled
            .content("/etc/hadoop-0.20/conf.puppet/hdfs-site.xml")
            .contains("<value>/data/1/name,/data/2/name</value>")
    );
}

#[test]
fn a_known_file_system_is_never_formatted() {
    let compiled = role("hadoop::namenode", json!({"cluster_id": "CID-1"}));
    assert_eq!(compiled.find("Exec", "format-dfs"), None);
    assert!(compiled.find("Service", "hadoop-0.20-namenode").is_some());
}

#[test]
fn what_cannot_be_right_is_refused_with_its_remedy() {
    let check = |class: &str, parameters: Value, expected: &str| {
        let Err(error) = compile(&node("worker", class, parameters, &known())) else {
            panic!("there is a catalog; expected {expected}")
        };
        assert!(error.contains(expected), "{error:?} has no {expected:?}");
    };
    let worker = "hadoop::worker";
    check(worker, json!({"distribution": "cdh4"}), "distribution");
    check(worker, json!({"namenode": "nn"}), "namenode");
    check(worker, json!({"data_dirs": ["/data/$(reboot)"]}), "data_dirs");
    check(worker, json!({"data_dirs": ["/data/../etc"]}), "data_dirs");
    check(worker, json!({"cluster": "Big One"}), "cluster");
    check(
        worker,
        json!({"hdfs_site": {"dfs.name.dir": "/x"}}),
        "hdfs_site of hadoop::base sets dfs.name.dir",
    );
    check(worker, json!({"hdfs_site": {"dfs.name.dir": "/x"}}), "follows from parameter name_dirs");
    check(worker, json!({"core_site": {"fs.defaultFS": "x"}}), "an address that the namenode exports");
    check(worker, json!({"core_site": {"a": "\u{1b}"}}), "control character in \"a\"");
    check(worker, json!({"core_site": {"a": ""}}), "core_site");
    check(
        worker,
        json!({"name_dirs": ["/d/x"], "data_dirs": ["/d/x"]}),
        "/d/x, which is among name_dirs too",
    );
    check(worker, json!({"repositories": {"a": {}}}), "repositories");
    let mounts = json!({"host": "namenode.cluster.test", "name_dir_mounts": ["/data/9"]});
    check("hadoop::namenode", mounts, "/data/9, below which is none of name_dirs");
}

#[test]
fn a_parameter_of_the_node_stands_behind_that_of_the_class() {
    let with = |class: Value, of_node: Value| {
        let mut node = node("worker", "hadoop::worker", class, &known());
        node.parameters = of_node;
        compile(&node)
    };
    let of_node = json!({
        "hadoop_distribution": "apache3",
        "hadoop_repositories": {"local": {"lines": ["deb [trusted=yes] file:/srv ./"]}},
    });
    let compiled = with(json!({}), of_node.clone()).unwrap();
    assert_eq!(compiled.titles("Service"), ["hadoop-hdfs-datanode", "hadoop-yarn-nodemanager"]);
    assert_eq!(compiled.content("/etc/apt/sources.list.d/local.list"), "deb [trusted=yes] file:/srv ./\n");
    let compiled = with(json!({"distribution": "cdh3", "repositories": {}}), of_node).unwrap();
    assert_eq!(compiled.titles("Service"), ["hadoop-0.20-datanode", "hadoop-0.20-tasktracker"]);
    assert_eq!(compiled.find("File", "/etc/apt/sources.list.d/local.list"), None);

    for (name, bad) in [
        ("hadoop_distribution", json!("cdh4")),
        ("hadoop_distribution", json!(3)),
        ("hadoop_cluster", json!("Big One")),
        ("hadoop_repositories", json!({"a": {"lines": ["x\ny"]}})),
    ] {
        let Err(error) = with(json!({}), json!({name: bad})) else { panic!("{name} is taken") };
        assert!(error.contains(name.trim_start_matches("hadoop_")), "{error}");
    }
}

#[test]
fn folders_that_are_asked_for_are_made_and_named_in_the_configuration() {
    let parameters =
        json!({"data_dirs": ["/d/1/hdfs", "/d/2/hdfs"], "local_dirs": ["/d/1/jobs", "/d/2/jobs"]});
    for (distribution, user, jobs) in [("cdh3", "hadoop", "hadoop"), ("apache3", "hdfs", "yarn")] {
        let mut parameters = parameters.clone();
        parameters["distribution"] = json!(distribution);
        let compiled = role("hadoop::worker", parameters);
        assert_eq!(compiled.get("File", "/d/2/hdfs")["owner"], user);
        assert_eq!(compiled.get("File", "/d/2/jobs")["owner"], jobs);
        let site = if distribution == "cdh3" { "hadoop-mapred-site" } else { "hadoop-yarn-site" };
        assert!(compiled.content(site).contains("<value>/d/1/jobs,/d/2/jobs</value>"));
    }
}

#[test]
fn the_readme_tells_every_class_and_parameter() {
    let readme = include_str!("../README.md");
    use sdk::ResourceProvider;
    for class in hadoop::Hadoop::classes() {
        assert!(readme.contains(&format!("`{}`", class.name)), "{}", class.name);
        for (name, schema) in class.parameters_schema["properties"].as_object().unwrap() {
            assert!(readme.contains(&format!("`{name}`")), "{} {name}", class.name);
            assert!(schema["description"].is_string(), "{} {name}", class.name);
        }
    }
}
