//! How far the owner has read, on its way to the coordinator (pure).
//!
//! Commits go out in the order in which they were made, on one connection. One that failed in a way that may pass is sent again, but
//! only while it is the newest: behind a newer one it would take the group back to where it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{About, Asked, Effect, Identity, Membership, Protocol, Retry};
use crate::client::consumer::assignors::Assignment;
use crate::client::consumer::offsets::Offsets;
use crate::client::error::ClientError;
use crate::protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use crate::protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use crate::rpc::network_client::RpcError;
use crate::types::{ErrorCode, Monotonic, TopicPartition};

/// The generation of a committer that is no member.
const NO_GENERATION: i32 = -1;

const TAKEN: &str = "the group took something of it away meanwhile: others read it";

pub(super) const REBALANCING: &str =
    "the group rebalances: poll, then commit what is still assigned";
pub(super) const NO_MEMBER: &str =
    "this consumer is not in that generation of the group any more: what it read is read by others";
pub(super) const FENCED: &str = "another consumer has the same group.instance.id";

/// Names a commit of the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::client::consumer) struct CommitId(pub(in crate::client::consumer) u64);

/// A commit's place among all that were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CommitNumber(u64);

/// Who commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// `enable.auto.commit`: the next one tries again.
    Automatic,
    /// What was revoked.
    Revoked,
    /// The owner.
    Owner(CommitId),
}

#[derive(Debug)]
pub(super) struct Commit {
    offsets: Offsets,
    pub(super) style: Style,
    /// Who the member was when it was made: in a later generation others may have read on.
    pub(super) identity: Identity,
    /// Whether something of it was taken from the owner since it was made: others may have read on there.
    pub(super) is_late: bool,
    is_asked: bool,
    pub(super) retry: Retry,
    pub(super) deadline: Monotonic,
    /// Why it is not done yet.
    last_error: Option<ClientError>,
}

/// What a refused commit says of the member, and why.
pub(super) enum Refusal {
    /// It may come better.
    Passing(&'static str),
    /// It is of no use to send it again.
    ForGood(&'static str),
}

/// What came of an attempt.
enum Outcome {
    Done,
    /// It may come better.
    Again(ClientError),
    Refused(ClientError),
}

impl<P: Protocol> Membership<P> {
    pub(super) fn begin_commit(
        &mut self,
        now: Monotonic,
        id: CommitId,
        offsets: Offsets,
        out: &mut Vec<Effect>,
    ) {
        if offsets.is_empty() {
            return out.push(Effect::CommitEnded(id, Ok(())));
        }
        let deadline = now + self.config.api_timeout;
        self.add_commit(offsets, Style::Owner(id), deadline);
    }

    pub(super) fn add_commit(
        &mut self,
        offsets: Offsets,
        style: Style,
        deadline: Monotonic,
    ) -> CommitNumber {
        self.last_commit = CommitNumber(self.last_commit.0 + 1);
        let commit = Commit {
            offsets,
            style,
            identity: self.identity.clone(),
            is_late: false,
            is_asked: false,
            retry: Retry::default(),
            deadline,
            last_error: None,
        };
        self.commits.insert(self.last_commit, commit);
        self.last_commit
    }

    pub(super) fn auto_commit_if_due(&mut self, now: Monotonic, out: &mut Vec<Effect>) {
        let Some(interval) = self.config.auto_commit_interval else { return };
        let reads = P::is_settled(self) || !self.by_hand.is_empty();
        if reads && self.auto_commit_at <= now && self.closing.is_none() {
            self.auto_commit_at = now + interval;
            self.ask_consumed(out);
        }
    }

    pub(super) fn ask_consumed(&mut self, out: &mut Vec<Effect>) {
        self.is_consumed_asked = true;
        out.push(Effect::Consumed);
    }

    pub(super) fn auto_commit(&mut self, now: Monotonic, offsets: Offsets) {
        self.is_consumed_asked = false;
        if !offsets.is_empty() {
            self.add_commit(offsets, Style::Automatic, now + self.config.api_timeout);
        }
    }

    /// As whom to commit now. Errors: see [`Protocol::committer`].
    fn committer(&self, commit: &Commit) -> Result<Identity, ErrorCode> {
        if self.is_member() { P::committer(self, commit) } else { Ok(Identity::default()) }
    }

    /// These were taken from the owner: what it committed of them and failed is not sent again.
    pub(super) fn let_go_of_commits(&mut self, taken: &Assignment) {
        let is_taken = |partition: &TopicPartition| {
            taken.get(&partition.topic).is_some_and(|taken| taken.contains(&partition.partition))
        };
        for commit in self.commits.values_mut() {
            commit.is_late |= commit.offsets.keys().any(is_taken);
        }
    }

    pub(super) fn send_commits(&mut self, now: Monotonic, out: &mut Vec<Effect>) {
        let numbers: Vec<CommitNumber> = self.commits.keys().copied().collect();
        for number in numbers {
            let commit = &self.commits[&number];
            if commit.deadline <= now {
                self.end_late(number, out);
                continue;
            }
            let is_due = !commit.is_asked && commit.retry.not_before <= now;
            if !is_due || self.coordinator.is_none() {
                continue;
            }
            if commit.retry.failures > 0 && number != self.last_commit {
                let error = commit.last_error.clone().expect("it failed before");
                self.end_commit(number, Err(superseded(error)), out);
                continue;
            }
            match self.committer(commit) {
                Ok(identity) => self.send_commit(number, &identity, out),
                Err(error) => {
                    let message = if error == ErrorCode::RebalanceInProgress {
                        REBALANCING
                    } else if error == ErrorCode::StaleMemberEpoch {
                        TAKEN
                    } else {
                        NO_MEMBER
                    };
                    let message = Some(message.to_owned());
                    self.end_commit(number, Err(ClientError::Answer { error, message }), out);
                }
            }
        }
    }

    fn send_commit(&mut self, number: CommitNumber, identity: &Identity, out: &mut Vec<Effect>) {
        let commit = self.commits.get_mut(&number).expect("it was just looked at");
        commit.is_asked = true;
        let mut topics: BTreeMap<&Arc<str>, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for (partition, offset) in &commit.offsets {
            topics.entry(&partition.topic).or_default().push(OffsetCommitRequestPartition {
                partition_index: partition.partition,
                committed_offset: Some(offset.offset),
                committed_leader_epoch: offset.leader_epoch,
                committed_metadata: Some(offset.metadata.clone()),
            });
        }
        let topics = topics.into_iter().map(|(topic, partitions)| OffsetCommitRequestTopic {
            name: topic.to_string(),
            partitions,
            ..OffsetCommitRequestTopic::default()
        });
        let topics = topics.collect();
        let is_member = identity.member.is_some();
        let request = OffsetCommitRequest {
            group_id: self.config.group.to_string(),
            generation_id_or_member_epoch: identity
                .generation
                .map_or(NO_GENERATION, crate::types::GenerationId::value),
            member_id: identity.member.as_deref().unwrap_or_default().to_owned(),
            group_instance_id: self.instance_id().filter(|_| is_member),
            topics,
            ..OffsetCommitRequest::default()
        };
        let question = P::commit_question(is_member, request);
        self.ask(About::Commit(number), question, out);
    }

    pub(super) fn on_commit(
        &mut self,
        now: Monotonic,
        asked: &Asked,
        answer: Result<OffsetCommitResponse, RpcError>,
        out: &mut Vec<Effect>,
    ) {
        let About::Commit(number) = asked.what else { unreachable!("it answers a commit") };
        let outcome = match answer {
            Ok(response) => {
                let errors = response.topics.iter().flat_map(|topic| &topic.partitions);
                let mut errors = errors.map(|partition| partition.error_code);
                match errors.find(|error| !error.is_none()) {
                    Some(error) => self.on_commit_refused(now, asked, number, error),
                    None => Outcome::Done,
                }
            }
            Err(error) => {
                self.on_no_answer(now, &error);
                let is_final =
                    matches!(error, RpcError::UnsupportedVersion { .. } | RpcError::Unwritable(_));
                let told = ClientError::Disconnected(error.to_string());
                if is_final { Outcome::Refused(told) } else { Outcome::Again(told) }
            }
        };
        match outcome {
            Outcome::Done => {
                if let Some(commit) = self.commits.get(&number) {
                    out.push(Effect::Committed(commit.offsets.clone()));
                }
                self.end_commit(number, Ok(()), out);
            }
            Outcome::Refused(error) => self.end_commit(number, Err(error), out),
            Outcome::Again(error) => self.try_again(now, number, error, out),
        }
    }

    fn on_commit_refused(
        &mut self,
        now: Monotonic,
        asked: &Asked,
        number: CommitNumber,
        error: ErrorCode,
    ) -> Outcome {
        let told = |message: &str| ClientError::Answer { error, message: Some(message.to_owned()) };
        if error == ErrorCode::CoordinatorLoadInProgress {
            return Outcome::Again(told("commit"));
        }
        if matches!(
            error,
            ErrorCode::CoordinatorNotAvailable
                | ErrorCode::NotCoordinator
                | ErrorCode::RequestTimedOut
        ) {
            self.lose_coordinator(now);
            return Outcome::Again(told("commit"));
        }
        match P::on_commit_refused(self, asked, number, error) {
            Refusal::Passing(why) => Outcome::Again(told(why)),
            Refusal::ForGood(why) => Outcome::Refused(told(why)),
        }
    }

    /// Sends it again after a pause, unless a newer one was made.
    fn try_again(
        &mut self,
        now: Monotonic,
        number: CommitNumber,
        error: ClientError,
        out: &mut Vec<Effect>,
    ) {
        let Some(commit) = self.commits.get(&number) else { return };
        let is_newest = number == self.last_commit;
        if commit.style == Style::Automatic {
            self.auto_commit_at = now + self.config.backoff.first;
            return self.end_commit(number, Err(error), out);
        }
        if !is_newest {
            return self.end_commit(number, Err(superseded(error)), out);
        }
        let retry = self.later(now, self.commits[&number].retry);
        let commit = self.commits.get_mut(&number).expect("it was just looked at");
        commit.retry = retry;
        commit.is_asked = false;
        commit.last_error = Some(error);
    }

    fn end_late(&mut self, number: CommitNumber, out: &mut Vec<Effect>) {
        let last_error = self.commits[&number].last_error.as_ref().map(ToString::to_string);
        self.in_flight.retain(|_, asked| asked.what != About::Commit(number));
        let error = ClientError::TimedOut {
            waited_for: "commit of offsets".to_owned(),
            after: self.config.api_timeout,
            last_error,
        };
        self.end_commit(number, Err(error), out);
    }

    fn end_commit(
        &mut self,
        number: CommitNumber,
        result: Result<(), ClientError>,
        out: &mut Vec<Effect>,
    ) {
        let Some(commit) = self.commits.remove(&number) else { return };
        match commit.style {
            Style::Automatic => {}
            Style::Revoked => self.on_revoked_committed(number),
            Style::Owner(id) => out.push(Effect::CommitEnded(id, result)),
        }
    }
}

/// Why a commit that failed was not sent again.
fn superseded(error: ClientError) -> ClientError {
    const WHY: &str = "not sent again, for a newer commit was made";
    crate::mark!("consumer does not repeat a commit that a newer one followed");
    if let ClientError::Answer { error, .. } = error {
        return ClientError::Answer { error, message: Some(WHY.to_owned()) };
    }
    ClientError::Disconnected(format!("{error}; {WHY}"))
}
