//! Running `examples/workload.rs`, with strace under it or without.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use tempfile::TempDir;

/// What a run said and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub facts: Vec<String>,
    /// `None`: a signal ended it.
    pub code: Option<i32>,
    pub errors: String,
    /// What strace wrote down.
    pub trace: String,
}

/// An empty folder, in memory where there is such a place: what reaches a disk is not the question.
pub fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Runs the workload under strace with these options.
pub fn traced(folder: &Path, run: &str, options: &[String]) -> Ran {
    let notes = self::folder();
    let file = notes.path().join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-xx", "-s", "16777216", "-o"]).arg(&file).args(options);
    strace.arg(program()).arg(folder).arg(run);
    let output = strace.output().unwrap_or_else(|error| panic!("faults need the program strace: {error}"));
    let ran = ran(output, std::fs::read_to_string(&file).unwrap_or_default());
    let ran_at_all = ran.trace.contains("exited with") || ran.trace.contains("killed by");
    assert!(ran_at_all, "strace could not trace here (is ptrace forbidden?): {}", ran.errors);
    ran
}

/// Runs the workload as it is.
pub fn plain(folder: &Path, run: &str) -> Ran {
    ran(Command::new(program()).arg(folder).arg(run).output().unwrap(), String::new())
}

fn ran(output: Output, trace: String) -> Ran {
    let facts = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    // strace passes a signal on to itself.
    let code = output.status.signal().map_or(output.status.code(), |_| None);
    Ran { facts, code, errors, trace }
}

/// Built here: cargo builds examples for some ways of asking for a test only, and a stale one lies.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        // <target>/<profile>/deps/faults-…
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().and_then(Path::parent).unwrap();
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo
            .args(["build", "--quiet", "--example", "workload", "--target-dir"])
            .arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        profile.join("examples/workload")
    })
}
