//! Ruby's psych reads what we write as what we meant, and what we accept as we do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

use std::io::Write;
use std::process::{Command, Stdio};

use definition::yaml;
use serde_json::{Value, json};

/// Each text as psych reads it; none where it refuses. None at all where there is no Ruby.
fn psych(texts: &[String]) -> Option<Vec<Option<Value>>> {
    let script = r#"
        require "json"; require "yaml"
        texts = JSON.parse(STDIN.read)
        puts JSON.generate(texts.map { |text|
          begin
            value = YAML.safe_load(text, permitted_classes: [Symbol], aliases: true)
            JSON.generate([value])
          rescue StandardError, SyntaxError
            nil
          end
        })"#;
    let mut ruby = match Command::new("ruby")
        .args(["-e", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
    {
        Ok(ruby) => ruby,
        Err(error) => {
            eprintln!("skipped: no ruby ({error})");
            return None;
        }
    };
    ruby.stdin.take().unwrap().write_all(json!(texts).to_string().as_bytes()).unwrap();
    let out = ruby.wait_with_output().unwrap();
    assert!(out.status.success());
    let answers: Vec<Option<String>> = serde_json::from_slice(&out.stdout).unwrap();
    let value = |answer: String| serde_json::from_str::<Value>(&answer).unwrap()[0].clone();
    Some(answers.into_iter().map(|answer| answer.map(value)).collect())
}

fn strings() -> Vec<String> {
    let mut strings: Vec<String> = [
        "",
        " ",
        "a",
        "yes",
        "No",
        "on",
        "y",
        "n",
        "null",
        "~",
        "true",
        "0",
        "08",
        "0644",
        "1e5",
        "1.0",
        "1_000",
        "12:30",
        "2010-04-07",
        "2010-04-07 10:00:00",
        ":sym",
        "::x",
        "a::b",
        "a:",
        "a: b",
        "a #b",
        "#a",
        "- a",
        "-",
        "--- a",
        "...",
        "? a",
        "[a",
        "{a",
        "&a",
        "*a",
        "!a",
        "!!str a",
        "|",
        ">",
        "%a",
        "@a",
        "`a",
        "'a'",
        "\"a\"",
        "a\\b",
        "a\nb",
        "a\n",
        "\n",
        "\ta",
        "a\tb",
        "a\r\nb",
        " a ",
        "<<",
        "=",
        ".",
        "..",
        ".inf",
        ".nan",
        "0x1f",
        "0b1",
        "1,000",
        "é",
        "日本語",
        "\u{1f600}",
        "\u{85}",
        "\u{2028}",
        "\u{feff}",
        "\u{7f}",
        "\0",
        "\u{1b}",
        "a,b",
        "a]b",
        "a}b",
        "x/y",
        "/etc/x",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        "http://x:80/",
        "login-allowed",
        "1.2.3.4",
        "a'b",
        "a\"b",
        "\u{fffe}",
        "\u{e000}",
        "infinity",
        "NaN",
        "nil",
        "0o17",
        "+1",
        "-1",
        "1.",
        ".5",
        "+.inf",
    ]
    .map(String::from)
    .to_vec();
    for c in '\0'..='\u{ff}' {
        strings.push(c.to_string());
        strings.push(format!("a{c}b"));
        strings.push(format!("{c}1"));
    }
    strings.push("x".repeat(5_000));
    strings
}

#[test]
fn psych_reads_what_we_write() {
    let mut values: Vec<Value> = strings().into_iter().map(Value::from).collect();
    values.extend(strings().into_iter().map(|s| json!({s.clone(): {s.clone(): [s]}})));
    values.extend([
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(-5),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1.0),
        json!(1.5),
        json!(-0.25),
        json!(1e21),
        json!(1e300),
        json!(1e-7),
        json!(5e-324),
        json!(f64::MAX),
        json!(0.1),
        json!([]),
        json!({}),
        json!([[], {}, [[]], [{}]]),
        json!({"a": {"b": {}}, "c": []}),
        json!([[1, [2, {"a": [3]}]], {"b": {"c": [{"d": 1, "e": [1, 2]}]}}]),
        json!({"classes": {"hadoop::worker": {"port": 8020, "dirs": ["/a", "/b"]}, "apt": {}},
               "parameters": {"x": null}, "environment": "production"}),
    ]);
    let texts: Vec<String> = values.iter().map(yaml::to_string).collect();
    for (value, text) in values.iter().zip(&texts) {
        assert_eq!(yaml::parse(text).as_ref(), Ok(value), "{text}");
    }
    let Some(answers) = psych(&texts) else { return };
    for ((value, text), answer) in values.iter().zip(&texts).zip(answers) {
        assert_eq!(answer.as_ref(), Some(value), "{text}");
    }
}

/// To YAML 1.2 a colon is part of an anchor's name. Neither is a node definition.
const DIFFERENT: [&str; 2] = ["&a: 1\n", "&1: 1\n"];

#[test]
fn what_we_accept_means_the_same_to_psych() {
    let mut texts: Vec<String> = strings();
    texts.extend(strings().into_iter().map(|s| format!("k: {s}\nl: [{s}, 1]\n")));
    texts.extend(strings().into_iter().map(|s| format!("{s}: 1\n")));
    let signs = ["", "-", "+"];
    let numbers = [
        "0",
        "00",
        "0_",
        "0_7",
        "07",
        "0b",
        "0b_",
        "0b1_0",
        "0b2",
        "0x",
        "0x_f",
        "0xF_",
        "1",
        "1_",
        "1_0",
        "1__0",
        "1.5",
        "1_0.5",
        "1.5_0",
        ".5",
        "5.",
        ".",
        "._",
        "1.5e3",
        "1.5e+3",
        "1.5e-3",
        "1.5E+3",
        "1e+3",
        "5.e+3",
        ".e+3",
        "1.5e+",
        "0.1e+1",
        "_1",
        "_1.5",
        "01.5",
        "0_1.5",
        "1.5.5",
        "9",
        "09",
        "09.5",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "00000000000000000000017",
        "1:2",
        "1:60",
        "123:59",
        "1:02:03",
        "1:2:3:4",
        "1:2.5",
        "1,0",
        "1,000,000",
        "1,",
        ",1",
        "0,7",
        "1,0.5",
        "1.0,5",
        ":1",
        ":",
        "::",
        ":a b",
        "2010-1-1",
        "2010-13-41",
        "2010-1",
        "2010-01-01T",
        "2010-01-01x",
        "inf",
        ".Inf",
        ".NAN",
        "nan",
    ];
    for sign in signs {
        texts.extend(numbers.map(|n| format!("v: {sign}{n}\n")));
    }
    texts.extend(
        [
            "a: b\n c\n",
            "a: b\n\n c\n",
            "a: >\n x\n y\n\n z\n",
            "a: >-\n x\n y\n",
            "a: |+\n x\n\n",
            "a: |2\n   x\n",
            "a: 'it''s'\n",
            "a: \"x\\ty\\u00e9\\x41\\\n  z\"\n",
            "a: 'x\n  y'\n",
            "{a: 1, b: [c, d]}\n",
            "{a: 1, }\n",
            "[a, , b]\n",
            "[a: 1, b: 2]\n",
            "{a, b}\n",
            "{a:1}\n",
            "{\"a\":1}\n",
            "- - a\n  - b\n-\n  c: 1\n",
            "a:\n- b\n- c\n",
            "? a\n: b\n",
            "? a\n",
            "%YAML 1.1\n---\na: 1\n",
            "%YAML 1.2\n---\na: 1\n",
            "--- a\n",
            "--- |\n x\n",
            "--- {a: 1}\n...\n",
            "# c\na: 1 # d\n",
            "a: b#c\n",
            "a: 'b'#c\n",
            "a: b: c\n",
            "a: - b\n",
            "&a a: *a\n",
            "a: &x\nb: *x\n",
            "a: &x {p: 1}\nb: {<<: *x, q: 2}\n",
            "a: &x {p: 1}\nb:\n  <<: *x\n  p: 2\n",
            "<<: {a: 1}\n",
            "\"<<\": {a: 1}\n",
            "!!str <<: {a: 1}\n",
            "a: &x {p: 1}\nb: &y {p: 2, q: 3}\nc:\n  <<: [*x, *y]\n",
            "a: @b\n",
            "a: `b\n",
            "a: %b\n",
            "a: b%c\n",
            "a: !!str yes\n",
            "a: ! yes\n",
            "a: ! 'yes'\n",
            "a:\r\n  b: 1\r\n",
            "a: b\rc: d\n",
            "a\n",
            "a b: c d\n",
            "a: [b\n, c]\n",
            "a: {b: c,\n d: e}\n",
            "a: [\nb]\n",
            "a:\n    b: 1\n  c: 2\n",
            "a: 1\n b: 2\n",
            "a: ?b\n",
            "a: -b\n",
            "a: :b\n",
            "[?a, -b]\n",
            "a: \"\\/\"\n",
            "a: \"\\q\"\n",
            "a: 'b\n",
            "a: |\nb: 1\n",
            "a: |\n\n  x\n\n\n",
            "a: >\n  x\n   y\n  z\n",
            "\n\n",
            "a: b\\n\n",
            "a: *x\n",
            "a : b\n",
            "'a' : b\n",
            "- a\n- - b\n  -c\n",
            "a:\n  - b\n  -\n  - ~\n",
            "a: [b]c\n",
            "a: \"b\" c\n",
            "x: {y: z}}\n",
        ]
        .map(String::from),
    );
    let Some(answers) = psych(&texts) else { return };
    let mut accepted = 0;
    let mut different = vec![];
    for (text, answer) in texts.iter().zip(answers) {
        let Ok(ours) = yaml::parse(text) else { continue };
        accepted += 1;
        // Where psych gives up, there is nothing to differ from.
        let Some(answer) = answer else { continue };
        if answer != ours && !DIFFERENT.contains(&text.as_str()) {
            different.push(format!("{text:?}: {ours}, psych: {answer}"));
        }
    }
    assert!(accepted > 500, "only {accepted} of {} accepted", texts.len());
    assert!(different.is_empty(), "{} differ\n{}", different.len(), different.join("\n"));
}
