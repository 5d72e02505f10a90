//! Plugin crates to components: every `cdylib` below `plugins/` becomes `target/plugins/NAME.wasm`, every
//! guest in `tests/guests` becomes `target/plugins/hostile/NAME.wasm`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use wit_component::DecodedWasm;

use crate::wasm::{self, TARGET, Toolchain};

/// The folder whose crates are plugins.
const HOME: &str = "plugins";

/// The workspace's build profile for plugins.
const PROFILE: &str = "plugin";

/// The crate whose examples are guests for tests, and their build profile, for many that are built soon.
const GUESTS: (&str, &str) = ("hostile-guests", "hostile");

/// Bytes of stack. Rust's default is a megabyte, which makes every fresh instance dearer for the host.
const STACK: u32 = 64 << 10;

/// Builds every plugin of the workspace at `root`, and tells where the components are, ordered by name.
/// A component is written only when it differs, so that its time of change means something.
///
/// # Errors
/// No compiler for the target can be had, a plugin does not compile, or it is no component.
pub fn build(root: &Path) -> Result<Vec<PathBuf>> {
    let start = Instant::now();
    let crates = plugin_crates(root)?;
    ensure!(!crates.is_empty(), "no cdylib crate below {}", HOME);
    let toolchain = wasm::choose(root)?;
    println!("plugins: compiling {} with {}", list(&crates), toolchain.name);
    let modules = compile(root, &toolchain, &crates)?;
    let out = root.join("target/plugins");
    let guests = guests(root, &toolchain, &out.join("hostile"))?;
    let mut components = vec![];
    for plugin in &crates {
        let module = modules.join(format!("{}.wasm", plugin.target.replace('-', "_")));
        let component = componentize(&module).with_context(|| format!("plugin {}", plugin.name))?;
        let path = out.join(format!("{}.wasm", plugin.name));
        let news = if write(&path, &component)? { "new" } else { "unchanged" };
        println!("plugins: {} {} bytes, {news}", plugin.name, component.len());
        components.push(path);
    }
    println!(
        "plugins: {} components in {}, {} hostile ones ({:.1} s)",
        components.len(),
        out.display(),
        guests,
        start.elapsed().as_secs_f32()
    );
    Ok(components)
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PluginCrate {
    /// The package, and so the component.
    name: String,
    /// The library in it.
    target: String,
}

fn list(crates: &[PluginCrate]) -> String {
    crates.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ")
}

#[derive(Deserialize)]
struct CargoMetadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    crate_types: Vec<String>,
}

fn plugin_crates(root: &Path) -> Result<Vec<PluginCrate>> {
    let out = cargo(root)
        .args(["metadata", "--no-deps", "--format-version=1"])
        .output()
        .context("cargo metadata")?;
    ensure!(out.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&out.stderr).trim());
    select(root, serde_json::from_slice(&out.stdout).context("cargo metadata")?)
}

fn select(root: &Path, metadata: CargoMetadata) -> Result<Vec<PluginCrate>> {
    let root = root.canonicalize().with_context(|| root.display().to_string())?;
    let home = root.join(HOME);
    let mut found: Vec<_> = metadata
        .packages
        .into_iter()
        .filter(|package| package.manifest_path.starts_with(&home))
        .filter_map(|package| {
            let target = package.targets.into_iter().find(|t| t.crate_types.iter().any(|c| c == "cdylib"))?;
            Some(PluginCrate { name: package.name, target: target.name })
        })
        .collect();
    found.sort();
    Ok(found)
}

/// A cargo call for each crate, which may name the one crate type that guests are: with an rlib beside
/// it, for the native tests, cargo leaves out link-time optimisation and a guest grows by half. They
/// share all that they depend on. Tells the folder with the core modules.
fn compile(root: &Path, toolchain: &Toolchain, crates: &[PluginCrate]) -> Result<PathBuf> {
    let build = root.join("target/plugins-build");
    for PluginCrate { name, .. } in crates {
        let mut command = cargo(root);
        command.args(["rustc", "--quiet", "--lib", "--crate-type=cdylib", "--package", name]);
        let status =
            for_guests(&mut command, root, toolchain, PROFILE, &build).status().context("cargo rustc")?;
        ensure!(status.success(), "the plugin {name} does not compile ({status})");
    }
    Ok(build.join(TARGET).join(PROFILE))
}

/// Builds the guests for tests into `out`, and tells how many.
fn guests(root: &Path, toolchain: &Toolchain, out: &Path) -> Result<usize> {
    let (package, profile) = GUESTS;
    let build = root.join("target/plugins-build");
    let mut command = cargo(root);
    command.args(["build", "--quiet", "--examples", "--package", package]);
    let status =
        for_guests(&mut command, root, toolchain, profile, &build).status().context("cargo build")?;
    ensure!(status.success(), "the guests of {package} do not compile ({status})");
    fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let mut names: Vec<_> = fs::read_dir(root.join("tests/guests/examples"))?
        .map(|file| Ok(file?.path().with_extension("wasm").file_name().unwrap_or_default().to_owned()))
        .collect::<Result<_>>()?;
    names.sort();
    for name in &names {
        let module = build.join(TARGET).join(profile).join("examples").join(name);
        let component = componentize(&module).with_context(|| format!("guest {}", name.display()))?;
        write(&out.join(name), &component)?;
    }
    Ok(names.len())
}

fn for_guests<'a>(
    command: &'a mut Command,
    root: &Path,
    toolchain: &Toolchain,
    profile: &str,
    build: &Path,
) -> &'a mut Command {
    command
        .args(["--profile", profile, "--target", TARGET, "--target-dir"])
        .arg(build)
        .args(&toolchain.arguments)
        .envs(toolchain.environment.iter().map(|(name, value)| (name, value)))
        // It outranks every other way to set flags, so that what a developer exports for the host
        // does not end up in guests.
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(root).join("\u{1f}"))
        .env_remove("CARGO_BUILD_TARGET")
}

/// The same source gives the same component in every folder and home: panics name no path of this
/// machine.
fn rustflags(root: &Path) -> Vec<String> {
    let mut flags = vec![format!("-Clink-arg=-zstack-size={STACK}")];
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    if let Some(home) = home {
        flags.push(format!("--remap-path-prefix={}=/cargo", home.display()));
    }
    flags.push(format!("--remap-path-prefix={}=/bunraku", root.display()));
    flags
}

fn componentize(module: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(module).with_context(|| module.display().to_string())?;
    let mut encoder = wit_component::ComponentEncoder::default();
    encoder.validate(true);
    encoder.module(&bytes).context("no usable component type in the module: does it call sdk::export!?")?;
    let component = encoder.encode().context("the module is no component")?;
    // Without sdk::export! the result is a component too: an empty one.
    let exports = match wit_component::decode(&component).context("the component does not decode")? {
        DecodedWasm::Component(resolve, world) => resolve.worlds.get(world).map_or(0, |w| w.exports.len()),
        DecodedWasm::WitPackage(..) => 0,
    };
    ensure!(exports > 0, "it exports nothing: does it call sdk::export!?");
    Ok(component)
}

/// Writes beside the file and renames, so that nobody ever reads half a component. False if the file
/// held these bytes already.
fn write(path: &Path, bytes: &[u8]) -> Result<bool> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&temporary, bytes).with_context(|| temporary.display().to_string())?;
    fs::rename(&temporary, path).with_context(|| path.display().to_string())?;
    Ok(true)
}

fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cdylib_crates_of_the_plugin_folders_are_plugins() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let package = |name: &str, folder: &str, kind: &str| Package {
            name: name.into(),
            manifest_path: root.join(folder).join("Cargo.toml"),
            targets: vec![Target { name: name.into(), crate_types: vec!["rlib".into(), kind.into()] }],
        };
        let metadata = CargoMetadata {
            packages: vec![
                package("s3-registry", "plugins/s3-registry", "cdylib"),
                package("sdk", "plugins/sdk", "lib"),
                package("hostile", "tests/guests", "cdylib"),
                package("elsewhere", "host/plugins", "cdylib"),
            ],
        };
        let names: Vec<_> = select(&root, metadata).unwrap().into_iter().map(|c| c.name).collect();
        assert_eq!(names, ["s3-registry"]);
    }

    #[test]
    fn an_unchanged_component_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.wasm");
        assert!(write(&path, b"one").unwrap());
        assert!(!write(&path, b"one").unwrap());
        assert!(write(&path, b"two").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn a_core_module_without_the_sdk_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let check = |bytes: &[u8], expected: &str| {
            let path = folder.path().join("p.wasm");
            fs::write(&path, bytes).unwrap();
            let error = format!("{:#}", componentize(&path).unwrap_err());
            assert!(error.contains(expected), "{error}");
        };
        check(b"\0asm\x01\0\0\0", "sdk::export!");
        check(b"\0asm\x01\0\0\0garbage", "no usable component type");
    }
}
