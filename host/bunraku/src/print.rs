//! What terminals see: foreign text escaped, times, tables, and how far it is
//! with what takes long.

use std::io::{IsTerminal, Write};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Text of somebody else's making, safe for a terminal (CVE-2012-3867): no
/// control characters, and nothing that turns the direction of writing.
pub fn printable(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let escape = |c: char| if c.is_control() || turns(c) { c.escape_default().collect() } else { vec![c] };
    text.chars().flat_map(escape).collect()
}

/// A time in seconds since 1970, as RFC 3339.
pub fn when(at: i64) -> String {
    OffsetDateTime::from_unix_timestamp(at)
        .ok()
        .and_then(|t| t.format(&Rfc3339).ok())
        .unwrap_or_else(|| at.to_string())
}

/// A number and its noun, in the plural where it should be: `1 request`, `2 requests`.
pub fn count(n: impl TryInto<u64>, noun: &str) -> String {
    match n.try_into().unwrap_or(u64::MAX) {
        1 => format!("1 {noun}"),
        n => format!("{n} {noun}s"),
    }
}

/// Rows below a head, each column as wide as its widest cell. Cells are
/// escaped here.
pub fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let escaped: Vec<[String; N]> =
        rows.iter().map(|row| row.each_ref().map(|cell| printable(cell))).collect();
    let mut widths = head.map(|cell| cell.chars().count());
    for row in &escaped {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; N]| {
        let padded: Vec<String> =
            cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut out = line(head);
    for row in &escaped {
        out.push_str(&line(row.each_ref().map(String::as_str)));
    }
    out
}

/// Writes to standard output. Whoever reads it may have seen enough: a closed
/// pipe is no error.
pub fn out(text: &str) {
    // Standard output is gone for good; there is nobody left to tell.
    drop(std::io::stdout().lock().write_all(text.as_bytes()));
}

/// A line on the terminal of standard error that is written over; silent
/// elsewhere.
pub struct Progress {
    terminal: bool,
    shown: bool,
}

impl Progress {
    /// Shows nothing yet.
    pub fn new() -> Progress {
        Progress { terminal: std::io::stderr().is_terminal(), shown: false }
    }

    /// Says how far it is.
    pub fn show(&mut self, text: &str) {
        if self.terminal {
            eprint!("\r\x1b[K{text}");
            self.shown = true;
        }
    }
}

impl Drop for Progress {
    /// Clears its line.
    fn drop(&mut self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // faults row 5
    #[test]
    fn what_moves_a_terminals_cursor_is_shown_and_not_done() {
        fn check(text: &str, expected: &str) {
            assert_eq!(printable(text), expected);
        }
        check("web1.example.test", "web1.example.test");
        check("\u{1b}[2Jroot\r\n\0", "\\u{1b}[2Jroot\\r\\n\\u{0}");
        check("a\u{202e}b\u{200f}\u{feff}", "a\\u{202e}b\\u{200f}\\u{feff}");
        check("naïve – ✓", "naïve – ✓");
        check("\u{9b}31m", "\\u{9b}31m");
    }

    #[test]
    fn a_table_is_as_wide_as_its_cells_and_no_wider() {
        let row = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
        let made = table(["NAME", "CRL"], &[row("m1.example.test", "7"), row("m\n", "")]);
        assert_eq!(made, "NAME             CRL\nm1.example.test  7\nm\\n\n");
        assert_eq!(table(["NAME", "CRL"], &[]), "NAME  CRL\n");
    }

    #[test]
    fn numbers_have_their_noun() {
        assert_eq!(
            [count(0_u32, "request"), count(1_u32, "request"), count(2_u64, "request")],
            ["0 requests", "1 request", "2 requests"]
        );
    }
}
