//! The classes `hadoop::core_site` and `hadoop::mapred_site`: the files that hold the masters' addresses.
//!
//! They are classes of their own because two roles of one node need the same file, and a file belongs
//! to one class. They hang on nothing but their parameters: equal addresses are equal bytes on every
//! node of a cluster.

use sdk::{Failure, Fragment, Resource};

use crate::address::Address;
use crate::parameters::{MEMORY_MB, Parameters};
use crate::xml::{self, Properties};

/// Titles of the files, by which services subscribe to them.
pub const CORE_SITE: &str = "hadoop-core-site";
/// The file of MapReduce.
pub const MAPRED_SITE: &str = "hadoop-mapred-site";
/// The file of YARN.
pub const YARN_SITE: &str = "hadoop-yarn-site";

/// `hadoop::core_site`.
pub fn core(parameters: &Parameters<'_>) -> Result<Fragment, Failure> {
    let distribution = parameters.distribution()?;
    let namenode = address(parameters, "namenode")?;
    let default_fs = if distribution.is_cdh3() { "fs.default.name" } else { "fs.defaultFS" };
    let mut properties = Properties::from([
        (default_fs.into(), format!("hdfs://{namenode}/")),
        ("hadoop.tmp.dir".into(), distribution.temporary.into()),
    ]);
    properties.extend(parameters.properties("core_site")?);
    let mut fragment = Fragment::new();
    fragment.add(titled(CORE_SITE, distribution.conf_file("core-site.xml"), &properties));
    Ok(fragment)
}

/// `hadoop::mapred_site`, and with YARN its file too.
pub fn mapred(parameters: &Parameters<'_>) -> Result<Fragment, Failure> {
    let distribution = parameters.distribution()?;
    let jobtracker = address(parameters, "jobtracker")?;
    let local_dirs = parameters.list("local_dirs").join(",");
    let mut fragment = Fragment::new();
    let mut mapred = Properties::new();
    if distribution.is_cdh3() {
        mapred.insert("mapred.job.tracker".into(), jobtracker.to_string());
        mapred.insert("mapred.system.dir".into(), "/hadoop/mapred/system".into());
        if !local_dirs.is_empty() {
            mapred.insert("mapred.local.dir".into(), local_dirs);
        }
    } else {
        let host = &jobtracker.host;
        mapred.insert("mapreduce.framework.name".into(), "yarn".into());
        mapred.insert("mapreduce.jobhistory.address".into(), format!("{host}:10020"));
        mapred.insert("mapreduce.jobhistory.webapp.address".into(), format!("{host}:19888"));
        mapred.insert("yarn.app.mapreduce.am.staging-dir".into(), "/user".into());
        let memory = parameters.number("memory_mb").unwrap_or(MEMORY_MB);
        let mut yarn = Properties::from([
            ("yarn.nodemanager.aux-services".into(), "mapreduce_shuffle".into()),
            ("yarn.nodemanager.resource.memory-mb".into(), memory.to_string()),
            ("yarn.resourcemanager.address".into(), jobtracker.to_string()),
            ("yarn.resourcemanager.hostname".into(), host.clone()),
        ]);
        if !local_dirs.is_empty() {
            yarn.insert("yarn.nodemanager.local-dirs".into(), local_dirs);
        }
        yarn.extend(parameters.properties("yarn_site")?);
        fragment.add(titled(YARN_SITE, distribution.conf_file("yarn-site.xml"), &yarn));
    }
    mapred.extend(parameters.properties("mapred_site")?);
    fragment.add(titled(MAPRED_SITE, distribution.conf_file("mapred-site.xml"), &mapred));
    Ok(fragment)
}

/// A file of root's that anyone may read.
pub fn config_file(title: &str, content: &str) -> Resource {
    Resource::new("File", title)
        .param("ensure", "file")
        .param("owner", "root")
        .param("group", "root")
        .param("mode", "0644")
        .param("content", content)
}

/// A folder of a daemon's.
pub fn folder(path: &str, (owner, group): (&str, &str), mode: &str) -> Resource {
    Resource::new("File", path)
        .param("ensure", "directory")
        .param("owner", owner)
        .param("group", group)
        .param("mode", mode)
}

fn titled(title: &str, path: String, properties: &Properties) -> Resource {
    config_file(title, &xml::document(properties)).param("path", path)
}

fn address(parameters: &Parameters<'_>, name: &str) -> Result<Address, Failure> {
    Address::from_object(&parameters.object(name))
        .ok_or_else(|| parameters.wrong(name, "is no address: it needs host and port"))
}
