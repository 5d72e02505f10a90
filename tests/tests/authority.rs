//! The CA's own API from end to end: who may do what, what is answered, and what OpenSSL makes of it.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bunraku_tests::authority::Authority;
use bunraku_tests::openssl::{self, Verdict, plain};
use bunraku_tests::request::{self, Identity, Request, Wish};
use bunraku_tests::tools;
use bunraku_tests::wire::Client;
use serde_json::{Value, json};

const CA: &str = "/puppet-ca/v1";

#[test]
fn a_status_says_what_is_known_of_a_name() -> Result<()> {
    let ca = Authority::start("")?;
    ca.wait_for("waits.cluster.test")?;
    let signed = ca.enrol("signed.cluster.test")?;
    ca.enrol("revoked.cluster.test")?;
    let revoked = format!("{CA}/certificate_status/revoked.cluster.test");
    ca.wants(204, "PUT", &revoked, &json!({"desired_state": "revoked"}))?;

    let status = ca.status("signed.cluster.test")?.context("no status")?;
    assert_eq!(status["state"], "signed");
    assert_eq!(status["name"], "signed.cluster.test");
    assert_eq!(status["subject_alt_names"], json!(["DNS:signed.cluster.test"]));
    assert_eq!(status["authorization_extensions"], json!({}));
    let time = |key: &str| status[key].as_str().is_some_and(|t| t.len() == 22 && t.ends_with("UTC"));
    assert!(time("not_before") && time("not_after"), "{status}");
    // A number in JSON, however long.
    let text =
        String::from_utf8(ca.admin.get(&format!("{CA}/certificate_status/signed.cluster.test"))?.body)?;
    let number = text.split("\"serial_number\":").nth(1).context("no serial")?;
    let number: u128 = number.chars().take_while(char::is_ascii_digit).collect::<String>().parse()?;
    assert_eq!(format!("{number:X}"), openssl::serial(&signed.certificate)?);
    let digest = tools::output_with_input(
        Command::new("openssl").args(["x509", "-noout", "-fingerprint", "-sha256"]),
        &signed.certificate,
    )?;
    let digest = tools::text(&digest);
    assert_eq!(status["fingerprint"].as_str(), digest.trim().split('=').nth(1), "{digest}");

    for (query, names) in [
        ("", vec!["admin", "master", "revoked", "signed", "waits"]),
        ("?state=requested", vec!["waits"]),
        ("?state=signed", vec!["admin", "master", "signed"]),
        ("?state=revoked", vec!["revoked"]),
    ] {
        let answer = ca.wants(200, "GET", &format!("{CA}/certificate_statuses/any{query}"), &Value::Null)?;
        let list: Vec<Value> = serde_json::from_slice(&answer.body)?;
        let mut found: Vec<_> =
            list.iter().filter_map(|row| row["name"].as_str()?.strip_suffix(".cluster.test")).collect();
        found.sort_unstable();
        assert_eq!(found, names, "{query}");
        assert!(answer.header("content-type").is_some_and(|t| t.starts_with("application/json")));
    }
    assert_eq!(ca.status("nobody.cluster.test")?, None);
    ca.wants(400, "GET", &format!("{CA}/certificate_statuses/"), &Value::Null)?;
    Ok(())
}

#[test]
fn an_administrator_signs_what_waits_for_as_long_as_is_said() -> Result<()> {
    let ca = Authority::start("")?;
    let name = "wish.cluster.test";
    let path = format!("{CA}/certificate_status/{name}");
    let signed = json!({"desired_state": "signed"});
    assert_eq!(ca.wants(404, "PUT", &path, &signed)?.text(), "Invalid certificate subject.");
    let request = ca.wait_for(name)?;
    for (body, status) in [
        (json!({"desired_state": "certified"}), 400),
        (json!({"desired_state": "signed", "cert_ttl": "soon"}), 400),
        (json!({"desired_state": "signed", "cert_ttl": 0}), 409),
        (json!({"desired_state": "revoked"}), 409),
    ] {
        ca.wants(status, "PUT", &path, &body)?;
    }
    let text = [("content-type", "text/plain")];
    assert_eq!(ca.admin.send("PUT", &path, &text, signed.to_string().as_bytes())?.status, 415);
    assert_eq!(ca.admin.send("PUT", &path, &[("content-type", "application/json")], b"zz")?.status, 400);
    assert_eq!(ca.certificate(name)?, None);
    let answer = ca.wants(204, "PUT", &path, &json!({"desired_state": "signed", "cert_ttl": 86_400}))?;
    assert_eq!(answer.body, b"");
    let certificate = ca.certificate(name)?.context("not signed")?;
    for (seconds, holds) in [(86_000, true), (87_000, false)] {
        let mut check = Command::new("openssl");
        check.args(["x509", "-noout", "-checkend", &seconds.to_string()]);
        assert_eq!(tools::output_with_input(&mut check, &certificate)?.status.success(), holds, "{seconds}");
    }
    ca.agree(&[&*certificate], &[Verdict::Valid])?;
    ca.wants(409, "PUT", &path, &signed)?;
    let identity = Identity { certificate, key: request.key };
    assert_ne!(ca.client(&identity)?.catalog(name, &json!({}))?.status, 403);
    Ok(())
}

#[test]
fn several_are_signed_and_cleaned_at_once() -> Result<()> {
    let ca = Authority::start("")?;
    for name in ["a", "b", "c", "d"] {
        ca.wait_for(&format!("{name}.cluster.test"))?;
    }
    let sign = format!("{CA}/sign");
    let body = json!({"certnames": ["a.cluster.test", "nobody.cluster.test"]});
    let answer: Value = serde_json::from_slice(&ca.wants(200, "POST", &sign, &body)?.body)?;
    let outcome =
        json!({"signed": ["a.cluster.test"], "no-csr": ["nobody.cluster.test"], "signing-errors": []});
    assert_eq!(answer, outcome);
    for wrong in [json!({}), json!({"certnames": "a"}), json!({"certnames": [1]})] {
        ca.wants(422, "POST", &sign, &wrong)?;
    }
    let answer = ca.wants(200, "POST", &format!("{CA}/sign/all"), &json!({}))?;
    let mut answer: Value = serde_json::from_slice(&answer.body)?;
    if let Some(list) = answer["signed"].as_array_mut() {
        list.sort_by_key(ToString::to_string);
    }
    assert_eq!(answer["signed"], json!(["b.cluster.test", "c.cluster.test", "d.cluster.test"]));

    let certificates: Vec<String> =
        ["a", "b"].iter().filter_map(|n| ca.certificate(&format!("{n}.cluster.test")).ok()?).collect();
    let clean = format!("{CA}/clean");
    let body = json!({"certnames": ["a.cluster.test", "b.cluster.test"]});
    assert_eq!(ca.wants(200, "PUT", &clean, &body)?.text(), "Successfully cleaned all certs.");
    assert_eq!(ca.certificate("a.cluster.test")?, None);
    let certificates: Vec<&str> = certificates.iter().map(String::as_str).collect();
    ca.agree(&certificates, &[Verdict::Revoked, Verdict::Revoked])?;
    let body = json!({"certnames": ["c.cluster.test", "nobody.cluster.test"]});
    let said = ca.wants(200, "PUT", &clean, &body)?.text();
    assert_eq!(said, "The following certs do not exist and cannot be revoked: [\"nobody.cluster.test\"]");
    for (body, words) in [
        (json!({"certnames": ["d.cluster.test"], "async": true}), "Async mode is not currently supported."),
        (json!({}), "Missing required key: 'certnames'."),
    ] {
        assert!(ca.wants(400, "PUT", &clean, &body)?.text().contains(words), "{body}");
    }
    assert!(ca.certificate("d.cluster.test")?.is_some());
    Ok(())
}

// faults rows 14, 36
#[test]
fn of_several_candidates_of_a_name_an_administrator_says_which() -> Result<()> {
    let ca = Authority::start("")?;
    let name = "twice.cluster.test";
    let (first, second) = (ca.wait_for(name)?, ca.wait_for(name)?);
    let path = format!("{CA}/certificate_statuses/any?state=requested");
    let listed: Vec<Value> = serde_json::from_slice(&ca.wants(200, "GET", &path, &Value::Null)?.body)?;
    assert_eq!(listed.iter().map(|row| &row["name"]).collect::<Vec<_>>(), [name, name]);
    let path = format!("{CA}/certificate_status/{name}");
    let said = ca.wants(409, "PUT", &path, &json!({"desired_state": "signed"}))?.text();
    let fingerprints: Vec<_> = listed.iter().filter_map(|row| row["fingerprint"].as_str()).collect();
    assert!(fingerprints.iter().all(|f| said.contains(f)), "{said}");
    ensure!(ca.certificate(name)?.is_none(), "one of them was signed");
    let digest =
        tools::output_with_input(Command::new("openssl").args(["req", "-outform", "DER"]), &second.pem)?;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), &digest.stdout)?;
    let said = tools::run(Command::new("openssl").args(["dgst", "-sha256", "-c"]).arg(file.path()))?;
    let fingerprint = tools::text(&said).trim().rsplit(' ').next().context("no digest")?.to_uppercase();
    ca.wants(204, "PUT", &path, &json!({"desired_state": "signed", "fingerprint": fingerprint}))?;
    let certificate = ca.certificate(name)?.context("not signed")?;
    let of = |identity: &Identity| ca.client(identity);
    assert!(of(&Identity { certificate: certificate.clone(), key: second.key }).is_ok());
    assert!(of(&Identity { certificate, key: first.key }).is_err(), "the other one's key fits");
    Ok(())
}

// faults rows 15, 19
#[test]
fn a_revoked_name_is_refused_until_it_is_cleaned_and_its_key_for_ever() -> Result<()> {
    let ca = Authority::start("")?;
    let name = "gone.cluster.test";
    ca.master.register(name, "classes: {}\n")?;
    let stranger = ca.master.stranger()?;
    let request = Request::named(name)?;
    assert_eq!(request.submit(&stranger, name)?.status, 200);
    let certificate = ca.certificate(name)?.context("not signed")?;
    let identity = Identity { certificate: certificate.clone(), key: request.key.clone() };
    ca.wants(204, "PUT", &format!("{CA}/certificate_status/{name}"), &json!({"desired_state": "revoked"}))?;
    ca.wants(204, "PUT", &format!("{CA}/certificate_status/{name}"), &json!({"desired_state": "revoked"}))?;
    ca.agree(&[&*certificate], &[Verdict::Revoked])?;
    let refused = ca.client(&identity)?.catalog(name, &json!({}));
    assert!(refused.as_ref().map_or(true, |a| a.status == 403), "{refused:?}");

    let said = Request::named(name)?.submit(&stranger, name)?;
    assert_eq!(said.status, 400, "{}", said.text());
    assert!(
        said.text().contains("has a revoked certificate; ignoring certificate request"),
        "{}",
        said.text()
    );
    ca.wants(200, "PUT", &format!("{CA}/clean"), &json!({"certnames": [name]}))?;
    assert_eq!(ca.certificate(name)?, None);
    // The name is free, its old key is not: whoever it was taken from may still have it.
    let old = request.submit(&stranger, name)?;
    assert!(old.status == 400 || ca.certificate(name)?.is_none(), "{} {}", old.status, old.text());
    let new = request::enrol(&stranger, name)?;
    ca.agree(&[&*certificate, &*new.certificate], &[Verdict::Revoked, Verdict::Valid])?;
    Ok(())
}

// faults row 19
#[test]
fn a_node_renews_with_its_certificate_and_nobody_else_does() -> Result<()> {
    let ca = Authority::start("")?;
    let name = "renews.cluster.test";
    let old = ca.enrol(name)?;
    let path = format!("{CA}/certificate_renewal");
    assert!([400, 403].contains(&ca.master.stranger()?.send("POST", &path, &[], b"")?.status));
    let answer = ca.client(&old)?.send("POST", &path, &[], b"")?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let renewed = Identity { certificate: answer.text(), key: old.key.clone() };
    assert_eq!(ca.certificate(name)?.as_ref(), Some(&renewed.certificate));
    assert_ne!(openssl::serial(&old.certificate)?, openssl::serial(&renewed.certificate)?);
    assert_eq!(ca.client(&renewed)?.catalog(name, &json!({}))?.status, 200);
    // With a request, the renewed certificate is for its key.
    let request = Request::named(name)?;
    let text = [("content-type", "text/plain")];
    let answer = ca.client(&renewed)?.send("POST", &path, &text, request.pem.as_bytes())?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let newest = Identity { certificate: answer.text(), key: request.key };
    assert_eq!(ca.client(&newest)?.catalog(name, &json!({}))?.status, 200);
    let stranger = Request::named("other.cluster.test")?;
    let refused = ca.client(&newest)?.send("POST", &path, &text, stranger.pem.as_bytes())?;
    assert!([400, 403].contains(&refused.status), "{} {}", refused.status, refused.text());
    // By name all of them go, the superseded too.
    ca.wants(204, "PUT", &format!("{CA}/certificate_status/{name}"), &json!({"desired_state": "revoked"}))?;
    let all = [&*old.certificate, &*renewed.certificate, &*newest.certificate];
    ca.agree(&all, &[Verdict::Revoked, Verdict::Revoked, Verdict::Revoked])?;
    for identity in [&old, &renewed, &newest] {
        let refused = ca.client(identity)?.send("POST", &path, &[], b"");
        assert!(refused.as_ref().map_or(true, |a| a.status == 403), "{refused:?}");
    }
    Ok(())
}

#[test]
fn renewal_that_is_off_is_a_404() -> Result<()> {
    let ca = Authority::start("renewal = false")?;
    let answer = ca.admin.send("POST", &format!("{CA}/certificate_renewal"), &[], b"")?;
    assert_eq!(answer.status, 404, "{}", answer.text());
    Ok(())
}

#[test]
fn what_ends_when_is_told_to_who_has_a_certificate() -> Result<()> {
    let ca = Authority::start("crl_ttl = \"3d\"")?;
    let node = ca.client(&ca.enrol("node.cluster.test")?)?;
    let answer = node.get(&format!("{CA}/expirations"))?;
    let said: Value = serde_json::from_slice(&answer.body).with_context(|| answer.text())?;
    for key in ["ca-certs", "crls"] {
        let times = said[key].as_object().context("no times")?;
        assert!(times.len() == 1 && times.values().all(|t| t.as_str().is_some_and(|t| t.ends_with("UTC"))));
    }
    assert_eq!(ca.master.stranger()?.get(&format!("{CA}/expirations"))?.status, 403);
    let services: Value = serde_json::from_slice(&node.get("/status/v1/services")?.body)?;
    assert_eq!(services["ca"]["state"], "running", "{services}");
    Ok(())
}

// faults rows 12, 17, 65, 69
#[test]
fn only_administrators_administer() -> Result<()> {
    let ca = Authority::start("")?;
    let node = ca.client(&ca.enrol("node.cluster.test")?)?;
    let stranger = ca.master.stranger()?;
    let request = ca.wait_for("waits.cluster.test")?;
    let forged = [
        ("content-type", "application/json"),
        ("x-client-dn", "/CN=admin.cluster.test"),
        ("x-client-verify", "SUCCESS"),
    ];
    for (method, path) in [
        ("GET", "/puppet-ca/v1/certificate_status/waits.cluster.test"),
        ("PUT", "/puppet-ca/v1/certificate_status/waits.cluster.test"),
        ("DELETE", "/puppet-ca/v1/certificate_status/waits.cluster.test"),
        ("GET", "/puppet-ca/v1/certificate_statuses/any"),
        ("PUT", "/puppet-ca/v1/clean"),
        ("POST", "/puppet-ca/v1/sign"),
        ("POST", "/puppet-ca/v1/sign/all"),
        ("PUT", "/puppet-ca/v1/certificate_revocation_list"),
        ("DELETE", "/puppet-ca/v1/certificate_request/waits.cluster.test"),
        ("POST", "/bunraku/v1/ca/revoke"),
        ("POST", "/bunraku/v1/ca/generate"),
        ("POST", "/bunraku/v1/ca/renew"),
        ("POST", "/bunraku/v1/ca/prune"),
        ("POST", "/bunraku/v1/ca/crl"),
        ("GET", "/bunraku/v1/ca/masters"),
        ("PUT", "/bunraku/v1/ca/masters/node.cluster.test"),
        ("PUT", "/bunraku/v1/ca/enforcing"),
        ("GET", "/bunraku/v1/ca/stream"),
    ] {
        for client in [&node, &stranger] {
            let answer = client.send(method, path, &forged, b"{\"desired_state\":\"signed\"}")?;
            assert_eq!(answer.status, 403, "{method} {path}: {}", answer.text());
        }
    }
    // Who waits is the administrators' business.
    let pending = format!("{CA}/certificate_request/waits.cluster.test");
    for client in [&node, &stranger] {
        assert_ne!(client.get(&pending)?.status, 200);
    }
    assert_eq!(ca.admin.get(&pending)?.text().trim(), request.pem.trim());
    assert_eq!(ca.certificate("waits.cluster.test")?, None);
    ca.wants(204, "DELETE", &pending, &Value::Null)?;
    assert_eq!(ca.admin.get(&pending)?.status, 404);
    Ok(())
}

// faults row 12
#[test]
fn an_administrator_is_made_with_an_extension_and_no_agent_can_ask_for_it() -> Result<()> {
    let ca = Authority::start("")?;
    const PP_CLI_AUTH: &[u64] = &[1, 3, 6, 1, 4, 1, 34380, 1, 3, 39];
    let name = "sly.cluster.test";
    ca.master.register(name, "classes: {}\n")?;
    let wish = Wish { common_name: name, extensions: &[(PP_CLI_AUTH, "true")], ..Wish::default() };
    let answer = Request::new(&wish)?.submit(&ca.master.stranger()?, name)?;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(ca.certificate(name)?, None);

    let folder = tempfile::tempdir()?;
    let out = folder.path().display().to_string();
    ca.cli(0, &["generate", "boss.cluster.test", "--admin", "--out", &out])?;
    let read =
        |end: &str| std::fs::read_to_string(folder.path().join(format!("boss.cluster.test_{end}.pem")));
    let boss = Identity { certificate: read("crt")?, key: read("key")? };
    let mode = folder.path().join("boss.cluster.test_key.pem").metadata()?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let answer = ca.client(&boss)?.get(&format!("{CA}/certificate_statuses/any"))?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let status = ca.status("boss.cluster.test")?.context("no status")?;
    assert_eq!(status["authorization_extensions"], json!({"pp_cli_auth": "true"}));
    ca.agree(&[&*boss.certificate], &[Verdict::Valid])?;
    Ok(())
}

/// Speaks HTTP over the Unix socket that it is told.
const ASK: &str = "require 'socket'; s = UNIXSocket.new(ARGV[0]); \
    s.write(\"GET /puppet-ca/v1/certificate_statuses/any HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n\"); \
    puts s.read";

#[test]
fn the_control_socket_is_for_root_and_the_daemons_own_user() -> Result<()> {
    let ca = Authority::start("")?;
    let socket = ca.master.state().join("control.sock");
    assert_eq!(socket.metadata()?.permissions().mode() & 0o777, 0o600);
    let ask = |user: &str| -> Result<String> {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", user, "--clear-groups", "ruby", "-e", ASK]).arg(&socket);
        Ok(tools::text(&command.output()?))
    };
    assert!(ask("0")?.starts_with("HTTP/1.1 200"), "{}", ask("0")?);
    // Even where the modes let another user in, the peer's user does not.
    for path in socket.ancestors().skip(1).take(2) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    }
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666))?;
    let said = ask("65534")?;
    assert!(!said.contains(Authority::ADMIN) && !said.starts_with("HTTP/1.1 200"), "{said}");
    assert!(ask("0")?.starts_with("HTTP/1.1 200"));
    Ok(())
}

#[test]
fn a_serial_that_nobody_knows_is_listed_all_the_same() -> Result<()> {
    let ca = Authority::start("")?;
    let before = ca.believed()?.list()?;
    let serial = "0x1F2E3D4C5B6A79881726354453627180";
    let path = "/bunraku/v1/ca/revoke";
    ca.wants(200, "POST", path, &json!({"serial": serial, "reason": "keyCompromise"}))?;
    let since = Instant::now();
    loop {
        let list = ca.believed()?.list()?;
        if list.serials.contains(&plain(serial)) {
            assert!(list.number > before.number);
            break;
        }
        assert!(since.elapsed().as_secs() < 5, "it is not listed: {list:?}");
    }
    ca.wants(200, "POST", path, &json!({"serial": serial, "reason": "keyCompromise"}))?;
    for wrong in [json!({}), json!({"serial": "zz"}), json!({"serial": serial, "reason": "because"})] {
        let answer = ca.send("POST", path, &wrong)?;
        assert!([400, 422].contains(&answer.status), "{wrong}: {} {}", answer.status, answer.text());
    }
    Ok(())
}

/// The client of the tests believes a server by its name only.
#[test]
fn the_servers_own_certificate_is_valid_for_openssl() -> Result<()> {
    let ca = Authority::start("")?;
    let certificate = ca.certificate("master.cluster.test")?.context("the server's is not served")?;
    ca.agree(&[&*certificate], &[Verdict::Valid])?;
    let client = Client::new(ca.master.address(), &ca.master.ca()?, None)?;
    assert_eq!(client.get("/status/v1/simple")?.status, 200);
    Ok(())
}
