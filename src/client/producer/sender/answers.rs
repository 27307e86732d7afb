//! What the sender makes of answers, and of their absence (pure).

use super::{Effect, Sender};
use crate::client::cluster_view::{NodeKey, PartitionView};
use crate::client::error::SendCause;
use crate::client::producer::accumulator::PartitionQueue;
use crate::client::producer::batch::{Outcome, RequestToken, Stage};
use crate::protocol::compression::Codec;
use crate::protocol::messages::produce_response::{NodeEndpoint, PartitionProduceResponse};
use crate::protocol::messages::{MetadataResponse, ProduceResponse};
use crate::rpc::Endpoint;
use crate::rpc::network_client::RpcError;
use crate::types::{Acks, ErrorCode, Monotonic, Now, TopicPartition, Uuid};

/// What an answer, or none, says of a batch.
enum Verdict {
    Stored(Option<PartitionProduceResponse>),
    Refused { error: ErrorCode, message: Option<String> },
    Cut(RpcError),
}

impl<D> Sender<D> {
    pub(super) fn on_metadata(
        &mut self,
        now: Now,
        answer: Result<MetadataResponse, RpcError>,
        out: &mut Vec<Effect<D>>,
    ) {
        match answer {
            Ok(response) => self.view.on_response(now, response),
            Err(error) => self.view.on_failure(now, error.to_string()),
        }
        self.follow_leaders();
        out.push(Effect::MetadataChanged);
    }

    /// What waits for its back-off goes at once where a newer leader is known.
    fn follow_leaders(&mut self) {
        for (partition, queue) in &mut self.queues {
            if let Some(PartitionView { leader: Some(_), leader_epoch: Some(epoch) }) =
                self.view.partition(partition)
            {
                queue.on_leader(epoch);
            }
        }
    }

    pub(super) fn on_produce(
        &mut self,
        now: Now,
        token: RequestToken,
        answer: Result<ProduceResponse, RpcError>,
        out: &mut Vec<Effect<D>>,
    ) {
        let request = self.in_flight.remove(&token).expect("a request is answered once");
        let endpoints = answer.as_ref().map(|r| r.node_endpoints.clone()).unwrap_or_default();
        let is_failure = answer.is_err();
        for (partition, topic_id) in request.partitions {
            let verdict = match &answer {
                Err(error) => Verdict::Cut(error.clone()),
                Ok(_) if self.config.acks == Acks::None => Verdict::Stored(None),
                Ok(response) => match find_partition(response, &partition, topic_id) {
                    Some(answer) => self.read_answer(&partition, answer, &endpoints),
                    None => Verdict::Refused {
                        error: ErrorCode::UnknownServerError,
                        message: Some("the answer lacks the partition".to_owned()),
                    },
                },
            };
            self.on_verdict(now, token, &partition, verdict);
        }
        if is_failure {
            self.view.on_node_failed(NodeKey::Broker(request.node));
            self.view.request_update();
        } else {
            self.view.on_node_answered(NodeKey::Broker(request.node));
        }
        self.follow_leaders();
        self.tell(out);
    }

    fn read_answer(
        &mut self,
        partition: &TopicPartition,
        answer: &PartitionProduceResponse,
        endpoints: &[NodeEndpoint],
    ) -> Verdict {
        let error = answer.error_code;
        if error.is_none() {
            return Verdict::Stored(Some(answer.clone()));
        }
        if error == ErrorCode::DuplicateSequenceNumber && self.config.idempotence {
            // The broker has it, but no longer knows where.
            return Verdict::Stored(None);
        }
        if let Some((leader, epoch)) =
            answer.current_leader.leader_id.zip(answer.current_leader.leader_epoch)
        {
            let endpoint = endpoints.iter().find(|endpoint| endpoint.node_id == leader);
            let endpoint = endpoint.and_then(|endpoint| {
                let port = u16::try_from(endpoint.port).ok()?;
                Some(Endpoint { host: endpoint.host.clone(), port })
            });
            self.view.on_leader_hint(partition, leader, epoch, endpoint);
        }
        if is_metadata_stale(error) {
            self.view.request_update();
        }
        Verdict::Refused { error, message: answer.error_message.clone() }
    }

    fn on_verdict(
        &mut self,
        now: Now,
        token: RequestToken,
        partition: &TopicPartition,
        verdict: Verdict,
    ) {
        let queue = self.queues.get_mut(partition).expect("a batch in flight keeps its queue");
        let found =
            queue.batches.iter().position(|b| b.stage == Stage::InFlight { request: token });
        let index = found.expect("a batch in flight stays in its queue");
        match verdict {
            Verdict::Stored(answer) => on_stored(queue, index, answer.as_ref()),
            Verdict::Cut(error) => {
                let batch = &mut queue.batches[index];
                batch.may_be_stored |= error.may_be_carried_out();
                let cause = match error {
                    RpcError::TimedOut { .. } => SendCause::RequestTimeout,
                    RpcError::UnsupportedVersion { .. } | RpcError::Unwritable(_) => {
                        SendCause::UnsupportedVersion
                    }
                    RpcError::NotSent(_)
                    | RpcError::CutOff(_)
                    | RpcError::Malformed(_)
                    | RpcError::Closed => SendCause::Disconnected,
                };
                let may_retry = cause != SendCause::UnsupportedVersion;
                self.retry_or_give_up(now, partition, index, cause, may_retry);
            }
            Verdict::Refused { error, message } => {
                self.on_refused(now, partition, index, error, message);
            }
        }
    }

    fn on_refused(
        &mut self,
        now: Now,
        partition: &TopicPartition,
        index: usize,
        error: ErrorCode,
        message: Option<String>,
    ) {
        let queue = self.queues.get_mut(partition).expect("a batch in flight keeps its queue");
        let batch = &mut queue.batches[index];
        if error == ErrorCode::MessageTooLarge
            && batch.record_count() > 1
            && batch.outcome.is_none()
        {
            crate::mark!("producer splits a batch that is too large");
            return split(queue, index, self.config.compression);
        }
        batch.may_be_stored |= may_follow_an_append(error, self.config.acks);
        let is_sequence_error = self.config.idempotence
            && matches!(error, ErrorCode::OutOfOrderSequenceNumber | ErrorCode::UnknownProducerId);
        // Behind a batch that is retried the refusal was to be expected; the first one's means that something is missing.
        if is_sequence_error
            && let Some(stamp) = queue.batches[index].stamp
            && queue.is_first_unanswered(index)
        {
            queue.sequences.on_gap(stamp);
        }
        let cause = SendCause::Answer { error, message };
        let may_retry = error.is_retriable() || is_sequence_error;
        self.retry_or_give_up(now, partition, index, cause, may_retry);
    }

    fn retry_or_give_up(
        &mut self,
        now: Now,
        partition: &TopicPartition,
        index: usize,
        cause: SendCause,
        may_retry: bool,
    ) {
        let queue = self.queues.get_mut(partition).expect("a batch in flight keeps its queue");
        let batch = &mut queue.batches[index];
        let has_time = batch.created + self.config.delivery_timeout > now.monotonic;
        if batch.outcome.is_some() {
            batch.stage = Stage::Finished;
        } else if may_retry && batch.attempts <= self.config.retries && has_time {
            let pause = self.backoff.pause(batch.attempts, &mut self.rng);
            batch.stage = Stage::Waiting { not_before: now.monotonic + pause };
        } else {
            batch.stage = Stage::Finished;
            queue.decide(index, Outcome::Failed(cause));
        }
    }
}

fn on_stored<D>(
    queue: &mut PartitionQueue<D>,
    index: usize,
    answer: Option<&PartitionProduceResponse>,
) {
    let batch = &mut queue.batches[index];
    batch.stage = Stage::Finished;
    if let Some(stamp) = batch.stamp {
        queue.sequences.on_acked(stamp, batch.record_count());
    }
    let outcome = Outcome::Stored {
        base_offset: answer.and_then(|answer| answer.base_offset),
        log_append_time: answer
            .and_then(|answer| answer.log_append_time_ms)
            .filter(|time| time.millis() >= 0),
    };
    queue.decide(index, outcome);
}

fn split<D>(queue: &mut PartitionQueue<D>, index: usize, codec: Codec) {
    let batch = queue.batches.remove(index).expect("it was just looked at");
    for (offset, mut half) in batch.split(codec).into_iter().enumerate() {
        half.stage = Stage::Waiting { not_before: Monotonic::ZERO };
        queue.batches.insert(index + offset, half);
    }
}

fn find_partition<'a>(
    response: &'a ProduceResponse,
    partition: &TopicPartition,
    topic_id: Uuid,
) -> Option<&'a PartitionProduceResponse> {
    let is_it = |name: &str, id: Uuid| {
        name == &*partition.topic || (name.is_empty() && id == topic_id && id != Uuid::ZERO)
    };
    let topic = response.responses.iter().find(|topic| is_it(&topic.name, topic.topic_id))?;
    topic.partition_responses.iter().find(|answer| answer.index == partition.partition)
}

/// Kafka: `InvalidMetadataException` and its kin.
fn is_metadata_stale(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::NotLeaderOrFollower
            | ErrorCode::LeaderNotAvailable
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::InconsistentTopicId
            | ErrorCode::FencedLeaderEpoch
            | ErrorCode::UnknownLeaderEpoch
            | ErrorCode::KafkaStorageError
            | ErrorCode::NetworkException
            | ErrorCode::ReplicaNotAvailable
            | ErrorCode::ListenerNotFound
    )
}

/// Whether a broker also gives this answer for a batch that it has appended.
///
/// With `acks=all` the answer comes after the append, and by then the partition may have moved, be gone, or lack replicas;
/// a storage error may strike while the write is made durable. What refuses a batch by what it is, or by its place in the
/// sequence, comes before the append.
#[expect(clippy::wildcard_enum_match_arm, reason = "what is not named here may mean anything")]
fn may_follow_an_append(error: ErrorCode, acks: Acks) -> bool {
    match error {
        ErrorCode::CorruptMessage
        | ErrorCode::InvalidTopicException
        | ErrorCode::RecordListTooLarge
        | ErrorCode::MessageTooLarge
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::InvalidRequiredAcks
        | ErrorCode::TopicAuthorizationFailed
        | ErrorCode::ClusterAuthorizationFailed
        | ErrorCode::InvalidTimestamp
        | ErrorCode::UnsupportedVersion
        | ErrorCode::InvalidRequest
        | ErrorCode::UnsupportedForMessageFormat
        | ErrorCode::PolicyViolation
        | ErrorCode::OutOfOrderSequenceNumber
        | ErrorCode::InvalidProducerEpoch
        | ErrorCode::UnknownProducerId
        | ErrorCode::UnsupportedCompressionType
        | ErrorCode::InvalidRecord
        | ErrorCode::ThrottlingQuotaExceeded
        | ErrorCode::UnknownTopicId
        | ErrorCode::InvalidTxnState
        | ErrorCode::InvalidProducerIdMapping => false,
        ErrorCode::NotLeaderOrFollower
        | ErrorCode::UnknownTopicOrPartition
        | ErrorCode::LeaderNotAvailable
        | ErrorCode::FencedLeaderEpoch
        | ErrorCode::UnknownLeaderEpoch => acks == Acks::All,
        _ => true,
    }
}
