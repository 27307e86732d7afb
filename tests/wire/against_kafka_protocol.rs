//! Our codec against the crate kafka-protocol, which is generated from Kafka's own descriptions by others.
//!
//! What we write they read, and what they write of it is byte for byte the same: so each reads the other. The records of
//! the metadata log are not known to them.

use bytes::Bytes;
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable, Message as TheirMessage};
use ottla::protocol::messages as ours;
use ottla::protocol::messages::Message;
use proptest::prelude::*;

use crate::round_trip::encode;
use crate::sample::{Sample, Source, source_bytes};

fn check<Ours, Theirs>(source: &[u8])
where
    Ours: Message + Sample,
    Theirs: TheirMessage + Encodable + Decodable + std::fmt::Debug,
{
    check_with::<Ours, Theirs>(source, |_, _| {});
}

fn check_with<Ours, Theirs>(source: &[u8], prepare: impl Fn(&mut Ours, i16))
where
    Ours: Message + Sample,
    Theirs: TheirMessage + Encodable + Decodable + std::fmt::Debug,
{
    let name = Ours::NAME;
    let known = Theirs::VERSIONS;
    for version in Ours::VERSIONS.iter().filter(|v| known.min <= *v && *v <= known.max) {
        let mut message = Ours::sample(version, &mut Source::new(source.to_vec()));
        prepare(&mut message, version);
        let frame = encode(&message, version).unwrap();
        let mut rest = frame.clone();
        let read = Theirs::decode(&mut rest, version)
            .unwrap_or_else(|error| panic!("{name} {version}: {error} in {message:?}: {frame:?}"));
        assert!(rest.is_empty(), "{name} {version}: {} bytes are left of {message:?}", rest.len());
        let mut written = Vec::new();
        read.encode(&mut written, version)
            .unwrap_or_else(|error| panic!("{name} {version}: {error} in {read:?}"));
        assert_eq!(Bytes::from(written), frame, "{name} {version}: {message:?}");
    }
}

macro_rules! check_all {
    ($source:expr; $($name:ident)*) => {$( check::<ours::$name, theirs::$name>($source); )*};
}

macro_rules! check_group_records {
    ($source:expr; $($name:ident)*) => {$(
        check::<ottla::protocol::coordinator_records::$name, theirs::$name>($source);
    )*};
}

/// Their decoders take a field called `version` for the version from there on: it must say the truth.
macro_rules! check_records {
    ($source:expr; $($name:ident)*) => {$(
        check_with::<ottla::protocol::metadata_records::$name, theirs::$name>(
            $source,
            |message, version| message.version = version,
        );
    )*};
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn both_codecs_write_the_same_bytes(source in source_bytes()) {
        check_all! { &source;
            ApiVersionsRequest ApiVersionsResponse MetadataRequest MetadataResponse
            ProduceRequest ProduceResponse FetchRequest FetchResponse
            ListOffsetsRequest ListOffsetsResponse
            OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse
            InitProducerIdRequest InitProducerIdResponse
            FindCoordinatorRequest FindCoordinatorResponse
            CreateTopicsRequest CreateTopicsResponse DeleteTopicsRequest DeleteTopicsResponse
            DescribeConfigsRequest DescribeConfigsResponse
            DescribeClusterRequest DescribeClusterResponse
            DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse
            AlterConfigsRequest AlterConfigsResponse
            CreatePartitionsRequest CreatePartitionsResponse
            ElectLeadersRequest ElectLeadersResponse
            IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse
            AlterPartitionReassignmentsRequest AlterPartitionReassignmentsResponse
            ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse
            UpdateFeaturesRequest UpdateFeaturesResponse
            UnregisterBrokerRequest UnregisterBrokerResponse
            BrokerRegistrationRequest BrokerRegistrationResponse
            BrokerHeartbeatRequest BrokerHeartbeatResponse
            AllocateProducerIdsRequest AllocateProducerIdsResponse
            AssignReplicasToDirsRequest AssignReplicasToDirsResponse
            AlterPartitionRequest AlterPartitionResponse VoteRequest VoteResponse
            BeginQuorumEpochRequest BeginQuorumEpochResponse
            EndQuorumEpochRequest EndQuorumEpochResponse EnvelopeRequest EnvelopeResponse
            JoinGroupRequest JoinGroupResponse SyncGroupRequest SyncGroupResponse
            HeartbeatRequest HeartbeatResponse LeaveGroupRequest LeaveGroupResponse
            OffsetCommitRequest OffsetCommitResponse OffsetFetchRequest OffsetFetchResponse
            OffsetDeleteRequest OffsetDeleteResponse
            DescribeGroupsRequest DescribeGroupsResponse ListGroupsRequest ListGroupsResponse
            DeleteGroupsRequest DeleteGroupsResponse DeleteRecordsRequest DeleteRecordsResponse
            ConsumerGroupHeartbeatRequest ConsumerGroupHeartbeatResponse
            ConsumerGroupDescribeRequest ConsumerGroupDescribeResponse
        }
        check_group_records! { &source; ConsumerProtocolSubscription ConsumerProtocolAssignment }
        check_records! { &source;
            LeaderChangeMessage SnapshotHeaderRecord SnapshotFooterRecord KRaftVersionRecord
            VotersRecord
        }
    }
}
