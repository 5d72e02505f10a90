//! Small Debian packages that stand in for the distribution's, and a signed local repository of them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::tools;

/// A package to build. Architecture `all`, version as given, files owned by root.
#[derive(Debug, Clone, Default)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The `Depends` field, empty for none.
    pub depends: String,
    /// Files: absolute path, mode, text.
    pub files: Vec<(String, u32, String)>,
    /// Links: absolute path, what it points to.
    pub links: Vec<(String, String)>,
    /// Folders: absolute path.
    pub folders: Vec<String>,
    /// Which of the files are configuration files of the package.
    pub conffiles: Vec<String>,
    /// Maintainer scripts and debconf files: `postinst`, `config`, `templates` …, and their text.
    pub control: Vec<(&'static str, String)>,
}

/// A signed apt repository in a folder, to be seen by machines at [`Repository::INSIDE`].
pub struct Repository {
    folder: TempDir,
    key: String,
}

impl Repository {
    /// Where machines see the repository: `deb file:/srv/packages stub main`.
    pub const INSIDE: &'static str = "/srv/packages";
    /// The suite's name.
    pub const SUITE: &'static str = "stub";
    /// The component's name.
    pub const COMPONENT: &'static str = "main";

    /// Builds packages and the signed index of them, with a key made for this repository.
    ///
    /// # Errors
    /// When one of Debian's tools fails; its output is in the error.
    pub fn build(packages: &[Package]) -> Result<Repository> {
        tools::require()?;
        let folder = TempDir::with_prefix("bunraku-packages-")?;
        let root = folder.path();
        let architecture = tools::run(Command::new("dpkg").arg("--print-architecture"))?;
        let architecture = String::from_utf8(architecture.stdout)?.trim().to_owned();
        let pool = root.join("pool");
        fs::create_dir_all(&pool)?;
        for package in packages {
            package.build(&pool)?;
        }
        let index = format!("{}/binary-{architecture}", Repository::COMPONENT);
        let suite = root.join("dists").join(Repository::SUITE);
        fs::create_dir_all(suite.join(&index))?;
        let mut scan = Command::new("dpkg-scanpackages");
        let scanned = tools::run(scan.args(["--multiversion", "pool"]).current_dir(root))?;
        fs::write(suite.join(&index).join("Packages"), &scanned.stdout)?;
        let mut release = Command::new("apt-ftparchive");
        for (field, value) in [
            ("Suite", Repository::SUITE),
            ("Codename", Repository::SUITE),
            ("Components", Repository::COMPONENT),
            ("Architectures", &architecture),
        ] {
            release.arg("-o").arg(format!("APT::FTPArchive::Release::{field}={value}"));
        }
        let released = tools::run(release.args(["release", "."]).current_dir(&suite))?;
        fs::write(suite.join("Release"), &released.stdout)?;
        let key = sign(&suite)?;
        open_to_all(root)?;
        Ok(Repository { folder, key })
    }

    /// The folder on the host and where machines are to see it, for [`crate::machine::Machine::start_with`].
    pub fn folder(&self) -> (&Path, &'static str) {
        (self.folder.path(), Repository::INSIDE)
    }

    /// The public key, in ASCII armour.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl Package {
    fn build(&self, pool: &Path) -> Result<()> {
        let tree = TempDir::with_prefix("bunraku-package-")?;
        // The package holds the folder itself, and with it the folder's mode.
        fs::set_permissions(tree.path(), fs::Permissions::from_mode(0o755))?;
        let root = tree.path();
        let within = |path: &str| root.join(path.trim_start_matches('/'));
        for folder in &self.folders {
            fs::create_dir_all(within(folder))?;
        }
        for (path, mode, text) in &self.files {
            write(&within(path), *mode, text)?;
        }
        for (path, target) in &self.links {
            fs::create_dir_all(within(path).parent().context("a link without a folder")?)?;
            symlink(target, within(path))?;
        }
        for (name, text) in &self.control {
            let mode = if *name == "templates" { 0o644 } else { 0o755 };
            write(&root.join("DEBIAN").join(name), mode, text)?;
        }
        let lines = |list: &[String]| list.iter().map(|line| format!("{line}\n")).collect::<String>();
        write(&root.join("DEBIAN/conffiles"), 0o644, &lines(&self.conffiles))?;
        let mut control = format!(
            "Package: {}\nVersion: {}\nArchitecture: all\nMaintainer: nobody <nobody@example.test>\n",
            self.name, self.version
        );
        if !self.depends.is_empty() {
            control.push_str(&format!("Depends: {}\n", self.depends));
        }
        control.push_str("Description: stand-in for tests\n");
        write(&root.join("DEBIAN/control"), 0o644, &control)?;
        let mut build = Command::new("dpkg-deb");
        tools::run(build.args(["--root-owner-group", "-Znone", "--build"]).arg(root).arg(pool))?;
        Ok(())
    }
}

/// Signs a suite's Release with a fresh key, whose private half is gone afterwards.
fn sign(suite: &Path) -> Result<String> {
    let home = TempDir::with_prefix("bunraku-gpg-")?;
    let gpg = || {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(home.path()).args(["--batch", "--quiet", "--pinentry-mode", "loopback"]);
        command.args(["--passphrase", ""]);
        command
    };
    let made = signed(&gpg, suite);
    // gpg starts an agent of its own for this home; it would outlive the test.
    let _ = Command::new("gpgconf").arg("--homedir").arg(home.path()).args(["--kill", "all"]).output();
    made
}

fn signed(gpg: &dyn Fn() -> Command, suite: &Path) -> Result<String> {
    let user = "packages <packages@example.test>";
    tools::run(gpg().args(["--quick-generate-key", user, "rsa2048", "sign", "never"]))?;
    let (release, clear): (PathBuf, PathBuf) = (suite.join("Release"), suite.join("InRelease"));
    tools::run(gpg().arg("--output").arg(clear).arg("--clearsign").arg(release))?;
    let exported = tools::run(gpg().args(["--armor", "--export"]))?;
    Ok(String::from_utf8(exported.stdout)?)
}

fn write(path: &Path, mode: u32, text: &str) -> Result<()> {
    fs::create_dir_all(path.parent().context("a file without a folder")?)?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// apt reads repositories as a user of its own.
fn open_to_all(root: &Path) -> Result<()> {
    fs::set_permissions(root, fs::Permissions::from_mode(0o755))?;
    Ok(())
}
