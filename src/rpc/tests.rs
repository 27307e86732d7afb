//! Goldens of one connection: `testdata/*.txt` holds events and what came of them. `UPDATE=1 cargo test` rewrites them.
//!
//! ```text
//! ask ID API MIN-MAX MS      a request that may be made in these versions, to be answered within so many ms
//! tell ID API MIN-MAX MS     the same, without answer
//! connected | broken         what became of the connection, or of the attempt
//! versions CORR API=MIN-MAX… the answer to ApiVersions
//! unsupported CORR [MAX]     its refusal, in version 0, with the highest version that is known there
//! answer CORR                a frame with this correlation id
//! written ID | tick MS
//! ```

use std::fmt::Write as _;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::Backoff;
use super::network_client::{
    Effect, Event, NetworkClient, NetworkClientConfig, RequestId, Submission,
};
use crate::protocol::frame::encode_response;
use crate::protocol::messages::ApiVersionsResponse;
use crate::protocol::messages::api_versions_response::ApiVersion;
use crate::protocol::{ApiKey, VersionRange};
use crate::types::{ErrorCode, Monotonic, Now, test_goldens};

struct Harness {
    client: NetworkClient,
    now: Monotonic,
    /// The version of the last ApiVersions request.
    asked_version: i16,
}

fn api(name: &str) -> ApiKey {
    *ApiKey::ALL.iter().find(|api| api.name() == name).unwrap()
}

fn range(text: &str) -> VersionRange {
    let (min, max) = text.split_once('-').unwrap();
    VersionRange::new(min.parse().unwrap(), max.parse().unwrap())
}

impl Harness {
    fn new() -> Self {
        let pause = Duration::from_millis(100);
        let config = NetworkClientConfig {
            reconnect: Backoff { first: pause, max: pause * 10 },
            setup_timeout: Duration::from_millis(1_000),
        };
        let client = NetworkClient::new(config, StdRng::seed_from_u64(1));
        Self { client, now: Monotonic::ZERO, asked_version: 0 }
    }

    fn event(&mut self, event: Event, text: &mut String) {
        let mut out = Vec::new();
        let now = Now { monotonic: self.now, ..Now::default() };
        self.client.handle(now, event, &mut out);
        for effect in out {
            match effect {
                Effect::Connect => text.push_str("  connect\n"),
                Effect::Disconnect => text.push_str("  disconnect\n"),
                Effect::Negotiate { correlation_id, version } => {
                    self.asked_version = version;
                    writeln!(text, "  ask ApiVersions v{version} as {correlation_id}").unwrap();
                }
                Effect::Send { id, correlation_id, version } => {
                    writeln!(text, "  send {} v{version} as {correlation_id}", id.0).unwrap();
                }
                Effect::Answer { id, .. } => writeln!(text, "  {}: answered", id.0).unwrap(),
                Effect::Sent(id) => writeln!(text, "  {}: sent", id.0).unwrap(),
                Effect::Fail(id, error) => {
                    let word = if error.may_be_carried_out() {
                        "may be carried out"
                    } else {
                        "surely not"
                    };
                    writeln!(text, "  {}: {error} ({word})", id.0).unwrap();
                }
            }
        }
    }

    fn submit(words: &[&str], is_answered: bool) -> Event {
        let [id, name, versions, millis] = words else { panic!("{words:?}") };
        Event::Submit(Submission {
            id: RequestId(id.parse().unwrap()),
            api: api(name),
            versions: range(versions),
            timeout: Duration::from_millis(millis.parse().unwrap()),
            is_answered,
        })
    }

    fn versions(&self, correlation_id: &str, words: &[&str], error: ErrorCode) -> Event {
        let ranges = words.iter().map(|word| {
            let (name, versions) = word.split_once('=').unwrap();
            let versions = range(versions);
            ApiVersion {
                api_key: api(name).key(),
                min_version: versions.min,
                max_version: versions.max,
            }
        });
        let response = ApiVersionsResponse {
            error_code: error,
            api_keys: ranges.collect(),
            ..ApiVersionsResponse::default()
        };
        let version = if error.is_none() { self.asked_version } else { 0 };
        let correlation_id = correlation_id.parse().unwrap();
        let frame =
            encode_response(correlation_id, ApiKey::ApiVersions, version, &response).unwrap();
        let frame: BytesMut = frame.into_iter().flatten().collect();
        Event::Frame(frame.freeze().slice(4..))
    }

    fn command(&mut self, words: &[&str], text: &mut String) {
        let event = match words {
            ["ask", words @ ..] => Self::submit(words, true),
            ["tell", words @ ..] => Self::submit(words, false),
            ["connected"] => Event::Connected,
            ["broken"] => Event::Disconnected("reset".to_owned()),
            ["versions", correlation_id, words @ ..] => {
                self.versions(correlation_id, words, ErrorCode::None)
            }
            ["unsupported", correlation_id, words @ ..] => {
                let ranges: Vec<String> =
                    words.iter().map(|max| format!("ApiVersions=0-{max}")).collect();
                let ranges: Vec<&str> = ranges.iter().map(String::as_str).collect();
                self.versions(correlation_id, &ranges, ErrorCode::UnsupportedVersion)
            }
            ["answer", correlation_id] => {
                let id: i32 = correlation_id.parse().unwrap();
                Event::Frame(Bytes::copy_from_slice(&id.to_be_bytes()))
            }
            ["garbage"] => Event::Frame(Bytes::from_static(b"no")),
            ["written", id] => Event::Written(RequestId(id.parse().unwrap())),
            ["tick", millis] => {
                let end = self.now + Duration::from_millis(millis.parse().unwrap());
                while let Some(deadline) = self.client.deadline()
                    && deadline <= end
                {
                    self.now = self.now.max(deadline);
                    self.event(Event::Tick, text);
                }
                self.now = end;
                return;
            }
            other => panic!("unknown command {other:?}"),
        };
        self.event(event, text);
    }

    fn play(commands: &str) -> String {
        let (mut harness, mut text) = (Self::new(), String::new());
        for line in commands.lines().filter(|line| !line.starts_with(' ')) {
            writeln!(text, "{line}").unwrap();
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                [""] | ["#", ..] => {}
                ["new"] => harness = Self::new(),
                words => harness.command(words, &mut text),
            }
        }
        text
    }
}

#[test]
fn goldens() {
    test_goldens::check("src/rpc/testdata", Harness::play);
}
