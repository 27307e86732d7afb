//! Tells the controller in which log directories this broker's replicas are, where the metadata does not say so, as a machine.
//!
//! The metadata names a directory for each replica, so that the controller knows who is gone with a directory that fails, and whom not
//! to elect. With one directory the controller knows it beforehand; with several the broker chooses; and a new disk is a new directory.
//! One request is in flight. What was told and taken is not told again, unless the metadata says something else afterwards.
//!
//! Kafka: `AssignmentsManager`, KIP-858.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::protocol::messages::assign_replicas_to_dirs_request::{
    DirectoryData, PartitionData, TopicData,
};
use crate::protocol::messages::{AssignReplicasToDirsRequest, AssignReplicasToDirsResponse};
use crate::types::{BrokerId, ErrorCode, Monotonic, Now, TopicIdPartition, Uuid};

/// The pause after a request that the controller did not take, as a whole or for one replica (Kafka: `AssignmentsManager`'s back-off,
/// which grows from 100 ms to 10 s).
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How many replicas one request names at most (Kafka: `AssignReplicasToDirsRequest.MAX_ASSIGNMENTS_PER_REQUEST`).
const REPLICAS_PER_REQUEST_MAX: usize = 2_250;

/// The directory of each replica of which the metadata says something else.
pub type Unassigned = BTreeMap<TopicIdPartition, Uuid>;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// What the metadata does not say now, in place of all that was said so before.
    Unassigned(Unassigned),
    /// [`Effect::Ask`] was answered, or was not.
    Answered(Result<AssignReplicasToDirsResponse, ErrorCode>),
    /// The time named by [`Assignments::deadline`] has come.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Tell the controller, as the present incarnation of this broker; [`Event::Answered`] follows.
    Ask(AssignReplicasToDirsRequest),
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Assignments {
    broker: BrokerId,
    unassigned: Unassigned,
    /// What the controller took; the metadata will say so.
    taken: Unassigned,
    in_flight: Option<Unassigned>,
    not_before: Monotonic,
}

impl Assignments {
    /// Nothing to tell yet, at `broker`.
    #[must_use]
    pub const fn new(broker: BrokerId) -> Self {
        Self {
            broker,
            unassigned: Unassigned::new(),
            taken: Unassigned::new(),
            in_flight: None,
            not_before: Monotonic::ZERO,
        }
    }

    /// Takes an event; pushes what is to be done.
    pub fn handle(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        let now = now.monotonic;
        match event {
            Event::Unassigned(unassigned) => {
                self.taken.retain(|replica, taken| unassigned.get(replica) == Some(taken));
                self.unassigned = unassigned;
            }
            Event::Answered(answer) => self.on_answered(now, answer),
            Event::Tick => {}
        }
        if self.in_flight.is_some() || now < self.not_before {
            return;
        }
        let due: Unassigned = self.due().take(REPLICAS_PER_REQUEST_MAX).collect();
        if !due.is_empty() {
            out.push(Effect::Ask(self.request(&due)));
            self.in_flight = Some(due);
        }
    }

    /// When to send [`Event::Tick`].
    #[must_use]
    pub fn deadline(&self) -> Option<Monotonic> {
        (self.in_flight.is_none() && self.due().next().is_some()).then_some(self.not_before)
    }

    fn due(&self) -> impl Iterator<Item = (TopicIdPartition, Uuid)> {
        let all = self.unassigned.iter().map(|(replica, directory)| (*replica, *directory));
        all.filter(|(replica, directory)| self.taken.get(replica) != Some(directory))
    }

    fn request(&self, due: &Unassigned) -> AssignReplicasToDirsRequest {
        let mut directories: BTreeMap<Uuid, Vec<TopicData>> = BTreeMap::new();
        for (replica, directory) in due {
            let partition = PartitionData { partition_index: replica.partition };
            let topics = directories.entry(*directory).or_default();
            match topics.last_mut().filter(|topic| topic.topic_id == replica.topic_id) {
                Some(topic) => topic.partitions.push(partition),
                None => {
                    topics.push(TopicData {
                        topic_id: replica.topic_id,
                        partitions: vec![partition],
                    });
                }
            }
        }
        let directories = directories.into_iter().map(|(id, topics)| DirectoryData { id, topics });
        AssignReplicasToDirsRequest {
            broker_id: self.broker,
            broker_epoch: None,
            directories: directories.collect(),
        }
    }

    fn on_answered(
        &mut self,
        now: Monotonic,
        answer: Result<AssignReplicasToDirsResponse, ErrorCode>,
    ) {
        let sent = self.in_flight.take().expect("a request is answered once");
        let directories = match answer {
            Ok(response) if response.error_code.is_none() => response.directories,
            Ok(_) | Err(_) => {
                crate::mark!("the controller does not take where replicas are now");
                self.not_before = now + RETRY_PAUSE;
                return;
            }
        };
        for directory in directories {
            for topic in directory.topics {
                let topic_id = topic.topic_id;
                let taken = topic.partitions.iter().filter(|one| one.error_code.is_none());
                let taken = taken.map(|one| one.partition_index);
                self.taken.extend(taken.filter_map(|partition| {
                    let replica = TopicIdPartition { topic_id, partition };
                    (sent.get(&replica) == Some(&directory.id)).then_some((replica, directory.id))
                }));
            }
        }
        // What the metadata no longer asks for is settled already.
        self.taken.retain(|replica, taken| self.unassigned.get(replica) == Some(taken));
        let is_refused = |(replica, directory): (&TopicIdPartition, &Uuid)| {
            self.unassigned.get(replica) == Some(directory) && !self.taken.contains_key(replica)
        };
        if sent.iter().any(is_refused) {
            self.not_before = now + RETRY_PAUSE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::assign_replicas_to_dirs_response as response;
    use crate::types::PartitionIndex;

    fn topic(id: u8) -> Uuid {
        Uuid::from_bytes([id; 16])
    }

    fn replica(topic_id: u8, partition: i32) -> TopicIdPartition {
        TopicIdPartition { topic_id: topic(topic_id), partition: PartitionIndex::new(partition) }
    }

    fn at(millis: u64) -> Now {
        Now { monotonic: Monotonic::from_nanos(millis * 1_000_000), ..Now::default() }
    }

    /// The replicas that are told, as (directory, topic, partition).
    type Told = Vec<(u8, u8, i32)>;

    struct Harness {
        machine: Assignments,
        asked: Option<AssignReplicasToDirsRequest>,
    }

    impl Harness {
        fn new() -> Self {
            Self { machine: Assignments::new(BrokerId::new(1)), asked: None }
        }

        fn handle(&mut self, millis: u64, event: Event) -> Told {
            let mut out = Vec::new();
            self.machine.handle(at(millis), event, &mut out);
            assert!(out.len() <= 1);
            let Some(Effect::Ask(request)) = out.pop() else { return Vec::new() };
            let first = |id: &Uuid| id.as_bytes()[0];
            let told = request.directories.iter().flat_map(|directory| {
                directory.topics.iter().flat_map(move |topic| {
                    let ids = (first(&directory.id), first(&topic.topic_id));
                    topic
                        .partitions
                        .iter()
                        .map(move |one| (ids.0, ids.1, one.partition_index.value()))
                })
            });
            let told = told.collect();
            self.asked = Some(request);
            told
        }

        fn unassigned(&mut self, millis: u64, all: &[(TopicIdPartition, u8)]) -> Told {
            let all = all.iter().map(|(replica, directory)| (*replica, topic(*directory)));
            self.handle(millis, Event::Unassigned(all.collect()))
        }

        /// The controller takes all but the replicas of a topic.
        fn answer(&mut self, millis: u64, refused: Option<u8>) -> Told {
            let asked = self.asked.take().unwrap();
            let directories = asked.directories.iter().map(|directory| response::DirectoryData {
                id: directory.id,
                topics: directory.topics.iter().map(|one| response_topic(one, refused)).collect(),
            });
            let directories = directories.collect();
            let answer = AssignReplicasToDirsResponse { directories, ..Default::default() };
            self.handle(millis, Event::Answered(Ok(answer)))
        }
    }

    fn response_topic(asked: &TopicData, refused: Option<u8>) -> response::TopicData {
        let is_refused = refused.is_some_and(|refused| asked.topic_id == topic(refused));
        let error_code = if is_refused { ErrorCode::UnknownTopicId } else { ErrorCode::None };
        let partitions = asked.partitions.iter().map(|one| response::PartitionData {
            partition_index: one.partition_index,
            error_code,
        });
        response::TopicData { topic_id: asked.topic_id, partitions: partitions.collect() }
    }

    #[test]
    fn what_the_metadata_does_not_say_is_told_once_and_not_while_a_request_is_in_flight() {
        let mut it = Harness::new();
        assert_eq!(
            it.unassigned(0, &[(replica(7, 0), 1), (replica(7, 1), 2)]),
            [(1, 7, 0), (2, 7, 1)]
        );
        let more = [(replica(7, 0), 1), (replica(7, 1), 2), (replica(8, 0), 1), (replica(8, 3), 1)];
        assert_eq!(it.unassigned(1, &more), []);
        assert_eq!(it.answer(2, None), [(1, 8, 0), (1, 8, 3)]);
        assert_eq!(it.answer(3, None), []);
        assert_eq!(it.machine.deadline(), None, "taken; the metadata will say so");
        assert_eq!(it.unassigned(4, &more[2..]), []);
        assert_eq!(it.unassigned(5, &[]), []);
        // It was said, and then said otherwise.
        assert_eq!(it.unassigned(6, &more[..1]), [(1, 7, 0)]);
    }

    #[test]
    fn a_replica_that_moved_while_it_was_told_is_told_again() {
        let mut it = Harness::new();
        assert_eq!(it.unassigned(0, &[(replica(7, 0), 1)]), [(1, 7, 0)]);
        assert_eq!(it.unassigned(1, &[(replica(7, 0), 2)]), []);
        assert_eq!(it.answer(2, None), [(2, 7, 0)]);
    }

    #[test]
    fn what_is_refused_is_told_again_after_a_pause_until_the_metadata_forgets_it() {
        let mut it = Harness::new();
        let both = [(replica(7, 0), 1), (replica(8, 0), 1)];
        assert_eq!(it.unassigned(0, &both), [(1, 7, 0), (1, 8, 0)]);
        assert_eq!(it.answer(10, Some(8)), []);
        assert_eq!(it.machine.deadline(), Some(at(510).monotonic));
        assert_eq!(it.handle(509, Event::Tick), []);
        assert_eq!(it.handle(510, Event::Tick), [(1, 8, 0)]);
        assert_eq!(it.unassigned(511, &[]), []);
        assert_eq!(it.answer(512, Some(8)), []);
        assert_eq!(it.machine.deadline(), None);
    }

    #[test]
    fn an_answer_that_does_not_come_is_asked_for_again() {
        let mut it = Harness::new();
        assert_eq!(it.unassigned(0, &[(replica(7, 0), 1)]), [(1, 7, 0)]);
        for (millis, answer) in [
            (10, Err(ErrorCode::NotController)),
            (
                600,
                Ok(AssignReplicasToDirsResponse {
                    error_code: ErrorCode::StaleBrokerEpoch,
                    ..Default::default()
                }),
            ),
        ] {
            assert_eq!(it.handle(millis, Event::Answered(answer)), []);
            assert_eq!(it.handle(millis + 499, Event::Tick), []);
            assert_eq!(it.handle(millis + 500, Event::Tick), [(1, 7, 0)]);
        }
    }

    #[test]
    fn many_replicas_go_in_several_requests() {
        let mut it = Harness::new();
        let all: Vec<_> = (0..2_300).map(|index| (replica(7, index), 1)).collect();
        assert_eq!(it.unassigned(0, &all).len(), 2_250);
        assert_eq!(it.answer(1, None).len(), 50);
    }
}
