//! The throw-away machine itself: it isolates, it cleans up, and a real agent applies to it.

use std::path::Path;

use anyhow::Result;
use bunraku_tests::agent::Agent;
use bunraku_tests::machine::Machine;

#[test]
fn a_file_written_inside_is_not_there_outside() -> Result<()> {
    let machine = Machine::start("leak.cluster.test")?;
    for file in ["/bunraku-leak", "/etc/bunraku-leak", "/tmp/bunraku-leak", "/var/lib/bunraku-leak/x"] {
        machine.write(file, "inside")?;
        assert_eq!(machine.read(file)?, "inside");
        assert!(!Path::new(file).exists(), "{file} leaked out of the machine");
    }
    assert_eq!(machine.shell("hostname")?.trim(), "leak.cluster.test");
    assert_ne!(std::fs::read_to_string("/proc/sys/kernel/hostname")?.trim(), "leak.cluster.test");
    Ok(())
}

#[test]
fn a_dropped_machine_leaves_no_process_and_no_mount() -> Result<()> {
    let marker = format!("86{}", std::process::id());
    let machine = Machine::start("gone.cluster.test")?;
    machine.shell(&format!("setsid sleep {marker} >/dev/null 2>&1 &"))?;
    assert!(machine.processes()?.iter().any(|p| p.command.contains(&marker)), "the process did not start");
    assert!(runs(&marker)?, "the host does not see the machine's process");
    drop(machine);
    assert!(!runs(&marker)?, "a process outlived its machine");
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    assert!(!mounts.contains("bunraku-machine-"), "a mount outlived its machine:\n{mounts}");
    Ok(())
}

#[test]
fn a_panic_in_a_test_ends_its_machine() {
    let marker = format!("87{}", std::process::id());
    let sleeper = marker.clone();
    let outcome = std::thread::spawn(move || {
        let machine = Machine::start("panic.cluster.test").unwrap();
        machine.shell(&format!("setsid sleep {sleeper} >/dev/null 2>&1 &")).unwrap();
        panic!("as a failing test does");
    })
    .join();
    assert!(outcome.is_err());
    assert!(!runs(&marker).unwrap(), "a process outlived the panic");
}

#[test]
fn dead_daemons_are_reaped() -> Result<()> {
    let machine = Machine::start("reaper.cluster.test")?;
    let script =
        "start-stop-daemon --start --background --make-pidfile --pidfile /run/x.pid --exec /bin/sleep -- 600
        start-stop-daemon --stop --pidfile /run/x.pid --retry TERM/5
        ps -e -o stat= | grep -c ^Z || true";
    assert_eq!(machine.shell(script)?.lines().last(), Some("0"));
    Ok(())
}

#[test]
fn the_installed_agent_applies_once_and_then_changes_nothing() -> Result<()> {
    applies(&Agent::installed(), "7.")
}

#[test]
fn agent_8_applies_once_and_then_changes_nothing() -> Result<()> {
    Agent::eight()?.map_or(Ok(()), |agent| applies(&agent, "8."))
}

fn applies(agent: &Agent, version: &str) -> Result<()> {
    let machine = Machine::start_with("apply.cluster.test", &agent.folders())?;
    let found = agent.version(&machine)?;
    assert!(found.starts_with(version), "wanted agent {version}x, found {found}");
    let manifest = "file { '/etc/motd': content => \"${facts['networking']['fqdn']}\\n\" }";
    let first = agent.apply(&machine, &["-e", manifest])?.expect_code(2)?;
    assert_eq!(first.changed(), ["File[/etc/motd]"]);
    assert_eq!(machine.read("/etc/motd")?, "apply.cluster.test\n");
    let second = agent.apply(&machine, &["-e", manifest])?.expect_code(0)?;
    assert!(second.changed().is_empty());
    Ok(())
}

/// Whether any process of the host has this word in its command line.
fn runs(word: &str) -> Result<bool> {
    for entry in std::fs::read_dir("/proc")? {
        let line = std::fs::read(entry?.path().join("cmdline")).unwrap_or_default();
        if line.split(|byte| *byte == 0).any(|part| part == word.as_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
}
