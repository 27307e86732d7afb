//! The library's consumers as members of a group, each with a listener that keeps what it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ottla::client::{
    Admin, AdminConfig, Consumer, ConsumerConfig, NewTopic, OffsetAndMetadata, Offsets, Producer,
    ProducerConfig, ProducerRecord, RebalanceListener,
};
use ottla::types::{Offset, PartitionIndex, TopicPartition};

use crate::support::{Heard, env};

/// The topic that they read.
pub(crate) const TOPIC: &str = "orders";
/// How many partitions it has.
pub(crate) const PARTITIONS: i32 = 4;
/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const A_WHILE: Duration = Duration::from_millis(50);

/// A partition of the topic.
pub(crate) fn orders(partition: i32) -> TopicPartition {
    TopicPartition { topic: TOPIC.into(), partition: PartitionIndex::new(partition) }
}

/// All of them.
pub(crate) fn all_orders() -> Vec<TopicPartition> {
    (0..PARTITIONS).map(orders).collect()
}

/// One offset, as it is committed.
pub(crate) fn at(partition: i32, offset: i64) -> Offsets {
    [(orders(partition), OffsetAndMetadata::new(Offset::new(offset)))].into()
}

/// The offsets alone.
pub(crate) fn offsets(committed: &Offsets) -> Vec<i64> {
    committed.values().map(|committed| committed.offset.value()).collect()
}

/// Creates a topic of as many partitions as the tests' topic has.
pub(crate) async fn create(bootstrap: &str, topic: &str, replicas: u16) {
    let config = AdminConfig::new([("bootstrap.servers", bootstrap)]).unwrap();
    let admin = Admin::new(config, env(Arc::new(Heard::default())));
    let topic =
        NewTopic::new(topic).partitions(PARTITIONS.cast_unsigned()).replication_factor(replicas);
    for answer in admin.create_topics(&[topic]).await.unwrap() {
        answer.unwrap();
    }
}

/// Ten records into each partition.
pub(crate) async fn produce(bootstrap: &str, topic: &str, word: &str) {
    let config = ProducerConfig::new([("bootstrap.servers", bootstrap)]).unwrap();
    let producer = Producer::new(config, env(Arc::new(Heard::default())));
    let mut deliveries = Vec::new();
    for partition in 0..PARTITIONS {
        for number in 0..10 {
            let value = format!("{word} {partition} {number}");
            let record =
                ProducerRecord::new(topic, value).partition(PartitionIndex::new(partition));
            deliveries.push(producer.send(record).await.unwrap());
        }
    }
    producer.flush().await;
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    producer.close(PATIENCE).await;
}

/// A listener that keeps what it is told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn note(&self, what: &str, partitions: &[TopicPartition]) {
        // Rebalances that change nothing are told, too.
        if !partitions.is_empty() {
            let indexes = partitions.iter().map(|one| format!(" {}", one.partition.value()));
            self.0.lock().unwrap().push(format!("{what}{}", indexes.collect::<String>()));
        }
    }
}

impl RebalanceListener for Told {
    fn on_partitions_revoked(&mut self, gone: &[TopicPartition], _: &Offsets) -> Offsets {
        self.note("revoked", gone);
        Offsets::new()
    }

    fn on_partitions_assigned(
        &mut self,
        new: &[TopicPartition],
    ) -> BTreeMap<TopicPartition, Offset> {
        self.note("assigned", new);
        BTreeMap::new()
    }

    fn on_partitions_lost(&mut self, gone: &[TopicPartition]) {
        self.note("lost", gone);
    }
}

/// A consumer of group `g`.
pub(crate) struct Member {
    pub(crate) consumer: Consumer,
    /// What it read.
    pub(crate) values: Vec<String>,
    told: Told,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = self.told.0.lock().unwrap();
        write!(f, "{:?} {:?} {told:?} {:?}", self.partitions(), self.generation(), self.values)
    }
}

impl Member {
    /// One that has not subscribed.
    pub(crate) fn new(bootstrap: &str, more: &[(&str, &str)]) -> Self {
        let mut properties: BTreeMap<String, String> = [
            ("bootstrap.servers", bootstrap),
            ("group.id", "g"),
            ("auto.offset.reset", "earliest"),
            ("enable.auto.commit", "false"),
            ("heartbeat.interval.ms", "200"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        if more.contains(&("group.protocol", "consumer")) {
            // There the coordinator says it.
            properties.remove("heartbeat.interval.ms");
        }
        let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        properties.extend(more);
        let config = ConsumerConfig::from_properties(&properties).unwrap();
        let consumer = Consumer::new(config, env(Arc::new(Heard::default())));
        Self { consumer, values: Vec::new(), told: Told::default() }
    }

    /// One that has.
    pub(crate) fn subscribed(bootstrap: &str, more: &[(&str, &str)]) -> Self {
        let mut member = Self::new(bootstrap, more);
        member.subscribe(&[TOPIC]);
        member
    }

    /// Reads other topics from now on; who was told goes on being told.
    pub(crate) fn subscribe(&mut self, topics: &[&'static str]) {
        let topics = topics.iter().copied();
        self.consumer.subscribe_with(topics, self.told.clone()).unwrap();
    }

    pub(crate) async fn poll(&mut self) {
        for record in self.consumer.poll(A_WHILE).await.unwrap() {
            self.values.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
        }
    }

    /// What the listener was told since the last call.
    pub(crate) fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.told.0.lock().unwrap())
    }

    pub(crate) fn partitions(&self) -> Vec<i32> {
        self.consumer.assignment().iter().map(|one| one.partition.value()).collect()
    }

    pub(crate) fn generation(&self) -> Option<i32> {
        self.consumer.group_metadata().1.map(|generation| generation.value())
    }

    /// What it read, each once.
    pub(crate) fn distinct(&self) -> BTreeSet<&str> {
        self.values.iter().map(String::as_str).collect()
    }

    /// What the group has committed of all partitions.
    pub(crate) async fn committed(&mut self) -> Vec<i64> {
        offsets(&self.consumer.committed(&all_orders()).await.unwrap())
    }
}

/// How many partitions each has.
pub(crate) fn shares(members: &[&mut Member]) -> Vec<usize> {
    members.iter().map(|member| member.partitions().len()).collect()
}

/// Polls them in turn until it is so.
#[track_caller]
pub(crate) fn until<'a>(
    members: &'a mut [&mut Member],
    is_so: impl Fn(&[&mut Member]) -> bool + 'a,
) -> impl Future<Output = ()> + 'a {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(members) {
            for member in members.iter_mut() {
                member.poll().await;
            }
            assert!(Instant::now() < deadline, "{caller}: {members:#?}");
        }
    }
}

/// Polls them until each has so many partitions.
#[track_caller]
pub(crate) fn settle<'a>(
    members: &'a mut [&mut Member],
    wanted: &'a [usize],
) -> impl Future<Output = ()> + 'a {
    until(members, move |members| {
        let generations: BTreeSet<Option<i32>> =
            members.iter().map(|member| member.generation()).collect();
        shares(members) == wanted && generations.len() == 1
    })
}
