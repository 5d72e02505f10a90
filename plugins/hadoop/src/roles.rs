//! The classes `hadoop::namenode`, `hadoop::jobtracker` and `hadoop::worker`.

use sdk::{Call, Failure, Fragment, IncludedClass, Request, Resource};

use crate::address::{self, Address, Master};
use crate::base::{PATH, package_latest};
use crate::distribution::Distribution;
use crate::parameters::Parameters;
use crate::schema;
use crate::services::service;
use crate::site::{CORE_SITE, MAPRED_SITE, YARN_SITE, folder};

const FORMAT: &str = "format-dfs";

/// `hadoop::namenode`.
pub fn namenode(call: &Call, request: &Request) -> Result<Fragment, Failure> {
    let mut role = Role::new(call, request)?;
    let own = role.own(Master::Namenode);
    role.agreed(Master::Namenode, true)?;
    let distribution = role.distribution;
    let name = distribution.namenode;
    let dirs = role.parameters.folders("name_dirs", distribution.storage_folder("name"));
    let formats = role.parameters.text("cluster_id").is_none();

    let mut resources = vec![package_latest(name)];
    let core_site = role.core_site(&own);
    for dir in &dirs {
        // A folder is made only once formatting could follow: its making is told only once.
        let dir = storage(distribution, dir, distribution.hdfs, name).refs("require", [("File", CORE_SITE)]);
        resources.push(if formats { dir.refs("notify", [("Exec", FORMAT)]) } else { dir });
    }
    if formats {
        resources.push(format_once(distribution, &role.parameters, &dirs)?);
    }
    let files = [core_site, distribution.conf_file("hdfs-site.xml"), distribution.environment.into()];
    let running = service(distribution, name, &files);
    resources.push(if formats {
        running.refs("require", [("Exec", FORMAT)])
    } else {
        running.refs("require", dirs.iter().map(|dir| ("File", dir.as_str())))
    });
    resources.push(address::exported(Master::Namenode, role.cluster, &own));
    Ok(role.finish(resources))
}

/// `hadoop::jobtracker`.
pub fn jobtracker(call: &Call, request: &Request) -> Result<Fragment, Failure> {
    let mut role = Role::new(call, request)?;
    let own = role.own(Master::Jobtracker);
    role.agreed(Master::Jobtracker, true)?;
    let namenode = role.agreed(Master::Namenode, false)?;
    let distribution = role.distribution;

    let mut files = role.mapred_site(&own);
    let mut resources: Vec<Resource> =
        distribution.job_masters.iter().map(|name| package_latest(name)).collect();
    match namenode {
        Some(namenode) => {
            files.push(role.core_site(&namenode));
            files.push(distribution.environment.into());
            resources.extend(distribution.job_masters.iter().map(|name| service(distribution, name, &files)));
        }
        None => role.waits_for(Master::Namenode, &["core-site.xml"], distribution.job_masters),
    }
    resources.push(address::exported(Master::Jobtracker, role.cluster, &own));
    Ok(role.finish(resources))
}

/// `hadoop::worker`.
pub fn worker(call: &Call, request: &Request) -> Result<Fragment, Failure> {
    let mut role = Role::new(call, request)?;
    let namenode = role.agreed(Master::Namenode, false)?;
    let jobtracker = role.agreed(Master::Jobtracker, false)?;
    let distribution = role.distribution;
    let (datanode, job_worker) = (distribution.datanode, distribution.job_worker);
    let environment = distribution.environment.to_owned();

    let data_dirs = role.parameters.folders("data_dirs", distribution.storage_folder("data"));
    let local_dirs = role.parameters.list("local_dirs");
    let mut resources = vec![package_latest(datanode)];
    resources.extend(data_dirs.iter().map(|dir| storage(distribution, dir, distribution.hdfs, datanode)));
    resources.push(package_latest(job_worker));
    for dir in &local_dirs {
        let dir = folder(dir, distribution.jobs, "0755").refs("require", [("Package", job_worker)]);
        resources.push(dir);
    }

    let core_site = namenode.map(|address| role.core_site(&address));
    let mapred_site = jobtracker.map(|address| role.mapred_site(&address));
    if let Some(core_site) = &core_site {
        let files = [core_site.clone(), distribution.conf_file("hdfs-site.xml"), environment.clone()];
        let dirs = data_dirs.iter().map(|dir| ("File", dir.as_str()));
        resources.push(service(distribution, datanode, &files).refs("require", dirs));
    }
    if let (Some(core_site), Some(mapred_site)) = (&core_site, &mapred_site) {
        let mut files = vec![core_site.clone()];
        files.extend(mapred_site.iter().cloned());
        files.push(environment);
        let running = service(distribution, job_worker, &files);
        resources.push(if local_dirs.is_empty() {
            running
        } else {
            running.refs("require", local_dirs.iter().map(|dir| ("File", dir.as_str())))
        });
    }
    if core_site.is_none() {
        role.waits_for(Master::Namenode, &["core-site.xml"], &[datanode, job_worker]);
    }
    if mapred_site.is_none() {
        let files: &[&str] =
            if distribution.is_cdh3() { &["mapred-site.xml"] } else { &["mapred-site.xml", "yarn-site.xml"] };
        role.waits_for(Master::Jobtracker, files, &[job_worker]);
    }
    Ok(role.finish(resources))
}

/// What the three roles have in common, and the fragment in the making.
struct Role<'a> {
    call: &'a Call<'a>,
    request: &'a Request,
    parameters: Parameters<'a>,
    distribution: &'static Distribution,
    cluster: &'a str,
    fragment: Fragment,
}

impl<'a> Role<'a> {
    /// With the stages and the classes that come first.
    fn new(call: &'a Call<'a>, request: &'a Request) -> Result<Self, Failure> {
        let parameters = Parameters::of(request);
        let distribution = parameters.distribution()?;
        let cluster = parameters.cluster()?;
        let mut fragment = Fragment::new();
        fragment.stage("apt", "hadoop-base").stage("hadoop-base", "main");
        let mut role = Self { call, request, parameters, distribution, cluster, fragment };
        let repositories = role.parameters.repositories().cloned();
        let apt = role.include("hadoop::apt", &schema::APT).stage("apt");
        if let Some(repositories) = repositories {
            apt.param("repositories", repositories);
        }
        role.include("hadoop::base", &schema::BASE).stage("hadoop-base");
        Ok(role)
    }

    fn own(&self, master: Master) -> Address {
        address::own(self.call, self.request, self.distribution, &self.parameters, master)
    }

    fn agreed(&self, master: Master, is_master: bool) -> Result<Option<Address>, Failure> {
        address::agreed(self.call, self.request, self.cluster, master, self.own(master), is_master)
    }

    /// Includes the class of core-site.xml; the title of its file.
    fn core_site(&mut self, namenode: &Address) -> String {
        self.include("hadoop::core_site", &schema::CORE_SITE).param("namenode", namenode.to_value());
        CORE_SITE.into()
    }

    /// Includes the class of mapred-site.xml; the titles of its files.
    fn mapred_site(&mut self, jobtracker: &Address) -> Vec<String> {
        self.include("hadoop::mapred_site", &schema::MAPRED_SITE).param("jobtracker", jobtracker.to_value());
        if self.distribution.is_cdh3() {
            vec![MAPRED_SITE.into()]
        } else {
            vec![MAPRED_SITE.into(), YARN_SITE.into()]
        }
    }

    /// Includes a class of ours with those of the role's parameters that it takes.
    fn include(&mut self, class: &str, takes: &[&str]) -> &mut IncludedClass {
        let parameters = self.parameters.only(takes);
        let included = self.fragment.include(class);
        included.parameters = parameters;
        included.param("distribution", self.distribution.name)
    }

    /// Says what is left out until a master has registered.
    fn waits_for(&mut self, master: Master, files: &[&str], services: &[&str]) {
        let what: Vec<&str> = files.iter().chain(services).copied().collect();
        self.fragment.warn(format!(
            "no {} has registered for cluster {} yet: left out for now: {}",
            master.title(),
            self.cluster,
            what.join(", "),
        ));
    }

    fn finish(self, resources: Vec<Resource>) -> Fragment {
        Fragment { resources, ..self.fragment }
    }
}

/// A storage folder, made once the package has made its user.
fn storage(distribution: &Distribution, path: &str, owner: (&str, &str), package: &str) -> Resource {
    folder(path, owner, distribution.storage_mode).refs("require", [("Package", package)])
}

/// Formats the file system when a name folder was just made, and only if nothing can be lost: no name
/// folder has a file system, and each declared mount is there (an empty folder below a missing mount is
/// not a new one). No exit code but 0 passes; then folders that are still empty go again, so that the
/// next run makes them and tries once more.
fn format_once(
    distribution: &Distribution,
    parameters: &Parameters<'_>,
    dirs: &[String],
) -> Result<Resource, Failure> {
    let mounts = parameters.list("name_dir_mounts");
    for mount in &mounts {
        if !dirs.iter().any(|dir| dir.starts_with(&format!("{mount}/"))) {
            return Err(parameters
                .wrong("name_dir_mounts", &format!("has {mount}, below which is none of name_dirs")));
        }
    }
    let unless: Vec<String> = dirs.iter().map(|dir| format!("test -e {dir}/current/VERSION")).collect();
    let mut exec = Resource::new("Exec", FORMAT)
        .param("command", format!("{} || {{ rmdir {}; false; }}", distribution.format, dirs.join(" ")))
        .param("provider", "shell")
        .param("path", PATH)
        .param("user", distribution.hdfs.0)
        .param("refreshonly", true)
        .param("unless", unless);
    if !mounts.is_empty() {
        let onlyif: Vec<String> = mounts.iter().map(|mount| format!("mountpoint -q {mount}")).collect();
        exec = exec.param("onlyif", onlyif);
    }
    Ok(exec.refs("require", [("Package", distribution.namenode)]))
}
