//! What the two distributions call things: packages, services, users, folders, files.
//!
//! Sources: the run logs of the original cluster for CDH3 beta 2; the Debian packages of Apache Bigtop
//! 3 for `apache3`.

use sdk::{Value, json};

/// A distribution's names.
pub struct Distribution {
    /// As the parameter `distribution` has it.
    pub name: &'static str,
    /// Java, as a package.
    pub java_package: &'static str,
    /// What every role needs beside Java, as packages, in order.
    pub base_packages: &'static [&'static str],
    /// The folder that holds the storage folders.
    pub storage: &'static str,
    /// The configuration folder that the base class manages.
    pub conf: &'static str,
    /// The link and the name under which alternatives(8) knows that folder.
    pub alternative: (&'static str, &'static str),
    /// The shell file that every daemon reads at start.
    pub environment: &'static str,
    /// User and group of the HDFS daemons.
    pub hdfs: (&'static str, &'static str),
    /// User and group of the daemons that run jobs.
    pub jobs: (&'static str, &'static str),
    /// The mode of storage folders. HDFS 3 sets 0700 itself; 0.20 wants its data folders readable.
    pub storage_mode: &'static str,
    /// The HDFS master, as package and service.
    pub namenode: &'static str,
    /// The masters of jobs, each as package and service.
    pub job_masters: &'static [&'static str],
    /// A worker's HDFS daemon, as package and service.
    pub datanode: &'static str,
    /// A worker's daemon for jobs, as package and service.
    pub job_worker: &'static str,
    /// Makes a file system in empty name folders.
    pub format: &'static str,
    /// Where HDFS clients find the namenode.
    pub namenode_port: u16,
    /// Where job clients find the jobtracker or resource manager.
    pub jobtracker_port: u16,
    /// `hadoop.tmp.dir`.
    pub temporary: &'static str,
    /// Whether services restart by our own command: see `services.rs`.
    pub restarts_too_early: bool,
}

/// Cloudera's third distribution, beta 2: Hadoop 0.20.
pub static CDH3: Distribution = Distribution {
    name: "cdh3",
    java_package: "sun-java6-bin",
    base_packages: &["hadoop-0.20"],
    storage: "/var/lib/hadoop-0.20/dfs",
    conf: "/etc/hadoop-0.20/conf.puppet",
    alternative: ("/etc/hadoop-0.20/conf", "hadoop-0.20-conf"),
    environment: "/etc/default/hadoop-0.20",
    hdfs: ("hadoop", "hadoop"),
    jobs: ("hadoop", "hadoop"),
    storage_mode: "0755",
    namenode: "hadoop-0.20-namenode",
    job_masters: &["hadoop-0.20-jobtracker"],
    datanode: "hadoop-0.20-datanode",
    job_worker: "hadoop-0.20-tasktracker",
    // 0.20 asks about each folder that exists, and knows no option that answers for it. That there is
    // nothing to lose is what the guard around this command is for.
    format: "yes Y | /usr/bin/hadoop-0.20 namenode -format",
    namenode_port: 8200,
    jobtracker_port: 8021,
    temporary: "/var/lib/hadoop-0.20/cache/${user.name}",
    restarts_too_early: true,
};

/// Apache Hadoop 3 as Bigtop packages it.
pub static APACHE3: Distribution = Distribution {
    name: "apache3",
    java_package: "default-jre-headless",
    base_packages: &["hadoop", "hadoop-hdfs"],
    storage: "/var/lib/hadoop-hdfs/dfs",
    conf: "/etc/hadoop/conf.puppet",
    alternative: ("/etc/hadoop/conf", "hadoop-conf"),
    environment: "/etc/hadoop/conf.puppet/hadoop-env.sh",
    hdfs: ("hdfs", "hdfs"),
    jobs: ("yarn", "yarn"),
    storage_mode: "0700",
    namenode: "hadoop-hdfs-namenode",
    job_masters: &["hadoop-yarn-resourcemanager", "hadoop-mapreduce-historyserver"],
    datanode: "hadoop-hdfs-datanode",
    job_worker: "hadoop-yarn-nodemanager",
    format: "/usr/bin/hdfs namenode -format -nonInteractive",
    namenode_port: 8020,
    jobtracker_port: 8032,
    temporary: "/var/lib/hadoop/cache/${user.name}",
    restarts_too_early: false,
};

impl Distribution {
    /// The distribution of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        [&CDH3, &APACHE3].into_iter().find(|d| d.name == name)
    }

    /// Whether this is Hadoop 0.20, with a jobtracker and no YARN.
    pub fn is_cdh3(&self) -> bool {
        self.name == CDH3.name
    }

    /// A file of the configuration folder.
    pub fn conf_file(&self, name: &str) -> String {
        format!("{}/{name}", self.conf)
    }

    /// A folder below the storage folder.
    pub fn storage_folder(&self, name: &str) -> String {
        format!("{}/{name}", self.storage)
    }

    /// The repositories of a node that names none. Their keys are files of the master's module folder
    /// `hadoop`: this plugin ships nobody's key.
    pub fn repositories(&self) -> Value {
        if self.is_cdh3() {
            json!({
                "canonical": {"lines": ["deb http://archive.canonical.com/ubuntu maverick partner"]},
                "cloudera": {
                    "lines": ["deb http://archive.cloudera.com/debian maverick-cdh3b2 contrib"],
                    "key_source": "puppet:///modules/hadoop/cloudera.key",
                },
            })
        } else {
            json!({
                "bigtop": {
                    "lines": [
                        "deb http://repos.bigtop.apache.org/releases/3.5.0/ubuntu/24.04/$(ARCH) bigtop contrib",
                    ],
                    "key_source": "puppet:///modules/hadoop/bigtop.key",
                },
            })
        }
    }
}
