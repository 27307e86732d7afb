//! The ways to the other voters: two connections each, since a fetch may wait long for its answer and a vote must not wait
//! behind it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::protocol::messages::Request;
use crate::raft::{Event, QuorumRequest, QuorumResponse, RequestId};
use crate::rpc::driver::{CallOptions, Channel, ChannelConfig};
use crate::rpc::network_client::NetworkClientConfig;
use crate::rpc::{Backoff, Endpoint};
use crate::runtime::Env;
use crate::types::BrokerId;

/// The longest answer, in bytes: a fetch's records, which may be one batch more than was asked for, and what goes around them.
const RESPONSE_BYTES_MAX: usize = 64 << 20;
/// The pauses between attempts to connect (Kafka: `KafkaRaftManager.buildNetworkClient`).
const RECONNECT: Backoff =
    Backoff { first: Duration::from_millis(50), max: Duration::from_millis(500) };

/// An answer, or that there is none.
#[derive(Debug)]
struct Answer {
    from: BrokerId,
    id: RequestId,
    response: Option<QuorumResponse>,
}

#[derive(Debug)]
struct Ways {
    elections: Channel,
    fetches: Channel,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Network {
    request_timeout: Duration,
    voters: BTreeMap<BrokerId, Ways>,
    answers: mpsc::UnboundedReceiver<Answer>,
    /// At most one answer is under way for each request, and the machine asks each voter one thing at a time.
    answered: mpsc::UnboundedSender<Answer>,
}

impl Network {
    /// Ways to `voters`. Connections are made when they are needed.
    pub(super) fn new(
        node: BrokerId,
        voters: &[(BrokerId, Endpoint)],
        request_timeout: Duration,
        env: &Env,
    ) -> Self {
        let (answered, answers) = mpsc::unbounded_channel();
        let config = ChannelConfig {
            client_id: format!("raft-client-{node}"),
            network: NetworkClientConfig { reconnect: RECONNECT, setup_timeout: request_timeout },
            response_bytes_max: RESPONSE_BYTES_MAX,
        };
        let open = |(voter, endpoint): &(BrokerId, Endpoint)| {
            let channel = |purpose: &str| {
                let purpose = format!("raft {purpose} {voter}");
                Channel::open(endpoint.clone(), config.clone(), env, &purpose)
            };
            (*voter, Ways { elections: channel("elections"), fetches: channel("fetches") })
        };
        let others = voters.iter().filter(|(voter, _)| *voter != node);
        Self { request_timeout, voters: others.map(open).collect(), answers, answered }
    }

    pub(super) fn send(&self, to: BrokerId, id: RequestId, request: QuorumRequest) {
        let Some(ways) = self.voters.get(&to) else {
            unreachable!("only voters are asked, and all of them have an endpoint")
        };
        match request {
            QuorumRequest::Vote(request) => {
                self.ask(&ways.elections, to, id, request, QuorumResponse::Vote);
            }
            QuorumRequest::BeginQuorumEpoch(request) => {
                self.ask(&ways.elections, to, id, request, QuorumResponse::BeginQuorumEpoch);
            }
            QuorumRequest::EndQuorumEpoch(request) => {
                self.ask(&ways.elections, to, id, request, QuorumResponse::EndQuorumEpoch);
            }
            QuorumRequest::Fetch(request) => {
                self.ask(&ways.fetches, to, id, request, QuorumResponse::Fetch);
            }
            QuorumRequest::FetchSnapshot(request) => {
                self.ask(&ways.fetches, to, id, request, QuorumResponse::FetchSnapshot);
            }
            QuorumRequest::DescribeQuorum(request) => {
                self.ask(&ways.elections, to, id, request, QuorumResponse::DescribeQuorum);
            }
        }
    }

    fn ask<R>(
        &self,
        channel: &Channel,
        from: BrokerId,
        id: RequestId,
        request: R,
        wrap: fn(R::Response) -> QuorumResponse,
    ) where
        R: Request + Send + 'static,
        R::Response: Send + 'static,
    {
        let answered = self.answered.clone();
        let options = CallOptions::new::<R>(self.request_timeout);
        channel.submit(request, options, move |answer| {
            if let Err(error) = &answer {
                tracing::debug!(node = %from, api = %R::API, %error, "a voter did not answer");
            }
            let response = answer.ok().map(wrap);
            // The member may be gone: then nobody waits for it.
            let _ = answered.send(Answer { from, id, response });
        });
    }

    /// Waits for the next answer. Cancel-safe.
    pub(super) async fn answer(&mut self) -> Event {
        let Some(Answer { from, id, response }) = self.answers.recv().await else {
            unreachable!("a sender is kept")
        };
        Event::Response { from, id, response }
    }
}
