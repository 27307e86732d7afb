//! `ottla group`: groups of consumers are listed, described, reset and deleted, in the column names of Kafka's `kafka-consumer-groups`.
//!
//! Kafka: `ConsumerGroupCommand`.

pub(super) mod args;
mod delete;
mod describe;
mod list;
mod offsets_file;
mod reset;
mod table;
mod when;

use std::collections::{BTreeMap, BTreeSet};

use ottla::client::{Admin, ClientError, TopicDescription};
use ottla::runtime::Env;
use ottla::types::{ErrorCode, PartitionIndex, TopicPartition};

use self::args::{GroupCommand, Groups};
use super::args::Global;
use super::client::{self, admin, block_on, from_client, within};
use super::failure::{Exit, Failure};

/// Runs one of them.
pub(crate) fn run(global: &Global, command: GroupCommand) -> Result<(), Failure> {
    block_on(|env| async move {
        let admin = admin(global, env.clone())?;
        let tool = Tool { global, env, admin };
        match command {
            GroupCommand::List { state, types } => list::run(&tool, state, types).await,
            GroupCommand::Describe { groups, offsets: _, members, state, verbose } => {
                let what = match (members, state) {
                    (true, _) => describe::What::Members,
                    (false, true) => describe::What::State,
                    (false, false) => describe::What::Offsets,
                };
                describe::run(&tool, &groups, what, verbose).await
            }
            GroupCommand::Members { groups, verbose } => {
                describe::run(&tool, &groups, describe::What::Members, verbose).await
            }
            GroupCommand::Reset(args) => reset::run(&tool, &args).await,
            GroupCommand::Delete { groups } => delete::groups(&tool, &groups).await,
            GroupCommand::DeleteOffsets { group, topics } => {
                delete::offsets(&tool, &group, &topics).await
            }
        }
    })
}

/// What a command failed with, one group after the other: all but the last are said at once, and that is what the command ends with.
#[derive(Default)]
struct Failures(Option<Failure>);

impl Failures {
    fn add(&mut self, failure: Failure) {
        if let Some(earlier) = self.0.replace(failure) {
            eprintln!("{earlier}");
        }
    }

    fn end(self) -> Result<(), Failure> {
        self.0.map_or(Ok(()), Err)
    }
}

/// What each of the commands works with.
struct Tool<'a> {
    global: &'a Global,
    env: Env,
    admin: Admin,
}

impl Tool<'_> {
    /// The groups that were named, each once and in their order, or all that there are.
    async fn groups(&self, asked: &Groups) -> Result<Vec<String>, Failure> {
        if asked.all_groups {
            let listed = self.admin.list_groups(&[], &[]);
            let listed = within(self.global, &self.env, "cannot list the groups", listed).await?;
            let of_consumers =
                listed.into_iter().filter(ottla::client::GroupListing::is_of_consumers);
            return Ok(of_consumers.map(|listed| listed.group).collect());
        }
        let mut seen = BTreeSet::new();
        let named = asked.groups.iter().chain(&asked.named);
        Ok(named.filter(|group| seen.insert(*group)).cloned().collect())
    }

    /// Says something beside the result.
    fn note(&self, text: &str) {
        if !self.global.quiet {
            eprintln!("{text}");
        }
    }

    /// An error of a call about a group as a command's.
    fn failed(&self, group: &str, what: &str, error: &ClientError) -> Failure {
        let failure = from_client(self.global, what, error);
        let code = match error {
            ClientError::Answer { error, .. } => *error,
            ClientError::TimedOut { .. }
            | ClientError::RecordTooLarge { .. }
            | ClientError::InvalidPartition { .. }
            | ClientError::OffsetOutOfRange { .. }
            | ClientError::LogTruncation { .. }
            | ClientError::CorruptBatch { .. }
            | ClientError::NotAssigned(_)
            | ClientError::UnsupportedVersion { .. }
            | ClientError::Disconnected(_)
            | ClientError::Closed
            | ClientError::WokenUp => return failure,
        };
        if code == ErrorCode::GroupIdNotFound {
            return failure
                .why(format!("{code}: the group '{group}' does not exist"))
                .next("`ottla group list` names those that there are");
        }
        if has_members(code) {
            return failure.why(format!("{code}: the group has members")).next(stop_members(group));
        }
        failure
    }

    /// The topics that `words` name, and of each the partitions, as in `orders` or `orders:0,1`.
    ///
    /// Errors: a word is none, or there is no such topic or partition.
    async fn partitions(&self, words: &[String]) -> Result<BTreeSet<TopicPartition>, Failure> {
        let mut asked: BTreeMap<&str, Option<BTreeSet<i32>>> = BTreeMap::new();
        for word in words {
            let (topic, numbers) = parse_topic(word)?;
            match (asked.get_mut(topic), numbers) {
                (Some(Some(known)), Some(numbers)) => known.extend(numbers),
                // All of them, whatever else was said.
                (Some(known), _) => *known = None,
                (None, numbers) => _ = asked.insert(topic, numbers),
            }
        }
        let mut partitions = BTreeSet::new();
        for topic in self.topics(asked.keys().copied()).await? {
            let numbers = asked.get(topic.name.as_str()).cloned().flatten();
            let all = topic.partitions.iter().map(|partition| partition.partition);
            let all: BTreeSet<PartitionIndex> = all.collect();
            let wanted = numbers.unwrap_or_else(|| all.iter().map(|one| one.value()).collect());
            for number in wanted {
                let partition = PartitionIndex::from_wire(number).filter(|one| all.contains(one));
                let partition = partition.ok_or_else(|| no_partition(&topic, number))?;
                let name = topic.name.as_str().into();
                partitions.insert(TopicPartition { topic: name, partition });
            }
        }
        Ok(partitions)
    }

    async fn topics<'t>(
        &self,
        names: impl Iterator<Item = &'t str>,
    ) -> Result<Vec<TopicDescription>, Failure> {
        let names: Vec<&str> = names.collect();
        client::describe(self.global, &self.env, &self.admin, &names).await
    }
}

/// Whether a group was refused for it has members (to a commit by nobody in particular the coordinator says that it knows no such member).
fn has_members(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NonEmptyGroup | ErrorCode::UnknownMemberId | ErrorCode::RebalanceInProgress
    )
}

/// What to do about members that are in the way.
fn stop_members(group: &str) -> String {
    format!("stop its members, `ottla group members {group}` names them, then run this again")
}

fn no_partition(topic: &TopicDescription, number: i32) -> Failure {
    Failure::new(Exit::Usage, format!("topic {} has no partition {number}", topic.name))
        .why(format!("its partitions are 0 to {}", topic.partitions.len().saturating_sub(1)))
}

/// A topic and some of its partitions; `None` for all.
fn parse_topic(word: &str) -> Result<(&str, Option<BTreeSet<i32>>), Failure> {
    let Some((topic, numbers)) = word.split_once(':') else { return Ok((word, None)) };
    let numbers: Result<BTreeSet<i32>, _> =
        numbers.split(',').map(|number| number.trim().parse()).collect();
    match numbers {
        Ok(numbers) if !topic.is_empty() => Ok((topic, Some(numbers))),
        Ok(_) | Err(_) => Err(Failure::new(Exit::Usage, format!("`{word}` names no partitions"))
            .place("--topic")
            .next("TOPIC for all of its partitions, or TOPIC:0,1 for some")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_come_with_all_partitions_or_some() {
        let some = |numbers: &[i32]| Some(numbers.iter().copied().collect::<BTreeSet<i32>>());
        assert_eq!(parse_topic("orders").unwrap(), ("orders", None));
        assert_eq!(parse_topic("orders:0, 2").unwrap(), ("orders", some(&[0, 2])));
        for word in ["orders:", "orders:a", "orders:0,,1", ":0", "orders:0:1"] {
            let text = parse_topic(word).unwrap_err().to_string();
            assert!(text.contains(&format!("`{word}` names no partitions")), "{text}");
        }
    }
}
