//! The fetch sessions that this broker keeps for those who fetch from it (KIP-227): at most
//! `max.incremental.fetch.session.cache.slots`.
//!
//! A session's partitions are taken out while a request of it is answered, and put back with the answer. So nothing is copied,
//! and a second request of the same number finds another one expected. A request that is dropped unanswered ends its session.
//!
//! Kafka: `FetchSessionCache`, `FetchManager`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::protocol::messages::fetch_response::PartitionData;
use crate::replica::fetch_session::{
    PartitionFetch, SessionId, SessionPartition, SessionPartitions, SessionUse, next_epoch,
};
use crate::types::{ErrorCode, Monotonic};

/// A session that was not used for so long gives way to any, and one that is younger only to followers'
/// (Kafka: `KafkaServer.MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS`).
const EVICTION_SPAN: Duration = Duration::from_secs(120);

/// What a request says of sessions and partitions.
#[derive(Clone, Debug)]
pub(super) struct SessionCall {
    /// What it does with sessions.
    pub(super) session: SessionUse,
    /// Whether topics are named by id: a session keeps to one way.
    pub(super) by_id: bool,
    /// Whether it comes from a follower, whose sessions are worth more.
    pub(super) privileged: bool,
    /// The partitions that it names.
    pub(super) partitions: Vec<(SessionPartition, PartitionFetch)>,
    /// Those that the session shall forget.
    pub(super) forgotten: Vec<SessionPartition>,
}

/// A request under way: all the partitions that it is about.
pub(super) struct SessionInUse {
    sessions: Arc<FetchSessions>,
    partitions: SessionPartitions,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Without a session.
    Plain,
    /// It opens one, if there is room.
    Full { by_id: bool, privileged: bool },
    /// It continues this one.
    Incremental(SessionId),
}

/// A session in the cache.
#[derive(Debug)]
struct Session {
    by_id: bool,
    privileged: bool,
    created: Monotonic,
    last_used: Monotonic,
    /// The number of the next request.
    epoch: i32,
    /// How many partitions there are: what it is worth.
    size: usize,
    /// `None` while a request is answered.
    partitions: Option<SessionPartitions>,
}

/// How little a session is worth: the smallest goes first.
type Worth = (bool, usize, SessionId);

#[derive(Debug)]
struct Cache {
    slots: usize,
    rng: StdRng,
    sessions: BTreeMap<SessionId, Session>,
    by_use: BTreeSet<(Monotonic, SessionId)>,
    evictable_by_all: BTreeSet<Worth>,
    evictable_by_privileged: BTreeSet<Worth>,
}

/// The sessions of a broker.
#[derive(Debug)]
pub(super) struct FetchSessions(Mutex<Cache>);

impl FetchSessions {
    /// Room for so many; `rng` draws their numbers.
    pub(super) fn new(slots: usize, rng: StdRng) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Cache {
            slots,
            rng,
            sessions: BTreeMap::new(),
            by_use: BTreeSet::new(),
            evictable_by_all: BTreeSet::new(),
            evictable_by_privileged: BTreeSet::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a request: finds all the partitions that it is about.
    ///
    /// Errors: `FETCH_SESSION_ID_NOT_FOUND`, `INVALID_FETCH_SESSION_EPOCH`, `FETCH_SESSION_TOPIC_ID_ERROR`.
    ///
    /// Kafka: `FetchManager.newContext`.
    pub(super) fn begin(
        self: &Arc<Self>,
        now: Monotonic,
        call: SessionCall,
    ) -> Result<SessionInUse, ErrorCode> {
        let (closes, kind) = match call.session {
            SessionUse::None { closes } => (closes, Kind::Plain),
            SessionUse::Full { closes } => {
                (closes, Kind::Full { by_id: call.by_id, privileged: call.privileged })
            }
            SessionUse::Continue { id, epoch } => {
                let id = id.ok_or(ErrorCode::FetchSessionIdNotFound)?;
                return self.resume(now, id, epoch, call);
            }
        };
        if let Some(closes) = closes {
            self.lock().remove(closes);
        }
        let mut partitions = SessionPartitions::default();
        for (partition, fetch) in call.partitions {
            partitions.set(partition, fetch);
        }
        Ok(SessionInUse { sessions: self.clone(), partitions, kind })
    }

    fn resume(
        self: &Arc<Self>,
        now: Monotonic,
        id: SessionId,
        epoch: i32,
        call: SessionCall,
    ) -> Result<SessionInUse, ErrorCode> {
        let mut cache = self.lock();
        let session = cache.sessions.get_mut(&id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.epoch != epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.by_id != call.by_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        // The request before is still being answered: whoever sent this one did not wait for it.
        let partitions = session.partitions.take();
        let mut partitions = partitions.ok_or(ErrorCode::InvalidFetchSessionEpoch)?;
        for (partition, fetch) in call.partitions {
            partitions.set(partition, fetch);
        }
        for partition in &call.forgotten {
            partitions.forget(partition);
        }
        if partitions.is_empty() {
            cache.remove(id);
            return Ok(SessionInUse { sessions: self.clone(), partitions, kind: Kind::Plain });
        }
        session.epoch = next_epoch(epoch);
        cache.touch(id, now, partitions.len());
        Ok(SessionInUse { sessions: self.clone(), partitions, kind: Kind::Incremental(id) })
    }
}

impl SessionInUse {
    /// The partitions that the request is about, in the order in which they are to be served.
    pub(super) fn partitions(&self) -> &SessionPartitions {
        &self.partitions
    }

    /// Ends a request with `data`, one for each partition in their order. Returns the session to be named in the answer, 0
    /// for none, and the partitions to be told of.
    pub(super) fn finish(
        mut self,
        now: Monotonic,
        data: Vec<PartitionData>,
    ) -> (i32, Vec<(SessionPartition, PartitionData)>) {
        let mut partitions = std::mem::take(&mut self.partitions);
        let kind = std::mem::replace(&mut self.kind, Kind::Plain);
        let is_incremental = matches!(kind, Kind::Incremental(_));
        let told = partitions.tell(data, !is_incremental);
        let mut cache = self.sessions.lock();
        let id = match kind {
            Kind::Plain => None,
            Kind::Full { by_id, privileged } => cache.open(now, by_id, privileged, partitions),
            Kind::Incremental(id) => {
                if let Some(session) = cache.sessions.get_mut(&id) {
                    session.partitions = Some(partitions);
                }
                Some(id)
            }
        };
        (id.map_or(0, SessionId::value), told)
    }
}

/// Nobody will hear the answer: what the other end knows is not known.
impl Drop for SessionInUse {
    fn drop(&mut self) {
        if let Kind::Incremental(id) = self.kind {
            self.sessions.lock().remove(id);
        }
    }
}

impl Cache {
    /// Makes a session where there is room, or one that is worth less.
    ///
    /// Kafka: `FetchSessionCacheShard.maybeCreateSession`.
    fn open(
        &mut self,
        now: Monotonic,
        by_id: bool,
        privileged: bool,
        partitions: SessionPartitions,
    ) -> Option<SessionId> {
        let size = partitions.len();
        if self.sessions.len() >= self.slots && !self.evict(now, privileged, size) {
            return None;
        }
        let id = loop {
            let id = SessionId::from_wire(self.rng.random_range(1..=i32::MAX));
            let id = id.expect("the range begins with 1");
            if !self.sessions.contains_key(&id) {
                break id;
            }
        };
        let session = Session {
            by_id,
            privileged,
            created: now,
            last_used: now,
            epoch: 1,
            size,
            partitions: Some(partitions),
        };
        self.sessions.insert(id, session);
        self.touch(id, now, size);
        Some(id)
    }

    /// Makes room for a session of `size` partitions: the one that was not used for longest goes, if that is long; or else the
    /// one that is worth least, if that is not more than the new one.
    ///
    /// Kafka: `FetchSessionCacheShard.tryEvict`.
    fn evict(&mut self, now: Monotonic, privileged: bool, size: usize) -> bool {
        let Some((last_used, oldest)) = self.by_use.first().copied() else { return false };
        if now.since(last_used) > EVICTION_SPAN {
            self.remove(oldest);
            return true;
        }
        let candidates =
            if privileged { &self.evictable_by_privileged } else { &self.evictable_by_all };
        let Some(least) = candidates.first().copied() else { return false };
        // The older one of equals stays.
        if (privileged, size) <= (least.0, least.1) {
            return false;
        }
        crate::mark!("a fetch session gives way to one that is worth more");
        self.remove(least.2);
        true
    }

    fn remove(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.remove(&id) {
            self.unlist(id, &session);
        }
    }

    fn unlist(&mut self, id: SessionId, session: &Session) {
        self.by_use.remove(&(session.last_used, id));
        let worth = (session.privileged, session.size, id);
        self.evictable_by_all.remove(&worth);
        self.evictable_by_privileged.remove(&worth);
    }

    /// Notes a session as used now.
    ///
    /// Kafka: `FetchSessionCacheShard.touch`.
    fn touch(&mut self, id: SessionId, now: Monotonic, size: usize) {
        let mut session = self.sessions.remove(&id).expect("the caller holds it");
        self.unlist(id, &session);
        session.last_used = now;
        session.size = size;
        self.by_use.insert((now, id));
        let is_settled = now.since(session.created) > EVICTION_SPAN;
        let worth = (session.privileged, size, id);
        if !session.privileged || is_settled {
            self.evictable_by_privileged.insert(worth);
        }
        if is_settled {
            self.evictable_by_all.insert(worth);
        }
        self.sessions.insert(id, session);
    }
}

#[cfg(test)]
#[path = "fetch_sessions_tests.rs"]
mod tests;
