//! The request target: decoded once, here, into what routing and authorisation both look at.
//!
//! Decoding twice, or routing on one reading and authorising on another, is how masters were
//! fooled before (CVE-2011-3848, CVE-2016-2785). So nothing after this file sees what the client
//! wrote: the router gets the one spelling that [`Target::canonical`] gives each path, and taking
//! that apart is the exact inverse of putting it together.

use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::pairs::{Pairs, PairsError, decode_escapes};

/// What cannot stand for itself in a path. Slashes only part segments, since none is hidden in one.
const ESCAPED: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'<').add(b'>').add(b'?').add(b'`');

/// A decoded path, and the query as its decoded pairs.
#[derive(Debug, PartialEq, Eq)]
pub struct Target {
    path: String,
    /// The query, decoded.
    pub query: Pairs,
}

/// Why a target is refused before anybody looks for a route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// `.` or `..` as a segment, literal or encoded: 400 in the peer's words (recording 17).
    #[error("Invalid relative path (.. or .) in: {0}")]
    Relative(String),
    /// A slash hidden in a segment: 404 in the peer's words (recording 16).
    #[error("Not Found")]
    HiddenSlash,
    /// An escape within an escape (faults row 6): 400.
    #[error("Bad Request: the path holds an escape within an escape")]
    Escaped,
    /// A control character, NUL among them: 400.
    #[error("Bad Request: the path holds a control character")]
    Control,
    /// A path that does not begin with a slash: 400.
    #[error("Bad Request: the path does not begin with a slash")]
    Rootless,
    /// A path or query that cannot be decoded: 400.
    #[error("Bad Request: the {0} holds {1}")]
    Undecodable(&'static str, PairsError),
    /// A path that no address can hold once it is encoded: 414.
    #[error("URI Too Long")]
    TooLong,
}

impl Target {
    /// Reads path and query as they stood in the request line.
    ///
    /// # Errors
    /// [`TargetError`], which says the status of each.
    pub fn parse(path: &str, query: Option<&str>) -> Result<Target, TargetError> {
        let rooted = path.strip_prefix('/').ok_or(TargetError::Rootless)?;
        let segments = rooted.split('/').map(segment).collect::<Result<Vec<_>, _>>()?;
        let path = segments.iter().fold(String::new(), |path, segment| path + "/" + segment);
        if segments.iter().any(|segment| segment == "." || segment == "..") {
            return Err(TargetError::Relative(path));
        }
        let query = Pairs::parse(query.unwrap_or_default().as_bytes());
        Ok(Target { path, query: query.map_err(|error| TargetError::Undecodable("query", error))? })
    }

    /// The decoded path. It holds no control characters.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The decoded segments, in order. `/a//b` has an empty one in the middle.
    pub fn segments(&self) -> Vec<&str> {
        self.path.split('/').skip(1).collect()
    }

    /// The address to route by: the decoded path encoded anew, so that each has one spelling.
    ///
    /// # Errors
    /// [`TargetError::TooLong`].
    pub fn canonical(&self) -> Result<Uri, TargetError> {
        let path = utf8_percent_encode(&self.path, ESCAPED).to_string();
        PathAndQuery::try_from(path).map(Uri::from).map_err(|_| TargetError::TooLong)
    }
}

fn segment(raw: &str) -> Result<String, TargetError> {
    let segment = decode_escapes(raw.as_bytes()).map_err(|error| TargetError::Undecodable("path", error))?;
    if segment.contains('/') {
        return Err(TargetError::HiddenSlash);
    }
    if segment.contains('%') {
        return Err(TargetError::Escaped);
    }
    if segment.chars().any(char::is_control) {
        return Err(TargetError::Control);
    }
    Ok(segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_once_and_only_if_it_is_sound() {
        let check = |path: &str, expected: Result<&[&str], TargetError>| {
            let target = Target::parse(path, None);
            let found = target.as_ref().map(Target::segments).map_err(Clone::clone);
            assert_eq!(found, expected.map(<[&str]>::to_vec), "{path}");
        };
        check("/", Ok(&[""]));
        check("/a/b.c", Ok(&["a", "b.c"]));
        check("/a//b", Ok(&["a", "", "b"]));
        check("/%61%2D/%C3%A9", Ok(&["a-", "é"]));
        check("/a+b", Ok(&["a+b"]));
        check("/a%20b", Ok(&["a b"]));
        check("*", Err(TargetError::Rootless));
        check("/a%2Fb", Err(TargetError::HiddenSlash));
        check("/..%2Fb", Err(TargetError::HiddenSlash));
        check("/%252e%252e/x", Err(TargetError::Escaped)); // faults row 6
        check("/a%25", Err(TargetError::Escaped));
        check("/a%00b", Err(TargetError::Control));
        check("/a%0d%0ab", Err(TargetError::Control));
        check("/a%c2%85", Err(TargetError::Control));
        check("/a%ff", Err(TargetError::Undecodable("path", PairsError::Utf8)));
        check("/a%2", Err(TargetError::Undecodable("path", PairsError::Escape)));
        let relative = |path: &str| Err(TargetError::Relative(path.to_owned()));
        check("/a/../b", relative("/a/../b"));
        check("/a/%2e%2E/b", relative("/a/../b"));
        check("/a/.", relative("/a/."));
        check("/.", relative("/."));
        check("/...", Ok(&["..."]));
    }

    #[test]
    fn every_spelling_of_a_path_is_routed_as_one_that_decodes_to_what_was_sent() {
        let check = |path: &str, expected: &str| {
            let target = Target::parse(path, Some("a=b")).unwrap();
            assert_eq!(target.canonical().unwrap(), *expected, "{path}");
            assert_eq!(Target::parse(expected, Some("a=b")).as_ref(), Ok(&target), "{path}");
        };
        check("/", "/");
        check("//a//b/", "//a//b/");
        check("/%70uppet/v3/node/%61%2Etest", "/puppet/v3/node/a.test");
        check("/a%20b+c%3Fd%23e%22%3C%3E%60", "/a%20b+c%3Fd%23e%22%3C%3E%60");
        check("/{x}/{*y}/%7Bz%7D", "/{x}/{*y}/{z}");
        check("/\u{e9}", "/%C3%A9");
        check("/*", "/*");
        let long = Target::parse(&format!("/{}", "\u{e9}".repeat(20_000)), None).unwrap();
        assert_eq!(long.canonical(), Err(TargetError::TooLong));
    }

    #[test]
    fn a_query_is_decoded_with_the_path() {
        let target = Target::parse("/a", Some("environment=x%20y")).unwrap();
        assert_eq!(target.query.one("environment"), Ok(Some("x y")));
        let broken = Target::parse("/a", Some("environment=%ff"));
        assert_eq!(broken, Err(TargetError::Undecodable("query", PairsError::Utf8)));
    }
}
