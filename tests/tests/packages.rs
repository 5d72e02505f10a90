//! The stand-in packages behave as the real ones where the roles depend on it; shown with `puppet apply`.

use std::path::Path;

use anyhow::{Context, Result};
use bunraku_tests::agent::Agent;
use bunraku_tests::hadoop;
use bunraku_tests::machine::{Machine, Process};
use bunraku_tests::packages::Repository;
use serde_json::json;

/// The manifest that a person would write for a CDH3 namenode, with everything a role uses.
const NAMENODE: &str = include_str!("../fixtures/namenode.pp");

#[test]
fn a_namenode_by_hand_is_applied_once_and_then_changes_nothing() -> Result<()> {
    let repository = Repository::build(&hadoop::packages())?;
    let machine = Machine::start_with("nn.cluster.test", &[repository.folder()])?;
    machine.write("/etc/apt/stub.asc", repository.key())?;
    machine.write("/root/site.pp", NAMENODE)?;
    let agent = Agent::installed();
    let first = agent.apply(&machine, &["/root/site.pp"])?.expect_code(2)?;
    for resource in ["Exec[import apt key]", "Package[hadoop-0.20-namenode]", "Exec[format-dfs]"] {
        assert!(first.changed().iter().any(|r| r == resource), "{resource} did not change: {}", first.output);
    }
    let running = machine.processes()?;
    let service = |p: &Process| p.user == "hadoop" && p.command.ends_with("/bin/hadoop-0.20-namenode");
    assert!(running.iter().any(service), "{running:?}");
    let second = agent.apply(&machine, &["/root/site.pp"])?.expect_code(0)?;
    assert!(second.changed().is_empty(), "{}", second.output);
    eprintln!("first run {:?}, second {:?}", first.took, second.took);

    Ok(())
}

/// The module that the recorded catalog was compiled from, with this repository in place of its own.
#[test]
fn the_reference_worker_is_applied_once_and_then_changes_nothing() -> Result<()> {
    let repository = Repository::build(&hadoop::packages())?;
    let code = Path::new(env!("CARGO_MANIFEST_DIR")).join("reference/code/modules");
    let folders = [repository.folder(), (code.as_path(), "/srv/modules")];
    let machine = Machine::start_with("worker.cluster.test", &folders)?;
    let stub = json!({"lines": ["deb file:/srv/packages stub main"], "key": repository.key()});
    let (namenode, jobtracker) =
        (json!({"host": "nn.cluster.test", "port": 8200}), json!({"host": "jt.cluster.test", "port": 8021}));
    let worker = json!({"namenode": namenode, "jobtracker": jobtracker, "repositories": {"stub": stub}});
    let site = "stage { 'apt': before => Stage['hadoop-base'] }
        stage { 'hadoop-base': before => Stage['main'] }
        class { 'hadoop::worker': * => PARAMETERS }";
    // What JSON writes, Puppet reads, but for what stands between a name and its value.
    machine
        .write("/root/site.pp", &site.replace("PARAMETERS", &worker.to_string().replace("\":", "\"=>")))?;
    let agent = Agent::installed();
    let apply = || agent.apply(&machine, &["--modulepath", "/srv/modules", "/root/site.pp"]);
    apply()?.expect_code(2)?;
    let running = machine.processes()?;
    assert_eq!(running.len(), 2, "{running:?}");
    apply()?.expect_code(0)?;
    assert_eq!(machine.processes()?, running);
    Ok(())
}

/// Which is why a role must look before it formats.
#[test]
fn hadoop_0_20_wipes_a_file_system_that_it_is_told_to_format() -> Result<()> {
    let (machine, _repository) = installed("formatted.cluster.test", "hadoop-0.20-namenode")?;
    machine.write("/tmp/conf/hdfs-site.xml", &site("dfs.name.dir", "/var/lib/hadoop-0.20/name"))?;
    let format = |answer: &str| {
        machine.shell(&format!(
            "export HADOOP_CONF_DIR=/tmp/conf; {answer} runuser -u hadoop -- hadoop-0.20 namenode -format"
        ))
    };
    let version = || machine.read("/var/lib/hadoop-0.20/name/current/VERSION");
    format("")?;
    let before = version()?;
    assert!(format("").is_err(), "formatted without an answer");
    assert_eq!(version()?, before);
    format("yes Y |")?;
    assert_ne!(version()?, before);
    Ok(())
}

#[test]
fn hadoop_3_formats_once() -> Result<()> {
    let (machine, _repository) = installed("formatted3.cluster.test", "hadoop-hdfs")?;
    machine.write("/tmp/conf/hdfs-site.xml", &site("dfs.namenode.name.dir", "/var/lib/hadoop-hdfs/name"))?;
    let format = "HADOOP_CONF_DIR=/tmp/conf runuser -u hdfs -- hdfs namenode -format -nonInteractive";
    machine.shell(format)?;
    let before = machine.read("/var/lib/hadoop-hdfs/name/current/VERSION")?;
    assert!(machine.shell(format).is_err(), "a formatted folder was formatted again");
    assert_eq!(machine.read("/var/lib/hadoop-hdfs/name/current/VERSION")?, before);
    Ok(())
}

#[test]
fn a_service_starts_stops_and_tells_its_state() -> Result<()> {
    let (machine, _repository) = installed("service.cluster.test", "hadoop-hdfs-datanode")?;
    let service = |action: &str| machine.shell(&format!("service hadoop-hdfs-datanode {action}"));
    let conf = "/etc/hadoop/conf.empty";
    assert!(service("status").is_err(), "a service that was never started claims to run");
    machine
        .write(&format!("{conf}/hdfs-site.xml"), &site("dfs.datanode.data.dir", "/var/lib/hadoop-hdfs"))?;
    machine.write(&format!("{conf}/core-site.xml"), &site("fs.defaultFS", "hdfs://:8020/"))?;
    assert!(service("start").is_err(), "a datanode started without an address");
    machine.write(&format!("{conf}/core-site.xml"), &site("fs.defaultFS", "hdfs://nn.cluster.test:8020/"))?;
    service("start")?;
    service("status")?;
    let before = machine.processes()?;
    service("start")?;
    assert_eq!(machine.processes()?, before, "a second start must change nothing");
    service("restart")?;
    let after = machine.processes()?;
    assert_eq!(after.len(), 1);
    assert_ne!(after, before, "restart left the old process");
    service("stop")?;
    assert_eq!(machine.processes()?, []);
    assert!(service("status").is_err());
    Ok(())
}

/// As the original's logs have it; a role has to restart it by other means.
#[test]
fn a_service_of_0_20_restarts_too_early() -> Result<()> {
    let (machine, _repository) = installed("early.cluster.test", "hadoop-0.20-jobtracker")?;
    let conf = "/etc/hadoop-0.20/conf.empty";
    machine
        .write(&format!("{conf}/core-site.xml"), &site("fs.default.name", "hdfs://nn.cluster.test:8200/"))?;
    machine.write(&format!("{conf}/mapred-site.xml"), &site("mapred.job.tracker", "jt.cluster.test:8021"))?;
    machine.shell("service hadoop-0.20-jobtracker start")?;
    // Until it catches SIGTERM (bit 14 of the mask) it would end at once, as no JVM does.
    let pid = machine.processes()?.first().context("the daemon does not run")?.pid.to_string();
    let catches =
        "for n in $(seq 20000); do grep -q 'SigCgt:.*[4-7c-f]...$' /proc/$1/status && exit; done; exit 1";
    machine.shell_with(catches, &[&pid])?;
    assert!(machine.shell("service hadoop-0.20-jobtracker restart").is_err());
    Ok(())
}

#[test]
fn java_is_not_installed_before_its_licence_is_accepted() -> Result<()> {
    let (machine, _repository) = sourced("licence.cluster.test")?;
    let install = "DEBIAN_FRONTEND=noninteractive apt-get -q -y install sun-java6-bin";
    assert!(machine.shell(install).is_err());
    machine
        .shell("echo 'sun-java6-bin shared/accepted-sun-dlj-v1-1 boolean true' | debconf-set-selections")?;
    machine.shell(install)?;
    Ok(())
}

/// A machine on which the repository is known. The machine goes first when both are dropped.
fn sourced(name: &str) -> Result<(Machine, Repository)> {
    let repository = Repository::build(&hadoop::packages())?;
    let machine = Machine::start_with(name, &[repository.folder()])?;
    machine.write("/etc/apt/sources.list", "deb [trusted=yes] file:/srv/packages stub main\n")?;
    machine.shell("apt-get -q update")?;
    Ok((machine, repository))
}

fn installed(name: &str, package: &str) -> Result<(Machine, Repository)> {
    let (machine, repository) = sourced(name)?;
    machine
        .shell("echo 'sun-java6-bin shared/accepted-sun-dlj-v1-1 boolean true' | debconf-set-selections")?;
    machine.shell(&format!("DEBIAN_FRONTEND=noninteractive apt-get -q -y install {package}"))?;
    Ok((machine, repository))
}

fn site(name: &str, value: &str) -> String {
    format!("<configuration><property><name>{name}</name><value>{value}</value></property></configuration>")
}
