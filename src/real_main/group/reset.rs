//! `ottla group reset`: sets how far groups have read. Nothing is changed before all is known to be possible, and without `--execute`
//! nothing at all.
//!
//! Kafka: `ConsumerGroupCommand.resetOffsets`.

use std::collections::{BTreeMap, BTreeSet};

use ottla::client::{
    ClientError, GroupReset, KnownOffsets, NothingToShift, OffsetAndMetadata, Offsets, Positions,
    ResetPlan,
};
use ottla::protocol::OffsetSpec;
use ottla::types::{ErrorCode, Offset, TopicPartition};
use serde_json::{Value, json};

use super::args::{ResetArgs, WayArgs};
use super::offsets_file::{self, Places};
use super::table::{Column, shown, table};
use super::{Tool, has_members, stop_members, when};
use crate::real_main::args::Format;
use crate::real_main::client;
use crate::real_main::failure::{Exit, Failure};
use crate::real_main::topic::print_all;

/// A group with what it is to be set to.
struct Reset {
    group: String,
    committed: Offsets,
    offsets: Positions,
}

pub(super) async fn run(tool: &Tool<'_>, args: &ResetArgs) -> Result<(), Failure> {
    let mut groups = tool.groups(&args.groups).await?;
    let mut places = match &args.way.from_file {
        Some(path) => Some(offsets_file::read(path, &groups)?),
        None => None,
    };
    if let Some(places) = &places {
        check_named(&groups, places, args)?;
        // Of all groups, those that stand in the file.
        groups.retain(|group| places.contains_key(group));
    } else if args.topics.is_empty() && !args.all_topics {
        return Err(Failure::new(Exit::Usage, "it is not said which topics are to be reset")
            .next("--topic orders, --topic orders:0,1, or --all-topics"));
    }
    let mut resets = Vec::new();
    for group in groups {
        let way = match places.as_mut().and_then(|places| places.remove(&group)) {
            Some(places) => GroupReset::Places(places),
            None => way(&args.way, tool)?,
        };
        resets.push(prepare(tool, args, group, &way).await?);
    }
    if args.execute {
        for reset in &resets {
            execute(tool, reset).await?;
        }
    }
    print_all(&result(tool.global.format, args, resets))?;
    if !args.execute {
        tool.note("Nothing was changed: --execute does it.");
    }
    Ok(())
}

fn result(format: Format, args: &ResetArgs, resets: Vec<Reset>) -> String {
    if args.export {
        let offsets = |reset: Reset| (reset.group, reset.offsets);
        return offsets_file::write(&resets.into_iter().map(offsets).collect::<Vec<_>>());
    }
    match format {
        Format::Text => text(&resets),
        Format::Json | Format::Jsonl => {
            resets.iter().map(|reset| format!("{}\n", one(reset, args.execute))).collect()
        }
    }
}

/// Where the groups are to go on, where it does not stand in a file.
fn way(args: &WayArgs, tool: &Tool<'_>) -> Result<GroupReset, Failure> {
    let since = |time: Result<_, Failure>| time.map(GroupReset::Since);
    if let Some(offset) = args.to_offset {
        return Ok(GroupReset::To(offset));
    }
    if let Some(count) = args.shift_by {
        return Ok(GroupReset::ShiftBy(count));
    }
    if let Some(text) = &args.to_datetime {
        return since(when::time(text));
    }
    if let Some(text) = &args.by_duration {
        return since(when::ago(text, tool.env.clock.now().wall));
    }
    Ok(match (args.to_earliest, args.to_latest) {
        (true, _) => GroupReset::Earliest,
        (false, true) => GroupReset::Latest,
        (false, false) => GroupReset::Current,
    })
}

/// A file that does not speak of a group that was named is not meant.
fn check_named(groups: &[String], places: &Places, args: &ResetArgs) -> Result<(), Failure> {
    let missing = groups.iter().find(|group| !places.contains_key(*group));
    let Some(missing) = missing.filter(|_| !args.groups.all_groups) else { return Ok(()) };
    let known: Vec<&str> = places.keys().map(String::as_str).collect();
    Err(Failure::new(Exit::Usage, format!("there are no offsets for group {missing}"))
        .place(args.way.from_file.iter().map(|path| path.display().to_string()).collect::<String>())
        .why(format!("the file speaks of {}", known.join(", "))))
}

/// Finds out what is to be done, and whether it may be.
async fn prepare(
    tool: &Tool<'_>,
    args: &ResetArgs,
    group: String,
    way: &GroupReset,
) -> Result<Reset, Failure> {
    let what = format!("cannot reset group {group}");
    check_inactive(tool, &group, &what).await?;
    let committed = tool.admin.list_group_offsets(&group).await;
    let committed = committed.map_err(|error| tool.failed(&group, &what, &error))?;
    let partitions: BTreeSet<TopicPartition> = if let GroupReset::Places(places) = way {
        places.keys().cloned().collect()
    } else if args.all_topics {
        committed.keys().cloned().collect()
    } else {
        tool.partitions(&args.topics).await?
    };
    if partitions.is_empty() {
        return Err(Failure::new(Exit::Refused, what)
            .place(tool.global.bootstrap_server.clone())
            .why("--all-topics means those that it has committed offsets of, and it has none")
            .next("name the topics with --topic"));
    }
    check_led(tool, &what, &partitions).await?;
    let known = learn(tool, committed, &partitions, way).await?;
    let planned = way.plan(&partitions, &known);
    let ResetPlan { offsets, warnings } =
        planned.map_err(|nothing| nothing_to_shift(&group, &nothing))?;
    for warning in warnings {
        tool.note(&format!("Warning: {warning}."));
    }
    Ok(Reset { group, committed: known.committed, offsets })
}

fn nothing_to_shift(group: &str, nothing: &NothingToShift) -> Failure {
    Failure::new(Exit::Refused, format!("cannot shift group {group} in {}", nothing.at))
        .why("it has committed nothing there")
        .next("--to-earliest, --to-latest or --to-offset sets a first offset; --topic names the partitions")
}

/// Only the members of a group may commit while it has some. A group that is not there begins with what is committed.
async fn check_inactive(tool: &Tool<'_>, group: &str, what: &str) -> Result<(), Failure> {
    match tool.admin.describe_group(group).await {
        Ok(described) if !described.is_active() => Ok(()),
        Ok(described) => Err(Failure::new(Exit::Refused, what)
            .place(tool.global.bootstrap_server.clone())
            .why(format!(
                "Assignments can only be reset if the group '{group}' is inactive, but the current state is {}.",
                described.state
            ))
            .next(stop_members(group))),
        Err(ClientError::Answer { error: ErrorCode::GroupIdNotFound, .. }) => {
            tool.note(&format!("Warning: the group '{group}' does not exist yet."));
            Ok(())
        }
        Err(error) => Err(tool.failed(group, what, &error)),
    }
}

/// Each partition must be there, and somebody must lead it: otherwise nobody knows where it starts and ends.
async fn check_led(
    tool: &Tool<'_>,
    what: &str,
    partitions: &BTreeSet<TopicPartition>,
) -> Result<(), Failure> {
    let names: BTreeSet<&str> = partitions.iter().map(|at| &*at.topic).collect();
    let topics = tool.topics(names.into_iter()).await?;
    for at in partitions {
        let topic = topics.iter().find(|topic| *topic.name == *at.topic);
        let topic = topic.expect("it was described or refused");
        let known = topic.partitions.iter().find(|known| known.partition == at.partition);
        let known = known.ok_or_else(|| super::no_partition(topic, at.partition.value()))?;
        if known.leader.is_none() {
            return Err(Failure::new(Exit::Refused, what)
                .place(at.to_string())
                .why("nobody leads the partition, so nobody can say where it starts and ends")
                .next(format!("`ottla topic describe {}` shows what it waits for", at.topic)));
        }
    }
    Ok(())
}

async fn learn(
    tool: &Tool<'_>,
    committed: Offsets,
    partitions: &BTreeSet<TopicPartition>,
    way: &GroupReset,
) -> Result<KnownOffsets, Failure> {
    let partitions: Vec<TopicPartition> = partitions.iter().cloned().collect();
    let ask = |spec| client::offsets(tool.global, &tool.env, &tool.admin, &partitions, spec);
    let times = match way {
        GroupReset::Since(time) => ask(OffsetSpec::Timestamp(*time)).await?,
        GroupReset::Earliest
        | GroupReset::Latest
        | GroupReset::Current
        | GroupReset::To(_)
        | GroupReset::ShiftBy(_)
        | GroupReset::Places(_) => Positions::new(),
    };
    let (starts, ends) = (ask(OffsetSpec::Earliest).await?, ask(OffsetSpec::Latest).await?);
    if let Some(at) =
        partitions.iter().find(|at| !starts.contains_key(at) || !ends.contains_key(at))
    {
        return Err(Failure::new(Exit::Refused, format!("cannot read offsets of {at}"))
            .place(tool.global.bootstrap_server.clone())
            .why("its leader does not say where it starts and ends"));
    }
    Ok(KnownOffsets { committed, starts, ends, times })
}

async fn execute(tool: &Tool<'_>, reset: &Reset) -> Result<(), Failure> {
    let group = &reset.group;
    let what = format!("cannot reset group {group}");
    let one =
        |(at, offset): (&TopicPartition, &Offset)| (at.clone(), OffsetAndMetadata::new(*offset));
    let offsets: Offsets = reset.offsets.iter().map(one).collect();
    let answers = tool.admin.alter_group_offsets(group, &offsets).await;
    let answers = answers.map_err(|error| tool.failed(group, &what, &error))?;
    let count = answers.len();
    let refused: BTreeMap<TopicPartition, ClientError> = answers
        .into_iter()
        .filter_map(|(at, answer)| answer.err().map(|error| (at, error)))
        .collect();
    let Some((at, error)) = refused.first_key_value() else { return Ok(()) };
    let is_active = |error: &ClientError| matches!(error, ClientError::Answer { error, .. } if has_members(*error));
    if refused.values().all(is_active) {
        // Somebody joined in between: nothing was set.
        return Err(tool.failed(group, &what, error));
    }
    let words = refused.iter().map(|(at, error)| format!("{at}: {error}"));
    Err(Failure::new(
        Exit::Refused,
        format!("{} of {count} partitions of group {group} were not reset", refused.len()),
    )
    .place(tool.global.bootstrap_server.clone())
    .why(words.collect::<Vec<String>>().join("\n"))
    .next(format!(
        "`ottla group describe {group}` shows how it stands; `ottla topic describe {}`",
        at.topic
    )))
}

/// Kafka: `GroupOffsetsResetter.printOffsetsToReset`.
fn text(resets: &[Reset]) -> String {
    let columns = [
        Column("GROUP", 30),
        Column("TOPIC", 30),
        Column("PARTITION", 10),
        Column("NEW-OFFSET", 15),
    ];
    let rows = resets.iter().flat_map(|reset| {
        reset.offsets.iter().map(|(at, offset)| {
            let partition = at.partition.to_string();
            vec![reset.group.clone(), at.topic.to_string(), partition, shown(Some(offset))]
        })
    });
    table(&columns, &rows.collect::<Vec<_>>())
}

fn one(reset: &Reset, is_executed: bool) -> Value {
    let offset = |(at, offset): (&TopicPartition, &Offset)| {
        json!({
            "topic": &*at.topic,
            "partition": at.partition.value(),
            "current_offset": reset.committed.get(at).map(|one| one.offset.value()),
            "new_offset": offset.value(),
        })
    };
    json!({
        "schema": "group.reset/1",
        "group": reset.group,
        "executed": is_executed,
        "partitions": reset.offsets.iter().map(offset).collect::<Value>(),
    })
}

#[cfg(test)]
mod tests {
    use ottla::types::PartitionIndex;

    use super::*;

    #[test]
    fn a_shift_from_nowhere_says_what_to_do_instead() {
        let at = TopicPartition { topic: "orders".into(), partition: PartitionIndex::new(1) };
        let refused = nothing_to_shift("g", &NothingToShift { at }).to_string();
        assert!(refused.contains("cannot shift group g in orders-1"), "{refused}");
    }

    #[test]
    fn a_reset_is_shown_in_kafkas_columns_and_with_the_old_offsets_for_machines() {
        let at = |index| TopicPartition {
            topic: "orders".into(),
            partition: PartitionIndex::new(index),
        };
        let reset = Reset {
            group: "billing".to_owned(),
            committed: [(at(0), OffsetAndMetadata::new(Offset::new(3)))].into(),
            offsets: [(at(0), Offset::new(0)), (at(1), Offset::new(12))].into(),
        };
        let expected = "\
GROUP                          TOPIC                          PARTITION  NEW-OFFSET
billing                        orders                         0          0
billing                        orders                         1          12
";
        assert_eq!(text(std::slice::from_ref(&reset)), expected);
        let value = one(&reset, true);
        assert_eq!(value["executed"], true);
        assert_eq!(value["partitions"][0]["current_offset"], 3);
        assert_eq!(value["partitions"][1]["current_offset"], Value::Null);
        assert_eq!(value["partitions"][1]["new_offset"], 12);
    }
}
