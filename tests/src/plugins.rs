//! Component files for masters that are told to use others than the embedded ones.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The file of a component that `cargo xtask plugins` built: a plugin's name, or `hostile/` and the name
/// of a guest in `tests/guests`, such as `hostile/obedient`, which approves who is called `approve`.
///
/// # Errors
/// When it was not built.
pub fn component(name: &str) -> Result<PathBuf> {
    let built = std::env::var_os("BUNRAKU_PLUGINS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/plugins"), PathBuf::from);
    let file = built.join(format!("{name}.wasm"));
    file.canonicalize()
        .with_context(|| format!("{}: build the plugins first: cargo xtask plugins", file.display()))
}

/// One entry of the configuration: a plugin with its component's file.
pub fn from_file(name: &str, file: &Path) -> String {
    format!("[[plugins]]\nname = {name:?}\npath = {file:?}\n")
}

/// The configuration's entries for the embedded plugins, with settings for `s3-registry` as a TOML table.
pub fn embedded(settings: &str) -> String {
    format!(
        "[[plugins]]\nname = \"s3-registry\"\nsettings = {settings}\n\
         [[plugins]]\nname = \"base\"\n[[plugins]]\nname = \"hadoop\"\n"
    )
}
