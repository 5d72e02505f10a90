//! What no well-behaved agent sends, over the wire, against the finished program.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bunraku_tests::master::{Master, Settings};
use bunraku_tests::request::{self, Request, Wish, pem};
use bunraku_tests::tools;
use bunraku_tests::wire::{Answer, Client};
use serde_json::json;

const DEFINITION: &str = "classes: {}\n";

/// pp_auth_role: an authorisation extension.
const AUTH_ROLE: &[u64] = &[1, 3, 6, 1, 4, 1, 34380, 1, 3, 13];
/// pp_cli_auth: makes its holder an administrator of the CA.
const CLI_AUTH: &[u64] = &[1, 3, 6, 1, 4, 1, 34380, 1, 3, 39];
/// An extension that nobody knows.
const UNKNOWN: &[u64] = &[1, 2, 3, 4];

// faults rows 1, 4, 5, 6, 8, 10, 11, 12
#[test]
fn a_bad_certificate_request_is_refused_and_nothing_is_kept() -> Result<()> {
    let master = Master::start()?;
    let client = master.stranger()?;
    let refused = |what: &str, name: &str, body: &[u8], wanted: &[u16]| -> Result<()> {
        let answer = request::submit(&client, name, body)?;
        assert!(wanted.contains(&answer.status), "{what}: {} {}", answer.status, answer.text());
        Ok(())
    };
    let good = Request::named("good.cluster.test")?;
    let half = good.pem.get(..good.pem.len() / 2).unwrap_or_default();
    refused("no PEM", "good.cluster.test", b"hello", &[400])?;
    refused("an empty body", "good.cluster.test", b"", &[400])?;
    refused("half a request", "good.cluster.test", half.as_bytes(), &[400])?;
    refused("no request in it", "good.cluster.test", pem("CERTIFICATE REQUEST", b"abc").as_bytes(), &[400])?;
    refused("another name", "other.cluster.test", good.pem.as_bytes(), &[400])?;
    refused("a broken signature", "good.cluster.test", good.with_broken_signature().as_bytes(), &[400])?;
    for name in ["Upper.test", "-a.test", "a..test", "10.0.0.1", "ca", "*.test", "a b"] {
        let path = name.replace(' ', "%20");
        refused(name, &path, Request::named(name)?.pem.as_bytes(), &[400, 404])?;
    }
    for path in ["%252e%252e", "..%2f..%2fetc", "a%00b"] {
        refused(path, path, good.pem.as_bytes(), &[400, 403, 404])?;
    }
    let wish = |wish: Wish<'_>| Request::new(&Wish { common_name: "good.cluster.test", ..wish });
    for (what, request) in [
        ("a CA", wish(Wish { authority: true, ..Wish::default() })),
        ("a foreign name", wish(Wish { names: &["good.cluster.test", "puppet"], ..Wish::default() })),
        ("a wildcard", wish(Wish { names: &["*.cluster.test"], ..Wish::default() })),
        ("an address", wish(Wish { addresses: &["10.0.0.1"], ..Wish::default() })),
        ("pp_auth_role", wish(Wish { extensions: &[(AUTH_ROLE, "admin")], ..Wish::default() })),
        ("pp_cli_auth", wish(Wish { extensions: &[(CLI_AUTH, "true")], ..Wish::default() })),
        ("an unknown extension", wish(Wish { extensions: &[(UNKNOWN, "x")], ..Wish::default() })),
    ] {
        refused(what, "good.cluster.test", request?.pem.as_bytes(), &[400])?;
    }
    assert_eq!(waiting(&master)?, 0);
    Ok(())
}

// faults row 2
#[test]
fn a_body_over_the_cap_is_refused() -> Result<()> {
    let master = Master::start()?;
    let answer = request::submit(&master.stranger()?, "big.cluster.test", &vec![b'x'; 1 << 20])?;
    assert_eq!(answer.status, 413, "{}", answer.text());
    assert_eq!(waiting(&master)?, 0);
    Ok(())
}

// faults rows 13, 14, 17
#[test]
fn a_request_sent_again_is_the_same_and_another_key_is_another_candidate() -> Result<()> {
    let master = Master::start()?;
    let (client, name) = (master.stranger()?, "twice.cluster.test");
    let first = Request::named(name)?;
    for _ in 0..2 {
        assert_eq!(first.submit(&client, name)?.status, 200);
    }
    assert_eq!(waiting(&master)?, 1);
    assert_eq!(Request::named(name)?.submit(&client, name)?.status, 200);
    assert_eq!(waiting(&master)?, 2);
    let pending = client.get(&format!("/puppet-ca/v1/certificate_request/{name}"))?;
    assert_eq!(pending.status, 404, "a stranger sees a pending request");
    Ok(())
}

// faults row 15
#[test]
fn another_key_for_a_signed_name_needs_the_old_one_and_revokes_it() -> Result<()> {
    let master = Master::start()?;
    let (stranger, name) = (master.stranger()?, "again.cluster.test");
    master.register(name, DEFINITION)?;
    let old = request::enrol(&stranger, name)?;
    let ca = master.ca()?;
    let holder = Client::new(master.address(), &ca, Some(&old))?;
    let catalog = |client: &Client| client.catalog(name, &json!({}));
    assert_eq!(catalog(&holder)?.status, 200);

    let new = Request::named(name)?;
    assert_eq!(new.submit(&stranger, name)?.status, 400, "a stranger replaced a live certificate");
    assert_eq!(request::certificate(&stranger, name)?.as_ref(), Some(&old.certificate));

    assert_eq!(new.submit(&holder, name)?.status, 200);
    let certificate = request::certificate(&stranger, name)?.unwrap_or_default();
    assert_ne!(certificate, old.certificate);
    let renewed = request::Identity { certificate, key: new.key };
    assert_eq!(catalog(&Client::new(master.address(), &ca, Some(&renewed))?)?.status, 200);
    // The old one is refused in the handshake.
    let refused = catalog(&holder);
    assert!(refused.is_err(), "a revoked certificate was served: {refused:?}");
    Ok(())
}

// faults row 16
#[test]
fn a_flood_of_names_from_one_address_is_slowed_down() -> Result<()> {
    let master = Master::start_with(&Settings { server: "requests_per_minute = 5", ..Settings::default() })?;
    let client = master.stranger()?;
    let submit = |n: u32| -> Result<(Answer, Duration)> {
        let (name, since) = (format!("flood{n}.cluster.test"), Instant::now());
        Ok((Request::named(&name)?.submit(&client, &name)?, since.elapsed()))
    };
    // All at once: five are taken, some wait for their turn, and who would wait too long is told to come again.
    let answers: Vec<(Answer, Duration)> = std::thread::scope(|scope| {
        let submit = &submit;
        let all: Vec<_> = (0..10).map(|n| scope.spawn(move || submit(n))).collect();
        all.into_iter().map(|one| one.join().ok().context("a thread panicked")?).collect::<Result<_>>()
    })?;
    let taken: Vec<_> = answers.iter().filter(|(answer, _)| answer.status == 200).collect();
    assert!(taken.len() > 5 && taken.len() < 10, "{answers:?}");
    assert_eq!(taken.iter().filter(|(_, took)| took.as_secs() < 5).count(), 5, "{answers:?}");
    for (answer, took) in answers.iter().filter(|(answer, _)| answer.status != 200) {
        assert!(answer.status == 429 && answer.header("retry-after").is_some(), "{answer:?}");
        assert!(took.as_secs() < 5, "it waited for nothing: {took:?}");
    }
    Ok(())
}

// faults rows 65, 69
#[test]
fn a_certificate_opens_its_own_nodes_doors_only() -> Result<()> {
    let master = Master::start()?;
    let stranger = master.stranger()?;
    for name in ["a.cluster.test", "b.cluster.test"] {
        master.register(name, DEFINITION)?;
    }
    let a = request::enrol(&stranger, "a.cluster.test")?;
    let client = Client::new(master.address(), &master.ca()?, Some(&a))?;
    assert_eq!(client.catalog("a.cluster.test", &json!({}))?.status, 200);
    assert_eq!(client.catalog("b.cluster.test", &json!({}))?.status, 403);
    let forged = [
        ("x-client-verify", "SUCCESS"),
        ("x-client-dn", "/CN=b.cluster.test"),
        ("x-ssl-subject", "/CN=b.cluster.test"),
        ("x-client-cert", "-----BEGIN CERTIFICATE-----"),
        ("content-type", "application/json"),
    ];
    for (method, path) in [
        ("GET", "/puppet/v3/node/b.cluster.test?environment=production"),
        ("GET", "/puppet/v3/catalog/b.cluster.test?environment=production"),
        ("PUT", "/puppet/v3/report/b.cluster.test?environment=production"),
        ("PUT", "/puppet/v3/facts/b.cluster.test?environment=production"),
    ] {
        for client in [&client, &stranger] {
            let answer = client.send(method, path, &forged, b"{}")?;
            assert_eq!(answer.status, 403, "{method} {path}: {}", answer.text());
        }
    }
    let forged_facts = json!({"clientcert": "b.cluster.test", "trusted": {"certname": "b.cluster.test"}});
    let catalog = client.catalog("a.cluster.test", &forged_facts)?;
    assert!(!catalog.text().contains("b.cluster.test"), "{}", catalog.text());
    Ok(())
}

// faults row 66
#[test]
fn facts_that_are_too_large_or_too_deep_are_refused() -> Result<()> {
    let master = Master::start()?;
    let name = "facts.cluster.test";
    master.register(name, DEFINITION)?;
    let identity = request::enrol(&master.stranger()?, name)?;
    let client = Client::new(master.address(), &master.ca()?, Some(&identity))?;
    let deep = format!(
        "{{\"name\": {name:?}, \"values\": {{\"deep\": {}{}}}}}",
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let answer = client.catalog_of_text(name, &deep)?;
    assert!([400, 413].contains(&answer.status), "deep facts: {}", answer.status);
    // A server that has heard enough may answer or hang up.
    let huge = client.catalog(name, &json!({"huge": "x".repeat(50 << 20)}));
    assert!(huge.as_ref().map_or(true, |a| [400, 413].contains(&a.status)), "huge facts: {huge:?}");
    assert_eq!(client.catalog(name, &json!({}))?.status, 200, "the master serves on");
    Ok(())
}

// faults rows 33, 36
#[test]
fn a_missing_definition_is_exit_code_1_and_an_unreadable_one_2() -> Result<()> {
    let master = Master::start()?;
    let name = "odd.cluster.test";
    let classify = || master.command(&["node", "classify", name]);
    let unknown = classify()?;
    assert_eq!(unknown.status.code(), Some(1), "{}", tools::text(&unknown));
    assert!(tools::text(&unknown).contains("not-found"), "{}", tools::text(&unknown));
    let bomb: String = (1..9)
        .map(|n| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(",")))
        .fold("a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, line| text + &line);
    for definition in [
        "classes:\n\t- apt\n",
        "classes: {}\nclasses: {}\n",
        "classes: !!ruby/object:Gem::Installer {}\n",
        "classes: {}\nenvironment: 1\n",
        "classes: {apt: {}}\nparameters: [\n",
        &bomb,
    ] {
        // Past the program's own check on the way in: somebody else wrote the bucket.
        std::fs::create_dir_all(master.state().join("registry"))?;
        std::fs::write(master.state().join("registry").join(name), definition)?;
        let output = classify()?;
        assert_eq!(output.status.code(), Some(2), "{definition}\n{}", tools::text(&output));
    }
    for definition in ["classes: [apt]\n", "classes: {apt: {}}\n", "classes:\n- apt\nparameters: {x: 1}\n"] {
        std::fs::write(master.state().join("registry").join(name), definition)?;
        let output = classify()?;
        assert_eq!(output.status.code(), Some(0), "{definition}\n{}", tools::text(&output));
    }
    Ok(())
}

/// How many requests wait.
fn waiting(master: &Master) -> Result<usize> {
    let output = master.command(&["csr", "check", "--json"])?;
    assert!(output.status.success(), "{}", tools::text(&output));
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout)?;
    Ok(rows.len())
}
