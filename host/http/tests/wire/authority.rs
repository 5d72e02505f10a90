//! `/puppet-ca/v1`: recordings 01, 03, 16, 18, 21, 32.

use crate::client::{Wire, once};
use crate::world::{World, ahead};
use bunraku_http::QuotaSettings;
use pki::{Extension, PP_CLI_AUTH};

const PEM: &str = "-----BEGIN CERTIFICATE REQUEST-----\n";

#[tokio::test]
async fn a_stranger_gets_the_ca_and_its_lists_byte_for_byte() {
    let world = World::new().await;
    let mut wire = Wire::connect(&world, None).await;
    let bundle = wire.get("/puppet-ca/v1/certificate/ca").await;
    assert_eq!((bundle.status, bundle.header("content-type")), (200, Some("text/plain")));
    assert_eq!(bundle.body, world.authority.pem().as_bytes());
    assert_eq!(bundle.header("x-puppet-version"), Some("7.23.0"));
    let crl = wire.get("/puppet-ca/v1/certificate_revocation_list/ca").await;
    assert_eq!((crl.status, crl.header("content-type")), (200, Some("text/plain")));
    assert_eq!(crl.body, world.backend.crl.lock().unwrap().pem.as_bytes());
}

#[tokio::test]
async fn if_modified_since_is_304_only_for_a_client_that_has_this_version() {
    let world = World::new().await;
    let mut wire = Wire::connect(&world, None).await;
    // Modified at …:20.5.
    for (since, status) in [
        ("Tue, 14 Nov 2023 22:13:19 GMT", 200),
        ("Tue, 14 Nov 2023 22:13:20 GMT", 200),
        ("Tue, 14 Nov 2023 22:13:21 GMT", 304),
        ("Sun, 22 Nov 2099 16:45:18 GMT", 200),
        ("rubbish", 200),
    ] {
        for path in ["certificate/ca", "certificate_revocation_list/ca"] {
            let target = format!("/puppet-ca/v1/{path}");
            let reply = wire.ask("GET", &target, &[("If-Modified-Since", since)], b"").await;
            assert_eq!((reply.status, reply.body.is_empty()), (status, status == 304), "{path} {since}");
        }
    }
}

#[tokio::test]
async fn a_certificate_is_404_until_it_is_signed() {
    let world = World::new().await;
    let mut wire = Wire::connect(&world, None).await;
    let reply = wire.get("/puppet-ca/v1/certificate/a.test").await;
    assert_eq!((reply.status, reply.text().as_str()), (404, "Could not find certificate a.test"));
    world.backend.signed.lock().unwrap().push(("a.test".into(), "a certificate\n".into()));
    let reply = wire.get("/puppet-ca/v1/certificate/a.test").await;
    assert_eq!((reply.status, reply.body.as_slice()), (200, b"a certificate\n".as_slice()));
    assert_eq!(reply.header("content-type"), Some("text/plain"));
}

// faults rows 13 and 14, as far as they are the wire's: 200 and empty, also when the request waits
#[tokio::test]
async fn a_request_that_waits_is_answered_200() {
    let world = World::new().await;
    let reply =
        once(&world, None, "PUT", "/puppet-ca/v1/certificate_request/a.test", &[], PEM.as_bytes()).await;
    assert_eq!((reply.status, reply.body.len()), (200, 0));
    assert_eq!(reply.header("content-type"), Some("text/plain"));
    assert_eq!(world.backend.asked(), [format!("submit a.test {PEM} from 127.0.0.1 by nobody")]);
}

#[tokio::test]
async fn a_refused_request_is_400_with_the_reason_and_the_request_id() {
    let world = World::new().await;
    *world.backend.refuse_request.lock().unwrap() = Some("Certificate names must be lower case.".into());
    let reply = once(&world, None, "PUT", "/puppet-ca/v1/certificate_request/A", &[], b"x").await;
    assert_eq!((reply.status, reply.text().as_str()), (400, "Certificate names must be lower case."));
    let id = reply.header("x-request-id").unwrap();
    assert!(String::from_utf8_lossy(&reply.body).ends_with(&format!(" (request id {id})")));
    assert_eq!(reply.header("content-type"), Some("text/plain;charset=utf-8"));
}

// faults row 17
#[tokio::test]
async fn a_pending_request_is_shown_to_administrators_alone() {
    let world = World::new().await;
    let admin = world.authority.holder_until("admin.test", ahead(5), &[Extension::new(PP_CLI_AUTH, "true")]);
    let agent = world.authority.holder("waiting.test");
    let no_admin = world.authority.holder_until("b.test", ahead(5), &[Extension::new(PP_CLI_AUTH, "false")]);
    let target = "/puppet-ca/v1/certificate_request/waiting.test";
    for stranger in [None, Some(&agent), Some(&no_admin)] {
        let reply = once(&world, stranger, "GET", target, &[], b"").await;
        assert_eq!(
            (reply.status, reply.text().as_str()),
            (404, "Could not find certificate_request waiting.test")
        );
    }
    assert_eq!(world.backend.asked(), [""; 0]);
    let reply = once(&world, Some(&admin), "GET", target, &[], b"").await;
    assert_eq!((reply.status, reply.body.as_slice()), (200, PEM.as_bytes()));
    let reply = once(&world, Some(&admin), "GET", "/puppet-ca/v1/certificate_request/b.test", &[], b"").await;
    assert_eq!(reply.status, 404);
}

// faults row 19, as far as it is the wire's
#[tokio::test]
async fn renewal_is_403_with_the_reason_for_certificates_that_may_not() {
    let world = World::new().await;
    let target = "/puppet-ca/v1/certificate_renewal";
    for (name, status, body) in [
        ("a.test", 200, "renewed\n"),
        ("superseded.test", 403, "replaced by another one"),
        ("foreign.test", 403, "not issued by this CA"),
        ("off.test", 404, "renewal is turned off"),
    ] {
        let holder = world.authority.holder(name);
        let reply = once(&world, Some(&holder), "POST", target, &[], b"").await;
        assert_eq!(reply.status, status, "{name}");
        assert!(reply.text().contains(body), "{}", reply.text());
    }
    world.backend.asked();
    let reply = once(&world, None, "POST", target, &[], b"").await;
    assert_eq!(reply.status, 403);
    assert_eq!(world.backend.asked(), [""; 0]);
}

#[tokio::test]
async fn a_renewal_may_bring_a_request_for_another_key() {
    let world = World::new().await;
    let holder = world.authority.holder("a.test");
    let target = "/puppet-ca/v1/certificate_renewal";
    for (body, expected) in [
        ("", "renew a.test".to_owned()),
        ("\n ", "renew a.test".to_owned()),
        (PEM, format!("renew a.test with {PEM}")),
    ] {
        let reply = once(&world, Some(&holder), "POST", target, &[], body.as_bytes()).await;
        assert_eq!((reply.status, reply.exact_text().as_str()), (200, "renewed\n"));
        assert_eq!(world.backend.asked(), [expected]);
    }
    assert_eq!(once(&world, Some(&holder), "POST", target, &[], &[b'x'; 65537]).await.status, 413);
}

// faults row 16
#[tokio::test]
async fn requests_over_the_burst_get_their_turns_and_only_those_over_that_are_429() {
    let delay = std::time::Duration::from_millis(100);
    let quota = QuotaSettings { burst: 2, per_second: 20.0, delay, waiters: 10, ..QuotaSettings::default() };
    let world = World::with(|settings, _| settings.quota = quota).await;
    let asks: Vec<_> = (0..6)
        .map(|at| {
            let target = format!("/puppet-ca/v1/certificate_request/n{at}.test");
            let (address, config) = (world.address, crate::client::config(&world, None));
            tokio::spawn(async move {
                let mut wire = Wire::over(address, config).await.unwrap();
                wire.ask("PUT", &target, &[], b"x").await
            })
        })
        .collect();
    let mut statuses = Vec::new();
    for ask in asks {
        let reply = ask.await.unwrap();
        if reply.status == 429 {
            assert_eq!(reply.header("retry-after"), Some("1"));
        }
        statuses.push(reply.status);
    }
    // Two at once and two that wait for 50 and 100 ms; those that come late find tokens again.
    assert!(statuses.iter().filter(|status| **status == 200).count() >= 4, "{statuses:?}");
    assert_eq!(world.backend.asked().len(), statuses.iter().filter(|status| **status == 200).count());
}

// faults row 16
#[tokio::test]
async fn a_flood_of_requests_is_429_and_the_rest_of_the_server_is_unaffected() {
    let quota = QuotaSettings { burst: 3, per_second: 0.01, addresses: 10, ..QuotaSettings::default() };
    let world = World::with(|settings, _| settings.quota = quota).await;
    let mut wire = Wire::connect(&world, None).await;
    let mut statuses = Vec::new();
    for at in 0..5 {
        let target = format!("/puppet-ca/v1/certificate_request/n{at}.test");
        let reply = wire.ask("PUT", &target, &[], b"x").await;
        statuses.push(reply.status);
        if reply.status == 429 {
            let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
            assert!((90..=101).contains(&wait), "{wait}");
        }
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    assert_eq!(world.backend.asked().len(), 3);
    assert_eq!(wire.get("/puppet-ca/v1/certificate/ca").await.status, 200);
}
