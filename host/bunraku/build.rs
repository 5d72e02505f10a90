//! Embeds the default plugins that `cargo xtask plugins` built.

use std::path::{Path, PathBuf};
use std::{env, fs};

const DEFAULT_PLUGINS: [&str; 3] = ["s3-registry", "base", "hadoop"];

fn main() -> std::io::Result<()> {
    println!("cargo:rerun-if-env-changed=BUNRAKU_PLUGINS");
    let var = |name: &str| env::var_os(name).map(PathBuf::from).unwrap_or_default();
    let built = env::var_os("BUNRAKU_PLUGINS")
        .map_or_else(|| var("CARGO_MANIFEST_DIR").join("../../target/plugins"), PathBuf::from);
    let mut table = String::from(
        "/// Name and component of each default plugin.\npub const EMBEDDED: &[(&str, &[u8])] = &[\n",
    );
    for name in DEFAULT_PLUGINS {
        let component = built.join(format!("{name}.wasm"));
        println!("cargo:rerun-if-changed={}", component.display());
        match fs::canonicalize(&component) {
            Ok(path) => table
                .push_str(&format!("    ({name:?}, include_bytes!({:?})),\n", path.display().to_string())),
            Err(_) => println!(
                "cargo:warning=the default plugin `{name}` is not built and will be missing: run `cargo xtask plugins` first"
            ),
        }
    }
    table.push_str("];\n");
    fs::write(Path::new(&var("OUT_DIR")).join("embedded.rs"), table)
}
