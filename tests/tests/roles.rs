//! A Hadoop cluster: each role on a machine of its own, applied for real by an unmodified agent.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use bunraku_tests::agent::{Agent, Run, Settings};
use bunraku_tests::hadoop;
use bunraku_tests::machine::{Machine, Process};
use bunraku_tests::master::Master;
use bunraku_tests::packages::Repository;
use serde_json::json;

const NAMENODE: &str = "nn.cluster.test";
const JOBTRACKER: &str = "jt.cluster.test";
const WORKER: &str = "worker1.cluster.test";

/// A distribution as the test sees it from outside.
struct Distribution {
    name: &'static str,
    conf: &'static str,
    core_site_address: &'static str,
    mapred_site: &'static str,
    mapred_site_address: &'static str,
    version_file: &'static str,
    /// User and service of each role's daemons.
    namenode: &'static [(&'static str, &'static str)],
    jobtracker: &'static [(&'static str, &'static str)],
    worker: &'static [(&'static str, &'static str)],
    /// One resource of each stage, in order.
    stages: [&'static str; 3],
}

const CDH3: Distribution = Distribution {
    name: "cdh3",
    conf: "/etc/hadoop-0.20/conf.puppet",
    core_site_address: "hdfs://nn.cluster.test:8200/",
    mapred_site: "mapred-site.xml",
    mapred_site_address: "jt.cluster.test:8021",
    version_file: "/var/lib/hadoop-0.20/dfs/name/current/VERSION",
    namenode: &[("hadoop", "hadoop-0.20-namenode")],
    jobtracker: &[("hadoop", "hadoop-0.20-jobtracker")],
    worker: &[("hadoop", "hadoop-0.20-datanode"), ("hadoop", "hadoop-0.20-tasktracker")],
    stages: [
        "File[/etc/apt/sources.list.d/stub.list]",
        "File[/etc/default/hadoop-0.20]",
        "Package[hadoop-0.20-datanode]",
    ],
};

const APACHE3: Distribution = Distribution {
    name: "apache3",
    conf: "/etc/hadoop/conf.puppet",
    core_site_address: "hdfs://nn.cluster.test:8020/",
    mapred_site: "yarn-site.xml",
    mapred_site_address: "jt.cluster.test:8032",
    version_file: "/var/lib/hadoop-hdfs/dfs/name/current/VERSION",
    namenode: &[("hdfs", "hadoop-hdfs-namenode")],
    jobtracker: &[("yarn", "hadoop-yarn-resourcemanager"), ("mapred", "hadoop-mapreduce-historyserver")],
    worker: &[("hdfs", "hadoop-hdfs-datanode"), ("yarn", "hadoop-yarn-nodemanager")],
    stages: [
        "File[/etc/apt/sources.list.d/stub.list]",
        "File[/etc/hadoop/conf.puppet/hadoop-env.sh]",
        "Package[hadoop-hdfs-datanode]",
    ],
};

#[test]
fn a_cdh3_cluster_comes_up_in_any_order_and_then_stays_as_it_is() -> Result<()> {
    comes_up(&CDH3)
}

#[test]
fn an_apache3_cluster_comes_up_in_any_order_and_then_stays_as_it_is() -> Result<()> {
    comes_up(&APACHE3)
}

/// The worker first: it waits for addresses, and its next run completes it.
fn comes_up(distribution: &Distribution) -> Result<()> {
    let cluster = Cluster::new(distribution)?;
    let [namenode, jobtracker, worker] =
        [cluster.machine(NAMENODE)?, cluster.machine(JOBTRACKER)?, cluster.machine(WORKER)?];

    let early = cluster.run(&worker)?.expect_code(2)?;
    assert!(early.output.contains("no namenode has registered"), "{}", early.output);
    assert!(early.output.contains("no jobtracker has registered"), "{}", early.output);
    assert!(!worker.exists(&cluster.conf("core-site.xml")), "core-site.xml without an address");
    assert_eq!(worker.processes()?, [], "a daemon runs without an address");
    let empty =
        worker.shell_with("grep -rl '<value></value>\\|hdfs://:' \"$1\" || true", &[distribution.conf])?;
    assert_eq!(empty, "", "an empty address in a configuration file");
    cluster.stages_are_in_order(&early)?;

    cluster.run(&namenode)?.expect_code(2)?;
    runs(&namenode, distribution.namenode)?;
    let version = namenode.read(distribution.version_file)?;

    cluster.run(&jobtracker)?.expect_code(2)?;
    runs(&jobtracker, distribution.jobtracker)?;

    let late = cluster.run(&worker)?.expect_code(2)?;
    assert!(!late.output.contains("has registered"), "{}", late.output);
    runs(&worker, distribution.worker)?;
    let core_site = worker.read(&cluster.conf("core-site.xml"))?;
    assert!(core_site.contains(distribution.core_site_address), "{core_site}");
    let mapred_site = worker.read(&cluster.conf(distribution.mapred_site))?;
    assert!(mapred_site.contains(distribution.mapred_site_address), "{mapred_site}");

    for machine in [&namenode, &jobtracker, &worker] {
        let before = machine.processes()?;
        let again = cluster.run(machine)?.expect_code(0)?;
        assert_eq!(again.changed(), Vec::<String>::new(), "on {}", machine.name());
        assert_eq!(machine.processes()?, before, "a daemon of {} was restarted", machine.name());
        let text = machine.read(&cluster.conf("core-site.xml"))?;
        assert_eq!(text, core_site, "core-site.xml of {} is not the worker's", machine.name());
    }
    assert_eq!(jobtracker.read(&cluster.conf(distribution.mapred_site))?, mapred_site);
    assert_eq!(namenode.read(distribution.version_file)?, version, "the file system was formatted again");

    cluster.register(WORKER, &json!({"hadoop::worker": {"replication": 2}}))?;
    let before = worker.processes()?;
    let changed = cluster.run(&worker)?.expect_code(2)?;
    assert_eq!(changed.failed(), Vec::<String>::new(), "{}", changed.output);
    runs(&worker, distribution.worker)?;
    let kept = |p: &Process| p.command.contains("datanode") && before.contains(p);
    assert!(!worker.processes()?.iter().any(kept), "the datanode was not restarted:\n{}", changed.output);
    Ok(())
}

// faults row 67
#[test]
fn two_namenodes_in_a_cluster_are_an_error_that_names_both() -> Result<()> {
    let cluster = Cluster::new(&APACHE3)?;
    let second = "nn2.cluster.test";
    cluster.run(&cluster.machine(NAMENODE)?)?.expect_code(2)?;
    cluster.register(second, &json!({"hadoop::namenode": {}}))?;
    let refused = cluster.run(&cluster.machine(second)?)?.expect_code(1)?;
    assert!(refused.output.contains(NAMENODE) && refused.output.contains(second), "{}", refused.output);
    Ok(())
}

struct Cluster<'a> {
    distribution: &'a Distribution,
    repository: Repository,
    master: Master,
}

impl<'a> Cluster<'a> {
    /// A master that expects one node of each role.
    fn new(distribution: &'a Distribution) -> Result<Cluster<'a>> {
        let repository = Repository::build(&hadoop::packages())?;
        let cluster = Cluster { distribution, repository, master: Master::start()? };
        cluster.register(NAMENODE, &json!({"hadoop::namenode": {}}))?;
        cluster.register(JOBTRACKER, &json!({"hadoop::jobtracker": {}}))?;
        cluster.register(WORKER, &json!({"hadoop::worker": {}}))?;
        Ok(cluster)
    }

    /// JSON is YAML.
    fn register(&self, name: &str, classes: &serde_json::Value) -> Result<()> {
        let line = format!("deb file:{} {} {}", Repository::INSIDE, Repository::SUITE, Repository::COMPONENT);
        let definition = json!({
            "classes": classes,
            "parameters": {
                "hadoop_distribution": self.distribution.name,
                "hadoop_repositories": {"stub": {"lines": [line], "key": self.repository.key()}},
            },
        });
        self.master.register(name, &definition.to_string())
    }

    fn machine(&self, name: &str) -> Result<Machine> {
        Machine::start_with(name, &[self.repository.folder()])
    }

    fn run(&self, machine: &Machine) -> Result<Run> {
        let settings = Settings {
            certname: machine.name(),
            server: Master::NAME,
            address: self.master.address(),
            waitforcert: 5,
        };
        let run = Agent::installed().run(machine, &settings)?;
        eprintln!(
            "{} {} ended with {} in {:.1?}",
            self.distribution.name,
            machine.name(),
            run.code,
            run.took
        );
        Ok(run)
    }

    fn conf(&self, file: &str) -> String {
        Path::new(self.distribution.conf).join(file).display().to_string()
    }

    /// All of one stage before the next.
    fn stages_are_in_order(&self, run: &Run) -> Result<()> {
        let time = |resource: &&str| {
            run.evaluated_at(resource).with_context(|| format!("{resource} is not in the report"))
        };
        let times = self.distribution.stages.iter().map(time).collect::<Result<Vec<_>>>()?;
        ensure!(times.is_sorted(), "stages out of order: {:?} at {times:?}", self.distribution.stages);
        Ok(())
    }
}

/// Each service runs, as its user, and nothing else does.
fn runs(machine: &Machine, services: &[(&str, &str)]) -> Result<()> {
    let processes = machine.processes()?;
    for (user, service) in services {
        let one = |p: &&Process| p.user == *user && p.command.ends_with(&format!("/bin/{service}"));
        ensure!(
            processes.iter().filter(one).count() == 1,
            "{service} does not run once as {user} on {}: {processes:?}",
            machine.name()
        );
    }
    ensure!(processes.len() == services.len(), "more runs on {}: {processes:?}", machine.name());
    Ok(())
}
