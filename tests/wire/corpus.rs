//! Frames that another implementation wrote: read whole, and written again to the same bytes.

use bytes::{Bytes, BytesMut};
use ottla::protocol::ApiKey;
use ottla::protocol::frame::{
    decode_request_header, decode_response, decode_response_header, encode_request_header,
    encode_response, take_frame,
};
use ottla::protocol::messages::Message;
use ottla::protocol::wire::{Reader, Writer};

use crate::sample::{HeapBytes, Sample, Visitor, walk_messages};

const FRAMES: &str = include_str!("../corpus/kafka_python.frames");

/// One line of the corpus.
struct Frame {
    message: String,
    version: i16,
    bytes: Bytes,
    checked: bool,
}

fn frames() -> Vec<Frame> {
    let lines = FRAMES.lines().filter(|line| !line.starts_with('#'));
    lines.map(parse_line).collect()
}

fn parse_line(line: &str) -> Frame {
    let [api, kind, version, hex] = line.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{line}");
    };
    let kind = if kind == "request" { "Request" } else { "Response" };
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    Frame {
        message: format!("{api}{kind}"),
        version: version.parse().unwrap(),
        bytes: (0..hex.len()).step_by(2).map(byte).collect(),
        checked: false,
    }
}

impl Visitor for Vec<Frame> {
    fn visit<M: Message + Sample + HeapBytes>(&mut self) {
        for frame in self.iter_mut().filter(|frame| frame.message == M::NAME) {
            match frame.message.strip_suffix("Response") {
                Some(api) => check_response::<M>(api, frame),
                None => check_request::<M>(frame),
            }
            frame.checked = true;
        }
    }
}

fn reader(frame: &Frame) -> Reader {
    let mut stream = BytesMut::from(&frame.bytes[..]);
    let body = take_frame(&mut stream, frame.bytes.len()).unwrap().unwrap();
    assert!(stream.is_empty());
    Reader::new(body)
}

fn check_request<M: Message>(frame: &Frame) {
    let mut input = reader(frame);
    let header = decode_request_header(&mut input).unwrap();
    assert_eq!(header.api_version, frame.version);
    assert_eq!(header.client_id.as_deref(), Some("kafka-python"));
    let request = M::decode(frame.version, &mut input).unwrap();
    input.finish().unwrap();
    let mut out = Writer::new();
    encode_request_header(&header, &mut out).unwrap();
    request.encode(frame.version, &mut out).unwrap();
    check_bytes(&frame.bytes[4..], &out.finish(), &request, frame);
}

fn check_response<M: Message>(api: &str, frame: &Frame) {
    let api = ApiKey::ALL.iter().copied().find(|known| known.name() == api).unwrap();
    let mut input = reader(frame);
    let correlation_id = decode_response_header(api, frame.version, &mut input).unwrap();
    assert_eq!(correlation_id, i32::from(frame.version) + 1);
    let response: M = decode_response(frame.version, &mut input).unwrap();
    let written = encode_response(correlation_id, api, frame.version, &response).unwrap();
    check_bytes(&frame.bytes, &written, &response, frame);
}

/// What we write is the same, or shorter where the other writes tagged fields that only say the default.
fn check_bytes<M: Message>(expected: &[u8], written: &[Bytes], message: &M, frame: &Frame) {
    let written: Bytes = written.iter().flatten().copied().collect();
    let writes_defaults = M::NAME == "FetchRequest" && frame.version >= 15
        || M::NAME == "FetchResponse" && frame.version >= 12
        || M::NAME == "ProduceResponse" && frame.version >= 10;
    if writes_defaults && written != expected {
        assert!(written.len() < expected.len(), "version {}: {message:?}", frame.version);
    } else {
        assert_eq!(written, expected, "version {}: {message:?}", frame.version);
    }
}

#[test]
fn frames_of_another_implementation_are_read_and_written_again() {
    let mut frames = frames();
    walk_messages(&mut frames);
    let unchecked = frames.iter().filter(|frame| !frame.checked).count();
    assert_eq!((unchecked, frames.len()), (0, 361));
}
