//! `ottla consume`: records become lines. Alone with partitions of its own here; as a member of a group in `member.rs`.

mod member;
mod print;

use std::collections::BTreeMap;
use std::time::Duration;

use ottla::client::{Admin, Consumer, ConsumerConfig};
use ottla::protocol::OffsetSpec;
use ottla::runtime::Env;
use ottla::types::{Offset, Timestamp, TopicPartition};

use self::print::Printer;
use super::args::{ConsumeArgs, Global};
use super::client::{
    admin_beside, block_on, describe, from_client, offsets, properties, wrong_property,
};
use super::failure::{Exit, Failure};

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
    if let Some(group) = member::group_of(global, &args)? {
        return member::run(global, &args, &group, begin, reset);
    }
    let config =
        ConsumerConfig::from_properties(&properties(global, &[("auto.offset.reset", reset)])?)
            .map_err(|error| wrong_property(&error))?;
    block_on(|env| async move {
        let admin = admin_beside(global, env.clone(), &config);
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
        let printer = Printer { format: global.format, template: &args.template };
        let mut reading = Reading { args: &args, printer, ends, positions, count: 0 };
        reading.run(global, &mut consumer).await?;
        consumer.close().await;
        say_total(global, reading.count);
        Ok(())
    })
}

/// The last line (Kafka: `ConsoleConsumer.reportRecordCount`).
fn say_total(global: &Global, count: u64) {
    if !global.quiet {
        eprintln!("Processed a total of {count} messages");
    }
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
    printer: Printer<'a>,
    ends: Positions,
    positions: Positions,
    count: u64,
}

impl Reading<'_> {
    async fn run(&mut self, global: &Global, consumer: &mut Consumer) -> Result<(), Failure> {
        while !self.is_done() {
            let records = consumer.poll(Duration::from_millis(500)).await;
            let records = records.map_err(|error| from_client(global, "cannot read", &error))?;
            let mut wanted = 0;
            for record in &records {
                if self.is_done() {
                    break;
                }
                self.positions.insert(record.topic_partition(), record.offset + 1);
                self.count += 1;
                wanted += 1;
            }
            if !self.printer.print(&records[..wanted])? {
                break;
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
