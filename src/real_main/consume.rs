//! `ottla consume`: records become lines.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use ottla::client::{Admin, Consumer, ConsumerConfig, ConsumerRecord};
use ottla::protocol::OffsetSpec;
use ottla::runtime::Env;
use ottla::types::{Offset, Timestamp, TopicPartition};
use serde_json::json;

use super::args::{ConsumeArgs, Format, Global};
use super::client::{admin, block_on, describe, from_client, properties, within, wrong_property};
use super::failure::{Exit, Failure};
use super::output_failure;

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    Start,
    End,
    At(Offset),
    Last(u64),
    Time(Timestamp),
}

fn parse_begin(text: &str) -> Option<Begin> {
    match text {
        "start" | "beginning" => Some(Begin::Start),
        "end" => Some(Begin::End),
        _ => match (text.strip_prefix('@'), text.strip_prefix('-')) {
            (Some(millis), _) => {
                millis.parse().ok().map(|millis| Begin::Time(Timestamp::from_millis(millis)))
            }
            (None, Some(count)) => count.parse().ok().map(Begin::Last),
            (None, None) => text.parse().ok().and_then(Offset::from_wire).map(Begin::At),
        },
    }
}

/// Runs it.
pub(crate) fn run(global: &Global, args: ConsumeArgs) -> Result<(), Failure> {
    let begin = parse_begin(&args.offset).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("`{}` is no place to begin", args.offset)).next(
            "-o start, -o end, -o 42, -o -10 (the last ten), or -o @1767225600000 (a time in ms)",
        )
    })?;
    let reset = if begin == Begin::End { "latest" } else { "earliest" };
    let config =
        ConsumerConfig::from_properties(&properties(global, &[("auto.offset.reset", reset)])?)
            .map_err(|error| wrong_property(&error))?;
    block_on(|env| async move {
        let admin = admin(global, env.clone())?;
        let partitions = partitions_of(global, &env, &admin, &args).await?;
        let ends = offsets(global, &env, &admin, &partitions, OffsetSpec::Latest).await?;
        let mut consumer = Consumer::new(config, env.clone());
        consumer.assign(partitions.clone());
        let positions = begin_positions(global, &env, &admin, &partitions, &ends, begin).await?;
        for (partition, position) in &positions {
            consumer
                .seek(partition, *position)
                .map_err(|error| from_client(global, "cannot seek", &error))?;
        }
        let mut reading = Reading { args: &args, format: global.format, ends, positions, count: 0 };
        reading.run(global, &mut consumer).await?;
        consumer.close().await;
        if !global.quiet {
            eprintln!("Processed a total of {} messages", reading.count);
        }
        Ok(())
    })
}

async fn partitions_of(
    global: &Global,
    env: &Env,
    admin: &Admin,
    args: &ConsumeArgs,
) -> Result<Vec<TopicPartition>, Failure> {
    let names: Vec<&str> = args.topics.iter().map(String::as_str).collect();
    let mut partitions = Vec::new();
    for topic in describe(global, env, admin, &names).await? {
        let wanted = topic.partitions.iter().filter(|partition| {
            args.partition.is_none_or(|only| partition.partition.value() == only)
        });
        partitions.extend(wanted.map(|partition| TopicPartition {
            topic: topic.name.as_str().into(),
            partition: partition.partition,
        }));
    }
    if partitions.is_empty() {
        return Err(
            Failure::new(Exit::Usage, "there is no such partition").place(args.topics.join(", "))
        );
    }
    Ok(partitions)
}

type Positions = BTreeMap<TopicPartition, Offset>;

async fn offsets(
    global: &Global,
    env: &Env,
    admin: &Admin,
    partitions: &[TopicPartition],
    spec: OffsetSpec,
) -> Result<Positions, Failure> {
    let questions: Vec<_> = partitions.iter().map(|partition| (partition.clone(), spec)).collect();
    let answers =
        within(global, env, "cannot read offsets", admin.list_offsets(&questions)).await?;
    let mut found = Positions::new();
    for (partition, answer) in partitions.iter().zip(answers) {
        let listed = answer.map_err(|error| {
            from_client(global, &format!("cannot read offsets of {partition}"), &error)
        })?;
        if let Some(offset) = listed.offset {
            found.insert(partition.clone(), offset);
        }
    }
    Ok(found)
}

async fn begin_positions(
    global: &Global,
    env: &Env,
    admin: &Admin,
    partitions: &[TopicPartition],
    ends: &Positions,
    begin: Begin,
) -> Result<Positions, Failure> {
    let mut positions = match begin {
        Begin::Start | Begin::Last(_) => {
            offsets(global, env, admin, partitions, OffsetSpec::Earliest).await?
        }
        Begin::End => ends.clone(),
        Begin::At(offset) => {
            partitions.iter().map(|partition| (partition.clone(), offset)).collect()
        }
        Begin::Time(time) => {
            let mut found =
                offsets(global, env, admin, partitions, OffsetSpec::Timestamp(time)).await?;
            // Where no record is that young, reading begins at the end.
            for (partition, end) in ends {
                found.entry(partition.clone()).or_insert(*end);
            }
            found
        }
    };
    if let Begin::Last(count) = begin {
        for (partition, position) in &mut positions {
            let end = ends.get(partition).copied().unwrap_or(*position);
            let back = end
                .value()
                .saturating_sub(i64::try_from(count).unwrap_or(i64::MAX))
                .max(position.value());
            *position = Offset::new(back);
        }
    }
    Ok(positions)
}

struct Reading<'a> {
    args: &'a ConsumeArgs,
    format: Format,
    ends: Positions,
    positions: Positions,
    count: u64,
}

impl Reading<'_> {
    async fn run(&mut self, global: &Global, consumer: &mut Consumer) -> Result<(), Failure> {
        while !self.is_done() {
            let records = consumer.poll(Duration::from_millis(500)).await;
            let records = records.map_err(|error| from_client(global, "cannot read", &error))?;
            let mut out = Vec::new();
            for record in records {
                if self.is_done() {
                    break;
                }
                self.positions.insert(record.topic_partition(), record.offset + 1);
                self.count += 1;
                self.print(&record, &mut out);
            }
            let mut stdout = std::io::stdout();
            if let Err(error) = stdout.write_all(&out).and_then(|()| stdout.flush()) {
                return output_failure(&error).map_or(Ok(()), Err);
            }
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        let counted = self.args.count.is_some_and(|count| self.count >= count);
        let at_end = |(partition, end): (&TopicPartition, &Offset)| {
            self.positions.get(partition).is_some_and(|position| position >= end)
        };
        counted || (self.args.exit_at_end && self.ends.iter().all(at_end))
    }

    fn print(&self, record: &ConsumerRecord, out: &mut Vec<u8>) {
        match self.format {
            Format::Text => expand(&self.args.template, record, out),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_to_begin_are_words_offsets_counts_and_times() {
        assert_eq!(parse_begin("start"), Some(Begin::Start));
        assert_eq!(parse_begin("42"), Some(Begin::At(Offset::new(42))));
        assert_eq!(parse_begin("-3"), Some(Begin::Last(3)));
        assert_eq!(parse_begin("@17"), Some(Begin::Time(Timestamp::from_millis(17))));
        assert_eq!(parse_begin("soon"), None);
    }
}
