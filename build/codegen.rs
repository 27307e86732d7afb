//! Turns the table of messages into Rust: a module of structs per message, each with its encoder and decoder.

use std::fmt::Write as _;

use crate::schema::{Field, Kind, Message, Struct, Type, Versions, Wire};

/// The requests and responses.
pub(crate) fn messages(all: &[Message]) -> String {
    let mut out = String::from(PRELUDE);
    for message in all.iter().filter(|message| is_rpc(message)) {
        push_message(&mut out, message);
    }
    push_versions_of_apis(&mut out, all);
    out
}

/// The records of the metadata log and the control records.
pub(crate) fn records(all: &[Message]) -> String {
    let mut out = String::from(PRELUDE);
    let is_record = |message: &&Message| matches!(message.kind, Kind::Record | Kind::Data);
    for message in all.iter().filter(is_record) {
        push_message(&mut out, message);
    }
    push_record_enum(&mut out, all);
    out
}

/// What the log of a coordinator carries.
pub(crate) fn coordinator_records(all: &[Message]) -> String {
    let mut out = String::from(PRELUDE);
    for message in all.iter().filter(|message| message.kind == Kind::Coordinator) {
        push_message(&mut out, message);
    }
    out
}

const PRELUDE: &str = "\
use bytes::Bytes;
use crate::protocol::{ApiKey, VersionRange, messages::{Message, Request}, records::Records, value::*, wire::*};
use crate::types::*;
";

fn is_rpc(message: &Message) -> bool {
    matches!(message.kind, Kind::Request | Kind::Response)
}

fn push_message(out: &mut String, message: &Message) {
    let name = &message.name;
    let module = snake_case(name);
    _ = writeln!(out, "pub use {module}::{name};");
    _ = writeln!(out, "/// `{name}`, versions {}, and its structs.", shown(message.versions));
    _ = writeln!(out, "pub mod {module} {{\nuse super::*;");
    for part in &message.structs {
        push_struct(out, message, part);
    }
    push_message_impl(out, message);
    if message.kind == Kind::Request {
        let api = name.strip_suffix("Request").expect("the parser added it");
        _ = writeln!(
            out,
            "impl Request for {name} {{ const API: ApiKey = ApiKey::{api}; type Response = super::{api}Response; }}"
        );
    }
    _ = writeln!(out, "}}");
}

fn push_message_impl(out: &mut String, message: &Message) {
    let name = &message.name;
    let Versions { min, max } = message.versions;
    _ = writeln!(
        out,
        "impl Message for {name} {{
    const NAME: &'static str = \"{name}\";
    const VERSIONS: VersionRange = VersionRange::new({min}, {max});
    const FLEXIBLE_FROM: Option<i16> = {flexible_from:?};
    fn encode(&self, version: i16, out: &mut Writer) -> Result<(), EncodeError> {{
        out.at(\"{name}\");
        if !Self::VERSIONS.contains(version) {{ return Err(out.error(EncodeProblem::Version(version))); }}
        self.write(version, out)
    }}
    fn decode(version: i16, input: &mut Reader) -> Result<Self, DecodeError> {{
        input.at(\"{name}\");
        if !Self::VERSIONS.contains(version) {{ return Err(input.error(DecodeProblem::Version(version))); }}
        Self::read(version, input)
    }}
    {has_error}
}}",
        flexible_from = message.flexible_from,
        has_error = has_error(message),
    );
}

/// The trait's method, where the message can answer it with anything but no.
fn has_error(message: &Message) -> &'static str {
    if message.kind == Kind::Response && carries_error(message, &message.structs[0]) {
        "fn has_error(&self, code: ErrorCode) -> bool { self.has_error(code) }"
    } else {
        ""
    }
}

fn push_struct(out: &mut String, message: &Message, part: &Struct) {
    let name = &part.name;
    _ = writeln!(out, "/// Kafka: `{}`{}.", message.name, within(message, part));
    _ = writeln!(out, "#[derive(Clone, Debug, PartialEq, Eq)]\npub struct {name} {{");
    for field in &part.fields {
        _ = writeln!(out, "    /// {}", field_doc(field, part));
        _ = writeln!(out, "    pub {}: {},", ident(field), rust_type(field));
    }
    _ = writeln!(out, "}}\nimpl Default for {name} {{ fn default() -> Self {{ Self {{");
    for field in &part.fields {
        _ = writeln!(out, "    {}: {},", ident(field), default_value(field));
    }
    _ = writeln!(out, "}} }} }}\nimpl {name} {{");
    if is_listed(message, part) {
        push_size_min(out, message, part);
    }
    push_write(out, message, part);
    push_read(out, message, part);
    if message.kind == Kind::Response && carries_error(message, part) {
        push_has_error(out, message, part);
    }
    _ = writeln!(out, "}}");
}

/// Whether the struct, or one within it, has an error code.
fn carries_error(message: &Message, part: &Struct) -> bool {
    part.fields.iter().any(|field| match &field.ty {
        Type::Struct(name) => carries_error(message, find(message, name)),
        Type::Typed { rust, .. } => *rust == "ErrorCode" && !field.list,
        Type::Plain(_) => false,
    })
}

fn push_has_error(out: &mut String, message: &Message, part: &Struct) {
    let terms = part.fields.iter().filter_map(|field| {
        let place = format!("self.{}", ident(field));
        match &field.ty {
            Type::Typed { rust: "ErrorCode", .. } if !field.list => {
                Some(format!("{place} == code"))
            }
            Type::Struct(name) if carries_error(message, find(message, name)) => {
                let within = "any(|one| one.has_error(code))";
                Some(match (field.list, field.nullable.is_some()) {
                    (true, true) => format!("{place}.iter().flatten().{within}"),
                    (true, false) | (false, true) => format!("{place}.iter().{within}"),
                    (false, false) => format!("{place}.has_error(code)"),
                })
            }
            Type::Plain(_) | Type::Typed { .. } | Type::Struct(_) => None,
        }
    });
    let terms: Vec<String> = terms.collect();
    _ = writeln!(
        out,
        "    pub(super) fn has_error(&self, code: ErrorCode) -> bool {{ {} }}",
        terms.join(" || ")
    );
}

/// Whether some list has the struct as its element.
pub(crate) fn is_listed(message: &Message, part: &Struct) -> bool {
    let mut fields = message.structs.iter().flat_map(|part| &part.fields);
    fields.any(|field| field.list && matches!(&field.ty, Type::Struct(name) if *name == part.name))
}

fn within(message: &Message, part: &Struct) -> String {
    if part.name == message.name { String::new() } else { format!(", `{}` in it", part.name) }
}

fn field_doc(field: &Field, part: &Struct) -> String {
    let mut doc = format!("`{}`", kafka_name(&field.name));
    if field.versions != part.versions {
        _ = write!(doc, ", versions {}", shown(field.versions));
    }
    if let Some(tag) = field.tag {
        _ = write!(doc, ", tag {tag}");
    }
    if let Some(nullable) = field.nullable.filter(|nullable| *nullable != field.versions) {
        _ = write!(doc, ", may be `None` in versions {}", shown(nullable));
    }
    if let Some(default) = &field.default {
        _ = write!(doc, ", {default} unless said otherwise");
    }
    if field.ignorable {
        doc.push_str(", left out where the version lacks it");
    }
    doc.push('.');
    doc
}

/// The fewest bytes that the struct takes, so that a count can be checked before anything is reserved.
fn push_size_min(out: &mut String, message: &Message, part: &Struct) {
    _ = writeln!(out, "    const fn size_min(version: i16) -> usize {{ match version {{");
    for version in part.versions.min..=part.versions.max {
        _ = writeln!(out, "        {version} => {},", size_min(message, part, version));
    }
    _ = writeln!(out, "        _ => 1,\n    }} }}");
}

pub(crate) fn size_min(message: &Message, part: &Struct, version: i16) -> usize {
    let flexible = is_flexible(message, version);
    let fields = part.fields.iter().filter(|field| field.tag.is_none());
    let present =
        fields.filter(|field| field.versions.min <= version && version <= field.versions.max);
    let sum: usize = present.map(|field| field_size_min(message, field, version)).sum();
    (sum + usize::from(flexible)).max(1)
}

fn field_size_min(message: &Message, field: &Field, version: i16) -> usize {
    let flexible = is_flexible(message, version);
    match &field.ty {
        _ if field.list => {
            if flexible {
                1
            } else {
                4
            }
        }
        Type::Struct(_) if field.nullable.is_some() => 1,
        Type::Struct(name) => size_min(message, find(message, name), version),
        Type::Plain(wire) | Type::Typed { wire, .. } => wire_size_min(*wire, flexible),
    }
}

fn wire_size_min(wire: Wire, flexible: bool) -> usize {
    match wire {
        Wire::Bool | Wire::Int8 => 1,
        Wire::Int16 | Wire::Uint16 => 2,
        Wire::Int32 => 4,
        Wire::Int64 => 8,
        Wire::Uuid => 16,
        Wire::String if !flexible => 2,
        Wire::Bytes | Wire::Records if !flexible => 4,
        Wire::String | Wire::Bytes | Wire::Records => 1,
    }
}

fn push_write(out: &mut String, message: &Message, part: &Struct) {
    _ = writeln!(
        out,
        "    pub(super) fn write(&self, version: i16, out: &mut Writer) -> Result<(), EncodeError> {{"
    );
    push_flexible(out, message);
    for field in part.fields.iter() {
        let body = format!("{}\n", write_field(field, part));
        let otherwise = if field.ignorable {
            String::new()
        } else {
            format!(
                "else if self.{} != {} {{ {} return Err(out.error(EncodeProblem::Unsupported(version))); }}",
                ident(field),
                default_value(field),
                at("out", field, part)
            )
        };
        match (field.tag, condition(field.versions, part.versions)) {
            (None, None) => out.push_str(&body),
            (None, Some(condition)) => {
                _ = writeln!(out, "if {condition} {{ {body} }} {otherwise}");
            }
            // Tagged fields follow below; here only what the version cannot carry is refused.
            (Some(_), Some(condition)) if !field.ignorable => {
                _ = writeln!(out, "if {condition} {{}} {otherwise}");
            }
            (Some(_), _) => {}
        }
    }
    push_write_tags(out, message, part);
    _ = writeln!(out, "        Ok(())\n    }}");
}

fn push_write_tags(out: &mut String, message: &Message, part: &Struct) {
    let Some(flexible) = flexible_condition(message, part) else {
        return;
    };
    let mut tagged: Vec<&Field> = part.fields.iter().filter(|field| field.tag.is_some()).collect();
    tagged.sort_by_key(|field| field.tag);
    _ = writeln!(out, "if {flexible} {{");
    if tagged.is_empty() {
        _ = writeln!(out, "out.unsigned_varint(0);\n}}");
        return;
    }
    _ = writeln!(out, "let mut tags = 0;");
    for field in &tagged {
        _ = writeln!(out, "if {} {{ tags += 1; }}", tag_is_written(field, part));
    }
    _ = writeln!(out, "out.unsigned_varint(tags);");
    for field in &tagged {
        _ = writeln!(
            out,
            "if {} {{ out.tagged_field({}, |out| {{ {} Ok(()) }})?; }}",
            tag_is_written(field, part),
            field.tag.unwrap_or_default(),
            write_field(field, part),
        );
    }
    _ = writeln!(out, "}}");
}

fn tag_is_written(field: &Field, part: &Struct) -> String {
    let differs = format!("self.{} != {}", ident(field), default_value(field));
    match condition(field.versions, part.versions) {
        Some(condition) => format!("{condition} && {differs}"),
        None => differs,
    }
}

/// Statements that write one field, whatever the version.
fn write_field(field: &Field, part: &Struct) -> String {
    let at = at("out", field, part);
    let value = format!("self.{}", ident(field));
    let Some(nullable) = field.nullable else {
        return format!("{at} {}", write_value(field, &value, true));
    };
    let null = match &field.ty {
        Type::Struct(_) if !field.list => "out.present(false);",
        Type::Plain(Wire::String) if !field.list => "out.nullable_string(None, flexible)?;",
        Type::Plain(_) | Type::Typed { .. } | Type::Struct(_) => "out.null(flexible);",
    };
    let null = match condition(nullable, field.versions) {
        Some(allowed) => format!(
            "if {allowed} {{ {null} }} else {{ return Err(out.error(EncodeProblem::Null(version))); }}"
        ),
        None => null.to_owned(),
    };
    let present = match &field.ty {
        Type::Struct(_) if !field.list => match condition(nullable, field.versions) {
            Some(allowed) => format!("if {allowed} {{ out.present(true); }}"),
            None => "out.present(true);".to_owned(),
        },
        Type::Plain(_) | Type::Typed { .. } | Type::Struct(_) => String::new(),
    };
    let body = write_value(field, "value", false);
    format!("{at} match &{value} {{ Some(value) => {{ {present} {body} }} None => {{ {null} }} }}")
}

fn write_value(field: &Field, value: &str, is_place: bool) -> String {
    let reference = if is_place { format!("&{value}") } else { value.to_owned() };
    if field.list {
        return format!(
            "out.length({value}.len(), flexible)?; for element in {reference} {{ {} }}",
            write_element(field, "element", "*element")
        );
    }
    let copied = if is_place { value.to_owned() } else { format!("*{value}") };
    write_element(field, &reference, &copied)
}

/// Statements that write one value, given a reference to it and the place itself.
fn write_element(field: &Field, reference: &str, place: &str) -> String {
    match &field.ty {
        Type::Struct(_) => format!("({reference}).write(version, out)?;"),
        Type::Typed { optional: true, .. } => format!("out.optional({place}, {});", field.none),
        Type::Typed { .. } => format!("out.typed({place});"),
        Type::Plain(wire @ (Wire::String | Wire::Bytes | Wire::Records)) => {
            format!("out.{}({reference}, flexible)?;", method(*wire))
        }
        Type::Plain(wire) => format!("out.{}({place});", method(*wire)),
    }
}

fn push_read(out: &mut String, message: &Message, part: &Struct) {
    _ = writeln!(
        out,
        "    pub(super) fn read(version: i16, input: &mut Reader) -> Result<Self, DecodeError> {{"
    );
    push_flexible(out, message);
    for field in part.fields.iter().filter(|field| field.tag.is_none()) {
        let read = format!("{{ {} {}? }}", at("input", field, part), read_field(field));
        let name = local(field);
        _ = match condition(field.versions, part.versions) {
            Some(condition) => {
                writeln!(
                    out,
                    "let {name} = if {condition} {read} else {{ {} }};",
                    default_value(field)
                )
            }
            None => writeln!(out, "let {name} = {read};"),
        };
    }
    push_read_tags(out, message, part);
    let fields = part.fields.iter().map(|field| format!("{}: {}", ident(field), local(field)));
    let names: Vec<String> = fields.collect();
    _ = writeln!(out, "        Ok(Self {{ {} }})\n    }}", names.join(", "));
}

fn push_read_tags(out: &mut String, message: &Message, part: &Struct) {
    let tagged: Vec<&Field> = part.fields.iter().filter(|field| field.tag.is_some()).collect();
    for field in &tagged {
        _ = writeln!(out, "let mut {} = {};", local(field), default_value(field));
    }
    let Some(flexible) = flexible_condition(message, part) else {
        return;
    };
    _ = writeln!(out, "if {flexible} {{");
    if tagged.is_empty() {
        _ = writeln!(out, "input.skip_tagged_fields()?;\n}}");
        return;
    }
    _ = writeln!(out, "input.tagged_fields(|input, tag| {{ match tag {{");
    for field in &tagged {
        let guard = condition(field.versions, part.versions)
            .map(|condition| format!("if {condition}"))
            .unwrap_or_default();
        _ = writeln!(
            out,
            "{} {guard} => {{ {} {} = {}?; }}",
            field.tag.unwrap_or_default(),
            at("input", field, part),
            local(field),
            read_field(field),
        );
    }
    _ = writeln!(out, "_ => return Ok(false), }} Ok(true) }})?;\n}}");
}

/// An expression of type `Result` that reads one field.
fn read_field(field: &Field) -> String {
    let plain = read_value(field, "");
    let Some(nullable) = field.nullable else {
        return plain;
    };
    let maybe = match &field.ty {
        Type::Struct(_) if !field.list => {
            format!("(|| Ok(if input.present()? {{ Some({plain}?) }} else {{ None }}))()")
        }
        Type::Plain(_) | Type::Typed { .. } | Type::Struct(_) => read_value(field, "nullable_"),
    };
    match condition(nullable, field.versions) {
        Some(condition) => format!("(if {condition} {{ {maybe} }} else {{ {plain}.map(Some) }})"),
        None => maybe,
    }
}

fn read_value(field: &Field, prefix: &str) -> String {
    if field.list {
        let (size, element) = match &field.ty {
            Type::Struct(name) => (format!("{name}::size_min(version)"), read_element(field, "")),
            Type::Plain(wire) | Type::Typed { wire, .. } => {
                let sizes = (wire_size_min(*wire, true), wire_size_min(*wire, false));
                let size = if sizes.0 == sizes.1 {
                    sizes.0.to_string()
                } else {
                    format!("if flexible {{ {} }} else {{ {} }}", sizes.0, sizes.1)
                };
                (size, read_element(field, ""))
            }
        };
        return format!("input.{prefix}list(flexible, {size}, |input| {element})");
    }
    read_element(field, prefix)
}

fn read_element(field: &Field, prefix: &str) -> String {
    match &field.ty {
        Type::Struct(name) => format!("{name}::read(version, input)"),
        Type::Typed { optional: true, .. } => "input.optional()".to_owned(),
        Type::Typed { .. } => "input.typed()".to_owned(),
        Type::Plain(wire @ (Wire::String | Wire::Bytes | Wire::Records)) => {
            format!("input.{prefix}{}(flexible)", method(*wire))
        }
        Type::Plain(wire) => format!("input.{}()", method(*wire)),
    }
}

fn push_flexible(out: &mut String, message: &Message) {
    _ = match message.flexible_from {
        Some(from) if from <= message.versions.min => writeln!(out, "let flexible = true;"),
        Some(from) => writeln!(out, "let flexible = version >= {from};"),
        None => writeln!(out, "let flexible = false;"),
    };
}

/// When the struct ends in tagged fields, if ever.
fn flexible_condition(message: &Message, part: &Struct) -> Option<&'static str> {
    let from = message.flexible_from?;
    if from <= part.versions.min { Some("true") } else { Some("flexible") }
}

fn is_flexible(message: &Message, version: i16) -> bool {
    message.flexible_from.is_some_and(|from| version >= from)
}

fn find<'a>(message: &'a Message, name: &str) -> &'a Struct {
    message.structs.iter().find(|part| part.name == name).expect("the parser found it")
}

/// Whether a version is in `inner`, given that it is in `outer`; `None` where it always is.
pub(crate) fn condition(inner: Versions, outer: Versions) -> Option<String> {
    match (inner.min > outer.min, inner.max < outer.max) {
        (false, false) => None,
        (true, false) => Some(format!("version >= {}", inner.min)),
        (false, true) => Some(format!("version <= {}", inner.max)),
        (true, true) => Some(format!("({}..={}).contains(&version)", inner.min, inner.max)),
    }
}

fn at(target: &str, field: &Field, part: &Struct) -> String {
    format!("{target}.at(\"{}.{}\");", part.name, field.name)
}

fn method(wire: Wire) -> &'static str {
    match wire {
        Wire::Bool => "bool",
        Wire::Int8 => "int8",
        Wire::Int16 => "int16",
        Wire::Uint16 => "uint16",
        Wire::Int32 => "int32",
        Wire::Int64 => "int64",
        Wire::String => "string",
        Wire::Bytes => "bytes",
        Wire::Uuid => "uuid",
        Wire::Records => "records",
    }
}

fn element_type(field: &Field) -> String {
    match &field.ty {
        Type::Struct(name) => name.clone(),
        Type::Typed { rust, optional: true, .. } => format!("Option<{rust}>"),
        Type::Typed { rust, .. } => (*rust).to_owned(),
        Type::Plain(wire) => plain_type(*wire).to_owned(),
    }
}

fn plain_type(wire: Wire) -> &'static str {
    match wire {
        Wire::Bool => "bool",
        Wire::Int8 => "i8",
        Wire::Int16 => "i16",
        Wire::Uint16 => "u16",
        Wire::Int32 => "i32",
        Wire::Int64 => "i64",
        Wire::String => "String",
        Wire::Bytes => "Bytes",
        Wire::Uuid => "Uuid",
        Wire::Records => "Records",
    }
}

fn rust_type(field: &Field) -> String {
    let element = element_type(field);
    let value = if field.list { format!("Vec<{element}>") } else { element };
    if field.nullable.is_some() { format!("Option<{value}>") } else { value }
}

pub(crate) fn default_value(field: &Field) -> String {
    match (&field.ty, &field.default) {
        (Type::Typed { rust, optional: true, .. }, Some(number)) => {
            format!("<{rust} as Value>::from_wire({number})")
        }
        (Type::Plain(_) | Type::Typed { .. } | Type::Struct(_), Some(value)) => value.clone(),
        (Type::Plain(_) | Type::Typed { .. } | Type::Struct(_), None) => {
            format!("<{}>::default()", rust_type(field))
        }
    }
}

fn ident(field: &Field) -> &str {
    &field.name
}

/// The local variable that holds a field while its struct is read: never `version`, which a field may be called.
fn local(field: &Field) -> String {
    format!("read_{}", field.name)
}

fn shown(versions: Versions) -> String {
    let Versions { min, max } = versions;
    if min == max { min.to_string() } else { format!("{min}–{max}") }
}

/// `ProduceRequest` as `produce_request`.
pub(crate) fn snake_case(name: &str) -> String {
    let mut out = String::new();
    let letters: Vec<char> = name.replace("KRaft", "Kraft").chars().collect();
    for (index, letter) in letters.iter().enumerate() {
        if letter.is_ascii_uppercase() && index > 0 {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// `leader_epoch` as `LeaderEpoch`.
fn kafka_name(name: &str) -> String {
    let words = name.split('_');
    words.map(|word| word[..1].to_ascii_uppercase() + &word[1..]).collect()
}

fn push_versions_of_apis(out: &mut String, all: &[Message]) {
    out.push_str(
        "/// The versions of an API that we can read and write; `None` for an API that is not in the table.
///
/// What a broker serves is its own choice among these.
#[must_use]
pub const fn versions_of(api: ApiKey) -> Option<VersionRange> {\nmatch api {\n",
    );
    for message in all.iter().filter(|message| message.kind == Kind::Request) {
        let api = message.name.strip_suffix("Request").expect("the parser added it");
        _ = writeln!(out, "ApiKey::{api} => Some({}::VERSIONS),", message.name);
    }
    out.push_str("_ => None,\n}\n}\n");
}

fn push_record_enum(out: &mut String, all: &[Message]) {
    let records: Vec<(&str, &Message)> = all
        .iter()
        .filter(|message| message.kind == Kind::Record)
        .map(|message| (message.name.strip_suffix("Record").unwrap_or(&message.name), message))
        .collect();
    out.push_str("/// A record of the metadata log.\n#[derive(Clone, Debug, PartialEq, Eq)]\npub enum MetadataRecord {\n");
    for (variant, message) in &records {
        _ = writeln!(out, "/// Type {}.\n{variant}({}),", message.key.unwrap_or(-1), message.name);
    }
    out.push_str("}\nimpl MetadataRecord {\n");
    push_match(
        out,
        &records,
        "/// The number of the record's type.\n#[must_use]\npub const fn key(&self) -> i16",
        |_, message| format!("(_) => {}", message.key.unwrap_or(-1)),
    );
    push_match(
        out,
        &records,
        "/// Kafka's name of the record's type, as `TopicRecord`.\n#[must_use]\npub const fn name(&self) -> &'static str",
        |_, message| format!("(_) => \"{}\"", message.name),
    );
    push_match(
        out,
        &records,
        "/// The versions of the record's type that we read and write.\n#[must_use]\npub const fn versions(&self) -> VersionRange",
        |_, message| format!("(_) => {}::VERSIONS", message.name),
    );
    push_match(
        out,
        &records,
        "/// Writes the record alone. Errors: the version cannot carry what it says.\npub fn encode(&self, version: i16, out: &mut Writer) -> Result<(), EncodeError>",
        |_, _| "(record) => record.encode(version, out)".to_owned(),
    );
    out.push_str("/// Reads the record of type `key` alone.\npub fn decode(key: i16, version: i16, input: &mut Reader) -> Result<Self, DecodeError> {\nmatch key {\n");
    for (variant, message) in &records {
        let key = message.key.unwrap_or(-1);
        _ = writeln!(
            out,
            "{key} => {}::decode(version, input).map(Self::{variant}),",
            message.name
        );
    }
    out.push_str("_ => Err(input.error(DecodeProblem::Key(i64::from(key)))),\n}\n}\n}\n");
    for (variant, message) in &records {
        let name = &message.name;
        _ = writeln!(
            out,
            "impl From<{name}> for MetadataRecord {{ fn from(record: {name}) -> Self {{ Self::{variant}(record) }} }}"
        );
    }
}

fn push_match(
    out: &mut String,
    records: &[(&str, &Message)],
    signature: &str,
    arm: impl Fn(&str, &Message) -> String,
) {
    _ = writeln!(out, "{signature} {{\nmatch self {{");
    for (variant, message) in records {
        _ = writeln!(out, "Self::{variant}{},", arm(variant, message));
    }
    out.push_str("}\n}\n");
}
