//! What the log of a group coordinator (`__consumer_offsets`) carries, and what members of a consumer group tell each other
//! through it, generated from the same table as the messages.
//!
//! A record's key says of what kind it is and whom it concerns; its value is the newest state of that, and none deletes it (a
//! tombstone): the log is compacted, so a key's last record must say all.
//!
//! Kafka: `group-coordinator/src/main/resources/common/message/*.json`, `GroupCoordinatorRecordSerde`.

use bytes::Bytes;

use super::messages::Message;
use super::wire::{DecodeError, DecodeProblem, EncodeError, Reader, Writer};
use crate::types::PartitionIndex;

pub use generated::*;

/// The number in front of the oldest offset commits' keys (Kafka: `LegacyOffsetCommitKey`). Same fields, never written.
const LEGACY_OFFSET_COMMIT: i16 = 0;

/// Declares the records once: variant, the number in front of the key, key, value, and the version in which values are written
/// (Kafka: `GroupCoordinatorRecordHelpers`).
macro_rules! coordinator_records {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $key:ident, $value:ident, $written:expr;)*) => {
        /// A record of a coordinator's log: of whom it speaks, and what is now true of it. `None` is a tombstone.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum CoordinatorRecord {
            $($(#[$doc])* $variant($key, Option<$value>),)*
        }

        impl CoordinatorRecord {
            /// The bytes of the record's key: the number of its kind, then the key's fields.
            ///
            /// Errors: a text is too long for the format.
            pub fn key_bytes(&self) -> Result<Bytes, EncodeError> {
                match self {
                    $(Self::$variant(key, _) => numbered($number, 0, key),)*
                }
            }

            /// The bytes of the record's value: its version, then its fields. `None` for a tombstone.
            ///
            /// Errors: a text or list is too long for the format.
            pub fn value_bytes(&self) -> Result<Option<Bytes>, EncodeError> {
                match self {
                    $(Self::$variant(_, Some(value)) => {
                        let version: fn(&$value) -> i16 = $written;
                        let version = version(value);
                        numbered(version, version, value).map(Some)
                    })*
                    $(Self::$variant(_, None) => Ok(None),)*
                }
            }

            /// Whether it says that its key has no value any more.
            #[must_use]
            pub const fn is_tombstone(&self) -> bool {
                match self {
                    $(Self::$variant(_, value) => value.is_none(),)*
                }
            }

            /// Reads a record. `None` for a kind that we do not keep: share groups, streams groups, what is to come. Takes bytes
            /// of unknown origin.
            ///
            /// Errors: no key, a version that we do not know, bytes after the fields.
            pub fn from_bytes(key: Bytes, value: Option<Bytes>) -> Result<Option<Self>, DecodeError> {
                let mut input = Reader::new(key);
                input.at("CoordinatorRecord.type");
                let mut number = input.int16()?;
                if number < 0 {
                    return Err(input.error(DecodeProblem::Key(i64::from(number))));
                }
                if number == LEGACY_OFFSET_COMMIT {
                    number = 1;
                }
                match number {
                    $($number => {
                        let key = $key::decode(0, &mut input)?;
                        input.finish()?;
                        let value = value.map(versioned).transpose()?;
                        Ok(Some(Self::$variant(key, value)))
                    })*
                    _ => Ok(None),
                }
            }
        }
    };
}

coordinator_records! {
    /// A group committed an offset of a partition.
    OffsetCommit = 1, OffsetCommitKey, OffsetCommitValue, offset_commit_version;
    /// A group of the classic protocol, with the members of its last generation and what they got.
    GroupMetadata = 2, GroupMetadataKey, GroupMetadataValue, |_| 3;
    /// A group of the consumer protocol (KIP-848): its epoch.
    ConsumerGroupMetadata = 3, ConsumerGroupMetadataKey, ConsumerGroupMetadataValue, |_| 0;
    /// The topics that a consumer group looked at. Not written any more, since KIP-1101.
    ConsumerGroupPartitionMetadata = 4, ConsumerGroupPartitionMetadataKey,
        ConsumerGroupPartitionMetadataValue, |_| 0;
    /// A member of a consumer group, and what it subscribes to.
    ConsumerGroupMemberMetadata = 5, ConsumerGroupMemberMetadataKey,
        ConsumerGroupMemberMetadataValue, |_| 0;
    /// Of which epoch a consumer group's target assignment is.
    ConsumerGroupTargetAssignmentMetadata = 6, ConsumerGroupTargetAssignmentMetadataKey,
        ConsumerGroupTargetAssignmentMetadataValue, |_| 0;
    /// What a member of a consumer group is to have.
    ConsumerGroupTargetAssignmentMember = 7, ConsumerGroupTargetAssignmentMemberKey,
        ConsumerGroupTargetAssignmentMemberValue, |_| 0;
    /// What a member of a consumer group has, and of which epoch it is.
    ConsumerGroupCurrentMemberAssignment = 8, ConsumerGroupCurrentMemberAssignmentKey,
        ConsumerGroupCurrentMemberAssignmentValue, |_| 0;
    /// What a regular expression that members subscribe to stood for.
    ConsumerGroupRegularExpression = 16, ConsumerGroupRegularExpressionKey,
        ConsumerGroupRegularExpressionValue, |_| 0;
}

/// Only version 1 has a time of its own at which the offset expires.
fn offset_commit_version(value: &OffsetCommitValue) -> i16 {
    if value.expire_timestamp.is_some() { 1 } else { 4 }
}

fn numbered<M: Message>(number: i16, version: i16, message: &M) -> Result<Bytes, EncodeError> {
    let mut out = Writer::new();
    out.int16(number);
    message.encode(version, &mut out)?;
    let mut slices = out.finish();
    let bytes = slices.pop().expect("a number was written");
    assert!(slices.is_empty(), "a coordinator's records hold no record batches");
    Ok(bytes)
}

fn versioned<M: Message>(value: Bytes) -> Result<M, DecodeError> {
    let mut input = Reader::new(value);
    input.at(M::NAME);
    let version = input.int16()?;
    let value = M::decode(version, &mut input)?;
    input.finish()?;
    Ok(value)
}

/// The topics that the metadata of a consumer's `JoinGroup` asks for; `None` where the bytes are none of Kafka's.
///
/// Only what version 0 has is read, which every later version begins with (Kafka: `ClassicGroup.computeSubscribedTopics`).
#[must_use]
pub fn subscribed_topics(metadata: &Bytes) -> Option<Vec<String>> {
    let mut input = Reader::new(metadata.clone());
    let version = input.int16().ok()?;
    if version < 0 {
        return None;
    }
    ConsumerProtocolSubscription::decode(0, &mut input).ok().map(|read| read.topics)
}

/// The partitions, by topic, of an assignment that a consumer's leader made; `None` where the bytes are none of Kafka's.
///
/// Only what version 0 has is read, which every later version begins with.
#[must_use]
pub fn assigned_partitions(assignment: &Bytes) -> Option<Vec<(String, Vec<PartitionIndex>)>> {
    let mut input = Reader::new(assignment.clone());
    if input.int16().ok()? < 0 {
        return None;
    }
    let read = ConsumerProtocolAssignment::decode(0, &mut input).ok()?;
    let topics = read.assigned_partitions.into_iter();
    Some(topics.map(|of| (of.topic, of.partitions)).collect())
}

/// What a consumer says in its `JoinGroup`: what it reads, what it has, and where it stands.
///
/// A version newer than ours is read as ours: later ones only add fields at the end. Takes bytes of unknown origin.
///
/// Errors: the bytes end too early, or hold a version or number below 0 (Kafka: `ConsumerProtocol.deserializeConsumerProtocolSubscription`).
pub fn read_subscription(metadata: &Bytes) -> Result<ConsumerProtocolSubscription, DecodeError> {
    members_words(metadata)
}

/// What a consumer's leader gave a member.
///
/// Errors: as of [`read_subscription`] (Kafka: `ConsumerProtocol.deserializeConsumerProtocolAssignment`).
pub fn read_assignment(assignment: &Bytes) -> Result<ConsumerProtocolAssignment, DecodeError> {
    members_words(assignment)
}

/// The bytes of what a consumer gets, in the version in which it says itself what it reads; in our newest where that is newer, and in the
/// first where it says none.
///
/// Errors: a topic's name is too long (Kafka: `ConsumerProtocol.deserializeVersion`, `serializeAssignment`).
pub fn assignment_bytes(
    assignment: &ConsumerProtocolAssignment,
    metadata: &Bytes,
) -> Result<Bytes, EncodeError> {
    let said = Reader::new(metadata.clone()).int16().unwrap_or(0);
    let newest = ConsumerProtocolAssignment::VERSIONS.max;
    let version = said.clamp(0, newest);
    numbered(version, version, assignment)
}

fn members_words<M: Message>(bytes: &Bytes) -> Result<M, DecodeError> {
    let mut input = Reader::new(bytes.clone());
    input.at(M::NAME);
    let version = input.int16()?;
    if version < 0 {
        return Err(input.error(DecodeProblem::Version(version)));
    }
    M::decode(version.min(M::VERSIONS.max), &mut input)
}

#[allow(
    unused_imports,
    unused_variables,
    clippy::all,
    clippy::wildcard_enum_match_arm,
    reason = "generated: it is the generator that is read"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/coordinator_records.rs"));
}

#[cfg(test)]
mod tests {
    use super::group_metadata_value::MemberMetadata;
    use super::*;
    use crate::types::{LeaderEpoch, Offset, PartitionIndex, Timestamp, Uuid};
    use proptest::prelude::*;

    fn bytes(parts: &[&[u8]]) -> Bytes {
        parts.concat().into()
    }

    fn offset_key() -> OffsetCommitKey {
        OffsetCommitKey {
            group: "g".into(),
            topic: "topic".into(),
            partition: PartitionIndex::new(3),
        }
    }

    fn offset_key_bytes(number: u8) -> Bytes {
        bytes(&[&[0, number], b"\0\x01g", b"\0\x05topic", &[0, 0, 0, 3]])
    }

    /// What is written is these bytes, and they read back.
    #[track_caller]
    fn check(record: &CoordinatorRecord, key: &Bytes, value: Option<&Bytes>) {
        assert_eq!(record.key_bytes().as_ref(), Ok(key));
        assert_eq!(record.value_bytes().as_ref().map(Option::as_ref), Ok(value));
        let read = CoordinatorRecord::from_bytes(key.clone(), value.cloned());
        assert_eq!(read, Ok(Some(record.clone())));
    }

    #[test]
    fn an_offset_commit_has_kafkas_bytes() {
        let value = OffsetCommitValue {
            offset: Some(Offset::new(5)),
            leader_epoch: Some(LeaderEpoch::new(2)),
            metadata: "m".into(),
            commit_timestamp: Timestamp::from_millis(1000),
            expire_timestamp: None,
            topic_id: Uuid::from_bytes([7; 16]),
        };
        let newest = bytes(&[
            &[0, 4],
            &[0, 0, 0, 0, 0, 0, 0, 5],
            &[0, 0, 0, 2],
            b"\x02m",
            &[0, 0, 0, 0, 0, 0, 3, 0xe8],
            &[1, 0, 16],
            &[7; 16],
        ]);
        let record = CoordinatorRecord::OffsetCommit(offset_key(), Some(value.clone()));
        check(&record, &offset_key_bytes(1), Some(&newest));
        check(&CoordinatorRecord::OffsetCommit(offset_key(), None), &offset_key_bytes(1), None);

        let plain = OffsetCommitValue { topic_id: Uuid::ZERO, ..value.clone() };
        let without_tags = [&newest[..newest.len() - 19], &[0]].concat();
        let record = CoordinatorRecord::OffsetCommit(offset_key(), Some(plain.clone()));
        check(&record, &offset_key_bytes(1), Some(&without_tags.into()));

        let expiring = OffsetCommitValue {
            leader_epoch: None,
            expire_timestamp: Some(Timestamp::from_millis(2000)),
            ..plain
        };
        let first = bytes(&[
            &[0, 1],
            &[0, 0, 0, 0, 0, 0, 0, 5],
            b"\0\x01m",
            &[0, 0, 0, 0, 0, 0, 3, 0xe8],
            &[0, 0, 0, 0, 0, 0, 7, 0xd0],
        ]);
        let record = CoordinatorRecord::OffsetCommit(offset_key(), Some(expiring));
        check(&record, &offset_key_bytes(1), Some(&first));
    }

    #[track_caller]
    fn check_old_commit(version: u8, with_leader_epoch: bool) {
        let leader_epoch: &[u8] = if with_leader_epoch { &[0, 0, 0, 9] } else { &[] };
        let value = bytes(&[
            &[0, version],
            &[0, 0, 0, 0, 0, 0, 0, 5],
            leader_epoch,
            b"\0\0",
            &[0, 0, 0, 0, 0, 0, 0, 1],
        ]);
        for number in [0, 1] {
            let read = CoordinatorRecord::from_bytes(offset_key_bytes(number), Some(value.clone()));
            let Ok(Some(CoordinatorRecord::OffsetCommit(key, Some(value)))) = read else {
                panic!("version {version}: {read:?}");
            };
            assert_eq!(key, offset_key());
            assert_eq!(value.offset, Some(Offset::new(5)));
            assert_eq!(value.leader_epoch, with_leader_epoch.then(|| LeaderEpoch::new(9)));
        }
    }

    #[test]
    fn older_offset_commits_are_read_under_both_keys() {
        check_old_commit(0, false);
        check_old_commit(2, false);
        check_old_commit(3, true);
    }

    /// Clients may commit −1; Kafka keeps it, so it may stand in a log.
    #[test]
    fn a_negative_offset_is_none() {
        let value = bytes(&[&[0, 2], &[0xff; 8], b"\0\0", &[0, 0, 0, 0, 0, 0, 0, 1]]);
        let read = CoordinatorRecord::from_bytes(offset_key_bytes(1), Some(value)).unwrap();
        let Some(CoordinatorRecord::OffsetCommit(_, Some(value))) = read else {
            panic!("{read:?}")
        };
        assert_eq!(value.offset, None);
    }

    fn group(members: Vec<MemberMetadata>) -> GroupMetadataValue {
        GroupMetadataValue {
            protocol_type: "consumer".into(),
            generation: 2,
            protocol: Some("range".into()),
            leader: Some("a".into()),
            current_state_timestamp: Some(Timestamp::from_millis(9)),
            members,
        }
    }

    #[test]
    fn group_metadata_has_kafkas_bytes() {
        let member = MemberMetadata {
            member_id: "a".into(),
            group_instance_id: None,
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            rebalance_timeout: 60_000,
            session_timeout: 10_000,
            subscription: Bytes::from_static(&[1, 2]),
            assignment: Bytes::from_static(&[3]),
        };
        let head = |version: u8, timestamp: &[u8]| {
            bytes(&[
                &[0, version],
                b"\0\x08consumer",
                &[0, 0, 0, 2],
                b"\0\x05range",
                b"\0\x01a",
                timestamp,
            ])
        };
        let key = bytes(&[&[0, 2], b"\0\x01g"]);
        let written = bytes(&[
            &head(3, &[0, 0, 0, 0, 0, 0, 0, 9]),
            &[0, 0, 0, 1],
            b"\0\x01a",
            &[0xff, 0xff],
            b"\0\x01c",
            b"\0\x0a/127.0.0.1",
            &[0, 0, 0xea, 0x60],
            &[0, 0, 0x27, 0x10],
            &[0, 0, 0, 2, 1, 2],
            &[0, 0, 0, 1, 3],
        ]);
        let group_key = GroupMetadataKey { group: "g".into() };
        let record =
            CoordinatorRecord::GroupMetadata(group_key.clone(), Some(group(vec![member.clone()])));
        check(&record, &key, Some(&written));
        check(&CoordinatorRecord::GroupMetadata(group_key.clone(), None), &key, None);

        let oldest = bytes(&[
            &head(0, &[]),
            &[0, 0, 0, 1],
            b"\0\x01a",
            b"\0\x01c",
            b"\0\x0a/127.0.0.1",
            &[0, 0, 0x27, 0x10],
            &[0, 0, 0, 2, 1, 2],
            &[0, 0, 0, 1, 3],
        ]);
        let read = CoordinatorRecord::from_bytes(key, Some(oldest)).unwrap();
        let expected = GroupMetadataValue {
            current_state_timestamp: None,
            ..group(vec![MemberMetadata { rebalance_timeout: -1, ..member }])
        };
        assert_eq!(read, Some(CoordinatorRecord::GroupMetadata(group_key, Some(expected))));
    }

    #[test]
    fn the_records_of_consumer_groups_have_kafkas_bytes() {
        use consumer_group_current_member_assignment_value::TopicPartitions;
        let key = ConsumerGroupMetadataKey { group_id: "g".into() };
        let value = ConsumerGroupMetadataValue { epoch: 7, metadata_hash: 0 };
        check(
            &CoordinatorRecord::ConsumerGroupMetadata(key, Some(value)),
            &bytes(&[&[0, 3], b"\0\x01g"]),
            Some(&bytes(&[&[0, 0], &[0, 0, 0, 7], &[0]])),
        );
        let key =
            ConsumerGroupCurrentMemberAssignmentKey { group_id: "g".into(), member_id: "m".into() };
        let partitions = vec![PartitionIndex::new(0), PartitionIndex::new(2)];
        let topic = TopicPartitions {
            topic_id: Uuid::from_bytes([9; 16]),
            partitions,
            assignment_epochs: None,
        };
        let value = ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch: 7,
            previous_member_epoch: 6,
            state: 1,
            assigned_partitions: vec![topic],
            partitions_pending_revocation: Vec::new(),
        };
        check(
            &CoordinatorRecord::ConsumerGroupCurrentMemberAssignment(key, Some(value)),
            &bytes(&[&[0, 8], b"\0\x01g", b"\0\x01m"]),
            Some(&bytes(&[
                &[0, 0],
                &[0, 0, 0, 7],
                &[0, 0, 0, 6],
                &[1],
                &[2],
                &[9; 16],
                &[3, 0, 0, 0, 0, 0, 0, 0, 2],
                &[0],
                &[1],
                &[0],
            ])),
        );
        let key = ConsumerGroupMemberMetadataKey { group_id: "g".into(), member_id: "m".into() };
        let value = ConsumerGroupMemberMetadataValue {
            client_id: "c".into(),
            client_host: "h".into(),
            subscribed_topic_names: vec!["t".into()],
            rebalance_timeout_ms: 1,
            ..ConsumerGroupMemberMetadataValue::default()
        };
        check(
            &CoordinatorRecord::ConsumerGroupMemberMetadata(key, Some(value)),
            &bytes(&[&[0, 5], b"\0\x01g", b"\0\x01m"]),
            Some(&bytes(&[
                &[0, 0],
                &[0, 0],
                b"\x02c",
                b"\x02h",
                b"\x02\x02t",
                &[0],
                &[0, 0, 0, 1],
                &[0],
                &[0],
            ])),
        );
    }

    #[test]
    fn records_of_other_kinds_are_passed_over_and_bad_ones_refused() {
        let read = |key: &[u8], value: Option<&[u8]>| {
            CoordinatorRecord::from_bytes(
                Bytes::copy_from_slice(key),
                value.map(Bytes::copy_from_slice),
            )
        };
        for number in [9, 10, 15, 17, 100] {
            assert_eq!(read(&[0, number, 1, 2], Some(&[])), Ok(None), "kind {number}");
        }
        let group: &[u8] = b"\0\x02\0\x01g";
        assert!(read(group, None).is_ok());
        let longer = [group, &[0]].concat();
        for bad_key in [&[][..], &[0], &[0xff, 0xff], &[0, 2], &group[..4], &longer] {
            assert!(read(bad_key, None).is_err(), "{bad_key:?}");
        }
        for bad_value in [&[][..], &[0], &[0, 5], &[0, 3, 0], &[0xff, 0xff]] {
            assert!(read(group, Some(bad_value)).is_err(), "{bad_value:?}");
        }
    }

    #[test]
    fn the_topics_of_a_subscription_are_read_in_every_version() {
        let topics = vec!["a".to_owned(), "b".to_owned()];
        let subscription =
            ConsumerProtocolSubscription { topics: topics.clone(), ..Default::default() };
        for version in ConsumerProtocolSubscription::VERSIONS.iter() {
            let metadata = numbered(version, version, &subscription).unwrap();
            assert_eq!(subscribed_topics(&metadata), Some(topics.clone()));
            assert_eq!(subscribed_topics(&metadata.slice(..metadata.len() / 2)), None);
        }
        assert_eq!(subscribed_topics(&Bytes::new()), None);
        assert_eq!(subscribed_topics(&Bytes::from_static(&[0xff; 20])), None);
    }

    /// Members are answered in the version in which they speak; one from after our time gets our newest.
    #[test]
    fn what_members_get_is_in_their_own_version_and_reads_back() {
        let topic = consumer_protocol_assignment::TopicPartition {
            topic: "t".into(),
            partitions: vec![PartitionIndex::new(2)],
        };
        let given =
            ConsumerProtocolAssignment { assigned_partitions: vec![topic], user_data: None };
        for (said, written) in [(0, 0), (1, 1), (3, 3), (9, 3), (-1, 0)] {
            let metadata = Bytes::copy_from_slice(&i16::to_be_bytes(said));
            let assignment = assignment_bytes(&given, &metadata).unwrap();
            assert_eq!(assignment[..2], i16::to_be_bytes(written), "{said}");
            assert_eq!(read_assignment(&assignment), Ok(given.clone()));
        }
        assert_eq!(assignment_bytes(&given, &Bytes::new()).unwrap()[..2], [0, 0]);
        assert!(read_assignment(&Bytes::new()).is_err());
        assert!(read_subscription(&Bytes::from_static(&[0xff, 0xff, 0, 0, 0, 0])).is_err());
        let newer = Bytes::from_static(&[
            0, 9, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 7, 0xff, 0xff, 1, 2, 3,
        ]);
        assert_eq!(read_subscription(&newer).map(|read| read.generation_id), Ok(7));
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_errors(key: Vec<u8>, value: Option<Vec<u8>>, number in 0..17i16) {
            let value = value.map(Bytes::from);
            _ = subscribed_topics(&Bytes::from(key.clone()));
            let said = [&number.to_be_bytes()[..], &key].concat().into();
            _ = read_subscription(&said);
            _ = read_assignment(&said);
            _ = CoordinatorRecord::from_bytes(key.clone().into(), value.clone());
            let numbered = [&number.to_be_bytes()[..], b"\0\x01g\0\x01t", &key].concat();
            let read = CoordinatorRecord::from_bytes(numbered.into(), value);
            if let Ok(Some(record)) = read {
                let again = CoordinatorRecord::from_bytes(
                    record.key_bytes().unwrap(),
                    record.value_bytes().unwrap(),
                );
                prop_assert!(again.is_ok_and(|again| again.is_some()));
            }
        }

        #[test]
        fn offset_commits_read_back(
            texts: (String, String, String), offset in 0..i64::MAX, epoch: Option<u16>,
            times: (i64, Option<u32>), id: [u8; 16],
        ) {
            let (group, topic, metadata) = texts;
            let expire_timestamp = times.1.map(|at| Timestamp::from_millis(i64::from(at)));
            let newest = expire_timestamp.is_none();
            let key = OffsetCommitKey { group, topic, partition: PartitionIndex::new(1) };
            let value = OffsetCommitValue {
                offset: Some(Offset::new(offset)),
                leader_epoch: epoch.filter(|_| newest).map(|at| LeaderEpoch::new(i32::from(at))),
                metadata,
                commit_timestamp: Timestamp::from_millis(times.0),
                expire_timestamp,
                topic_id: if newest { Uuid::from_bytes(id) } else { Uuid::ZERO },
            };
            let record = CoordinatorRecord::OffsetCommit(key, Some(value));
            let read = CoordinatorRecord::from_bytes(
                record.key_bytes().unwrap(),
                record.value_bytes().unwrap(),
            );
            prop_assert_eq!(read, Ok(Some(record)));
        }
    }
}
