//! Sets how far a group has read, as `ottla group reset` does: where each log begins and ends is asked, the new offsets are found by the
//! client library, and committed by somebody who is no member.

use std::collections::BTreeMap;
use std::time::Duration;

use ottla::client::{
    Admin, ClientError, GroupReset, KnownOffsets, OffsetAndMetadata, Offsets, Positions, ResetPlan,
};
use ottla::protocol::OffsetSpec;
use ottla::runtime::Env;
use ottla::types::{ErrorCode, Timestamp, TopicPartition};

use super::admin::Answer;
use super::client::partition;
use crate::scenario::duration::Span;
use crate::scenario::plan::{ResetTo, ResetWay};
use crate::scenario::target::PartitionName;

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) struct Reset {
    pub(super) group: String,
    pub(super) partitions: Vec<TopicPartition>,
    pub(super) way: ResetWay,
}

impl Reset {
    /// Asks once, at a time of the run. What is wrong with a group or a partition is a refusal.
    ///
    /// Errors: why it is to be tried again.
    pub(super) async fn ask(&self, env: &Env, admin: &Admin, at: Span) -> Result<Answer, String> {
        let way = group_reset(&self.way, env, at);
        let known = match self.learn(admin, &way).await {
            Ok(known) => known,
            Err(error) => return refused_or_not_yet(&error),
        };
        let is_known =
            |at: &TopicPartition| known.starts.contains_key(at) && known.ends.contains_key(at);
        if let Some(at) = self.partitions.iter().find(|at| !is_known(at)) {
            return Err(format!("the leader of {at} does not say where it begins and ends"));
        }
        let partitions = self.partitions.iter().cloned().collect();
        let ResetPlan { offsets, .. } = match way.plan(&partitions, &known) {
            Ok(plan) => plan,
            Err(nothing) => {
                let (error, reason) = (ErrorCode::OffsetOutOfRange, nothing.to_string());
                return Ok(Answer::Refused { error, reason });
            }
        };
        let words: Vec<String> =
            offsets.iter().map(|(at, offset)| format!("{at} to {offset}")).collect();
        let wanted: Offsets =
            offsets.into_iter().map(|(at, offset)| (at, OffsetAndMetadata::new(offset))).collect();
        let answers = match admin.alter_group_offsets(&self.group, &wanted).await {
            Ok(answers) => answers,
            Err(error) => return refused_or_not_yet(&error),
        };
        match answers.into_iter().find_map(|(_, answer)| answer.err()) {
            Some(error) => refused_or_not_yet(&error),
            None => Ok(Answer::Done(words.join(", "))),
        }
    }

    async fn learn(&self, admin: &Admin, way: &GroupReset) -> Result<KnownOffsets, ClientError> {
        let times = match way {
            GroupReset::Since(time) => self.offsets(admin, OffsetSpec::Timestamp(*time)).await?,
            GroupReset::Earliest
            | GroupReset::Latest
            | GroupReset::Current
            | GroupReset::To(_)
            | GroupReset::ShiftBy(_)
            | GroupReset::Places(_) => Positions::new(),
        };
        Ok(KnownOffsets {
            committed: admin.list_group_offsets(&self.group).await?,
            starts: self.offsets(admin, OffsetSpec::Earliest).await?,
            ends: self.offsets(admin, OffsetSpec::Latest).await?,
            times,
        })
    }

    async fn offsets(&self, admin: &Admin, spec: OffsetSpec) -> Result<Positions, ClientError> {
        let questions: Vec<_> = self.partitions.iter().map(|at| (at.clone(), spec)).collect();
        let answers = admin.list_offsets(&questions).await;
        let mut offsets = BTreeMap::new();
        for (at, answer) in self.partitions.iter().zip(answers) {
            if let Some(offset) = answer?.offset {
                offsets.insert(at.clone(), offset);
            }
        }
        Ok(offsets)
    }
}

/// What the file asks for, in the library's words.
fn group_reset(way: &ResetWay, env: &Env, at: Span) -> GroupReset {
    let ResetWay { to, to_offset, shift_by, by_duration, to_datetime, from_file } = way;
    if let Some(offset) = to_offset {
        return GroupReset::To(i64::try_from(*offset).unwrap_or(i64::MAX));
    }
    if let Some(count) = shift_by {
        return GroupReset::ShiftBy(*count);
    }
    if let Some(age) = by_duration {
        return GroupReset::Since(before(env.clock.now().wall, age.as_duration()));
    }
    if let Some(moment) = to_datetime {
        let age = at.as_duration().saturating_sub(moment.as_duration());
        return GroupReset::Since(before(env.clock.now().wall, age));
    }
    if let Some(places) = from_file {
        let place = |(at, offset): (&PartitionName, &u64)| {
            (partition(&at.topic, at.index), i64::try_from(*offset).unwrap_or(i64::MAX))
        };
        return GroupReset::Places(places.iter().map(place).collect());
    }
    match to.expect("the scenario was checked") {
        ResetTo::Earliest => GroupReset::Earliest,
        ResetTo::Latest => GroupReset::Latest,
        ResetTo::Current => GroupReset::Current,
    }
}

fn before(now: Timestamp, age: Duration) -> Timestamp {
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.millis().saturating_sub(age).max(0))
}

fn refused_or_not_yet(error: &ClientError) -> Result<Answer, String> {
    if let ClientError::Answer { error: code, .. } = error
        && !code.is_retriable()
    {
        return Ok(Answer::Refused { error: *code, reason: error.to_string() });
    }
    Err(error.to_string())
}
