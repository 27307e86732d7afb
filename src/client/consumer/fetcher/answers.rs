//! What the consumer makes of answers, and of their absence (pure).

use super::{Asked, FetchPosition, Fetcher, Loss, Position, ReadReplica, RequestToken};
use crate::client::cluster_view::NodeKey;
use crate::client::consumer::completed_fetch::{CompletedFetch, ReadRules};
use crate::client::error::ClientError;
use crate::protocol::messages::fetch_response::PartitionData;
use crate::protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use crate::protocol::messages::offset_for_leader_epoch_response::EpochEndOffset;
use crate::protocol::messages::{FetchResponse, ListOffsetsResponse, OffsetForLeaderEpochResponse};
use crate::rpc::Endpoint;
use crate::rpc::network_client::RpcError;
use crate::types::{ErrorCode, LeaderEpoch, Monotonic, Now, Offset, TopicPartition};

impl Fetcher {
    /// Ends a request: the partitions it was about of which nothing else is asked by now.
    fn end<T>(&mut self, token: RequestToken, answer: &Result<T, RpcError>) -> Vec<Asked> {
        let request = self.in_flight.remove(&token).expect("a request is answered once");
        let node = NodeKey::Broker(request.node);
        match answer {
            Ok(_) => self.view.on_node_answered(node),
            Err(_) => self.view.on_node_failed(node),
        }
        let partitions = &mut self.partitions;
        request
            .partitions
            .into_iter()
            .filter(|asked| match partitions.get_mut(&asked.partition) {
                Some(state) => state.asked.take_if(|asked| *asked == token).is_some(),
                None => false,
            })
            .collect()
    }

    /// Asks again after a pause; at once where a newer leader is known than the one that was asked.
    fn retry_later(&mut self, now: Now, asked: &Asked) {
        let state =
            self.partitions.get_mut(&asked.partition).expect("an answer to an old question");
        state.read_replica = None;
        state.failures = state.failures.saturating_add(1);
        state.not_before = now.monotonic + self.backoff.pause(state.failures, &mut self.rng);
        let known = self.view.partition(&asked.partition);
        if known
            .is_some_and(|known| known.leader.is_some() && known.leader_epoch > asked.leader.epoch)
        {
            state.not_before = Monotonic::ZERO;
        }
    }

    /// The request has no answer.
    fn on_no_answer(&mut self, now: Now, partitions: &[Asked], error: Option<RpcError>) {
        self.view.request_update();
        partitions.iter().for_each(|asked| self.retry_later(now, asked));
        if let Some(RpcError::UnsupportedVersion { api }) = error {
            self.errors.push_back(ClientError::UnsupportedVersion { api: api.to_string() });
        }
    }

    // ---- ends of logs ----

    pub(super) fn on_offsets(
        &mut self,
        now: Now,
        token: RequestToken,
        answer: Result<ListOffsetsResponse, RpcError>,
    ) {
        let partitions = self.end(token, &answer);
        let response = match answer {
            Ok(response) => response,
            Err(error) => return self.on_no_answer(now, &partitions, Some(error)),
        };
        for asked in partitions {
            let partition = &asked.partition;
            let topic = response.topics.iter().find(|topic| *topic.name == *partition.topic);
            let answer = topic.and_then(|topic| {
                topic.partitions.iter().find(|p| p.partition_index == partition.partition)
            });
            match answer {
                Some(ListOffsetsPartitionResponse {
                    error_code: ErrorCode::None,
                    offset: Some(offset),
                    leader_epoch,
                    ..
                }) => {
                    let state = self.partitions.get_mut(partition).expect("it was just there");
                    // The epoch is not the one of a record that was read: there is nothing to be checked.
                    state.position = Position::At(FetchPosition { offset: *offset, epoch: None });
                    state.failures = 0;
                    if let Some(epoch) = leader_epoch {
                        self.view.on_epoch_heard_of(partition, *epoch);
                    }
                }
                Some(answer) if !answer.error_code.is_none() => {
                    self.on_partition_error(now, &asked, answer.error_code);
                }
                Some(_) | None => self.on_no_answer(now, &[asked], None),
            }
        }
    }

    // ---- ends of epochs ----

    pub(super) fn on_epoch_ends(
        &mut self,
        now: Now,
        token: RequestToken,
        answer: Result<OffsetForLeaderEpochResponse, RpcError>,
    ) {
        let partitions = self.end(token, &answer);
        let response = match answer {
            Ok(response) => response,
            Err(RpcError::UnsupportedVersion { .. }) => {
                // A broker of before KIP-320: nothing can be checked there.
                for asked in partitions {
                    self.on_checked(&asked);
                }
                return;
            }
            Err(error) => return self.on_no_answer(now, &partitions, Some(error)),
        };
        for asked in partitions {
            let partition = &asked.partition;
            let topic = response.topics.iter().find(|topic| *topic.topic == *partition.topic);
            let answer = topic.and_then(|topic| {
                topic.partitions.iter().find(|p| p.partition == partition.partition)
            });
            match answer {
                Some(EpochEndOffset {
                    error_code: ErrorCode::None,
                    leader_epoch,
                    end_offset,
                    ..
                }) => {
                    self.on_epoch_end(&asked, *leader_epoch, *end_offset);
                }
                Some(answer) => self.on_partition_error(now, &asked, answer.error_code),
                None => self.on_no_answer(now, &[asked], None),
            }
        }
    }

    /// The leader has what was read.
    fn on_checked(&mut self, asked: &Asked) {
        let state =
            self.partitions.get_mut(&asked.partition).expect("an answer to an old question");
        state.checked = Some(asked.leader);
        state.failures = 0;
    }

    /// Compares the position with the largest epoch at or below its own that the leader has, and where that ends.
    ///
    /// Kafka: `SubscriptionState.maybeCompleteValidation`. There only the end counts. A smaller epoch is proof as well: the
    /// leader lacks the record before the position, whatever it has in that place.
    fn on_epoch_end(&mut self, asked: &Asked, told: Option<LeaderEpoch>, end: Option<Offset>) {
        let position = asked.position;
        let (Some(told), Some(end)) = (told, end) else {
            crate::mark!("consumer reads from a leader that never heard of the epoch it read last");
            return self.on_truncated(asked, None);
        };
        if end >= position.offset && Some(told) >= position.epoch {
            return self.on_checked(asked);
        }
        crate::mark!("consumer's position was cut off");
        self.on_truncated(
            asked,
            Some(FetchPosition { offset: end.min(position.offset), epoch: Some(told) }),
        );
    }

    /// The log was cut below the position: goes back to where it is known to differ, if that is known.
    fn on_truncated(&mut self, asked: &Asked, diverging: Option<FetchPosition>) {
        let position = asked.position.offset;
        let loss = Loss::Truncated { position, diverging: diverging.map(|at| at.offset) };
        let by_policy = self.reset_or(loss);
        let state =
            self.partitions.get_mut(&asked.partition).expect("an answer to an old question");
        state.failures = 0;
        state.position = match (by_policy, diverging) {
            (
                Position::Reset(_) | Position::Refused { .. } | Position::At(_) | Position::Unset,
                Some(diverging),
            ) => {
                state.checked = Some(asked.leader);
                Position::At(diverging)
            }
            (by_policy, _) => by_policy,
        };
    }

    // ---- records ----

    pub(super) fn on_fetch(
        &mut self,
        now: Now,
        token: RequestToken,
        answer: Result<FetchResponse, RpcError>,
    ) {
        let partitions = self.end(token, &answer);
        let response = match answer {
            Ok(response) if response.error_code.is_none() => response,
            Ok(_) => return self.on_no_answer(now, &partitions, None),
            Err(error) => return self.on_no_answer(now, &partitions, Some(error)),
        };
        self.learn_leaders(&response);
        for asked in partitions {
            let topic = response.responses.iter().find(|topic| {
                *topic.topic == *asked.partition.topic
                    || (topic.topic.is_empty() && topic.topic_id == asked.topic_id)
            });
            let answer = topic.and_then(|topic| {
                topic.partitions.iter().find(|p| p.partition_index == asked.partition.partition)
            });
            match answer {
                Some(answer) => self.on_fetched(now, asked, answer),
                None => self.retry_later(now, &asked),
            }
        }
    }

    fn on_fetched(&mut self, now: Now, asked: Asked, answer: &PartitionData) {
        if answer.error_code == ErrorCode::OffsetOutOfRange {
            return self.on_out_of_range(now, &asked);
        }
        if !answer.error_code.is_none() {
            return self.on_partition_error(now, &asked, answer.error_code);
        }
        let diverging = &answer.diverging_epoch;
        if diverging.epoch.is_some() || diverging.end_offset.is_some() {
            return self.on_epoch_end(&asked, diverging.epoch, diverging.end_offset);
        }
        let state =
            self.partitions.get_mut(&asked.partition).expect("an answer to an old question");
        state.failures = 0;
        state.not_before = Monotonic::ZERO;
        if let Some(id) = answer.preferred_read_replica {
            crate::mark!("consumer is sent to another replica");
            let until = now.monotonic + self.config.common.metadata_age_max;
            state.read_replica = Some(ReadReplica { id, until });
        }
        let Some(records) = answer.records.as_ref().filter(|records| !records.is_empty()) else {
            return;
        };
        let rules = ReadRules {
            check_crcs: self.config.check_crcs,
            isolation_level: self.config.isolation_level,
        };
        let aborted = answer.aborted_transactions.iter().flatten();
        let aborted = aborted.map(|aborted| (aborted.first_offset, aborted.producer_id));
        let from = (asked.position.offset, asked.position.epoch);
        self.buffer.push_back(CompletedFetch::new(asked.partition, from, records, aborted, rules));
    }

    /// The log does not reach to the position, or no longer begins before it. Of another replica than the leader that says
    /// nothing: it may be behind.
    fn on_out_of_range(&mut self, now: Now, asked: &Asked) {
        let by_policy = self.reset_or(Loss::OutOfRange(Some(asked.position.offset)));
        let state =
            self.partitions.get_mut(&asked.partition).expect("an answer to an old question");
        if state.read_replica.take().is_some() {
            crate::mark!("consumer leaves a replica that is behind");
            state.not_before = now.monotonic;
            return;
        }
        crate::mark!("consumer's position is out of range");
        state.position = if let Position::Reset(then) = by_policy {
            Position::Refused { at: asked.position, by: asked.leader, then }
        } else {
            by_policy
        };
    }

    fn on_partition_error(&mut self, now: Now, asked: &Asked, error: ErrorCode) {
        self.retry_later(now, asked);
        let partition = asked.partition.clone();
        if error == ErrorCode::CorruptMessage {
            let offset = match self.partitions[&partition].position {
                Position::At(position) => position.offset,
                Position::Reset(_)
                | Position::Refused { .. }
                | Position::Lost(_)
                | Position::Unset => Offset::ZERO,
            };
            let reason = "the broker found its own copy corrupt".to_owned();
            let error = Some(error);
            self.errors.push_back(ClientError::CorruptBatch { partition, offset, reason, error });
        } else if error.is_retriable() || error == ErrorCode::UnknownServerError {
            self.view.request_update();
        } else {
            let message = Some(partition.to_string());
            self.errors.push_back(ClientError::Answer { error, message });
        }
    }

    /// Takes the hints of a broker that no longer leads (KIP-951).
    fn learn_leaders(&mut self, response: &FetchResponse) {
        for topic in &response.responses {
            let name = self.partitions.keys().map(|partition| &partition.topic).find(|name| {
                *topic.topic == ***name
                    || (topic.topic.is_empty()
                        && self
                            .view
                            .topic(name)
                            .is_some_and(|t| t.topic_id == Some(topic.topic_id)))
            });
            let Some(name) = name.cloned() else { continue };
            for answer in &topic.partitions {
                let hint = answer.current_leader.leader_id.zip(answer.current_leader.leader_epoch);
                let Some((leader, epoch)) = hint else { continue };
                let endpoint = response.node_endpoints.iter().find(|e| e.node_id == leader);
                let endpoint = endpoint.and_then(|endpoint| {
                    let port = u16::try_from(endpoint.port).ok()?;
                    Some(Endpoint { host: endpoint.host.clone(), port })
                });
                let partition =
                    TopicPartition { topic: name.clone(), partition: answer.partition_index };
                self.view.on_leader_hint(&partition, leader, epoch, endpoint);
            }
        }
    }
}
