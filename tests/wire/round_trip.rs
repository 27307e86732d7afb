//! What is written is read back, in every version of every message.

use bytes::{Bytes, BytesMut};
use ottla::protocol::messages::{Message, Request, versions_of};
use ottla::protocol::metadata_records::MetadataRecord;
use ottla::protocol::wire::{EncodeError, EncodeProblem, Reader, Writer};
use proptest::prelude::*;

use crate::sample::{
    HeapBytes, RequestVisitor, Sample, Source, Visitor, source_bytes, walk_messages, walk_requests,
};

pub(crate) fn encode<M: Message>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut out = Writer::new();
    message.encode(version, &mut out)?;
    let expected = out.len();
    let joined: BytesMut = out.finish().into_iter().flatten().collect();
    assert_eq!(joined.len(), expected);
    Ok(joined.freeze())
}

struct ReadsBack(Vec<u8>);

impl Visitor for ReadsBack {
    fn visit<M: Message + Sample + HeapBytes>(&mut self) {
        for version in M::VERSIONS.iter() {
            let message = M::sample(version, &mut Source::new(self.0.clone()));
            let frame = encode(&message, version).unwrap();
            let mut input = Reader::new(frame);
            assert_eq!(M::decode(version, &mut input).unwrap(), message, "version {version}");
            input.finish().unwrap();
        }
    }
}

struct ReadsBackFromOlder(Vec<u8>);

impl Visitor for ReadsBackFromOlder {
    fn visit<M: Message + Sample + HeapBytes>(&mut self) {
        let newest = M::sample(M::VERSIONS.max, &mut Source::new(self.0.clone()));
        for version in M::VERSIONS.iter() {
            match encode(&newest, version) {
                Ok(frame) => {
                    let mut input = Reader::new(frame.clone());
                    let read = M::decode(version, &mut input).unwrap();
                    input.finish().unwrap();
                    assert_eq!(encode(&read, version).unwrap(), frame, "{} {version}", M::NAME);
                }
                Err(EncodeError { problem, .. }) => match problem {
                    EncodeProblem::Unsupported(at) | EncodeProblem::Null(at) => {
                        assert_eq!(at, version);
                    }
                    EncodeProblem::TooLong(_) | EncodeProblem::Version(_) => panic!("{problem}"),
                },
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_message_reads_back_in_every_version(bytes in source_bytes()) {
        walk_messages(&mut ReadsBack(bytes));
    }

    #[test]
    fn what_an_older_version_cannot_carry_is_refused_or_left_out(bytes in source_bytes()) {
        walk_messages(&mut ReadsBackFromOlder(bytes));
    }
}

struct Defaults;

impl Visitor for Defaults {
    fn visit<M: Message + Sample + HeapBytes>(&mut self) {
        for version in M::VERSIONS.iter() {
            match encode(&M::default(), version) {
                Ok(frame) => {
                    let read = M::decode(version, &mut Reader::new(frame)).unwrap();
                    assert_eq!(read, M::default(), "{} version {version}", M::NAME);
                }
                // No default is right for a list or text that only some versions allow to be null.
                Err(error) => assert_eq!(error.problem, EncodeProblem::Null(version)),
            }
        }
        for version in [M::VERSIONS.min - 1, M::VERSIONS.max + 1] {
            let refused = encode(&M::default(), version).unwrap_err();
            assert_eq!(refused.problem, EncodeProblem::Version(version));
            assert!(M::decode(version, &mut Reader::new(Bytes::new())).is_err());
        }
    }
}

#[test]
fn default_messages_read_back_and_unknown_versions_are_refused() {
    walk_messages(&mut Defaults);
}

struct Flexible;

impl RequestVisitor for Flexible {
    fn visit<R: Request>(&mut self) {
        for version in R::VERSIONS.iter() {
            let flexible = R::API.is_flexible(version);
            assert_eq!(R::FLEXIBLE_FROM.is_some_and(|from| version >= from), flexible);
            assert_eq!(R::Response::FLEXIBLE_FROM.is_some_and(|from| version >= from), flexible);
        }
        assert_eq!(R::Response::VERSIONS, R::VERSIONS, "{}", R::NAME);
        assert_eq!(versions_of(R::API), Some(R::VERSIONS));
        assert_eq!(R::NAME, format!("{}Request", R::API));
    }
}

#[test]
fn the_table_of_apis_agrees_with_the_table_of_messages() {
    walk_requests(&mut Flexible);
}

#[test]
fn metadata_records_carry_their_type_and_version() {
    use ottla::protocol::metadata_records::{FeatureLevelRecord, NoOpRecord};
    let record: MetadataRecord =
        FeatureLevelRecord { name: "metadata.version".into(), feature_level: 27 }.into();
    let bytes = record.to_bytes(0).unwrap();
    assert_eq!(bytes, &b"\x01\x0c\x00\x11metadata.version\x00\x1b\x00"[..]);
    assert_eq!(MetadataRecord::from_bytes(bytes.clone()), Ok((record, 0)));
    let longer = [&bytes[..], &[0]].concat();
    assert!(MetadataRecord::from_bytes(longer.into()).is_err(), "garbage after a record");
    let no_op = MetadataRecord::from(NoOpRecord::default()).to_bytes(0).unwrap();
    assert_eq!(no_op, &[1, 20, 0, 0][..]);
    for refused in [&[0, 20, 0, 0][..], &[2, 20, 0, 0], &[1, 6, 0, 0], &[1, 20, 1, 0], &[1], &[]] {
        assert!(MetadataRecord::from_bytes(Bytes::copy_from_slice(refused)).is_err());
    }
}

/// It once shadowed the version that is being read.
#[test]
fn a_field_called_version_does_not_say_how_the_rest_is_read() {
    use ottla::protocol::metadata_records::LeaderChangeMessage;
    use ottla::protocol::metadata_records::leader_change_message::Voter;
    let message =
        LeaderChangeMessage { version: 0, voters: vec![Voter::default()], ..Default::default() };
    let frame = encode(&message, 1).unwrap();
    assert_eq!(LeaderChangeMessage::decode(1, &mut Reader::new(frame)), Ok(message));
}
