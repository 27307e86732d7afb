//! `ottla topic`: create, list, delete here; describe, and what changes a topic, below.

mod change;
mod describe;

use std::io::Write;

use ottla::client::{Admin, ClientError, NewTopic};
use ottla::runtime::Env;
use ottla::types::ErrorCode;
use serde_json::json;

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
            TopicCommand::Describe { topics, kafka, watch } => {
                describe::run(global, &env, &admin, &topics, kafka, watch).await
            }
            TopicCommand::Alter { topic, configs, delete_configs } => {
                change::alter(global, &env, &admin, &topic, configs, delete_configs).await
            }
            TopicCommand::AddPartitions { topic, partitions } => {
                change::add_partitions(global, &env, &admin, &topic, partitions).await
            }
            TopicCommand::Reassign { topic: None, .. } => {
                change::list_moves(global, &env, &admin).await
            }
            TopicCommand::Reassign { topic: Some(topic), partition, replicas, cancel, wait } => {
                let asked = change::Move { topic, partition, replicas, cancel, wait };
                change::reassign(global, &env, &admin, asked).await
            }
            TopicCommand::Elect { topic, partition, unclean } => {
                change::elect(global, &env, &admin, topic, partition, unclean).await
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

pub(super) fn print_all(text: &str) -> Result<(), Failure> {
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
