//! What goes in and what comes out when all is well.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail this way"
)]

mod support;

use std::sync::Arc;

use bunraku_sandbox::*;
use serde_json::json;
use support::*;

#[tokio::test]
async fn a_verdict_comes_back_as_it_was_given() {
    let plugin = plugin(settings());
    let check = async |word: &str, expected: Result<Verdict, CallError>| {
        assert_eq!(decide(&plugin, word).await, expected, "{word}");
    };
    check("approve", Ok(Verdict::Approve { reason: "asked to".into(), lifetime: Some(60) })).await;
    check("deny", Ok(Verdict::Deny("asked to".into()))).await;
    check("abstain", Ok(Verdict::Abstain)).await;
    let failure = Failure::Unavailable("the bucket is down".into());
    check("failure", Err(CallError::Failure(failure))).await;
}

#[test]
fn a_plugin_says_what_it_is() {
    let bytes = guest("obedient");
    let plugin = plugin(settings());
    let metadata = plugin.metadata();
    assert_eq!((metadata.name.as_str(), metadata.version.as_str()), ("obedient", "0.1.0"));
    assert_eq!(metadata.summary, "answers as it is told");
    assert_eq!(metadata.settings_schema, Some(json!({"type": "object"})));
    assert_eq!(plugin.kinds(), Kinds { approver: true, classifier: true, provider: true });
    assert_eq!(plugin.classes().len(), 1);
    assert_eq!(plugin.classes()[0].parameters_schema, json!({"type": "object"}));
    use sha2::Digest as _;
    assert_eq!(plugin.digest(), hex::encode(sha2::Sha256::digest(bytes)));
}

#[tokio::test]
async fn settings_are_checked_with_nothing_granted_and_keys_sorted() {
    let plugin = plugin(settings());
    assert_eq!(plugin.validate_settings(&json!({})).await, Ok(vec![]));
    let problems = plugin.validate_settings(&json!({"b": 1, "a": {"d": 1, "c": 2}})).await.unwrap();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].message, r#"denied=true {"a":{"c":2,"d":1},"b":1}"#);
}

#[tokio::test]
async fn everything_of_the_call_reaches_the_guest() {
    let plugin = plugin(settings());
    let Ok(Verdict::Pending(text)) = decide(&plugin, "context").await else { panic!() };
    for part in ["decision-1", "Enforce", &NOW.to_string(), r#"{\"a\":1}"#, "object-store.registry"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[tokio::test]
async fn a_classifier_reads_facts_nodes_and_its_settings() {
    let plugin = plugin(settings());
    let host = Arc::new(Recorder::default());
    let outcome = plugin.classify(call(host.clone()), &node("any.example.test")).await.answer;
    let Ok(Outcome::Matched(found)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(
        found.because,
        [
            r#""Debian""#,
            r#"{"a":null,"z":{"a":2,"b":1}}"#,
            r#"other={"ip":"192.0.2.9"}"#,
            r#"{"a":1}"#,
            r#"{"a":2,"z":1}"#,
        ]
    );
    assert_eq!(found.environment.as_deref(), Some("production"));
    assert_eq!(
        found.classes,
        [Class { name: "role".into(), parameters: object(json!({"a": [true], "b": 1})) }]
    );
    assert_eq!(*host.asked.lock().unwrap(), ["os.family", r#"[("role", String("x"))] ["ip"]"#]);
    let rejected = plugin.classify(call(host), &node("reject.example.test")).await.answer;
    assert_eq!(rejected, Ok(Outcome::Reject("not-found: asked to".into())));
}

#[tokio::test]
async fn a_fragment_comes_back_parsed() {
    let plugin = plugin(settings());
    let request = ProvideRequest {
        node: trusted("any"),
        environment: "production".into(),
        class: "hostile".into(),
        parameters: object(json!({"z": 1, "a": 2})),
        node_parameters: object(json!({"datacenter": "x"})),
    };
    let fragment = plugin.provide(call(Arc::new(NoHost)), &request).await.answer.unwrap();
    let resource = &fragment.resources[0];
    assert_eq!((resource.resource_type.as_str(), resource.title.as_str()), ("File", "/etc/motd"));
    let package = ResourceRef { resource_type: "Package".into(), title: "x".into() };
    assert_eq!(
        resource.parameters,
        [
            ("content".into(), ParamValue::Plain(json!({"a": 2, "z": 1}))),
            ("owner".into(), ParamValue::Plain(json!({"datacenter": "x"}))),
            ("secret".into(), ParamValue::Sensitive(json!("hunter2"))),
            ("require".into(), ParamValue::Refs(vec![package])),
        ]
    );
    assert!(!format!("{fragment:?}").contains("hunter2"), "a Sensitive value is shown");
    assert_eq!(fragment.includes[0].in_stage.as_deref(), Some("early"));
    assert_eq!(fragment.stages, [RunStage { name: "early".into(), before: "main".into() }]);
    assert_eq!(fragment.warnings, ["nothing yet"]);
}

#[tokio::test]
async fn nothing_survives_a_call() {
    let plugin = plugin(settings());
    for _ in 0..3 {
        assert_eq!(decide(&plugin, "state").await, Ok(Verdict::Pending("call 1".into())));
    }
}

#[test]
fn attributes_of_a_request_are_not_shown() {
    let shown = format!("{:?}", csr("a"));
    assert!(shown.contains("challengePassword") && !shown.contains("hunter2"), "{shown}");
}

// faults row 54
#[tokio::test]
async fn wasi_is_there_and_leads_nowhere() {
    let plugin = plugin(settings());
    let Ok(Verdict::Pending(text)) = decide(&plugin, "wasi").await else { panic!() };
    for part in [
        "wall=1767323045.678901234 ",
        &format!("monotonic={NOW} "),
        "environment=0 arguments=0 folders=0 ",
        "\"permanent-resolver-failure\"",
        "\"access-denied\"",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}
