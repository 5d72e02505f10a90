//! A compiler for guests, from where one can be had without installing anything.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// Guests for it import nothing but what the contract names.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// How cargo has to be called to build for [`TARGET`].
pub struct Toolchain {
    /// For the developer who wants to know.
    pub name: &'static str,
    /// Set for cargo.
    pub environment: Vec<(&'static str, OsString)>,
    /// Added to `cargo build`.
    pub arguments: Vec<&'static str>,
}

/// The first of: the active toolchain's target, the same after `rustup target add`, a private Debian
/// compiler. `BUNRAKU_WASM` pins one, so that a target left on a machine hides no missing step.
///
/// # Errors
/// None can be had; the message says what to do.
pub fn choose(root: &Path) -> Result<Toolchain> {
    let pin = env::var("BUNRAKU_WASM").ok().filter(|pin| !pin.is_empty());
    let ways = ways(pin.as_deref())?;
    let mut reasons = vec![];
    for way in ways {
        match way.toolchain(root) {
            Ok(toolchain) => return Ok(toolchain),
            Err(reason) => {
                let reason = format!("{}: {reason:#}", way.name());
                println!("plugins: {reason}");
                reasons.push(reason);
            }
        }
    }
    bail!(
        "no compiler for {TARGET} ({}): run `rustup target add {TARGET}`, or on Debian provide apt-get and \
         dpkg-deb so that a private compiler can be unpacked",
        reasons.join("; ")
    )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Native,
    Rustup,
    Debian,
}

fn ways(pin: Option<&str>) -> Result<Vec<Way>> {
    let all = [Way::Native, Way::Rustup, Way::Debian];
    match pin {
        None => Ok(all.to_vec()),
        Some(pin) => match all.into_iter().find(|way| way.name() == pin) {
            Some(way) => Ok(vec![way]),
            None => bail!("BUNRAKU_WASM={pin}: native, rustup or debian"),
        },
    }
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Rustup => "rustup",
            Self::Debian => "debian",
        }
    }

    fn toolchain(self, root: &Path) -> Result<Toolchain> {
        match self {
            Self::Native => {
                ensure!(has_target(), "the active toolchain lacks {TARGET}");
                Ok(plain("the active toolchain"))
            }
            Self::Rustup => {
                println!("plugins: asking rustup for {TARGET}");
                run(Command::new("rustup").args(["target", "add", TARGET]))?;
                ensure!(has_target(), "the target is still not there");
                Ok(plain("the active toolchain and the target that rustup has just added"))
            }
            Self::Debian => debian(&root.join("target/wasm-toolchain")),
        }
    }
}

fn plain(name: &'static str) -> Toolchain {
    Toolchain { name, environment: vec![], arguments: vec![] }
}

/// rustc names the folder of a target's libraries whether it exists or not.
fn has_target() -> bool {
    output(Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]))
        .is_ok_and(|dir| fs::read_dir(dir).is_ok_and(|mut files| files.next().is_some()))
}

/// Debian's newest web compiler, unpacked and not installed. It brings no library for the target but
/// the sources of one, and no linker: the active toolchain's is used.
fn debian(dir: &Path) -> Result<Toolchain> {
    let host = output(Command::new("rustc").arg("-vV"))?
        .lines()
        .find_map(|line| line.strip_prefix("host: ").map(str::to_owned))
        .context("rustc -vV names no host")?;
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let linker = Path::new(&sysroot).join("lib/rustlib").join(&host).join("bin/rust-lld");
    ensure!(linker.exists(), "no {}: use a rustup toolchain", linker.display());
    if !dir.exists() {
        println!("plugins: unpacking a private Debian compiler into {} (137 MB to fetch)", dir.display());
        unpack(dir)?;
    }
    let rustc = wrapper(dir, &host)?;
    output(Command::new(&rustc).arg("-V")).with_context(|| {
        "the private compiler does not start; its libraries need `apt-get install libedit2 libxml2 libz3-4`"
    })?;
    Ok(Toolchain {
        name: "a private Debian compiler",
        environment: vec![
            ("RUSTC", rustc.into()),
            // Building the standard library is an unstable feature of cargo.
            ("RUSTC_BOOTSTRAP", "1".into()),
            ("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker.into()),
        ],
        arguments: vec!["-Zbuild-std=std,panic_abort"],
    })
}

/// Fetches and unpacks beside `dir`, and renames when everything is there: a failure leaves nothing
/// that a later run could take for a compiler.
fn unpack(dir: &Path) -> Result<()> {
    let unfinished = dir.with_extension(format!("{}.unfinished", std::process::id()));
    let result = fetch(&unfinished).and_then(|()| match fs::rename(&unfinished, dir) {
        // Another run was faster; its compiler is as good.
        Err(_) if dir.exists() => Ok(()),
        renamed => renamed.with_context(|| dir.display().to_string()),
    });
    if unfinished.exists() {
        let _ = fs::remove_dir_all(&unfinished);
    }
    result
}

fn fetch(dir: &Path) -> Result<()> {
    let debs = dir.join("debs");
    fs::create_dir_all(&debs).with_context(|| debs.display().to_string())?;
    if let Err(stale) = download(&debs, &[]) {
        // The machine's package lists are missing or older than the mirror: fetch private ones.
        println!("plugins: {stale:#}; fetching fresh package lists");
        let lists = dir.join("lists");
        fs::create_dir_all(lists.join("partial")).with_context(|| lists.display().to_string())?;
        let options = [
            format!("Dir::State::lists={}", lists.display()),
            format!("Dir::Cache={}", dir.join("cache").display()),
        ];
        fs::create_dir_all(dir.join("cache/archives/partial"))?;
        run(apt("apt-get", &options).args(["-qq", "update"]))?;
        download(&debs, &options)?;
        fs::remove_dir_all(&lists)?;
        fs::remove_dir_all(dir.join("cache"))?;
    }
    for entry in fs::read_dir(&debs)? {
        run(Command::new("dpkg-deb").arg("-x").arg(entry?.path()).arg(dir.join("root")))?;
    }
    fs::remove_dir_all(&debs)?;
    Ok(())
}

/// The names carry versions that move with Debian's updates, so ask for them.
fn download(debs: &Path, options: &[String]) -> Result<()> {
    let std = depends("rustc-web", "libstd-rust-web-dev", options)?;
    let shared = depends(&std, "libstd-rust-web-", options)?;
    let llvm = depends(&shared, "libllvm", options)?;
    let packages = ["rustc-web", &std, &shared, &llvm, "rust-web-src"];
    run(apt("apt-get", options).args(["-qq", "download"]).args(packages).current_dir(debs))
}

/// The first real dependency of `package` whose name starts with `prefix`.
fn depends(package: &str, prefix: &str, options: &[String]) -> Result<String> {
    let text = output(apt("apt-cache", options).args(["depends", package]))?;
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with(prefix))
        .map(str::to_owned)
        .with_context(|| format!("Debian's {package} does not depend on {prefix}*"))
}

fn apt(program: &str, options: &[String]) -> Command {
    let mut command = Command::new(program);
    command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
    // Root may download into folders that apt's own user cannot write.
    command.args(["-o", "APT::Sandbox::User=root"]);
    command.args(options.iter().flat_map(|option| ["-o", option]));
    command
}

/// A script, so that the loader's path stays away from cargo and build scripts.
fn wrapper(dir: &Path, host: &str) -> Result<PathBuf> {
    let usr = dir.join("root/usr");
    let libraries = usr.join("lib").join(host.replace("-unknown-", "-"));
    let script = format!(
        "#!/bin/sh\nLD_LIBRARY_PATH='{}' exec '{}' \"$@\"\n",
        libraries.display(),
        usr.join("bin/rustc").display()
    );
    let path = dir.join("rustc");
    if fs::read_to_string(&path).is_ok_and(|old| old == script) {
        return Ok(path);
    }
    let temporary = dir.join(format!("rustc.{}.tmp", std::process::id()));
    fs::write(&temporary, script).with_context(|| temporary.display().to_string())?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o755))?;
    fs::rename(&temporary, &path).with_context(|| path.display().to_string())?;
    Ok(path)
}

fn run(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

/// What a program printed; what it complained of is the error.
fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command.stdin(Stdio::null()).output().with_context(|| name.clone())?;
    let complaint = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "{name}: {}", complaint.trim().lines().last().unwrap_or("failed"));
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_leaves_one_way() {
        assert_eq!(ways(None).unwrap(), [Way::Native, Way::Rustup, Way::Debian]);
        assert_eq!(ways(Some("debian")).unwrap(), [Way::Debian]);
        assert!(ways(Some("nix")).unwrap_err().to_string().contains("native, rustup or debian"));
    }

    #[test]
    fn a_failed_download_leaves_no_half_made_toolchain() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("nowhere/wasm-toolchain");
        fs::write(folder.path().join("nowhere"), "a file where a folder should be").unwrap();
        assert!(unpack(&dir).is_err());
        assert!(!dir.exists());
    }
}
