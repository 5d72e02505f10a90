//! The packages that the Hadoop roles install, as stand-ins: the same names, files, users, commands and
//! services, and daemons that refuse to start on a configuration that the real ones would refuse.

use crate::packages::Package;

/// How a distribution lays Hadoop out.
struct Layout {
    /// Name of the folder below /etc/default, /var/log, /var/run.
    defaults: &'static str,
    home: &'static str,
    /// What the daemons read; a link that alternatives keep.
    conf: &'static str,
    alternative: &'static str,
    version: &'static str,
}

const CDH3: Layout = Layout {
    defaults: "hadoop-0.20",
    home: "/usr/lib/hadoop-0.20",
    conf: "/etc/hadoop-0.20/conf",
    alternative: "hadoop-0.20-conf",
    version: "0.20.2+320-1~stub",
};

const APACHE3: Layout = Layout {
    defaults: "hadoop",
    home: "/usr/lib/hadoop",
    conf: "/etc/hadoop/conf",
    alternative: "hadoop-conf",
    version: "3.4.1-1~stub",
};

/// Every stand-in of both distributions.
pub fn packages() -> Vec<Package> {
    [cdh3(), apache3()].concat()
}

/// Hadoop 0.20 of CDH3 with Sun's Java 6, whose licence is a debconf question.
fn cdh3() -> Vec<Package> {
    let user = "hadoop";
    vec![
        sun_java(),
        common(&CDH3, "hadoop-0.20", "sun-java6-bin", &[user], &["hadoop"]),
        daemon(&CDH3, "hadoop-0.20-namenode", "namenode", user),
        daemon(&CDH3, "hadoop-0.20-jobtracker", "jobtracker", user),
        daemon(&CDH3, "hadoop-0.20-datanode", "datanode", user),
        daemon(&CDH3, "hadoop-0.20-tasktracker", "tasktracker", user),
    ]
}

/// Hadoop 3: HDFS and YARN.
fn apache3() -> Vec<Package> {
    vec![
        common(&APACHE3, "hadoop", "", &["hdfs", "yarn", "mapred"], &["hadoop", "hdfs"]),
        daemon(&APACHE3, "hadoop-hdfs-namenode", "namenode", "hdfs"),
        daemon(&APACHE3, "hadoop-hdfs-datanode", "datanode", "hdfs"),
        daemon(&APACHE3, "hadoop-yarn-resourcemanager", "resourcemanager", "yarn"),
        daemon(&APACHE3, "hadoop-yarn-nodemanager", "nodemanager", "yarn"),
    ]
}

const LICENCE: &str = "shared/accepted-sun-dlj-v1-1";

/// Refuses to install unless its licence was accepted before, as the real one does without a terminal.
fn sun_java() -> Package {
    Package {
        name: "sun-java6-bin".into(),
        version: "6.22-0~stub".into(),
        depends: "debconf".into(),
        files: vec![("/usr/lib/jvm/java-6-sun/bin/java".into(), 0o755, "#!/bin/sh\nexit 0\n".into())],
        control: vec![
            (
                "templates",
                format!(
                    "Template: {LICENCE}\nType: boolean\nDefault: false\n\
                     Description: Do you agree with the licence terms?\n"
                ),
            ),
            (
                "config",
                format!(
                    "#!/bin/sh\n. /usr/share/debconf/confmodule\ndb_input critical {LICENCE} || true\ndb_go\n"
                ),
            ),
            (
                "preinst",
                format!(
                    "#!/bin/sh\nset -e\n. /usr/share/debconf/confmodule\ndb_get {LICENCE}\n\
                     [ \"$RET\" = true ] || {{ echo 'the licence was not accepted' >&2; exit 2; }}\n"
                ),
            ),
        ],
        ..Package::default()
    }
}

/// The package that every daemon of a distribution depends on.
fn common(layout: &Layout, name: &str, depends: &str, users: &[&str], commands: &[&str]) -> Package {
    let Layout { defaults, home, conf, alternative, version } = layout;
    let mut files = vec![
        (format!("/etc/default/{defaults}"), 0o644, "# as the package ships it\n".into()),
        (format!("{home}/bin/check"), 0o755, fill(include_str!("../fixtures/packages/check"), layout)),
        (format!("{conf}.empty/core-site.xml"), 0o644, EMPTY_SITE.into()),
        (format!("{conf}.empty/hdfs-site.xml"), 0o644, EMPTY_SITE.into()),
    ];
    for command in commands {
        let text = fill(include_str!("../fixtures/packages/hadoop"), layout);
        files.push((format!("/usr/bin/{command}"), 0o755, text));
    }
    let mut postinst =
        "#!/bin/sh\nset -e\ngetent group hadoop >/dev/null || groupadd --system hadoop\n".to_owned();
    for user in users {
        postinst.push_str(&format!(
            "getent passwd {user} >/dev/null || \
             useradd --system --gid hadoop --home-dir /var/lib/{defaults} --shell /bin/bash {user}\n"
        ));
    }
    postinst.push_str(&format!(
        "update-alternatives --install {conf} {alternative} {conf}.empty 10\n\
         install -d -o {} -g hadoop -m 0775 /var/lib/{defaults} /var/log/{defaults}\n",
        users.first().copied().unwrap_or("root")
    ));
    Package {
        name: name.into(),
        version: (*version).into(),
        depends: depends.into(),
        conffiles: vec![format!("/etc/default/{defaults}")],
        files,
        control: vec![("postinst", postinst)],
        ..Package::default()
    }
}

/// A daemon's package: an init script, and a process of that name which does nothing.
///
/// It is not started on installation, as Hadoop's never were: it would have no configuration.
fn daemon(layout: &Layout, name: &str, daemon: &str, user: &str) -> Package {
    let script = fill(include_str!("../fixtures/packages/init"), layout);
    let script = script.replace("@SERVICE@", name).replace("@DAEMON@", daemon).replace("@USER@", user);
    Package {
        name: name.into(),
        version: layout.version.into(),
        depends: layout.defaults.into(),
        files: vec![(format!("/etc/init.d/{name}"), 0o755, script)],
        links: vec![(format!("{}/bin/{name}", layout.home), "/bin/sleep".into())],
        conffiles: vec![format!("/etc/init.d/{name}")],
        control: vec![("postinst", format!("#!/bin/sh\nset -e\nupdate-rc.d {name} defaults >/dev/null\n"))],
        ..Package::default()
    }
}

const EMPTY_SITE: &str = "<?xml version=\"1.0\"?>\n<configuration>\n</configuration>\n";

fn fill(text: &str, layout: &Layout) -> String {
    text.replace("@DEFAULTS@", layout.defaults).replace("@HOME@", layout.home).replace("@CONF@", layout.conf)
}
