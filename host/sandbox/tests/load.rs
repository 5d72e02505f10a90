//! What is not a plugin, and how that is said.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail this way"
)]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bunraku_sandbox::*;
use support::*;

fn check(bytes: &[u8], expected: &str) {
    let error = sandbox(Settings { cache_dir: None, ..settings() }).load(bytes).expect_err("it loads");
    let text = error.to_string();
    assert!(text.contains(expected), "{text}");
    assert!(!text.contains('\n'), "{text}");
}

fn component(text: &str) -> Vec<u8> {
    wat::parse_str(format!("(component {text})")).unwrap()
}

/// The exports that a component of one kind needs, by name only.
const EMPTY: &str = r#"
    (instance $none)
    (export "bunraku:plugin/manifest@0.1.0" (instance $none))
    (export "bunraku:plugin/csr-approval@0.1.0" (instance $none))
"#;

// faults row 55
#[test]
fn what_is_no_component_is_refused() {
    check(b"", "an empty file");
    check(b"#!/bin/sh\n", "but something else");
    check(&[0xa5; 4096], "but something else");
    check(b"\0as", "but something else");
    check(b"\0asm\x0e\0\x02\0", "an unknown version");
    check(&wat::parse_str("(module)").unwrap(), "a core module");
}

// faults row 55
#[test]
fn a_component_over_the_limit_is_refused_unread() {
    let sandbox = sandbox(Settings { component_bytes: 1000, cache_dir: None, ..settings() });
    let error = sandbox.load(&guest("obedient")).unwrap_err();
    assert!(matches!(error, LoadError::TooLarge { limit: 1000, .. }), "{error:?}");
}

// faults row 57
#[test]
fn a_truncated_or_damaged_component_does_not_compile() {
    let whole = guest("obedient");
    for part in [9, 90, whole.len() / 2, whole.len() - 1] {
        check(&whole[..part], "does not compile");
    }
    let mut damaged = whole;
    damaged[8..64].fill(0xff);
    check(&damaged, "does not compile");
}

// faults row 55
#[test]
fn a_compilation_past_its_deadline_is_refused_and_the_next_one_waits() {
    // 4,000 functions of some size.
    let body = "(drop (i32.popcnt (i32.mul (local.get 0) (i32.const 7))))".repeat(40);
    let functions = format!("(func (param i32) {body})").repeat(4_000);
    let slow = component(&format!("(core module {functions})"));
    let sandbox = sandbox(Settings {
        compile_deadline: Duration::from_millis(20),
        load_deadline: Duration::from_millis(1),
        cache_dir: None,
        ..settings()
    });
    let error = sandbox.load(&slow).unwrap_err();
    assert!(matches!(&error, LoadError::Compile(text) if text.starts_with("not done after")), "{error}");
    let error = sandbox.load(&component(EMPTY)).unwrap_err();
    assert!(matches!(error, LoadError::Busy), "{error}");
}

// faults row 46
#[test]
fn a_component_with_more_than_a_slot_has_is_refused() {
    let memory = "(core module $m (memory 1))";
    let instances = "(core instance (instantiate $m))".repeat(1000);
    check(&component(&format!("{memory}{instances}{EMPTY}")), "does not compile");
    check(&component(&format!("(core module (memory 60000)){EMPTY}")), "does not compile");
    check(&component(&format!("(core module (table 10000000 funcref)){EMPTY}")), "does not compile");
}

// faults row 56
#[test]
fn another_version_is_refused() {
    check(
        &component(&EMPTY.replace("csr-approval@0.1.0", "csr-approval@0.2.0")),
        "built for bunraku:plugin/csr-approval@0.2.0, this host speaks bunraku:plugin@0.1.0",
    );
    check(
        &component(&format!(r#"(import "bunraku:plugin/log@0.0.9" (instance)) {EMPTY}"#)),
        "built for bunraku:plugin/log@0.0.9",
    );
}

// faults row 56
#[test]
fn the_wrong_world_is_refused() {
    check(&component(""), "does not export bunraku:plugin/manifest@0.1.0");
    check(
        &component(r#"(instance $none) (export "bunraku:plugin/manifest@0.1.0" (instance $none))"#),
        "no kind",
    );
    check(
        &component(&format!(r#"(import "wasi:http/incoming-handler@0.2.0" (instance)) {EMPTY}"#)),
        "it imports wasi:http/incoming-handler@0.2.0, unknown to this host",
    );
    check(&component(EMPTY), "differs from the contract");
    let wrong_type =
        r#"(import "bunraku:plugin/clock@0.1.0" (instance (export "now" (func (result string)))))"#;
    check(&component(&format!("{wrong_type} {EMPTY}")), "differs from the contract");
}

#[test]
fn every_release_of_wasi_0_2_links() {
    for version in ["0.2.0", "0.2.6", "0.2.99"] {
        let arguments = r#"(export "get-arguments" (func (result (list string))))"#;
        let environment = format!(r#"(import "wasi:cli/environment@{version}" (instance {arguments}))"#);
        // What is wrong with this component is only that its manifest is empty.
        check(&component(&format!("{environment} {EMPTY}")), "describe");
    }
}

// faults row 45
#[test]
fn a_plugin_that_misbehaves_at_load_is_refused() {
    let late = "describe() at load: timeout: no answer within 1000 ms";
    check(&guest("loop_in_describe"), late);
    check(&guest("loop_at_start"), late);
    check(&guest("panic_in_describe"), "describe() at load: trap");
    check(&guest("bad_name"), "its name is `Not a name`");
    check(
        &guest("broken_schema"),
        "classes() at load: invalid answer: the parameters' schema of class hostile",
    );
    check(&guest("class_twice"), "provides the class hostile twice");
}

// faults row 46
#[test]
fn a_start_function_that_hoards_tables_or_memories_is_memory() {
    let hoard = |grow: &str| {
        let module = format!(
            r#"(core module $m (memory 1) (table 1 funcref)
                (func $hoard (loop $again (br_if $again (i32.ge_s {grow} (i32.const 0)))) unreachable)
                (start $hoard)
                (func (export "any")))
             (core instance $i (instantiate $m))
             (func $any (canon lift (core func $i "any")))
             (instance $manifest (export "describe" (func $any)) (export "validate-settings" (func $any)))
             (export "bunraku:plugin/manifest@0.1.0" (instance $manifest))
             (instance $approval (export "decide" (func $any)))
             (export "bunraku:plugin/csr-approval@0.1.0" (instance $approval))"#
        );
        check(&component(&module), "describe() at load: memory: the plugin asked for more than");
    };
    hoard("(table.grow (ref.null func) (i32.const 10000))");
    hoard("(memory.grow (i32.const 16))");
}

#[test]
fn it_loads_inside_a_runtime_too() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let sandbox = sandbox(settings());
        tokio::task::spawn_blocking(move || sandbox.load(&guest("obedient")).unwrap()).await.unwrap();
    });
}

/// Loads the guest with `dir` as cache, after `tamper` had its way with the one file in it.
fn tampered(tamper: impl FnOnce(&Path)) -> PathBuf {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("compiled");
    let load = || {
        let settings = Settings { cache_dir: Some(dir.clone()), ..settings() };
        let plugin = sandbox(settings).load(&guest("obedient")).expect("a doubtful cache fails a load");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        assert!(runtime.block_on(decide(&plugin, "approve")).is_ok());
    };
    load();
    let file = only_file(&dir);
    let before = fs::read(&file).unwrap();
    tamper(&file);
    load();
    // Compiled anew and written over; the machine code of one compiler is the same each time.
    assert!(fs::read(only_file(&dir)).unwrap() == before, "the doubtful file is still there");
    let metadata = fs::symlink_metadata(only_file(&dir)).unwrap();
    assert!(metadata.is_file());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    file
}

fn only_file(dir: &Path) -> PathBuf {
    let files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[test]
fn a_cached_file_in_doubt_is_compiled_anew() {
    tampered(|file| {
        let mut bytes = fs::read(file).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(file, bytes).unwrap();
    });
    tampered(|file| fs::write(file, fs::read(file).unwrap().split_at(5000).0).unwrap());
    tampered(|file| fs::write(file, b"").unwrap());
    tampered(|file| fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap());
    tampered(|file| {
        let elsewhere = file.with_file_name("..").join("elsewhere");
        fs::rename(file, &elsewhere).unwrap();
        symlink(&elsewhere, file).unwrap();
    });
    tampered(|file| fs::hard_link(file, file.with_file_name("..").join("elsewhere")).unwrap());
}

#[test]
fn a_cached_component_is_not_compiled_again() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { cache_dir: Some(dir.path().join("compiled")), ..settings() };
    sandbox(settings.clone()).load(&guest("obedient")).unwrap();
    let file = only_file(settings.cache_dir.as_ref().unwrap());
    let long_ago = fs::File::open(&file).unwrap();
    long_ago.set_modified(std::time::UNIX_EPOCH).unwrap();
    sandbox(settings).load(&guest("obedient")).unwrap();
    assert_eq!(fs::metadata(file).unwrap().modified().unwrap(), std::time::UNIX_EPOCH);
}

#[test]
fn a_cache_folder_open_to_others_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o770)).unwrap();
    let settings = Settings { cache_dir: Some(dir.path().into()), ..settings() };
    sandbox(settings).load(&guest("obedient")).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn the_clock_thread_ends_with_the_sandbox() {
    let count = || {
        let tasks = fs::read_dir("/proc/self/task").unwrap();
        tasks
            .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
            .filter(|name| name.trim() == "sandbox-clock")
            .count()
    };
    // A thread takes its name, and leaves the list, in its own time.
    let until = |done: &dyn Fn(usize) -> bool| {
        let end = std::time::Instant::now() + 10 * SECOND;
        while !done(count()) {
            assert!(std::time::Instant::now() < end, "{} clocks", count());
            std::thread::yield_now();
        }
    };
    let sandboxes: Vec<Arc<Sandbox>> = (0..20).map(|_| sandbox(settings())).collect();
    until(&|clocks| clocks >= 20);
    drop(sandboxes);
    // Other tests of this file hold sandboxes of their own; twenty are gone.
    until(&|clocks| clocks < 20);
}
