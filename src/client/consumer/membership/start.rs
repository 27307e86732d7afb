//! How far the group has read: where new partitions begin, and what the owner asks for (pure).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{About, Asked, Effect, Membership, Protocol, Question, Retry};
use crate::client::consumer::offsets::{OffsetAndMetadata, Offsets};
use crate::client::error::ClientError;
use crate::protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use crate::protocol::messages::offset_fetch_response::OffsetFetchResponseGroup;
use crate::protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};
use crate::rpc::network_client::RpcError;
use crate::types::{ErrorCode, LeaderEpoch, Monotonic, Offset, PartitionIndex, TopicPartition};

/// Names a question of the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::client::consumer) struct ReadId(pub(in crate::client::consumer) u64);

/// What the owner asks.
#[derive(Debug)]
pub(super) struct Read {
    partitions: BTreeSet<TopicPartition>,
    pub(super) is_asked: bool,
    pub(super) retry: Retry,
    pub(super) deadline: Monotonic,
}

impl<P: Protocol> Membership<P> {
    pub(super) fn begin_read(
        &mut self,
        now: Monotonic,
        id: ReadId,
        partitions: BTreeSet<TopicPartition>,
    ) {
        let deadline = now + self.config.api_timeout;
        let read = Read { partitions, is_asked: false, retry: Retry::default(), deadline };
        self.reads.insert(id, read);
    }

    /// What is assigned changed: an answer that is under way may be older than what another member committed since.
    pub(super) fn forget_start(&mut self) {
        self.in_flight.retain(|_, asked| !matches!(asked.what, About::Start(_)));
        self.start = Retry::default();
    }

    pub(super) fn send_reads(&mut self, now: Monotonic, out: &mut Vec<Effect>) {
        let is_asking = self.in_flight.values().any(|asked| matches!(asked.what, About::Start(_)));
        let may_start = self.subscription.is_none() || P::is_settled(self);
        if !self.starts.is_empty() && !is_asking && may_start && self.start.not_before <= now {
            let partitions = self.starts.clone();
            let question = P::offsets_question(self, &partitions);
            self.ask(About::Start(partitions), question, out);
        }
        let ids: Vec<ReadId> = self.reads.keys().copied().collect();
        for id in ids {
            let read = &self.reads[&id];
            if read.deadline <= now {
                self.reads.remove(&id);
                self.in_flight.retain(|_, asked| asked.what != About::Read(id));
                let error = ClientError::TimedOut {
                    waited_for: "committed offsets".to_owned(),
                    after: self.config.api_timeout,
                    last_error: None,
                };
                out.push(Effect::ReadEnded(id, Err(error)));
            } else if !read.is_asked && read.retry.not_before <= now {
                let question = P::offsets_question(self, &read.partitions);
                if self.ask(About::Read(id), question, out).is_some() {
                    self.reads.get_mut(&id).expect("it was just looked at").is_asked = true;
                }
            }
        }
    }

    /// The question that says nothing of who asks.
    pub(super) fn ask_offsets_of_group(&self, partitions: &BTreeSet<TopicPartition>) -> Question {
        let mut topics: BTreeMap<&Arc<str>, Vec<PartitionIndex>> = BTreeMap::new();
        for partition in partitions {
            topics.entry(&partition.topic).or_default().push(partition.partition);
        }
        let topics = topics.into_iter().map(|(topic, partition_indexes)| OffsetFetchRequestTopic {
            name: topic.to_string(),
            partition_indexes,
        });
        Question::OffsetFetch(OffsetFetchRequest {
            group_id: self.config.group.to_string(),
            topics: Some(topics.collect()),
            require_stable: true,
            ..OffsetFetchRequest::default()
        })
    }

    pub(super) fn on_offsets(
        &mut self,
        now: Monotonic,
        asked: Asked,
        answer: Result<OffsetFetchResponse, RpcError>,
        out: &mut Vec<Effect>,
    ) {
        let told = match answer {
            Ok(response) => read_offsets(response),
            Err(error) => {
                self.on_no_answer(now, &error);
                Err(ErrorCode::NetworkException)
            }
        };
        if matches!(told, Err(ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable)) {
            self.lose_coordinator(now);
        }
        match asked.what {
            About::Start(partitions) => self.on_start(now, partitions, told, out),
            About::Read(id) => self.on_read(now, id, told, out),
            About::Coordinator
            | About::Join
            | About::Sync
            | About::Heartbeat
            | About::Leave
            | About::Describe
            | About::Commit(_) => unreachable!("it answers a question for offsets"),
        }
    }

    fn on_start(
        &mut self,
        now: Monotonic,
        partitions: BTreeSet<TopicPartition>,
        told: Result<Offsets, ErrorCode>,
        out: &mut Vec<Effect>,
    ) {
        match told {
            Ok(offsets) => {
                self.start = Retry::default();
                self.starts.retain(|start| !partitions.contains(start));
                out.push(Effect::Start(offsets, partitions));
            }
            Err(error) => {
                self.start = self.later(now, self.start);
                if !P::may_pass(error) {
                    self.fail(error, format!("committed offsets of group {}", self.config.group));
                }
            }
        }
    }

    fn on_read(
        &mut self,
        now: Monotonic,
        id: ReadId,
        told: Result<Offsets, ErrorCode>,
        out: &mut Vec<Effect>,
    ) {
        let Some(read) = self.reads.get(&id) else { return };
        let retry = read.retry;
        match told {
            Err(error) if P::may_pass(error) => {
                let retry = self.later(now, retry);
                let read = self.reads.get_mut(&id).expect("it was just looked at");
                read.retry = retry;
                read.is_asked = false;
            }
            told => {
                self.reads.remove(&id);
                let message = || Some(format!("committed offsets of group {}", self.config.group));
                let told = told.map_err(|error| ClientError::Answer { error, message: message() });
                out.push(Effect::ReadEnded(id, told));
            }
        }
    }
}

/// What is committed. Errors: the first of the answer's.
fn read_offsets(response: OffsetFetchResponse) -> Result<Offsets, ErrorCode> {
    if !response.error_code.is_none() {
        return Err(response.error_code);
    }
    let mut offsets = Offsets::new();
    let of_one_group = response.topics.into_iter().flat_map(|topic| {
        let name: Arc<str> = topic.name.into();
        let told = topic.partitions.into_iter().map(|told| Told {
            partition: TopicPartition { topic: name.clone(), partition: told.partition_index },
            offset: told.committed_offset,
            leader_epoch: told.committed_leader_epoch,
            metadata: told.metadata,
            error: told.error_code,
        });
        told.collect::<Vec<_>>()
    });
    let told: Vec<Told> = match response.groups.into_iter().next() {
        None => of_one_group.collect(),
        Some(group) if !group.error_code.is_none() => return Err(group.error_code),
        Some(group) => told_of_group(group),
    };
    for told in told {
        if !told.error.is_none() {
            return Err(told.error);
        }
        let Some(offset) = told.offset else { continue };
        let metadata = told.metadata.unwrap_or_default();
        let committed = OffsetAndMetadata { offset, leader_epoch: told.leader_epoch, metadata };
        offsets.insert(told.partition, committed);
    }
    Ok(offsets)
}

/// What is told of a partition, in whatever version.
struct Told {
    partition: TopicPartition,
    offset: Option<Offset>,
    leader_epoch: Option<LeaderEpoch>,
    metadata: Option<String>,
    error: ErrorCode,
}

fn told_of_group(group: OffsetFetchResponseGroup) -> Vec<Told> {
    let topics = group.topics.into_iter().flat_map(|topic| {
        let name: Arc<str> = topic.name.into();
        let told = topic.partitions.into_iter().map(|told| Told {
            partition: TopicPartition { topic: name.clone(), partition: told.partition_index },
            offset: told.committed_offset,
            leader_epoch: told.committed_leader_epoch,
            metadata: told.metadata,
            error: told.error_code,
        });
        told.collect::<Vec<_>>()
    });
    topics.collect()
}
