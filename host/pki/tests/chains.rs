//! Bundles, chains of revocation lists, and what is believed of them. The lists of other CAs are
//! `openssl ca`'s.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests"
)]

mod outside;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use bunraku_pki::crl::{self, Crl, CrlError, Entry, Reason};
use bunraku_pki::{
    Bundle, BundleError, Certificate, ChainError, CrlChain, Freshness, Identity, Issuer, Serial, SigningKey,
    Trust,
};
use outside::{Foreign, Openssl};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

const EC: &str = "-algorithm EC -pkeyopt ec_paramgen_curve:P-256";

/// A minute ago: a machine's clock may be set back while `openssl` looks at what was made with it.
fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc().replace_nanosecond(0).unwrap() - Duration::minutes(1)
}

fn issuer(ca: &Foreign<'_>) -> Issuer {
    let key = SigningKey::from_pem(&ca.openssl.read(&format!("{}.key", ca.name))).unwrap();
    Issuer::open(Certificate::parse_pem(&ca.pem()).unwrap(), Arc::new(key)).unwrap()
}

fn own(number: u64, issuer: &Issuer) -> Crl {
    let entry = Entry {
        serial: Serial::from_hex("0A").unwrap(),
        revoked_at: now(),
        reason: Some(Reason::KeyCompromise),
    };
    crl::sign(number, now(), now() + Duration::days(7), vec![entry], issuer).unwrap()
}

fn join(parts: &[&Foreign<'_>]) -> Vec<u8> {
    parts.iter().flat_map(|ca| ca.pem()).collect()
}

#[test]
fn a_bundle_is_a_chain_up_to_its_root() {
    let openssl = Openssl::new();
    let root = openssl.foreign("root", "CN=Root", None, EC);
    let policy = openssl.foreign("policy", "CN=Policy", Some(&root), EC);
    let ours = openssl.foreign("ours", "CN=Ours", Some(&policy), EC);
    let other = openssl.foreign("other", "CN=Other", None, EC);
    openssl.ok(
        "req -new -x509 -days 9 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout leaf.key -subj /CN=leaf -addext basicConstraints=critical,CA:FALSE -CA ours.pem -CAkey ours.key -out leaf.pem",
    );
    let leaf = Foreign { openssl: &openssl, name: "leaf" };
    let order = BundleError::Order(vec!["Ours".into(), "Policy".into(), "Root".into()]);
    let check = |parts: &[&Foreign<'_>], expected: Result<&str, BundleError>| {
        let read = Bundle::parse(&join(parts)).map(|bundle| bundle.issuer().subject_cn.clone());
        assert_eq!(read, expected.map(str::to_owned));
    };
    check(&[&root], Ok("Root"));
    check(&[&policy, &root], Ok("Policy"));
    check(&[&ours, &policy, &root], Ok("Ours"));
    check(&[&root, &policy, &ours], Err(order.clone()));
    check(&[&ours, &root, &policy], Err(order.clone()));
    check(&[&policy, &ours, &root], Err(order));
    check(&[&ours, &root], Err(BundleError::Broken { subject: "Ours".into(), next: "Root".into() }));
    check(&[&ours, &policy], Err(BundleError::NoRoot { subject: "Policy".into(), issuer: "CN=Root".into() }));
    check(&[&root, &root], Err(BundleError::AfterRoot("Root".into())));
    check(&[&root, &other], Err(BundleError::AfterRoot("Root".into())));
    check(&[&leaf, &ours, &policy, &root], Err(BundleError::NotACa("leaf".into())));
    check(&[&root; 11], Err(BundleError::TooMany(11)));
    check(&[], Err(BundleError::Pem("not PEM: no -----BEGIN line".into())));

    let shown = Bundle::parse(&join(&[&root, &policy])).unwrap_err().to_string();
    assert!(shown.ends_with(r#"the right one is "Policy", "Root""#), "{shown}");
    let broken =
        [root.pem(), b"-----BEGIN CERTIFICATE-----\nAQI=\n-----END CERTIFICATE-----\n".to_vec()].concat();
    let shown = Bundle::parse(&broken).unwrap_err().to_string();
    assert_eq!(shown, "certificate 2 of the CA bundle: the certificate is malformed");

    // OpenSSL would refuse it only when the first agent comes.
    openssl.certify_ca("root", "CN=Root", None, ",pathlen:1");
    openssl.certify_ca("policy", "CN=Policy", Some(&root), "");
    check(&[&policy, &root], Ok("Policy"));
    openssl.certify_ca("ours", "CN=Ours", Some(&policy), "");
    check(&[&ours, &policy, &root], Err(BundleError::PathLength("Root".into())));
    let said = openssl.run("verify -CAfile root.pem -untrusted policy.pem ours.pem").1;
    assert!(!said.contains("error"), "{said}");
    openssl.ok("req -new -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout leaf.key -subj /CN=leaf -addext basicConstraints=critical,CA:FALSE -CA ours.pem -CAkey ours.key -out leaf.pem");
    openssl.write("both.pem", join(&[&policy, &ours]));
    let said = openssl.run("verify -CAfile root.pem -untrusted both.pem leaf.pem").1;
    assert!(said.contains("path length constraint exceeded"), "{said}");
}

#[test]
fn a_chain_has_one_list_of_each_ca() {
    let openssl = Openssl::new();
    let root = openssl.foreign("root", "CN=Root", None, EC);
    let ours = openssl.foreign("ours", "CN=Ours", Some(&root), EC);
    let stranger = openssl.foreign("stranger", "CN=Root", None, EC);
    let bundle = Bundle::parse(&join(&[&ours, &root])).unwrap();
    let own = own(3, &issuer(&ours));
    let roots = Crl::parse_pem(&root.list("", "")).unwrap();
    let foreign = Crl::parse_pem(&stranger.list("", "")).unwrap();

    let chain = CrlChain::new(own.clone(), vec![roots.clone()], &bundle).unwrap();
    assert_eq!(chain.own(), &own);
    assert_eq!(chain.ancestors(), std::slice::from_ref(&roots));
    assert_eq!(chain.next_update(), own.next_update);
    assert_eq!(chain.revoked(), HashSet::from([Serial::from_hex("0A").unwrap()]));
    assert_eq!(CrlChain::parse(chain.to_pem().as_bytes(), &bundle).unwrap(), chain);
    // In whatever order they come, the signing CA's is the first.
    let turned = roots.to_pem() + &own.to_pem();
    assert_eq!(CrlChain::parse(turned.as_bytes(), &bundle).unwrap(), chain);

    let check = |lists: &[&Crl], expected: ChainError| {
        let pem: String = lists.iter().map(|list| list.to_pem()).collect();
        assert_eq!(CrlChain::parse(pem.as_bytes(), &bundle), Err(expected));
    };
    check(&[&own], ChainError::Missing("CN=Root".into()));
    check(&[&roots], ChainError::Missing("CN=Ours".into()));
    check(&[&own, &roots, &roots], ChainError::Twice("CN=Root".into()));
    check(&[&own, &own, &roots], ChainError::Twice("CN=Ours".into()));
    // In the root's name, with another key.
    check(&[&own, &foreign], ChainError::Foreign("CN=Root".into()));
    check(&[], ChainError::Crl(CrlError::Pem("not PEM: no -----BEGIN line".into())));
    let swapped = CrlChain::new(roots.clone(), vec![own.clone()], &bundle);
    assert_eq!(swapped, Err(ChainError::Foreign("CN=Root".into())));
}

// faults row 30: corrupt, older, foreign and delta lists
#[test]
fn a_list_that_would_take_a_master_back_is_refused() {
    let openssl = Openssl::new();
    let root = openssl.foreign("root", "CN=Root", None, EC);
    let ours = openssl.foreign("ours", "CN=Ours", Some(&root), EC);
    let bundle = Bundle::parse(&join(&[&ours, &root])).unwrap();
    let issuer = issuer(&ours);
    let older = Crl::parse_pem(&root.list("", "")).unwrap();
    let newer = Crl::parse_pem(&root.list("", "")).unwrap();
    assert_eq!((older.number, newer.number), (10, 11));
    let chain =
        |number, roots: &Crl| CrlChain::new(own(number, &issuer), vec![roots.clone()], &bundle).unwrap();
    let held = chain(5, &newer);
    let check = |offered: CrlChain, expected: Result<(), (&str, u64, u64)>| {
        let expected = expected.map_err(|(issuer, held, offered)| ChainError::Older {
            issuer: issuer.into(),
            held,
            offered,
        });
        assert_eq!(offered.must_follow(&held), expected);
    };
    check(chain(5, &newer), Ok(()));
    check(chain(6, &newer), Ok(()));
    check(chain(4, &newer), Err(("CN=Ours", 5, 4)));
    check(chain(6, &older), Err(("CN=Root", 11, 10)));
    assert_eq!(chain(5, &newer).must_follow(&chain(5, &older)), Ok(()));

    // A delta says so with a critical extension, and so does a list of limited scope.
    for (extension, oid) in [
        ("2.5.29.27=critical,ASN1:INTEGER:1", "2.5.29.27"),
        ("issuingDistributionPoint=critical,@idp\n[idp]\nonlyuser=TRUE", "2.5.29.28"),
    ] {
        let text = root.list("", extension);
        assert_eq!(Crl::parse_pem(&text), Err(CrlError::Partial(oid.into())));
        let text = [own(9, &issuer).to_pem().into_bytes(), text].concat();
        assert_eq!(CrlChain::parse(&text, &bundle), Err(ChainError::Crl(CrlError::Partial(oid.into()))));
    }

    // No bit of a list may differ from what was signed.
    let good = held.to_pem();
    for at in (0..newer.der.len()).step_by(7) {
        let mut der = newer.der.clone();
        der[at] ^= 0x10;
        let bad = Crl::parse_der(der).map_err(ChainError::Crl);
        let bad = bad.and_then(|list| CrlChain::new(own(5, &issuer), vec![list], &bundle));
        assert!(bad.is_err(), "byte {at}");
    }
    for cut in (0..good.len()).step_by(13) {
        assert!(CrlChain::parse(&good.as_bytes()[..cut], &bundle).is_err(), "{cut} bytes");
    }
}

#[test]
fn uploaded_lists_replace_older_ones_of_ancestors_alone() {
    let openssl = Openssl::new();
    let root = openssl.foreign("root", "CN=Root", None, EC);
    let policy = openssl.foreign("policy", "CN=Policy", Some(&root), EC);
    let ours = openssl.foreign("ours", "CN=Ours", Some(&policy), EC);
    let stranger = openssl.foreign("stranger", "CN=Root", None, EC);
    let bundle = Bundle::parse(&join(&[&ours, &policy, &root])).unwrap();
    let issuer = issuer(&ours);
    let lists: Vec<Crl> = (0..3).map(|_| Crl::parse_pem(&root.list("", "")).unwrap()).collect();
    let policys = Crl::parse_pem(&policy.list("", "")).unwrap();
    let chain = CrlChain::new(own(5, &issuer), vec![policys.clone(), lists[1].clone()], &bundle).unwrap();
    let check = |uploaded: Vec<Crl>, expected: Result<&Crl, ChainError>| match (
        chain.with_newer(uploaded, &bundle),
        expected,
    ) {
        (Ok((newer, replaced)), Ok(list)) => {
            assert_eq!(newer.ancestors(), [policys.clone(), list.clone()]);
            assert_eq!((newer.own(), replaced), (chain.own(), vec!["CN=Root".to_owned()]));
        }
        (read, expected) => assert_eq!(read.map(drop), expected.map(drop)),
    };
    check(vec![lists[2].clone()], Ok(&lists[2]));
    // The newest of several; the whole chain of a file, with our own list in it.
    check(vec![lists[2].clone(), lists[0].clone()], Ok(&lists[2]));
    check(vec![own(9, &issuer), policys.clone(), lists[2].clone()], Ok(&lists[2]));
    check(vec![lists[1].clone()], Err(ChainError::NoneNewer));
    check(vec![lists[0].clone()], Err(ChainError::NoneNewer));
    check(vec![own(9, &issuer)], Err(ChainError::NoneNewer));
    check(vec![], Err(ChainError::NoneNewer));
    let foreign = Crl::parse_pem(&stranger.list("", "")).unwrap();
    check(vec![lists[2].clone(), foreign], Err(ChainError::Foreign("CN=Root".into())));
}

/// Lists of other CAs, such as an imported Puppet CA's, have what ours have not.
#[test]
fn a_list_with_unknown_reasons_and_small_serials_is_read() {
    let openssl = Openssl::new();
    let ca = openssl.foreign("ca", "CN=Puppet CA: old", None, "-algorithm RSA");
    let at = "330101000000Z\t250101000000Z";
    let index = [
        format!("R\t{at}\t01\tunknown\t/CN=a\n"),
        format!("R\t{at},keyCompromise\t02\tunknown\t/CN=b\n"),
        format!("R\t{at},CACompromise\t0A\tunknown\t/CN=c\n"),
        format!("R\t{at},holdInstruction,holdInstructionNone\t0FFF\tunknown\t/CN=d\n"),
        format!("R\t{at},superseded\t{}\tunknown\t/CN=e\n", "7F".repeat(20)),
        format!("R\t{at},keyTime,20240101000000Z\t80\tunknown\t/CN=f\n"),
    ];
    let list = Crl::parse_pem(&ca.list(&index.concat(), "")).unwrap();
    let entries: Vec<_> = list.entries.iter().map(|e| (e.serial.to_string(), e.reason)).collect();
    let long = format!("0x{}", "7F".repeat(20));
    let mut expected = [
        ("0x01", None),
        ("0x02", Some(Reason::KeyCompromise)),
        ("0x0A", None),
        ("0x0FFF", None),
        (&long, Some(Reason::Superseded)),
        ("0x80", Some(Reason::KeyCompromise)),
    ];
    expected.sort_by_key(|(serial, _)| entries.iter().position(|(found, _)| found == serial));
    assert_eq!(entries, expected.iter().map(|(s, r)| ((*s).to_owned(), *r)).collect::<Vec<_>>());
    assert!(list.entries.iter().all(|e| e.revoked_at == datetime!(2025-01-01 0:00 UTC)));
    // What it says is said again by us, but for the reasons that are not ours.
    let issuer = issuer(&ca);
    let again = crl::sign(list.number + 1, now(), now() + Duration::days(1), list.entries.clone(), &issuer);
    assert_eq!(Crl::parse_der(again.unwrap().der).unwrap().entries, list.entries);
}

#[test]
fn trust_is_fresh_then_stale_then_expired() {
    let openssl = Openssl::new();
    let ca = openssl.foreign("ca", "CN=CA", None, EC);
    let bundle = Arc::new(Bundle::parse(&ca.pem()).unwrap());
    let end = datetime!(2030-01-01 0:00 UTC);
    let revoked = Serial::from_hex("5").unwrap();
    let trust = Trust {
        bundle: bundle.clone(),
        bundle_modified: SystemTime::UNIX_EPOCH,
        crls: "".into(),
        agents_crls: "".into(),
        number: 1,
        this_update: end - Duration::days(1),
        next_update: end,
        revoked: Arc::new(HashSet::from([revoked.clone()])),
    };
    assert!(trust.is_revoked(&revoked) && !trust.is_revoked(&bundle.issuer().serial));
    let hour = Duration::hours(1);
    let tick = Duration::nanoseconds(1);
    for (now, grace, expected) in [
        (end - tick, hour, Freshness::Fresh),
        (end, hour, Freshness::Stale),
        (end + hour - tick, hour, Freshness::Stale),
        (end + hour, hour, Freshness::Expired),
        (end - tick, Duration::ZERO, Freshness::Fresh),
        (end, Duration::ZERO, Freshness::Expired),
        (end + hour, Duration::MAX, Freshness::Stale),
    ] {
        assert_eq!(trust.freshness(now, grace), expected, "{now} {grace}");
    }
    let identity = Identity {
        certificate: bundle.issuer().clone(),
        certificate_pem: bundle.pem().to_string(),
        key_pem: "the key itself".into(),
    };
    assert!(!format!("{identity:?}").contains("the key itself"));
}
