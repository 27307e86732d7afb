//! `ottla group describe` and `members`: how far a group has read, who reads what, and in which state it is.
//!
//! Kafka: `ConsumerGroupCommand.describeGroups`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ottla::client::{GroupDescription, GroupMember, GroupState, ListedOffset, Offsets};
use ottla::protocol::OffsetSpec;
use ottla::types::{Offset, TopicPartition};
use serde_json::{Value, json};

use super::args::Groups;
use super::list::{state_word, type_word};
use super::table::{Column, shown, table};
use super::{Failures, Tool};
use crate::real_main::args::Format;
use crate::real_main::client::{admin_within, within};
use crate::real_main::failure::Failure;
use crate::real_main::topic::print_all;

/// How long a leader may take to say how far its log reaches: one that is away is not waited for.
const OFFSETS_WITHIN: Duration = Duration::from_secs(3);

/// What is shown of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Offsets,
    Members,
    State,
}

/// Shows each of the groups. What one of them fails with is said after the others were shown.
pub(super) async fn run(
    tool: &Tool<'_>,
    asked: &Groups,
    what: What,
    verbose: bool,
) -> Result<(), Failure> {
    let mut failures = Failures::default();
    let mut is_first = true;
    for group in tool.groups(asked).await? {
        match one(tool, &group, what, verbose).await {
            Ok(text) => {
                let is_apart = tool.global.format == Format::Text && !is_first && !text.is_empty();
                is_first &= text.is_empty();
                print_all(&format!("{}{text}", if is_apart { "\n" } else { "" }))?;
            }
            Err(failure) => failures.add(failure),
        }
    }
    failures.end()
}

async fn one(tool: &Tool<'_>, group: &str, what: What, verbose: bool) -> Result<String, Failure> {
    let failed = format!("cannot describe group {group}");
    let described = tool.admin.describe_group(group).await;
    let described = described.map_err(|error| tool.failed(group, &failed, &error))?;
    if described.state == GroupState::Empty {
        tool.note(&format!("Consumer group '{group}' has no active members."));
    } else if described.state.is_rebalancing() {
        tool.note(&format!("Warning: Consumer group '{group}' is rebalancing."));
    }
    let is_text = tool.global.format == Format::Text;
    Ok(match what {
        What::State if is_text => state_text(&described, verbose),
        What::State => format!("{}\n", state_json(&described)),
        What::Members if is_text => members_text(&described, verbose),
        What::Members => format!("{}\n", members_json(&described)),
        What::Offsets => {
            let committed = tool.admin.list_group_offsets(group).await;
            let committed = committed.map_err(|error| tool.failed(group, &failed, &error))?;
            let ends = log_ends(tool, &described, &committed).await?;
            let rows = rows(&described, &committed, &ends);
            if is_text {
                offsets_text(&described.group, &rows, verbose)
            } else {
                format!("{}\n", offsets_json(&described, &rows))
            }
        }
    })
}

type Ends = BTreeMap<TopicPartition, Offset>;

/// Where the logs of all that the group reads or has read end. What does not exist any more, or has no leader that answers, is left out.
async fn log_ends(
    tool: &Tool<'_>,
    described: &GroupDescription,
    committed: &Offsets,
) -> Result<Ends, Failure> {
    let assigned = described.members.iter().flat_map(|member| &member.assignment);
    let wanted: BTreeSet<&TopicPartition> = committed.keys().chain(assigned).collect();
    let names: BTreeSet<&str> = wanted.iter().map(|at| &*at.topic).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let topics = tool.admin.describe_topics(&names);
    let topics = within(tool.global, &tool.env, "cannot describe topics", topics).await?;
    let mut led: BTreeSet<TopicPartition> = BTreeSet::new();
    for topic in topics.into_iter().flatten() {
        let name = topic.name.as_str();
        let partitions = topic.partitions.iter().filter(|partition| partition.leader.is_some());
        led.extend(
            partitions.map(|one| TopicPartition { topic: name.into(), partition: one.partition }),
        );
    }
    let admin = admin_within(tool.global, tool.env.clone(), OFFSETS_WITHIN)?;
    let wanted = wanted.into_iter().filter(|at| led.contains(*at));
    let questions: Vec<_> = wanted.map(|at| (at.clone(), OffsetSpec::Latest)).collect();
    let answers = admin.list_offsets(&questions).await;
    let end = |((at, _), answer): (_, Result<ListedOffset, _>)| Some((at, answer.ok()?.offset?));
    Ok(questions.into_iter().zip(answers).filter_map(end).collect())
}

/// A partition that a group reads or has read.
struct Row<'a> {
    partition: &'a TopicPartition,
    leader_epoch: Option<i32>,
    current: Option<i64>,
    end: Option<i64>,
    member: Option<&'a GroupMember>,
}

impl Row<'_> {
    /// Negative where the log was cut below what was committed.
    fn lag(&self) -> Option<i64> {
        self.current.zip(self.end).map(|(current, end)| end - current)
    }
}

/// First what members read, those with most partitions first; then what is committed and nobody reads.
fn rows<'a>(described: &'a GroupDescription, committed: &'a Offsets, ends: &Ends) -> Vec<Row<'a>> {
    let mut members: Vec<&GroupMember> = described.members.iter().collect();
    members.sort_by_key(|member| std::cmp::Reverse(member.assignment.len()));
    let read = members
        .into_iter()
        .flat_map(|member| member.assignment.iter().map(move |at| (at, Some(member))));
    let read: Vec<(&TopicPartition, Option<&GroupMember>)> = read.collect();
    let assigned: BTreeSet<&TopicPartition> = read.iter().map(|(at, _)| *at).collect();
    let unread = committed.keys().filter(|at| !assigned.contains(at)).map(|at| (at, None));
    let row = |(partition, member): (&'a TopicPartition, Option<&'a GroupMember>)| {
        let known = committed.get(partition);
        Row {
            partition,
            leader_epoch: known.and_then(|known| known.leader_epoch).map(|epoch| epoch.value()),
            current: known.map(|known| known.offset.value()),
            end: ends.get(partition).map(|end| end.value()),
            member,
        }
    };
    read.into_iter().chain(unread).map(row).collect()
}

/// Kafka: `ConsumerGroupCommand.printOffsets`. Nothing where there is no row.
fn offsets_text(group: &str, rows: &[Row<'_>], verbose: bool) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut columns = vec![Column("GROUP", 15), Column("TOPIC", 15), Column("PARTITION", 10)];
    if verbose {
        columns.push(Column("LEADER-EPOCH", 15));
    }
    columns.extend([
        Column("CURRENT-OFFSET", 15),
        Column("LOG-END-OFFSET", 15),
        Column("LAG", 15),
        Column("CONSUMER-ID", 15),
        Column("HOST", 15),
        Column("CLIENT-ID", 0),
    ]);
    let line = |row: &Row<'_>| {
        let mut line = vec![group.to_owned(), row.partition.topic.to_string()];
        line.push(row.partition.partition.to_string());
        if verbose {
            line.push(shown(row.leader_epoch));
        }
        line.extend([shown(row.current), shown(row.end), shown(row.lag())]);
        let member = row.member;
        line.push(shown(member.map(|member| &member.member_id)));
        line.push(shown(member.map(|member| &member.host)));
        line.push(shown(member.map(|member| &member.client_id)));
        line
    };
    let lines: Vec<Vec<String>> = rows.iter().map(line).collect();
    table(&columns, &lines)
}

fn offsets_json(described: &GroupDescription, rows: &[Row<'_>]) -> Value {
    let row = |row: &Row<'_>| {
        json!({
            "topic": &*row.partition.topic,
            "partition": row.partition.partition.value(),
            "leader_epoch": row.leader_epoch,
            "current_offset": row.current,
            "log_end_offset": row.end,
            "lag": row.lag(),
            "consumer_id": row.member.map(|member| &member.member_id),
            "host": row.member.map(|member| &member.host),
            "client_id": row.member.map(|member| &member.client_id),
        })
    };
    let mut value = head("group.describe/1", described);
    value["partitions"] = rows.iter().map(row).collect();
    value
}

/// What stands in each document about a group.
fn head(schema: &str, described: &GroupDescription) -> Value {
    json!({
        "schema": schema,
        "group": described.group,
        "type": type_word(&described.group_type),
        "state": state_word(&described.state),
        "protocol_type": described.protocol_type,
    })
}

/// Kafka: `ConsumerGroupCommand.printMembers`. Nothing where there are none.
fn members_text(described: &GroupDescription, verbose: bool) -> String {
    let members = &described.members;
    if members.is_empty() {
        return String::new();
    }
    let has_static = members.iter().any(|member| member.instance_id.is_some());
    let speak = |consumer| members.iter().any(|member| member.is_upgraded == Some(consumer));
    let is_migrating = speak(true) && speak(false);
    let mut columns = vec![Column("GROUP", 15), Column("CONSUMER-ID", 15)];
    columns.extend(has_static.then_some(Column("GROUP-INSTANCE-ID", 17)));
    columns.extend([Column("HOST", 15), Column("CLIENT-ID", 15), Column("#PARTITIONS", 15)]);
    if verbose {
        columns.extend([Column("CURRENT-EPOCH", 15), Column("CURRENT-ASSIGNMENT", 20)]);
        columns.extend([Column("TARGET-EPOCH", 15), Column("TARGET-ASSIGNMENT", 20)]);
        columns.extend(is_migrating.then_some(Column("UPGRADED", 0)));
    }
    let line = |member: &GroupMember| {
        let mut line = vec![described.group.clone(), member.member_id.clone()];
        if has_static {
            line.push(member.instance_id.clone().unwrap_or_default());
        }
        line.extend([member.host.clone(), member.client_id.clone()]);
        line.push(member.assignment.len().to_string());
        if verbose {
            let target = member.target_assignment.as_deref().unwrap_or_default();
            line.extend([shown(member.epoch), assignment_words(&member.assignment)]);
            line.extend([shown(described.assignment_epoch), assignment_words(target)]);
            line.extend(is_migrating.then(|| shown(member.is_upgraded)));
        }
        line
    };
    let lines: Vec<Vec<String>> = members.iter().map(line).collect();
    table(&columns, &lines)
}

/// As in `orders:0,1;payments:2` (Kafka: `ConsumerGroupCommand.getAssignmentString`).
fn assignment_words(assignment: &[TopicPartition]) -> String {
    let mut topics: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for at in assignment {
        topics.entry(&at.topic).or_default().push(at.partition.to_string());
    }
    let topics = topics.iter().map(|(topic, numbers)| format!("{topic}:{}", numbers.join(",")));
    let topics: Vec<String> = topics.collect();
    shown(Some(topics.join(";")).filter(|words| !words.is_empty()))
}

fn members_json(described: &GroupDescription) -> Value {
    let partitions = |all: &[TopicPartition]| {
        let one =
            |at: &TopicPartition| json!({ "topic": &*at.topic, "partition": at.partition.value() });
        all.iter().map(one).collect::<Value>()
    };
    let member = |member: &GroupMember| {
        json!({
            "consumer_id": member.member_id,
            "instance_id": member.instance_id,
            "host": member.host,
            "client_id": member.client_id,
            "epoch": member.epoch.map(|epoch| epoch.value()),
            "assignment": partitions(&member.assignment),
            "target_assignment": member.target_assignment.as_deref().map(partitions),
            "upgraded": member.is_upgraded,
        })
    };
    let mut value = head("group.members/1", described);
    value["members"] = described.members.iter().map(member).collect();
    value
}

/// Kafka: `ConsumerGroupCommand.printStates`.
fn state_text(described: &GroupDescription, verbose: bool) -> String {
    let at = &described.coordinator;
    let coordinator = format!("{}:{}  ({})", at.host, at.port, at.id);
    let mut columns = vec![Column("GROUP", 15), Column("COORDINATOR (ID)", 25)];
    columns.extend([Column("ASSIGNMENT-STRATEGY", 20), Column("STATE", 20)]);
    let strategy = shown(Some(&described.assignor).filter(|name| !name.is_empty()));
    let mut line = vec![described.group.clone(), coordinator, strategy];
    line.push(described.state.to_string());
    if verbose {
        columns.extend([Column("GROUP-EPOCH", 15), Column("TARGET-ASSIGNMENT-EPOCH", 25)]);
        line.extend([shown(described.epoch), shown(described.assignment_epoch)]);
    }
    columns.push(Column("#MEMBERS", 0));
    line.push(described.members.len().to_string());
    table(&columns, &[line])
}

fn state_json(described: &GroupDescription) -> Value {
    let at = &described.coordinator;
    let mut value = head("group.state/1", described);
    value["coordinator"] = json!({ "id": at.id.value(), "host": at.host, "port": at.port });
    value["assignor"] = json!(Some(&described.assignor).filter(|name| !name.is_empty()));
    value["group_epoch"] = json!(described.epoch.map(|epoch| epoch.value()));
    value["target_assignment_epoch"] = json!(described.assignment_epoch.map(|epoch| epoch.value()));
    value["members"] = json!(described.members.len());
    value
}

#[cfg(test)]
mod tests;
