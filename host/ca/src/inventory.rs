//! The inventory of a Puppet CA, `inventory.txt`: one line a certificate, in order of issue,
//! `0x0003 2026-11-21T16:41:39UTC 2031-11-21T16:41:39UTC /CN=waiter.peer.test`.
//!
//! A line that cannot be read is a problem of that line alone.

use pki::Serial;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// Most bytes of a line; a real one has less than 400.
const LONGEST: usize = 4096;
/// Most bytes of a certname, as everywhere.
const LONGEST_NAME: usize = 255;

const TIME: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");

/// What a line says of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its serial.
    pub serial: Serial,
    /// Valid from then on.
    pub not_before: OffsetDateTime,
    /// Valid up to then.
    pub not_after: OffsetDateTime,
    /// The subject's common name: printable ASCII, but perhaps no certname.
    pub name: String,
}

/// Reads every line that is not empty and no comment: its number, from 1, and what it says, or else what
/// is wrong with it.
pub fn parse(text: &[u8]) -> impl Iterator<Item = (usize, Result<Entry, String>)> {
    let lines = text.split(|byte| *byte == b'\n').zip(1..);
    lines.filter_map(|(line, number)| {
        let line = line.trim_ascii();
        let empty = line.is_empty() || line.starts_with(b"#");
        (!empty).then(|| (number, entry(line)))
    })
}

/// One line, without its end.
pub fn write(entry: &Entry) -> String {
    let time = |time: OffsetDateTime| {
        let time = time.to_offset(time::UtcOffset::UTC).format(TIME);
        // Years from 0 to 9999, which is all that a certificate can say.
        time.unwrap_or_else(|_| "9999-12-31T23:59:59".into()) + "UTC"
    };
    // Puppet's own has four digits at least.
    let serial = entry.serial.to_hex();
    format!("0x{serial:0>4} {} {} /CN={}", time(entry.not_before), time(entry.not_after), entry.name)
}

fn entry(line: &[u8]) -> Result<Entry, String> {
    if line.len() > LONGEST {
        return Err(format!("the line has {} bytes, the most is {LONGEST}", line.len()));
    }
    let line = std::str::from_utf8(line).map_err(|_| "the line is not text in UTF-8".to_owned())?;
    // The subject may have spaces.
    let mut fields = line.splitn(4, |c: char| c.is_ascii_whitespace());
    let mut field = |what: &str| fields.next().ok_or_else(|| format!("the line ends before the {what}"));
    let (serial, from, to, subject) =
        (field("serial")?, field("beginning")?, field("end")?, field("subject")?);
    let digits = serial.strip_prefix("0x").ok_or("the serial does not begin with 0x")?;
    Ok(Entry {
        serial: Serial::from_hex(digits).map_err(|error| error.to_string())?,
        not_before: date(from)?,
        not_after: date(to)?,
        name: common_name(subject)?,
    })
}

fn date(text: &str) -> Result<OffsetDateTime, String> {
    let bare = ["UTC", "GMT", "Z"].iter().find_map(|zone| text.strip_suffix(zone));
    let bare = bare.ok_or_else(|| format!("the time {} is not in UTC", shown(text)))?;
    let time = time::PrimitiveDateTime::parse(bare, TIME);
    time.map(time::PrimitiveDateTime::assume_utc).map_err(|_| format!("{} is no time", shown(text)))
}

fn common_name(subject: &str) -> Result<String, String> {
    let (_, name) =
        subject.rsplit_once("/CN=").ok_or_else(|| format!("{} has no common name", shown(subject)))?;
    // What else the subject has, as `/CN=a/O=b`.
    let name = name.split_once('/').map_or(name, |(name, _)| name).trim();
    if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("{} is no name", shown(name)));
    }
    Ok(name.to_owned())
}

fn shown(text: &str) -> String {
    let cut: String = text.chars().take(80).collect();
    format!("{cut:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_or_named() {
        fn check(line: &str, expected: Result<(&str, i64, &str), &str>) {
            let mut read = parse(line.as_bytes());
            let (number, entry) = read.next().unwrap();
            assert!(number == 1 && read.next().is_none());
            let entry = entry.map(|e| (e.serial.to_hex(), e.not_after.unix_timestamp(), e.name));
            match (entry, expected) {
                (Ok((serial, end, name)), Ok(expected)) => {
                    assert_eq!((serial.as_str(), end, name.as_str()), expected);
                }
                (Err(why), Err(part)) => assert!(why.contains(part), "{line:?}: {why}"),
                (other, _) => panic!("{line:?}: {other:?}"),
            }
        }
        let dates = "2026-11-21T16:33:37UTC 2027-01-01T00:00:00UTC";
        check(&format!("0x0001 {dates} /CN=a.b"), Ok(("01", 1_798_761_600, "a.b")));
        check(&format!("0x0001 {dates} /CN=a\r"), Ok(("01", 1_798_761_600, "a")));
        check(&format!("0xABCDEF0123 {dates} /O=x y/CN=a/OU=z"), Ok(("ABCDEF0123", 1_798_761_600, "a")));
        let big = "F".repeat(40);
        check(&format!("0x{big} {dates} /CN=a"), Ok((&big, 1_798_761_600, "a")));
        check(&format!("0x1{big} {dates} /CN=a"), Err("20 bytes"));
        check(&format!("0x0000 {dates} /CN=a"), Err("positive"));
        check(&format!("0001 {dates} /CN=a"), Err("0x"));
        check(&format!("0x01 {dates} /O=a"), Err("common name"));
        check(&format!("0x01 {dates} /CN="), Err("no name"));
        check(&format!("0x01 {dates} /CN=a\u{1b}[2J"), Err("no name"));
        check(&format!("0x01 {dates}"), Err("before the subject"));
        check("0x01 2026-02-30T00:00:00UTC 2027-01-01T00:00:00UTC /CN=a", Err("no time"));
        check("0x01 2026-11-21T16:33:37CET 2027-01-01T00:00:00UTC /CN=a", Err("not in UTC"));
        check("0x01", Err("before the beginning"));
        check(&"x".repeat(5000), Err("5000 bytes"));
    }

    #[test]
    fn a_bad_line_is_that_lines_problem_alone() {
        let good = "0x01 2026-11-21T16:33:37UTC 2027-01-01T00:00:00UTC /CN=a";
        let text = [b"# Inventory\n\n", good.as_bytes(), b"\n\xff\xfe\n", good.as_bytes(), b"\n"].concat();
        let read: Vec<_> = parse(&text).map(|(number, entry)| (number, entry.is_ok())).collect();
        assert_eq!(read, [(3, true), (4, false), (5, true)]);
        let entry = parse(&text).next().unwrap().1.unwrap();
        assert_eq!(write(&entry), good.replace("0x01", "0x0001"));
    }
}
