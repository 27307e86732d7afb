//! Text to values: TOML or JSON to one `serde_json::Value`, with the place of each value kept beside it.
//!
//! A JSON pointer (RFC 6901) addresses every value, so that variants, `--set` and draws can name any of them. Knows nothing
//! of what a scenario means: that is `schema.rs`.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::{Map, Value};
use toml_span::value::ValueInner;

use super::error::{Place, Problem, Problems};

/// A parsed file: the value, and where each part of it stands.
#[derive(Clone, Debug)]
pub struct Document {
    /// The path as the user gave it.
    pub path: String,
    /// What the file says.
    pub root: Value,
    places: BTreeMap<String, Place>,
}

impl Document {
    /// Reads TOML, or JSON where `path` ends in `.json`.
    pub fn parse(path: &str, text: &str) -> Result<Self, Problems> {
        let lines = Lines::new(path, text);
        let mut spans = BTreeMap::new();
        let root = if path.ends_with(".json") {
            parse_json(text, &lines, &mut spans)?
        } else {
            parse_toml(text, &lines, &mut spans)?
        };
        let places = spans.into_iter().map(|(at, span)| (at, lines.place(span.start))).collect();
        Ok(Self { path: path.into(), root, places })
    }

    /// Where the value at `pointer`, or its nearest enclosing value, was written.
    #[must_use]
    pub fn place(&self, pointer: &str) -> Place {
        let mut pointer = pointer;
        loop {
            if let Some(place) = self.places.get(pointer) {
                return place.clone();
            }
            match pointer.rfind('/') {
                Some(cut) => pointer = &pointer[..cut],
                None => return Place::File { path: self.path.clone(), line: 1, column: 1 },
            }
        }
    }

    /// Where the key of the value at `pointer` was written.
    #[must_use]
    pub fn place_of_key(&self, pointer: &str) -> Place {
        self.places.get(&key_of(pointer)).cloned().unwrap_or_else(|| self.place(pointer))
    }

    /// A problem with the value at `pointer`.
    #[must_use]
    pub fn problem(&self, pointer: &str, what: impl Into<String>) -> Problem {
        Problem { place: self.place(pointer), what: what.into(), help: None }
    }

    /// Puts `value` at `pointer`; tables on the way are made, lists must be long enough. `place` is where it was asked for.
    ///
    /// Errors: a sentence that says what is wrong with the pointer.
    pub fn set(&mut self, pointer: &str, value: Value, place: Place) -> Result<(), String> {
        if !pointer.starts_with('/') {
            return Err(format!(
                "`{pointer}` is not a JSON pointer: write `/workloads/writer/clients`"
            ));
        }
        let mut here = &mut self.root;
        for token in pointer[1..].split('/') {
            let token = unescape(token);
            here = match here {
                Value::Object(table) => {
                    table.entry(token).or_insert_with(|| Value::Object(Map::new()))
                }
                Value::Array(list) => {
                    let length = list.len();
                    token
                        .parse::<usize>()
                        .ok()
                        .and_then(|index| list.get_mut(index))
                        .ok_or_else(|| format!("`{pointer}`: the list has {length} entries, `{token}` is none of them"))?
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                    return Err(format!(
                        "`{pointer}`: what stands before `{token}` is not a table"
                    ));
                }
            };
        }
        *here = value;
        // What stood below is gone, and its places with it.
        let below = format!("{pointer}/");
        self.places.retain(|at, _| !at.starts_with(&below));
        self.places.insert(key_of(pointer), place.clone());
        self.places.insert(pointer.into(), place);
        Ok(())
    }
}

/// The pointer of the member `key` of what stands at `pointer`.
#[must_use]
pub fn join(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// The place of a key is kept beside that of its value, under a name no pointer has.
fn key_of(pointer: &str) -> String {
    format!("key:{pointer}")
}

/// A value as an argument writes it: TOML where it is TOML (`4`, `"a"`, `[1, 2]`), text otherwise.
#[must_use]
pub fn parse_argument(text: &str) -> Value {
    let mut spans = BTreeMap::new();
    let line = format!("value = {text}");
    let Ok(value) = toml_span::parse(&line) else { return Value::from(text) };
    let parsed = from_toml(value, "", &mut spans);
    // More than one key: the text held a line break, and is text.
    match parsed.as_object().filter(|table| table.len() == 1).and_then(|table| table.get("value")) {
        Some(value) => value.clone(),
        None => Value::from(text),
    }
}

type Spans = BTreeMap<String, Range<usize>>;

fn parse_toml(text: &str, lines: &Lines, spans: &mut Spans) -> Result<Value, Problems> {
    match toml_span::parse(text) {
        Ok(value) => Ok(from_toml(value, "", spans)),
        Err(error) => {
            let place = lines.place(error.span.start);
            let what = format!("not TOML: {error}");
            Err(Problems(vec![Problem { place, what, help: None }]))
        }
    }
}

/// Nesting is bounded by the parser's own limit.
fn from_toml(mut value: toml_span::Value<'_>, at: &str, spans: &mut Spans) -> Value {
    spans.insert(at.into(), value.span.start..value.span.end);
    match value.take() {
        ValueInner::String(text) => Value::String(text.into_owned()),
        ValueInner::Integer(number) => Value::from(number),
        ValueInner::Float(number) => Value::from(number),
        ValueInner::Boolean(value) => Value::Bool(value),
        ValueInner::Array(list) => Value::Array(
            list.into_iter()
                .enumerate()
                .map(|(index, value)| from_toml(value, &format!("{at}/{index}"), spans))
                .collect(),
        ),
        ValueInner::Table(table) => {
            let mut entries: Vec<_> = table.into_iter().collect();
            entries.sort_by_key(|(key, _)| key.span.start); // as written: reports keep the author's order
            let mut object = Map::new();
            for (key, value) in entries {
                let below = join(at, &key.name);
                spans.insert(key_of(&below), key.span.start..key.span.end);
                object.insert(key.name.into_owned(), from_toml(value, &below, spans));
            }
            Value::Object(object)
        }
    }
}

fn parse_json(text: &str, lines: &Lines, spans: &mut Spans) -> Result<Value, Problems> {
    let root: Value = serde_json::from_str(text).map_err(|error| {
        let place = Place::File {
            path: lines.path.into(),
            line: u32::try_from(error.line()).unwrap_or(u32::MAX),
            column: u32::try_from(error.column()).unwrap_or(u32::MAX),
        };
        Problems(vec![Problem { place, what: format!("not JSON: {error}"), help: None }])
    })?;
    JsonPlaces { bytes: text.as_bytes(), position: 0, spans }.value("");
    Ok(root)
}

/// Walks a text that is known to be valid JSON (and not nested deeper than `serde_json`'s limit), noting where values stand.
struct JsonPlaces<'a> {
    bytes: &'a [u8],
    position: usize,
    spans: &'a mut Spans,
}

impl JsonPlaces<'_> {
    fn value(&mut self, at: &str) {
        self.skip_space();
        self.spans.insert(at.into(), self.position..self.position);
        match self.peek() {
            Some(b'{') => self.members(b'}', at, true),
            Some(b'[') => self.members(b']', at, false),
            Some(b'"') => drop(self.string()),
            _ => {
                while self.peek().is_some_and(|byte| !b",]} \t\r\n".contains(&byte)) {
                    self.position += 1;
                }
            }
        }
    }

    fn members(&mut self, close: u8, at: &str, keyed: bool) {
        self.position += 1;
        let mut index = 0;
        loop {
            self.skip_space();
            match self.peek() {
                None => return,
                Some(byte) if byte == close => {
                    self.position += 1;
                    return;
                }
                Some(b',') => self.position += 1,
                Some(_) if keyed => {
                    let start = self.position;
                    let below = join(at, &self.string());
                    self.spans.insert(key_of(&below), start..self.position);
                    self.skip_space();
                    self.position += 1; // the colon
                    self.value(&below);
                }
                Some(_) => {
                    self.value(&format!("{at}/{index}"));
                    index += 1;
                }
            }
        }
    }

    fn string(&mut self) -> String {
        let start = self.position;
        self.position += 1;
        while let Some(byte) = self.peek() {
            self.position += if byte == b'\\' { 2 } else { 1 };
            if byte == b'"' {
                break;
            }
        }
        let end = self.position.min(self.bytes.len());
        serde_json::from_slice(&self.bytes[start..end]).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.position += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.position).copied()
    }
}

/// Byte positions to lines and columns.
struct Lines<'a> {
    path: &'a str,
    text: &'a str,
}

impl<'a> Lines<'a> {
    fn new(path: &'a str, text: &'a str) -> Self {
        Self { path, text }
    }

    fn place(&self, position: usize) -> Place {
        let mut position = position.min(self.text.len());
        while !self.text.is_char_boundary(position) {
            position -= 1;
        }
        let before = &self.text[..position];
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Place::File {
            path: self.path.into(),
            line: count(before.matches('\n').count() + 1),
            column: count(before[start..].chars().count() + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn places(document: &Document, pointers: &[&str]) -> Vec<String> {
        pointers.iter().map(|pointer| document.place(pointer).to_string()).collect()
    }

    #[test]
    fn toml_values_know_their_place() {
        let text = "claim = 'x'\n\n[topics.a]\npartitions = 3\n[[timeline]]\nat = '1s'\n[[timeline]]\nat = '2s'\n";
        let document = Document::parse("x.toml", text).unwrap();
        assert_eq!(document.root["topics"]["a"]["partitions"], json!(3));
        assert_eq!(
            places(&document, &["/topics/a/partitions", "/timeline/1/at", "/timeline/1/at/none"]),
            ["x.toml:4:14", "x.toml:8:7", "x.toml:8:7"]
        );
        assert_eq!(document.place_of_key("/topics/a/partitions").to_string(), "x.toml:4:1");
    }

    #[test]
    fn json_values_know_their_place() {
        let text = "{\n \"a\": [1, {\"b/c\": \"q\\\"\" }],\n \"d\": true}";
        let document = Document::parse("x.json", text).unwrap();
        assert_eq!(
            places(&document, &["/a/1/b~1c", "/a/0", "/d"]),
            ["x.json:2:19", "x.json:2:8", "x.json:3:7"]
        );
    }

    #[test]
    fn broken_files_are_named_with_the_place() {
        let check = |path, text, expected: &str| {
            assert_eq!(Document::parse(path, text).unwrap_err().to_string(), expected);
        };
        check("x.toml", "a = 1\na = 2\n", "x.toml:2:1: not TOML: duplicate key: `a`");
        check("x.json", "{\"a\": 1,}", "x.json:1:9: not JSON: trailing comma at line 1 column 9");
    }

    #[test]
    fn any_value_can_be_set_by_its_pointer() {
        let mut document = Document::parse("x.toml", "a = [1, 2]\n[b]\nc = 1\n").unwrap();
        let place = Place::Argument("--set".into());
        document.set("/a/1", json!(5), place.clone()).unwrap();
        document.set("/b/new/deep", json!("x"), place.clone()).unwrap();
        assert_eq!(document.root, json!({ "a": [1, 5], "b": { "c": 1, "new": { "deep": "x" } } }));
        assert_eq!(document.place("/b/new/deep"), place);
        assert_eq!(
            document.set("/a/7", json!(5), place.clone()).unwrap_err(),
            "`/a/7`: the list has 2 entries, `7` is none of them"
        );
        assert!(document.set("a", json!(5), place).is_err());
    }

    #[test]
    fn arguments_are_toml_or_else_text() {
        assert_eq!(parse_argument("4"), json!(4));
        assert_eq!(parse_argument("'4'"), json!("4"));
        assert_eq!(parse_argument("[1, 2]"), json!([1, 2]));
        assert_eq!(parse_argument("all"), json!("all"));
        assert_eq!(parse_argument("1\nb = 2"), json!("1\nb = 2"));
    }
}
