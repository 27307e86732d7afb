//! What `ottla consume` prints of each record.

use std::io::Write;

use ottla::client::ConsumerRecord;
use serde_json::json;

use crate::real_main::args::Format;
use crate::real_main::failure::Failure;
use crate::real_main::output_failure;

/// How records are printed.
#[derive(Clone, Copy)]
pub(super) struct Printer<'a> {
    pub(super) format: Format,
    pub(super) template: &'a str,
}

impl Printer<'_> {
    /// Prints records. Whether there is still a reader: one that closed its end is no failure.
    pub(super) fn print<'r>(
        &self,
        records: impl IntoIterator<Item = &'r ConsumerRecord>,
    ) -> Result<bool, Failure> {
        let mut out = Vec::new();
        for record in records {
            self.add(record, &mut out);
        }
        let mut stdout = std::io::stdout();
        match stdout.write_all(&out).and_then(|()| stdout.flush()) {
            Ok(()) => Ok(true),
            Err(error) => output_failure(&error).map_or(Ok(false), Err),
        }
    }

    /// Adds what is printed of a record.
    fn add(&self, record: &ConsumerRecord, out: &mut Vec<u8>) {
        match self.format {
            Format::Text => expand(self.template, record, out),
            Format::Json | Format::Jsonl => {
                let text = |bytes: &Option<bytes::Bytes>| {
                    bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
                };
                let headers: Vec<_> = record
                    .headers
                    .iter()
                    .map(|(name, value)| json!({ "key": name, "value": text(value) }))
                    .collect();
                let line = json!({
                    "topic": &*record.topic, "partition": record.partition.value(), "offset": record.offset.value(),
                    "timestamp": record.timestamp.millis(), "key": text(&record.key), "value": text(&record.value), "headers": headers,
                });
                out.extend_from_slice(line.to_string().as_bytes());
                out.push(b'\n');
            }
        }
    }
}

fn expand(template: &str, record: &ConsumerRecord, out: &mut Vec<u8>) {
    let mut letters = template.chars();
    while let Some(letter) = letters.next() {
        match (letter, if matches!(letter, '%' | '\\') { letters.next() } else { None }) {
            ('%', Some('t')) => out.extend_from_slice(record.topic.as_bytes()),
            ('%', Some('p')) => out.extend_from_slice(record.partition.to_string().as_bytes()),
            ('%', Some('o')) => out.extend_from_slice(record.offset.to_string().as_bytes()),
            ('%', Some('T')) => out.extend_from_slice(record.timestamp.to_string().as_bytes()),
            ('%', Some('k')) => out.extend_from_slice(record.key.as_deref().unwrap_or(b"NULL")),
            ('%', Some('v' | 's')) => {
                out.extend_from_slice(record.value.as_deref().unwrap_or(b"NULL"))
            }
            ('%', Some('h')) => expand_headers(record, out),
            ('%', Some('%')) => out.push(b'%'),
            ('\\', Some('n')) => out.push(b'\n'),
            ('\\', Some('t')) => out.push(b'\t'),
            ('\\', Some('\\')) => out.push(b'\\'),
            (first, second) => {
                for letter in [Some(first), second].into_iter().flatten() {
                    out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
        }
    }
}

fn expand_headers(record: &ConsumerRecord, out: &mut Vec<u8>) {
    for (index, (name, value)) in record.headers.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        out.extend_from_slice(value.as_deref().unwrap_or(b"NULL"));
    }
}
