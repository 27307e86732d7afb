//! `ottla topic`: create, list, describe, delete.

use std::io::Write;

use comfy_table::{Table, presets};
use ottla::client::{Admin, ClientError, ListedOffset, NewTopic, TopicDescription};
use ottla::protocol::OffsetSpec;
use ottla::runtime::Env;
use ottla::types::{BrokerId, ErrorCode, TopicPartition};
use serde_json::{Value, json};

use super::args::{Format, Global, TopicCommand};
use super::client::{admin, block_on, from_client, within};
use super::failure::{Exit, Failure};
use super::output_failure;

/// Runs one of them.
pub(crate) fn run(global: &Global, command: TopicCommand) -> Result<(), Failure> {
    block_on(|env| async move {
        let admin = admin(global, env.clone())?;
        match command {
            TopicCommand::Create {
                topic,
                partitions,
                replication_factor,
                configs,
                if_not_exists,
            } => {
                let topic = new_topic(topic, partitions, replication_factor, configs)?;
                create(global, &env, &admin, topic, if_not_exists).await
            }
            TopicCommand::List => list(global, &env, &admin).await,
            TopicCommand::Describe { topics, kafka } => {
                describe(global, &env, &admin, topics, kafka).await
            }
            TopicCommand::Delete { topics, if_exists } => {
                delete(global, &env, &admin, &topics, if_exists).await
            }
        }
    })
}

fn new_topic(
    name: String,
    partitions: Option<i32>,
    replication_factor: Option<i16>,
    configs: Vec<(String, String)>,
) -> Result<NewTopic, Failure> {
    let mut topic = NewTopic::new(name);
    if let Some(partitions) = partitions {
        let count = u32::try_from(partitions).ok().filter(|count| *count > 0);
        topic = topic.partitions(
            count.ok_or_else(|| Failure::new(Exit::Usage, "a topic has at least one partition"))?,
        );
    }
    if let Some(factor) = replication_factor {
        let count = u16::try_from(factor).ok().filter(|count| *count > 0);
        topic = topic.replication_factor(
            count.ok_or_else(|| Failure::new(Exit::Usage, "a partition has at least one copy"))?,
        );
    }
    Ok(configs.into_iter().fold(topic, |topic, (name, value)| topic.config(name, value)))
}

fn is_answer(error: &ClientError, code: ErrorCode) -> bool {
    matches!(error, ClientError::Answer { error, .. } if *error == code)
}

async fn create(
    global: &Global,
    env: &Env,
    admin: &Admin,
    topic: NewTopic,
    if_not_exists: bool,
) -> Result<(), Failure> {
    let what = format!("cannot create topic {}", topic.name);
    let mut answers =
        within(global, env, &what, admin.create_topics(std::slice::from_ref(&topic))).await?;
    match answers.remove(0) {
        Ok(id) => {
            match global.format {
                Format::Text => println!("Created topic {}.", topic.name),
                Format::Json | Format::Jsonl => {
                    println!(
                        "{}",
                        json!({ "schema": "topic.create/1", "topic": topic.name, "topic_id": id.to_string() })
                    );
                }
            }
            Ok(())
        }
        Err(error) if if_not_exists && is_answer(&error, ErrorCode::TopicAlreadyExists) => Ok(()),
        Err(error) => Err(from_client(global, &what, &error)),
    }
}

async fn list(global: &Global, env: &Env, admin: &Admin) -> Result<(), Failure> {
    let topics = within(global, env, "cannot list the topics", admin.list_topics()).await?;
    let mut out = String::new();
    match global.format {
        Format::Text => topics.iter().for_each(|topic| out.push_str(&format!("{topic}\n"))),
        Format::Json => {
            out = format!("{}\n", json!({ "schema": "topic.list/1", "topics": topics }))
        }
        Format::Jsonl => topics
            .iter()
            .for_each(|topic| out.push_str(&format!("{}\n", json!({ "topic": topic })))),
    }
    print_all(&out)
}

fn print_all(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => Ok(()),
        Err(error) => output_failure(&error).map_or(Ok(()), Err),
    }
}

async fn delete(
    global: &Global,
    env: &Env,
    admin: &Admin,
    topics: &[String],
    if_exists: bool,
) -> Result<(), Failure> {
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    let answers = within(global, env, "cannot delete topics", admin.delete_topics(&names)).await?;
    let mut first_failure = None;
    for (name, answer) in names.iter().zip(answers) {
        match answer {
            Ok(()) if global.quiet => {}
            Ok(()) => println!("Deleted topic {name}."),
            Err(error) if if_exists && is_answer(&error, ErrorCode::UnknownTopicOrPartition) => {}
            Err(error) => {
                first_failure.get_or_insert(from_client(
                    global,
                    &format!("cannot delete topic {name}"),
                    &error,
                ));
            }
        }
    }
    first_failure.map_or(Ok(()), Err)
}

/// A partition with what its leader says of its log.
struct PartitionRow {
    index: usize,
    start: Option<ListedOffset>,
    end: Option<ListedOffset>,
}

async fn describe(
    global: &Global,
    env: &Env,
    admin: &Admin,
    topics: Vec<String>,
    kafka: bool,
) -> Result<(), Failure> {
    let names = if topics.is_empty() {
        within(global, env, "cannot list the topics", admin.list_topics()).await?
    } else {
        topics
    };
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let answers =
        within(global, env, "cannot describe topics", admin.describe_topics(&names)).await?;
    for (name, answer) in names.iter().zip(answers) {
        let topic = answer.map_err(|error| {
            from_client(global, &format!("cannot describe topic {name}"), &error)
        })?;
        let configs = within(
            global,
            env,
            "cannot read the topic's configuration",
            admin.describe_topic_configs(name),
        )
        .await?;
        let changed: Vec<(String, String)> = configs
            .into_iter()
            .filter(|entry| entry.source == TOPIC_CONFIG)
            .map(|entry| (entry.name, entry.value.unwrap_or_default()))
            .collect();
        if kafka {
            print_all(&kafka_layout(&topic, &changed))?;
            continue;
        }
        let rows = offsets(global, env, admin, &topic).await?;
        print_all(&match global.format {
            Format::Text => text_layout(&topic, &changed, &rows),
            Format::Json | Format::Jsonl => format!("{}\n", json_layout(&topic, &changed, &rows)),
        })?;
    }
    Ok(())
}

/// DescribeConfigs' number for "set on the topic" (Kafka: `ConfigSource.DYNAMIC_TOPIC_CONFIG`).
const TOPIC_CONFIG: i8 = 1;

async fn offsets(
    global: &Global,
    env: &Env,
    admin: &Admin,
    topic: &TopicDescription,
) -> Result<Vec<PartitionRow>, Failure> {
    let partitions = || {
        topic.partitions.iter().map(|partition| TopicPartition {
            topic: topic.name.as_str().into(),
            partition: partition.partition,
        })
    };
    let mut questions: Vec<(TopicPartition, OffsetSpec)> =
        partitions().map(|partition| (partition, OffsetSpec::Earliest)).collect();
    questions.extend(partitions().map(|partition| (partition, OffsetSpec::Latest)));
    let answers =
        within(global, env, "cannot read offsets", admin.list_offsets(&questions)).await?;
    let (starts, ends) = answers.split_at(topic.partitions.len());
    let known = |answer: &Result<ListedOffset, ClientError>| answer.as_ref().ok().copied();
    let rows = starts.iter().zip(ends).enumerate();
    Ok(rows
        .map(|(index, (start, end))| PartitionRow { index, start: known(start), end: known(end) })
        .collect())
}

fn join(brokers: &[BrokerId]) -> String {
    if brokers.is_empty() {
        return "-".to_owned();
    }
    brokers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn offset_text(offset: Option<ListedOffset>) -> String {
    offset
        .and_then(|listed| listed.offset)
        .map_or_else(|| "?".to_owned(), |offset| offset.to_string())
}

fn replication_factor(topic: &TopicDescription) -> usize {
    topic.partitions.first().map_or(0, |partition| partition.replicas.len())
}

fn text_layout(
    topic: &TopicDescription,
    configs: &[(String, String)],
    rows: &[PartitionRow],
) -> String {
    let id = topic.topic_id.map_or_else(|| "-".to_owned(), |id| id.to_string());
    let mut text = format!(
        "{}  id {id}  partitions {}  replicas {}",
        topic.name,
        topic.partitions.len(),
        replication_factor(topic)
    );
    for (name, value) in configs {
        text.push_str(&format!("  {name}={value}"));
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["PART", "LEADER", "EPOCH", "REPLICAS", "ISR", "START", "END", "STATE"]);
    for row in rows {
        let partition = &topic.partitions[row.index];
        let dash = || "none".to_owned();
        table.add_row([
            partition.partition.to_string(),
            partition.leader.map_or_else(dash, |leader| leader.to_string()),
            partition.leader_epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string()),
            join(&partition.replicas),
            join(&partition.in_sync_replicas),
            offset_text(row.start),
            offset_text(row.end),
            state(partition.leader, partition.replicas.len(), partition.in_sync_replicas.len()),
        ]);
    }
    let lines = table.to_string();
    let lines: Vec<&str> = lines.lines().map(str::trim_end).collect();
    format!("{text}\n{}\n", lines.join("\n"))
}

fn state(leader: Option<BrokerId>, replicas: usize, in_sync: usize) -> String {
    match leader {
        None => "OFFLINE".to_owned(),
        Some(_) if in_sync < replicas => {
            format!("under-replicated ({} missing)", replicas - in_sync)
        }
        Some(_) => "ok".to_owned(),
    }
}

fn json_layout(
    topic: &TopicDescription,
    configs: &[(String, String)],
    rows: &[PartitionRow],
) -> Value {
    let partitions: Vec<Value> = rows
        .iter()
        .map(|row| {
            let partition = &topic.partitions[row.index];
            let ids = |brokers: &[BrokerId]| {
                brokers.iter().map(|broker| broker.value()).collect::<Vec<_>>()
            };
            let number = |listed: Option<ListedOffset>| {
                listed.and_then(|listed| listed.offset).map(|offset| offset.value().to_string())
            };
            json!({
                "partition": partition.partition.value(),
                "leader": partition.leader.map(|leader| leader.value()),
                "leader_epoch": partition.leader_epoch.map(|epoch| epoch.value()),
                "replicas": ids(&partition.replicas),
                "in_sync_replicas": ids(&partition.in_sync_replicas),
                "log_start_offset": number(row.start),
                "end_offset": number(row.end),
            })
        })
        .collect();
    let configs: serde_json::Map<String, Value> =
        configs.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({
        "schema": "topic.describe/1",
        "topic": topic.name,
        "topic_id": topic.topic_id.map(|id| id.to_string()),
        "configs": configs,
        "partitions": partitions,
    })
}

/// Kafka's own layout (Kafka: `TopicCommand.TopicDescription.printDescription`).
fn kafka_layout(topic: &TopicDescription, configs: &[(String, String)]) -> String {
    let id = topic.topic_id.map_or_else(|| "-".to_owned(), |id| id.to_string());
    let configs =
        configs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",");
    let mut text = format!(
        "Topic: {}\tTopicId: {id}\tPartitionCount: {}\tReplicationFactor: {}\tConfigs: {configs}\n",
        topic.name,
        topic.partitions.len(),
        replication_factor(topic)
    );
    let list = |brokers: &[BrokerId]| {
        brokers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    };
    for partition in &topic.partitions {
        let leader =
            partition.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string());
        text.push_str(&format!(
            "\tTopic: {}\tPartition: {}\tLeader: {leader}\tReplicas: {}\tIsr: {}\tElr: \tLastKnownElr: \n",
            topic.name,
            partition.partition,
            list(&partition.replicas),
            list(&partition.in_sync_replicas)
        ));
    }
    text
}
