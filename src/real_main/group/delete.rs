//! `ottla group delete` and `delete-offsets`.
//!
//! Kafka: `ConsumerGroupCommand.deleteGroups`, `deleteOffsets`.

use ottla::client::ClientError;
use ottla::types::{ErrorCode, TopicPartition};
use serde_json::json;

use super::args::Groups;
use super::table::{Column, table};
use super::{Failures, Tool, stop_members};
use crate::real_main::args::Format;
use crate::real_main::failure::{Exit, Failure};
use crate::real_main::topic::print_all;

/// Deletes each of the groups. One that cannot be does not keep the others.
pub(super) async fn groups(tool: &Tool<'_>, asked: &Groups) -> Result<(), Failure> {
    let mut deleted = Vec::new();
    let mut failures = Failures::default();
    for group in tool.groups(asked).await? {
        match tool.admin.delete_group(&group).await {
            Ok(()) => deleted.push(group),
            Err(error) => {
                let what = format!("cannot delete group {group}");
                failures.add(tool.failed(&group, &what, &error));
            }
        }
    }
    match tool.global.format {
        Format::Text if tool.global.quiet || deleted.is_empty() => {}
        Format::Text => {
            let names: Vec<String> = deleted.iter().map(|group| format!("'{group}'")).collect();
            let names = names.join(", ");
            print_all(&format!(
                "Deletion of requested consumer groups ({names}) was successful.\n"
            ))?;
        }
        Format::Json | Format::Jsonl => {
            print_all(&format!("{}\n", json!({ "schema": "group.delete/1", "deleted": deleted })))?;
        }
    }
    failures.end()
}

/// Makes a group forget what it has committed.
pub(super) async fn offsets(
    tool: &Tool<'_>,
    group: &str,
    topics: &[String],
) -> Result<(), Failure> {
    let partitions: Vec<TopicPartition> = tool.partitions(topics).await?.into_iter().collect();
    let what = format!("cannot delete offsets of group {group}");
    let answers = tool.admin.delete_group_offsets(group, &partitions).await;
    let answers = answers.map_err(|error| tool.failed(group, &what, &error))?;
    let results: Vec<Deleted> = partitions.into_iter().zip(answers).collect();
    print_all(&match tool.global.format {
        Format::Text => text(&results),
        Format::Json | Format::Jsonl => format!("{}\n", value(group, &results)),
    })?;
    let mut errors = results.iter().filter_map(|(_, result)| result.as_ref().err());
    let Some(first) = errors.next() else { return Ok(()) };
    let count = 1 + errors.count();
    let what = format!("{count} of {} offsets of group {group} were not deleted", results.len());
    let failure = Failure::new(Exit::Refused, what).place(tool.global.bootstrap_server.clone());
    let subscribed = ErrorCode::GroupSubscribedToTopic;
    if matches!(first, ClientError::Answer { error, .. } if *error == subscribed) {
        let why = format!("{subscribed}: members of the group read the topic");
        return Err(failure.why(why).next(stop_members(group)));
    }
    Err(failure.why(first))
}

type Deleted = (TopicPartition, Result<(), ClientError>);

fn text(results: &[Deleted]) -> String {
    let columns = [Column("TOPIC", 15), Column("PARTITION", 10), Column("STATUS", 15)];
    let row = |(at, result): &Deleted| {
        let status = match result {
            Ok(()) => "Successful".to_owned(),
            Err(error) => format!("Error: {error}"),
        };
        vec![at.topic.to_string(), at.partition.to_string(), status]
    };
    table(&columns, &results.iter().map(row).collect::<Vec<_>>())
}

fn value(group: &str, results: &[Deleted]) -> serde_json::Value {
    let one = |(at, result): &Deleted| {
        let error = result.as_ref().err().map(ToString::to_string);
        json!({ "topic": &*at.topic, "partition": at.partition.value(), "error": error })
    };
    let partitions: Vec<_> = results.iter().map(one).collect();
    json!({ "schema": "group.delete-offsets/1", "group": group, "partitions": partitions })
}

#[cfg(test)]
mod tests {
    use ottla::types::PartitionIndex;

    use super::*;

    #[test]
    fn each_partition_says_whether_it_was_forgotten() {
        let at = |index| TopicPartition {
            topic: "orders".into(),
            partition: PartitionIndex::new(index),
        };
        let error = ErrorCode::GroupSubscribedToTopic;
        let results = [(at(0), Ok(())), (at(1), Err(ClientError::Answer { error, message: None }))];
        let expected = "\
TOPIC           PARTITION  STATUS
orders          0          Successful
orders          1          Error: GROUP_SUBSCRIBED_TO_TOPIC
";
        assert_eq!(text(&results), expected);
        let value = value("g", &results);
        assert_eq!(value["partitions"][0]["error"], serde_json::Value::Null);
        assert_eq!(value["partitions"][1]["error"], "GROUP_SUBSCRIBED_TO_TOPIC");
    }
}
