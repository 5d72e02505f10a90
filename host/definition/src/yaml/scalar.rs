//! What a plain scalar means: Ruby's psych 4 and 5 (`psych/scalar_scanner.rb`), less its surprises.

use serde_json::{Number, Value};

const QUOTE: &str = "put it in quotes to mean the text";

/// The value of a plain scalar, or why it is refused.
pub fn resolve(text: &str) -> Result<Value, String> {
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if text.is_empty() || text == "~" || is(&["null"]) {
        return Ok(Value::Null);
    }
    if is(&["yes", "true", "on"]) {
        return Ok(Value::Bool(true));
    }
    if is(&["no", "false", "off"]) {
        return Ok(Value::Bool(false));
    }
    if text.starts_with('?') {
        return Err(format!("a key to some readers; {QUOTE}"));
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !text.starts_with(|c: char| c.is_ascii_digit() || ".:+-".contains(c)) || text.contains('\n') {
        return Ok(text.into());
    }
    if unsigned.eq_ignore_ascii_case(".inf") || text.eq_ignore_ascii_case(".nan") {
        return Err(format!("a number that JSON does not have; {QUOTE}"));
    }
    if text.starts_with(':') && text.len() > 1 {
        return Err(format!("a Ruby symbol; {QUOTE}"));
    }
    if is_date(unsigned) {
        return Err(format!("a date; {QUOTE}"));
    }
    if is_base_60(unsigned) {
        return Err(format!("a number to the base of 60 for Ruby; {QUOTE}"));
    }
    if text.contains(',') && number(&text.replace(',', ""))?.is_some() {
        return Err(format!("a number with commas; leave them out, or {QUOTE}"));
    }
    Ok(number(text)?.unwrap_or_else(|| text.into()))
}

/// Binary, octal, decimal or hexadecimal, or a decimal fraction; none where it is text.
fn number(text: &str) -> Result<Option<Value>, String> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if unsigned.contains('.') {
        return fraction(negative, unsigned);
    }
    let radix_and_digits = match unsigned.split_at_checked(2) {
        Some(("0b", digits)) => Some((2, digits)),
        Some(("0x", digits)) => Some((16, digits)),
        _ => match unsigned.strip_prefix('0') {
            Some("") => Some((10, "0")),
            Some(digits) => Some((8, digits)),
            None => is_grouped(unsigned).then_some((10, unsigned)),
        },
    };
    let Some((radix, digits)) = radix_and_digits else { return Ok(None) };
    if !digits.chars().all(|c| c == '_' || c.is_digit(radix)) {
        return Ok(None);
    }
    let mut digits = digits.replace('_', "");
    if digits.is_empty() && radix == 8 {
        digits.push('0');
    }
    if digits.is_empty() {
        return Ok(None);
    }
    let large = || format!("a number beyond 64 bits; {QUOTE}");
    let size = u64::from_str_radix(&digits, radix).map_err(|_| large())?;
    Ok(Some(if negative {
        Value::from(0i64.checked_sub_unsigned(size).ok_or_else(large)?)
    } else {
        size.into()
    }))
}

/// Decimal digits that start with 1 to 9, with single underscores between them.
fn is_grouped(text: &str) -> bool {
    text.starts_with(|c: char| ('1'..='9').contains(&c))
        && !text.ends_with('_')
        && !text.contains("__")
        && text.chars().all(|c| c == '_' || c.is_ascii_digit())
}

/// Psych wants a sign in the exponent.
fn fraction(negative: bool, unsigned: &str) -> Result<Option<Value>, String> {
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    let Some((whole, part)) = mantissa.split_once('.') else { return Ok(None) };
    let whole_ok = whole.is_empty()
        || (whole.starts_with(|c: char| c.is_ascii_digit()) && digits(&whole.replace('_', "")));
    let exponent_ok = exponent
        .is_none_or(|e| e.strip_prefix(['+', '-']).is_some_and(|rest| !rest.is_empty() && digits(rest)));
    if !whole_ok || !exponent_ok || !digits(part) || (whole.is_empty() && part.is_empty()) {
        return Ok(None);
    }
    let text = format!("{}.{}0e{}", whole.replace('_', ""), part, exponent.unwrap_or("0"));
    let Ok(size) = text.parse::<f64>() else { return Ok(None) };
    let number = Number::from_f64(if negative { -size } else { size });
    number.map(|n| Some(Value::Number(n))).ok_or_else(|| format!("a number beyond 64 bits; {QUOTE}"))
}

/// `2010-04-07`, alone or before a time.
fn is_date(text: &str) -> bool {
    let date = text.split(['T', 't', ' ', '\t']).next().unwrap_or(text);
    let mut parts = date.split('-').map(|part| (part.len(), part.chars().all(|c| c.is_ascii_digit())));
    matches!(
        (parts.next(), parts.next(), parts.next(), parts.next()),
        (Some((4, true)), Some((1 | 2, true)), Some((1 | 2, true)), None)
    )
}

/// `12:30` or `1:02:03`, with or without a fraction.
fn is_base_60(text: &str) -> bool {
    let text = text.split_once('.').map_or(text, |(whole, part)| {
        if part.chars().all(|c| c == '_' || c.is_ascii_digit()) { whole } else { text }
    });
    let mut parts = text.split(':');
    let first = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    first.starts_with(|c: char| c.is_ascii_digit())
        && first.chars().all(|c| c == '_' || c.is_ascii_digit())
        && (1..=2).contains(&rest.len())
        && rest.iter().all(|part| matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9']))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_scalars_mean_what_psych_makes_of_them() {
        let check = |text: &str, expected: Value| assert_eq!(resolve(text), Ok(expected), "{text}");
        for text in ["", "~", "null", "NULL"] {
            check(text, Value::Null);
        }
        for text in ["yes", "Yes", "true", "TRUE", "on"] {
            check(text, json!(true));
        }
        for text in ["no", "False", "off"] {
            check(text, json!(false));
        }
        check("0644", json!(420));
        check("0x1F", json!(31));
        check("0b101", json!(5));
        check("-5", json!(-5));
        check("+5", json!(5));
        check("1_000", json!(1000));
        check("0", json!(0));
        check("-0", json!(0));
        check("1.50", json!(1.5));
        check(".5", json!(0.5));
        check("1.", json!(1.0));
        check("-1.0e+3", json!(-1000.0));
        check("18446744073709551615", json!(u64::MAX));
        check("-9223372036854775808", json!(i64::MIN));
        for text in [
            "y",
            "n",
            "08",
            "0o17",
            "1e5",
            "1.0e5",
            ".",
            "-",
            "10.0.0.1",
            "1.2.3",
            "hadoop::worker",
            "-a",
            "1__0",
            "12:3a",
            "1:2:3:4",
            "2010-04",
            "a:b",
            "00:16:3e:11:22:33",
            "+",
            "-.",
            ".e+5",
            "0b",
            "0xg",
        ] {
            check(text, json!(text));
        }
    }

    #[test]
    fn what_surprises_in_psych_is_refused() {
        for text in [
            "12:30",
            "1:02:03",
            "1:30.5",
            "1,000",
            "10,20",
            "1,000.5",
            "2010-04-07",
            "2010-4-7 10:00:00 Z",
            "2010-04-07T10:00:00Z",
            ":classes",
            "::x",
            ".inf",
            "?a",
            "-.INF",
            ".NaN",
            "18446744073709551616",
            "1.0e+999",
            "-9223372036854775809",
        ] {
            assert!(resolve(text).is_err(), "{text}");
        }
    }
}
