use super::*;
use crate::protocol::Records;
use crate::types::Uuid;
use bytes::Bytes;

fn id(partition: i32) -> TopicIdPartition {
    TopicIdPartition { topic_id: Uuid::ZERO, partition: PartitionIndex::new(partition) }
}

fn at(offset: i64) -> PartitionFetch {
    PartitionFetch {
        fetch_offset: Some(Offset::new(offset)),
        log_start_offset: None,
        bytes_max: 100,
        current_leader_epoch: None,
        last_fetched_epoch: None,
    }
}

fn asked(request: &SessionRequest) -> Vec<i32> {
    request.partitions.iter().map(|(id, _)| id.partition.value()).collect()
}

fn forgotten(request: &SessionRequest) -> Vec<i32> {
    request.forgotten.iter().map(|id| id.partition.value()).collect()
}

#[test]
fn a_session_names_only_what_changed() {
    let mut session = ClientSession::new();
    for partition in 0..3 {
        session.set(id(partition), at(0));
    }
    let request = session.request();
    assert_eq!((request.session.to_wire(), asked(&request)), ((0, 0), vec![0, 1, 2]));
    session.on_answer(ErrorCode::None, 7, (0..3).map(id)).unwrap();
    session.set(id(1), at(5));
    session.set(id(2), at(0));
    session.remove(id(0));
    let request = session.request();
    assert_eq!((request.session.to_wire(), asked(&request)), ((7, 1), vec![1]));
    assert_eq!(forgotten(&request), [0]);
    session.on_answer(ErrorCode::None, 7, [id(1)].into_iter()).unwrap();
    // Forgotten and wanted again before the other end was told: nothing to forget.
    session.remove(id(1));
    session.set(id(1), at(5));
    let request = session.request();
    assert_eq!((request.session.to_wire(), asked(&request)), ((7, 2), vec![1]));
    assert!(forgotten(&request).is_empty());
}

#[test]
fn a_full_request_begins_with_another_partition_each_time() {
    let mut session = ClientSession::new();
    for partition in 0..3 {
        session.set(id(partition), at(0));
    }
    let mut firsts = Vec::new();
    for _ in 0..4 {
        firsts.push(asked(&session.request())[0]);
        session.on_answer(ErrorCode::None, 0, (0..3).map(id)).unwrap();
    }
    assert_eq!(firsts, [0, 1, 2, 0]);
}

#[test]
fn an_answer_that_tells_of_others_begins_anew() {
    let mut session = ClientSession::new();
    session.set(id(0), at(0));
    session.request();
    let fault = session.on_answer(ErrorCode::None, 7, [id(0), id(9)].into_iter());
    assert_eq!(fault, Err(AnswerFault::Malformed));
    session.request();
    session.on_answer(ErrorCode::None, 7, [id(0)].into_iter()).unwrap();
    session.request();
    // Removed while it was asked: its answer is in order.
    session.remove(id(0));
    session.on_answer(ErrorCode::None, 7, [id(0)].into_iter()).unwrap();
    assert_eq!(forgotten(&session.request()), [0]);
}

#[test]
fn requests_are_counted_from_1_after_the_largest_number() {
    assert_eq!(next_epoch(0), 1);
    assert_eq!(next_epoch(i32::MAX), 1);
}

fn key(partition: i32) -> SessionPartition {
    SessionPartition {
        topic: SessionTopic::Name("t".into()),
        partition: PartitionIndex::new(partition),
    }
}

fn data(high_watermark: i64, bytes: usize) -> PartitionData {
    PartitionData {
        high_watermark: Some(Offset::new(high_watermark)),
        records: Some(Records::from(Bytes::from(vec![0; bytes]))),
        ..PartitionData::default()
    }
}

fn told(partitions: &mut SessionPartitions, data: Vec<PartitionData>) -> Vec<i32> {
    let told = partitions.tell(data, false).into_iter();
    told.map(|(partition, _)| partition.partition.value()).collect()
}

#[test]
fn only_news_is_told_and_who_was_served_goes_last() {
    let mut partitions = SessionPartitions::default();
    for partition in 0..3 {
        partitions.set(key(partition), at(0));
    }
    partitions.tell(vec![data(0, 0), data(0, 0), data(0, 0)], true);
    assert_eq!(told(&mut partitions, vec![data(0, 9), data(0, 0), data(1, 0)]), [0, 2]);
    let order: Vec<i32> = partitions.iter().map(|(one, _)| one.partition.value()).collect();
    assert_eq!(order, [1, 2, 0]);
    let wrong =
        PartitionData { error_code: ErrorCode::NotLeaderOrFollower, ..PartitionData::default() };
    assert_eq!(told(&mut partitions, vec![wrong, data(1, 0), data(0, 0)]), [1]);
    // Right again, with the same mark as before.
    assert_eq!(told(&mut partitions, vec![data(0, 0), data(1, 0), data(0, 0)]), [1]);
    assert!(told(&mut partitions, vec![data(0, 0), data(1, 0), data(0, 0)]).is_empty());
    partitions.forget(&key(1));
    assert!(told(&mut partitions, vec![data(1, 0), data(0, 0)]).is_empty());
}

/// A follower in a new term takes nothing of an answer that was meant for the one before (swarm-sparse, seed 3693).
#[test]
fn who_names_a_partition_anew_is_told_of_it_anew() {
    let mut partitions = SessionPartitions::default();
    partitions.set(key(0), at(33));
    partitions.set(key(1), at(33));
    partitions.tell(vec![data(27, 0), data(27, 0)], true);
    assert_eq!(told(&mut partitions, vec![data(33, 0), data(33, 0)]), [0, 1]);
    let in_a_new_term =
        PartitionFetch { current_leader_epoch: Some(LeaderEpoch::new(2)), ..at(33) };
    partitions.set(key(0), in_a_new_term);
    assert_eq!(told(&mut partitions, vec![data(33, 0), data(33, 0)]), [0]);
    assert!(told(&mut partitions, vec![data(33, 0), data(33, 0)]).is_empty());
}
