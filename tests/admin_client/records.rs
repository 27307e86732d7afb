//! What the admin client asks of records: each partition of its leader, each answer for itself.

use ottla::protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use ottla::protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::*;

impl Brokers {
    /// Answers DeleteRecords: what becomes of a partition, by broker, index and offset.
    fn deleting(
        self,
        mut become_of: impl FnMut(usize, i32, i64) -> Result<i64, ErrorCode> + Send + 'static,
    ) -> Self {
        self.on(move |broker, request: DeleteRecordsRequest| {
            let mut topics = Vec::new();
            for topic in request.topics {
                let partitions = topic.partitions.into_iter().map(|asked| {
                    let told = become_of(broker, asked.partition_index.value(), asked.offset);
                    DeleteRecordsPartitionResult {
                        partition_index: asked.partition_index,
                        low_watermark: told.ok().map(Offset::new),
                        error_code: told.err().unwrap_or(ErrorCode::None),
                    }
                });
                let partitions = partitions.collect();
                topics.push(DeleteRecordsTopicResult { name: topic.name, partitions });
            }
            DeleteRecordsResponse { topics, ..DeleteRecordsResponse::default() }
        })
    }
}

type Wanted = BTreeMap<TopicPartition, Option<Offset>>;

fn below(all: &[(i32, Option<i64>)]) -> Wanted {
    all.iter().map(|(index, offset)| (partition(*index), offset.map(Offset::new))).collect()
}

fn delete(admin: &Admin, wanted: &Wanted) -> Vec<Result<i64, ClientError>> {
    let answers = run(admin.delete_records(wanted));
    assert!(answers.keys().eq(wanted.keys()), "each is answered once");
    answers.into_values().map(|answer| answer.map(Offset::value)).collect()
}

#[test]
fn records_of_each_partition_are_deleted_by_its_leader_and_answered_apart() {
    let brokers = Brokers::start(2).leading(&[Some(0), Some(1), Some(1)]).deleting(
        |broker, index, offset| match (broker, index, offset) {
            (0, 0, 7) => Ok(7),
            (1, 1, 99) => Err(ErrorCode::OffsetOutOfRange),
            // All that is committed.
            (1, 2, -1) => Ok(42),
            other => panic!("{other:?}"),
        },
    );
    let wanted = below(&[(0, Some(7)), (1, Some(99)), (2, None), (3, Some(0))]);
    let answers = delete(&brokers.admin(), &wanted);
    assert_eq!(answers[0], Ok(7));
    assert_eq!(error_of(&answers[1]), ErrorCode::OffsetOutOfRange);
    assert_eq!(answers[2], Ok(42));
    let beyond =
        ClientError::InvalidPartition { topic: "t".to_owned(), partition: 3, partitions: 3 };
    assert_eq!(answers[3], Err(beyond), "nobody is asked for it");
    assert_eq!(brokers.asked_at_once(ApiKey::DeleteRecords), [0, 1], "one request a leader");
}

#[test]
fn only_what_is_open_is_asked_again_and_of_the_new_leader() {
    let brokers = Brokers::start(2).led_by(&[0, 1]).deleting(|broker, index, _| {
        assert_eq!(index, 0);
        if broker == 1 { Ok(5) } else { Err(ErrorCode::NotLeaderOrFollower) }
    });
    assert_eq!(delete(&brokers.admin(), &below(&[(0, Some(5))])), [Ok(5)]);
    let mut times = 0;
    let brokers = Brokers::start(1).leading(&[Some(0), Some(0)]).deleting(move |_, index, _| {
        if index == 0 {
            times += 1;
            assert_eq!(times, 1, "it was done");
            return Ok(1);
        }
        Err(ErrorCode::RequestTimedOut)
    });
    let answers = delete(&brokers.admin_within(200), &below(&[(0, Some(1)), (1, Some(1))]));
    assert_eq!(answers[0], Ok(1));
    let Err(ClientError::TimedOut { waited_for, last_error, .. }) = &answers[1] else {
        panic!("{answers:?}")
    };
    assert_eq!(waited_for, "answer to DeleteRecords");
    assert_eq!(last_error.as_deref(), Some("t-1: REQUEST_TIMED_OUT"));
}

#[test]
fn records_that_nobody_can_delete_are_told_so_by_partition() {
    let brokers = Brokers::start(1).leading(&[Some(0), None]).deleting(|_, _, _| Ok(3));
    let mut wanted = below(&[(0, Some(3)), (1, Some(3))]);
    let other = TopicPartition { topic: "other".into(), partition: PartitionIndex::new(0) };
    wanted.insert(other, None);
    let answers = delete(&brokers.admin_within(200), &wanted);
    // Sorted: `other`, then `t`.
    assert_eq!(error_of(&answers[0]), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(answers[1], Ok(3));
    let Err(ClientError::TimedOut { last_error, .. }) = &answers[2] else { panic!("{answers:?}") };
    assert_eq!(last_error.as_deref(), Some("t-1 has no leader"));

    let brokers = Brokers::start(1).leading(&[Some(0)]);
    let answers = delete(&brokers.admin(), &below(&[(0, None)]));
    assert!(matches!(answers[0], Err(ClientError::UnsupportedVersion { .. })), "{answers:?}");

    let silent = Brokers::start(1)
        .leading(&[Some(0)])
        .on(|_, _: DeleteRecordsRequest| DeleteRecordsResponse::default());
    let answers = delete(&silent.admin(), &below(&[(0, None)]));
    assert_eq!(error_of(&answers[0]), ErrorCode::UnknownServerError, "it does not speak of it");
    assert_eq!(delete(&silent.admin(), &Wanted::new()), []);
}
