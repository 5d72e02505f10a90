//! The packages that the Hadoop roles install, as stand-ins: the same names, files, users, commands and
//! services, and daemons that refuse to start on a configuration that the real ones would refuse.
//!
//! Where 0.20 is awkward the stand-in is too: its Java wants a licence accepted, its init script restarts
//! too early, and its format command wipes what is there.

use crate::packages::Package;

/// How a distribution lays Hadoop out.
struct Layout {
    home: &'static str,
    /// What the daemons read; a link that alternatives keep.
    conf: &'static str,
    alternative: &'static str,
    version: &'static str,
    /// What `stop` adds to wait for the end of the process.
    stop: &'static str,
    /// The exit code of `start` while the daemon runs.
    start_of_running: &'static str,
}

const CDH3: Layout = Layout {
    home: "/usr/lib/hadoop-0.20",
    conf: "/etc/hadoop-0.20/conf",
    alternative: "hadoop-0.20-conf",
    version: "0.20.2+320-1~stub",
    stop: "",
    start_of_running: "1",
};

const APACHE3: Layout = Layout {
    home: "/usr/lib/hadoop",
    conf: "/etc/hadoop/conf",
    alternative: "hadoop-conf",
    version: "3.4.1-1~stub",
    stop: "--remove-pidfile --retry TERM/10/KILL/5",
    start_of_running: "0",
};

/// A daemon: its package and service, and as whom it runs.
struct Daemon {
    package: &'static str,
    /// The package with its user.
    depends: &'static str,
    daemon: &'static str,
    user: &'static str,
    group: &'static str,
    /// The folder below /var/run and /var/log.
    folder: &'static str,
}

/// Every stand-in of both distributions.
pub fn packages() -> Vec<Package> {
    [cdh3(), apache3()].concat()
}

/// Hadoop 0.20 of CDH3 with Sun's Java 6.
fn cdh3() -> Vec<Package> {
    let daemon = |package, daemon| {
        let folder = "hadoop-0.20";
        CDH3.daemon(&Daemon { package, depends: folder, daemon, user: "hadoop", group: "hadoop", folder })
    };
    let mut common = CDH3.common("hadoop-0.20", "sun-java6-bin");
    common.files.push(("/etc/default/hadoop-0.20".into(), 0o644, "# as the package ships it\n".into()));
    common.conffiles.push("/etc/default/hadoop-0.20".into());
    CDH3.command(&mut common, "hadoop");
    CDH3.command(&mut common, "hadoop-0.20");
    user(&mut common, "hadoop", "hadoop", "/var/lib/hadoop-0.20");
    vec![
        sun_java(),
        common,
        daemon("hadoop-0.20-namenode", "namenode"),
        daemon("hadoop-0.20-jobtracker", "jobtracker"),
        daemon("hadoop-0.20-datanode", "datanode"),
        daemon("hadoop-0.20-tasktracker", "tasktracker"),
    ]
}

/// Hadoop 3: HDFS and YARN, with a user for each.
fn apache3() -> Vec<Package> {
    let mut common = APACHE3.common("hadoop", "");
    APACHE3.command(&mut common, "hadoop");
    let part = |name: &str, account: &str| {
        let mut part = Package { name: name.into(), ..APACHE3.part("hadoop") };
        user(&mut part, account, account, &format!("/var/lib/{name}"));
        part
    };
    let mut hdfs = part("hadoop-hdfs", "hdfs");
    APACHE3.command(&mut hdfs, "hdfs");
    let daemon = |package, depends, daemon, user| {
        APACHE3.daemon(&Daemon { package, depends, daemon, user, group: user, folder: depends })
    };
    // On a machine that has the real one it is the newer, and stays.
    let java =
        Package { name: "default-jre-headless".into(), version: "1~stub".into(), ..Package::default() };
    vec![
        java,
        common,
        hdfs,
        part("hadoop-yarn", "yarn"),
        part("hadoop-mapreduce", "mapred"),
        daemon("hadoop-hdfs-namenode", "hadoop-hdfs", "namenode", "hdfs"),
        daemon("hadoop-hdfs-datanode", "hadoop-hdfs", "datanode", "hdfs"),
        daemon("hadoop-yarn-resourcemanager", "hadoop-yarn", "resourcemanager", "yarn"),
        daemon("hadoop-yarn-nodemanager", "hadoop-yarn", "nodemanager", "yarn"),
        daemon("hadoop-mapreduce-historyserver", "hadoop-mapreduce", "historyserver", "mapred"),
    ]
}

const LICENCE: &str = "shared/accepted-sun-dlj-v1-1";

/// Refuses to install unless its licence was accepted before, as the real one does without a terminal.
fn sun_java() -> Package {
    let templates = format!(
        "Template: {LICENCE}\nType: boolean\nDefault: false\n\
         Description: Do you agree with the licence terms?\n"
    );
    let config = format!(
        "#!/bin/sh\n. /usr/share/debconf/confmodule\ndb_input critical {LICENCE} || true\ndb_go || true\n"
    );
    let preinst = format!(
        "#!/bin/sh\nset -e\n. /usr/share/debconf/confmodule\ndb_get {LICENCE}\n\
         [ \"$RET\" = true ] || {{ echo 'the licence was not accepted' >&2; exit 2; }}\n"
    );
    Package {
        name: "sun-java6-bin".into(),
        version: "6.22-0~stub".into(),
        depends: "debconf".into(),
        files: vec![("/usr/lib/jvm/java-6-sun/bin/java".into(), 0o755, "#!/bin/sh\nexit 0\n".into())],
        control: vec![("templates", templates), ("config", config), ("preinst", preinst)],
        ..Package::default()
    }
}

impl Layout {
    /// A package of this distribution with nothing in it.
    fn part(&self, depends: &str) -> Package {
        Package { version: self.version.into(), depends: depends.into(), ..Package::default() }
    }

    /// The package that every other of the distribution depends on: an empty configuration, and the check.
    fn common(&self, name: &str, depends: &str) -> Package {
        let Layout { home, conf, alternative, .. } = self;
        let check = include_str!("../fixtures/packages/check").replace("@CONF@", conf);
        let site = "<?xml version=\"1.0\"?>\n<configuration>\n</configuration>\n";
        let postinst = format!(
            "#!/bin/sh\nset -e\nupdate-alternatives --install {conf} {alternative} {conf}.empty 10\n"
        );
        Package {
            name: name.into(),
            files: vec![
                (format!("{home}/bin/check"), 0o755, check),
                (format!("{conf}.empty/core-site.xml"), 0o644, site.into()),
                (format!("{conf}.empty/hdfs-site.xml"), 0o644, site.into()),
                (format!("{conf}.empty/log4j.properties"), 0o644, "hadoop.root.logger=INFO,console\n".into()),
            ],
            control: vec![("postinst", postinst)],
            ..self.part(depends)
        }
    }

    fn command(&self, package: &mut Package, name: &str) {
        let text = include_str!("../fixtures/packages/hadoop").replace("@CONF@", self.conf);
        package.files.push((format!("/usr/bin/{name}"), 0o755, text));
    }

    /// It is not started on installation, as Hadoop's never were: it would have no configuration.
    fn daemon(&self, daemon: &Daemon) -> Package {
        let Daemon { package: name, depends, daemon, user, group, folder } = daemon;
        let mut script = include_str!("../fixtures/packages/init").to_owned();
        for (place, text) in [
            ("@SERVICE@", *name),
            ("@DAEMON@", daemon),
            ("@USER@", user),
            ("@GROUP@", group),
            ("@FOLDER@", folder),
            ("@HOME@", self.home),
            ("@STOP@", self.stop),
            ("@START_OF_RUNNING@", self.start_of_running),
        ] {
            script = script.replace(place, text);
        }
        let process = include_str!("../fixtures/packages/daemon");
        Package {
            name: (*name).into(),
            files: vec![
                (format!("/etc/init.d/{name}"), 0o755, script),
                (format!("{}/bin/{name}", self.home), 0o755, process.into()),
            ],
            conffiles: vec![format!("/etc/init.d/{name}")],
            control: vec![(
                "postinst",
                format!("#!/bin/sh\nset -e\nupdate-rc.d {name} defaults >/dev/null\n"),
            )],
            ..self.part(depends)
        }
    }
}

/// Lets a package make a user with its group and home.
fn user(package: &mut Package, user: &str, group: &str, home: &str) {
    let lines = format!(
        "getent group {group} >/dev/null || groupadd --system {group}\n\
         getent passwd {user} >/dev/null || useradd --system --gid {group} --home-dir {home} --shell /bin/bash {user}\n\
         install -d -o {user} -g {group} -m 0755 {home}\n"
    );
    match package.control.iter_mut().find(|(name, _)| *name == "postinst") {
        Some((_, postinst)) => postinst.push_str(&lines),
        None => package.control.push(("postinst", format!("#!/bin/sh\nset -e\n{lines}"))),
    }
}
