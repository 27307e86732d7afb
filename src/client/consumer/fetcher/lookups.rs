//! Questions of the owner for offsets, of partitions that need not be assigned: by time, or the ends of logs (pure).
//!
//! One at a time: the owner waits. An answer to one that was given up is dropped.
//!
//! Kafka: `OffsetFetcher.offsetsForTimes`, `beginningOffsets`, `endOffsets`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Effect, Fetcher, RequestToken, requests};
use crate::client::cluster_view::NodeKey;
use crate::client::consumer::offsets::OffsetAndTimestamp;
use crate::client::error::ClientError;
use crate::protocol::OffsetSpec;
use crate::protocol::messages::list_offsets_request::ListOffsetsPartition;
use crate::protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use crate::rpc::network_client::RpcError;
use crate::types::{BrokerId, ErrorCode, LeaderEpoch, Monotonic, Now, TopicPartition};

/// What was found; `None` where no record is that young.
pub(in crate::client::consumer) type Found = BTreeMap<TopicPartition, Option<OffsetAndTimestamp>>;

/// Questions, and how far they have come.
#[derive(Debug)]
pub(super) struct Lookup {
    /// What is not found yet.
    wanted: BTreeMap<TopicPartition, OffsetSpec>,
    found: Found,
    /// Requests in flight, and what each is about.
    asked: BTreeMap<RequestToken, (BrokerId, BTreeSet<TopicPartition>)>,
    failures: u32,
    not_before: Monotonic,
    last_error: Option<ErrorCode>,
    refused: Option<ClientError>,
}

impl Lookup {
    pub(super) fn topics(&self) -> impl Iterator<Item = &Arc<str>> {
        self.wanted.keys().map(|partition| &partition.topic)
    }

    /// What a leader said last that asking again may mend.
    pub(super) const fn last_error(&self) -> Option<ErrorCode> {
        self.last_error
    }

    /// When it goes on.
    pub(super) const fn deadline(&self) -> Monotonic {
        self.not_before
    }
}

impl Fetcher {
    /// Asks. A former question is given up.
    pub(in crate::client::consumer) fn begin_lookup(
        &mut self,
        wanted: BTreeMap<TopicPartition, OffsetSpec>,
    ) {
        self.end_lookup();
        self.lookup = Some(Lookup {
            wanted,
            found: Found::new(),
            asked: BTreeMap::new(),
            failures: 0,
            not_before: Monotonic::ZERO,
            last_error: None,
            refused: None,
        });
        self.want_topics();
    }

    /// Takes what was found, once all is.
    ///
    /// Errors: what asking again will not mend.
    pub(in crate::client::consumer) fn take_lookup(
        &mut self,
    ) -> Result<Option<Found>, ClientError> {
        let Some(lookup) = &mut self.lookup else { return Ok(None) };
        if let Some(error) = lookup.refused.take() {
            self.end_lookup();
            return Err(error);
        }
        if !lookup.wanted.is_empty() {
            return Ok(None);
        }
        let found = std::mem::take(&mut lookup.found);
        self.end_lookup();
        Ok(Some(found))
    }

    /// Gives the question up, where it is not answered yet.
    pub(in crate::client::consumer) fn end_lookup(&mut self) {
        if self.lookup.take().is_some() {
            self.want_topics();
        }
    }

    /// Asks the leaders of what is not asked about yet.
    pub(super) fn ask_lookup(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Some(lookup) = &self.lookup else { return };
        if lookup.not_before > now.monotonic {
            return;
        }
        let in_flight: BTreeSet<&TopicPartition> =
            lookup.asked.values().flat_map(|(_, partitions)| partitions).collect();
        let mut by_leader: BTreeMap<BrokerId, BTreeMap<TopicPartition, OffsetSpec>> =
            BTreeMap::new();
        let (mut is_leader_missing, mut refused) = (false, None);
        for (partition, wanted) in &lookup.wanted {
            let topic_error = self.view.topic_error(&partition.topic);
            if let Some(error) = topic_error.filter(|error| !error.is_retriable()) {
                let message = Some(format!("topic {}", partition.topic));
                refused = Some(ClientError::Answer { error, message });
            } else if in_flight.contains(partition) {
            } else if let Some(leader) = self.view.leader(partition) {
                by_leader.entry(leader).or_default().insert(partition.clone(), *wanted);
            } else {
                is_leader_missing = true;
            }
        }
        if is_leader_missing {
            self.view.request_update();
        }
        for (leader, wanted) in by_leader {
            self.ask_leader(leader, wanted, out);
        }
        let lookup = self.lookup.as_mut().expect("it was just looked at");
        lookup.refused = lookup.refused.take().or(refused);
    }

    fn ask_leader(
        &mut self,
        leader: BrokerId,
        wanted: BTreeMap<TopicPartition, OffsetSpec>,
        out: &mut Vec<Effect>,
    ) {
        let epoch = |partition: &TopicPartition| -> Option<LeaderEpoch> {
            self.view.partition(partition)?.leader_epoch
        };
        let questions = wanted.iter().map(|(partition, wanted)| {
            let question = ListOffsetsPartition {
                partition_index: partition.partition,
                current_leader_epoch: epoch(partition),
                timestamp: *wanted,
            };
            (&*partition.topic, question)
        });
        let request = ListOffsetsRequest {
            replica_id: None,
            isolation_level: self.config.isolation_level,
            topics: requests::by_topic(questions),
            timeout_ms: requests::millis_on_the_wire(self.config.common.request_timeout),
        };
        let target = self.view.broker(leader).expect("a leader is a broker that is known");
        let token = self.next_token();
        let lookup = self.lookup.as_mut().expect("it is asked for");
        lookup.asked.insert(token, (leader, wanted.into_keys().collect()));
        self.lookups.insert(token, leader);
        out.push(Effect::ListOffsets { target, token, request });
    }

    /// Takes an answer in, if it is one to such a question.
    pub(super) fn on_lookup(
        &mut self,
        now: Now,
        token: RequestToken,
        answer: &Result<ListOffsetsResponse, RpcError>,
    ) -> bool {
        let Some(leader) = self.lookups.remove(&token) else { return false };
        let node = NodeKey::Broker(leader);
        match answer {
            Ok(_) => self.view.on_node_answered(node),
            Err(_) => self.view.on_node_failed(node),
        }
        let Some(lookup) = &mut self.lookup else { return true };
        let Some((_, asked)) = lookup.asked.remove(&token) else { return true };
        let is_failed = match answer {
            Ok(response) => {
                lookup.take_in(response);
                asked.iter().any(|partition| lookup.wanted.contains_key(partition))
            }
            Err(RpcError::UnsupportedVersion { api }) => {
                let api = api.to_string();
                lookup.refused = Some(ClientError::UnsupportedVersion { api });
                false
            }
            Err(_) => true,
        };
        if is_failed {
            lookup.failures = lookup.failures.saturating_add(1);
            lookup.not_before = now.monotonic + self.backoff.pause(lookup.failures, &mut self.rng);
            self.view.request_update();
        }
        true
    }
}

impl Lookup {
    fn take_in(&mut self, response: &ListOffsetsResponse) {
        for topic in &response.topics {
            for answer in &topic.partitions {
                let partition = TopicPartition {
                    topic: topic.name.as_str().into(),
                    partition: answer.partition_index,
                };
                let error = answer.error_code;
                if error.is_none() {
                    if self.wanted.remove(&partition).is_some() {
                        let found = answer.offset.map(|offset| OffsetAndTimestamp {
                            offset,
                            timestamp: answer.timestamp,
                            leader_epoch: answer.leader_epoch,
                        });
                        self.found.insert(partition, found);
                    }
                } else if error.is_retriable() || error == ErrorCode::UnknownServerError {
                    self.last_error = Some(error);
                } else {
                    let message = Some(partition.to_string());
                    self.refused = Some(ClientError::Answer { error, message });
                }
            }
        }
    }
}
