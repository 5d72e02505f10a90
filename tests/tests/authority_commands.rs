//! `bunraku ca`: what it does to a running CA, what it says, and with which exit code.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bunraku_tests::authority::{self, Authority};
use bunraku_tests::master::{Master, Settings};
use bunraku_tests::openssl::{self, Verdict};
use bunraku_tests::request::{self, Identity};
use bunraku_tests::tools;
use serde_json::{Value, json};
use tempfile::TempDir;

const KINDS: [(&str, &str); 5] = [
    ("ec-p256", "prime256v1"),
    ("ec-p384", "secp384r1"),
    ("rsa-2048", "(2048 bit)"),
    ("rsa-3072", "(3072 bit)"),
    ("rsa-4096", "(4096 bit)"),
];

#[test]
fn names_are_listed_signed_revoked_and_cleaned() -> Result<()> {
    let ca = Authority::start("")?;
    for name in ["a.cluster.test", "b.cluster.test", "c.cluster.test"] {
        ca.wait_for(name)?;
    }
    let said = ca.cli(0, &["list"])?;
    assert!(said.contains("a.cluster.test") && said.contains("not-found"), "why it waits: {said}");
    assert!(!said.contains(Authority::ADMIN), "{said}");
    ca.cli(1, &["list", "--certname", "nobody.cluster.test"])?;
    ca.cli(0, &["sign", "a.cluster.test", "--ttl", "1d"])?;
    ca.cli(1, &["sign", "nobody.cluster.test"])?;
    ca.cli(24, &["sign", "b.cluster.test", "nobody.cluster.test"])?;
    ca.cli(0, &["sign", "--all"])?;
    let listed = ca.json(0, &["list", "--all"])?;
    let names = |state: &str| -> Vec<&str> {
        listed[state].as_array().into_iter().flatten().filter_map(|row| row["name"].as_str()).collect()
    };
    for name in ["a.cluster.test", "b.cluster.test", "c.cluster.test", Authority::ADMIN] {
        assert!(names("signed").contains(&name), "{name}: {listed}");
    }
    let certificates = ["a", "b", "c"].map(|name| ca.certificate(&format!("{name}.cluster.test")));
    let [a, b, c] = certificates.map(|found| found.ok().flatten().unwrap_or_default());
    ca.cli(0, &["revoke", "a.cluster.test", "--reason", "keyCompromise"])?;
    ca.cli(0, &["revoke", "--serial", &format!("0x{}", openssl::serial(&b)?)])?;
    ca.cli(1, &["revoke", "nobody.cluster.test"])?;
    ca.cli(24, &["clean", "c.cluster.test", "nobody.cluster.test"])?;
    ca.cli(0, &["clean", "a.cluster.test"])?;
    assert_eq!(ca.certificate("a.cluster.test")?, None);
    ca.agree(&[&*a, &*b, &*c], &[Verdict::Revoked, Verdict::Revoked, Verdict::Revoked])?;
    assert!(ca.cli(0, &["list", "--all"])?.contains("b.cluster.test"));
    ca.cli(2, &["list", "--nonsense"])?;
    ca.cli(0, &["verify"])?;
    Ok(())
}

#[test]
fn requests_are_rejected_and_ended_certificates_forgotten() -> Result<()> {
    let ca = Authority::start("")?;
    ca.wait_for("unwanted.cluster.test")?;
    ca.cli(0, &["delete", "unwanted.cluster.test"])?;
    assert!(!ca.cli(0, &["list"])?.contains("unwanted"));
    let live = ca.enrol("live.cluster.test")?;
    // What is in force is hidden from nobody: it is refused, or revoked with it.
    let _ = ca.master.command(&["ca", "delete", "live.cluster.test"])?;
    let verdict = ca.believed()?.verify([&*live.certificate])?;
    let served = ca.certificate("live.cluster.test")?.is_some();
    ensure!(verdict == [if served { Verdict::Valid } else { Verdict::Revoked }], "hidden and {verdict:?}");
    ca.enrol("old.cluster.test")?;
    ca.cli(0, &["revoke", "old.cluster.test"])?;
    ca.cli(0, &["delete", "--revoked"])?;
    assert!(!ca.cli(0, &["list", "--all"])?.contains("old.cluster.test"));
    ca.cli(0, &["prune"])?;
    ca.cli(0, &["verify"])?;
    Ok(())
}

#[test]
fn keys_are_made_here_and_certificates_renewed_by_name() -> Result<()> {
    let ca = Authority::start("")?;
    let folder = TempDir::new()?;
    let out = folder.path().join("made");
    let text = out.display().to_string();
    let name = "made.cluster.test";
    let words = ["generate", name, "--dns-alt-names", "www.cluster.test,ftp.cluster.test", "--out", &text];
    ca.cli(0, &words)?;
    let file = |end: &str| fs::read_to_string(out.join(format!("{name}_{end}.pem")));
    let made = Identity { certificate: file("crt")?, key: file("key")? };
    let said = openssl::text(&made.certificate)?;
    for alt in ["DNS:made.cluster.test", "DNS:www.cluster.test", "DNS:ftp.cluster.test"] {
        assert!(said.contains(alt), "{alt}: {said}");
    }
    assert_eq!(fs::read_to_string(out.join("ca_crt.pem"))?, ca.master.ca()?);
    assert_eq!(out.join(format!("{name}_key.pem")).metadata()?.permissions().mode() & 0o777, 0o600);
    // No key is replaced.
    ca.cli(1, &words)?;
    assert_eq!(file("key")?, made.key);

    ca.cli(0, &["renew", name])?;
    let renewed = ca.certificate(name)?.context("no certificate")?;
    assert_ne!(openssl::serial(&renewed)?, openssl::serial(&made.certificate)?);
    let said = openssl::text(&renewed)?;
    assert!(said.contains("DNS:www.cluster.test"), "the renewed one lost its names: {said}");
    assert!(ca.client(&Identity { certificate: renewed, key: made.key }).is_ok());
    ca.cli(1, &["renew", "nobody.cluster.test"])?;
    Ok(())
}

#[test]
fn the_list_is_shown_and_signed_anew() -> Result<()> {
    let ca = Authority::start("")?;
    let before = ca.believed()?.list()?;
    let said = ca.cli(0, &["crl"])?;
    assert!(said.contains(&before.number.to_string()), "{said}");
    ca.cli(0, &["crl", "--publish"])?;
    assert!(ca.believed()?.list()?.number > before.number);
    Ok(())
}

#[test]
fn an_administrator_works_from_another_machine() -> Result<()> {
    let ca = Authority::start("")?;
    let folder = TempDir::new()?;
    let file = |name: &str| folder.path().join(name).display().to_string();
    fs::write(file("crt"), &ca.identity.certificate)?;
    fs::write(file("key"), &ca.identity.key)?;
    fs::write(file("ca"), ca.master.ca()?)?;
    ca.wait_for("far.cluster.test")?;
    let server = format!("localhost:{}", ca.master.address().port());
    let (crt, key, bundle) = (file("crt"), file("key"), file("ca"));
    let far = ["--server", &server, "--cert", &crt, "--key", &key, "--ca", &bundle];
    // Without this master's configuration.
    let run = |words: &[&str]| -> Result<std::process::Output> {
        let mut command = Command::new(bunraku_tests::master::program()?);
        Ok(command.arg("ca").args(words).args(far).output()?)
    };
    let said = tools::text(&run(&["list"])?);
    assert!(said.contains("far.cluster.test"), "{said}");
    let output = run(&["sign", "far.cluster.test"])?;
    assert_eq!(output.status.code(), Some(0), "{}", tools::text(&output));
    assert!(ca.certificate("far.cluster.test")?.is_some());
    // A node's certificate opens nothing.
    let node = ca.enrol("node.cluster.test")?;
    fs::write(file("crt"), &node.certificate)?;
    fs::write(file("key"), &node.key)?;
    let output = run(&["list"])?;
    assert_eq!(output.status.code(), Some(1), "{}", tools::text(&output));
    Ok(())
}

#[test]
fn a_command_for_a_daemon_that_does_not_run_says_so() -> Result<()> {
    let master = Master::prepare(&Settings::default())?;
    let output = master.command(&["ca", "list"])?;
    assert_eq!(output.status.code(), Some(1), "{}", tools::text(&output));
    assert!(tools::text(&output).contains("control.sock"), "{}", tools::text(&output));
    Ok(())
}

#[test]
fn a_ca_of_every_kind_of_key_signs_what_openssl_believes() -> Result<()> {
    for (kind, words) in KINDS {
        let mut master = Master::prepare(&Settings::default())?;
        authority::cli(&master, 0, &["setup", "--key-kind", kind, "--name", "A CA of this kind"])?;
        // A CA is there: another one is not made over it.
        authority::cli(&master, 1, &["setup"])?;
        master.start_again()?;
        let bundle = master.ca()?;
        let said = openssl::text(&bundle)?;
        assert!(said.contains(words) && said.contains("CN = A CA of this kind"), "{kind}: {said}");
        let name = "node.cluster.test";
        master.register(name, "classes: {}\n")?;
        let node = request::enrol(&master.stranger()?, name)?;
        authority::agree(&master, &[&*node.certificate], &[Verdict::Valid])?;
        authority::cli(&master, 0, &["revoke", name])?;
        authority::agree(&master, &[&*node.certificate], &[Verdict::Revoked])?;
        authority::cli(&master, 0, &["verify"])?;
    }
    Ok(())
}

#[test]
fn a_self_signed_ca_gets_a_new_certificate_for_its_key() -> Result<()> {
    let mut ca = Authority::start("")?;
    let node = ca.enrol("node.cluster.test")?;
    let old = ca.master.ca()?;
    // Not while a daemon holds the store.
    ca.cli(1, &["renew", "--ca"])?;
    ensure!(ca.master.stop()?.success());
    ca.cli(0, &["renew", "--ca"])?;
    ca.master.start_again()?;
    let new = ca.master.ca()?;
    assert_ne!(openssl::serial(&old)?, openssl::serial(&new)?);
    ca.agree(&[&*node.certificate], &[Verdict::Valid])?;
    ca.cli(0, &["verify"])?;
    Ok(())
}

// Serials and CRL numbers do not repeat, whatever a backup has forgotten.
#[test]
fn a_restored_ca_repeats_no_serial_and_no_crl_number() -> Result<()> {
    let mut ca = Authority::start("")?;
    let kept = ca.enrol("kept.cluster.test")?;
    let folder = TempDir::new()?;
    let file = folder.path().join("ca.tar");
    let text = file.display().to_string();
    ca.cli(0, &["backup", &text])?;
    assert_eq!(file.metadata()?.permissions().mode() & 0o777, 0o600);
    ca.cli(1, &["backup", &text])?;
    let forgotten = ca.enrol("forgotten.cluster.test")?;
    for _ in 0..3 {
        ca.cli(0, &["crl", "--publish"])?;
    }
    ca.cli(0, &["revoke", "kept.cluster.test"])?;
    let before = ca.believed()?.list()?;
    let bundle = ca.master.ca()?;
    // Not under a running daemon, and not over a CA without being told.
    ca.cli(1, &["restore", &text, "--force"])?;
    ensure!(ca.master.stop()?.success());
    ca.cli(1, &["restore", &text])?;
    ca.cli(0, &["restore", &text, "--force"])?;
    ca.master.start_again()?;
    assert_eq!(ca.master.ca()?, bundle);
    let after = ca.believed()?.list()?;
    assert!(after.number > before.number, "{} after {}", after.number, before.number);
    // What the list that was there knew is not forgotten.
    ca.agree(&[&kept.certificate], &[Verdict::Revoked])?;
    assert_eq!(ca.certificate("forgotten.cluster.test")?, None);
    ca.cli(0, &["revoke", "--serial", &openssl::serial(&forgotten.certificate)?])?;
    ca.agree(&[&forgotten.certificate], &[Verdict::Revoked])?;
    let mut serials = vec![openssl::serial(&kept.certificate)?, openssl::serial(&forgotten.certificate)?];
    for name in ["new1.cluster.test", "new2.cluster.test", "new3.cluster.test"] {
        let serial = openssl::serial(&ca.enrol(name)?.certificate)?;
        assert!(!serials.contains(&serial));
        serials.push(serial);
    }
    ca.cli(0, &["verify"])?;

    // On another machine: an empty state.
    let mut other = Master::prepare(&Settings::default())?;
    authority::cli(&other, 0, &["restore", &text])?;
    other.start_again()?;
    assert_eq!(other.ca()?, bundle);
    assert_eq!(
        request::certificate(&other.stranger()?, "kept.cluster.test")?.as_ref(),
        Some(&kept.certificate)
    );
    // A torn backup is none.
    let torn = folder.path().join("torn.tar");
    let bytes = fs::read(&file)?;
    fs::write(&torn, bytes.get(..bytes.len() / 2).unwrap_or_default())?;
    let third = Master::prepare(&Settings::default())?;
    authority::cli(&third, 1, &["restore", &torn.display().to_string()])?;
    ensure!(!third.state().join("ca/ca_key.pem").exists(), "half a CA was restored");
    Ok(())
}

#[test]
fn what_is_exported_is_imported_with_every_bad_row_named() -> Result<()> {
    let mut ca = Authority::start("")?;
    let node = ca.enrol("node.cluster.test")?;
    let gone = ca.enrol("gone.cluster.test")?;
    ca.wait_for("waits.cluster.test")?;
    ca.cli(0, &["revoke", "gone.cluster.test"])?;
    let bundle = ca.master.ca()?;
    ensure!(ca.master.stop()?.success());
    let folder = TempDir::new()?;
    let out = folder.path().join("ca");
    let text = out.display().to_string();
    ca.cli(0, &["export", &text])?;
    // As OpenSSL and Puppet read it.
    let key =
        tools::run(Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(out.join("ca_key.pem")))?;
    let mut public = Command::new("openssl");
    public.args(["x509", "-noout", "-pubkey", "-in"]).arg(out.join("ca_crt.pem"));
    assert_eq!(key.stdout, tools::run(&mut public)?.stdout);
    let inventory = fs::read_to_string(out.join("inventory.txt"))?;
    assert!(inventory.lines().any(|line| line.starts_with("0x") && line.ends_with("/CN=node.cluster.test")));
    assert_eq!(fs::read_to_string(out.join("signed/node.cluster.test.pem"))?, node.certificate);
    assert!(out.join("requests/waits.cluster.test.pem").exists());

    for (file, text) in [
        ("signed/broken.cluster.test.pem", "no certificate\n"),
        ("requests/broken.cluster.test.pem", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n"),
    ] {
        fs::write(out.join(file), text)?;
    }
    fs::write(out.join("inventory.txt"), format!("{inventory}0xZZ no row\n"))?;
    fs::write(out.join("signed/foreign.cluster.test.pem"), foreign(folder.path())?)?;
    let mut other = Authority { master: Master::prepare(&Settings::default())?, ..ca };
    let output = other.master.command(&["ca", "import", &text])?;
    let said = tools::text(&output);
    assert_eq!(output.status.code(), Some(24), "{said}");
    for bad in ["signed/broken.cluster.test.pem", "requests/broken", "inventory.txt", "foreign.cluster.test"]
    {
        assert!(said.contains(bad), "{bad} is not named:\n{said}");
    }
    // A CA is there now, and is not taken over by another.
    other.cli(1, &["import", &text])?;
    other.master.start_again()?;
    assert_eq!(other.master.ca()?, bundle);
    assert_eq!(other.certificate("node.cluster.test")?.as_ref(), Some(&node.certificate));
    other.agree(&[&*node.certificate, &*gone.certificate], &[Verdict::Valid, Verdict::Revoked])?;
    other.master.register("node.cluster.test", "classes: {}\n")?;
    assert_eq!(other.client(&node)?.catalog("node.cluster.test", &json!({}))?.status, 200);
    let listed: Value = other.json(0, &["list"])?;
    assert!(listed.to_string().contains("waits.cluster.test"), "{listed}");
    other.cli(0, &["verify"])?;
    Ok(())
}

/// A certificate of nobody that we know.
fn foreign(folder: &Path) -> Result<String> {
    openssl::openssl(folder, "req -x509 -newkey rsa:2048 -nodes -keyout f.key -out f.pem -subj /CN=foreign")?;
    Ok(fs::read_to_string(folder.join("f.pem"))?)
}
