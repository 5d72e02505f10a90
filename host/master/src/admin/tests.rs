use std::path::Path;
use std::sync::Arc;

use pki::{Certificate, Freshness};
use time::Duration as Span;

use super::*;
use crate::fixture::{master, request};
use crate::{Peer, Standing, State, StatusCursor, SubmitError, Submitted};

const BY: Administrator = Administrator::Local { uid: 0 };

async fn submit(master: &Master, name: &str, csr: &[u8]) -> Result<Submitted, SubmitError> {
    master.submit_request(name, csr, &Peer::default()).await
}

/// A name with a request that waits.
async fn waiting(master: &Master, dir: &Path, name: &str) -> Vec<u8> {
    let csr = request(dir, name, &[]);
    assert_eq!(submit(master, name, &csr).await.unwrap(), Submitted::Pending);
    csr
}

async fn certificate(master: &Master, name: &str) -> Certificate {
    Certificate::parse_pem(master.certificate(name).await.unwrap().unwrap().as_bytes()).unwrap()
}

fn peer(certificate: &Certificate) -> Peer {
    Peer { address: None, certificate: Some(Arc::new(certificate.clone())) }
}

fn status<T>(result: Result<T, Failed>) -> (u16, String) {
    let failed = result.err().expect("it was done");
    (failed.status, failed.message)
}

#[tokio::test]
async fn a_request_is_signed_by_hand_and_without_one_the_answer_says_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let master = master(folder.path()).await;
    let unknown = (404, "Invalid certificate subject.".to_owned());
    for name in ["a.test", "A.test", "ca", ""] {
        assert_eq!(status(master.sign(name, None, None, &BY).await), unknown, "{name}");
        assert_eq!(
            status(master.revoke(&Revoke::Name(name.into()), Reason::KeyCompromise, &BY).await),
            unknown
        );
    }
    waiting(&master, folder.path(), "a.test").await;
    let revoked = master.revoke(&Revoke::Name("a.test".into()), Reason::KeyCompromise, &BY).await;
    let text = "Cannot revoke certificate for host a.test without a signed certificate";
    assert_eq!(status(revoked), (409, text.to_owned()));
    let hour = Duration::from_secs(3600);
    master.sign("a.test", None, Some(hour), &BY).await.unwrap();
    let made = certificate(&master, "a.test").await;
    assert!(made.not_after <= OffsetDateTime::now_utc() + hour, "{}", made.not_after);
    let text = "Cannot sign certificate for host a.test without a certificate request";
    assert_eq!(status(master.sign("a.test", None, None, &BY).await), (409, text.to_owned()));
}

// faults row 14
#[tokio::test]
async fn of_several_candidates_the_fingerprint_says_which() {
    let folder = tempfile::tempdir().unwrap();
    let master = master(folder.path()).await;
    let mut candidates = Vec::new();
    for _ in 0..2 {
        let csr = waiting(&master, folder.path(), "a.test").await;
        candidates.push(CertificateRequest::parse(&csr, &READ_ALL).unwrap());
    }
    let (code, text) = status(master.sign("a.test", None, None, &BY).await);
    assert_eq!(code, 409);
    assert!(text.starts_with("a.test has 2 certificate requests"), "{text}");
    assert!(candidates.iter().all(|one| text.contains(&one.fingerprint.to_string())), "{text}");
    let (code, text) = status(master.sign("a.test", Some("AA:BB"), None, &BY).await);
    assert_eq!(code, 409, "{text}");
    let all = master.sign_several(None, &BY).await.unwrap();
    assert_eq!(all, Signing { errors: vec!["a.test".into()], ..Signing::default() });
    let wanted = &candidates[1];
    master.sign("a.test", Some(&wanted.fingerprint.to_hex()), None, &BY).await.unwrap();
    assert_eq!(certificate(&master, "a.test").await.key_digest, wanted.key_digest);
}

#[tokio::test]
async fn several_are_signed_and_each_name_says_how_it_went() {
    let folder = tempfile::tempdir().unwrap();
    let master = master(folder.path()).await;
    for name in ["a.test", "b.test", "c.test"] {
        waiting(&master, folder.path(), name).await;
    }
    let names = ["a.test", "nosuch.test", "A", "a.test"].map(str::to_owned).to_vec();
    let signing = master.sign_several(Some(names), &BY).await.unwrap();
    let expected = Signing {
        signed: vec!["a.test".into()],
        no_csr: vec!["nosuch.test".into(), "A".into()],
        errors: vec![],
    };
    assert_eq!(signing, expected);
    let signing = master.sign_several(None, &BY).await.unwrap();
    assert_eq!(signing.signed, ["b.test", "c.test"]);
    assert_eq!(master.sign_several(None, &BY).await.unwrap(), Signing::default());
}

#[tokio::test]
async fn a_revoked_name_is_refused_until_it_is_cleaned_and_a_revoked_key_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let master = master(folder.path()).await;
    let csr = waiting(&master, folder.path(), "a.test").await;
    master.sign("a.test", None, None, &BY).await.unwrap();
    let made = certificate(&master, "a.test").await;
    let name = Revoke::Name("a.test".into());
    assert_eq!(master.revoke(&name, Reason::KeyCompromise, &BY).await.unwrap(), Revoked::Done);
    assert_eq!(master.revoke(&name, Reason::KeyCompromise, &BY).await.unwrap(), Revoked::Already);
    assert!(master.is_revoked(&made.serial));
    let other = request(folder.path(), "a.test", &[]);
    let refused = submit(&master, "a.test", &other).await.unwrap_err().to_string();
    assert_eq!(refused, "a.test has a revoked certificate; ignoring certificate request");
    let missing = master.clean(&["nosuch.test".into(), "a.test".into(), "B".into()], &BY).await.unwrap();
    assert_eq!(missing, ["nosuch.test", "B"]);
    assert!(matches!(submit(&master, "a.test", &csr).await, Err(SubmitError::Refused(_))));
    assert_eq!(submit(&master, "a.test", &other).await.unwrap(), Submitted::Pending);
    // By serial, one that nobody knows, too.
    let unknown = Serial::from_hex("0badc0de").unwrap();
    let revoked = master.revoke(&Revoke::Serial(unknown.clone()), Reason::Unspecified, &BY).await.unwrap();
    assert_eq!((revoked, master.is_revoked(&unknown)), (Revoked::Unknown, true));
}

#[tokio::test]
async fn what_is_deleted_is_revoked_too() {
    let folder = tempfile::tempdir().unwrap();
    let master = master(folder.path()).await;
    let csr = waiting(&master, folder.path(), "a.test").await;
    master.sign("a.test", None, None, &BY).await.unwrap();
    let made = certificate(&master, "a.test").await;
    assert!(master.delete("a.test", &BY).await.unwrap());
    assert!(master.is_revoked(&made.serial));
    assert!(!master.delete("a.test", &BY).await.unwrap());
    assert_eq!(master.statuses_of("a.test").await.unwrap(), []);
    // The node may come back, with the key that it has.
    assert_eq!(submit(&master, "a.test", &csr).await.unwrap(), Submitted::Pending);
    assert!(!master.forget_request("a.test", Some("AA"), &BY).await.unwrap());
    assert!(master.forget_request("a.test", None, &BY).await.unwrap());
    assert!(!master.forget_request("a.test", None, &BY).await.unwrap());
}

#[tokio::test]
async fn an_administrators_own_request_may_ask_for_more_than_a_nodes() {
    let folder = tempfile::tempdir().unwrap();
    let master = master(folder.path()).await;
    let csr = request(folder.path(), "a.test", &["subjectAltName=DNS:a.test,DNS:www.test"]);
    assert!(matches!(submit(&master, "a.test", &csr).await, Err(SubmitError::Refused(_))));
    let pem = master.generate(&csr, None, true, &BY).await.unwrap();
    let made = Certificate::parse_pem(pem.as_bytes()).unwrap();
    assert_eq!(made.extension("pp_cli_auth"), Some("true"));
    assert!(made.alt_names.iter().any(|name| name.value() == "www.test"));
    let (code, text) = status(master.generate(&csr, None, false, &BY).await);
    assert_eq!((code, text.contains("already has a signed certificate")), (409, true), "{text}");
    assert_eq!(status(master.generate(b"none", None, false, &BY).await).0, 400);
    assert_eq!(status(master.renew_name("nosuch.test", &BY).await).0, 404);
    let renewed = master.renew_name("a.test", &BY).await.unwrap();
    assert_ne!(Certificate::parse_pem(renewed.as_bytes()).unwrap().serial, made.serial);
}

#[tokio::test]
async fn a_renewal_for_another_key_asks_for_no_more_than_there_was() {
    let folder = tempfile::tempdir().unwrap();
    let master = master(folder.path()).await;
    waiting(&master, folder.path(), "a.test").await;
    master.sign("a.test", None, None, &BY).await.unwrap();
    let made = certificate(&master, "a.test").await;
    let refused = async |csr: &[u8]| status(master.renew(&peer(&made), Some(csr)).await).0;
    assert_eq!(refused(b"none").await, 400);
    assert_eq!(refused(&request(folder.path(), "b.test", &[])).await, 400);
    let role = "1.3.6.1.4.1.34380.1.1.13=ASN1:UTF8String:database";
    assert_eq!(refused(&request(folder.path(), "a.test", &[role])).await, 403);
    let names = "subjectAltName=DNS:a.test,DNS:www.test";
    assert_eq!(refused(&request(folder.path(), "a.test", &[names])).await, 403);
    let csr = request(folder.path(), "a.test", &["subjectAltName=DNS:a.test"]);
    let pem = master.renew(&peer(&made), Some(&csr)).await.unwrap();
    let renewed = Certificate::parse_pem(pem.as_bytes()).unwrap();
    assert_ne!(renewed.key_digest, made.key_digest);
    assert!(master.is_revoked(&made.serial));
    // Which was replaced, and so is not again.
    assert_eq!(refused(&request(folder.path(), "a.test", &[])).await, 403);
    assert_eq!(status(master.renew(&peer(&made), None).await).0, 403);
    assert!(master.renew(&peer(&renewed), None).await.is_ok());
    assert_eq!(status(master.renew(&Peer::default(), None).await).0, 400);
}

#[tokio::test]
async fn the_list_has_all_that_wait_and_all_that_were_signed_and_no_page_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let master = master(folder.path()).await;
    for name in ["a.test", "b.test", "c.test", "d.test"] {
        waiting(&master, folder.path(), name).await;
    }
    for name in ["b.test", "c.test", "d.test"] {
        master.sign(name, None, None, &BY).await.unwrap();
    }
    master.revoke(&Revoke::Name("c.test".into()), Reason::KeyCompromise, &BY).await.unwrap();
    master.delete("d.test", &BY).await.unwrap();
    let listed = async |state: Option<State>| {
        let (mut names, mut after) = (Vec::new(), None);
        loop {
            let page = master.statuses(state, after).await.unwrap();
            names.extend(page.entries.into_iter().map(|entry| {
                let word = match entry.standing {
                    Standing::Requested { .. } => "requested",
                    Standing::Issued { revoked: Some(_), .. } => "revoked",
                    Standing::Issued { .. } => "signed",
                };
                format!("{} {word}", entry.name)
            }));
            match page.next {
                Some(next) => after = Some(next),
                None => return names,
            }
        }
    };
    assert_eq!(listed(None).await, ["a.test requested", "b.test signed", "c.test revoked"]);
    assert_eq!(listed(Some(State::Requested)).await, ["a.test requested"]);
    assert_eq!(listed(Some(State::Signed)).await, ["b.test signed"]);
    assert_eq!(listed(Some(State::Revoked)).await, ["c.test revoked"]);

    // More than a page, of requests that are as good as any to a list.
    let row = master.parts.store.requests(None, 1).await.unwrap().remove(0);
    for at in 0..1100 {
        let mut row = row.clone();
        row.key.certname = format!("n{at:04}.test");
        master.parts.store.add_request(&row, 2000, 3).await.unwrap();
    }
    assert_eq!(listed(None).await.len(), 1103);
    assert_eq!(listed(Some(State::Requested)).await.len(), 1101);
    let page = master.statuses(None, None).await.unwrap();
    assert!(matches!(page.next, Some(StatusCursor::Requests(Some(_)))));
}

// faults row 29
#[tokio::test]
async fn lists_that_have_ended_are_believed_for_the_grace_and_no_longer() {
    let folder = tempfile::tempdir().unwrap();
    let master = master(folder.path()).await;
    let (end, grace) = (master.trust().next_update, Span::hours(2));
    let check = |now: OffsetDateTime, freshness: Freshness, lapsed: Option<OffsetDateTime>| {
        assert_eq!((master.freshness(now), master.lapsed(now)), (freshness, lapsed));
    };
    check(end - Span::SECOND, Freshness::Fresh, None);
    check(end, Freshness::Stale, None);
    check(end + grace - Span::SECOND, Freshness::Stale, None);
    check(end + grace, Freshness::Expired, Some(end));
}

#[tokio::test]
async fn what_has_expired_is_forgotten_and_lists_are_signed_on_demand() {
    let folder = tempfile::tempdir().unwrap();
    let master = master(folder.path()).await;
    let before = master.trust().number;
    master.publish(&BY).await.unwrap();
    let after = master.trust().number;
    assert!(after > before);
    assert_eq!(master.prune(&BY).await.unwrap(), 0);
    assert!(master.trust().number > after);
    assert_eq!(status(master.upload_crls(b"garbage", &BY).await), (400, "No valid CRLs submitted.".into()));
    let own = master.trust().crls.clone();
    let text = "Could not determine newest CRL.";
    assert_eq!(status(master.upload_crls(own.as_bytes(), &BY).await), (400, text.into()));
    let expirations = master.expirations().unwrap();
    assert_eq!(expirations.ca_certs[0].0, "Puppet CA: test");
}

#[tokio::test]
async fn masters_are_declared_and_say_which_list_they_enforce() {
    let folder = tempfile::tempdir().unwrap();
    let master = master(folder.path()).await;
    assert_eq!(status(master.add_master("A", &[], &BY).await).0, 400);
    assert_eq!(status(master.add_master("m.test", &["*".into()], &BY).await).0, 400);
    master.add_master("m.test", &["puppet".into()], &BY).await.unwrap();
    assert!(master.is_master(&Certname::parse("m.test").unwrap()));
    // It may ask for what was declared, others may not.
    let names = "subjectAltName=DNS:m.test,DNS:puppet";
    let csr = request(folder.path(), "m.test", &[names]);
    assert_eq!(submit(&master, "m.test", &csr).await.unwrap(), Submitted::Pending);
    let csr = request(folder.path(), "n.test", &["subjectAltName=DNS:puppet"]);
    assert!(matches!(submit(&master, "n.test", &csr).await, Err(SubmitError::Refused(_))));
    master.sign("m.test", None, None, &BY).await.unwrap();
    let made = certificate(&master, "m.test").await;
    assert!(master.note_enforcing(&peer(&made), 7).await.unwrap());
    let rows = master.masters().await.unwrap();
    assert_eq!((rows[0].certname.as_str(), rows[0].crl_number), ("m.test", Some(7)));
    assert!(master.remove_master("m.test", &BY).await.unwrap());
    assert!(!master.remove_master("m.test", &BY).await.unwrap());
    assert!(!master.note_enforcing(&peer(&made), 8).await.unwrap());
}
