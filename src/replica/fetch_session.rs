//! Fetch sessions (KIP-227) as both ends see them: whoever fetches again and again names only what changed.
//!
//! A request opens a session with all its partitions (a *full* request); the answer gives it an id. Each further request
//! names the partitions that are new or changed and those to forget; its answer leaves out the partitions of which there is
//! nothing new. Both count the requests: who is not at the same number has lost something, and begins anew.
//!
//! ```text
//!                      answered with an id                 answered
//! Full{closes: None} ────────────────────▶ Continue{1} ───────────▶ Continue{2} …
//!        ▲                                     │
//!        └── answered without an id            └── refused, malformed or lost ──▶ Full{closes: id}
//! ```
//!
//! Kafka: `FetchSessionHandler` (the asking end), `FetchSession` and `CachedPartition` (the answering end), `FetchMetadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::protocol::messages::fetch_request::FetchPartition;
use crate::protocol::messages::fetch_response::PartitionData;
use crate::types::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicId, TopicIdPartition};

/// The wire's word for "no session" (Kafka: `INVALID_SESSION_ID`).
const NO_SESSION: i32 = 0;
/// The epoch of a request that opens a session (Kafka: `INITIAL_EPOCH`).
const EPOCH_FULL: i32 = 0;
/// The epoch of a request that wants none (Kafka: `FINAL_EPOCH`).
const EPOCH_NONE: i32 = -1;

/// A session's number at the broker that answers. Positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId(i32);

impl SessionId {
    /// The session that a wire field names; `None` for none.
    #[must_use]
    pub const fn from_wire(id: i32) -> Option<Self> {
        if id == NO_SESSION { None } else { Some(Self(id)) }
    }

    /// The plain number.
    #[must_use]
    pub const fn value(self) -> i32 {
        self.0
    }
}

/// What a request means to do with sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionUse {
    /// It names all its partitions and wants no session.
    None {
        /// A session that is not wanted any more.
        closes: Option<SessionId>,
    },
    /// It names all its partitions, and opens a session with them.
    Full {
        /// A session that is not wanted any more.
        closes: Option<SessionId>,
    },
    /// It names what changed in a session.
    Continue {
        /// The session; `None` where the request should have named one.
        id: Option<SessionId>,
        /// Which request of the session it is, counted from 1; after 2^31 − 1 comes 1.
        epoch: i32,
    },
}

impl SessionUse {
    /// What the two fields of a request say.
    #[must_use]
    pub const fn from_wire(session_id: i32, session_epoch: i32) -> Self {
        let id = SessionId::from_wire(session_id);
        match session_epoch {
            EPOCH_NONE => Self::None { closes: id },
            EPOCH_FULL => Self::Full { closes: id },
            epoch => Self::Continue { id, epoch },
        }
    }

    /// The two fields of a request: id and epoch.
    #[must_use]
    pub fn to_wire(self) -> (i32, i32) {
        let wire = |id: Option<SessionId>| id.map_or(NO_SESSION, SessionId::value);
        match self {
            Self::None { closes } => (wire(closes), EPOCH_NONE),
            Self::Full { closes } => (wire(closes), EPOCH_FULL),
            Self::Continue { id, epoch } => (wire(id), epoch),
        }
    }
}

/// The number of the request after the one with number `epoch`.
#[must_use]
pub const fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

/// What a request asks of one partition: a session remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionFetch {
    /// The first offset wanted; `None` for a number that is no offset.
    pub fetch_offset: Option<Offset>,
    /// The first offset of the asking follower's log.
    pub log_start_offset: Option<Offset>,
    /// How many bytes it takes of this partition.
    pub bytes_max: i32,
    /// The term in which it believes.
    pub current_leader_epoch: Option<LeaderEpoch>,
    /// The term of the last record that it has.
    pub last_fetched_epoch: Option<LeaderEpoch>,
}

impl PartitionFetch {
    /// What a request says of a partition.
    #[must_use]
    pub const fn from_wire(asked: &FetchPartition) -> Self {
        Self {
            fetch_offset: asked.fetch_offset,
            log_start_offset: asked.log_start_offset,
            bytes_max: asked.partition_max_bytes,
            current_leader_epoch: asked.current_leader_epoch,
            last_fetched_epoch: asked.last_fetched_epoch,
        }
    }

    /// The same on the wire.
    #[must_use]
    pub fn to_wire(self, partition: PartitionIndex) -> FetchPartition {
        FetchPartition {
            partition,
            current_leader_epoch: self.current_leader_epoch,
            fetch_offset: self.fetch_offset,
            last_fetched_epoch: self.last_fetched_epoch,
            log_start_offset: self.log_start_offset,
            partition_max_bytes: self.bytes_max,
            ..FetchPartition::default()
        }
    }
}

// ---- the asking end ----

/// The next request of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRequest {
    /// What it does with the session.
    pub session: SessionUse,
    /// The partitions that it names.
    pub partitions: Vec<(TopicIdPartition, PartitionFetch)>,
    /// Those that the session shall forget.
    pub forgotten: Vec<TopicIdPartition>,
}

/// Why an answer is of no use. The next request begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerFault {
    /// The broker refuses the whole request.
    Refused(ErrorCode),
    /// The answer tells of partitions that were not asked for, or, to a full request, not of all.
    Malformed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    fetch: PartitionFetch,
    /// The other end knows of it, if it got the last request.
    is_sent: bool,
}

/// The asking end. It costs what changed, not how many partitions there are.
#[derive(Clone, Debug)]
pub struct ClientSession {
    next: SessionUse,
    partitions: BTreeMap<TopicIdPartition, Wanted>,
    /// What the next request of a session must name: a part of `partitions`.
    changed: BTreeSet<TopicIdPartition>,
    /// What the other end knows of and is not wanted any more.
    forgotten: BTreeSet<TopicIdPartition>,
    /// The first partition of the next full request stands behind this one: a broker fills its answer from the front.
    turn: Option<TopicIdPartition>,
}

impl Default for ClientSession {
    fn default() -> Self {
        Self::new()
    }
}

impl ClientSession {
    /// No session, no partitions.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            next: SessionUse::Full { closes: None },
            partitions: BTreeMap::new(),
            changed: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            turn: None,
        }
    }

    /// Whether nothing is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// What the next request asks of a partition.
    #[must_use]
    pub fn wanted(&self, partition: TopicIdPartition) -> Option<PartitionFetch> {
        self.partitions.get(&partition).map(|wanted| wanted.fetch)
    }

    /// Wants this of a partition from the next request on.
    pub fn set(&mut self, partition: TopicIdPartition, fetch: PartitionFetch) {
        let is_sent = match self.partitions.get(&partition) {
            Some(wanted) if wanted.fetch == fetch => return,
            Some(wanted) => wanted.is_sent,
            None => self.forgotten.remove(&partition),
        };
        self.partitions.insert(partition, Wanted { fetch, is_sent });
        self.changed.insert(partition);
    }

    /// Wants nothing of a partition from the next request on.
    pub fn remove(&mut self, partition: TopicIdPartition) {
        if let Some(wanted) = self.partitions.remove(&partition) {
            self.changed.remove(&partition);
            if wanted.is_sent {
                self.forgotten.insert(partition);
            }
        }
    }

    /// The next request. One at a time: an answer, or the word that there is none, comes before the next.
    pub fn request(&mut self) -> SessionRequest {
        let changed = std::mem::take(&mut self.changed);
        let forgotten = std::mem::take(&mut self.forgotten);
        let (partitions, forgotten) = match self.next {
            SessionUse::Continue { .. } => {
                (self.take(changed.into_iter()), forgotten.into_iter().collect())
            }
            SessionUse::Full { .. } | SessionUse::None { .. } => {
                let all = self.in_turn();
                self.turn = all.first().copied();
                (self.take(all.into_iter()), Vec::new())
            }
        };
        SessionRequest { session: self.next, partitions, forgotten }
    }

    fn take(
        &mut self,
        partitions: impl Iterator<Item = TopicIdPartition>,
    ) -> Vec<(TopicIdPartition, PartitionFetch)> {
        let take = |partition| {
            let wanted = self.partitions.get_mut(&partition).expect("what changed is wanted");
            wanted.is_sent = true;
            (partition, wanted.fetch)
        };
        partitions.map(take).collect()
    }

    fn in_turn(&self) -> Vec<TopicIdPartition> {
        let mut all: Vec<_> = self.partitions.keys().copied().collect();
        let behind = self.turn.map_or(0, |turn| all.partition_point(|one| *one <= turn));
        if behind < all.len() {
            all.rotate_left(behind);
        }
        all
    }

    /// Takes in an answer: its two fields, and the partitions that it tells of. Where it is of use, the partitions in it are
    /// to be looked at.
    ///
    /// # Errors
    /// The answer is of no use.
    pub fn on_answer(
        &mut self,
        error_code: ErrorCode,
        session_id: i32,
        answered: impl Iterator<Item = TopicIdPartition>,
    ) -> Result<(), AnswerFault> {
        if error_code == ErrorCode::FetchSessionIdNotFound {
            self.begin_anew(None);
            return Err(AnswerFault::Refused(error_code));
        }
        if !error_code.is_none() {
            self.begin_anew(self.session_id());
            return Err(AnswerFault::Refused(error_code));
        }
        let answered: BTreeSet<TopicIdPartition> = answered.collect();
        let known = answered.iter().all(|partition| self.is_asked(*partition));
        let is_full = !matches!(self.next, SessionUse::Continue { .. });
        if !known || (is_full && answered.len() != self.asked_count()) {
            self.begin_anew(self.session_id());
            return Err(AnswerFault::Malformed);
        }
        match (self.next, SessionId::from_wire(session_id)) {
            (_, None) => self.begin_anew(None),
            (SessionUse::Full { .. } | SessionUse::None { .. }, id) => {
                self.next = SessionUse::Continue { id, epoch: next_epoch(EPOCH_FULL) };
            }
            (SessionUse::Continue { id, epoch }, Some(_)) => {
                self.next = SessionUse::Continue { id, epoch: next_epoch(epoch) };
            }
        }
        Ok(())
    }

    /// There is no answer: what the other end knows is not known.
    pub fn on_lost(&mut self) {
        self.begin_anew(self.session_id());
    }

    fn session_id(&self) -> Option<SessionId> {
        match self.next {
            SessionUse::Continue { id, .. } => id,
            SessionUse::Full { closes } | SessionUse::None { closes } => closes,
        }
    }

    fn begin_anew(&mut self, closes: Option<SessionId>) {
        self.next = SessionUse::Full { closes };
        self.forgotten.clear();
        self.changed.clear();
        self.partitions.values_mut().for_each(|wanted| wanted.is_sent = false);
    }

    /// Whether the last request, or the session that it continued, asked for a partition.
    fn is_asked(&self, partition: TopicIdPartition) -> bool {
        self.forgotten.contains(&partition)
            || self.partitions.get(&partition).is_some_and(|wanted| wanted.is_sent)
    }

    fn asked_count(&self) -> usize {
        self.forgotten.len() + self.partitions.values().filter(|wanted| wanted.is_sent).count()
    }
}

// ---- the answering end ----

/// How a session names a topic: by id, or by name where the requests are older than version 13.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SessionTopic {
    /// By id.
    Id(TopicId),
    /// By name.
    Name(Arc<str>),
}

/// How a session names a partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionPartition {
    /// Its topic.
    pub topic: SessionTopic,
    /// The partition of it.
    pub partition: PartitionIndex,
}

/// What the answering end keeps of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cached {
    partition: SessionPartition,
    fetch: PartitionFetch,
    /// What the asking end was told last; `None` where it must be told again.
    told: Option<Told>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    high_watermark: Option<Offset>,
    log_start_offset: Option<Offset>,
}

/// The partitions of a session at the answering end, in the order in which they are served: who was given records goes to
/// the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionPartitions {
    by_turn: BTreeMap<u64, Cached>,
    turns: BTreeMap<SessionPartition, u64>,
    next_turn: u64,
}

impl SessionPartitions {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.turns.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// The partitions in the order in which they are to be served.
    pub fn iter(&self) -> impl Iterator<Item = (&SessionPartition, PartitionFetch)> {
        self.by_turn.values().map(|cached| (&cached.partition, cached.fetch))
    }

    /// Takes in what a request says of a partition.
    ///
    /// Whoever names it anew is told of it anew: the answer before may have been void to them, which fell into another term, or said where
    /// the logs part (swarm-sparse, seed 3693). Kafka counts it as told: such a follower's high watermark waits for the leader's to move.
    pub fn set(&mut self, partition: SessionPartition, fetch: PartitionFetch) {
        match self.turns.get(&partition) {
            Some(turn) => {
                let cached = self.by_turn.get_mut(turn).expect("both maps agree");
                (cached.fetch, cached.told) = (fetch, None);
            }
            None => self.push(Cached { partition, fetch, told: None }),
        }
    }

    /// Forgets a partition.
    pub fn forget(&mut self, partition: &SessionPartition) {
        if let Some(turn) = self.turns.remove(partition) {
            self.by_turn.remove(&turn);
        }
    }

    fn push(&mut self, cached: Cached) {
        let turn = self.next_turn;
        self.next_turn += 1;
        self.turns.insert(cached.partition.clone(), turn);
        self.by_turn.insert(turn, cached);
    }

    /// Keeps of `data`, one for each partition in the order of [`SessionPartitions::iter`], what the asking end must be
    /// told; notes it as told. With `tell_all`, that is everything: the answer to a full request.
    ///
    /// Kafka: `CachedPartition.maybeUpdateResponseData`, `IncrementalFetchContext.PartitionIterator`.
    pub fn tell(
        &mut self,
        data: Vec<PartitionData>,
        tell_all: bool,
    ) -> Vec<(SessionPartition, PartitionData)> {
        assert_eq!(data.len(), self.by_turn.len(), "one answer for each partition");
        let mut told = Vec::new();
        let mut served = Vec::new();
        for ((turn, cached), data) in self.by_turn.iter_mut().zip(data) {
            let has_records = has_records(&data);
            if cached.tell(&data) || tell_all {
                told.push((cached.partition.clone(), data));
            }
            // A full request's order stands: the session only begins with it.
            if has_records && !tell_all {
                served.push(*turn);
            }
        }
        for turn in served {
            let cached = self.by_turn.remove(&turn).expect("just seen");
            self.push(cached);
        }
        told
    }
}

impl Cached {
    /// Whether the asking end must be told of `data`; notes it as told.
    fn tell(&mut self, data: &PartitionData) -> bool {
        let now =
            Told { high_watermark: data.high_watermark, log_start_offset: data.log_start_offset };
        let is_error = !data.error_code.is_none();
        let is_news = self.told != Some(now)
            || is_error
            || has_records(data)
            || data.preferred_read_replica.is_some()
            || data.diverging_epoch.epoch.is_some();
        // What was wrong must be told to be right again.
        self.told = (!is_error).then_some(now);
        is_news
    }
}

fn has_records(data: &PartitionData) -> bool {
    data.records.as_ref().is_some_and(|records| !records.is_empty())
}

#[cfg(test)]
#[path = "fetch_session_tests.rs"]
mod tests;
