//! Turns the table of messages into what the tests need of it: samples of every struct, the heap bytes a struct holds,
//! and a walk over all messages. Included by `tests/wire/`, never by the product.

use std::fmt::Write as _;

use crate::codegen::{condition, default_value, is_listed, size_min, snake_case};
use crate::schema::{Field, Kind, Message, Struct, Type, Versions, Wire};

/// `impl Sample` and `impl HeapBytes` for every struct, `fn for_each_message` and `const ELEMENTS`.
pub(crate) fn samples(all: &[Message]) -> String {
    let mut out = String::new();
    for message in all {
        for part in &message.structs {
            push_sample(&mut out, message, part);
        }
    }
    push_walk(&mut out, all);
    push_elements(&mut out, all);
    out
}

fn path(message: &Message, part: &str) -> String {
    let root = match message.kind {
        Kind::Request | Kind::Response => "messages",
        Kind::Record | Kind::Data => "metadata_records",
        Kind::Coordinator => "coordinator_records",
    };
    format!("ottla::protocol::{root}::{}::{part}", snake_case(&message.name))
}

fn push_sample(out: &mut String, message: &Message, part: &Struct) {
    _ = writeln!(out, "impl Sample for {} {{", path(message, &part.name));
    _ = writeln!(
        out,
        "    fn sample(version: i16, source: &mut Source) -> Self {{\n        Self {{"
    );
    for field in &part.fields {
        let sample = sample_field(message, field);
        let value = match condition(field.versions, part.versions) {
            Some(condition) => {
                format!("if {condition} {{ {sample} }} else {{ {} }}", absent_value(field))
            }
            None => sample,
        };
        _ = writeln!(out, "            {}: {value},", field.name);
    }
    _ = writeln!(out, "        }}\n    }}\n}}");
    _ = writeln!(out, "impl HeapBytes for {} {{", path(message, &part.name));
    _ = writeln!(out, "    fn heap_bytes(&self) -> usize {{\n        0");
    for field in &part.fields {
        _ = writeln!(out, "            + self.{}.heap_bytes()", field.name);
    }
    _ = writeln!(out, "    }}\n}}");
}

fn sample_field(message: &Message, field: &Field) -> String {
    let element = sample_element(message, field);
    let value = if field.list { format!("source.list(|source| {element})") } else { element };
    match field.nullable {
        None => value,
        Some(nullable) => match condition(nullable, field.versions) {
            Some(condition) => {
                format!("if !({condition}) || source.bool() {{ Some({value}) }} else {{ None }}")
            }
            None => format!("if source.bool() {{ Some({value}) }} else {{ None }}"),
        },
    }
}

fn sample_element(message: &Message, field: &Field) -> String {
    match &field.ty {
        Type::Struct(name) => {
            format!("<{} as Sample>::sample(version, source)", path(message, name))
        }
        Type::Typed { optional: true, .. } => "source.optional()".to_owned(),
        Type::Typed { .. } => "source.typed()".to_owned(),
        Type::Plain(Wire::Bool) => "source.bool()".to_owned(),
        Type::Plain(Wire::String) => "source.string()".to_owned(),
        Type::Plain(Wire::Bytes | Wire::Records) => "source.bytes().into()".to_owned(),
        Type::Plain(_) => "source.number()".to_owned(),
    }
}

fn absent_value(field: &Field) -> String {
    match &field.ty {
        Type::Struct(_) => "Default::default()".to_owned(),
        Type::Plain(_) | Type::Typed { .. } if field.default.is_none() => {
            "Default::default()".to_owned()
        }
        Type::Plain(_) | Type::Typed { .. } => default_value(field),
    }
}

fn push_walk(out: &mut String, all: &[Message]) {
    _ = writeln!(
        out,
        "/// Shows every message of the table to `visitor`.\npub(super) fn for_each_message(visitor: &mut impl Visitor) {{"
    );
    for message in all {
        _ = writeln!(out, "    visitor.visit::<{}>();", path(message, &message.name));
    }
    _ = writeln!(out, "}}");
    _ = writeln!(
        out,
        "/// Shows every request of the table to `visitor`.\npub(super) fn for_each_request(visitor: &mut impl RequestVisitor) {{"
    );
    for message in all.iter().filter(|message| message.kind == Kind::Request) {
        _ = writeln!(out, "    visitor.visit::<{}>();", path(message, &message.name));
    }
    _ = writeln!(out, "}}");
}

/// What an element of each list takes at least on the wire, and takes in memory.
fn push_elements(out: &mut String, all: &[Message]) {
    _ = writeln!(
        out,
        "/// Struct, fewest bytes on the wire in any version, bytes in memory.\npub(super) const ELEMENTS: &[(&str, usize, usize)] = &["
    );
    for message in all {
        for part in message.structs.iter().filter(|part| is_listed(message, part)) {
            let Versions { min, max } = part.versions;
            let fewest = (min..=max).map(|version| size_min(message, part, version)).min();
            let path = path(message, &part.name);
            let fewest = fewest.unwrap_or(1);
            _ = writeln!(out, "    (\"{path}\", {fewest}, size_of::<{path}>()),");
        }
    }
    _ = writeln!(out, "];");
}
