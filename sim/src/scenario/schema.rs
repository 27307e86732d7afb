//! What a scenario file may say, as one table of shapes: it checks files, completes editors (`cargo sim schema`), resolves
//! draws and explains words. The words themselves stand in `words/`.

use rand::RngExt;
use serde_json::{Map, Value, json};

use super::condition::Condition;
use super::draw::{Draw, Unit, describe, rng_of};
use super::duration::{LONGEST, Span};
use super::error::{Problem, suggest};
use super::parse::{Document, join};
use super::seeds::Seeds;
use super::target::Target;
use super::words;

/// What a value may be.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// Any text.
    Text,
    /// `true` or `false`.
    Flag,
    /// A whole number of `min..=max`, or a draw of one (once a seed).
    Count {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// A whole number of either sign within a million.
    Signed,
    /// A number of 0 to 1.
    Ratio,
    /// A duration, or a draw of one (once a seed).
    Time,
    /// A duration with an optional sign: `"-10m"`.
    SignedTime,
    /// A number or a distribution, drawn anew each time one is needed.
    Spread(Unit),
    /// A range of seeds: `"1..=200"`, a number, or a list of numbers.
    Seeds,
    /// Nodes or clients, chosen when the step fires.
    Target,
    /// What an expectation compares with: `0`, `">= 1"`, `"<= 2s"`, `true`, a list.
    Condition,
    /// A text, number or flag: the value of a Kafka property.
    Property,
    /// Anything: checked where it is used.
    Any,
    /// One word of a list.
    Word {
        /// What the words are, with article: "an event".
        noun: &'static str,
        /// The list.
        of: fn() -> Vec<&'static str>,
    },
    /// A list of values of one shape.
    List(&'static Shape),
    /// A list of exactly two values of one shape.
    Pair(&'static Shape),
    /// A table of one shape's values under free names.
    Named(&'static Shape),
    /// A table of known keys.
    Table(&'static [Field]),
    /// A table whose keys depend on the word under one of them.
    Tagged(&'static Tagged),
}

/// The table that a shape is, or whose values it lists.
#[derive(Clone, Copy, Debug)]
pub enum Inside {
    /// One of known keys.
    Table(&'static [Field]),
    /// One whose keys depend on a word.
    Tagged(&'static Tagged),
}

impl Shape {
    /// The table inside of it; `None` where it is a value, or values, without keys.
    #[must_use]
    pub const fn inside(&self) -> Option<Inside> {
        match self {
            Self::Table(fields) => Some(Inside::Table(fields)),
            Self::Tagged(tagged) => Some(Inside::Tagged(tagged)),
            Self::Named(inner) | Self::List(inner) | Self::Pair(inner) => inner.inside(),
            Self::Text
            | Self::Flag
            | Self::Count { .. }
            | Self::Signed
            | Self::Ratio
            | Self::Time
            | Self::SignedTime
            | Self::Spread(_)
            | Self::Seeds
            | Self::Target
            | Self::Condition
            | Self::Property
            | Self::Any
            | Self::Word { .. } => None,
        }
    }
}

/// A key of a table.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The key.
    pub name: &'static str,
    /// What its value may be.
    pub shape: Shape,
    /// Whether it must be there.
    pub required: bool,
    /// What it means: units, default.
    pub doc: &'static str,
}

/// A table whose keys depend on the word under `key`.
#[derive(Clone, Copy, Debug)]
pub struct Tagged {
    /// The key that holds the word.
    pub key: &'static str,
    /// What the words are, with article: "an action".
    pub noun: &'static str,
    /// The words, each with its own keys.
    pub words: &'static [Word],
    /// The keys that every word has.
    pub common: &'static [Field],
}

/// A word of a list, with what it means and the keys it brings.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    /// The word.
    pub name: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// The keys it brings.
    pub fields: &'static [Field],
}

/// Everything in `document` that does not have the shape of a scenario.
#[must_use]
pub fn check(document: &Document) -> Vec<Problem> {
    let mut checker = Checker { document, problems: Vec::new() };
    checker.check(&words::SCENARIO, &document.root, "", "the file");
    checker.problems
}

struct Checker<'a> {
    document: &'a Document,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn refuse(&mut self, pointer: &str, what: String, help: Option<String>) {
        self.problems.push(Problem { place: self.document.place(pointer), what, help });
    }

    /// `name` is how messages call the value.
    fn check(&mut self, shape: &Shape, value: &Value, at: &str, name: &str) {
        if let Some(values) = choice(shape, value) {
            if values.is_empty() {
                self.refuse(at, format!("{name}: `one-of` takes at least one value"), None);
            }
            for (index, value) in values.iter().enumerate() {
                self.check(shape, value, &format!("{at}/one-of/{index}"), name);
            }
            return;
        }
        match shape {
            Shape::Any => {}
            Shape::List(inner) | Shape::Pair(inner) => {
                let Some(values) = value.as_array() else {
                    let what = format!("{name}: expected a list, found {}", describe(value));
                    return self.refuse(at, what, None);
                };
                if matches!(shape, Shape::Pair(_)) && values.len() != 2 {
                    let what = format!("{name}: expected two values, found {}", values.len());
                    self.refuse(at, what, None);
                }
                for (index, value) in values.iter().enumerate() {
                    self.check(inner, value, &format!("{at}/{index}"), name);
                }
            }
            Shape::Named(inner) => {
                if let Some(table) = self.table(value, at, name) {
                    for (key, value) in table {
                        self.check(inner, value, &join(at, key), &format!("`{key}`"));
                    }
                }
            }
            Shape::Table(fields) => {
                if let Some(table) = self.table(value, at, name) {
                    self.check_fields(fields, &[], table, at, name);
                }
            }
            Shape::Tagged(tagged) => self.check_tagged(tagged, value, at, name),
            Shape::Text
            | Shape::Flag
            | Shape::Count { .. }
            | Shape::Signed
            | Shape::Ratio
            | Shape::Time
            | Shape::SignedTime
            | Shape::Spread(_)
            | Shape::Seeds
            | Shape::Target
            | Shape::Condition
            | Shape::Property
            | Shape::Word { .. } => {
                if let Err((what, help)) = check_leaf(shape, value) {
                    self.refuse(at, format!("{name}: {what}"), help);
                }
            }
        }
    }

    fn table<'v>(
        &mut self,
        value: &'v Value,
        at: &str,
        name: &str,
    ) -> Option<&'v Map<String, Value>> {
        let table = value.as_object();
        if table.is_none() {
            self.refuse(at, format!("{name}: expected a table, found {}", describe(value)), None);
        }
        table
    }

    fn check_tagged(&mut self, tagged: &Tagged, value: &Value, at: &str, name: &str) {
        let Some(table) = self.table(value, at, name) else { return };
        let Some(word) = table.get(tagged.key) else {
            return self.refuse(
                at,
                format!("{name}: `{}` is missing ({})", tagged.key, tagged.noun),
                None,
            );
        };
        let names = || tagged.words.iter().map(|word| word.name);
        let known =
            word.as_str().and_then(|text| tagged.words.iter().find(|word| word.name == text));
        let Some(known) = known else {
            let what = format!("{} is not {}", quote(word), tagged.noun);
            let help = word.as_str().and_then(|text| suggest(text, names()));
            return self.refuse(&join(at, tagged.key), what, help);
        };
        let tag = Field { name: tagged.key, shape: Shape::Text, required: true, doc: "" };
        let common: Vec<Field> =
            std::iter::once(tag).chain(tagged.common.iter().copied()).collect();
        self.check_fields(known.fields, &common, table, at, &format!("`{}`", known.name));
    }

    fn check_fields(
        &mut self,
        own: &[Field],
        common: &[Field],
        table: &Map<String, Value>,
        at: &str,
        name: &str,
    ) {
        // A key that every word has means the same under each.
        let is_own = |field: &&Field| !common.iter().any(|all| all.name == field.name);
        let fields = || own.iter().filter(is_own).chain(common);
        for (key, value) in table {
            let below = join(at, key);
            match fields().find(|field| field.name == key) {
                Some(field) => self.check(&field.shape, value, &below, &format!("`{key}`")),
                None => {
                    let place = self.document.place_of_key(&below);
                    let what = format!("`{key}` is not a key of {name}");
                    let help = suggest(key, fields().map(|field| field.name));
                    self.problems.push(Problem { place, what, help });
                }
            }
        }
        for field in fields().filter(|field| field.required && !table.contains_key(field.name)) {
            self.refuse(at, format!("{name}: `{}` is missing", field.name), None);
        }
    }
}

/// The values of a choice that each seed makes once, where `value` is one and the shape may be: whatever is neither a number
/// nor a table of keys. Numbers have draws of their own.
fn choice<'v>(shape: &Shape, value: &'v Value) -> Option<&'v [Value]> {
    let may_be = match shape {
        Shape::Flag | Shape::Ratio | Shape::Property | Shape::Word { .. } => true,
        Shape::List(inner) => matches!(inner, Shape::Text),
        Shape::Text
        | Shape::Count { .. }
        | Shape::Signed
        | Shape::Time
        | Shape::SignedTime
        | Shape::Spread(_)
        | Shape::Seeds
        | Shape::Target
        | Shape::Condition
        | Shape::Any
        | Shape::Pair(_)
        | Shape::Named(_)
        | Shape::Table(_)
        | Shape::Tagged(_) => false,
    };
    let table = value.as_object().filter(|table| may_be && table.len() == 1)?;
    table.get("one-of")?.as_array().map(Vec::as_slice)
}

fn quote(value: &Value) -> String {
    match value.as_str() {
        Some(text) => format!("`{text}`"),
        None => describe(value),
    }
}

type Refusal = (String, Option<String>);

fn check_leaf(shape: &Shape, value: &Value) -> Result<(), Refusal> {
    let plain = |what: String| (what, None);
    let expected = |what: &str| plain(format!("expected {what}, found {}", describe(value)));
    match shape {
        Shape::Text => value.as_str().map(drop).ok_or_else(|| expected("a text")),
        Shape::Flag => value.as_bool().map(drop).ok_or_else(|| expected("`true` or `false`")),
        Shape::Count { min, max } => {
            let draw = Draw::parse(value, Unit::Count).map_err(plain)?;
            if draw.smallest() < *min || draw.largest() > *max {
                return Err(plain(format!("{} is not within {min} to {max}", show_draw(&draw))));
            }
            Ok(())
        }
        Shape::Signed => match value.as_i64() {
            Some(number) if number.abs() <= 1_000_000 => Ok(()),
            _ => Err(expected("a whole number within a million")),
        },
        Shape::Ratio => match value.as_f64() {
            Some(number) if (0.0..=1.0).contains(&number) => Ok(()),
            _ => Err(expected("a number of 0 to 1")),
        },
        Shape::Time => Draw::parse(value, Unit::Time).map(drop).map_err(plain),
        Shape::SignedTime => {
            let text = value.as_str().ok_or_else(|| expected("a duration such as \"-10m\""))?;
            Span::parse(text.trim_start_matches(['+', '-'])).map(drop).map_err(plain)
        }
        Shape::Spread(unit) => {
            let draw = Draw::parse(value, *unit).map_err(plain)?;
            let limit = match unit {
                Unit::Time => LONGEST.nanos(),
                Unit::Count => words::COUNT_MAX,
            };
            if draw.largest() > limit {
                return Err(plain(format!("{} is beyond {limit}", draw.largest())));
            }
            Ok(())
        }
        Shape::Seeds => Seeds::parse(value).map(drop).map_err(plain),
        Shape::Target => {
            let text =
                value.as_str().ok_or_else(|| expected("a target such as \"leader(orders-0)\""))?;
            Target::parse(text).map(drop).map_err(|refusal| (refusal.what, refusal.help))
        }
        Shape::Condition => Condition::parse(value).map(drop).map_err(plain),
        Shape::Property => match value {
            Value::String(_) | Value::Number(_) | Value::Bool(_) => Ok(()),
            Value::Object(_) => Draw::parse(value, Unit::Count).map(drop).map_err(plain),
            Value::Null | Value::Array(_) => Err(expected("a text, a number or a flag")),
        },
        Shape::Word { noun, of } => {
            let known = of();
            match value.as_str() {
                Some(text) if known.contains(&text) => Ok(()),
                Some(text) => Err((format!("`{text}` is not {noun}"), suggest(text, known))),
                None => Err(expected(noun)),
            }
        }
        Shape::Any
        | Shape::List(_)
        | Shape::Pair(_)
        | Shape::Named(_)
        | Shape::Table(_)
        | Shape::Tagged(_) => {
            unreachable!("has parts: checked part by part")
        }
    }
}

fn show_draw(draw: &Draw) -> String {
    match (draw.smallest(), draw.largest()) {
        (low, high) if low == high => low.to_string(),
        (low, high) => format!("{low} to {high}"),
    }
}

/// Replaces each draw that is made once a seed by the value that `seed` draws, and returns what was drawn, by pointer. `value`
/// has been checked.
pub fn resolve(value: &mut Value, seed: u64) -> Vec<(String, Value)> {
    let mut draws = Draws { seed, drawn: Vec::new() };
    resolve_at(&words::SCENARIO, value, "", &mut draws);
    draws.drawn
}

/// The draws of a seed.
struct Draws {
    seed: u64,
    /// What was drawn, by pointer.
    drawn: Vec<(String, Value)>,
}

impl Draws {
    fn choose(&mut self, values: &[Value], at: &str) -> Value {
        let index = rng_of(self.seed, at).random_range(0..values.len());
        self.drawn.push((at.to_owned(), values[index].clone()));
        values[index].clone()
    }

    fn draw_once(&mut self, value: &mut Value, unit: Unit, at: &str) {
        let draw = Draw::parse(value, unit).expect("the file was checked");
        *value = Draw::Fixed(draw.sample(&mut rng_of(self.seed, at))).to_json(unit);
        self.drawn.push((at.to_owned(), value.clone()));
    }
}

fn resolve_at(shape: &Shape, value: &mut Value, at: &str, draws: &mut Draws) {
    if let Some(values) = choice(shape, value) {
        *value = draws.choose(values, at);
    }
    match (shape, value) {
        (Shape::Count { .. } | Shape::Property, value @ Value::Object(_)) => {
            draws.draw_once(value, Unit::Count, at);
        }
        (Shape::Time, value @ Value::Object(_)) => draws.draw_once(value, Unit::Time, at),
        (Shape::List(inner) | Shape::Pair(inner), Value::Array(values)) => {
            for (index, value) in values.iter_mut().enumerate() {
                resolve_at(inner, value, &format!("{at}/{index}"), draws);
            }
        }
        (Shape::Named(inner), Value::Object(table)) => {
            for (key, value) in table.iter_mut() {
                resolve_at(inner, value, &join(at, key), draws);
            }
        }
        (Shape::Table(fields), Value::Object(table)) => {
            resolve_fields(fields.iter(), table, at, draws);
        }
        (Shape::Tagged(tagged), Value::Object(table)) => {
            let word = table.get(tagged.key).and_then(Value::as_str);
            let own = tagged.words.iter().find(|known| Some(known.name) == word);
            let own = own.map_or(&[][..], |word| word.fields).iter();
            let own = own.filter(|field| !tagged.common.iter().any(|all| all.name == field.name));
            resolve_fields(own.chain(tagged.common), table, at, draws);
        }
        _ => {}
    }
}

fn resolve_fields<'a>(
    fields: impl Iterator<Item = &'a Field>,
    table: &mut Map<String, Value>,
    at: &str,
    draws: &mut Draws,
) {
    for field in fields {
        if let Some(value) = table.get_mut(field.name) {
            resolve_at(&field.shape, value, &join(at, field.name), draws);
        }
    }
}

/// The JSON Schema of a scenario file (draft 2020-12): what editors complete from.
#[must_use]
pub fn json_schema() -> Value {
    let mut schema = schema_of(&words::SCENARIO);
    let table = schema.as_object_mut().expect("a scenario is a table");
    table.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    table.insert("title".into(), json!("A scenario of the testbed"));
    table.insert("$defs".into(), schema_definitions());
    schema
}

fn schema_definitions() -> Value {
    let time = json!({ "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?(ns|us|µs|ms|s|m|h|d)$" });
    let count = json!({ "type": "integer", "minimum": 0 });
    let draw_of = |unit: &Value| {
        let pair = json!({ "type": "array", "items": unit, "minItems": 2, "maxItems": 2 });
        let percentiles = json!({
            "type": "object", "properties": { "p50": unit, "p99": unit },
            "required": ["p50", "p99"], "additionalProperties": false,
        });
        let list = json!({ "type": "array", "items": unit, "minItems": 1 });
        json!({
            "type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": false,
            "properties": { "uniform": pair, "lognormal": percentiles, "one-of": list },
        })
    };
    json!({ "draw-time": draw_of(&time), "draw-count": draw_of(&count), "time": time, "count": count })
}

/// A value, or a choice among several.
fn or_choice(plain: Value) -> Value {
    let list = json!({ "type": "array", "items": plain, "minItems": 1 });
    let choice = json!({
        "type": "object", "properties": { "one-of": list }, "required": ["one-of"],
        "additionalProperties": false,
    });
    json!({ "anyOf": [plain, choice] })
}

fn schema_of(shape: &Shape) -> Value {
    let or_draw = |plain: Value, draw: &str| json!({ "anyOf": [plain, { "$ref": format!("#/$defs/{draw}") }] });
    match shape {
        Shape::Text | Shape::Target => json!({ "type": "string" }),
        Shape::Flag => or_choice(json!({ "type": "boolean" })),
        Shape::Count { min, max } => {
            or_draw(json!({ "type": "integer", "minimum": min, "maximum": max }), "draw-count")
        }
        Shape::Signed => json!({ "type": "integer" }),
        Shape::Ratio => or_choice(json!({ "type": "number", "minimum": 0, "maximum": 1 })),
        Shape::Time | Shape::Spread(Unit::Time) => {
            or_draw(json!({ "$ref": "#/$defs/time" }), "draw-time")
        }
        Shape::SignedTime => json!({ "type": "string" }),
        Shape::Spread(Unit::Count) => or_draw(json!({ "$ref": "#/$defs/count" }), "draw-count"),
        Shape::Seeds => json!({ "type": ["string", "integer", "array"] }),
        Shape::Condition => json!({ "type": ["string", "integer", "boolean", "array"] }),
        Shape::Property => {
            or_choice(or_draw(json!({ "type": ["string", "number", "boolean"] }), "draw-count"))
        }
        Shape::Any => json!({}),
        Shape::Word { of, .. } => or_choice(json!({ "enum": of() })),
        Shape::List(inner) => {
            let list = json!({ "type": "array", "items": schema_of(inner) });
            if matches!(inner, Shape::Text) { or_choice(list) } else { list }
        }
        Shape::Pair(inner) => {
            json!({ "type": "array", "items": schema_of(inner), "minItems": 2, "maxItems": 2 })
        }
        Shape::Named(inner) => {
            json!({ "type": "object", "additionalProperties": schema_of(inner) })
        }
        Shape::Table(fields) => schema_of_table(fields.iter(), None, ""),
        Shape::Tagged(tagged) => {
            let each = |word: &Word| {
                let fields = word.fields.iter().chain(tagged.common);
                schema_of_table(fields, Some((tagged.key, word.name)), word.doc)
            };
            json!({ "oneOf": tagged.words.iter().map(each).collect::<Vec<_>>() })
        }
    }
}

fn schema_of_table<'a>(
    fields: impl Iterator<Item = &'a Field>,
    tag: Option<(&str, &str)>,
    doc: &str,
) -> Value {
    let mut properties = Map::new();
    let mut required: Vec<&str> = Vec::new();
    if let Some((key, word)) = tag {
        properties.insert(key.into(), json!({ "const": word }));
        required.push(key);
    }
    for field in fields {
        let mut schema = schema_of(&field.shape);
        if let Some(table) = schema.as_object_mut() {
            table.insert("description".into(), json!(field.doc));
        }
        properties.insert(field.name.into(), schema);
        if field.required {
            required.push(field.name);
        }
    }
    let mut schema =
        json!({ "type": "object", "properties": properties, "additionalProperties": false });
    let table = schema.as_object_mut().expect("just made");
    if !required.is_empty() {
        table.insert("required".into(), json!(required));
    }
    if !doc.is_empty() {
        table.insert("description".into(), json!(doc));
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `$ref` names a definition, and every object that lists `required` keys has them.
    fn check_schema(schema: &Value, definitions: &Map<String, Value>) {
        match schema {
            Value::Object(table) => {
                if let Some(name) = table.get("$ref").and_then(Value::as_str) {
                    let name = name.strip_prefix("#/$defs/").expect("references stay in the file");
                    assert!(definitions.contains_key(name), "{name} is not defined");
                }
                if let Some(required) = table.get("required").and_then(Value::as_array) {
                    for key in required {
                        let key = key.as_str().unwrap();
                        assert!(
                            table["properties"].get(key).is_some(),
                            "{key} is required but unknown"
                        );
                    }
                }
                table.values().for_each(|value| check_schema(value, definitions));
            }
            Value::Array(values) => {
                values.iter().for_each(|value| check_schema(value, definitions))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn the_json_schema_is_closed_and_names_every_word() {
        let schema = json_schema();
        check_schema(&schema, schema["$defs"].as_object().unwrap());
        let text = schema.to_string();
        let lists = [words::ACTIONS, words::EXPECTATIONS, words::WORKLOADS];
        for word in lists.iter().flat_map(|words| words.iter()) {
            assert!(text.contains(&format!("{{\"const\":\"{}\"}}", word.name)), "{}", word.name);
        }
    }

    #[test]
    fn every_word_and_key_is_documented_once() {
        for words in [words::ACTIONS, words::EXPECTATIONS, words::WORKLOADS] {
            for (index, word) in words.iter().enumerate() {
                assert!(word.doc.ends_with('.'), "{}", word.name);
                assert!(
                    words[..index].iter().all(|other| other.name != word.name),
                    "{}",
                    word.name
                );
                for field in word.fields {
                    assert!(field.doc.ends_with('.'), "{}/{}", word.name, field.name);
                }
            }
        }
    }
}
