//! The questions that a consumer asks leaders (pure).

use std::time::Duration;

use super::{Asked, Effect, Fetcher, InFlight, PartitionState, Position, RequestToken};
use crate::protocol::OffsetSpec;
use crate::protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use crate::protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use crate::protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use crate::protocol::messages::{
    FetchRequest, ListOffsetsRequest, Message, OffsetForLeaderEpochRequest,
};
use crate::types::{BrokerId, TopicPartition, Uuid};

/// The last Fetch version that names topics; later ones carry ids (KIP-516).
const FETCH_BY_NAME_MAX: i16 = 12;

/// How long a fetch may wait beside which another one is to come.
const SHORT_WAIT: Duration = Duration::from_millis(100);

impl Fetcher {
    pub(super) fn list_offsets(
        &mut self,
        node: BrokerId,
        partitions: Vec<(Asked, OffsetSpec)>,
        out: &mut Vec<Effect>,
    ) {
        let questions = partitions.iter().map(|(asked, end)| {
            let question = ListOffsetsPartition {
                partition_index: asked.partition.partition,
                current_leader_epoch: asked.leader.epoch,
                timestamp: *end,
            };
            (&*asked.partition.topic, question)
        });
        let topics = by_topic(questions);
        let request = ListOffsetsRequest {
            replica_id: None,
            isolation_level: self.config.isolation_level,
            topics,
            timeout_ms: millis_on_the_wire(self.config.common.request_timeout),
        };
        let target = self.view.broker(node).expect("a leader is a broker that is known");
        let token = self.begin(node, partitions.into_iter().map(|(asked, _)| asked).collect());
        out.push(Effect::ListOffsets { target, token, request });
    }

    pub(super) fn ask_epoch_ends(
        &mut self,
        node: BrokerId,
        partitions: Vec<Asked>,
        out: &mut Vec<Effect>,
    ) {
        crate::mark!("consumer validates a position");
        let mut topics: Vec<OffsetForLeaderTopic> = Vec::new();
        for asked in &partitions {
            let question = OffsetForLeaderPartition {
                partition: asked.partition.partition,
                current_leader_epoch: asked.leader.epoch,
                leader_epoch: asked.position.epoch,
            };
            let name = &*asked.partition.topic;
            match topics.iter_mut().find(|topic| topic.topic == name) {
                Some(topic) => topic.partitions.push(question),
                None => topics.push(OffsetForLeaderTopic {
                    topic: name.to_owned(),
                    partitions: vec![question],
                }),
            }
        }
        let request =
            OffsetForLeaderEpochRequest { topics, ..OffsetForLeaderEpochRequest::default() };
        let target = self.view.broker(node).expect("a leader is a broker that is known");
        let token = self.begin(node, partitions);
        out.push(Effect::EpochEnds { target, token, request });
    }

    pub(super) fn fetch(
        &mut self,
        node: BrokerId,
        mut partitions: Vec<Asked>,
        out: &mut Vec<Effect>,
    ) {
        // A broker fills the answer from the front: each partition stands there in turn.
        let turn = usize::try_from(self.next_token).unwrap_or(0) % partitions.len();
        partitions.rotate_left(turn);
        let mut topics: Vec<FetchTopic> = Vec::new();
        for asked in &partitions {
            // No last_fetched_epoch, as in Kafka's consumer: the position was checked under this very epoch.
            let question = FetchPartition {
                partition: asked.partition.partition,
                current_leader_epoch: asked.leader.epoch,
                fetch_offset: Some(asked.position.offset),
                partition_max_bytes: self.config.partition_fetch_bytes_max.cast_signed(),
                ..FetchPartition::default()
            };
            match topics.iter_mut().find(|topic| *topic.topic == *asked.partition.topic) {
                Some(topic) => topic.partitions.push(question),
                None => topics.push(FetchTopic {
                    topic: asked.partition.topic.to_string(),
                    topic_id: asked.topic_id,
                    partitions: vec![question],
                }),
            }
        }
        let mut versions = FetchRequest::VERSIONS;
        if topics.iter().any(|topic| topic.topic_id == Uuid::ZERO) {
            versions.max = FETCH_BY_NAME_MAX;
        }
        let request = FetchRequest {
            max_wait_ms: millis_on_the_wire(self.wait_of_fetch(node, &partitions)),
            min_bytes: self.config.fetch_bytes_min.cast_signed(),
            max_bytes: self.config.fetch_bytes_max.cast_signed(),
            isolation_level: self.config.isolation_level,
            topics,
            rack_id: self.config.client_rack.clone(),
            ..FetchRequest::default()
        };
        let target = self.view.broker(node).expect("who is read is a broker that is known");
        let token = self.begin(node, partitions);
        out.push(Effect::Fetch { target, token, request, versions });
    }

    /// How long a fetch of these partitions may wait at its broker: `fetch.max.wait.ms`, and not for long while another partition of
    /// that broker has nowhere to begin yet. Nothing more is asked there before this one is answered.
    ///
    /// Kafka: `AbstractFetch.createFetchRequest` lets each wait as long as any.
    fn wait_of_fetch(&self, node: BrokerId, asked: &[Asked]) -> Duration {
        let comes_later = |partition: &TopicPartition, state: &PartitionState| {
            let is_waited_for = match state.position {
                Position::Unset | Position::Reset(_) | Position::Refused { .. } => true,
                Position::At(_) => state.checked.is_none() || state.not_before > self.looked_at,
                Position::Lost(_) => false,
            };
            is_waited_for
                && !state.is_paused
                && self.view.leader(partition) == Some(node)
                && asked.iter().all(|asked| asked.partition != *partition)
        };
        if self.partitions.iter().any(|(partition, state)| comes_later(partition, state)) {
            crate::mark!(
                "consumer's fetch does not wait long: another partition is to be read there"
            );
            self.config.fetch_wait_max.min(SHORT_WAIT)
        } else {
            self.config.fetch_wait_max
        }
    }

    /// Notes that these partitions are asked about.
    fn begin(&mut self, node: BrokerId, partitions: Vec<Asked>) -> RequestToken {
        let token = self.next_token();
        for asked in &partitions {
            let state = self.partitions.get_mut(&asked.partition).expect("it was just looked at");
            state.asked = Some(token);
            state.asked_under = asked.leader.epoch;
        }
        self.in_flight.insert(token, InFlight { node, partitions });
        token
    }

    pub(super) fn next_token(&mut self) -> RequestToken {
        let token = RequestToken(self.next_token);
        self.next_token += 1;
        token
    }
}

/// Questions by topic, in the order in which their topics come.
pub(super) fn by_topic<'a>(
    questions: impl Iterator<Item = (&'a str, ListOffsetsPartition)>,
) -> Vec<ListOffsetsTopic> {
    let mut topics: Vec<ListOffsetsTopic> = Vec::new();
    for (name, question) in questions {
        match topics.iter_mut().find(|topic| topic.name == name) {
            Some(topic) => topic.partitions.push(question),
            None => {
                topics.push(ListOffsetsTopic { name: name.to_owned(), partitions: vec![question] });
            }
        }
    }
    topics
}

pub(super) fn millis_on_the_wire(span: Duration) -> i32 {
    i32::try_from(span.as_millis()).unwrap_or(i32::MAX)
}
