//! What the commands that talk to a cluster share: the world, the properties, the translation of errors.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ottla::client::{
    Admin, AdminConfig, ClientError, ConfigError, ConsumerConfig, TopicDescription,
};
use ottla::protocol::OffsetSpec;
use ottla::runtime::{Env, clock, real_env};
use ottla::types::{ErrorCode, Observation, Offset, TopicPartition};

use super::args::Global;
use super::failure::{Exit, Failure};

/// Clients' observations are of no use to a command.
struct Deaf;

impl ottla::runtime::Observer for Deaf {
    fn observe(&self, _observation: Observation) {}
}

/// The real world, for a command.
pub(crate) fn world() -> Result<Env, Failure> {
    real_env(Arc::new(Deaf), 1)
        .map_err(|error| Failure::new(Exit::Failed, "cannot start").why(error))
}

/// Runs a command's future on a runtime of its own, in the real world, until it ends or Ctrl-C is pressed.
pub(crate) fn block_on<F>(command: impl FnOnce(Env) -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    block_on_to_end(|env| async {
        let command = command(env);
        tokio::select! {
            biased;
            result = command => result,
            _ = tokio::signal::ctrl_c() => Err(interrupted()),
        }
    })
}

/// The same for a command that sees to Ctrl-C itself.
pub(crate) fn block_on_to_end<F>(command: impl FnOnce(Env) -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::Failed, "cannot start").why(error))?;
    let env = world()?;
    runtime.block_on(command(env))
}

/// Ctrl-C was pressed.
pub(crate) fn interrupted() -> Failure {
    Failure::new(Exit::Interrupted, "interrupted")
}

/// The properties of a client: the file's, over them `own`, over them `-X`.
pub(crate) fn properties(
    global: &Global,
    own: &[(&str, &str)],
) -> Result<BTreeMap<String, String>, Failure> {
    let mut properties = BTreeMap::new();
    properties.insert("bootstrap.servers".to_owned(), global.bootstrap_server.clone());
    if let Some(path) = &global.command_config {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::new(Exit::Usage, "cannot read the client's properties")
                .place(path.display().to_string())
                .why(error)
        })?;
        let read = ottla::server::config::properties::parse_properties(&text).map_err(|error| {
            Failure::new(Exit::Usage, "cannot read the client's properties")
                .place(path.display().to_string())
                .why(error)
        })?;
        properties.extend(read.into_iter().map(|property| (property.key, property.value)));
    }
    properties.extend(own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    properties.extend(global.properties.iter().cloned());
    Ok(properties)
}

/// A property that a client refuses.
pub(crate) fn wrong_property(error: &ConfigError) -> Failure {
    Failure::new(Exit::Usage, "a client property cannot be accepted")
        .place("-X, --command-config, or an option")
        .why(error)
}

/// The admin client of a command.
pub(crate) fn admin(global: &Global, env: Env) -> Result<Admin, Failure> {
    admin_within(global, env, Duration::from_secs(global.timeout))
}

/// The admin client of a command that has properties for a consumer.
pub(crate) fn admin_beside(global: &Global, env: Env, consumer: &ConsumerConfig) -> Admin {
    Admin::new(AdminConfig::beside(consumer, Duration::from_secs(global.timeout)), env)
}

/// An admin client whose calls give up earlier than `--timeout` says.
pub(crate) fn admin_within(global: &Global, env: Env, most: Duration) -> Result<Admin, Failure> {
    let timeout = most.min(Duration::from_secs(global.timeout)).as_millis().to_string();
    let properties = properties(global, &[("default.api.timeout.ms", &timeout)])?;
    let config =
        AdminConfig::from_properties(&properties).map_err(|error| wrong_property(&error))?;
    Ok(Admin::new(config, env))
}

/// Waits for a call for as long as `--timeout` says.
pub(crate) async fn within<T>(
    global: &Global,
    env: &Env,
    what: &str,
    call: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, Failure> {
    let deadline = env.clock.now().monotonic + Duration::from_secs(global.timeout);
    match clock::timeout_at(env.clock.as_ref(), deadline, call).await {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(from_client(global, what, &error)),
        None => Err(Failure::new(
            Exit::TimedOut,
            format!("{what}: no answer within {} s", global.timeout),
        )
        .place(global.bootstrap_server.clone())
        .next("check the address (-b), or wait longer with --timeout")),
    }
}

/// How long a topic that is not known may still be on its way: brokers hear of a new one a moment after it was made.
const TOPIC_WITHIN: Duration = Duration::from_secs(1);

/// Describes topics; where one is not known, asks again for a moment.
pub(crate) async fn describe(
    global: &Global,
    env: &Env,
    admin: &Admin,
    names: &[&str],
) -> Result<Vec<TopicDescription>, Failure> {
    let deadline = env.clock.now().monotonic + TOPIC_WITHIN;
    loop {
        let what = "cannot describe topics";
        let answers = within(global, env, what, admin.describe_topics(names)).await?;
        let is_unknown = |answer: &Result<TopicDescription, ClientError>| {
            let unknown = ErrorCode::UnknownTopicOrPartition;
            matches!(answer, Err(ClientError::Answer { error, .. }) if *error == unknown)
        };
        if answers.iter().any(is_unknown) && env.clock.now().monotonic < deadline {
            clock::sleep(env.clock.as_ref(), TOPIC_WITHIN / 10).await;
            continue;
        }
        let described = |(name, answer): (&&str, Result<TopicDescription, ClientError>)| {
            let what = format!("cannot describe topic {name}");
            answer.map_err(|error| from_client(global, &what, &error))
        };
        return names.iter().zip(answers).map(described).collect();
    }
}

/// Offsets of partitions; absent where there is none, as where no record is as young as was asked for.
pub(crate) async fn offsets(
    global: &Global,
    env: &Env,
    admin: &Admin,
    partitions: &[TopicPartition],
    spec: OffsetSpec,
) -> Result<BTreeMap<TopicPartition, Offset>, Failure> {
    let questions: Vec<_> = partitions.iter().map(|partition| (partition.clone(), spec)).collect();
    let asked = async { Ok(admin.list_offsets(&questions).await) };
    let answers = within(global, env, "cannot read offsets", asked).await?;
    let mut found = BTreeMap::new();
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

/// A client's error as a command's.
pub(crate) fn from_client(global: &Global, what: &str, error: &ClientError) -> Failure {
    let failure = |exit| Failure::new(exit, what).place(global.bootstrap_server.clone()).why(error);
    match error {
        ClientError::TimedOut { last_error: Some(last), .. }
            if last.starts_with(ErrorCode::CoordinatorNotAvailable.name()) =>
        {
            failure(Exit::TimedOut).next(
                "`ottla topic describe __consumer_offsets` shows who is to coordinate; a single broker needs offsets.topic.replication.factor=1",
            )
        }
        ClientError::TimedOut { last_error: Some(_), .. } | ClientError::Disconnected(_) => {
            failure(Exit::Unreachable)
                .next("is a broker running there? `ottla dev` starts one; -b names another address")
        }
        ClientError::TimedOut { last_error: None, .. } => failure(Exit::TimedOut),
        ClientError::Answer { .. }
        | ClientError::UnsupportedVersion { .. }
        | ClientError::InvalidPartition { .. }
        | ClientError::OffsetOutOfRange { .. }
        | ClientError::LogTruncation { .. }
        | ClientError::CorruptBatch { .. } => failure(Exit::Refused),
        ClientError::RecordTooLarge { .. } | ClientError::NotAssigned(_) => failure(Exit::Usage),
        ClientError::Closed | ClientError::WokenUp => failure(Exit::Failed),
    }
}
