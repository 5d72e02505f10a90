//! Keys are checked before they become part of a path or a request.

use crate::Error;

/// S3's own limit on a key, <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>.
const MAX: usize = 1024;

/// A whole key: certname characters (and upper case), in segments parted by `/`.
pub(crate) fn check(key: &str) -> Result<(), Error> {
    let bad = |why| Err(Error::BadKey { key: shown(key), why });
    if key.is_empty() {
        return bad("it is empty");
    }
    if key.ends_with('/') {
        return bad("it ends in \"/\"");
    }
    check_prefix(key)
}

/// The beginning of keys: as a key, but it may be empty, or end in the middle of a segment or in `/`.
pub(crate) fn check_prefix(prefix: &str) -> Result<(), Error> {
    let bad = |why| Err(Error::BadKey { key: shown(prefix), why });
    if prefix.len() > MAX {
        return bad("it is longer than 1024 bytes");
    }
    if !prefix.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/')) {
        return bad("only letters, digits and \".\", \"_\", \"-\", \"/\" are allowed");
    }
    if prefix.starts_with('/') {
        return bad("it begins with \"/\"");
    }
    if prefix.contains("..") {
        return bad("it contains \"..\"");
    }
    if prefix.contains("//") {
        return bad("it contains \"//\"");
    }
    // Hidden files of the directory form are temporary files, and "." is no name.
    if prefix.split('/').any(|segment| segment.starts_with('.')) {
        return bad("a part of it begins with \".\"");
    }
    Ok(())
}

/// Enough of a wrong key to recognise it.
fn shown(key: &str) -> String {
    key.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_would_leave_the_registry_are_refused() {
        fn check_key(key: &str, good: bool) {
            assert_eq!(check(key).is_ok(), good, "{key:?}");
        }
        check_key("node1.example.com", true);
        check_key("7a2a2e1c-6f3e-4b52-8c56-3a2a2f2bd9f1", true);
        check_key("claims/Node_1", true);
        check_key("", false);
        check_key("/etc/passwd", false);
        check_key("../up", false);
        check_key("a/../b", false);
        check_key("a..b", false);
        check_key("a//b", false);
        check_key("a/", false);
        check_key(".hidden", false);
        check_key("a/.b", false);
        check_key("a b", false);
        check_key("a%2fb", false);
        check_key("a\\b", false);
        check_key("a\nb", false);
        check_key("a\0b", false);
        check_key("bücher", false);
        check_key(&"a".repeat(1025), false);
    }

    #[test]
    fn a_prefix_may_end_anywhere() {
        for (prefix, good) in [("", true), ("a/", true), ("a/b", true), ("/a", false), ("a/../", false)] {
            assert_eq!(check_prefix(prefix).is_ok(), good, "{prefix:?}");
        }
    }
}
