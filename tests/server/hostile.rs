//! Those who do not speak the protocol lose their connection, and nobody else notices.

use std::io::Write;
use std::time::Duration;

use ottla::protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, Message, MetadataRequest,
};
use ottla::protocol::wire::Reader;
use ottla::types::{ErrorCode, Observation};

use crate::support::Server;

fn framed(body: &[u8]) -> Vec<u8> {
    let mut bytes = i32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(body);
    bytes
}

/// `bytes` close the connection with `error`; the server goes on.
#[track_caller]
fn check_refused(server: &Server, bytes: &[u8], error: ErrorCode) {
    let before = server.heard.all().len();
    let mut client = server.connect();
    client.stream.write_all(bytes).unwrap();
    assert!(client.is_closed(), "the connection is closed after {bytes:02x?}");
    let refused = Observation::ConnectionRefused { error };
    // The observation comes before the close, on another thread.
    let heard = server.heard.all();
    assert!(heard[before..].contains(&refused), "{:?}", &heard[before..]);
    let answer = server.connect().ask(4, &request());
    assert_eq!(answer.error_code, ErrorCode::None);
}

fn request() -> ApiVersionsRequest {
    ApiVersionsRequest {
        client_software_name: "test".to_owned(),
        client_software_version: "1.0".to_owned(),
    }
}

#[test]
fn foreign_protocols_and_garbage_are_closed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[("socket.request.max.bytes", "1000000")]);
    let tls_hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
    let invalid = ErrorCode::InvalidRequest;
    check_refused(&server, &tls_hello, invalid);
    check_refused(&server, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", invalid);
    check_refused(&server, &[0xff; 64], invalid);
    check_refused(&server, &1_000_001i32.to_be_bytes(), invalid);
    // Frames without a whole header, and with one that goes wrong.
    check_refused(&server, &framed(&[]), invalid);
    check_refused(&server, &framed(&[0, 18, 0, 0]), invalid);
    check_refused(&server, &framed(&[0, 18, 0, 0, 0, 0, 0, 1, 0x7f, 0xff, 1]), invalid);
    // APIs and versions that are not served: unknown, of controllers, too new, and the oldest of Produce.
    let unsupported = ErrorCode::UnsupportedVersion;
    check_refused(&server, &framed(&[0x7f, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff]), unsupported);
    check_refused(&server, &framed(&[0, 52, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0]), unsupported);
    check_refused(&server, &framed(&[0, 3, 0x7f, 0, 0, 0, 0, 1, 0xff, 0xff]), unsupported);
    check_refused(&server, &framed(&[0, 0, 0, 2, 0, 0, 0, 1, 0xff, 0xff]), unsupported);
    // A count that lies, and bytes behind the request.
    let metadata = [0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff];
    check_refused(&server, &framed(&[&metadata[..], &[0x7f, 0xff, 0xff, 0xff]].concat()), invalid);
    check_refused(&server, &framed(&[&metadata[..], &[0, 0, 0, 0, 9]].concat()), invalid);
    server.stop();
}

#[test]
fn a_frame_that_stops_in_its_middle_is_refused_when_the_peer_goes() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let mut client = server.connect();
    client.stream.write_all(&[0, 0, 0, 20, 0, 3]).unwrap();
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(client.is_closed());
}

#[test]
fn an_idle_connection_is_closed_and_one_in_use_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[("connections.max.idle.ms", "300")]);
    let (mut idle, mut busy) = (server.connect(), server.connect());
    for _ in 0..8 {
        busy.ask(4, &request());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(idle.is_closed());
    busy.ask(4, &request());
}

#[test]
fn no_more_connections_than_allowed_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[("max.connections.per.ip", "2")]);
    let (mut first, mut second) = (server.connect(), server.connect());
    first.ask(0, &ApiVersionsRequest::default());
    second.ask(0, &ApiVersionsRequest::default());
    assert!(server.connect().is_closed());
    drop(first);
    // The server sees the close a moment later.
    let served = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        let mut third = server.connect();
        third.send(0, &ApiVersionsRequest::default());
        third.frame().is_some()
    });
    assert!(served, "a place that was left is given away again");
}

#[test]
fn an_unknown_version_of_api_versions_gets_the_range_in_version_0() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let mut client = server.connect();
    // Version 9, correlation id 7, with a body that nobody can know.
    client.stream.write_all(&framed(&[0, 18, 0, 9, 0, 0, 0, 7, 0xff, 0xff, 1, 2, 3])).unwrap();
    let mut input = Reader::new(client.frame().unwrap());
    assert_eq!(input.int32().unwrap(), 7);
    let answer = ApiVersionsResponse::decode(0, &mut input).unwrap();
    input.finish().unwrap();
    assert_eq!(answer.error_code, ErrorCode::UnsupportedVersion);
    let ranges: Vec<_> =
        answer.api_keys.iter().map(|one| (one.api_key, one.min_version, one.max_version)).collect();
    assert_eq!(ranges, [(18, 0, 4)]);
    // The connection goes on.
    client.stream.write_all(&framed(&[0, 18, 0, 0, 0, 0, 0, 8, 0xff, 0xff])).unwrap();
    assert!(client.frame().is_some());
}

#[test]
fn requests_sent_one_behind_the_other_are_answered_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let mut client = server.connect();
    let mut all = Vec::new();
    for id in 0..200u8 {
        // Metadata version 1 of no topic, and ApiVersions, in turn.
        let body: &[u8] = if id % 2 == 0 {
            &[0, 3, 0, 1, 0, 0, 0, id, 0xff, 0xff, 0, 0, 0, 0]
        } else {
            &[0, 18, 0, 0, 0, 0, 0, id, 0xff, 0xff]
        };
        all.extend(framed(body));
    }
    client.stream.write_all(&all).unwrap();
    for id in 0..200 {
        let mut input = Reader::new(client.frame().unwrap());
        assert_eq!(input.int32().unwrap(), id);
    }
    let none = MetadataRequest { topics: Some(Vec::new()), ..MetadataRequest::default() };
    client.ask(9, &none);
}
