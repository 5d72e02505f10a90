//! Taking over a Puppet CA, and giving one away. The real thing is made by the tool of Debian's
//! puppetserver; odd ones are made of our own CA's export.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

mod world;

use std::path::{Path, PathBuf};
use std::process::Command;

use bunraku_ca::export::export;
use bunraku_ca::import::{Report, import};
use bunraku_ca::verify::{Level, verify};
use bunraku_ca::{Authority, Error};
use pki::crl::{Crl, Reason};
use pki::{Certname, RequestRules};
use store::{RequestKey, RequestRow, Store};
use time::Duration;
use world::{World, first, request, request_for};

fn name(name: &str) -> Certname {
    Certname::parse(name).unwrap()
}

async fn take_over(world: &World, dir: &Path) -> (Result<Report, Error>, std::sync::Arc<Store>) {
    let store = world.store().await;
    (import(dir, &world.settings, &store, world.now).await, store)
}

fn problems(report: &Report) -> Vec<String> {
    let line = |line: Option<usize>| line.map_or(String::new(), |line| format!(":{line}"));
    report.problems.iter().map(|p| format!("{}{}: {}", p.file, line(p.line), p.why)).collect()
}

async fn submit(store: &Store, request: &pki::CertificateRequest, now: time::OffsetDateTime) {
    let row = RequestRow {
        key: RequestKey { certname: request.certname.to_string(), key_digest: request.key_digest.to_hex() },
        pem: request.to_pem(),
        fingerprint: request.fingerprint.to_string(),
        submitted_at: now.unix_timestamp(),
        peer: None,
        decision: None,
    };
    store.add_request(&row, 10, 10).await.unwrap();
}

/// A folder in Puppet's layout with: `web1` signed, `gone` revoked and cleaned, `bad` revoked, `old`
/// renewed once, a request of `new`, a master `m1`.
async fn given_away() -> (World, PathBuf) {
    let world = World::new();
    let (authority, store) = world.open().await;
    let mut made = Vec::new();
    for certname in ["web1", "gone", "bad", "old"] {
        made.push(authority.issue(&request(certname), first(), world.now).await.unwrap());
    }
    authority.clean(&name("gone"), Reason::CessationOfOperation, world.now).await.unwrap();
    authority.revoke(&made[2].serial, Reason::KeyCompromise, world.now).await.unwrap();
    authority.renew(&made[3], world.now).await.unwrap();
    authority.add_master(&name("m1"), &[""; 0], world.now).await.unwrap();
    submit(&store, &request("new"), world.now).await;
    submit(&store, &request("new"), world.now).await;
    authority.publish_now(world.now).await.unwrap();
    let dir = world.dir.path().join("puppet");
    let report = export(&world.settings, &store, &dir, world.now).await.unwrap();
    assert_eq!((report.certificates, report.requests), (5, 1));
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    assert!(report.problems[0].why.contains("another candidate waits too"));
    let again = export(&world.settings, &store, &dir, world.now).await.unwrap_err();
    assert!(again.to_string().contains("not empty"), "{again}");
    drop(authority);
    store.close().await;
    (world, dir)
}

#[tokio::test]
async fn what_is_given_away_in_puppets_layout_can_be_taken_over() {
    let (old, dir) = given_away().await;
    let read = |file: &str| std::fs::read_to_string(dir.join(file)).unwrap();
    assert_eq!(read("inventory.txt").lines().count(), 5);
    assert!(read("inventory.txt").lines().next().unwrap().ends_with("UTC /CN=web1"));
    assert_eq!((read("serial"), read("infra_inventory.txt")), ("0001".into(), "m1\n".into()));
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(dir.join("ca_key.pem")).unwrap().permissions().mode() & 0o777, 0o600);
    let mut signed: Vec<_> = std::fs::read_dir(dir.join("signed"))
        .unwrap()
        .map(|f| f.unwrap().file_name().into_string().unwrap())
        .collect();
    signed.sort();
    assert_eq!(signed, ["bad.pem", "old.pem", "web1.pem"]);
    for (file, fine) in [("web1", true), ("old", true), ("bad", false)] {
        let verify = format!(
            "verify -x509_strict -crl_check -CRLfile puppet/ca_crl.pem -CAfile puppet/ca_crt.pem puppet/signed/{file}.pem"
        );
        assert_eq!(old.openssl(&verify).0, fine, "{file}");
    }
    old.run("pkey -in puppet/ca_key.pem -noout");
    old.run("req -in puppet/requests/new.pem -noout -verify");

    let world = World::new();
    let (report, store) = take_over(&world, &dir).await;
    let report = report.unwrap();
    assert_eq!(problems(&report), [""; 0]);
    assert_eq!((report.certificates, report.requests, report.revoked, report.masters), (5, 1, 2, 1));
    let twice = import(&dir, &world.settings, &store, world.now).await.unwrap_err();
    assert!(matches!(twice, Error::Exists { .. }), "{twice}");
    let authority = world.try_open(&store).await.unwrap();
    assert_eq!(authority.fingerprint(), report.bundle.issuer().fingerprint);
    assert_eq!(world.mode("ca_key.pem"), 0o600);
    let old_number = Crl::parse_pem(read("ca_crl.pem").as_bytes()).unwrap().number;
    assert_eq!(authority.trust().number, old_number, "nothing new to say");
    assert!(authority.is_master(&name("m1")));
    let web1 = authority.certificate(&name("web1")).await.unwrap().unwrap();
    authority.renew(&web1, world.now).await.unwrap();
    let error = authority.issue(&request("bad"), first(), world.now).await.unwrap_err();
    assert!(matches!(error, Error::NameRevoked { .. }), "{error}");
    authority.issue(&request("gone"), first(), world.now).await.unwrap();
    let error = authority.issue(&request("old"), first(), world.now).await.unwrap_err();
    assert!(matches!(error, Error::AlreadySigned { .. }), "{error}");
    // Both of `old`, the one without a file too.
    assert_eq!(authority.revoke_name(&name("old"), Reason::KeyCompromise, world.now).await.unwrap().len(), 2);
    authority.publish_now(world.now).await.unwrap();
    let findings = verify(&world.settings, &store, world.now).await;
    assert!(findings.iter().all(|f| f.level != Level::Error), "{findings:?}");
}

#[tokio::test]
async fn odd_rows_and_files_are_named_and_left_out() {
    let (_old, dir) = given_away().await;
    let other = World::new();
    let (elsewhere, _) = other.open().await;
    let foreign = elsewhere.issue(&request("foreign"), first(), other.now).await.unwrap();
    let put = |file: &str, text: &str| std::fs::write(dir.join(file), text).unwrap();
    let inventory = std::fs::read_to_string(dir.join("inventory.txt")).unwrap();
    let lines: Vec<_> = inventory.lines().collect();
    let dates = "2020-01-01T00:00:00UTC 2021-01-01T00:00:00UTC";
    let big = "F".repeat(40);
    let odd = [
        "# Inventory of signed certificates",
        lines[0],
        "0x0007 yesterday tomorrow /CN=odd",
        lines[0],
        &lines[1].replace("/CN=gone", "/CN=\u{1b}[31m"),
        lines[2],
        &format!("0x{big} {dates} /CN=ancient"),
        &format!("0x0003 {dates} /CN=Upper"),
        lines[3],
    ];
    put("inventory.txt", &odd.join("\n"));
    put("serial", "zz");
    put("root_key.pem", "");
    put("infra_inventory.txt", "m1\n\nUPPER\n");
    put("signed/foreign.pem", &foreign.to_pem());
    put("signed/cut.pem", "-----BEGIN CERTIFICATE-----\n");
    put("signed/readme", "");
    std::fs::rename(dir.join("signed/web1.pem"), dir.join("signed/web2.pem")).unwrap();
    put("requests/rubbish.pem", "rubbish");
    put("requests/names.pem", &request_for("names", &["puppet"]).to_pem());
    std::fs::create_dir(dir.join("requests/folder.pem")).unwrap();

    let mut world = World::new();
    world.settings.request_rules = RequestRules::default();
    let (report, store) = take_over(&world, &dir).await;
    let report = report.unwrap();
    let said = problems(&report);
    for part in [
        "inventory.txt:3: the time \"yesterday\" is not in UTC",
        "inventory.txt:4: the serial 0x",
        "inventory.txt:5: ",
        "inventory.txt: 0x",
        "signed/cut.pem: ",
        "signed/foreign.pem: it is signed by CN=Puppet CA: test, not by the key",
        "signed/readme: it is no .pem file",
        "signed/web2.pem: it is the certificate of \"web1\"",
        "requests/rubbish.pem: ",
        "requests/names.pem: certificate request 'names' contains subject alternative names",
        "requests/folder.pem: ",
        "infra_inventory.txt:3: ",
        "serial: it is no number",
        "root_key.pem: the key of the root",
    ] {
        assert!(said.iter().any(|line| line.starts_with(part)), "{part}\n{}", said.join("\n"));
    }
    assert_eq!(said.len(), 14, "{}", said.join("\n"));
    assert!(said.iter().all(|line| !line.contains('\u{1b}')));
    // web1, bad, old, ancient, Upper, and the renewed `old` that only signed/ has.
    assert_eq!((report.certificates, report.requests, report.revoked, report.masters), (6, 1, 2, 1));
    let authority = world.try_open(&store).await.unwrap();
    assert!(store.certificate_by_serial(&big).await.unwrap().is_some_and(|row| row.der.is_empty()));
    // `gone`, whose line was odd, is on the list all the same.
    assert_eq!(authority.trust().revoked.len(), 2);
    let found = verify(&world.settings, &store, world.now).await;
    assert!(found.iter().all(|f| f.level != Level::Error), "{found:?}");
}

#[tokio::test]
async fn without_key_chain_or_lists_nothing_is_taken_over() {
    let other = World::new();
    other.open().await;
    for (what, expected) in [("ca_key.pem", "no CA in"), ("ca_crt.pem", "no CA in")] {
        let (_old, dir) = given_away().await;
        std::fs::remove_file(dir.join(what)).unwrap();
        let world = World::new();
        let error = take_over(&world, &dir).await.0.unwrap_err();
        assert!(error.to_string().contains(expected), "{what}: {error}");
    }
    let (_old, dir) = given_away().await;
    let world = World::new();
    let key = std::fs::read(dir.join("ca_key.pem")).unwrap();
    std::fs::copy(other.path("ca_key.pem"), dir.join("ca_key.pem")).unwrap();
    let (outcome, store) = take_over(&world, &dir).await;
    let error = outcome.unwrap_err();
    assert!(error.to_string().contains("is not the key of"), "{error}");
    std::fs::write(dir.join("ca_key.pem"), key).unwrap();
    // And the list is missing: what it would have been numbered, nobody knows.
    std::fs::remove_file(dir.join("ca_crl.pem")).unwrap();
    std::fs::remove_file(dir.join("infra_crl.pem")).unwrap();
    let report = import(&dir, &world.settings, &store, world.now).await.unwrap();
    assert_eq!(report.revoked, 0);
    let said = problems(&report);
    assert!(said.iter().any(|line| line.contains("what it has revoked is not known")), "{said:?}");
    let authority = world.try_open(&store).await.unwrap();
    assert!(authority.trust().number > u64::try_from(world.now.unix_timestamp()).unwrap() << 20);
}

#[tokio::test]
async fn an_import_cut_short_serves_nothing_and_is_run_again() {
    let (_old, dir) = given_away().await;
    let world = World::new();
    let (report, store) = take_over(&world, &dir).await;
    let fingerprint = report.unwrap().bundle.issuer().fingerprint;
    // As it is before the CA's own record is written.
    store.set_meta("ca.fingerprint", "").await.unwrap();
    for file in ["ca_key.pem", "ca_crt.pem"] {
        std::fs::rename(world.path(file), world.path(&format!("{file}.new"))).unwrap();
    }
    let error = world.try_open(&store).await.err().unwrap();
    assert!(matches!(error, Error::HalfImported { .. }), "{error}");
    let report = import(&dir, &world.settings, &store, world.now).await.unwrap();
    assert_eq!((report.certificates, report.revoked), (5, 2));
    let authority = world.try_open(&store).await.unwrap();
    assert_eq!(authority.fingerprint(), fingerprint);
}

/// The CA that Debian's `puppetserver ca setup` makes: a root, and an intermediate that signs.
#[tokio::test]
async fn the_ca_of_a_real_puppetserver_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().display();
    let settings = format!(
        "[main]\nssldir = {root}/ssl\nconfdir = {root}\ncodedir = {root}/code\nvardir = {root}/var\n\
         [server]\ncadir = {root}/ca\ncertname = puppet.import.test\n"
    );
    let config = folder.path().join("puppet.conf");
    std::fs::write(&config, settings).unwrap();
    let mut setup = Command::new("puppetserver");
    setup.args(["ca", "setup", "--ca-name", "Puppet CA: import", "--config"]).arg(&config);
    let made = setup.output();
    let made = made.expect("the package puppetserver is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    let world = World::new();
    let (report, store) = take_over(&world, &folder.path().join("ca")).await;
    let report = report.unwrap();
    assert_eq!((report.certificates, report.requests, report.revoked), (1, 0, 0));
    assert_eq!(problems(&report).len(), 1, "{:?}", problems(&report));
    assert!(problems(&report)[0].starts_with("root_key.pem"));
    let authority = world.try_open(&store).await.unwrap();
    assert_eq!(authority.name(), "Puppet CA: import");
    let lists = Crl::parse_pem_all(authority.trust().crls.as_bytes()).unwrap();
    assert_eq!((lists.len(), authority.trust().bundle.certificates().len()), (2, 2));
    let server = name("puppet.import.test");
    let old = authority.certificate(&server).await.unwrap().unwrap();
    assert_eq!(old.extension("pp_cli_auth"), Some("true"));
    let identity = authority.server_identity(&server, &["puppet"], world.now).await.unwrap();
    assert_ne!(identity.certificate.serial, old.serial, "its key was not ours to take");
    let node = authority.issue(&request("node"), first(), world.now).await.unwrap();
    authority.publish_now(world.now).await.unwrap();
    for (file, certificate) in [("node.pem", &node), ("old.pem", &old), ("server.pem", &identity.certificate)]
    {
        world.write(file, certificate.to_pem());
        world.run(&format!(
            "verify -x509_strict -crl_check_all -CRLfile ca/ca_crl.pem -CAfile ca/ca_crt.pem {file}"
        ));
    }
    let findings = verify(&world.settings, &store, world.now).await;
    assert!(findings.iter().all(|f| f.level != Level::Error), "{findings:?}");
    // A list that is as old as Puppet lets it get is signed anew as we do.
    drop(authority);
    let later = world.now + Duration::days(4);
    let authority = Authority::open(world.settings.clone(), store, later).await.unwrap();
    assert_eq!(authority.trust().this_update, later);
}
