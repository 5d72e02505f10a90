//! PEM (RFC 7468): exactly one block of a known label, or a list of blocks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Why a text is not the PEM that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PemError {
    #[error("not PEM: no -----BEGIN line")]
    None,
    #[error("the PEM block has no matching -----END line")]
    Open,
    #[error("the PEM block is not base64")]
    Base64,
    #[error("more than one PEM block")]
    Many,
    #[error("the PEM block is labelled {0:?}")]
    Label(String),
}

/// The content of the only block, which has one of these labels. Text around the block is allowed
/// (RFC 7468, section 2), as agents and tools do write some.
pub(crate) fn one(text: &[u8], labels: &[&str]) -> Result<Vec<u8>, PemError> {
    let mut blocks = all(text)?;
    let (label, content) = blocks.pop().ok_or(PemError::None)?;
    if !blocks.is_empty() {
        return Err(PemError::Many);
    }
    if !labels.contains(&label.as_str()) {
        return Err(PemError::Label(label.chars().take(40).collect()));
    }
    Ok(content)
}

/// The contents of one block or more, which all have this label.
pub(crate) fn every(text: &[u8], label: &str) -> Result<Vec<Vec<u8>>, PemError> {
    let blocks = all(text)?;
    if blocks.is_empty() {
        return Err(PemError::None);
    }
    let content = |(found, content): (String, _)| {
        if found == label { Ok(content) } else { Err(PemError::Label(found.chars().take(40).collect())) }
    };
    blocks.into_iter().map(content).collect()
}

/// Every block: label and content.
pub(crate) fn all(text: &[u8]) -> Result<Vec<(String, Vec<u8>)>, PemError> {
    let text = std::str::from_utf8(text).map_err(|_| PemError::None)?;
    let mut blocks = Vec::new();
    let mut open: Option<(&str, String)> = None;
    for line in text.lines().map(str::trim_end) {
        let begins = line.strip_prefix("-----BEGIN ").and_then(|l| l.strip_suffix("-----"));
        let ends = line.strip_prefix("-----END ").and_then(|l| l.strip_suffix("-----"));
        match (&mut open, begins, ends) {
            (None, Some(label), _) => open = Some((label, String::new())),
            (None, None, None) => {}
            (Some((label, body)), None, Some(end)) if *label == end => {
                blocks.push((label.to_string(), STANDARD.decode(&*body).map_err(|_| PemError::Base64)?));
                open = None;
            }
            (Some((_, body)), None, None) => body.push_str(line.trim_start()),
            _ => return Err(PemError::Open),
        }
    }
    if open.is_some() { Err(PemError::Open) } else { Ok(blocks) }
}

/// One block, 64 characters a line.
pub(crate) fn write(label: &str, content: &[u8]) -> String {
    let body = STANDARD.encode(content);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text + "-----END " + label + "-----\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_or_refused() {
        fn check(text: &str, expected: Result<&[u8], PemError>) {
            assert_eq!(one(text.as_bytes(), &["X"]), expected.map(<[u8]>::to_vec), "{text:?}");
        }
        check("-----BEGIN X-----\nAQI=\n-----END X-----\n", Ok(&[1, 2]));
        check("hello\r\n-----BEGIN X-----\r\n AQ\r\nI=\r\n-----END X-----\r\nbye", Ok(&[1, 2]));
        check("-----BEGIN X-----\n-----END X-----", Ok(&[]));
        check("", Err(PemError::None));
        check("AQI=", Err(PemError::None));
        check("-----BEGIN X-----\nAQI=\n", Err(PemError::Open));
        check("-----END X-----\n", Err(PemError::Open));
        check("-----BEGIN X-----\nAQI=\n-----END Y-----\n", Err(PemError::Open));
        check("-----BEGIN X-----\n-----BEGIN X-----\n-----END X-----\n", Err(PemError::Open));
        check("-----BEGIN X-----\nAQI\n-----END X-----\n", Err(PemError::Base64));
        check("-----BEGIN X-----\nProc-Type: 4,ENCRYPTED\n-----END X-----\n", Err(PemError::Base64));
        check("-----BEGIN Y-----\n-----END Y-----\n", Err(PemError::Label("Y".into())));
        let two = "-----BEGIN X-----\n-----END X-----\n".repeat(2);
        check(&two, Err(PemError::Many));
        assert_eq!(one(b"\xff-----BEGIN X-----", &["X"]), Err(PemError::None));
    }

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 47, 48, 49, 200] {
            let content = vec![7u8; length];
            let text = write("X", &content);
            assert_eq!(one(text.as_bytes(), &["X"]).unwrap(), content);
            assert!(text.lines().all(|line| line.len() <= 64));
        }
    }
}
