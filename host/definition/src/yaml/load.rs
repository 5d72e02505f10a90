//! From the parser's events to a tree that remembers lines.

use std::collections::BTreeMap;
use std::rc::Rc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Value};

use super::scalar::resolve;
use super::{MAX_BYTES, MAX_DEPTH, MAX_SCALAR_BYTES, MAX_VALUES};
use crate::Problem;

/// A value and where it was written. An alias shares what it stands for.
#[derive(Clone, Debug)]
pub struct Tree {
    pub line: usize,
    pub column: usize,
    pub kind: Rc<Kind>,
    cost: Cost,
}

#[derive(Debug)]
pub enum Kind {
    Scalar(Value),
    List(Vec<Tree>),
    /// In the order they were written, merged ones where the `<<` stood.
    Map(Vec<Item>),
}

/// A key and its value.
#[derive(Clone, Debug)]
pub struct Item {
    pub key: String,
    pub line: usize,
    pub column: usize,
    pub value: Tree,
    /// It came by a merge key, so one that follows may replace it.
    merged: bool,
}

/// What a value would take with every alias in it written out.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    values: usize,
    bytes: usize,
    depth: usize,
}

impl Cost {
    fn with(self, part: Self) -> Self {
        Self {
            values: self.values.saturating_add(part.values),
            bytes: self.bytes.saturating_add(part.bytes),
            depth: self.depth.max(part.depth.saturating_add(1)),
        }
    }
}

impl Tree {
    /// Reads the only document of a text.
    pub fn load(text: &str) -> Result<Self, Problem> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.len() > MAX_BYTES {
            return Err(problem(1, 1, format!("over {} KiB", MAX_BYTES >> 10)));
        }
        check_characters(text)?;
        let mut loader = Loader::default();
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| at(*error.marker(), sentence(error.info())))?;
            loader.take(event, span)?;
        }
        check_tabs(text, &loader.scalars)?;
        let null = || Self::leaf(Marker::new(0, 1, 0), Value::Null);
        Ok(loader.document.unwrap_or_else(null))
    }

    pub fn to_value(&self) -> Value {
        match &*self.kind {
            Kind::Scalar(value) => value.clone(),
            Kind::List(items) => items.iter().map(Self::to_value).collect(),
            Kind::Map(items) => Value::Object(to_map(items)),
        }
    }

    pub fn problem(&self, message: impl Into<String>) -> Problem {
        problem(self.line, self.column, message)
    }

    /// What it is, for messages that must not repeat it.
    pub fn noun(&self) -> &'static str {
        match &*self.kind {
            Kind::Scalar(Value::Null) => "nothing",
            Kind::Scalar(Value::Bool(_)) => "a boolean",
            Kind::Scalar(Value::Number(_)) => "a number",
            Kind::Scalar(_) => "text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }

    fn leaf(mark: Marker, value: Value) -> Self {
        let bytes = value.as_str().map_or(0, str::len);
        Self::new(mark, Kind::Scalar(value), Cost { values: 1, bytes, depth: 0 })
    }

    fn new(mark: Marker, kind: Kind, cost: Cost) -> Self {
        Self { line: mark.line(), column: mark.col().saturating_add(1), kind: Rc::new(kind), cost }
    }
}

/// A mapping as JSON.
pub fn to_map(items: &[Item]) -> Map<String, Value> {
    items.iter().map(|item| (item.key.clone(), item.value.to_value())).collect()
}

#[derive(Default)]
struct Loader {
    open: Vec<Open>,
    anchors: BTreeMap<usize, Tree>,
    document: Option<Tree>,
    ended: bool,
    /// Where scalars are, first and after last character: what looks like indentation there is content.
    scalars: Vec<(usize, usize)>,
}

/// A collection whose end is still to come.
struct Open {
    mark: Marker,
    anchor: usize,
    cost: Cost,
    content: Content,
}

enum Content {
    List(Vec<Tree>),
    Map { items: Items, key: Option<Key> },
}

/// A mapping in the making.
#[derive(Default)]
struct Items {
    list: Vec<Item>,
    /// Where each key is in the list: a text of many keys must stay cheap.
    places: BTreeMap<String, usize>,
    has_merged: bool,
}

struct Key {
    text: String,
    line: usize,
    column: usize,
    is_merge: bool,
}

impl Loader {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        match event {
            Event::DocumentStart(_) if self.ended => Err(at(span.start, "a second document; keep only one")),
            Event::DocumentEnd => {
                self.ended = true;
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.scalars.push((span.start.index(), span.end.index()));
                if text.len() > MAX_SCALAR_BYTES {
                    return Err(at(span.start, format!("a value over {} KiB", MAX_SCALAR_BYTES >> 10)));
                }
                check_tag(span.start, tag.as_deref(), true)?;
                let plain = style == ScalarStyle::Plain && tag.is_none();
                if self.wants_key() {
                    // Quoted or not, as psych takes it.
                    let is_merge = text == "<<" && tag.is_none();
                    return self.key(&text, plain, is_merge, span.start, anchor);
                }
                let value = if plain {
                    resolve(&text).map_err(|why| at(span.start, why))?
                } else {
                    Value::from(text.as_ref())
                };
                self.value(Tree::leaf(span.start, value), anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                check_tag(span.start, tag.as_deref(), false)?;
                self.open(span.start, anchor, Content::List(vec![]))
            }
            Event::MappingStart(anchor, tag) => {
                check_tag(span.start, tag.as_deref(), false)?;
                self.open(span.start, anchor, Content::Map { items: Items::default(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => {
                let Some(target) = self.anchors.get(&anchor).cloned() else {
                    return Err(at(span.start, "an alias of the value it is part of"));
                };
                if self.wants_key() {
                    let Kind::Scalar(Value::String(text)) = &*target.kind else {
                        return Err(at(span.start, "a key must be text"));
                    };
                    return self.key(text, false, false, span.start, 0);
                }
                // It stands where the alias is, so that a later problem points there.
                let (line, column) = (span.start.line(), span.start.col().saturating_add(1));
                self.value(Tree { line, column, ..target }, 0)
            }
            _ => Ok(()),
        }
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { content: Content::Map { key: None, .. }, .. }))
    }

    fn open(&mut self, mark: Marker, anchor: usize, content: Content) -> Result<(), Problem> {
        if self.wants_key() {
            return Err(at(mark, "a key must be text, not a list or a mapping"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(too_deep(mark.line(), mark.col().saturating_add(1)));
        }
        self.open.push(Open { mark, anchor, cost: Cost { values: 1, ..Cost::default() }, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Problem> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let kind = match open.content {
            Content::List(items) => Kind::List(items),
            Content::Map { items, .. } => Kind::Map(items.list),
        };
        self.value(Tree::new(open.mark, kind, open.cost), open.anchor)
    }

    fn key(
        &mut self,
        text: &str,
        plain: bool,
        is_merge: bool,
        mark: Marker,
        anchor: usize,
    ) -> Result<(), Problem> {
        if plain && !is_merge && !is_plain_key(text) {
            return Err(at(mark, "a key that Ruby does not read as text; put it in quotes"));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, Tree::leaf(mark, text.into()));
        }
        let new =
            Key { text: text.into(), line: mark.line(), column: mark.col().saturating_add(1), is_merge };
        if let Some(Open { cost, content: Content::Map { key, .. }, .. }) = self.open.last_mut() {
            cost.bytes = cost.bytes.saturating_add(text.len());
            *key = Some(new);
        }
        Ok(())
    }

    fn value(&mut self, tree: Tree, anchor: usize) -> Result<(), Problem> {
        if anchor != 0 {
            self.anchors.insert(anchor, tree.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.document = Some(tree);
            return Ok(());
        };
        open.cost = open.cost.with(tree.cost);
        if open.cost.depth > MAX_DEPTH {
            return Err(too_deep(tree.line, tree.column));
        }
        if open.cost.values > MAX_VALUES || open.cost.bytes > MAX_BYTES {
            let message = format!("over {MAX_VALUES} values or {} KiB, aliases written out", MAX_BYTES >> 10);
            return Err(tree.problem(message));
        }
        match &mut open.content {
            Content::List(items) => {
                items.push(tree);
                Ok(())
            }
            Content::Map { items, key } => match key.take() {
                Some(key) if key.is_merge => items.merge(&tree),
                Some(key) => items.insert(key, tree),
                None => Err(tree.problem("a value without a key")),
            },
        }
    }
}

impl Items {
    fn insert(&mut self, key: Key, value: Tree) -> Result<(), Problem> {
        let Key { text, line, column, .. } = key;
        let item = Item { key: text, line, column, value, merged: false };
        match self.places.get(&item.key).and_then(|place| self.list.get_mut(*place)) {
            Some(old) if old.merged => *old = item,
            Some(old) => {
                let message = format!("duplicate key {:?}, first on line {}", item.key, old.line);
                return Err(problem(item.line, item.column, message));
            }
            None => self.push(item),
        }
        Ok(())
    }

    /// The earlier of several merged mappings wins, and a key of the mapping itself wins over all. Psych
    /// lets the `<<` win over keys before it; to mean the same to both, it has to come first.
    fn merge(&mut self, source: &Tree) -> Result<(), Problem> {
        let sources = match &*source.kind {
            Kind::List(list) => list.as_slice(),
            _ => std::slice::from_ref(source),
        };
        if self.has_merged {
            return Err(source.problem("a second `<<`; give one a list: `<<: [*a, *b]`"));
        }
        self.has_merged = true;
        for tree in sources {
            let Kind::Map(new) = &*tree.kind else {
                return Err(tree.problem("`<<` needs a mapping or a list of mappings"));
            };
            for item in new {
                match self.places.get(&item.key).and_then(|place| self.list.get(*place)) {
                    Some(old) if !old.merged => {
                        let message =
                            format!("`<<` after the key {:?} that it has too; put it first", item.key);
                        return Err(source.problem(message));
                    }
                    Some(_) => {}
                    None => self.push(Item { merged: true, ..item.clone() }),
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, item: Item) {
        self.places.insert(item.key.clone(), self.list.len());
        self.list.push(item);
    }
}

/// Text, or a whole number in the only way to write it, whose text is the same key.
fn is_plain_key(text: &str) -> bool {
    match resolve(text) {
        Ok(Value::String(_)) => true,
        Ok(Value::Number(number)) => !number.is_f64() && number.to_string() == text,
        _ => false,
    }
}

/// `!!str` means the text. Nothing else is needed for a node definition, and Ruby objects must never get
/// near one.
fn check_tag(mark: Marker, tag: Option<&Tag>, scalar: bool) -> Result<(), Problem> {
    let Some(tag) = tag else { return Ok(()) };
    if scalar && tag.is_yaml_core_schema() && tag.suffix == "str" {
        return Ok(());
    }
    Err(at(mark, "a tag (`!…`); only plain values are allowed"))
}

fn check_characters(text: &str) -> Result<(), Problem> {
    for (line, content) in text.split('\n').enumerate() {
        let bad = content.chars().position(|c| {
            (c.is_control() && c != '\t' && c != '\r')
                || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
        });
        if let Some(column) = bad {
            let message = "a control character; write it as an escape in double quotes";
            return Err(problem(line.saturating_add(1), column.saturating_add(1), message));
        }
    }
    Ok(())
}

/// YAML forbids tabs in the indentation, but parsers differ in where they notice.
fn check_tabs(text: &str, scalars: &[(usize, usize)]) -> Result<(), Problem> {
    let mut index: usize = 0;
    for (line, content) in text.split('\n').enumerate() {
        let blank = content.trim_start();
        let tab = content.chars().take_while(|c| *c == ' ' || *c == '\t').position(|c| c == '\t');
        if let Some(column) = tab
            && !blank.is_empty()
            && !blank.starts_with('#')
        {
            let place = index.saturating_add(column);
            let next = scalars.partition_point(|(start, _)| *start <= place);
            let within = next.checked_sub(1).and_then(|last| scalars.get(last));
            if within.is_none_or(|(_, end)| *end <= place) {
                let message = "a tab in the indentation; use spaces";
                return Err(problem(line.saturating_add(1), column.saturating_add(1), message));
            }
        }
        index = index.saturating_add(content.chars().count()).saturating_add(1);
    }
    Ok(())
}

fn too_deep(line: usize, column: usize) -> Problem {
    problem(line, column, format!("nested more than {MAX_DEPTH} deep"))
}

fn at(mark: Marker, message: impl Into<String>) -> Problem {
    problem(mark.line(), mark.col().saturating_add(1), message)
}

fn problem(line: usize, column: usize, message: impl Into<String>) -> Problem {
    Problem { line, column, message: message.into() }
}

/// The parser's message, on one line.
fn sentence(info: &str) -> String {
    info.split_whitespace().collect::<Vec<_>>().join(" ")
}
