//! Bytes of unknown origin: decoding never panics, and holds memory in proportion to the frame.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use ottla::protocol::frame::{RequestHeader, decode_request_header, encode_request_header};
use ottla::protocol::messages::Message;
use ottla::protocol::metadata_records::MetadataRecord;
use ottla::protocol::wire::{DecodeProblem, Reader, Writer};
use proptest::prelude::*;

use crate::round_trip::encode;
use crate::sample::{
    HeapBytes, Sample, Source, Visitor, list_elements, source_bytes, walk_messages,
};

/// Bytes in memory for one byte on the wire: the worst is an empty text of one byte in a list, which takes 24 bytes, and
/// a list that grew may be twice as long as its elements.
const BYTES_PER_BYTE_MAX: usize = 64;

fn check_decoding<M: Message + Sample + HeapBytes>(version: i16, frame: &Bytes) {
    let size = frame.len();
    let read = catch_unwind(AssertUnwindSafe(|| {
        M::decode(version, &mut Reader::new(frame.clone())).map(|message| message.heap_bytes())
    }));
    match read {
        Ok(Ok(heap)) => assert!(heap <= size * BYTES_PER_BYTE_MAX, "{heap} bytes of {size}"),
        Ok(Err(error)) => assert!(error.position <= size, "{error}"),
        Err(_) => panic!("{} version {version} panics on {frame:?}", M::NAME),
    }
}

/// Any bytes, to every message in every version.
struct Arbitrary(Bytes);

impl Visitor for Arbitrary {
    fn visit<M: Message + Sample + HeapBytes>(&mut self) {
        for version in M::VERSIONS.iter() {
            check_decoding::<M>(version, &self.0);
        }
    }
}

/// What a fault does to a frame.
#[derive(Clone, Debug)]
enum Fault {
    Cut(usize),
    Set(usize, u8),
    Insert(usize, u8),
    Remove(usize),
    LongestLength(usize),
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    let fault = prop_oneof![
        any::<usize>().prop_map(Fault::Cut),
        any::<(usize, u8)>().prop_map(|(at, byte)| Fault::Set(at, byte)),
        any::<(usize, u8)>().prop_map(|(at, byte)| Fault::Insert(at, byte)),
        any::<usize>().prop_map(Fault::Remove),
        any::<usize>().prop_map(Fault::LongestLength),
    ];
    prop::collection::vec(fault, 1..4)
}

fn damage(frame: &Bytes, faults: &[Fault]) -> Bytes {
    let mut bytes = frame.to_vec();
    for fault in faults {
        if bytes.is_empty() {
            break;
        }
        let size = bytes.len();
        match *fault {
            Fault::Cut(at) => bytes.truncate(at % size),
            Fault::Set(at, byte) => bytes[at % size] = byte,
            Fault::Insert(at, byte) => bytes.insert(at % size, byte),
            Fault::Remove(at) => _ = bytes.remove(at % size),
            Fault::LongestLength(at) => {
                let longest = [0x7f, 0xff, 0xff, 0xff];
                let end = (at % size + 4).min(size);
                let start = end.saturating_sub(4);
                bytes[start..end].copy_from_slice(&longest[..end - start]);
            }
        }
    }
    bytes.into()
}

/// Frames with faults, of every message in every version.
struct Damaged {
    source: Vec<u8>,
    faults: Vec<Fault>,
}

impl Visitor for Damaged {
    fn visit<M: Message + Sample + HeapBytes>(&mut self) {
        for version in M::VERSIONS.iter() {
            let message = M::sample(version, &mut Source::new(self.source.clone()));
            let frame = encode(&message, version).unwrap();
            check_decoding::<M>(version, &damage(&frame, &self.faults));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let bytes = Bytes::from(bytes);
        walk_messages(&mut Arbitrary(bytes.clone()));
        _ = decode_request_header(&mut Reader::new(bytes.clone()));
        _ = MetadataRecord::from_bytes(bytes);
    }

    #[test]
    fn damaged_frames_never_panic(source in source_bytes(), faults in faults()) {
        walk_messages(&mut Damaged { source, faults });
    }

    #[test]
    fn varints_read_back(number: i32, long: i64) {
        let mut out = Writer::new();
        out.varint(number);
        out.varlong(long);
        out.unsigned_varint(number.cast_unsigned());
        let mut input = Reader::new(out.finish().remove(0));
        prop_assert_eq!(input.varint(), Ok(number));
        prop_assert_eq!(input.varlong(), Ok(long));
        prop_assert_eq!(input.unsigned_varint(), Ok(number.cast_unsigned()));
        prop_assert_eq!(input.finish(), Ok(()));
    }
}

#[test]
fn an_element_of_any_list_takes_not_much_more_memory_than_bytes() {
    for (name, on_the_wire, in_memory) in list_elements() {
        let most = on_the_wire * BYTES_PER_BYTE_MAX / 2;
        assert!(*in_memory <= most, "{name}: {in_memory} bytes of {on_the_wire}");
    }
}

/// Reads a `FetchRequest` of version 12 whose tagged fields, at the end, are `tags`.
#[track_caller]
fn check_tags(tags: &[u8], expected: Result<u32, DecodeProblem>) {
    use ottla::protocol::messages::FetchRequest;
    let plain = encode(&FetchRequest::default(), 12).unwrap();
    let without_tags = &plain[..plain.len() - 1];
    let mut input = Reader::new([without_tags, tags].concat().into());
    let read = FetchRequest::decode(12, &mut input).map(|_| input.unknown_tags());
    assert_eq!(read.map_err(|error| error.problem), expected);
}

#[test]
fn unknown_tagged_fields_are_skipped_and_counted() {
    check_tags(&[0], Ok(0));
    check_tags(&[2, 5, 1, 0, 7, 0], Ok(2));
    check_tags(&[2, 0, 2, 2, b'a', 9, 3, 1, 2, 3], Ok(1));
    // Tag 1 is known from version 15 on only.
    check_tags(&[1, 1, 2, 9, 9], Ok(1));
}

#[test]
fn tags_that_do_not_rise_or_do_not_fit_are_refused() {
    check_tags(&[2, 5, 0, 5, 0], Err(DecodeProblem::TagOrder(5)));
    check_tags(&[2, 5, 0, 4, 0], Err(DecodeProblem::TagOrder(4)));
    check_tags(&[1, 0, 3, 2, b'a', 9], Err(DecodeProblem::TagSize(0)));
    check_tags(&[1, 0, 1, 2, b'a'], Err(DecodeProblem::Length { length: 1, left: 0 }));
    check_tags(&[1, 9, 4, 0], Err(DecodeProblem::Length { length: 4, left: 1 }));
    check_tags(&[1], Err(DecodeProblem::Short { needed: 1, left: 0 }));
    check_tags(&[255; 6], Err(DecodeProblem::Varint));
}

#[test]
fn a_lying_count_is_refused_before_anything_is_reserved() {
    use ottla::protocol::messages::MetadataRequest;
    let claims = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 0, 0]);
    let error = MetadataRequest::decode(4, &mut Reader::new(claims)).unwrap_err();
    assert_eq!(error.problem, DecodeProblem::Length { length: i64::from(i32::MAX), left: 2 });
    assert_eq!(
        error.to_string(),
        "MetadataRequest.topics at byte 4: length 2147483647 cannot be, 2 bytes are left"
    );
}

#[test]
fn a_header_is_read_where_api_and_version_are_unknown() {
    for (api_key, api_version) in [(-1, 0), (999, 3), (11, 9), (18, 77), (0, -1)] {
        let client_id = Some("a foreign client".to_owned());
        let header = RequestHeader { api_key, api_version, correlation_id: -5, client_id };
        let mut out = Writer::new();
        encode_request_header(&header, &mut out).unwrap();
        let mut input = Reader::new(out.finish().remove(0));
        assert_eq!(decode_request_header(&mut input), Ok(header));
        assert_eq!(input.finish(), Ok(()));
    }
}
