//! Text that guests write for people and logs.

/// Bytes of a reason, a warning or the like.
const TEXT_BYTES: usize = 1024;

/// One line without control characters, cut at 1,024 bytes.
pub(crate) fn one_line(text: &str) -> String {
    one_line_of(text, TEXT_BYTES)
}

/// One line without control characters, cut at `bytes` bytes.
pub(crate) fn one_line_of(text: &str, bytes: usize) -> String {
    let cut = text.len() > bytes;
    let kept = if cut { text.get(..text.floor_char_boundary(bytes)).unwrap_or_default() } else { text };
    let mut line: String = kept.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if cut {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_guests_is_one_bounded_line() {
        assert_eq!(one_line("as it is"), "as it is");
        assert_eq!(one_line("two\nlines\r\x1b[31m"), "two lines  [31m");
        assert_eq!(one_line_of("größer", 3), "gr…");
        assert_eq!(one_line_of("größer", 4), "grö…");
    }
}
