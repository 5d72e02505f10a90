//! Keys made, opened, refused, and what they sign, in this process and in another.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::panic,
    reason = "tests"
)]

mod stage;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use bunraku_signer::{Error, InProcess, KeyHolder, passphrase};
use pki::{KeyKind, Passphrase, SignError};
use stage::{NOW, Spy, Stage, certify, is_there, self_signed};
use time::Duration;

fn openssl(stage: &Stage, arguments: &str) -> String {
    let out = Command::new("openssl")
        .current_dir(stage.path(""))
        .args(arguments.split(' '))
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "openssl {arguments}: {said}");
    said.into_owned()
}

fn holders(stage: &Stage) -> [Box<dyn KeyHolder>; 2] {
    [Box::new(InProcess::new(None)), Box::new(stage.process(&["signer"]))]
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn every_kind_of_key_signs_what_openssl_verifies() {
    fn check(kind: KeyKind, digest: &str, encrypted: bool) {
        let stage = Stage::new();
        let secret = encrypted.then(|| stage.path("secret"));
        if let Some(secret) = &secret {
            fs::write(secret, "sesame öffne dich\n").unwrap();
            set_mode(secret, 0o600);
        }
        let process = stage.process_with(&["signer"], secret.clone());
        let path = stage.path("key.pem");
        let made = process.create(kind, &path).unwrap();
        let metadata = path.metadata().unwrap();
        assert_eq!(metadata.mode() & 0o7777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.contains("ENCRYPTED"), encrypted, "{kind}");
        let opened = process.open(&path, None).unwrap();
        let here = InProcess::new(passphrase(secret.as_deref()).unwrap()).open(&path, None).unwrap();
        let pass = if encrypted { " -passin file:secret" } else { "" };
        openssl(&stage, &format!("pkey -in key.pem -pubout -out public.pem{pass}"));
        fs::write(stage.path("message"), "to be signed").unwrap();
        for key in [made, opened, here] {
            fs::write(stage.path("signature"), key.sign(b"to be signed").unwrap()).unwrap();
            let said =
                openssl(&stage, &format!("dgst -{digest} -verify public.pem -signature signature message"));
            assert!(said.contains("Verified OK"), "{kind}: {said}");
        }
    }
    check(KeyKind::EcP256, "sha256", false);
    check(KeyKind::EcP256, "sha256", true);
    check(KeyKind::EcP384, "sha384", false);
    check(KeyKind::Rsa2048, "sha256", false);
    check(KeyKind::Rsa3072, "sha256", true);
    check(KeyKind::Rsa4096, "sha256", false);
}

#[test]
fn a_key_is_never_overwritten_and_leaves_nothing_beside_it() {
    let stage = Stage::new();
    for holder in holders(&stage) {
        let path = stage.path("key.pem");
        fs::write(stage.path("key.pem.making"), "left by a power cut").unwrap();
        holder.create(KeyKind::EcP256, &path).unwrap();
        let before = fs::read(&path).unwrap();
        let error = holder.create(KeyKind::EcP256, &path).unwrap_err();
        assert!(matches!(&error, Error::Exists { path: there } if *there == path), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
        let files: Vec<_> = fs::read_dir(stage.path("")).unwrap().map(|f| f.unwrap().file_name()).collect();
        assert_eq!(files, ["key.pem"]);
        let nowhere = stage.path("no/such/folder/key.pem");
        let error = holder.create(KeyKind::EcP256, &nowhere).unwrap_err();
        assert!(matches!(&error, Error::Io { source, .. } if source.raw_os_error() == Some(2)), "{error:?}");
        fs::remove_file(path).unwrap();
    }
}

// faults row 26
#[test]
fn a_key_that_cannot_be_used_says_which_file_and_what_to_do() {
    let stage = Stage::new();
    let fine = stage.path("fine.pem");
    InProcess::new(None).create(KeyKind::EcP256, &fine).unwrap();
    let text = fs::read_to_string(&fine).unwrap();
    let closed = stage.path("encrypted.pem");
    let right = || Some(Passphrase::new(b"right one".to_vec()).unwrap());
    InProcess::new(right()).create(KeyKind::EcP256, &closed).unwrap();
    let file = |name: &str, text: &str, mode: u32| {
        fs::write(stage.path(name), text).unwrap();
        set_mode(&stage.path(name), mode);
        stage.path(name)
    };
    let wrong = file("wrong", "wrong one\n", 0o600);
    file("open.pem", &text, 0o644);
    file("group.pem", &text, 0o640);
    file("writable.pem", &text, 0o602);
    file("words.pem", "sesame", 0o600);
    file("half.pem", text.get(..60).unwrap(), 0o600);
    file("large.pem", &"x".repeat(1024 * 1024 + 1), 0o600);
    fs::create_dir(stage.path("folder.pem")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, stage.path("pipe.pem"), rustix::fs::Mode::RUSR).unwrap();

    let check = |name: &str, secret: Option<&Path>, expected: fn(&Error) -> bool, remedy: &str| {
        let path = stage.path(name);
        let there = stage.process_with(&["signer"], secret.map(Path::to_owned));
        let here = passphrase(secret).map(InProcess::new);
        let tried = [there.open(&path, None), here.and_then(|here| here.open(&path, None))];
        for error in tried.map(Result::unwrap_err) {
            let said = error.to_string();
            assert!(expected(&error), "{name}: {error:?}");
            assert!(said.contains(remedy) && !said.contains('\n'), "{name}: {said}");
            assert!(
                said.contains(name) || said.contains(secret.unwrap().to_str().unwrap()),
                "{name}: {said}"
            );
            for leak in ["sesame", "right one", "wrong one", text.lines().nth(1).unwrap()] {
                assert!(!format!("{said}{error:?}").contains(leak), "{name}: {said}");
            }
        }
        assert!(there.alive() && stage.children().is_empty(), "nothing stays");
    };
    check("none.pem", None, |e| matches!(e, Error::Missing { .. }), "restore it from a backup");
    check("open.pem", None, |e| matches!(e, Error::Mode { mode: 0o644, .. }), "run `chmod 600 /");
    check("group.pem", None, |e| matches!(e, Error::Mode { mode: 0o640, .. }), "run `chmod 600 /");
    check("writable.pem", None, |e| matches!(e, Error::Mode { mode: 0o602, .. }), "run `chmod 600 /");
    check("words.pem", None, |e| matches!(e, Error::Key { .. }), "must be one");
    check("half.pem", None, |e| matches!(e, Error::Key { .. }), "must be one");
    check("large.pem", None, |e| matches!(e, Error::Key { .. }), "more than 1 MiB");
    check("folder.pem", None, |e| matches!(e, Error::Key { .. }), "not a file");
    check("pipe.pem", None, |e| matches!(e, Error::Key { .. }), "not a file");
    check("encrypted.pem", None, |e| matches!(e, Error::PassphraseMissing { .. }), "ca.passphrase_file");
    check("encrypted.pem", Some(&wrong), |e| matches!(e, Error::PassphraseWrong { .. }), "check ca.pass");

    let secret = |e: &Error| matches!(e, Error::Passphrase { .. });
    check("fine.pem", Some(&stage.path("absent")), secret, "no such file");
    check("fine.pem", Some(&file("empty", "\n", 0o600)), secret, "empty");
    check("fine.pem", Some(&file("long", &"x".repeat(5000), 0o600)), secret, "4 KiB");
    let open = file("open-secret", "right one", 0o604);
    check("fine.pem", Some(&open), |e| matches!(e, Error::Mode { mode: 0o604, .. }), "run `chmod 600 /");

    // A file of somebody else's: root can make one, others find one.
    let others = |e: &Error| matches!(e, Error::Owner { .. });
    if rustix::process::geteuid().is_root() {
        let path = file("others.pem", &text, 0o600);
        std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
        check("others.pem", None, others, "run `chown 0 /");
        check("fine.pem", Some(&path), others, "run `chown 0 /");
    } else {
        check("/etc/passwd", None, others, "run `chown ");
    }
    for holder in holders(&stage) {
        let other = self_signed("other", InProcess::new(right()).open(&closed, None).unwrap());
        let error = holder.open(&fine, Some(&other)).unwrap_err();
        assert!(matches!(error, Error::OtherKey { .. }), "{error}");
    }
}

#[test]
fn a_sealed_key_signs_for_its_ca_and_nothing_else() {
    let stage = Stage::new();
    let (path, ca) = stage.ca(KeyKind::EcP256);
    for holder in holders(&stage) {
        let free = holder.open(&path, None).unwrap();
        assert!(free.sign(b"anything").is_ok());
        let other = self_signed("other", Arc::clone(&free));
        let sealed = holder.open(&path, Some(&ca)).unwrap();
        assert_eq!(sealed.public(), &ca.key);

        let leaf = certify(&ca, &sealed).unwrap();
        assert!(leaf.is_signed_by(&ca));
        let issuer = pki::Issuer::open(ca.clone(), Arc::clone(&sealed)).unwrap();
        let crl = pki::crl::sign(7, NOW, NOW + Duration::DAY, Vec::new(), &issuer).unwrap();
        assert!(!crl.to_pem().is_empty());

        let refused = |what: &str, result: Result<(), SignError>| {
            assert!(matches!(result, Err(SignError::Refused(_))), "{what}: {result:?}");
        };
        refused("bytes", sealed.sign(b"anything").map(drop));
        refused("no bytes", sealed.sign(b"").map(drop));
        refused("many bytes", sealed.sign(&vec![0x30; 1_000_000]).map(drop));
        let (from, to) = (NOW, NOW + Duration::DAY);
        refused("a CA", pki::create_issuer("stage", Arc::clone(&sealed), from, to).map(drop));
        refused("its own renewal", pki::renew_issuer(&issuer, from, to).map(drop));
        refused("a request", pki::issuer_request("stage", &sealed).map(drop));
        refused("another's leaf", certify(&other, &sealed).map(drop));
        let mut message = Spy::message(&ca, &sealed);
        assert!(sealed.sign(&message).is_ok());
        message.push(0);
        refused("a leaf and a byte", sealed.sign(&message).map(drop));
        assert_eq!(holder.restarts(), 0, "no refusal costs a signer");
    }
}

#[test]
fn many_threads_get_each_their_own_signature() {
    let stage = Stage::new();
    let (path, ca) = stage.ca(KeyKind::EcP256);
    let process = stage.process(&["signer"]);
    let key = process.open(&path, Some(&ca)).unwrap();
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                for _ in 0..10 {
                    assert!(certify(&ca, &key).unwrap().is_signed_by(&ca));
                }
            });
        }
    });
    assert!(process.alive());
    assert_eq!(process.restarts(), 0);
}

#[test]
fn what_a_list_of_a_million_entries_needs_is_signed_and_not_a_byte_more() {
    let stage = Stage::new();
    let process = stage.process(&["signer"]);
    let key = process.create(KeyKind::EcP256, &stage.path("key.pem")).unwrap();
    let most = vec![7; 64 * 1024 * 1024];
    assert!(key.sign(&most).is_ok());
    let error = key.sign(&vec![7; most.len() + 1]).unwrap_err();
    assert!(matches!(&error, SignError::Library(why) if why.contains("too many")), "{error}");
    assert!(key.sign(b"and another").is_ok());
    assert_eq!(process.restarts(), 0);
}

#[test]
fn a_key_that_nobody_has_any_more_leaves_no_process() {
    let stage = Stage::new();
    let (path, _) = stage.ca(KeyKind::EcP256);
    let process = stage.process(&["signer"]);
    let key = process.open(&path, None).unwrap();
    let another = Arc::clone(&key);
    let child = stage.child();
    drop((key, process));
    assert!(another.sign(b"still there").is_ok());
    drop(another);
    assert!(!is_there(child), "not even a zombie");
}
