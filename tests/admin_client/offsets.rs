//! What the admin client asks of logs: each leader once for all of its partitions, each answer for itself.

use ottla::client::ListedOffset;
use ottla::protocol::OffsetSpec;
use ottla::protocol::messages::list_offsets_request::ListOffsetsPartition;
use ottla::protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use ottla::protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use super::*;

impl Brokers {
    /// Answers ListOffsets: the offset of a partition, by broker and question.
    fn listing(
        self,
        mut offset_of: impl FnMut(usize, &ListOffsetsPartition) -> Result<i64, ErrorCode>
        + Send
        + 'static,
    ) -> Self {
        self.on(move |broker, request: ListOffsetsRequest| {
            let mut topics = Vec::new();
            for topic in request.topics {
                let partitions = topic.partitions.iter().map(|asked| {
                    let told = offset_of(broker, asked);
                    ListOffsetsPartitionResponse {
                        partition_index: asked.partition_index,
                        offset: told.ok().map(Offset::new),
                        error_code: told.err().unwrap_or(ErrorCode::None),
                        ..ListOffsetsPartitionResponse::default()
                    }
                });
                let partitions = partitions.collect();
                topics.push(ListOffsetsTopicResponse { name: topic.name, partitions });
            }
            ListOffsetsResponse { topics, ..ListOffsetsResponse::default() }
        })
    }
}

const FIRST: OffsetSpec = OffsetSpec::Earliest;
const END: OffsetSpec = OffsetSpec::Latest;

fn list(admin: &Admin, wanted: &[(i32, OffsetSpec)]) -> Vec<Result<i64, ClientError>> {
    let questions: Vec<_> = wanted.iter().map(|(index, spec)| (partition(*index), *spec)).collect();
    let offset = |listed: ListedOffset| listed.offset.unwrap().value();
    run(admin.list_offsets(&questions)).into_iter().map(|answer| answer.map(offset)).collect()
}

#[test]
fn each_leader_is_asked_once_and_answers_come_in_the_order_of_the_questions() {
    let brokers = Brokers::start(2).leading(&[Some(0), Some(1), Some(0), Some(1)]).listing(
        |broker, asked| {
            assert_eq!(asked.current_leader_epoch, Some(LeaderEpoch::new(1)));
            match (broker, asked.partition_index.value()) {
                (0, 0) => Ok(10),
                (0, 2) => Err(ErrorCode::UnsupportedForMessageFormat),
                (1, index @ (1 | 3)) => Ok(10 + i64::from(index)),
                other => panic!("{other:?}"),
            }
        },
    );
    let answers = list(&brokers.admin(), &[(3, END), (2, END), (4, END), (1, END), (0, END)]);
    assert_eq!(answers[0], Ok(13));
    assert_eq!(error_of(&answers[1]), ErrorCode::UnsupportedForMessageFormat);
    let beyond =
        ClientError::InvalidPartition { topic: "t".to_owned(), partition: 4, partitions: 4 };
    assert_eq!(answers[2], Err(beyond), "nobody is asked for it");
    assert_eq!(answers[3..], [Ok(11), Ok(10)]);
    assert_eq!(brokers.asked_at_once(ApiKey::ListOffsets), [0, 1], "one request a leader");
    assert_eq!(list(&brokers.admin(), &[]), []);
}

#[test]
fn two_questions_about_a_partition_go_into_two_requests() {
    let brokers = Brokers::start(1).leading(&[Some(0), Some(0)]).listing(|_, asked| {
        let is_end = asked.timestamp == END;
        Ok(i64::from(asked.partition_index.value()) * 10 + i64::from(is_end))
    });
    let answers = list(&brokers.admin(), &[(0, FIRST), (0, END), (1, END), (1, FIRST)]);
    assert_eq!(answers, [Ok(0), Ok(1), Ok(11), Ok(10)]);
    assert_eq!(brokers.asked_for(ApiKey::ListOffsets), [0, 0]);
}

#[test]
fn only_what_is_open_is_asked_again_and_of_the_new_leader() {
    let mut asks = 0;
    let brokers = Brokers::start(2);
    let told = brokers.addresses.clone();
    let brokers = brokers
        .on(move |_, _: MetadataRequest| {
            asks += 1;
            let mut response = metadata(&told, 0, asks);
            let topic = &mut response.topics[0];
            let moved = MetadataResponsePartition {
                partition_index: PartitionIndex::new(1),
                leader_id: Some(broker_id(if asks == 1 { 0 } else { 1 })),
                ..topic.partitions[0].clone()
            };
            topic.partitions.push(moved);
            response
        })
        .listing(|broker, asked| match (broker, asked.partition_index.value()) {
            (0, 0) => Ok(5),
            (0, 1) => Err(ErrorCode::NotLeaderOrFollower),
            (1, 1) => Ok(6),
            other => panic!("{other:?}"),
        });
    assert_eq!(list(&brokers.admin(), &[(0, END), (1, END)]), [Ok(5), Ok(6)]);
    assert_eq!(brokers.asked_for(ApiKey::ListOffsets), [0, 1]);
}

#[test]
fn a_leader_that_is_away_keeps_no_other_from_answering() {
    let mut brokers = Brokers::start(2);
    // The second address belongs to nobody any more.
    brokers.addresses[1] = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let brokers = brokers.leading(&[Some(0), Some(1), None]).listing(|_, _| Ok(7));
    let answers = list(&brokers.admin_within(300), &[(0, END), (1, END), (2, END)]);
    assert_eq!(answers[0], Ok(7));
    for answer in &answers[1..] {
        let Err(ClientError::TimedOut { waited_for, .. }) = answer else { panic!("{answers:?}") };
        assert_eq!(waited_for, "answer to ListOffsets");
    }
    assert_eq!(brokers.asked_for(ApiKey::ListOffsets), [0], "what is answered is not asked again");
}
