//! `ottla consume -g`: a member of a group. It commits what it has printed, with what `enable.auto.commit` says, and leaves the group when
//! it ends.

use std::collections::BTreeMap;
use std::time::Duration;

use ottla::client::{ClientError, Consumer, ConsumerConfig, ConsumerRecord};
use ottla::protocol::OffsetSpec;
use ottla::runtime::Env;
use ottla::types::{Offset, TopicPartition};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::print::Printer;
use super::{Begin, partitions_of, say_total};
use crate::real_main::args::{ConsumeArgs, Global};
use crate::real_main::client::{
    admin_beside, block_on_to_end, from_client, interrupted, offsets, properties, within,
    wrong_property,
};
use crate::real_main::failure::{Exit, Failure};

/// The group that was asked for, with `-g` or as a property.
pub(super) fn group_of(global: &Global, args: &ConsumeArgs) -> Result<Option<String>, Failure> {
    let own: Vec<(&str, &str)> =
        args.group.iter().map(|group| ("group.id", group.as_str())).collect();
    let group = properties(global, &own)?.remove("group.id");
    if group.is_some() && args.partition.is_some() {
        return Err(Failure::new(
            Exit::Usage,
            "a member of a group does not choose its partitions",
        )
        .place("-p")
        .next("leave out -p, or the group"));
    }
    Ok(group)
}

/// Reads as a member of `group` until there is enough or Ctrl-C is pressed.
pub(super) fn run(
    global: &Global,
    args: &ConsumeArgs,
    group: &str,
    begin: Begin,
    reset: &str,
) -> Result<(), Failure> {
    if !matches!(begin, Begin::Start | Begin::End) {
        return Err(Failure::new(Exit::Usage, "a member of a group goes on where the group is")
            .place(format!("-o {}", args.offset))
            .next(format!(
                "-o start or -o end, for partitions that the group has not read yet; `ottla group reset {group}` sets where it is"
            )));
    }
    let own = [("auto.offset.reset", reset), ("group.id", group)];
    let config = ConsumerConfig::from_properties(&properties(global, &own)?)
        .map_err(|error| wrong_property(&error))?;
    block_on_to_end(|env| async move {
        let mut stop = Stop::new()?;
        let consumer = tokio::select! {
            biased;
            () = stop.asked() => return Err(interrupted()),
            ready = begin_to_read(global, &env, args, group, config) => ready?,
        };
        let (mut consumer, ends) = consumer;
        let printer = Printer { format: global.format, template: &args.template };
        let mut reading = Reading { args, printer, ends, unprinted: BTreeMap::new(), count: 0 };
        let result = tokio::select! {
            biased;
            () = stop.asked() => Err(interrupted()),
            result = reading.run(global, &mut consumer) => result,
        };
        reading.give_back(&mut consumer);
        tokio::select! {
            biased;
            // Asked for a second time: the group finds out by itself, after session.timeout.ms.
            () = stop.asked() => {}
            () = consumer.close() => {}
        }
        say_total(global, reading.count);
        result
    })
}

/// A consumer that has subscribed, and with `-e` where the partitions end now.
///
/// Errors: there is no such topic, or nobody coordinates the group, which the consumer itself would wait for without a word.
async fn begin_to_read(
    global: &Global,
    env: &Env,
    args: &ConsumeArgs,
    group: &str,
    config: ConsumerConfig,
) -> Result<(Consumer, BTreeMap<TopicPartition, Offset>), Failure> {
    let admin = admin_beside(global, env.clone(), &config);
    let partitions = partitions_of(global, env, &admin, args).await?;
    let what = format!("cannot join group {group}");
    within(global, env, &what, admin.list_group_offsets(group)).await?;
    let ends = if args.exit_at_end {
        offsets(global, env, &admin, &partitions, OffsetSpec::Latest).await?
    } else {
        BTreeMap::new()
    };
    let mut consumer = Consumer::new(config, env.clone());
    let topics = args.topics.iter().map(String::as_str);
    consumer.subscribe(topics).map_err(|error| from_client(global, &what, &error))?;
    Ok((consumer, ends))
}

/// Ctrl-C, or the request to end (SIGTERM).
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::new(Exit::Failed, "cannot start").why(error))
        };
        let interrupt = listen(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits for one of them. Cancel-safe.
    async fn asked(&mut self) {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

struct Reading<'a> {
    args: &'a ConsumeArgs,
    printer: Printer<'a>,
    ends: BTreeMap<TopicPartition, Offset>,
    /// Where the records begin that were handed out and not printed.
    unprinted: BTreeMap<TopicPartition, Offset>,
    count: u64,
}

impl Reading<'_> {
    /// Prints until there is enough. What it prints is printed before the next poll, which may commit it.
    async fn run(&mut self, global: &Global, consumer: &mut Consumer) -> Result<(), Failure> {
        let failed = |error| from_client(global, "cannot read", &error);
        while self.args.count.is_none_or(|count| self.count < count) {
            let records = consumer.poll(Duration::from_millis(500)).await.map_err(failed)?;
            let is_read = records.is_empty();
            if !self.take(&records)? {
                return Ok(());
            }
            if is_read && self.args.exit_at_end && self.is_at_end(consumer).await.map_err(failed)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Prints as many as are wanted. Whether there is still a reader.
    fn take(&mut self, records: &[ConsumerRecord]) -> Result<bool, Failure> {
        let left = self.args.count.map_or(u64::MAX, |count| count - self.count);
        let left = usize::try_from(left).unwrap_or(usize::MAX).min(records.len());
        let (wanted, rest) = records.split_at(left);
        // Until they are out.
        self.keep(wanted);
        if !self.printer.print(wanted)? {
            return Ok(false);
        }
        self.unprinted.clear();
        self.count += wanted.len() as u64;
        self.keep(rest);
        Ok(true)
    }

    fn keep(&mut self, records: &[ConsumerRecord]) {
        for record in records {
            self.unprinted.entry(record.topic_partition()).or_insert(record.offset);
        }
    }

    /// Whether it has partitions and has read all of them to where they ended when it began.
    async fn is_at_end(&self, consumer: &mut Consumer) -> Result<bool, ClientError> {
        let assigned = consumer.assignment();
        for partition in &assigned {
            let Some(end) = self.ends.get(partition) else { continue };
            match consumer.position(partition).await {
                Ok(position) if position >= *end => {}
                // It was taken away meanwhile.
                Ok(_) | Err(ClientError::NotAssigned(_)) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(!assigned.is_empty())
    }

    /// What was not printed is not committed.
    fn give_back(&self, consumer: &mut Consumer) {
        for (partition, offset) in &self.unprinted {
            // One that is not its own any more is committed by nobody.
            let _ = consumer.seek(partition, *offset);
        }
    }
}
