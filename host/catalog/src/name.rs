//! The names that a catalog knows: classes, types, titles, parameters, tags, stages.

/// Longer texts are cut in errors, not compared with others letter by letter, and name no stage.
const SHOWN_CHARACTERS: usize = 200;

/// A class's name as classes are looked up: lower case, without a leading `::`. None where it is no name.
///
/// A hyphen passes: Puppet 2 took it, and node definitions of that time have it.
pub fn class(raw: &str) -> Option<String> {
    let name = raw.strip_prefix("::").unwrap_or(raw).to_ascii_lowercase();
    let fits = |segment: &str| {
        segment.starts_with(|c: char| c.is_ascii_lowercase())
            && segment.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'))
    };
    name.split("::").all(fits).then_some(name)
}

/// The title of a class in a catalog: each segment capitalised.
pub fn capitalised(name: &str) -> String {
    let mut title = String::with_capacity(name.len());
    let mut first = true;
    for c in name.chars() {
        title.push(if first { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() });
        first = c == ':';
    }
    title
}

/// A resource type as catalogs write it, such as `Ssh_authorized_key`. None where it is no type name.
pub fn resource_type(raw: &str) -> Option<String> {
    let raw = raw.strip_prefix("::").unwrap_or(raw);
    let fits = |segment: &str| {
        segment.starts_with(|c: char| c.is_ascii_alphabetic())
            && segment.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    raw.split("::").all(fits).then(|| capitalised(raw))
}

/// Whether a parameter may be called so.
pub fn is_parameter(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Whether a stage may be called so.
pub fn is_stage(name: &str) -> bool {
    name.len() <= SHOWN_CHARACTERS
        && name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

/// A tag as the agent takes it: lower case, `[a-z0-9_][a-z0-9_:.-]*`; anything else fails its run.
pub fn tag(raw: &str) -> Option<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let fits = raw.starts_with(word) && raw.chars().all(|c| word(c) || matches!(c, ':' | '.' | '-'));
    fits.then(|| raw.to_ascii_lowercase())
}

/// A file's path as the File type of the agent compares it: single slashes, none at the end.
pub fn file_path(path: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !plain.ends_with('/') {
            plain.push(c);
        }
    }
    if plain.len() > 1 && plain.ends_with('/') {
        plain.pop();
    }
    plain
}

/// Splits `Type[title]`; the title is not quoted and may hold brackets.
pub fn split_reference(text: &str) -> Option<(&str, &str)> {
    let (resource_type, rest) = text.trim().split_once('[')?;
    let title = rest.strip_suffix(']')?;
    (!title.is_empty()).then_some((resource_type, title))
}

/// A text for an error: on one line, and no longer than an error can be.
pub fn shown(text: &str) -> String {
    let mut shown: String = text.escape_debug().take(SHOWN_CHARACTERS + 1).collect();
    if shown.chars().count() > SHOWN_CHARACTERS {
        shown.pop();
        shown.push('…');
    }
    shown
}

/// The candidate spelt most like `name`, if one comes near: what a misspelling was meant to be.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let short = |name: &&str| name.len() <= SHOWN_CHARACTERS;
    let limit = (Some(name).filter(short)?.chars().count() / 3).max(1);
    candidates
        .filter(short)
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_the_agent_writes_them() {
        let check = |raw, expected: Option<&str>| assert_eq!(class(raw).as_deref(), expected, "{raw:?}");
        check("hadoop::worker", Some("hadoop::worker"));
        check("::Hadoop::Worker", Some("hadoop::worker"));
        check("login-allowed", Some("login-allowed"));
        for bad in ["", "::", "a::", "a:b", "a::::b", "1a", "a b", "a\n", "ä", "a::1"] {
            check(bad, None);
        }
        assert_eq!(capitalised("hadoop::login_allowed"), "Hadoop::Login_allowed");
        let check =
            |raw, expected: Option<&str>| assert_eq!(resource_type(raw).as_deref(), expected, "{raw:?}");
        check("ssh_authorized_key", Some("Ssh_authorized_key"));
        check("FILE", Some("File"));
        check("apt::source", Some("Apt::Source"));
        for bad in ["", "file[", "_a", "a-b", "a b", "::"] {
            check(bad, None);
        }
    }

    #[test]
    fn tags_are_lower_case_words() {
        let check = |raw, expected: Option<&str>| assert_eq!(tag(raw).as_deref(), expected, "{raw:?}");
        check("A::B", Some("a::b"));
        check("foo.bar-1", Some("foo.bar-1"));
        for bad in ["", "a b", "/etc", "-a", ":a", "a\n"] {
            check(bad, None);
        }
    }

    #[test]
    fn file_paths_are_compared_without_needless_slashes() {
        let check = |raw, expected| assert_eq!(file_path(raw), expected);
        check("/a/b/", "/a/b");
        check("//a///b", "/a/b");
        check("/", "/");
        check("title", "title");
    }

    #[test]
    fn references_split_at_the_outer_brackets() {
        assert_eq!(split_reference("File[/a[1]]"), Some(("File", "/a[1]")));
        assert_eq!(split_reference("File[]"), None);
        assert_eq!(split_reference("/a"), None);
    }

    #[test]
    fn a_slip_of_the_pen_is_told_from_another_word() {
        let there = ["namenode", "jobtracker", "ports"];
        assert_eq!(nearest("nodename", there.into_iter()), None);
        assert_eq!(nearest("namenod", there.into_iter()), Some("namenode"));
        assert_eq!(nearest("prots", there.into_iter()), Some("ports"));
        assert_eq!(nearest(&"a".repeat(1 << 20), there.into_iter()), None);
    }

    #[test]
    fn an_error_stays_on_one_line_and_short() {
        assert_eq!(shown("a\nb\"c"), "a\\nb\\\"c");
        assert_eq!(shown(&"x".repeat(1 << 20)).chars().count(), SHOWN_CHARACTERS + 1);
    }
}
