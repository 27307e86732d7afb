//! What clients asked and were told: the one record that the history checks and the expectations read.
//!
//! Each record that a workload sends carries its own identity in its value ([`encode_value`]), so that a reader tells which
//! record it was given, and whether its bytes are those that were sent.

mod groups;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{BufMut, Bytes, BytesMut};
use ottla::types::{Acks, ErrorCode, GenerationId, Offset, TopicPartition};

use crate::world::SimTime;

pub use groups::{Commit, CommitNumber, CommitOutcome, FinalOffsets, Membership, Processed};

/// The bytes at the start of a value that identify the record.
pub const VALUE_BYTES_MIN: usize = 24;

/// A record that a workload sent: counts from 0 over the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SendId(pub u64);

/// What a producer was told of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing yet.
    Pending,
    /// It is stored; at this offset where acks says so.
    Acked {
        /// `None` with acks=0.
        offset: Option<Offset>,
    },
    /// It is surely not stored.
    Failed {
        /// The code of the last answer, if that was the reason.
        error: Option<ErrorCode>,
        /// In the client's words.
        reason: String,
    },
    /// It may be stored or not.
    Unknown {
        /// The code of the last answer, if that was the reason.
        error: Option<ErrorCode>,
        /// In the client's words.
        reason: String,
    },
}

/// A record and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its identity.
    pub id: SendId,
    /// Who sent it, as `writer/0`.
    pub client: Arc<str>,
    /// Which start of that client; a producer made anew has forgotten what its predecessor had in flight.
    pub incarnation: u32,
    /// Where it goes, once the partitioner has chosen.
    pub partition: Option<TopicPartition>,
    /// Its key, if it has one.
    pub key: Option<u32>,
    /// What the producer asked for.
    pub acks: Acks,
    /// Whether the producer is idempotent.
    pub is_idempotent: bool,
    /// Whether the producer promises order: idempotent, or one request in flight.
    pub is_ordered: bool,
    /// When `send` was called.
    pub sent_at: SimTime,
    /// When the outcome came.
    pub done_at: Option<SimTime>,
    /// What it was.
    pub outcome: Outcome,
}

/// A record that a consumer was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Where.
    pub partition: TopicPartition,
    /// At which offset.
    pub offset: Offset,
    /// Which record it is; `None` where the value is not one of ours or its bytes are not those that were sent.
    pub id: Option<SendId>,
    /// A hash of key, value, headers and timestamp.
    pub content: u64,
}

/// One poll of a consumer that gave records or an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// Who polled, as `reader/0`; the last reader of a run is `final`.
    pub client: Arc<str>,
    /// When the records were given.
    pub at: SimTime,
    /// What was given, in order.
    pub records: Vec<Read>,
    /// The partitions whose position was set (assign, seek, reset) since the poll before.
    pub repositioned: Vec<TopicPartition>,
    /// Those of them of which it is known where it was set to: the offset of the next record. The last one of a partition counts.
    pub seeks: Vec<(TopicPartition, Offset)>,
}

/// A poll of a workload's consumer that did not fail, whatever it gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollCall {
    /// Who polled, as `reader/0`.
    pub client: Arc<str>,
    /// When it was called.
    pub asked_at: SimTime,
    /// When it came back.
    pub done_at: SimTime,
    /// How many records it gave.
    pub records: u64,
}

/// A batch that arrived at a client and does not carry the checksum it was written with: the server served rot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorruptRead {
    /// Who read it.
    pub client: Arc<str>,
    /// When.
    pub at: SimTime,
    /// The client's words.
    pub what: String,
}

/// An answer with an error code that a client heard, whether or not it tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFailure {
    /// Who heard it.
    pub client: Arc<str>,
    /// When.
    pub at: SimTime,
    /// The code, if the answer had one.
    pub error: Option<ErrorCode>,
    /// In the client's words.
    pub what: String,
}

/// The whole record of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// In the order of the ids.
    pub sent: Vec<Sent>,
    /// In the order of time.
    pub polls: Vec<Poll>,
    /// How long polls took, in the order of time. Of the workloads only.
    pub calls: Vec<PollCall>,
    /// In the order of time.
    pub corrupt: Vec<CorruptRead>,
    /// Calls that failed: of consumers, and sends that were refused before they were taken over.
    pub failures: Vec<ClientFailure>,
    /// What members of groups are done with, in the order of time.
    pub processed: Vec<Processed>,
    /// What they asked to be committed, in the order in which they asked.
    pub commits: Vec<Commit>,
    /// What groups keep beside their results, outside of the cluster: the next record of each partition.
    pub results: BTreeMap<(Arc<str>, TopicPartition), Offset>,
    /// How many records each member had in hand at most.
    pub in_hand: BTreeMap<Arc<str>, u64>,
    /// Who reads in a group, as each client knows itself.
    pub memberships: BTreeMap<Arc<str>, Membership>,
    /// The generations of groups that any member saw.
    pub generations: BTreeSet<(Arc<str>, GenerationId)>,
    /// What each group had committed at the end.
    pub final_offsets: BTreeMap<Arc<str>, FinalOffsets>,
    /// When the final reader began: what is acknowledged later may stand behind the end that it was told.
    pub final_read_began: Option<SimTime>,
    /// Whether the final reader came to the end of every partition.
    pub final_read_complete: bool,
}

/// The name of the reader that reads everything at the end.
pub const FINAL_READER: &str = "final";

impl History {
    /// What became of a record.
    #[must_use]
    pub fn of(&self, id: SendId) -> Option<&Sent> {
        self.sent.get(usize::try_from(id.0).ok()?)
    }

    /// What the final reader was given, by partition, in order.
    #[must_use]
    pub fn final_log(&self) -> BTreeMap<&TopicPartition, Vec<&Read>> {
        let mut log: BTreeMap<&TopicPartition, Vec<&Read>> = BTreeMap::new();
        for poll in self.polls.iter().filter(|poll| &*poll.client == FINAL_READER) {
            for read in &poll.records {
                log.entry(&read.partition).or_default().push(read);
            }
        }
        log
    }
}

/// A history that several clients write.
#[derive(Clone, Debug, Default)]
pub struct SharedHistory(Arc<Mutex<History>>);

impl SharedHistory {
    /// The history, for a moment: no client may wait while it is held.
    pub fn lock(&self) -> MutexGuard<'_, History> {
        self.0.lock().expect("nothing panics with the history locked")
    }

    /// Notes that a record is about to be sent, and numbers it.
    pub fn begin(&self, make: impl FnOnce(SendId) -> Sent) -> SendId {
        let mut history = self.lock();
        let id = SendId(history.sent.len() as u64);
        history.sent.push(make(id));
        id
    }

    /// Notes what a producer was told.
    pub fn end(
        &self,
        id: SendId,
        at: SimTime,
        partition: Option<TopicPartition>,
        outcome: Outcome,
    ) {
        let mut history = self.lock();
        let index = usize::try_from(id.0).expect("it was an index");
        let sent = &mut history.sent[index];
        assert_eq!(sent.outcome, Outcome::Pending, "a delivery is decided once");
        sent.outcome = outcome;
        sent.done_at = Some(at);
        if partition.is_some() {
            sent.partition = partition;
        }
    }
}

/// Spreads the bits of `value`; not for secrets (Steele, Lea, Flood: SplitMix64's finaliser).
const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A hash of bytes that tells apart what differs in one bit.
#[must_use]
pub fn content_hash(parts: &[&[u8]]) -> u64 {
    parts.iter().fold(HASH_OF_NOTHING, |hash, part| hash_on(mix(hash ^ part.len() as u64), part))
}

const HASH_OF_NOTHING: u64 = 0x9e37_79b9_7f4a_7c15;

/// The hash after `hash` and then `bytes`, taken in words of eight.
fn hash_on(mut hash: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = mix(hash.wrapping_add(u64::from_be_bytes(*word)));
    }
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        hash = mix(hash.wrapping_add(u64::from_be_bytes(word)));
    }
    hash
}

/// A value of `length` bytes (at least [`VALUE_BYTES_MIN`]) that names its record: id, key, checksum, filler drawn from the id.
#[must_use]
pub fn encode_value(id: SendId, key: Option<u32>, length: usize) -> Bytes {
    let length = length.max(VALUE_BYTES_MIN);
    let mut value = BytesMut::with_capacity(length);
    value.put_u64(id.0);
    value.put_u64(key.map_or(u64::MAX, u64::from));
    value.put_u64(0);
    let mut state = id.0;
    while value.len() < length {
        state = mix(state.wrapping_add(0x9e37_79b9_7f4a_7c15));
        let word = state.to_be_bytes();
        let wanted = (length - value.len()).min(8);
        value.put_slice(&word[..wanted]);
    }
    let checksum = content_hash(&[&value]);
    value[16..24].copy_from_slice(&checksum.to_be_bytes());
    value.freeze()
}

/// Which record a value names; `None` where it names none or was changed on its way.
#[must_use]
pub fn decode_value(value: &[u8]) -> Option<SendId> {
    if value.len() < VALUE_BYTES_MIN {
        return None;
    }
    let checksum = u64::from_be_bytes(value[16..24].try_into().ok()?);
    let id = u64::from_be_bytes(value[..8].try_into().ok()?);
    // It was zeros when the hash was taken.
    let before = hash_on(mix(HASH_OF_NOTHING ^ value.len() as u64), &value[..16]);
    let hash = hash_on(hash_on(before, &[0; 8]), &value[24..]);
    (hash == checksum).then_some(SendId(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_name_their_record_and_a_changed_bit_is_seen() {
        for length in [0, 24, 25, 100] {
            let value = encode_value(SendId(7), Some(3), length);
            assert_eq!(value.len(), length.max(VALUE_BYTES_MIN));
            assert_eq!(decode_value(&value), Some(SendId(7)));
            for bit in 0..value.len() * 8 {
                let mut broken = value.to_vec();
                broken[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(decode_value(&broken), None, "bit {bit} of {length} bytes");
            }
        }
    }
}
