//! The classes `hadoop::apt` and `hadoop::base`: what every role needs before it.

use sdk::{Failure, Fragment, Resource};

use crate::distribution::Distribution;
use crate::parameters::{HEAP_MB, Parameters, REPLICATION};
use crate::repository;
use crate::site::{config_file, folder};
use crate::xml::{self, Properties};

/// Where commands are looked for.
pub const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

const PRESEED: &str = "/var/cache/debconf/sun-java6.seeds";

/// `hadoop::apt`: the package repositories.
pub fn apt(parameters: &Parameters<'_>) -> Result<Fragment, Failure> {
    let repositories = match parameters.given("repositories") {
        Some(given) => given.clone(),
        None => parameters.distribution()?.repositories(),
    };
    let mut fragment = Fragment::new();
    fragment.include(repository::UPDATE_CLASS);
    fragment.resources = repository::all(&repositories);
    Ok(fragment)
}

/// `hadoop::base`: Java, Hadoop's common part, and the configuration that does not hang on addresses.
pub fn base(parameters: &Parameters<'_>) -> Result<Fragment, Failure> {
    let distribution = parameters.distribution()?;
    let mut fragment = Fragment::new();
    let java = parameters.text("java_package").unwrap_or(distribution.java_package);
    java_package(java, &mut fragment);
    for package in distribution.base_packages {
        fragment.add(package_latest(package).refs("require", [("Package", java)]));
    }
    let packages = || distribution.base_packages.iter().map(|package| ("Package", *package));
    fragment.add(folder(distribution.storage, distribution.hdfs, "0755").refs("require", packages()));
    let conf = Resource::new("File", distribution.conf)
        .param("ensure", "directory")
        .param("owner", "root")
        .param("group", "root")
        .param("mode", "0755")
        .refs("require", packages());
    fragment.add(conf);
    let hdfs_site = distribution.conf_file("hdfs-site.xml");
    fragment.add(config_file(&hdfs_site, &xml::document(&hdfs_properties(distribution, parameters)?)));
    fragment.add(alternative(distribution));
    let environment = config_file(distribution.environment, &environment(distribution, parameters));
    fragment.add(environment.refs("require", packages()));
    if !distribution.is_cdh3() {
        fragment.add(logging(distribution));
    }
    Ok(fragment)
}

/// A package that is kept at its newest version.
pub fn package_latest(name: &str) -> Resource {
    Resource::new("Package", name).param("ensure", "latest")
}

/// Sun's Java asks for its licence to be accepted before it installs.
fn java_package(name: &str, fragment: &mut Fragment) {
    if !name.starts_with("sun-java6") {
        fragment.add(package_latest(name));
        return;
    }
    let answers: String = ["sun-java6-bin", "sun-java6-jdk", "sun-java6-jre"]
        .iter()
        .map(|package| format!("{package} shared/accepted-sun-dlj-v1-1 boolean true\n"))
        .collect();
    fragment.add(config_file(PRESEED, &answers));
    fragment.add(package_latest(name).param("responsefile", PRESEED).refs("require", [("File", PRESEED)]));
}

fn hdfs_properties(distribution: &Distribution, parameters: &Parameters<'_>) -> Result<Properties, Failure> {
    let name_dirs = parameters.folders("name_dirs", distribution.storage_folder("name"));
    let data_dirs = parameters.folders("data_dirs", distribution.storage_folder("data"));
    if let Some(both) = name_dirs.iter().find(|dir| data_dirs.contains(dir)) {
        return Err(parameters.wrong("data_dirs", &format!("has {both}, which is among name_dirs too")));
    }
    let (names, data) = if distribution.is_cdh3() {
        ("dfs.name.dir", "dfs.data.dir")
    } else {
        ("dfs.namenode.name.dir", "dfs.datanode.data.dir")
    };
    let replication = parameters.number("replication").unwrap_or(REPLICATION);
    let mut properties = Properties::from([
        (names.into(), name_dirs.join(",")),
        (data.into(), data_dirs.join(",")),
        ("dfs.replication".into(), replication.to_string()),
    ]);
    properties.extend(parameters.properties("hdfs_site")?);
    Ok(properties)
}

/// Makes the managed folder the configuration that Hadoop reads. The title is the original's, which had
/// the command as its title; the command has moved to another folder since.
fn alternative(distribution: &Distribution) -> Resource {
    let (link, name) = distribution.alternative;
    let command = format!("update-alternatives --install {link} {name} {} 15", distribution.conf);
    Resource::new("Exec", format!("/usr/sbin/{command}"))
        .param("command", command)
        .param("path", PATH)
        .param("refreshonly", true)
        .refs("subscribe", [("File", distribution.conf)])
}

fn environment(distribution: &Distribution, parameters: &Parameters<'_>) -> String {
    let heap = parameters.number("heap_mb").unwrap_or(HEAP_MB);
    let managed = "# Managed by Puppet: changes made here are lost.\n";
    if distribution.is_cdh3() {
        let conf = distribution.alternative.0;
        format!(
            "{managed}export HADOOP_HOME=/usr/lib/hadoop-0.20\nexport HADOOP_CONF_DIR={conf}\n\
             export HADOOP_LOG_DIR=/var/log/hadoop-0.20\nexport HADOOP_PID_DIR=/var/run/hadoop-0.20\n\
             export HADOOP_IDENT_STRING=hadoop\nexport HADOOP_HEAPSIZE={heap}\n"
        )
    } else {
        format!("{managed}export HADOOP_HEAPSIZE_MAX={heap}m\n")
    }
}

/// Without this file the daemons of Hadoop 3 log nothing; the package has one in its own folder.
fn logging(distribution: &Distribution) -> Resource {
    Resource::new("File", distribution.conf_file("log4j.properties"))
        .param("ensure", "link")
        .param("target", "/etc/hadoop/conf.empty/log4j.properties")
}
