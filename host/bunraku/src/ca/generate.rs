//! `bunraku ca generate`: a key made here, a certificate for it from the CA.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use client::{Method, StatusCode};
use pki::{Certificate, Certname, KeyKind, SigningKey};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde_json::{Map, Value, json};

use super::certificates::{object, some};
use super::tally::Tally;
use crate::arguments::Online;
use crate::call::{Call, said};
use crate::config::Config;
use crate::setup::Failure;

/// What is to be generated.
pub struct Wanted {
    /// Certificate names.
    pub names: Vec<String>,
    /// Other names of each.
    pub dns_alt_names: Vec<String>,
    /// With `pp_cli_auth`.
    pub admin: bool,
    /// Life; the CA's default where none.
    pub ttl: Option<Duration>,
    /// Of the keys.
    pub key: KeyKind,
    /// Where they are written.
    pub out: PathBuf,
}

/// Generates each, and writes its files.
pub async fn run(config: &Config, wanted: &Wanted, online: &Online) -> Result<(), Failure> {
    some(&wanted.names)?;
    let call = Call::ca(config, online)?;
    std::fs::create_dir_all(&wanted.out).map_err(|e| cannot("make", &wanted.out, &e))?;
    let mut tally = Tally::of("certname", online.output);
    for name in &wanted.names {
        match one(&call, wanted, name).await {
            Ok((sentence, more)) => tally.done(name, "generated", &sentence, more),
            Err(failure) => tally.failed(name, &failure.message),
        }
    }
    tally.finish("")
}

async fn one(call: &Call, wanted: &Wanted, name: &str) -> Result<(String, Map<String, Value>), Failure> {
    // The name becomes a file's, so it is checked here already.
    let certname = Certname::parse(name).map_err(Failure::new)?;
    let file = |end: &str| wanted.out.join(format!("{certname}_{end}.pem"));
    let (key_file, certificate_file) = (file("key"), file("crt"));
    if certificate_file.exists() {
        return Err(Failure::new(format_args!(
            "{} is there already: say another folder with --out",
            certificate_file.display()
        )));
    }
    let kind = wanted.key;
    // An RSA key takes a while.
    let key = tokio::task::spawn_blocking(move || SigningKey::generate(kind)).await;
    let key = key.map_err(Failure::new)?.map_err(Failure::new)?.to_secret_pem();
    let request = request(&certname, &wanted.dns_alt_names, &key)?;
    // Before the CA is asked: a certificate whose key found no room would be of no use.
    write(&key_file, key.as_bytes(), 0o600)?;
    let certified = certify(call, wanted, &certname, &request).await;
    let certified = certified.and_then(|pem| {
        write(&certificate_file, pem.as_bytes(), 0o644)?;
        Certificate::parse_pem(pem.as_bytes()).map_err(Failure::new)
    });
    let certificate = match certified {
        Ok(certificate) => certificate,
        Err(failure) => {
            // Made a moment ago, and certified by nobody; the first error is the one to tell.
            drop(std::fs::remove_file(&key_file));
            return Err(failure);
        }
    };
    bundle(call, &wanted.out).await?;
    let sentence = format!("generated {certname}: {} and {}", certificate_file.display(), key_file.display());
    let more = json!({
        "serial": format!("0x{}", certificate.serial),
        "fingerprint": certificate.fingerprint.to_string(),
        "certificate_file": certificate_file,
        "key_file": key_file,
    });
    Ok((sentence, more.as_object().cloned().unwrap_or_default()))
}

async fn certify(
    call: &Call,
    wanted: &Wanted,
    certname: &Certname,
    request: &str,
) -> Result<String, Failure> {
    let body = object([
        ("csr", Some(request.into())),
        ("admin", Some(wanted.admin.into())),
        ("ttl", wanted.ttl.map(|ttl| ttl.as_secs().into())),
    ]);
    let answered = call.ask(Method::POST, "/bunraku/v1/ca/generate", Some(&body)).await?;
    if !answered.status.is_success() {
        return Err(Failure::new(said(&answered)));
    }
    let answer: Value = serde_json::from_slice(&answered.body).map_err(Failure::new)?;
    let pem = answer.get("certificate").and_then(Value::as_str);
    pem.map(str::to_owned)
        .ok_or_else(|| Failure::new(format_args!("the CA's answer has no certificate for {certname}")))
}

/// A request for this name, signed with the key.
fn request(certname: &Certname, alt_names: &[String], key: &str) -> Result<String, Failure> {
    let key = KeyPair::from_pem(key).map_err(Failure::new)?;
    let mut parameters = CertificateParams::new(alt_names)
        .map_err(|e| Failure::with_code(2, format_args!("--dns-alt-names {}: {e}", alt_names.join(","))))?;
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, certname.as_str());
    parameters.serialize_request(&key).and_then(|request| request.pem()).map_err(Failure::new)
}

/// The CA's certificates, for whoever is going to ask a server with the new one.
async fn bundle(call: &Call, out: &Path) -> Result<(), Failure> {
    let answered = call.ask(Method::GET, "/puppet-ca/v1/certificate/ca", None).await?;
    if answered.status != StatusCode::OK {
        return Err(Failure::new(said(&answered)));
    }
    let path = out.join("ca_crt.pem");
    match std::fs::read(&path) {
        Ok(there) if there == answered.body => Ok(()),
        Ok(_) => Err(Failure::new(format_args!(
            "{} is of another CA: say another folder with --out",
            path.display()
        ))),
        Err(_) => write(&path, &answered.body, 0o644),
    }
}

/// Writes a new file through to the disk; its mode is there from the first byte.
fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), Failure> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = file.map_err(|e| match e.kind() {
        ErrorKind::AlreadyExists => {
            Failure::new(format_args!("{} is there already: say another folder with --out", path.display()))
        }
        _ => cannot("write", path, &e),
    })?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(|e| cannot("write", path, &e))
}

fn cannot(verb: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format_args!("cannot {verb} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use pki::{CertificateRequest, RequestRules};

    use super::*;

    #[test]
    fn every_kind_of_key_makes_a_request_that_our_own_ca_reads() {
        let rules = RequestRules { allow_subject_alt_names: true, ..RequestRules::default() };
        let certname = Certname::parse("admin.example.test").unwrap();
        for kind in [KeyKind::EcP256, KeyKind::EcP384, KeyKind::Rsa2048] {
            let key = SigningKey::generate(kind).unwrap().to_secret_pem();
            let pem = request(&certname, &["www.example.test".to_owned()], &key).unwrap();
            let read = CertificateRequest::parse(pem.as_bytes(), &rules).unwrap();
            assert_eq!(read.certname, certname, "{kind}");
        }
    }

    #[test]
    fn a_key_is_for_its_owner_alone_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a_key.pem");
        write(&path, b"one", 0o600).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = write(&path, b"two", 0o600).unwrap_err();
        assert!(again.message.contains("is there already"), "{}", again.message);
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
    }
}
