//! Golden explanations. `BLESS=1 cargo test -p bunraku explain` writes them anew.

use std::path::Path;
use std::time::Duration;

use journal::{Asked, HostCall, Mode, Record, Transcript};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::datetime;

use super::*;

/// Compares both forms of an explanation with `tests/golden/explain/<name>.{txt,json}`.
fn check(name: &str, case: &Case) {
    let json = serde_json::to_string_pretty(&json::explain(case)).unwrap() + "\n";
    for (kind, text) in [("txt", words::explain(case)), ("json", json)] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/explain");
        let path = folder.join(name).with_extension(kind);
        if std::env::var_os("BLESS").is_some_and(|bless| bless == "1") {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, text).unwrap();
            continue;
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            text == golden,
            "{} is not what was told; BLESS=1 rewrites it. Told:\n{text}",
            path.display()
        );
    }
}

const NAME: &str = "web1.example.test";
const AT: OffsetDateTime = datetime!(2026-11-23 01:02:03.5 UTC);

fn case(certificate: Certificate, records: Vec<Record>) -> Case {
    let settings = BTreeMap::from([
        ("s3-registry".to_owned(), vec!["missing".to_owned()]),
        ("autosign".to_owned(), vec!["names".to_owned()]),
        ("hadoop".to_owned(), vec![]),
    ]);
    let set = Set {
        made_at: 1_795_219_200,
        by: "root (uid 0)".into(),
        from: "/etc/bunraku/bunraku.toml".into(),
        settings,
    };
    Case {
        certname: NAME.to_owned(),
        certificate,
        decisions: records.into_iter().map(decision).collect(),
        sets: BTreeMap::from([("3f9c".repeat(16), set)]),
        components: BTreeMap::from([
            ("ab12".repeat(16), "s3-registry 0.1.0".to_owned()),
            ("ef56".repeat(16), "hadoop 0.1.0".to_owned()),
        ]),
    }
}

fn decision(record: Record) -> Decision {
    let entry = Entry {
        id: record.id.clone(),
        at: record.at,
        kind: record.kind,
        certname: record.certname.clone(),
        occasion: record.occasion.clone(),
        peer: record.peer.clone(),
        set: record.set.clone(),
        mode: record.mode,
        verdict: record.verdict.clone(),
        reason: record.reason.clone(),
        by: record.by.clone(),
        took: record.took,
    };
    Decision { entry, record: Ok(record) }
}

fn record(kind: Kind, verdict: &str, reason: &str, by: Option<&str>, asked: Vec<Asked>) -> Record {
    Record {
        id: format!("6f1d0c9e-{kind}"),
        at: AT,
        kind,
        certname: NAME.to_owned(),
        occasion: (kind == Kind::Approval).then(|| "first".to_owned()),
        peer: (kind == Kind::Approval).then(|| "192.0.2.7".to_owned()),
        input: match kind {
            Kind::Approval => json!({
                "certname": NAME, "der": "MIIB…", "attributes": [["challengePassword", "hunter2"]],
            }),
            _ => json!({"trusted": {"certname": NAME}}),
        },
        set: "3f9c".repeat(16),
        mode: Mode::Live,
        asked,
        verdict: verdict.to_owned(),
        reason: reason.to_owned(),
        by: by.map(str::to_owned),
        because: vec![],
        answer: None,
        took: Duration::from_micros(2345),
    }
}

fn asked(plugin: &str, said: &str, detail: &str, calls: Vec<HostCall>) -> Asked {
    Asked {
        plugin: plugin.to_owned(),
        digest: match plugin {
            "s3-registry" => "ab12".repeat(16),
            "hadoop" => "ef56".repeat(16),
            _ => "0a0b".repeat(16),
        },
        settings_digest: "cd34".repeat(16),
        class: None,
        transcript: Transcript { facts: vec![], calls, truncated: false },
        said: said.to_owned(),
        detail: detail.to_owned(),
        fault: None,
        took: Duration::from_micros(1234),
        memory_bytes: 1_114_112,
    }
}

fn get(answer: Result<Value, (&str, &str)>) -> HostCall {
    HostCall {
        function: "object-store.get".to_owned(),
        arguments: json!(["registry", NAME, null]),
        answer: answer.map_err(|(kind, text)| (kind.to_owned(), text.to_owned())),
    }
}

fn found() -> HostCall {
    let info = json!({"key": NAME, "size": 57, "etag": "\"9b2c\"", "modified": null, "content_type": null});
    get(Ok(json!({"info": info, "body": "classes: [hadoop::worker]\n"})))
}

fn signed() -> Certificate {
    Certificate::Signed { serial: "5C1F00".into(), not_after: 1_952_899_323 }
}

fn approved() -> Record {
    let expected = "expected: s3://nodes/web1.example.test";
    let asked = vec![
        asked("autosign", "abstain", "", vec![]),
        asked("s3-registry", "approve", expected, vec![found()]),
    ];
    Record {
        because: vec![expected.to_owned()],
        answer: Some(json!({"lifetime": 86_400})),
        ..record(Kind::Approval, "approve", "approved by `s3-registry`", Some("s3-registry"), asked)
    }
}

#[test]
fn a_signed_node_with_its_classes_and_resources() {
    let definition = "node definition s3://nodes/web1.example.test";
    let classification = Record {
        because: vec![definition.to_owned()],
        answer: Some(json!({
            "environment": "production", "by": "s3-registry", "because": [definition],
            "classes": [["hadoop::worker", {"distribution": "apache3", "token": "hunter2"}], ["base", {}]],
            "parameters": {"site": 1},
        })),
        ..record(
            Kind::Classification,
            "matched",
            "classified by `s3-registry`",
            Some("s3-registry"),
            vec![asked("s3-registry", "matched", "", vec![found()])],
        )
    };
    let mut worker = asked("hadoop", "provided", "", vec![]);
    worker.class = Some("hadoop::worker".into());
    worker.transcript.facts = vec![("os.family".into(), Some(json!("RedHat"))), ("memory".into(), None)];
    let catalog = Record {
        answer: Some(json!({
            "resources": {"File[/etc/hadoop]": "aa", "Package[hadoop]": "bb", "Class[Hadoop::Worker]": "cc"},
            "edges": 3,
            "contained": {"hadoop::worker": ["File[/etc/hadoop]", "Package[hadoop]"]},
        })),
        ..record(Kind::Provision, "catalog", "compiled", None, vec![worker])
    };
    check("signed", &case(signed(), vec![approved(), classification, catalog]));
}

#[test]
fn a_node_that_nobody_registered() {
    let why = "not-found: no node definition at s3://nodes/web1.example.test";
    let asked = vec![asked("s3-registry", "pending", why, vec![get(Err(("not-found", "")))])];
    let pending = Record {
        because: vec![why.to_owned()],
        ..record(Kind::Approval, "pending", "`s3-registry` keeps it waiting", Some("s3-registry"), asked)
    };
    check("pending", &case(Certificate::None, vec![pending]));
}

#[test]
fn a_node_that_a_fault_keeps_waiting() {
    // faults row 45
    let mut looping = asked("s3-registry", "fault", "timeout: no answer within 100 ms", vec![found()]);
    looping.fault = Some("timeout".into());
    let kept = Record {
        because: vec!["plugin `s3-registry`: no-decision(timeout: no answer within 100 ms)".to_owned()],
        ..record(
            Kind::Approval,
            "no-decision",
            "`s3-registry` gave no answer (timeout)",
            Some("s3-registry"),
            vec![asked("autosign", "abstain", "", vec![]), looping],
        )
    };
    check("kept-by-a-fault", &case(Certificate::None, vec![kept]));
}

#[test]
fn a_node_whose_classes_are_from_last_time() {
    let why = "s3://nodes/web1.example.test: no answer within 5 s";
    let mut failed =
        asked("s3-registry", "failure", why, vec![get(Err(("unavailable", "no answer within 5 s")))]);
    failed.fault = Some("unavailable".into());
    let last_good = Record {
        because: vec![why.to_owned()],
        answer: Some(json!({
            "environment": null, "by": "s3-registry", "because": [],
            "classes": [["hadoop::worker", {}]], "parameters": {},
        })),
        ..record(
            Kind::Classification,
            "last-good",
            "`s3-registry` could not answer (unavailable); classified as 812 s ago",
            Some("s3-registry"),
            vec![failed],
        )
    };
    check("last-good", &case(Certificate::Unknown, vec![last_good]));
}

#[test]
fn a_decision_that_is_sealed_with_another_key() {
    let mut sealed = decision(approved());
    sealed.record = Err("decision 6f1d0c9e-approval is sealed".into());
    check("sealed", &Case { decisions: vec![sealed], ..case(signed(), vec![]) });
}

// faults row 5
#[test]
fn what_others_wrote_moves_no_cursor_and_breaks_no_line() {
    let evil = "\u{1b}[2Jroot\n→ run: rm -rf /\u{202e}";
    let mut record = approved();
    (record.because, record.reason) = (vec![evil.into()], evil.into());
    record.peer = Some(evil.into());
    for asked in &mut record.asked {
        (asked.plugin, asked.detail, asked.fault) = (evil.into(), evil.into(), Some(evil.into()));
        asked.transcript.facts = vec![(evil.into(), Some(json!(evil)))];
        asked.transcript.calls = vec![
            HostCall {
                function: evil.into(),
                arguments: json!([evil]),
                answer: Err((evil.into(), evil.into())),
            },
            get(Ok(json!({"info": {"etag": evil, "size": 1}}))),
        ];
    }
    let text = words::explain(&case(signed(), vec![record]));
    let unsafe_to_print = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!text.contains(unsafe_to_print), "{text:?}");
    assert!(!text.lines().any(|line| line.trim_start().starts_with("→ run")), "{text}");
}

#[test]
fn no_challenge_password_and_no_parameter_of_a_class_is_told() {
    let record = Record {
        answer: Some(json!({"classes": [["a", {"token": "hunter2"}]], "parameters": {"p": "hunter2"}})),
        ..record(Kind::Classification, "matched", "classified by `x`", Some("x"), vec![])
    };
    let case = case(signed(), vec![approved(), record]);
    assert!(!words::explain(&case).contains("hunter2"));
    let told = json::explain(&case);
    assert!(!told["decisions"][0].to_string().contains("hunter2"), "{told}");
}

#[test]
fn what_a_plugin_and_a_server_said_to_each_other_is_not_told() {
    let call = HostCall {
        function: "http".to_owned(),
        arguments: json!({
            "method": "POST", "url": "https://me:hunter2@tickets.test/nodes?token=hunter2",
            "headers": [["authorization", "hunter2"]], "body": "hunter2",
        }),
        answer: Ok(json!({"status": 200, "headers": [["set-cookie", "hunter2"]], "body": "hunter2"})),
    };
    let mut record = approved();
    record.asked.iter_mut().for_each(|asked| asked.transcript.calls = vec![call.clone()]);
    let case = case(signed(), vec![record]);
    let text = words::explain(&case);
    assert!(text.contains("sent POST https://tickets.test/nodes?…: status 200") && !text.contains("hunter2"));
    let told = &json::explain(&case)["decisions"][0]["asked"][0]["calls"][0];
    assert_eq!(
        *told,
        json!({
            "function": "http",
            "arguments": {"method": "POST", "url": "https://tickets.test/nodes?…", "headers": ["authorization"]},
            "answer": {"status": 200, "headers": ["set-cookie"]},
        })
    );
}
