//! What the testbed asks of the cluster itself, by the product's own admin client: topics before the clients start, and the
//! administrative steps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ottla::client::{
    Admin, AdminConfig, ClientError, ConfigChange, ConfigOperation, ConfigResource, Consumer,
    ConsumerConfig, ElectionType, NewPartitions, NewTopic, TopicDescription,
};
use ottla::runtime::watch;
use ottla::runtime::{Env, clock};
use ottla::types::{BrokerId, ErrorCode, Offset, TopicId};

use super::client::partition;
use super::groups::OFFSETS_TOPIC;
use super::reset::Reset;
use super::stage::{Stage, broker_id};
use crate::cluster::factory;
use crate::scenario::Plan;
use crate::scenario::duration::Span;
use crate::scenario::plan::TopicPlan;
use crate::scenario::target::PartitionName;
use crate::world::ProcessEnd;

/// How long the testbed's admin client waits after a call that failed.
const PAUSE: Duration = Duration::from_millis(200);

/// How long it waits for one answer, in ms: Kafka's 30 s outlast what is left of most runs when a fault swallows the first.
const REQUEST_TIMEOUT_MS: &str = "5000";

/// How long an administrative step tries before it gives up: a controller may have to be elected and brokers to register first.
const STEP_WITHIN: Duration = Duration::from_secs(60);

/// An admin client of the testbed.
///
/// Panics where the testbed's own properties are none.
fn client(env: &Env, bootstrap: &str) -> Admin {
    let properties = BTreeMap::from([
        ("bootstrap.servers".to_string(), bootstrap.to_string()),
        ("client.id".into(), "admin".into()),
        ("request.timeout.ms".into(), REQUEST_TIMEOUT_MS.into()),
    ]);
    let config = AdminConfig::from_properties(&properties).expect("the testbed's own properties");
    Admin::new(config, env.clone())
}

// ── Before the clients start ───────────────────────────────────────────────────────────────────────────────────────────

/// What there is once the cluster is set up.
#[derive(Clone, Debug, Default)]
pub(super) struct Made {
    /// The topics.
    pub(super) ids: BTreeMap<String, TopicId>,
    /// Which brokers hold each partition, the preferred leader first; only of clusters.
    pub(super) assignments: BTreeMap<PartitionName, Vec<u32>>,
    /// How many partitions the topic has that groups are kept in; 0 where there are no groups.
    pub(super) offsets_partitions: u32,
}

type Told = watch::Sender<Option<Result<Made, String>>>;

/// Waits for all brokers, makes the topics, and waits for their leaders; tries again for as long as it is let.
pub(super) struct Setup {
    brokers: u32,
    topics: Vec<NewTopic>,
    groups: Vec<String>,
    bootstrap: String,
    told: Told,
}

impl Setup {
    pub(super) fn new(plan: &Plan, bootstrap: String, told: Told) -> Self {
        let topics = plan.topics.iter().map(|(name, topic)| new_topic(plan, name, topic));
        let groups = plan.groups().into_keys().map(str::to_owned).collect();
        let brokers = plan.cluster.brokers;
        Self { brokers, topics: topics.collect(), groups, bootstrap, told }
    }

    /// Does it, and tells how far it is.
    pub(super) async fn run(&self, env: &Env) {
        let admin = client(env, &self.bootstrap);
        loop {
            match self.attempt(env, &admin).await {
                Ok(made) => {
                    self.told.send_replace(Some(made));
                    return;
                }
                Err(not_yet) => drop(self.told.send_replace(Some(Err(not_yet)))),
            }
            clock::sleep(env.clock.as_ref(), PAUSE).await;
        }
    }

    /// Errors: why it is to be tried again. The inner error is for good.
    async fn attempt(&self, env: &Env, admin: &Admin) -> Result<Result<Made, String>, String> {
        let is_cluster = self.brokers > 1;
        if is_cluster {
            let there = admin.describe_cluster().await.map_err(not_yet)?.nodes.len();
            if there < self.brokers as usize {
                return Err(format!("{there} of {} brokers are there", self.brokers));
            }
        }
        let answers = admin.create_topics(&self.topics).await.map_err(not_yet)?;
        let names = self.topics.iter().map(|topic| topic.name.clone());
        let mut made = Made::default();
        for (name, answer) in names.zip(answers) {
            match answer {
                Ok(id) => drop(made.ids.insert(name, id)),
                // An attempt before this one made it, and its answer was lost or there was more to wait for.
                Err(error) if is_cluster && is_there_already(&error) => {}
                Err(error) if is_cluster => return Err(format!("topic {name}: {error}")),
                Err(error) => return Ok(Err(format!("topic {name}: {error}"))),
            }
        }
        if is_cluster {
            made = self.describe(admin).await?;
        }
        for group in &self.groups {
            look_for_coordinator(env, &self.bootstrap, group).await.map_err(not_yet)?;
        }
        if !self.groups.is_empty() {
            describe_offsets(admin, &mut made).await?;
        }
        Ok(Ok(made))
    }

    /// Errors: a partition that has no leader yet.
    async fn describe(&self, admin: &Admin) -> Result<Made, String> {
        let names: Vec<&str> = self.topics.iter().map(|topic| topic.name.as_str()).collect();
        let mut made = Made::default();
        if names.is_empty() {
            return Ok(made);
        }
        let described = admin.describe_topics(&names).await.map_err(not_yet)?;
        for topic in described {
            let topic: TopicDescription = topic.map_err(not_yet)?;
            let id = topic.topic_id.ok_or_else(|| format!("topic {} has no id", topic.name))?;
            made.ids.insert(topic.name.clone(), id);
            for partition in topic.partitions {
                let index = partition.partition.value().unsigned_abs();
                let name = PartitionName { topic: topic.name.clone(), index };
                if partition.leader.is_none() {
                    return Err(format!("{name} has no leader"));
                }
                let replicas = partition.replicas.iter().map(|id| id.value().unsigned_abs());
                made.assignments.insert(name, replicas.collect());
            }
        }
        Ok(made)
    }
}

/// Asks a group's coordinator for something: the first who asks has its topic made.
async fn look_for_coordinator(env: &Env, bootstrap: &str, group: &str) -> Result<(), ClientError> {
    let properties = [
        ("bootstrap.servers", bootstrap),
        ("client.id", "admin"),
        ("group.id", group),
        ("default.api.timeout.ms", "10000"),
    ];
    let config = ConsumerConfig::new(properties).expect("the testbed's own properties");
    let mut consumer = Consumer::new(config, env.clone());
    let asked = consumer.committed(&[partition(OFFSETS_TOPIC, 0)]).await;
    consumer.close().await;
    asked.map(drop)
}

/// Looks at the topic that groups are kept in.
///
/// Errors: a partition that has no leader yet.
async fn describe_offsets(admin: &Admin, made: &mut Made) -> Result<(), String> {
    let described = admin.describe_topics(&[OFFSETS_TOPIC]).await.map_err(not_yet)?;
    for topic in described {
        let topic = topic.map_err(not_yet)?;
        if topic.partitions.iter().any(|partition| partition.leader.is_none()) {
            return Err(format!("a partition of {OFFSETS_TOPIC} has no leader"));
        }
        let id = topic.topic_id.ok_or_else(|| format!("topic {OFFSETS_TOPIC} has no id"))?;
        made.ids.insert(topic.name.clone(), id);
        made.offsets_partitions = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
    }
    Ok(())
}

fn new_topic(plan: &Plan, name: &str, topic: &TopicPlan) -> NewTopic {
    let new = NewTopic::new(name);
    let new = if topic.assignment.is_empty() {
        new.partitions(topic.partitions).replication_factor(plan.replication_factor(topic))
    } else {
        new.assignments(topic.assignment.iter().map(|replicas| ids_of(replicas)).collect())
    };
    let config = topic.config.0.iter();
    config.fold(new, |new, (key, value)| new.config(key.as_str(), value.as_str()))
}

fn is_there_already(error: &ClientError) -> bool {
    matches!(error, ClientError::Answer { error: ErrorCode::TopicAlreadyExists, .. })
}

fn not_yet(error: ClientError) -> String {
    format!("the admin client could not make the topics: {error}")
}

// ── While they work ────────────────────────────────────────────────────────────────────────────────────────────────────

/// What an administrative step asks of the controller.
#[derive(Clone, Debug)]
pub(super) enum Request {
    /// To move partitions to these brokers; to take the moves back where there are none.
    Reassign(BTreeMap<PartitionName, Option<Vec<u32>>>),
    /// To give a topic more partitions.
    AddPartitions {
        /// The topic.
        topic: String,
        /// How many in all.
        total: u32,
    },
    /// To remove what is old in a partition.
    DeleteRecords {
        /// The partition.
        partition: PartitionName,
        /// What lies below this offset; all that is committed, where nobody says.
        before: Option<u64>,
    },
    /// To set how far a group has read.
    Reset(Reset),
    /// To elect leaders of these partitions.
    Elect {
        /// The partitions.
        partitions: Vec<PartitionName>,
        /// The first replica where it is in sync, or any live one.
        is_preferred: bool,
    },
    /// To change properties.
    SetConfig {
        /// Of this topic, or of these brokers.
        of: ConfigOf,
        /// The properties.
        config: BTreeMap<String, String>,
    },
    /// To forget a broker.
    Unregister(u32),
}

/// What an administrative step was told.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// It is done; what there is to say of it.
    Done(String),
    /// It is refused, and asking again is of no use.
    Refused {
        /// With this error.
        error: ErrorCode,
        /// In the client's words.
        reason: String,
    },
}

/// Whose properties.
#[derive(Clone, Debug)]
pub(super) enum ConfigOf {
    /// A topic's.
    Topic(String),
    /// Those of brokers.
    Brokers(Vec<u32>),
}

impl Request {
    /// Asks once, at a time of the run.
    ///
    /// Errors: why it was not done.
    async fn ask(&self, env: &Env, admin: &Admin, at: Span) -> Result<Answer, String> {
        let done: Result<(), String> = match self {
            Self::Reset(reset) => return reset.ask(env, admin, at).await,
            Self::Reassign(moves) => {
                let of = |(name, replicas): (&PartitionName, &Option<Vec<u32>>)| {
                    let replicas = replicas.as_ref().map(|ids| ids_of(ids));
                    (partition(&name.topic, name.index), replicas)
                };
                let moves: Vec<_> = moves.iter().map(of).collect();
                let answers = admin.alter_partition_reassignments(&moves).await;
                answers.map_err(refused)?.into_iter().try_for_each(not_under_way)
            }
            Self::AddPartitions { topic, total } => {
                let wanted = NewPartitions::new(topic.as_str(), *total);
                let answers = admin.create_partitions(&[wanted]).await;
                answers.map_err(refused)?.into_iter().try_for_each(are_there)
            }
            Self::DeleteRecords { partition: name, before } => {
                let before = before.map(|offset| Offset::ZERO + offset);
                let wanted = [(partition(&name.topic, name.index), before)].into();
                let answers = admin.delete_records(&wanted).await;
                answers.into_values().try_for_each(|answer| answer.map(drop).map_err(refused))
            }
            Self::Elect { partitions, is_preferred } => {
                let of = |name: &PartitionName| partition(&name.topic, name.index);
                let partitions: Vec<_> = partitions.iter().map(of).collect();
                let election =
                    if *is_preferred { ElectionType::Preferred } else { ElectionType::Unclean };
                let answers = admin.elect_leaders(election, Some(&partitions)).await;
                let answers = answers.map_err(refused)?.into_iter();
                answers.map(|(_, answer)| answer).try_for_each(is_elected)
            }
            Self::SetConfig { of, config } => {
                let change = |(name, value): (&String, &String)| ConfigChange {
                    name: name.clone(),
                    operation: ConfigOperation::Set(value.clone()),
                };
                let changes: Vec<_> = config.iter().map(change).collect();
                for resource in of.resources() {
                    let changed = admin.incremental_alter_configs(&resource, &changes).await;
                    changed.map_err(refused)?;
                }
                Ok(())
            }
            Self::Unregister(id) => {
                let id = broker_id(*id).ok_or("not the id of a broker")?;
                admin.unregister_broker(id).await.map_err(refused)
            }
        };
        done.map(|()| Answer::Done(String::new()))
    }
}

impl ConfigOf {
    fn resources(&self) -> Vec<ConfigResource> {
        match self {
            Self::Topic(topic) => vec![ConfigResource::Topic(topic.clone())],
            Self::Brokers(ids) => {
                ids_of(ids).into_iter().map(|id| ConfigResource::Broker(Some(id))).collect()
            }
        }
    }
}

fn ids_of(ids: &[u32]) -> Vec<BrokerId> {
    ids.iter().copied().filter_map(broker_id).collect()
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn refused(error: ClientError) -> String {
    error.to_string()
}

/// A move that is not under way any more needs not be taken back.
fn not_under_way(answer: Result<(), ClientError>) -> Result<(), String> {
    match answer {
        Err(ClientError::Answer { error: ErrorCode::NoReassignmentInProgress, .. }) => Ok(()),
        other => other.map_err(refused),
    }
}

/// What an attempt before this one added, whose answer was lost, needs not be added again.
fn are_there(answer: Result<(), ClientError>) -> Result<(), String> {
    match answer {
        Err(ClientError::Answer { error: ErrorCode::InvalidPartitions, .. }) => Ok(()),
        other => other.map_err(refused),
    }
}

/// A leader that leads already needs no election.
fn is_elected(answer: Result<(), ClientError>) -> Result<(), String> {
    match answer {
        Err(ClientError::Answer { error: ErrorCode::ElectionNotNeeded, .. }) => Ok(()),
        other => other.map_err(refused),
    }
}

impl Stage {
    /// Asks the cluster for something, on a machine of its own, until it is done or refused for good or a minute has gone.
    ///
    /// Errors: why it was not done.
    pub(super) async fn administer(&self, request: Request) -> Result<Answer, String> {
        let node = self.helper();
        let (told, mut hear) = watch::channel(Err("nobody has answered".to_string()));
        let told = Arc::new(told);
        let bootstrap = self.bootstrap();
        let (world, recorder) = (Arc::clone(self.world()), Arc::clone(&self.ears.recorder));
        self.cluster.replace(
            node,
            factory(move |context| {
                let (told, request, bootstrap) =
                    (Arc::clone(&told), request.clone(), bootstrap.clone());
                let (world, recorder) = (Arc::clone(&world), Arc::clone(&recorder));
                async move {
                    let admin = client(&context.env, &bootstrap);
                    loop {
                        let at = recorder.time(world.now().nanos());
                        let asked = request.ask(&context.env, &admin, at).await;
                        let is_done = asked.is_ok();
                        drop(told.send_replace(asked));
                        if is_done {
                            return ProcessEnd::Clean;
                        }
                        clock::sleep(context.env.clock.as_ref(), PAUSE).await;
                    }
                }
            }),
        );
        let process = self.cluster.start(node);
        tokio::select! {
            biased;
            () = process.ended() => {}
            () = self.world().sleep(STEP_WITHIN) => drop(self.cluster.kill(node)),
        }
        hear.borrow_and_update().clone()
    }
}
