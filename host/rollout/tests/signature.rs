//! Signatures on components, made by openssl as an operator makes them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bunraku_rollout::{SignatureError, SigningKeys};

/// A folder in which openssl makes keys and signatures.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Desk {
        let desk = Desk(tempfile::tempdir().unwrap());
        std::fs::write(desk.path("x.wasm"), COMPONENT).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn openssl(&self, arguments: &str) -> Vec<u8> {
        let run = Command::new("openssl").args(arguments.split(' ')).current_dir(self.0.path()).output();
        let run = run.unwrap();
        assert!(run.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&run.stderr));
        run.stdout
    }

    /// A private key under a name, and its public half as `NAME.pem`.
    fn key(&self, name: &str, kind: &str) -> PathBuf {
        self.openssl(&format!("genpkey -quiet -algorithm {kind} -out {name}.key"));
        self.openssl(&format!("pkey -in {name}.key -pubout -out {name}.pem"));
        self.path(&format!("{name}.pem"))
    }

    fn sign(&self, key: &str, kind: &str) -> Vec<u8> {
        if kind == ED25519 {
            self.openssl(&format!("pkeyutl -sign -rawin -inkey {key}.key -in x.wasm -out x.wasm.sig"));
        } else {
            self.openssl(&format!("dgst -sha256 -sign {key}.key -out x.wasm.sig x.wasm"));
        }
        std::fs::read(self.path("x.wasm.sig")).unwrap()
    }
}

const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0 and what follows";
const ED25519: &str = "ED25519";
const P256: &str = "EC -pkeyopt ec_paramgen_curve:P-256";

fn keys(configured: &[(&str, &str)]) -> Result<SigningKeys, Vec<SignatureError>> {
    let configured: BTreeMap<String, String> =
        configured.iter().map(|(name, key)| ((*name).to_owned(), (*key).to_owned())).collect();
    SigningKeys::parse(&configured)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn what_openssl_signs_is_believed_and_nothing_else() {
    for kind in [ED25519, P256] {
        let desk = Desk::new();
        let (ours, theirs) = (desk.key("ours", kind), desk.key("theirs", kind));
        let both = keys(&[("release", text(&ours)), ("spare", text(&theirs))]).unwrap();
        let signature = desk.sign("ours", kind);
        assert_eq!(both.verify(COMPONENT, &signature), Ok("release"));
        assert_eq!(both.verify(COMPONENT, &desk.sign("theirs", kind)), Ok("spare"));
        // As `openssl base64` folds it, and in one line.
        std::fs::write(desk.path("raw"), &signature).unwrap();
        assert_eq!(both.verify(COMPONENT, &desk.openssl("base64 -in raw")), Ok("release"));
        assert_eq!(both.verify(COMPONENT, STANDARD.encode(&signature).as_bytes()), Ok("release"));
        // Another key, another file, and every way of cutting or changing the signature.
        let other = keys(&[("spare", text(&theirs))]).unwrap();
        let refused = |keys: &SigningKeys, component: &[u8], signature: &[u8]| {
            let refused = keys.verify(component, signature).unwrap_err();
            assert!(matches!(refused, SignatureError::Mismatch(_)), "{refused}");
            refused.to_string()
        };
        assert!(refused(&other, COMPONENT, &signature).contains("(`spare`)"));
        refused(&both, b"", &signature);
        let changed: Vec<u8> = COMPONENT.iter().map(|byte| byte ^ u8::from(*byte == b'w')).collect();
        refused(&both, &changed, &signature);
        for length in 0..signature.len() {
            refused(&both, COMPONENT, signature.get(..length).unwrap());
            let flipped: Vec<u8> =
                signature.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == length)).collect();
            refused(&both, COMPONENT, &flipped);
        }
        refused(&both, COMPONENT, b"not a signature");
        assert_eq!(both.verify(COMPONENT, &[b'A'; 2000]), Err(SignatureError::Odd(2000)));
    }
}

#[test]
fn an_ed25519_key_is_written_in_one_line() {
    let desk = Desk::new();
    let key = desk.key("ours", ED25519);
    let der = desk.openssl("pkey -in ours.key -pubout -outform DER");
    let bare = der.get(der.len() - 32..).unwrap();
    let signature = desk.sign("ours", ED25519);
    for written in [bare, &der].map(|bytes| format!("ed25519:{}", STANDARD.encode(bytes))) {
        assert_eq!(keys(&[("k", &written)]).unwrap().verify(COMPONENT, &signature), Ok("k"));
    }
    assert_eq!(format!("{:?}", keys(&[("k", text(&key))]).unwrap()), "{\"k\"}");
}

#[test]
fn a_signature_without_a_key_says_so() {
    let none = keys(&[]).unwrap();
    assert!(none.is_empty());
    assert_eq!(none.verify(COMPONENT, b"x"), Err(SignatureError::NoKeys));
}

#[test]
fn keys_of_no_use_are_told_all_at_once() {
    let desk = Desk::new();
    let rsa = desk.key("rsa", "RSA -pkeyopt rsa_keygen_bits:2048");
    let p384 = desk.key("p384", "EC -pkeyopt ec_paramgen_curve:P-384");
    let p256 = desk.key("p256", P256);
    let x25519 = desk.key("x25519", "X25519");
    let secret = desk.path("p256.key");
    let (cut, word) = (desk.path("cut.pem"), desk.path("word.pem"));
    let whole = std::fs::read(&p256).unwrap();
    std::fs::write(&cut, whole.get(..whole.len() / 2).unwrap()).unwrap();
    std::fs::write(&word, "hello").unwrap();
    let p256_line =
        format!("ed25519:{}", STANDARD.encode(desk.openssl("pkey -in p256.key -pubout -outform DER")));
    let none = desk.path("none.pem");
    let cases = [
        ("a", text(&rsa), "is an RSA key; plugins are signed with Ed25519 or ECDSA P-256"),
        ("b", text(&p384), "is an ECDSA key on another curve than P-256"),
        ("c", text(&x25519), "is a key of kind 1.3.101.110"),
        ("d", text(&secret), "is a private key"),
        ("e", text(&cut), "there is no PEM"),
        ("f", text(&word), "there is no PEM"),
        ("g", text(&none), "cannot be read"),
        ("h", "ed25519:AAAA", "has 3 bytes after `ed25519:`"),
        ("i", "ed25519:???", "is no base64"),
        ("j", p256_line.as_str(), "is another kind of key"),
        ("k", "", "cannot be read"),
    ];
    let all: Vec<_> = cases.iter().map(|(name, written, _)| (*name, *written)).collect();
    let wrong = keys(&all).map(|_| ()).unwrap_err();
    assert_eq!(wrong.len(), cases.len(), "{wrong:#?}");
    let private = std::fs::read_to_string(&secret).unwrap();
    for (wrong, (name, _, expected)) in wrong.iter().zip(cases) {
        let told = wrong.to_string();
        assert!(told.starts_with(&format!("the plugin key `{name}` ")) && told.contains(expected), "{told}");
        assert!(!private.lines().any(|line| told.contains(line)), "{told}");
    }
}
