//! Which names need more than one approval.

use std::num::NonZeroUsize;

/// The most bytes of a pattern: those of the longest certname.
const MAX_BYTES: usize = 255;

/// The most `*` of a pattern.
const MAX_STARS: usize = 8;

/// How many independent approvals each certname needs. The first rule whose pattern fits holds; a name
/// that no rule fits needs one.
///
/// A pattern is a certname in which each `*` stands for any run of characters, dots included and none as
/// well; it fits the whole name or not at all. Fitting takes time linear in the name, whatever the pattern.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    pattern: Pattern,
    require: NonZeroUsize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern(String);

/// What is wrong with a rule. Rules are counted from 1, patterns are escaped and cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing in it.
    #[error("quorum rule {rule}: the pattern is empty; `*` fits every name")]
    Empty {
        /// Which rule.
        rule: usize,
    },
    /// Longer than any name.
    #[error("quorum rule {rule}: the pattern has {bytes} bytes, the most is 255; no name is longer")]
    TooLong {
        /// Which rule.
        rule: usize,
        /// How many bytes it has.
        bytes: usize,
    },
    /// More `*` than a name could need.
    #[error("quorum rule {rule}: \"{pattern}\" has {stars} `*`, the most is 8; make it two rules")]
    TooManyStars {
        /// Which rule.
        rule: usize,
        /// Its pattern.
        pattern: String,
        /// How many it has.
        stars: usize,
    },
    /// A character that is in no certname, so that the pattern would fit nothing.
    #[error(
        "quorum rule {rule}: \"{pattern}\" has the character {character}; allowed are a-z, 0-9, '-', '_', '.' and '*'"
    )]
    Character {
        /// Which rule.
        rule: usize,
        /// Its pattern.
        pattern: String,
        /// Quoted and escaped.
        character: String,
    },
    /// Well spelt, but no certname is of that shape, so that the pattern would fit nothing.
    #[error(
        "quorum rule {rule}: \"{pattern}\" fits no name: a certname starts and ends with a letter or digit, has no '..', and no label starts or ends with '-'; put a `*` where anything may stand"
    )]
    Shape {
        /// Which rule.
        rule: usize,
        /// Its pattern.
        pattern: String,
    },
    /// It would ask for no approval at all.
    #[error("quorum rule {rule}: \"{pattern}\" requires 0 approvals; the least is 1")]
    Nobody {
        /// Which rule.
        rule: usize,
        /// Its pattern.
        pattern: String,
    },
    /// A rule before it fits every name that it fits.
    #[error(
        "quorum rule {rule}: \"{pattern}\" is never reached, for rule {before} fits all of its names: put it before rule {before}, or remove it"
    )]
    Unreachable {
        /// Which rule.
        rule: usize,
        /// Its pattern.
        pattern: String,
        /// The rule that is reached in its place.
        before: usize,
    },
}

impl Error {
    /// Which rule it is, counted from 1.
    pub fn rule(&self) -> usize {
        match self {
            Error::Empty { rule }
            | Error::TooLong { rule, .. }
            | Error::TooManyStars { rule, .. }
            | Error::Character { rule, .. }
            | Error::Shape { rule, .. }
            | Error::Nobody { rule, .. }
            | Error::Unreachable { rule, .. } => *rule,
        }
    }
}

impl Rules {
    /// Reads rules of a pattern and the approvals it requires.
    ///
    /// # Errors
    /// Every [`Error`] of every rule.
    pub fn parse<S: AsRef<str>>(rules: impl IntoIterator<Item = (S, usize)>) -> Result<Self, Vec<Error>> {
        let mut parsed: Vec<(usize, Rule)> = Vec::new();
        let mut errors = Vec::new();
        for (rule, (text, require)) in (1..).zip(rules) {
            let text = text.as_ref();
            let known = errors.len();
            check(rule, text, &mut errors);
            let require = NonZeroUsize::new(require);
            if require.is_none() {
                errors.push(Error::Nobody { rule, pattern: shown(text) });
            }
            let (Some(require), true) = (require, errors.len() == known) else { continue };
            // Only a `*` fits a `*`, so a pattern that fits another one's text fits all that the other fits.
            match parsed.iter().find(|(_, before)| before.pattern.fits(text)) {
                Some(&(before, _)) => errors.push(Error::Unreachable { rule, pattern: shown(text), before }),
                None => parsed.push((rule, Rule { pattern: Pattern(text.to_owned()), require })),
            }
        }
        match errors.is_empty() {
            true => Ok(Self(parsed.into_iter().map(|(_, rule)| rule).collect())),
            false => Err(errors),
        }
    }

    /// How many independent approvals a request of this certname needs.
    pub fn require(&self, certname: &str) -> NonZeroUsize {
        self.0.iter().find(|rule| rule.pattern.fits(certname)).map_or(NonZeroUsize::MIN, |rule| rule.require)
    }
}

impl Pattern {
    /// Takes each piece between two `*` at the first place where it stands: if any way of fitting them
    /// exists, that one does. Searching a text is linear, and no place is searched twice.
    fn fits(&self, name: &str) -> bool {
        let Some((head, rest)) = self.0.split_once('*') else { return self.0 == name };
        let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
        let Some(name) = name.strip_prefix(head).and_then(|name| name.strip_suffix(tail)) else {
            return false;
        };
        let left = middle.split('*').try_fold(name, |name, piece| Some(name.split_once(piece)?.1));
        left.is_some()
    }
}

fn check(rule: usize, text: &str, errors: &mut Vec<Error>) {
    if text.is_empty() {
        return errors.push(Error::Empty { rule });
    }
    if text.len() > MAX_BYTES {
        return errors.push(Error::TooLong { rule, bytes: text.len() });
    }
    let pattern = || shown(text);
    let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.' | '*');
    if let Some(strange) = text.chars().find(|&c| !allowed(c)) {
        return errors.push(Error::Character { rule, pattern: pattern(), character: format!("{strange:?}") });
    }
    let stars = text.matches('*').count();
    if stars > MAX_STARS {
        errors.push(Error::TooManyStars { rule, pattern: pattern(), stars });
    }
    let edge = |c: char| c.is_ascii_alphanumeric() || c == '*';
    let label = |label: &str| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
    if !text.starts_with(edge) || !text.ends_with(edge) || !text.split('.').all(label) {
        errors.push(Error::Shape { rule, pattern: pattern() });
    }
}

/// On one line, and no longer than an error can be.
fn shown(text: &str) -> String {
    text.escape_debug().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_the_whole_name_or_not_at_all() {
        let check = |pattern: &str, name, expected| {
            assert_eq!(Pattern(pattern.into()).fits(name), expected, "{pattern} {name}");
        };
        check("db1.example", "db1.example", true);
        check("db1.example", "db1.example.org", false);
        check("db1.example", "x.db1.example", false);
        check("*", "anything.at-all", true);
        check("db-*", "db-", true);
        check("db-*", "db-1.example", true);
        check("db-*", "a.db-1", false);
        check("*.prod.example", "a.b.prod.example", true);
        check("*.prod.example", "prod.example", false);
        check("*.prod.example", "a.prod.example.org", false);
        check("db-*.prod", "db-.prod", true);
        check("db.*.db", "db.db", false); // the ends may not overlap
        check("a*b*c", "abc", true);
        check("a*b*c", "axxbyyc", true);
        check("a*b*c", "acb", false);
        check("*ab*ab*", "xabyabz", true);
        check("*ab*ab*", "xabab", true);
        check("*ab*ab*", "xaabb", false);
        check("a**b", "ab", true);
        check("*ab", "aab", true);
        check("a*bc*c", "abcbcc", true);
        check("a*bc*c", "abc", false);
    }

    /// Every pattern and name of up to five characters, against the plainest definition of `*`.
    #[test]
    fn a_pattern_fits_what_its_definition_says() {
        fn plain(pattern: &[u8], name: &[u8]) -> bool {
            match (pattern.split_first(), name.split_first()) {
                (None, _) => name.is_empty(),
                (Some((b'*', rest)), _) => (0..=name.len()).any(|n| plain(rest, &name[n..])),
                (Some((p, pattern)), Some((n, name))) => p == n && plain(pattern, name),
                (Some(_), None) => false,
            }
        }
        fn words(letters: &[char]) -> Vec<String> {
            let mut all = vec![String::new()];
            let mut longest = all.clone();
            for _ in 0..5 {
                longest =
                    longest.iter().flat_map(|w| letters.iter().map(move |c| format!("{w}{c}"))).collect();
                all.extend(longest.clone());
            }
            all
        }
        for pattern in words(&['a', 'b', '*']) {
            for name in words(&['a', 'b']) {
                let expected = plain(pattern.as_bytes(), name.as_bytes());
                assert_eq!(Pattern(pattern.clone()).fits(&name), expected, "{pattern} {name}");
            }
        }
    }

    #[test]
    fn the_first_rule_that_fits_holds() {
        let rules = Rules::parse([("db-test-*", 1), ("db-*", 2), ("*.vault", 3)]).unwrap();
        let check = |name, expected| assert_eq!(rules.require(name).get(), expected, "{name}");
        check("db-test-1", 1);
        check("db-1", 2);
        check("db-1.vault", 2);
        check("a.vault", 3);
        check("web-1", 1);
        assert_eq!(Rules::default().require("web-1").get(), 1);
    }

    #[test]
    fn all_that_is_wrong_with_rules_is_said_at_once() {
        let (long, starry) = ("a".repeat(256), "*a".repeat(9));
        let rules = [
            ("db-*", 2),
            ("", 2),
            (&*long, 2),
            (&*starry, 2),
            ("DB-*", 2),
            ("a b\n", 2),
            (".prod", 2),
            ("a..*", 2),
            ("*.-a", 0),
            ("db-1", 0),
            ("db-*", 3),
            ("db-1*", 2),
            ("*", 1),
            ("web-*", 2),
        ];
        let said: Vec<String> = Rules::parse(rules).unwrap_err().iter().map(ToString::to_string).collect();
        let shape = "fits no name: a certname starts and ends with a letter or digit, has no '..', and no label starts or ends with '-'; put a `*` where anything may stand";
        let expected = [
            "quorum rule 2: the pattern is empty; `*` fits every name",
            "quorum rule 3: the pattern has 256 bytes, the most is 255; no name is longer",
            "quorum rule 4: \"*a*a*a*a*a*a*a*a*a\" has 9 `*`, the most is 8; make it two rules",
            "quorum rule 5: \"DB-*\" has the character 'D'; allowed are a-z, 0-9, '-', '_', '.' and '*'",
            "quorum rule 6: \"a b\\n\" has the character ' '; allowed are a-z, 0-9, '-', '_', '.' and '*'",
            &format!("quorum rule 7: \".prod\" {shape}"),
            &format!("quorum rule 8: \"a..*\" {shape}"),
            &format!("quorum rule 9: \"*.-a\" {shape}"),
            "quorum rule 9: \"*.-a\" requires 0 approvals; the least is 1",
            "quorum rule 10: \"db-1\" requires 0 approvals; the least is 1",
            "quorum rule 11: \"db-*\" is never reached, for rule 1 fits all of its names: put it before rule 1, or remove it",
            "quorum rule 12: \"db-1*\" is never reached, for rule 1 fits all of its names: put it before rule 1, or remove it",
            "quorum rule 14: \"web-*\" is never reached, for rule 13 fits all of its names: put it before rule 13, or remove it",
        ];
        assert_eq!(said, expected);
    }
}
