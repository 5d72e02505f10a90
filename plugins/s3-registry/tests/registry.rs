//! What the approver and the classifier say, and log, for every state of the registry.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

use s3_registry::S3Registry;
use sdk::testing::FakeHost;
use sdk::{
    Csr, CsrApprover, Failure, HostError, Node, NodeClassifier, Occasion, Outcome, Trusted, Value, Verdict,
    json,
};

const NAME: &str = "3a07b9a2-worker";
const WORKER: &str = "classes:\n- login-allowed\n- hadoop::worker: {distribution: cdh3}\n- apt\nenvironment: production\nparameters: {site: ec2}\n";

fn host() -> FakeHost {
    FakeHost::new().annotation("object-store.registry", "s3://bucket/nodes/")
}

fn with(body: &str) -> FakeHost {
    host().object("registry", NAME, body)
}

fn broken(error: HostError) -> FakeHost {
    host().object_error("registry", NAME, error)
}

fn decide(host: &FakeHost) -> Result<Verdict, Failure> {
    S3Registry::decide(&host.call(), &Csr { certname: NAME.into(), ..Csr::default() })
}

fn classify(host: &FakeHost) -> Result<Outcome, Failure> {
    let trusted = Trusted { certname: NAME.into(), authenticated: true, ..Trusted::default() };
    S3Registry::classify(&host.call(), &Node { trusted, requested_environment: None })
}

fn pending(text: &str) -> Result<Verdict, Failure> {
    Ok(Verdict::Pending(text.into()))
}

#[test]
fn an_expected_node_is_signed_and_logged_as_the_original_did() {
    let host = with(WORKER);
    assert_eq!(decide(&host), Ok(Verdict::approve("expected: s3://bucket/nodes/3a07b9a2-worker")));
    assert_eq!(
        host.log_text(),
        [
            "debug Checking 3a07b9a2-worker",
            "debug Checking url: s3://bucket/nodes/3a07b9a2-worker",
            "info Signing request: 3a07b9a2-worker",
        ]
    );
}

#[test]
fn a_node_is_what_its_definition_says_in_its_order() {
    let host = with(WORKER);
    let Ok(Outcome::Matched(found)) = classify(&host) else { panic!("not matched") };
    let classes: Vec<_> =
        found.classes.into_iter().map(|class| (class.name, Value::Object(class.parameters))).collect();
    let expected = [
        ("login-allowed".to_owned(), json!({})),
        ("hadoop::worker".to_owned(), json!({"distribution": "cdh3"})),
        ("apt".to_owned(), json!({})),
    ];
    assert_eq!(classes, expected);
    assert_eq!(found.environment.as_deref(), Some("production"));
    assert_eq!(Value::Object(found.parameters), json!({"site": "ec2"}));
    assert_eq!(found.because, ["node definition s3://bucket/nodes/3a07b9a2-worker"]);
    assert_eq!(
        host.log_text(),
        [
            "debug Checking url: s3://bucket/nodes/3a07b9a2-worker",
            "debug Getting node configuration: 3a07b9a2-worker",
            "debug Node configuration (3a07b9a2-worker): classes: [login-allowed, hadoop::worker, apt]",
        ]
    );
}

// faults rows 33 and 38
#[test]
fn a_missing_definition_is_not_found() {
    let at = "no node definition at s3://bucket/nodes/3a07b9a2-worker";
    assert_eq!(decide(&host()), pending(&format!("not-found: {at}")));
    assert_eq!(classify(&host()), Ok(Outcome::Reject(format!("not-found: {at}"))));
    assert_eq!(decide(&host().settings(json!({"missing": "abstain"}))), Ok(Verdict::Abstain));
    assert_eq!(classify(&host().settings(json!({"fallback": true}))), Ok(Outcome::Abstain));
}

// faults row 34
#[test]
fn a_refusing_bucket_is_never_an_approval() {
    let denied = || broken(HostError::Denied("403; grant list on the prefix".into()));
    let reason = "denied-or-missing: s3://bucket/nodes/3a07b9a2-worker: 403; grant list on the prefix";
    assert_eq!(decide(&denied()), pending(reason));
    assert_eq!(decide(&denied().settings(json!({"missing": "abstain"}))), pending(reason));
    assert_eq!(classify(&denied()), Err(Failure::Unavailable(reason.into())));
    assert_eq!(
        classify(&denied().settings(json!({"fallback": true}))),
        Err(Failure::Unavailable(reason.into()))
    );
}

// faults row 35
#[test]
fn a_failing_bucket_is_a_failure() {
    let failing = || broken(HostError::Unavailable("SlowDown".into()));
    let failure = Failure::Unavailable("s3://bucket/nodes/3a07b9a2-worker: SlowDown".into());
    assert_eq!(decide(&failing()), Err(failure.clone()));
    assert_eq!(classify(&failing()), Err(failure));
}

// faults row 36
#[test]
fn an_unreadable_definition_is_neither_signed_nor_guessed() {
    let check = |host: &FakeHost, reason: &str| {
        assert_eq!(
            decide(host),
            pending(&format!("unreadable: s3://bucket/nodes/3a07b9a2-worker: {reason}"))
        );
        let failure = format!("s3://bucket/nodes/3a07b9a2-worker: {reason}");
        assert_eq!(classify(host), Err(Failure::InvalidInput(failure)));
        assert!(!host.log_text().iter().any(|line| line.contains("Signing")));
    };
    check(&with("environment: 1\n"), "line 1, column 14: environment must be text, not a number");
    check(&with("classes:\n  a: {}\n  a: {}\n"), "line 3, column 3: duplicate key \"a\", first on line 2");
    check(
        &with("classes: [a]\nparameters: !ruby/object:X {}\n"),
        "line 2, column 13: a tag (`!…`); only plain values are allowed",
    );
    check(
        &with(""),
        "line 1, column 1: a node definition is a mapping with classes, parameters and environment, not nothing",
    );
    check(&host().object("registry", NAME, [0xff, 0xfe]), "it is not UTF-8");
    check(&broken(HostError::Limit("over 1 MiB".into())), "limit: over 1 MiB");
}

#[test]
fn a_name_with_a_certificate_is_left_to_a_person() {
    let host = with(WORKER);
    let request = Csr { certname: NAME.into(), occasion: Occasion::Conflict, ..Csr::default() };
    let Ok(Verdict::Pending(reason)) = S3Registry::decide(&host.call(), &request) else {
        panic!("not pending")
    };
    assert!(reason.starts_with("conflict: "), "{reason}");
    let renewal = Csr { certname: NAME.into(), occasion: Occasion::Renewal, ..Csr::default() };
    assert!(matches!(S3Registry::decide(&host.call(), &renewal), Ok(Verdict::Approve { .. })));
}

#[test]
fn unknown_keys_are_a_warning() {
    let host = with("classes: []\nclases: [x]\nbunraku: {}\n");
    assert!(matches!(decide(&host), Ok(Verdict::Approve { .. })));
    assert_eq!(host.log_text()[2], "warn s3://bucket/nodes/3a07b9a2-worker: unknown keys, ignored: clases");
}

#[test]
fn the_place_is_named_as_an_operator_would_look_for_it() {
    let check = |host: FakeHost, url: &str| {
        assert_eq!(decide(&host), pending(&format!("not-found: no node definition at {url}")));
    };
    check(FakeHost::new(), "registry:3a07b9a2-worker");
    check(FakeHost::new().annotation("object-store.registry", "dir:/var/r"), "dir:/var/r/3a07b9a2-worker");
    check(FakeHost::new().annotation("object-store.registry", "s3://b/"), "s3://b/3a07b9a2-worker");
    let other =
        FakeHost::new().settings(json!({"store": "nodes"})).annotation("object-store.nodes", "s3://n/x-");
    check(other, "s3://n/x-3a07b9a2-worker");
}

#[test]
fn settings_that_were_not_validated_decide_nothing() {
    assert!(matches!(
        decide(&with(WORKER).settings(json!({"missing": "approve"}))),
        Err(Failure::Internal(_))
    ));
}
