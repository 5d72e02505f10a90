//! Lengths of time and numbers of bytes, as operators write them.

use std::time::Duration;

/// Reads a length of time such as `250ms`, `30s`, `10m`, `2h`, `7d` or `5y`.
///
/// # Errors
/// A sentence that says what is understood.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 6] =
        [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("y", 31_536_000_000)];
    quantity(text, &UNITS).map(Duration::from_millis).ok_or_else(|| {
        format!("is {text:?}, which is no length of time; write it as 250ms, 30s, 10m, 2h, 7d or 5y")
    })
}

/// Reads a number of bytes such as `512B`, `64KiB`, `16MiB` or `1GiB`.
///
/// # Errors
/// A sentence that says what is understood.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    quantity(text, &UNITS)
        .ok_or_else(|| format!("is {text:?}, which is no size; write it as 512B, 64KiB, 16MiB or 1GiB"))
}

fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    let (_, worth) = units.iter().find(|(known, _)| *known == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*worth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read() {
        assert_eq!(parse_duration("7d"), Ok(Duration::from_secs(604_800)));
        assert!(parse_duration("7").is_err());
        assert!(parse_duration("99999999999999999999y").is_err());
        assert_eq!(parse_bytes("64KiB"), Ok(65_536));
        assert!(parse_bytes("64kb").is_err());
    }
}
