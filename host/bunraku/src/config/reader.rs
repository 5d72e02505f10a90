//! Reads a TOML document key by key and remembers everything that is wrong
//! with it, each with its line and column, so that an operator mends a file
//! once and not problem by problem.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use rollout::{parse_bytes, parse_duration};
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// One thing to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

/// The text being read and what was found wrong with it so far.
pub struct Document<'t> {
    text: &'t str,
    problems: RefCell<Vec<Problem>>,
}

impl<'t> Document<'t> {
    /// A document without problems yet.
    pub fn new(text: &'t str) -> Self {
        Document { text, problems: RefCell::default() }
    }

    /// Parses the text; syntax errors become problems like any other.
    pub fn parse(&self) -> Spanned<DeTable<'t>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            self.problem(error.span().unwrap_or(0..0), error.message().to_owned());
        }
        table
    }

    /// Notes a problem at a place in the text.
    pub fn problem(&self, at: Range<usize>, message: String) {
        let before = self.text.get(..at.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
        self.problems.borrow_mut().push(Problem { line, column, message });
    }

    /// Every problem, in the order of the text.
    pub fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|p| (p.line, p.column));
        problems.dedup();
        problems
    }
}

/// One table of the document. Each getter marks its key as known; `finish`
/// reports the others.
pub struct Section<'d, 't> {
    document: &'d Document<'t>,
    table: Option<&'d DeTable<'t>>,
    at: Range<usize>,
    path: String,
    known: RefCell<BTreeSet<&'static str>>,
}

impl<'d, 't> Section<'d, 't> {
    /// The document's top level.
    pub fn top(document: &'d Document<'t>, table: &'d DeTable<'t>) -> Self {
        Section { document, table: Some(table), at: 0..0, path: String::new(), known: RefCell::default() }
    }

    fn value(&self, key: &'static str) -> Option<&'d Spanned<DeValue<'t>>> {
        self.known.borrow_mut().insert(key);
        self.table?.get(key)
    }

    /// Whether the key is there at all.
    pub fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// The dotted name of a key, as messages say it.
    pub fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Notes a problem with the value of `key`.
    pub fn problem(&self, key: &'static str, message: impl fmt::Display) {
        self.say(self.value(key).map_or(0..0, Spanned::span), key, message);
    }

    /// Notes a problem with the section as a whole.
    pub fn problem_here(&self, message: impl fmt::Display) {
        self.document.problem(self.at.clone(), format!("`{}` {message}", self.path));
    }

    /// Notes a problem whose message names its subject itself, at the value of `key`.
    pub fn problem_as_is(&self, key: &'static str, message: impl fmt::Display) {
        self.document.problem(self.value(key).map_or(0..0, Spanned::span), message.to_string());
    }

    fn wrong_type(&self, key: &'static str, wanted: &str, found: &DeValue<'_>) {
        self.problem(key, format_args!("must be {wanted}, not {}", kind(found)));
    }

    /// A sub-table; an absent one reads as empty.
    pub fn section(&self, key: &'static str) -> Section<'d, 't> {
        let value = self.value(key);
        let table = value.and_then(|v| match v.get_ref() {
            DeValue::Table(t) => Some(t),
            other => {
                self.wrong_type(key, "a table", other);
                None
            }
        });
        let at = value.map_or(0..0, Spanned::span);
        Section { document: self.document, table, at, path: self.name(key), known: RefCell::default() }
    }

    /// An array of tables (`[[key]]`); `None` where the key is absent.
    pub fn sections(&self, key: &'static str) -> Option<Vec<Section<'d, 't>>> {
        let array = self.array(key)?;
        let mut out = Vec::new();
        for (n, item) in array.iter().enumerate() {
            match item.get_ref() {
                DeValue::Table(table) => out.push(Section {
                    document: self.document,
                    table: Some(table),
                    at: item.span(),
                    path: format!("{}[{n}]", self.name(key)),
                    known: RefCell::default(),
                }),
                other => self.wrong_type(key, "an array of tables", other),
            }
        }
        Some(out)
    }

    /// Tables whose names the operator makes up (`[key.NAME]`), in their order by name.
    pub fn named_sections(&self, key: &'static str) -> Vec<(String, Section<'d, 't>)> {
        let outer = self.section(key);
        let mut out = Vec::new();
        for (name, item) in outer.table.into_iter().flatten() {
            let name: &str = name.get_ref();
            match item.get_ref() {
                DeValue::Table(table) => {
                    let (path, at) = (outer.name(name), item.span());
                    let (document, known) = (self.document, RefCell::default());
                    out.push((name.to_owned(), Section { document, table: Some(table), at, path, known }));
                }
                other => outer.say(item.span(), name, format_args!("must be a table, not {}", kind(other))),
            }
        }
        out
    }

    /// Strings whose names the operator makes up (`key.NAME = "…"`); `read` says what is wrong with one.
    pub fn named_strings<E: fmt::Display>(
        &self,
        key: &'static str,
        mut read: impl FnMut(&str, &str) -> Result<(), E>,
    ) {
        let outer = self.section(key);
        for (name, item) in outer.table.into_iter().flatten() {
            let name: &str = name.get_ref();
            match item.get_ref() {
                DeValue::String(text) => {
                    if let Err(error) = read(name, text) {
                        outer.say(item.span(), name, error);
                    }
                }
                other => outer.say(item.span(), name, format_args!("must be a string, not {}", kind(other))),
            }
        }
    }

    fn say(&self, at: Range<usize>, key: &str, message: impl fmt::Display) {
        self.document.problem(at, format!("`{}` {message}", self.name(key)));
    }

    fn array(&self, key: &'static str) -> Option<&'d DeArray<'t>> {
        match self.value(key)?.get_ref() {
            DeValue::Array(a) => Some(a),
            other => {
                self.wrong_type(key, "an array", other);
                None
            }
        }
    }

    /// A string.
    pub fn string(&self, key: &'static str) -> Option<String> {
        match self.value(key)?.get_ref() {
            DeValue::String(s) => Some(s.to_string()),
            other => {
                self.wrong_type(key, "a string", other);
                None
            }
        }
    }

    /// A string that `parse` turns into something better.
    pub fn parsed<T, E: fmt::Display>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.string(key)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(key, error);
                None
            }
        }
    }

    /// An array of strings.
    pub fn strings(&self, key: &'static str) -> Option<Vec<String>> {
        let array = self.array(key)?;
        let mut out = Vec::new();
        for item in array.iter() {
            match item.get_ref() {
                DeValue::String(s) => out.push(s.to_string()),
                other => self.wrong_type(key, "an array of strings", other),
            }
        }
        Some(out)
    }

    /// A boolean.
    pub fn boolean(&self, key: &'static str) -> Option<bool> {
        match self.value(key)?.get_ref() {
            DeValue::Boolean(b) => Some(*b),
            other => {
                self.wrong_type(key, "true or false", other);
                None
            }
        }
    }

    /// A whole number within bounds.
    pub fn number<T>(&self, key: &'static str, allowed: std::ops::RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + fmt::Display + Copy,
    {
        let number = match self.value(key)?.get_ref() {
            DeValue::Integer(i) => i64::from_str_radix(i.as_str(), i.radix()).ok(),
            other => {
                self.wrong_type(key, "a whole number", other);
                return None;
            }
        };
        let fitting = number.and_then(|n| T::try_from(n).ok()).filter(|n| allowed.contains(n));
        if fitting.is_none() {
            self.problem(key, format_args!("must lie between {} and {}", allowed.start(), allowed.end()));
        }
        fitting
    }

    /// A length of time such as `"250ms"`, `"30s"`, `"10m"`, `"2h"`, `"7d"` or `"5y"`.
    pub fn duration(&self, key: &'static str) -> Option<Duration> {
        self.parsed(key, parse_duration)
    }

    /// A number of bytes such as `"64KiB"`, `"16MiB"` or `"1GiB"`.
    pub fn bytes(&self, key: &'static str) -> Option<u64> {
        self.parsed(key, parse_bytes)
    }

    /// Any value, as JSON.
    pub fn json(&self, key: &'static str) -> Option<Value> {
        let value = self.value(key)?;
        match json(value.get_ref()) {
            Ok(value) => Some(value),
            Err(what) => {
                self.problem(key, format_args!("holds {what}, which has no JSON form"));
                None
            }
        }
    }

    /// Reports every key that no getter asked for.
    pub fn finish(self) {
        let known = self.known.borrow();
        for (key, value) in self.table.into_iter().flatten() {
            let key: &str = key.get_ref();
            if known.contains(key) {
                continue;
            }
            let hint = closest(key, known.iter().copied())
                .map_or_else(|| format!("known here: {}", list(&known)), |k| format!("did you mean `{k}`?"));
            self.document.problem(value.span(), format!("`{}` is no setting; {hint}", self.name(key)));
        }
    }
}

fn list(names: &BTreeSet<&'static str>) -> String {
    names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
}

/// What a value is, with its article.
fn kind(value: &DeValue<'_>) -> String {
    let noun = value.type_str();
    let vowel = noun.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {noun}", if vowel { "an" } else { "a" })
}

/// The known name that differs in at most two letters.
fn closest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names.map(|n| (strsim::levenshtein(word, n), n)).filter(|(d, _)| *d <= 2).min().map(|(_, n)| n)
}

fn json(value: &DeValue<'_>) -> Result<Value, &'static str> {
    Ok(match value {
        DeValue::String(s) => Value::String(s.to_string()),
        DeValue::Boolean(b) => Value::Bool(*b),
        DeValue::Integer(i) => {
            Value::from(i64::from_str_radix(i.as_str(), i.radix()).map_err(|_| "a number out of range")?)
        }
        DeValue::Float(f) => {
            let number = f.as_str().replace('_', "").parse::<f64>().map_err(|_| "an odd number")?;
            serde_json::Number::from_f64(number).map(Value::Number).ok_or("an infinite number")?
        }
        DeValue::Datetime(d) => Value::String(d.to_string()),
        DeValue::Array(items) => {
            Value::Array(items.iter().map(|i| json(i.get_ref())).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => Value::Object(
            table
                .iter()
                .map(|(k, v)| Ok((k.get_ref().to_string(), json(v.get_ref())?)))
                .collect::<Result<_, &'static str>>()?,
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_reported_with_its_place() {
        let text = "a = 1\n[server]\nlisten = 3\nlissten = \"x\"\ndrain = \"soon\"\n";
        let document = Document::new(text);
        let table = document.parse();
        let top = Section::top(&document, table.get_ref());
        let server = top.section("server");
        assert_eq!(server.strings("listen"), None);
        assert_eq!(server.duration("drain"), None);
        server.finish();
        top.finish();
        let found: Vec<String> = document.into_problems().iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "line 1, column 5: `a` is no setting; known here: `server`",
                "line 3, column 10: `server.listen` must be an array, not an integer",
                "line 4, column 11: `server.lissten` is no setting; did you mean `listen`?",
                "line 5, column 9: `server.drain` is \"soon\", which is no length of time; write it as 250ms, 30s, 10m, 2h, 7d or 5y",
            ]
        );
    }
}
