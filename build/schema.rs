//! The table of messages: reads `src/protocol/schema/*.schema` and checks it.
//!
//! One message is a block, one field is a line:
//!
//! ```text
//! request Fetch 1 versions 4-18 flexible 12+ {       # kind, Kafka's name, API key
//!     replica_id: BrokerId? 4-14                     # name: type versions; without versions: all of the message
//!     cluster_id: string 12+ null tag 0 ignorable    # null [versions], tag N, default N, none N, ignorable
//!     topics: [FetchTopic] {                         # a struct's fields follow where it is first named
//!         partitions: [PartitionIndex]
//!     }
//! }
//! ```
//!
//! `kind` is `request`, `response`, `record` (of the metadata log), `data` or `coordinator` (of a coordinator's log; both without API key). `T?` is `None` for negative
//! numbers, and `None` is written as −1 or as the number after `none`. `ignorable`: a value that the version cannot
//! carry is left out; without it, encoding such a value is an error (Kafka: `UnsupportedVersionException`).

use std::fmt;

/// An inclusive range of versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    pub min: i16,
    pub max: i16,
}

/// What a block describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Response,
    Record,
    Data,
    Coordinator,
}

/// How a number, a text or a list of bytes lies on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Int64,
    String,
    Bytes,
    Uuid,
    Records,
}

/// The type of a field, or of the elements of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    /// A type of the wire, under its own name.
    Plain(Wire),
    /// A type of ours that travels as a number; `optional` where negative numbers mean none.
    Typed { rust: &'static str, wire: Wire, optional: bool },
    /// A struct of the same message.
    Struct(String),
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub name: String,
    pub ty: Type,
    pub list: bool,
    pub versions: Versions,
    pub nullable: Option<Versions>,
    pub tag: Option<u32>,
    pub default: Option<String>,
    pub none: i64,
    pub ignorable: bool,
}

/// A message's own fields, or those of a struct within it.
#[derive(Clone, Debug)]
pub(crate) struct Struct {
    pub name: String,
    pub versions: Versions,
    pub fields: Vec<Field>,
}

/// One block of the table. `structs[0]` is the message itself.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub kind: Kind,
    pub name: String,
    pub key: Option<i16>,
    pub versions: Versions,
    pub flexible_from: Option<i16>,
    pub(crate) structs: Vec<Struct>,
}

/// What is wrong in the table, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Error {
    pub file: String,
    pub line: usize,
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

/// Our types that travel as numbers: name in table and code, and the number.
const TYPED: &[(&str, Wire)] = &[
    ("BrokerEpoch", Wire::Int64),
    ("BrokerId", Wire::Int32),
    ("ControlledShutdownChange", Wire::Int8),
    ("ErrorCode", Wire::Int16),
    ("FencingChange", Wire::Int8),
    ("IsolationLevel", Wire::Int8),
    ("LeaderChange", Wire::Int32),
    ("LeaderEpoch", Wire::Int32),
    ("LeaderRecoveryState", Wire::Int8),
    ("Offset", Wire::Int64),
    ("OffsetSpec", Wire::Int64),
    ("PartitionIndex", Wire::Int32),
    ("ProducerEpoch", Wire::Int16),
    ("ProducerId", Wire::Int64),
    ("Timestamp", Wire::Int64),
];

const PLAIN: &[(&str, Wire)] = &[
    ("TopicId", Wire::Uuid),
    ("bool", Wire::Bool),
    ("bytes", Wire::Bytes),
    ("int16", Wire::Int16),
    ("int32", Wire::Int32),
    ("int64", Wire::Int64),
    ("int8", Wire::Int8),
    ("records", Wire::Records),
    ("string", Wire::String),
    ("uint16", Wire::Uint16),
    ("uuid", Wire::Uuid),
];

impl Versions {
    /// Whether every version of `inner` is one of `self`.
    pub(crate) fn covers(self, inner: Versions) -> bool {
        self.min <= inner.min && inner.max <= self.max
    }
}

/// Reads one file of the table. `file` is named in errors.
pub(crate) fn parse(file: &str, text: &str) -> Result<Vec<Message>, Error> {
    let mut messages = Vec::new();
    let mut lines = Lines { file, rest: text.lines().enumerate(), line: 0 };
    while let Some(words) = lines.next_words() {
        let message = parse_message(&mut lines, &words)?;
        check_message(&message).map_err(|problem| lines.error(problem))?;
        messages.push(message);
    }
    Ok(messages)
}

/// The lines of a file without comments and empty lines, as words.
struct Lines<'a> {
    file: &'a str,
    rest: std::iter::Enumerate<std::str::Lines<'a>>,
    line: usize,
}

impl<'a> Lines<'a> {
    fn next_words(&mut self) -> Option<Vec<&'a str>> {
        for (index, line) in self.rest.by_ref() {
            self.line = index + 1;
            let code = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = code.split_whitespace().collect();
            if !words.is_empty() {
                return Some(words);
            }
        }
        None
    }

    fn error(&self, message: impl Into<String>) -> Error {
        Error { file: self.file.to_owned(), line: self.line, message: message.into() }
    }
}

fn parse_message(lines: &mut Lines<'_>, words: &[&str]) -> Result<Message, Error> {
    let (kind, suffix, keyed) = match words[0] {
        "request" => (Kind::Request, "Request", true),
        "response" => (Kind::Response, "Response", true),
        "record" => (Kind::Record, "", true),
        "data" => (Kind::Data, "", false),
        "coordinator" => (Kind::Coordinator, "", false),
        other => return Err(lines.error(format!("`{other}` is no kind of message"))),
    };
    let (name, key, rest) = match (keyed, &words[1..]) {
        (true, [name, key, rest @ ..]) => {
            let key = key.parse().map_err(|_| lines.error(format!("`{key}` is no API key")))?;
            (*name, Some(key), rest)
        }
        (false, [name, rest @ ..]) => (*name, None, rest),
        _ => return Err(lines.error("a name, and an API key, must follow the kind")),
    };
    let ["versions", versions, "flexible", flexible, open] = rest else {
        return Err(lines.error("expected `versions A-B flexible C+ {`"));
    };
    let versions = parse_versions(versions, None).map_err(|problem| lines.error(problem))?;
    let flexible_from = match *flexible {
        "none" => None,
        text => {
            let range =
                parse_versions(text, Some(versions)).map_err(|problem| lines.error(problem))?;
            Some(range.min)
        }
    };
    let name = format!("{name}{suffix}");
    let root = Struct { name: name.clone(), versions, fields: Vec::new() };
    let mut message = Message { kind, name, key, versions, flexible_from, structs: vec![root] };
    match *open {
        "{" => parse_fields(lines, &mut message)?,
        "{}" => {}
        other => return Err(lines.error(format!("expected an opening brace, not `{other}`"))),
    }
    Ok(message)
}

/// Reads the lines of a message up to its closing brace. Structs nest by a stack, not by recursion.
fn parse_fields(lines: &mut Lines<'_>, message: &mut Message) -> Result<(), Error> {
    let mut open = vec![0];
    while let Some(&current) = open.last() {
        let Some(words) = lines.next_words() else {
            return Err(lines.error(format!("`{}` is not closed", message.name)));
        };
        if words == ["}"] {
            open.pop();
            continue;
        }
        let within = message.structs[current].versions;
        let (field, opens) = parse_field(&words, within).map_err(|problem| lines.error(problem))?;
        if let Type::Struct(name) = &field.ty {
            let known = message.structs.iter().any(|known| known.name == *name);
            match (known, opens) {
                (false, true) => {
                    let versions = field.versions;
                    open.push(message.structs.len());
                    message.structs.push(Struct { name: name.clone(), versions, fields: vec![] });
                }
                (true, false) => {}
                (true, true) => return Err(lines.error(format!("`{name}` is described twice"))),
                (false, false) => return Err(lines.error(format!("`{name}` is no type"))),
            }
        } else if opens {
            return Err(lines.error("only a struct has fields"));
        }
        let fields = &mut message.structs[current].fields;
        if fields.iter().any(|known| known.name == field.name) {
            return Err(lines.error(format!("`{}` stands here twice", field.name)));
        }
        fields.push(field);
    }
    Ok(())
}

/// Reads one field and whether its struct's fields follow.
fn parse_field(words: &[&str], within: Versions) -> Result<(Field, bool), String> {
    let (words, opens) = match words {
        [words @ .., "{"] => (words, true),
        words => (words, false),
    };
    let [name, ty, attributes @ ..] = words else {
        return Err("expected `name: type`".into());
    };
    let Some(name) = name.strip_suffix(':') else {
        return Err(format!("expected a colon after `{name}`"));
    };
    let (list, element) = match ty.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(element) => (true, element),
        None => (false, *ty),
    };
    let mut field = Field {
        name: name.to_owned(),
        ty: parse_type(element)?,
        list,
        versions: within,
        nullable: None,
        tag: None,
        default: None,
        none: -1,
        ignorable: false,
    };
    parse_attributes(&mut field, attributes, within)?;
    Ok((field, opens))
}

fn parse_attributes(field: &mut Field, words: &[&str], within: Versions) -> Result<(), String> {
    let mut words = words.iter().copied().peekable();
    if let Some(text) = words.next_if(|word| is_versions(word)) {
        field.versions = parse_versions(text, Some(within))?;
    }
    while let Some(word) = words.next() {
        match word {
            "ignorable" => field.ignorable = true,
            "null" => {
                let range = words.next_if(|word| is_versions(word));
                field.nullable = Some(match range {
                    Some(text) => parse_versions(text, Some(field.versions))?,
                    None => field.versions,
                });
            }
            "tag" => field.tag = Some(number_after(word, words.next())?),
            "none" => field.none = number_after(word, words.next())?,
            "default" => {
                let value = words.next().ok_or("nothing follows `default`")?;
                field.default = Some(value.to_owned());
            }
            other => return Err(format!("`{other}` says nothing of a field")),
        }
    }
    Ok(())
}

fn number_after<T: std::str::FromStr>(word: &str, number: Option<&str>) -> Result<T, String> {
    let text = number.ok_or_else(|| format!("no number follows `{word}`"))?;
    text.parse().map_err(|_| format!("`{text}` after `{word}` is no number"))
}

fn parse_type(text: &str) -> Result<Type, String> {
    let (name, optional) = match text.strip_suffix('?') {
        Some(name) => (name, true),
        None => (text, false),
    };
    if let Some((rust, wire)) = TYPED.iter().find(|(known, _)| *known == name) {
        return Ok(Type::Typed { rust, wire: *wire, optional });
    }
    if optional {
        return Err(format!("`{name}` has no negative values that could mean none"));
    }
    if let Some((_, wire)) = PLAIN.iter().find(|(known, _)| *known == name) {
        return Ok(Type::Plain(*wire));
    }
    if name.starts_with(|first: char| first.is_ascii_uppercase()) {
        return Ok(Type::Struct(name.to_owned()));
    }
    Err(format!("`{name}` is no type"))
}

fn is_versions(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_digit())
}

/// Reads `A-B`, `A+` (up to the last of `within`) or `A`.
fn parse_versions(text: &str, within: Option<Versions>) -> Result<Versions, String> {
    let number = |part: &str| part.parse().map_err(|_| format!("`{text}` is no range of versions"));
    let (min, max) = if let Some(min) = text.strip_suffix('+') {
        let within = within.ok_or_else(|| format!("`{text}` needs an end"))?;
        (number(min)?, within.max)
    } else if let Some((min, max)) = text.split_once('-') {
        (number(min)?, number(max)?)
    } else {
        (number(text)?, number(text)?)
    };
    let versions = Versions { min, max };
    if min > max || within.is_some_and(|within| !within.covers(versions)) {
        return Err(format!("versions {text} are not among those around them"));
    }
    Ok(versions)
}

/// What a message must satisfy as a whole.
fn check_message(message: &Message) -> Result<(), String> {
    for part in &message.structs {
        let mut tags: Vec<u32> = part.fields.iter().filter_map(|field| field.tag).collect();
        tags.sort_unstable();
        if !is_counted(&tags) {
            return Err(format!("the tags of `{}` do not count from 0", part.name));
        }
        for field in &part.fields {
            let flexible = message.flexible_from.is_some_and(|from| from <= field.versions.min);
            if field.tag.is_some() && !flexible {
                return Err(format!("`{}` is tagged in a version that has no tags", field.name));
            }
            let number = matches!(field.ty, Type::Plain(Wire::Bool) | Type::Typed { .. })
                || matches!(field.ty, Type::Plain(wire) if wire.is_number());
            if field.nullable.is_some() && number && !field.list {
                return Err(format!("`{}` is a number: write `?`", field.name));
            }
            if field.default.is_some() && (field.list || !number) {
                return Err(format!("`{}` can have no default but the empty one", field.name));
            }
        }
    }
    Ok(())
}

/// Whether the sorted tags are 0, 1, 2, …
fn is_counted(tags: &[u32]) -> bool {
    tags.iter().copied().zip(0..).all(|(tag, count)| tag == count)
}

impl Wire {
    /// Whether this is an integer.
    pub(crate) fn is_number(self) -> bool {
        matches!(self, Wire::Int8 | Wire::Int16 | Wire::Uint16 | Wire::Int32 | Wire::Int64)
    }
}
