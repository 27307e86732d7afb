//! The file `quorum-state`: the epoch a member knows, and whom it gave its vote in it. Durable before anybody is told.
//!
//! Kafka: `FileQuorumStateStore`, `QuorumStateData.json` version 1 (version 0 is read too).

use serde::{Deserialize, Serialize};

use crate::types::{BrokerId, LeaderEpoch, Uuid};

/// A vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VotedFor {
    /// The candidate.
    pub voter: BrokerId,
    /// Its metadata directory; zero where it is not known.
    pub directory_id: Uuid,
}

/// What a member must never forget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumState {
    /// Who leads in the epoch, as far as known.
    pub leader: Option<BrokerId>,
    /// The latest epoch.
    pub epoch: LeaderEpoch,
    /// The vote given in it.
    pub voted_for: Option<VotedFor>,
}

/// The file is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuorumStateError {
    /// Not the JSON it should be.
    #[error("not a quorum state: {0}")]
    Json(String),
    /// A format that we do not know.
    #[error("format {0} is not known; 0 and 1 are")]
    Version(i16),
    /// A number that cannot be.
    #[error("{field} cannot be {value}")]
    Value {
        /// The field.
        field: &'static str,
        /// What stands there.
        value: String,
    },
}

/// The file's fields, in Kafka's order. Version 0 has more, which nobody reads.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    leader_id: i32,
    leader_epoch: i32,
    voted_id: i32,
    voted_directory_id: Option<String>,
    #[serde(rename = "data_version")]
    data_version: i16,
}

impl QuorumState {
    /// The file's content.
    #[must_use]
    pub fn to_json(&self) -> String {
        let file = File {
            leader_id: self.leader.map_or(-1, BrokerId::value),
            leader_epoch: self.epoch.value(),
            voted_id: self.voted_for.map_or(-1, |vote| vote.voter.value()),
            voted_directory_id: Some(
                self.voted_for.map_or(Uuid::ZERO, |vote| vote.directory_id).to_string(),
            ),
            data_version: 1,
        };
        serde_json::to_string(&file).expect("numbers and texts are JSON")
    }

    /// Reads the file's content; `None` where no epoch is known yet.
    ///
    /// Errors: it is not such a file. Then the node must not vote: it may have done so before.
    pub fn from_json(content: &[u8]) -> Result<Option<Self>, QuorumStateError> {
        let file: File = serde_json::from_slice(content)
            .map_err(|error| QuorumStateError::Json(error.to_string()))?;
        if !(0..=1).contains(&file.data_version) {
            return Err(QuorumStateError::Version(file.data_version));
        }
        let Some(epoch) = LeaderEpoch::from_wire(file.leader_epoch) else { return Ok(None) };
        let text = file.voted_directory_id.unwrap_or_else(|| Uuid::ZERO.to_string());
        let Some(directory_id) = Uuid::parse(&text) else {
            return Err(QuorumStateError::Value { field: "votedDirectoryId", value: text });
        };
        let voter = BrokerId::from_wire(file.voted_id);
        Ok(Some(Self {
            leader: BrokerId::from_wire(file.leader_id),
            epoch,
            voted_for: voter.map(|voter| VotedFor { voter, directory_id }),
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_file_is_kafkas() {
        let vote = VotedFor { voter: BrokerId::new(1), directory_id: Uuid::METADATA_TOPIC };
        let state = QuorumState { leader: None, epoch: LeaderEpoch::new(2), voted_for: Some(vote) };
        let json = state.to_json();
        assert_eq!(
            json,
            r#"{"leaderId":-1,"leaderEpoch":2,"votedId":1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAQ","data_version":1}"#
        );
        assert_eq!(QuorumState::from_json(json.as_bytes()), Ok(Some(state)));
        let old = br#"{"clusterId":"","leaderId":3,"leaderEpoch":7,"votedId":-1,"appliedOffset":0,"currentVoters":[{"voterId":3}],"data_version":0}"#;
        let old = QuorumState::from_json(old).unwrap().unwrap();
        assert_eq!((old.leader, old.epoch.value()), (Some(BrokerId::new(3)), 7));
    }

    proptest! {
        #[test]
        fn garbage_is_an_error(content: Vec<u8>) {
            let _ = QuorumState::from_json(&content);
        }
    }
}
