use std::collections::BTreeMap;

use proptest::prelude::*;
use rand::SeedableRng;

use super::*;
use crate::replica::fetch_session::{ClientSession, SessionTopic};
use crate::types::{Offset, PartitionIndex, TopicIdPartition, Uuid};

fn sessions(slots: usize) -> Arc<FetchSessions> {
    FetchSessions::new(slots, StdRng::seed_from_u64(1))
}

fn at(seconds: u64) -> Monotonic {
    Monotonic::from_nanos(seconds * 1_000_000_000)
}

fn key(partition: i32) -> SessionPartition {
    let topic = SessionTopic::Id(Uuid::ZERO);
    SessionPartition { topic, partition: PartitionIndex::new(partition) }
}

fn fetch(offset: i64) -> PartitionFetch {
    PartitionFetch {
        fetch_offset: Some(Offset::new(offset)),
        log_start_offset: None,
        bytes_max: 100,
        current_leader_epoch: None,
        last_fetched_epoch: None,
    }
}

fn call(session: SessionUse, partitions: i32, privileged: bool) -> SessionCall {
    SessionCall {
        session,
        by_id: true,
        privileged,
        partitions: (0..partitions).map(|partition| (key(partition), fetch(0))).collect(),
        forgotten: Vec::new(),
    }
}

const NEW: SessionUse = SessionUse::Full { closes: None };

fn next(id: i32, epoch: i32) -> SessionUse {
    SessionUse::Continue { id: SessionId::from_wire(id), epoch }
}

/// A full request, answered; the session it got, 0 for none.
fn open(sessions: &Arc<FetchSessions>, now: u64, partitions: i32, privileged: bool) -> i32 {
    let in_use = sessions.begin(at(now), call(NEW, partitions, privileged)).unwrap();
    let data = vec![PartitionData::default(); in_use.partitions().len()];
    in_use.finish(at(now), data).0
}

fn error(sessions: &Arc<FetchSessions>, session: SessionUse) -> Option<ErrorCode> {
    sessions.begin(at(0), call(session, 0, false)).err()
}

#[test]
fn a_request_of_another_number_is_refused() {
    let sessions = sessions(10);
    let id = open(&sessions, 0, 2, false);
    assert_eq!(error(&sessions, next(id, 2)), Some(ErrorCode::InvalidFetchSessionEpoch));
    assert_eq!(error(&sessions, next(id ^ 1, 1)), Some(ErrorCode::FetchSessionIdNotFound));
    let by_name = SessionCall { by_id: false, ..call(next(id, 1), 0, false) };
    let refused = sessions.begin(at(0), by_name).err();
    assert_eq!(refused, Some(ErrorCode::FetchSessionTopicIdError));
    let in_use = sessions.begin(at(0), call(next(id, 1), 0, false)).unwrap();
    assert_eq!(in_use.partitions().len(), 2);
    // The one before is not answered yet.
    assert_eq!(error(&sessions, next(id, 2)), Some(ErrorCode::InvalidFetchSessionEpoch));
    // Its connection breaks: the session is gone.
    drop(in_use);
    assert_eq!(error(&sessions, next(id, 2)), Some(ErrorCode::FetchSessionIdNotFound));
}

#[test]
fn a_session_ends_when_it_is_closed_or_empty() {
    let sessions = sessions(10);
    let id = open(&sessions, 0, 1, false);
    let last = SessionCall { forgotten: vec![key(0)], ..call(next(id, 1), 0, false) };
    let in_use = sessions.begin(at(0), last).unwrap();
    assert_eq!(in_use.finish(at(0), Vec::new()), (0, Vec::new()));
    assert_eq!(error(&sessions, next(id, 2)), Some(ErrorCode::FetchSessionIdNotFound));
    let id = open(&sessions, 0, 1, false);
    let closes = SessionId::from_wire(id);
    drop(sessions.begin(at(0), call(SessionUse::None { closes }, 1, false)).unwrap());
    assert_eq!(error(&sessions, next(id, 1)), Some(ErrorCode::FetchSessionIdNotFound));
}

#[test]
fn followers_sessions_and_larger_ones_take_the_place_of_others() {
    let sessions = sessions(2);
    let (small, large) = (open(&sessions, 0, 1, false), open(&sessions, 0, 3, false));
    assert_eq!(open(&sessions, 1, 9, false), 0, "both are young");
    assert_ne!(open(&sessions, 2, 1, true), 0, "a follower's");
    assert_eq!(error(&sessions, next(small, 1)), Some(ErrorCode::FetchSessionIdNotFound));
    drop(sessions.begin(at(121), call(next(large, 1), 3, false)).unwrap());
    // One place is free again, by the cut connection.
    let settled = open(&sessions, 121, 3, false);
    assert_ne!(settled, 0);
    // The follower's was not used for long: it goes, whatever it is.
    assert_ne!(open(&sessions, 123, 1, false), 0);
    assert_eq!(open(&sessions, 124, 9, false), 0, "both are young again");
    // Of those that are settled, the one with fewer partitions goes.
    let in_use = sessions.begin(at(242), call(next(settled, 1), 3, false)).unwrap();
    in_use.finish(at(242), vec![PartitionData::default(); 3]);
    assert_eq!(open(&sessions, 243, 3, false), 0, "of equals the older one stays");
    assert_ne!(open(&sessions, 243, 4, false), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Set(i32, i64),
    Remove(i32),
    HighWatermark(i32, i64),
    Wrong(i32, bool),
    Exchange,
    RequestLost,
    AnswerLost,
    SessionsLost,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..6, 0..5i64).prop_map(|(partition, offset)| Step::Set(partition, offset)),
        2 => (0..6).prop_map(Step::Remove),
        3 => (0..6, 0..5i64).prop_map(|(partition, mark)| Step::HighWatermark(partition, mark)),
        1 => (0..6, any::<bool>()).prop_map(|(partition, wrong)| Step::Wrong(partition, wrong)),
        6 => Just(Step::Exchange),
        1 => Just(Step::RequestLost),
        1 => Just(Step::AnswerLost),
        1 => Just(Step::SessionsLost),
    ]
}

/// Both ends, and what is true.
struct Model {
    client: ClientSession,
    server: Arc<FetchSessions>,
    wanted: BTreeMap<i32, PartitionFetch>,
    /// By partition: the leader's mark, and whether it answers with an error.
    truth: BTreeMap<i32, (i64, bool)>,
    /// What the client was told last.
    told: BTreeMap<i32, (i64, bool)>,
}

fn id(partition: i32) -> TopicIdPartition {
    TopicIdPartition { topic_id: Uuid::ZERO, partition: PartitionIndex::new(partition) }
}

impl Model {
    fn truth(&self, partition: i32) -> (i64, bool) {
        self.truth.get(&partition).copied().unwrap_or((0, false))
    }

    /// A request, and what it finds at the other end; the answer, unless it is lost.
    fn exchange(&mut self, answer_lost: bool) {
        let request = self.client.request();
        let named = |(id, fetch): (TopicIdPartition, _)| (key(id.partition.value()), fetch);
        let begun = self.server.begin(
            at(0),
            SessionCall {
                session: request.session,
                by_id: true,
                privileged: true,
                partitions: request.partitions.into_iter().map(named).collect(),
                forgotten: request.forgotten.iter().map(|id| key(id.partition.value())).collect(),
            },
        );
        let answer = begun.map(|in_use| {
            let found: BTreeMap<i32, PartitionFetch> = in_use
                .partitions()
                .iter()
                .map(|(one, fetch)| (one.partition.value(), fetch))
                .collect();
            assert_eq!(found, self.wanted, "both ends know the same partitions");
            let data = in_use.partitions().iter().map(|(one, _)| {
                let (mark, wrong) = self.truth(one.partition.value());
                PartitionData {
                    partition_index: one.partition,
                    error_code: if wrong {
                        ErrorCode::NotLeaderOrFollower
                    } else {
                        ErrorCode::None
                    },
                    high_watermark: Offset::from_wire(if wrong { -1 } else { mark }),
                    ..PartitionData::default()
                }
            });
            let data = data.collect();
            in_use.finish(at(0), data)
        });
        if answer_lost {
            return self.client.on_lost();
        }
        let (error, session_id, data) = match answer {
            Ok((session_id, data)) => (ErrorCode::None, session_id, data),
            Err(error) => (error, 0, Vec::new()),
        };
        let answered = data.iter().map(|(one, _)| id(one.partition.value()));
        if self.client.on_answer(error, session_id, answered).is_err() {
            assert!(!error.is_none(), "what the other end answers is in order");
            return;
        }
        for (one, data) in data {
            let mark = data.high_watermark.map_or(0, Offset::value);
            self.told.insert(one.partition.value(), (mark, !data.error_code.is_none()));
        }
        for partition in self.wanted.keys() {
            let (mark, wrong) = self.truth(*partition);
            let expected = if wrong { (0, true) } else { (mark, false) };
            assert_eq!(self.told.get(partition), Some(&expected), "partition {partition} is told");
        }
    }
}

proptest! {
    #[test]
    fn both_ends_agree_whatever_is_lost(steps in prop::collection::vec(step(), 1..80)) {
        let mut model = Model {
            client: ClientSession::new(),
            server: sessions(1),
            wanted: BTreeMap::new(),
            truth: BTreeMap::new(),
            told: BTreeMap::new(),
        };
        for step in steps {
            match step {
                Step::Set(partition, offset) => {
                    model.client.set(id(partition), fetch(offset));
                    model.wanted.insert(partition, fetch(offset));
                }
                Step::Remove(partition) => {
                    model.client.remove(id(partition));
                    model.wanted.remove(&partition);
                }
                Step::HighWatermark(partition, mark) => {
                    let wrong = model.truth(partition).1;
                    model.truth.insert(partition, (mark, wrong));
                }
                Step::Wrong(partition, wrong) => {
                    let mark = model.truth(partition).0;
                    model.truth.insert(partition, (mark, wrong));
                }
                Step::Exchange => model.exchange(false),
                Step::AnswerLost => model.exchange(true),
                Step::RequestLost => {
                    model.client.request();
                    model.client.on_lost();
                }
                Step::SessionsLost => model.server = sessions(1),
            }
        }
        // With nothing lost any more, two rounds are enough.
        for partition in model.wanted.keys().copied().collect::<Vec<_>>() {
            model.truth.insert(partition, (4, false));
        }
        model.exchange(false);
        model.exchange(false);
    }
}
