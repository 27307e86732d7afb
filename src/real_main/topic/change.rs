//! `ottla topic alter`, `add-partitions`, `reassign` and `elect`.

use std::time::Duration;

use comfy_table::{Table, presets};
use ottla::client::{
    Admin, ConfigChange, ConfigOperation, ConfigResource, ElectionType, NewPartitions,
    PartitionReassignment,
};
use ottla::runtime::{Env, clock};
use ottla::types::{BrokerId, ErrorCode, PartitionIndex, TopicPartition};
use serde_json::json;

use super::{is_answer, print_all};
use crate::real_main::args::{Format, Global};
use crate::real_main::client::{describe, from_client, within};
use crate::real_main::failure::{Exit, Failure};

/// How often `--wait` looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(super) async fn alter(
    global: &Global,
    env: &Env,
    admin: &Admin,
    topic: &str,
    configs: Vec<(String, String)>,
    delete_configs: Vec<String>,
) -> Result<(), Failure> {
    let set = configs
        .into_iter()
        .map(|(name, value)| ConfigChange { name, operation: ConfigOperation::Set(value) });
    let delete = delete_configs
        .into_iter()
        .map(|name| ConfigChange { name, operation: ConfigOperation::Delete });
    let changes: Vec<ConfigChange> = set.chain(delete).collect();
    if changes.is_empty() {
        return Err(Failure::new(Exit::Usage, "nothing is to be changed")
            .next(format!("ottla topic alter {topic} -c retention.ms=86400000")));
    }
    let what = format!("cannot change topic {topic}");
    let resource = ConfigResource::Topic(topic.to_owned());
    within(global, env, &what, admin.incremental_alter_configs(&resource, &changes)).await?;
    say(global, &format!("Completed updating config for topic {topic}."))
}

pub(super) async fn add_partitions(
    global: &Global,
    env: &Env,
    admin: &Admin,
    topic: &str,
    total: u32,
) -> Result<(), Failure> {
    let what = format!("cannot add partitions to topic {topic}");
    let wanted = [NewPartitions::new(topic, total)];
    let mut answers = within(global, env, &what, admin.create_partitions(&wanted)).await?;
    answers.remove(0).map_err(|error| from_client(global, &what, &error))?;
    say(
        global,
        &format!(
            "Topic {topic} has {total} partitions now; keys may go to other partitions than before."
        ),
    )
}

/// What `ottla topic reassign` was asked.
pub(super) struct Move {
    pub(super) topic: String,
    pub(super) partition: Option<i32>,
    pub(super) replicas: Vec<i32>,
    pub(super) cancel: bool,
    pub(super) wait: bool,
}

pub(super) async fn reassign(
    global: &Global,
    env: &Env,
    admin: &Admin,
    asked: Move,
) -> Result<(), Failure> {
    let partitions = named(global, env, admin, &asked.topic, asked.partition).await?;
    let replicas = brokers(&asked.replicas)?;
    let is_change = asked.cancel || !replicas.is_empty();
    if is_change {
        let to = (!asked.cancel).then_some(replicas);
        let moves: Vec<(TopicPartition, Option<Vec<BrokerId>>)> =
            partitions.iter().map(|partition| (partition.clone(), to.clone())).collect();
        let what = format!("cannot move topic {}", asked.topic);
        let answers =
            within(global, env, &what, admin.alter_partition_reassignments(&moves)).await?;
        let mut failed = None;
        for (partition, answer) in partitions.iter().zip(answers) {
            match answer {
                Ok(()) if asked.cancel => say(global, &format!("{partition} stays where it was."))?,
                Ok(()) => say(global, &format!("{partition} moves."))?,
                // All partitions were meant, and this one was not moving.
                Err(error)
                    if asked.partition.is_none()
                        && is_answer(&error, ErrorCode::NoReassignmentInProgress) => {}
                Err(error) => {
                    let what = format!("cannot move {partition}");
                    failed.get_or_insert(from_client(global, &what, &error));
                }
            }
        }
        if let Some(failure) = failed {
            return Err(failure);
        }
    }
    loop {
        let what = "cannot list the moves";
        let listed = admin.list_partition_reassignments(Some(&partitions));
        let moves = within(global, env, what, listed).await?;
        if !asked.wait || moves.is_empty() {
            return if is_change && !asked.wait { Ok(()) } else { print_moves(global, &moves) };
        }
        clock::sleep(env.clock.as_ref(), LOOK_EVERY).await;
    }
}

pub(super) async fn list_moves(global: &Global, env: &Env, admin: &Admin) -> Result<(), Failure> {
    let listed = admin.list_partition_reassignments(None);
    let moves = within(global, env, "cannot list the moves", listed).await?;
    print_moves(global, &moves)
}

fn print_moves(global: &Global, moves: &[PartitionReassignment]) -> Result<(), Failure> {
    let ids = |brokers: &[BrokerId]| brokers.iter().map(|id| id.value()).collect::<Vec<_>>();
    match global.format {
        Format::Text if moves.is_empty() => say(global, "Nothing moves."),
        Format::Text => {
            let list = |brokers: &[BrokerId]| {
                if brokers.is_empty() {
                    return "-".to_owned();
                }
                brokers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
            };
            let mut table = Table::new();
            table.load_style(presets::NOTHING);
            table.set_header(["PARTITION", "REPLICAS", "COMING", "GOING"]);
            for one in moves {
                table.add_row([
                    one.partition.to_string(),
                    list(&one.replicas),
                    list(&one.adding),
                    list(&one.removing),
                ]);
            }
            let text = table.to_string();
            let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
            print_all(&format!("{}\n", lines.join("\n")))
        }
        Format::Json | Format::Jsonl => {
            let moves: Vec<serde_json::Value> = moves
                .iter()
                .map(|one| {
                    json!({
                        "topic": &*one.partition.topic,
                        "partition": one.partition.partition.value(),
                        "replicas": ids(&one.replicas),
                        "adding": ids(&one.adding),
                        "removing": ids(&one.removing),
                    })
                })
                .collect();
            print_all(&format!("{}\n", json!({ "schema": "topic.reassign/1", "moves": moves })))
        }
    }
}

pub(super) async fn elect(
    global: &Global,
    env: &Env,
    admin: &Admin,
    topic: Option<String>,
    partition: Option<i32>,
    unclean: bool,
) -> Result<(), Failure> {
    let election = if unclean { ElectionType::Unclean } else { ElectionType::Preferred };
    let partitions = match &topic {
        Some(topic) => Some(named(global, env, admin, topic, partition).await?),
        None => None,
    };
    let what = "cannot elect leaders";
    let asked = admin.elect_leaders(election, partitions.as_deref());
    let answers = within(global, env, what, asked).await?;
    let mut failed = None;
    for (partition, answer) in answers {
        match answer {
            Ok(()) => say(global, &format!("{partition} has a new leader."))?,
            Err(error) if is_answer(&error, ErrorCode::ElectionNotNeeded) => {
                say(global, &format!("{partition} is led as it should be."))?;
            }
            Err(error) => {
                let what = format!("cannot elect a leader for {partition}");
                failed.get_or_insert(from_client(global, &what, &error));
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

/// One partition of a topic, or all.
async fn named(
    global: &Global,
    env: &Env,
    admin: &Admin,
    topic: &str,
    partition: Option<i32>,
) -> Result<Vec<TopicPartition>, Failure> {
    let of = |partition| TopicPartition { topic: topic.into(), partition };
    if let Some(number) = partition {
        let index = PartitionIndex::from_wire(number)
            .ok_or_else(|| Failure::new(Exit::Usage, "a partition's number is not negative"))?;
        return Ok(vec![of(index)]);
    }
    let described = describe(global, env, admin, &[topic]).await?.remove(0);
    Ok(described.partitions.iter().map(|one| of(one.partition)).collect())
}

fn brokers(ids: &[i32]) -> Result<Vec<BrokerId>, Failure> {
    let id = |id: &i32| {
        BrokerId::from_wire(*id)
            .ok_or_else(|| Failure::new(Exit::Usage, "a broker's id is not negative"))
    };
    ids.iter().map(id).collect()
}

fn say(global: &Global, text: &str) -> Result<(), Failure> {
    if global.quiet { Ok(()) } else { print_all(&format!("{text}\n")) }
}
