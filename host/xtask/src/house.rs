//! Checks that the house stands as `host/README.md` draws it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell;

/// What each crate may import of ours. `bunraku` and `xtask` may import all.
const IMPORTS: [(&str, &[&str]); 18] = [
    ("bunraku-http", &["master", "files", "pki", "ca", "store", "follower"]),
    (
        "bunraku-master",
        &[
            "ca",
            "catalog",
            "decide",
            "definition",
            "files",
            "follower",
            "journal",
            "outgoing",
            "pki",
            "registry",
            "rollout",
            "sandbox",
            "store",
        ],
    ),
    ("bunraku-rollout", &["catalog", "decide", "outgoing", "sandbox", "store"]),
    ("bunraku-ca", &["pki", "signer", "store"]),
    ("bunraku-follower", &["client", "pki"]),
    ("bunraku-client", &["pki"]),
    ("bunraku-signer", &["pki"]),
    ("bunraku-sandbox", &[]),
    ("bunraku-decide", &[]),
    ("bunraku-catalog", &[]),
    ("bunraku-registry", &[]),
    ("bunraku-journal", &[]),
    ("bunraku-store", &[]),
    ("bunraku-outgoing", &[]),
    ("bunraku-pki", &[]),
    ("bunraku-files", &[]),
    ("bunraku-definition", &[]),
    ("bunraku-plugin-sdk", &[]),
];

/// Where the file of the CA's key is named.
const KEY_IN: [&str; 4] = ["host/ca", "host/signer", "host/xtask", "tests"];

/// Lines a source file may have.
const MAX_LINES: usize = 600;

/// Reports every wall that is not where it should be.
pub fn check(root: &Path) -> Result<()> {
    let mut problems = Vec::new();
    let metadata =
        shell::output("cargo", &["metadata", "--format-version", "1", "--no-deps", "--offline"], root)
            .or_else(|_| shell::output("cargo", &["metadata", "--format-version", "1", "--no-deps"], root))?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata")?;
    imports(&metadata, &mut problems);
    let sources = sources(root)?;
    for (path, text) in &sources {
        let name = path.strip_prefix(root).unwrap_or(path).display();
        let lines = text.lines().count();
        if lines > MAX_LINES {
            problems.push(format!(
                "{name} has {lines} lines, more than {MAX_LINES}: what is its second subject?"
            ));
        }
        let knows_the_key = KEY_IN.iter().any(|folder| path.starts_with(root.join(folder)));
        if text.contains("ca_key.pem") && !knows_the_key {
            problems.push(format!("{name} names the CA key's file; only host/signer opens it, for host/ca"));
        }
    }
    if problems.is_empty() {
        println!(
            "house: {} crates, {} source files, every wall in its place",
            IMPORTS.len() + 2,
            sources.len()
        );
        return Ok(());
    }
    bail!("the house is not as drawn:\n  {}", problems.join("\n  "));
}

fn imports(metadata: &Value, problems: &mut Vec<String>) {
    let allowed: BTreeMap<&str, &[&str]> = IMPORTS.into_iter().collect();
    let packages = metadata.get("packages").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let ours: BTreeSet<&str> = packages.iter().filter_map(|p| p.get("name")?.as_str()).collect();
    for package in packages {
        let Some(name) = package.get("name").and_then(Value::as_str) else { continue };
        for dependency in package.get("dependencies").and_then(Value::as_array).into_iter().flatten() {
            let Some(wanted) = dependency.get("name").and_then(Value::as_str) else { continue };
            let for_tests = dependency.get("kind").and_then(Value::as_str) == Some("dev");
            if wanted.starts_with("wasmtime") && name != "bunraku-sandbox" {
                problems.push(format!("{name} depends on {wanted}; only bunraku-sandbox may"));
            }
            let Some(allowed) = allowed.get(name).filter(|_| ours.contains(wanted) && !for_tests) else {
                continue;
            };
            let short = wanted.strip_prefix("bunraku-").unwrap_or(wanted);
            if !allowed.contains(&short) {
                problems.push(format!("{name} imports {wanted}; it may import only {allowed:?}"));
            }
        }
    }
}

fn sources(root: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    let mut folders = vec![root.join("host"), root.join("plugins"), root.join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                found.push((path, text));
            }
        }
    }
    Ok(found)
}
