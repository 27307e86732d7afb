//! A client that is a member of a consumer group: it processes what a poll gave it, commits as its scenario says, and polls again.
//!
//! What it was given, has processed and was told goes into the history and, while it happens, into the story.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ottla::client::consumer::{OffsetAndMetadata, Offsets, RebalanceListener};
use ottla::client::{ClientError, Consumer, ConsumerConfig, ConsumerRecord};
use ottla::runtime::clock;
use ottla::types::{ErrorCode, GenerationId, Offset, ShortName, TopicPartition};

use super::beside::Queue;
use super::consumer::{PAUSE, note_call, note_error, note_poll};
use super::{Client, code_of};
use crate::history::{Commit, CommitNumber, CommitOutcome, Processed, decode_value};
use crate::scenario::plan::{CommitStyle, StartFrom};

/// What a member is to do.
pub struct MemberWork {
    /// `group.id`.
    pub group: Arc<str>,
    /// What it subscribes to.
    pub topics: Vec<String>,
    /// Where it begins, where nothing is committed.
    pub from: StartFrom,
    /// How long a poll waits for its first record.
    pub poll_timeout: Duration,
    /// Whether it has a `group.instance.id`: its own name.
    pub is_static: bool,
    /// When it commits.
    pub commit: CommitStyle,
    /// Draws how long a record takes.
    pub processing: Processing,
    /// With how many records in hand it pauses its partitions; it processes beside polling then.
    pub pause_at: Option<usize>,
}

/// Draws how long a record takes.
pub(super) type Processing = Box<dyn FnMut() -> Duration + Send>;

impl MemberWork {
    /// Reads until it is asked to stop. What it has then it processes without taking its time.
    pub async fn run(self, client: Client) {
        let config = ConsumerConfig::from_properties(&self.properties(&client))
            .expect("the scenario was checked");
        let consumer = Consumer::new(config, client.env.clone());
        client.history.begin_membership(&client.name, &self.group);
        let queue = self.pause_at.map(|_| Queue::default());
        let listener = Listener {
            client: client.clone(),
            group: Arc::clone(&self.group),
            assigned: Assigned::default(),
            rebalances: Arc::default(),
            commit: self.commit,
            queue: queue.clone(),
        };
        let (generation, is_hurried) = (None, false);
        let mut member = Member { work: self, client, consumer, listener, generation, is_hurried };
        member.subscribe();
        match queue {
            Some(queue) => member.run_beside(queue).await,
            None => member.run().await,
        }
    }

    fn properties(&self, client: &Client) -> BTreeMap<String, String> {
        let is_automatic = self.commit == CommitStyle::Auto;
        let mut own = vec![
            ("group.id", &*self.group),
            ("auto.offset.reset", self.from.name()),
            ("enable.auto.commit", if is_automatic { "true" } else { "false" }),
        ];
        let instance = client.name.replace('/', "-");
        if self.is_static {
            own.push(("group.instance.id", &instance));
        }
        client.all_properties(&own)
    }
}

/// Partitions that were assigned and not polled since.
type Assigned = Arc<Mutex<Vec<TopicPartition>>>;

fn lock(assigned: &Assigned) -> MutexGuard<'_, Vec<TopicPartition>> {
    assigned.lock().expect("nothing panics with it locked")
}

/// Tells the story of what is assigned and taken away.
#[derive(Clone)]
struct Listener {
    client: Client,
    group: Arc<str>,
    assigned: Assigned,
    /// Counts what it was told.
    rebalances: Arc<AtomicU64>,
    commit: CommitStyle,
    /// Where it processes beside polling: what is in hand.
    queue: Option<Queue>,
}

impl Listener {
    fn tell(&self, kind: &'static str, partitions: &[TopicPartition]) {
        self.rebalances.fetch_add(1, Ordering::Relaxed);
        for partition in partitions {
            (self.client.tell)(kind, &|event| event.partition(partition.clone()));
        }
    }

    fn note_taken(&self, partitions: &[TopicPartition]) {
        self.client.history.note_membership(&self.client.name, |known| {
            known.partitions.retain(|partition| !partitions.contains(partition));
        });
    }
}

impl RebalanceListener for Listener {
    fn on_partitions_revoked(
        &mut self,
        partitions: &[TopicPartition],
        positions: &Offsets,
    ) -> Offsets {
        self.tell("member.revoked", partitions);
        self.note_taken(partitions);
        if let Some(queue) = &self.queue {
            let done = queue.take_away(partitions);
            return if self.commit == CommitStyle::Auto { Offsets::new() } else { done };
        }
        if self.commit == CommitStyle::AsyncAndSync { positions.clone() } else { Offsets::new() }
    }

    fn on_partitions_assigned(
        &mut self,
        partitions: &[TopicPartition],
    ) -> BTreeMap<TopicPartition, Offset> {
        self.tell("member.assigned", partitions);
        self.client.history.note_membership(&self.client.name, |known| {
            known.partitions.extend(partitions.iter().cloned());
        });
        lock(&self.assigned).extend(partitions.iter().cloned());
        if self.commit.is_with_results() {
            return self.client.history.stored_results(&self.group, partitions);
        }
        BTreeMap::new()
    }

    fn on_partitions_lost(&mut self, partitions: &[TopicPartition]) {
        self.tell("member.lost", partitions);
        self.note_taken(partitions);
        if let Some(queue) = &self.queue {
            queue.take_away(partitions);
        }
    }
}

/// A member at work.
pub(super) struct Member {
    pub(super) work: MemberWork,
    pub(super) client: Client,
    pub(super) consumer: Consumer,
    listener: Listener,
    generation: Option<GenerationId>,
    /// It was asked to stop while it had records.
    is_hurried: bool,
}

impl Member {
    fn subscribe(&mut self) {
        let topics = self.work.topics.clone();
        self.consumer.subscribe_with(topics, self.listener.clone()).expect("it has a group");
    }

    async fn run(mut self) {
        loop {
            let asked_at = (self.client.now)();
            let polled = tokio::select! {
                biased;
                () = self.client.asked_to_stop() => break,
                polled = self.consumer.poll(self.work.poll_timeout) => polled,
            };
            self.look_at_generation();
            match polled {
                Ok(records) => {
                    note_call(&self.client, asked_at, records.len());
                    self.work_off(&records).await;
                }
                Err(error) => {
                    note_error(&self.client, &error);
                    self.begin_anew_where_refused(&error);
                    clock::sleep(self.client.env.clock.as_ref(), PAUSE).await;
                }
            }
        }
        if self.work.commit == CommitStyle::AsyncAndSync {
            self.commit(self.consumer.positions()).await;
        }
        self.consumer.close().await;
        (self.client.tell)("member.left", &|event| event);
    }

    /// Its former process did not say that it goes, and its name is taken until that one's session is over: as an application would, it
    /// tries again.
    fn begin_anew_where_refused(&mut self, error: &ClientError) {
        if code_of(error) == Some(ErrorCode::UnreleasedInstanceId) {
            self.consumer.unsubscribe();
            self.subscribe();
        }
    }

    pub(super) fn look_at_generation(&mut self) {
        let (member, generation) = self.consumer.group_metadata();
        let Some(generation) = generation.filter(|now| Some(*now) != self.generation) else {
            return;
        };
        self.generation = Some(generation);
        if let Some(member) = member {
            let seen = (ShortName::of(&member), generation, (self.client.now)());
            self.client.history.note_membership(&self.client.name, |known| known.seen = Some(seen));
        }
        let words = format!("generation {generation} of {}", self.work.group);
        let seen = (Arc::clone(&self.work.group), generation);
        if self.client.history.lock().generations.insert(seen) {
            (self.client.tell)("group.rebalanced", &|event| event.note(words.clone()));
        }
        (self.client.tell)("member.joined", &|event| event.note(words.clone()));
    }

    async fn work_off(&mut self, records: &[ConsumerRecord]) {
        if records.is_empty() {
            return;
        }
        self.note_given(records);
        self.client.history.note_in_hand(&self.client.name, records.len());
        if self.work.commit == CommitStyle::BeforeProcessing {
            self.commit(self.consumer.positions()).await;
        }
        let mut done = BTreeMap::new();
        for record in records {
            self.take_time(&mut done).await;
            if !self.stores(record) {
                continue; // what comes behind it may be nobody's yet
            }
            note_processed(&self.client, &self.work.group, record);
            *done.entry(record.topic_partition()).or_default() += 1;
            if self.work.commit == CommitStyle::EachRecord {
                self.commit(self.offset_after(record)).await;
            }
        }
        tell_processed(&self.client, &mut done);
        match self.work.commit {
            CommitStyle::AfterProcessing => self.commit(self.consumer.positions()).await,
            CommitStyle::Async | CommitStyle::AsyncAndSync => self.commit_async(),
            CommitStyle::Auto
            | CommitStyle::BeforeProcessing
            | CommitStyle::EachRecord
            | CommitStyle::Never
            | CommitStyle::WithResults
            | CommitStyle::WithResultsFenced => {}
        }
    }

    /// Writes down what a poll gave, if it gave anything.
    pub(super) fn note_given(&self, records: &[ConsumerRecord]) {
        if records.is_empty() {
            return;
        }
        let mut repositioned = std::mem::take(&mut *lock(&self.listener.assigned));
        note_poll(&self.client, records, &mut repositioned);
    }

    /// Stores a result where the group keeps its place beside it. Whether it may count as done: somebody else may have stored it before.
    fn stores(&self, record: &ConsumerRecord) -> bool {
        if !self.work.commit.is_with_results() {
            return true;
        }
        let (group, at) = (&self.work.group, record.topic_partition());
        let is_fenced = self.work.commit == CommitStyle::WithResultsFenced;
        match self.client.history.store_result(group, &at, record.offset, is_fenced) {
            Ok(()) => true,
            Err(next) => {
                let reason = format!("the results are at offset {next} already");
                (self.client.tell)("consumer.commit-failed", &|event| {
                    event.partition(at.clone()).note(reason.clone())
                });
                false
            }
        }
    }

    /// Works on a record. What is done so far is told before.
    async fn take_time(&mut self, done: &mut BTreeMap<TopicPartition, u64>) {
        let time = (self.work.processing)();
        if time.is_zero() || self.is_hurried {
            return;
        }
        tell_processed(&self.client, done);
        let env = self.client.env.clone();
        tokio::select! {
            biased;
            () = self.client.asked_to_stop() => self.is_hurried = true,
            () = clock::sleep(env.clock.as_ref(), time) => {}
        }
    }

    // ── Commits ────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// The offset behind a record alone, with who read it.
    fn offset_after(&self, record: &ConsumerRecord) -> Offsets {
        let offset = OffsetAndMetadata {
            offset: record.offset + 1,
            leader_epoch: record.leader_epoch,
            metadata: self.client.name.to_string(),
        };
        Offsets::from([(record.topic_partition(), offset)])
    }

    pub(super) async fn commit(&mut self, offsets: Offsets) {
        if offsets.is_empty() {
            return;
        }
        let number = self.begin_commit(&offsets);
        let result = self.consumer.commit_offsets(offsets).await;
        end_commit(&self.client, number, result);
    }

    fn commit_async(&mut self) {
        let offsets = self.consumer.positions();
        if offsets.is_empty() {
            return;
        }
        let number = self.begin_commit(&offsets);
        let client = self.client.clone();
        let done = move |result| end_commit(&client, number, result);
        self.consumer.commit_async(offsets, done).expect("it has a group");
    }

    fn begin_commit(&self, offsets: &Offsets) -> CommitNumber {
        let of =
            |(partition, of): (&TopicPartition, &OffsetAndMetadata)| (partition.clone(), of.offset);
        self.client.history.begin_commit(Commit {
            client: Arc::clone(&self.client.name),
            incarnation: self.client.incarnation,
            rebalances: self.listener.rebalances.load(Ordering::Relaxed),
            group: Arc::clone(&self.work.group),
            asked_at: (self.client.now)(),
            done_at: None,
            offsets: offsets.iter().map(of).collect(),
            outcome: CommitOutcome::Pending,
        })
    }
}

/// Writes down that a record is done.
pub(super) fn note_processed(client: &Client, group: &Arc<str>, record: &ConsumerRecord) {
    let processed = Processed {
        client: Arc::clone(&client.name),
        group: Arc::clone(group),
        at: (client.now)(),
        partition: record.topic_partition(),
        offset: record.offset,
        id: decode_value(record.value.as_deref().unwrap_or(&[])),
    };
    client.history.lock().processed.push(processed);
}

/// Tells the story of what is done.
pub(super) fn tell_processed(client: &Client, done: &mut BTreeMap<TopicPartition, u64>) {
    for (partition, count) in std::mem::take(done) {
        let of = |event: crate::event::Event| event.partition(partition.clone()).count(count);
        (client.tell)("consumer.processed", &of);
    }
}

fn end_commit(client: &Client, number: CommitNumber, result: Result<(), ClientError>) {
    let outcome = match result {
        Ok(()) => {
            (client.tell)("consumer.committed", &|event| event);
            CommitOutcome::Stored
        }
        Err(error) => {
            let (code, reason) = (code_of(&error), error.to_string());
            client.note_failure(code, reason.clone());
            (client.tell)("consumer.commit-failed", &|event| {
                crate::event::Event { error: code, ..event }.note(reason.clone())
            });
            CommitOutcome::Failed { error: code, reason }
        }
    };
    client.history.end_commit(number, (client.now)(), outcome);
}
