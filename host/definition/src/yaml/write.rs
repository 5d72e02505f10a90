//! YAML that every reader takes the same way.

use serde_json::{Map, Value};

use super::scalar::resolve;

/// Readers give up looking for the colon of a longer key after 1,024 characters.
const MAX_SIMPLE_KEY: usize = 1_000;

/// Block YAML of a value, keys sorted, that Ruby's psych and [`super::parse`] read as exactly this value.
/// Text is quoted wherever any YAML version could take it for something else.
pub fn to_string(value: &Value) -> String {
    let mut out = String::from("---");
    write(&mut out, value, 0);
    out.push('\n');
    out
}

/// Writes what follows a `key:`, a `-` or the `---`.
fn write(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => mapping(out, map, depth),
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                line(out, depth);
                out.push('-');
                write(out, item, depth.saturating_add(1));
            }
        }
        simple => {
            out.push(' ');
            scalar(out, simple);
        }
    }
}

fn mapping(out: &mut String, map: &Map<String, Value>, depth: usize) {
    for (key, value) in map {
        let mut name = String::new();
        if key == "<<" {
            // Psych takes a quoted one for a merge key too.
            name.push_str("!!str ");
        }
        text(&mut name, key);
        line(out, depth);
        if name.len() > MAX_SIMPLE_KEY {
            out.push_str("? ");
            out.push_str(&name);
            line(out, depth);
        } else {
            out.push_str(&name);
        }
        out.push(':');
        write(out, value, depth.saturating_add(1));
    }
}

fn line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

fn scalar(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => out.push_str(&with_point(&number.to_string())),
        Value::String(s) => text(out, s),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
    }
}

/// Psych takes `1e+21` and `1e21` for text: it wants a point and a sign.
fn with_point(number: &str) -> String {
    let Some((mantissa, exponent)) = number.split_once('e') else { return number.into() };
    let point = if mantissa.contains('.') { "" } else { ".0" };
    let sign = if exponent.starts_with(['-', '+']) { "" } else { "+" };
    format!("{mantissa}{point}e{sign}{exponent}")
}

fn text(out: &mut String, text: &str) {
    if is_plain(text) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control()
                || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') =>
            {
                out.push_str(&format!("\\u{:04X}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Letters, digits and `_ - . / @ ::` from a letter on, unless it is one of the words that mean something.
fn is_plain(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '@');
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.split("::").all(|part| !part.is_empty() && part.chars().all(word))
        && !matches!(text.to_ascii_lowercase().as_str(), "y" | "n")
        && matches!(resolve(text), Ok(Value::String(_)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_yaml_that_people_would_write() {
        let value = json!({
            "classes": {"apt": {}, "hadoop::worker": {"dirs": ["/a", "/b c"], "port": 8020, "ha": false}},
            "environment": "production",
            "parameters": {"version": "1.0", "on": null, "more": [[1, 2], {"a": "b"}]},
        });
        let text = r#"---
classes:
  apt: {}
  hadoop::worker:
    dirs:
      - /a
      - "/b c"
    ha: false
    port: 8020
environment: production
parameters:
  more:
    -
      - 1
      - 2
    -
      a: b
  "on": null
  version: "1.0"
"#;
        assert_eq!(to_string(&value), text);
        assert_eq!(to_string(&json!("x")), "--- x\n");
    }
}
