//! faults row 36: what must not get through, and what must.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

use std::time::{Duration, Instant};

use definition::{NodeDefinition, yaml};
use serde_json::{Value, json};

fn refused(text: &str, line: usize, column: usize, message: &str) {
    let problem = yaml::parse(text).expect_err(text);
    assert_eq!((problem.line, problem.column), (line, column), "{problem}");
    assert!(problem.message.contains(message), "{problem}");
    assert!(!problem.message.contains('\n'), "{problem}");
}

fn reads(text: &str, expected: Value) {
    assert_eq!(yaml::parse(text).unwrap_or_else(|problem| panic!("{text}: {problem}")), expected, "{text}");
}

// faults row 36
#[test]
fn billion_laughs_are_refused_by_what_they_would_become() {
    let mut text = String::from("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for n in 1..10 {
        let aliases = vec![format!("*a{}", n - 1); 9].join(", ");
        text.push_str(&format!("a{n}: &a{n} [{aliases}]\n"));
    }
    let started = Instant::now();
    refused(&text, 5, 15, "aliases written out");
    assert!(started.elapsed() < Duration::from_secs(1));
}

// faults row 36
#[test]
fn a_large_value_repeated_by_aliases_is_refused() {
    let text = format!("a: &a {}\nb: [{}]\n", "x".repeat(60_000), vec!["*a"; 20].join(", "));
    refused(&text, 2, 37, "aliases written out");
}

// faults row 36
#[test]
fn an_alias_of_the_value_it_is_part_of_is_refused() {
    refused("a: &a [*a]\n", 1, 8, "an alias of the value it is part of");
    refused("a: *b\n", 1, 4, "unknown anchor");
}

// faults row 36
#[test]
fn a_one_megabyte_scalar_is_refused() {
    refused(&format!("a: {}\n", "x".repeat(1 << 20)), 1, 1, "over 512 KiB");
    refused(&format!("a: {}\n", "x".repeat(100_000)), 1, 4, "over 64 KiB");
    refused(&format!("a: |\n{}", " line of text\n".repeat(6_000)), 2, 2, "over 64 KiB");
}

// faults row 36
#[test]
fn tabs_in_the_indentation_are_refused() {
    refused("classes:\n\ta: 1\n", 2, 2, "tab");
    refused("classes:\n  a:\n  \tb: 1\n", 3, 4, "tab");
    refused("a: [\n\t1]\n", 2, 2, "tab");
    refused("a: 'x\n\ty'\n", 2, 1, "tab");
    reads("a: \tb\nc: |\n  x\n  \ty\n\nd: 1\t# comment\n", json!({"a": "b", "c": "x\n\ty\n", "d": 1}));
}

// faults row 36
#[test]
fn duplicate_keys_are_refused_with_both_lines() {
    refused("a: 1\nb: 2\na: 3\n", 3, 1, "duplicate key \"a\", first on line 1");
    refused("{a: 1, \"a\": 3}\n", 1, 8, "duplicate key");
    refused("classes:\n  a: {}\n  a: {}\n", 3, 3, "duplicate key");
}

// faults row 36
#[test]
fn tags_are_refused() {
    refused("a: !!ruby/object:Gem::Installer {i: x}\n", 1, 4, "a tag");
    refused("--- !ruby/object:OpenStruct\na: 1\n", 1, 5, "a tag");
    refused("- !ruby/sym x\n", 1, 3, "a tag");
    refused("a: !!binary aGVsbG8=\n", 1, 4, "a tag");
    refused("a: !!int '5'\n", 1, 4, "a tag");
    refused("a: !<tag:yaml.org,2002:python/object/apply:os.system> [ls]\n", 1, 4, "a tag");
    refused("a: ! yes\n", 1, 4, "a tag");
    reads("a: !!str 5\n", json!({"a": "5"}));
}

// faults row 36
#[test]
fn deep_nesting_is_refused() {
    let deep = |n: usize| format!("{}{}\n", "[".repeat(n), "]".repeat(n));
    assert!(yaml::parse(&deep(32)).is_ok());
    refused(&deep(33), 1, 33, "nested more than 32 deep");
    assert!(yaml::parse(&"[".repeat(500_000)).is_err());
    let steps: String = (1..40).map(|n| format!("a{n}: &a{n} [[[*a{}]]]\n", n - 1)).collect();
    let text = format!("a0: &a0 []\n{steps}");
    assert!(yaml::parse(&text).unwrap_err().message.contains("nested more than 32 deep"));
}

// faults row 36
#[test]
fn control_characters_are_refused() {
    refused("a: 1\nb: x\0y\n", 2, 5, "a control character");
    refused("a: 1\0\nb: hidden\n", 1, 5, "a control character");
    refused("a: \u{1b}[31m\n", 1, 4, "a control character");
    refused("a: b\u{2028}c: d\n", 1, 5, "a control character");
    reads("\u{feff}a: \"x\\0y\"\r\nb: 1\r\n", json!({"a": "x\0y", "b": 1}));
}

// faults row 36
#[test]
fn anchors_and_merge_keys_work() {
    let text = "
base: &base {java: openjdk, heap: 512}
more: &more {heap: 1024, tmp: /tmp}
one:
  <<: *base
  heap: 256
two:
  <<: [*base, *more]
list: [*base, 1]
";
    let base = json!({"java": "openjdk", "heap": 512});
    let expected = json!({
        "base": base,
        "more": {"heap": 1024, "tmp": "/tmp"},
        "one": {"java": "openjdk", "heap": 256},
        "two": {"java": "openjdk", "heap": 512, "tmp": "/tmp"},
        "list": [base, 1],
    });
    reads(text, expected);
    refused("a: &a {x: 1}\nb:\n  x: 2\n  <<: *a\n", 4, 7, "put it first");
    refused("a: &a {x: 1}\nb:\n  <<: *a\n  <<: *a\n", 4, 7, "a second `<<`");
    refused("a:\n  <<: text\n", 2, 7, "`<<` needs a mapping");
}

#[test]
fn keys_are_text() {
    reads("8200: a\n\"yes\": b\nx y: c\n", json!({"8200": "a", "yes": "b", "x y": "c"}));
    for text in ["yes: 1\n", "null: 1\n", "~: 1\n", "1.5: 1\n", "0x1f: 1\n", "12:30: 1\n", ": 1\n"] {
        refused(text, 1, 1, "a key that Ruby does not read as text");
    }
    refused("? [a]\n: 1\n", 1, 3, "a key must be text");
}

#[test]
fn one_document_only() {
    refused("a: 1\n---\nb: 2\n", 2, 1, "a second document");
    reads("", Value::Null);
    reads("---\n...\n", Value::Null);
}

#[test]
fn a_value_never_appears_in_a_message() {
    for text in ["a: 12:34:56\n", "environment: s3cr3t-x\n", "classes: s3cr3t\n", "classes: [[s3cr3t]]\n"] {
        let message =
            NodeDefinition::parse(text).and_then(|_| NodeDefinition::parse("")).unwrap_err().to_string();
        assert!(!message.contains("s3cr3t") && !message.contains("34"), "{message}");
    }
}

fn classes(text: &str) -> Vec<(String, Value)> {
    let definition = NodeDefinition::parse(text).unwrap_or_else(|problem| panic!("{text}: {problem}"));
    definition.classes.into_iter().map(|(name, map)| (name, Value::Object(map))).collect()
}

// faults row 36
#[test]
fn classes_may_be_a_list_or_a_mapping_or_both_in_one() {
    let check = |text: &str, expected: &[(&str, Value)]| {
        let expected: Vec<_> =
            expected.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        assert_eq!(classes(text), expected, "{text}");
    };
    let none = || json!({});
    check(
        "classes: [login-allowed, hadoop::worker]",
        &[("login-allowed", none()), ("hadoop::worker", none())],
    );
    check("classes:\n- z\n- a\n", &[("z", none()), ("a", none())]);
    check(
        "classes:\n  zoo:\n    port: 2181\n  apt:\n  base: {}\n  x: ~\n",
        &[("zoo", json!({"port": 2181})), ("apt", none()), ("base", none()), ("x", none())],
    );
    check(
        "classes:\n- apt\n- hadoop::worker: {distribution: apache3}\n- x:\n    y: [1]\n- z:\n",
        &[
            ("apt", none()),
            ("hadoop::worker", json!({"distribution": "apache3"})),
            ("x", json!({"y": [1]})),
            ("z", none()),
        ],
    );
    check("classes:\nparameters:\nenvironment:\nbunraku:\n", &[]);
    check("{}", &[]);
}

#[test]
fn the_original_definition_reads_unchanged() {
    let text = "---\nclasses:\n  hadoop::worker:\n    namenode: ~\nparameters:\n  site: &s ec2\n  rack: *s\n\
                environment: production\nbunraku:\n  token: {sha256: abc}\nname: x\n";
    let definition = NodeDefinition::parse(text).unwrap();
    assert_eq!(definition.classes[0].0, "hadoop::worker");
    assert_eq!(definition.classes[0].1["namenode"], Value::Null);
    assert_eq!(Value::Object(definition.parameters), json!({"site": "ec2", "rack": "ec2"}));
    assert_eq!(definition.environment.as_deref(), Some("production"));
    assert_eq!(definition.enrolment.unwrap()["token"]["sha256"], "abc");
    assert_eq!(definition.unknown, ["name"]);
}

// faults row 36
#[test]
fn a_definition_of_the_wrong_shape_is_refused_with_its_place() {
    let check = |text: &str, line: usize, column: usize, message: &str| {
        let problem = NodeDefinition::parse(text).expect_err(text);
        assert_eq!((problem.line, problem.column), (line, column), "{text}: {problem}");
        assert!(problem.message.contains(message), "{text}: {problem}");
    };
    check("", 1, 1, "not nothing");
    check("- a\n", 1, 1, "not a list");
    check("<html>\n", 1, 1, "not text");
    check("environment: 1\n", 1, 14, "environment must be text, not a number");
    check("environment: yes\n", 1, 14, "environment must be text, not a boolean");
    check("environment: ../etc\n", 1, 14, "letters, digits and underscores");
    check("environment: ''\n", 1, 14, "letters, digits and underscores");
    check("classes: hadoop\n", 1, 10, "not text");
    check("classes: [1]\n", 1, 11, "not a number");
    check("classes: [{a: 1, b: 2}]\n", 1, 11, "one `name: {parameters}`");
    check("classes: [a, b, a]\n", 1, 17, "class \"a\" is there twice");
    check("classes: ['']\n", 1, 11, "without a name");
    check("classes:\n  a: [x]\n", 2, 6, "the parameters of class \"a\" must be a mapping, not a list");
    check("classes:\n- a: x\n", 2, 6, "the parameters of class \"a\" must be a mapping, not text");
    check("parameters: [a]\n", 1, 13, "parameters must be a mapping, not a list");
    check("bunraku: 1\n", 1, 10, "bunraku must be a mapping, not a number");
}

#[test]
fn text_within_the_caps_is_cheap_whatever_its_form() {
    let keys: String = (0..9_000).map(|n| format!("key{n}: 1\n")).collect();
    let texts = [
        keys,
        "a: [".to_owned() + &"x, ".repeat(9_000) + "x]\n",
        "\t# \n".repeat(100_000),
        "? ".repeat(200_000),
        "- ".repeat(200_000),
        "{a: ".repeat(100_000),
        "&a ".repeat(150_000),
        "a:\n ".repeat(100_000),
        "\"".to_owned() + &"\\\n".repeat(200_000),
        "'".repeat(400_000),
        "!".repeat(400_000),
        "%TAG ! x\n".repeat(50_000),
        "|\n".to_owned() + &" \n".repeat(200_000),
        ": ".repeat(200_000),
        "[a: b, ".repeat(60_000),
    ];
    for text in texts {
        let started = Instant::now();
        let _ = yaml::parse(&text);
        let took = started.elapsed();
        assert!(took < Duration::from_secs(3), "{took:?} for {:?}…", &text[..20]);
    }
}
