//! What the CA does when its disk, its key's process or its neighbours fail.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bunraku_tests::authority::{self, Authority};
use bunraku_tests::master::{Master, Settings};
use bunraku_tests::network;
use bunraku_tests::openssl::Verdict;
use bunraku_tests::request::{self, Request};
use bunraku_tests::tools;
use tempfile::TempDir;

/// A disk of the test's own.
const DISK: &str = "128m";
/// What a CA wants to have left of it; it must fit a fresh store, with room.
const MIN_FREE: &str = "48MiB";
const FILLER: u64 = 100 << 20;

// faults row 23
#[test]
fn a_ca_on_a_full_disk_revokes_and_signs_nothing_until_there_is_room() -> Result<()> {
    network::alone("a_ca_on_a_full_disk_revokes_and_signs_nothing_until_there_is_room", || {
        let disk = TempDir::new()?;
        let size = format!("size={DISK}");
        tools::run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "disk"]).arg(disk.path()))?;
        let config = Authority::config(&format!("min_free = {MIN_FREE:?}"));
        let settings = Settings { config: &config, folder: Some(disk.path()), ..Settings::default() };
        let ca = Authority::of(Master::start_with(&settings)?)?;
        let early = ca.enrol("early.cluster.test")?;
        let filler = disk.path().join("filler");
        fs::File::create(&filler)?;
        tools::run(Command::new("fallocate").args(["-l", &FILLER.to_string()]).arg(&filler)).or_else(
            |_| {
                // As much as fits.
                Command::new("dd")
                    .args(["if=/dev/zero", "bs=1M", "count=100"])
                    .arg(format!("of={}", filler.display()))
                    .output()?;
                anyhow::Ok(Command::new("true").output()?)
            },
        )?;
        until("not ready", || Ok(ca.master.stranger()?.get("/status/v1/simple")?.status == 503))?;
        let name = "late.cluster.test";
        ca.master.register(name, "classes: {}\n")?;
        let request = Request::named(name)?;
        let answer = request.submit(&ca.master.stranger()?, name)?;
        ensure!([200, 503].contains(&answer.status), "{} {}", answer.status, answer.text());
        let path = format!("/puppet-ca/v1/certificate/{name}");
        let answer = ca.master.stranger()?.get(&path)?;
        ensure!([404, 503].contains(&answer.status), "on a full disk: {} {}", answer.status, answer.text());
        ca.cli(0, &["revoke", "early.cluster.test"])?;
        ca.agree(&[&*early.certificate], &[Verdict::Revoked])?;
        fs::remove_file(&filler)?;
        until("ready again", || Ok(ca.master.stranger()?.get("/status/v1/simple")?.status == 200))?;
        // An agent that asks again gets its certificate.
        until("signed", || {
            request.submit(&ca.master.stranger()?, name)?;
            Ok(ca.certificate(name).is_ok_and(|found| found.is_some()))
        })?;
        ca.cli(0, &["verify"])?;
        Ok(())
    })
}

// faults row 27
#[test]
fn of_two_daemons_on_one_store_the_second_ends_and_names_the_first() -> Result<()> {
    let ca = Authority::start("")?;
    let output = ca.master.command(&["serve"])?;
    let said = tools::text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&ca.master.pid()?.to_string()), "the holder is not named: {said}");
    // It left the first one's files and socket alone.
    ca.enrol("after.cluster.test")?;
    ca.cli(0, &["list", "--all"])?;
    Ok(())
}

// faults row 21
#[test]
fn a_killed_signer_is_replaced_and_nobody_notices() -> Result<()> {
    let ca = Authority::start("")?;
    let mut before = ca.master.signer()?;
    for n in 0..3 {
        tools::run(Command::new("kill").args(["-s", "KILL", &before.to_string()]))?;
        let since = Instant::now();
        let node = ca.enrol(&format!("node{n}.cluster.test"))?;
        eprintln!("signed {:.1?} after the signer was killed", since.elapsed());
        ca.cli(0, &["revoke", &format!("node{n}.cluster.test")])?;
        ca.agree(&[&*node.certificate], &[Verdict::Revoked])?;
        let after = ca.master.signer()?;
        assert_ne!(before, after);
        before = after;
    }
    Ok(())
}

/// The process with the key ends with the daemon, however that ends.
#[test]
fn no_signer_outlives_its_daemon() -> Result<()> {
    let mut ca = Authority::start("")?;
    let signer = ca.master.signer()?;
    ca.master.crash()?;
    until("gone", || Ok(!std::path::Path::new(&format!("/proc/{signer}")).exists()))?;
    ca.master.start_again()?;
    let signer = ca.master.signer()?;
    ensure!(ca.master.stop()?.success());
    until("gone", || Ok(!std::path::Path::new(&format!("/proc/{signer}")).exists()))?;
    Ok(())
}

#[test]
fn the_signer_has_no_network_and_no_files() -> Result<()> {
    let ca = Authority::start("")?;
    let signer = ca.master.signer()?;
    let status = fs::read_to_string(format!("/proc/{signer}/status"))?;
    let field =
        |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).map(str::trim).unwrap_or_default();
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2", "no system call filter");
    for entry in fs::read_dir(format!("/proc/{signer}/fd"))? {
        let target = fs::read_link(entry?.path())?.display().to_string();
        let own =
            target.starts_with("socket:") || target.starts_with("pipe:") || target.starts_with("anon_inode:");
        assert!(own || target == "/dev/null", "the signer holds {target}");
    }
    Ok(())
}

const PASSPHRASE: &str = "correct horse battery staple";

#[test]
fn an_encrypted_key_is_opened_by_its_passphrase_and_by_no_other() -> Result<()> {
    let folder = TempDir::new()?;
    let file = folder.path().join("passphrase");
    let write = |text: &str| -> Result<()> {
        fs::write(&file, text)?;
        Ok(fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?)
    };
    write(&format!("{PASSPHRASE}\n"))?;
    let lines = format!("passphrase_file = {file:?}");
    let mut ca = Authority::start(&lines)?;
    let key = ca.master.state().join("ca/ca_key.pem");
    assert!(fs::read_to_string(&key)?.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    let mut pkey = Command::new("openssl");
    tools::run(
        pkey.args(["pkey", "-noout", "-in"]).arg(&key).arg("-passin").arg(format!("file:{}", file.display())),
    )?;
    let node = ca.enrol("node.cluster.test")?;
    ca.agree(&[&*node.certificate], &[Verdict::Valid])?;
    for process in [ca.master.pid()?, ca.master.signer()?] {
        let line = fs::read(format!("/proc/{process}/cmdline"))?;
        assert!(!String::from_utf8_lossy(&line).contains(PASSPHRASE));
    }
    ensure!(ca.master.stop()?.success());
    write("another\n")?;
    let said = format!("{:#}", ca.master.start_again().err().context("started with a wrong passphrase")?);
    assert!(said.contains("exit status: 2") && said.contains("the passphrase does not open"), "{said}");
    assert!(!said.contains(PASSPHRASE) && !said.contains("another"), "{said}");
    write(&format!("{PASSPHRASE}\n"))?;
    ca.master.start_again()?;
    assert_eq!(ca.certificate("node.cluster.test")?, Some(node.certificate));
    assert!(!ca.master.log().contains(PASSPHRASE));
    Ok(())
}

#[test]
fn a_passphrase_may_come_from_the_environment() -> Result<()> {
    let environment = [("BUNRAKU_CA_PASSPHRASE", PASSPHRASE)];
    let mut master = Master::start_with(&Settings { environment: &environment, ..Settings::default() })?;
    let key = master.state().join("ca/ca_key.pem");
    assert!(fs::read_to_string(&key)?.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    assert!(master.restart()?.success());
    master.register("node.cluster.test", "classes: {}\n")?;
    let node = request::enrol(&master.stranger()?, "node.cluster.test")?;
    authority::agree(&master, &[&*node.certificate], &[Verdict::Valid])?;
    Ok(())
}

// faults rows 25, 26
#[test]
fn half_a_ca_is_no_ca() -> Result<()> {
    for missing in ["ca/ca_key.pem", "ca/ca_crt.pem"] {
        let mut ca = Authority::start("")?;
        ensure!(ca.master.stop()?.success());
        fs::rename(ca.master.state().join(missing), ca.master.state().join("aside"))?;
        let said = format!("{:#}", ca.master.start_again().err().context("started")?);
        assert!(said.contains("exit status: 1"), "{said}");
        assert!(!ca.master.state().join(missing).exists(), "{missing} was made anew");
        fs::rename(ca.master.state().join("aside"), ca.master.state().join(missing))?;
        ca.master.start_again()?;
    }
    let mut ca = Authority::start("")?;
    ensure!(ca.master.stop()?.success());
    let key = ca.master.state().join("ca/ca_key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644))?;
    let said = format!("{:#}", ca.master.start_again().err().context("started with a key for everybody")?);
    assert!(said.contains("exit status: 1") && said.contains("ca_key.pem"), "{said}");
    Ok(())
}

fn until(what: &str, mut yes: impl FnMut() -> Result<bool>) -> Result<()> {
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(20) {
        if yes()? {
            eprintln!("{what} after {:.1?}", since.elapsed());
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    anyhow::bail!("not {what} in 20 s")
}
