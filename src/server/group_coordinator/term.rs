//! A term of leadership over a partition of `__consumer_offsets`, as a task: the log is read, then requests are answered until somebody
//! else leads.
//!
//! ```text
//! loading ── log read ──► serving ── inbox gone ──► ended
//!    ▲                       │
//!    └─ the disk lost what was replayed ─┘
//! ```
//!
//! The task waits and hands over; the ledger decides. Records of a decision are appended in one batch and replayed at once; its replies wait
//! until all that the log then holds is committed (`held.rs`), `offsets.commit.timeout.ms` at most.
//!
//! Kafka: `CoordinatorRuntime.CoordinatorContext`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot};

use super::Asked;
use super::held::{Committed, Held, Released};
use super::log::{Loaded, append, batch_of, load, pieces, until_committed};
use crate::coordinator::group::request::TopicTable;
use crate::coordinator::group::{GroupCoordinator, Outcome, OverridesTable, Reply, Token};
use crate::protocol::compression::Compression;
use crate::protocol::coordinator_records::CoordinatorRecord;
use crate::protocol::wire::EncodeError;
use crate::replica::driver::PartitionHandle;
use crate::runtime::clock::wait_until;
use crate::runtime::{BoxFuture, Env, watch};
use crate::server::config::GroupsConfig;
use crate::types::{
    CoordinatorTerm, ErrorCode, GroupObservation, LeaderEpoch, Monotonic, Now, Observation, TopicId,
};

/// After so long a log that could not be read is read again, if this broker still leads.
const LOAD_RETRY_SPAN: Duration = Duration::from_secs(1);

/// What a term is begun with.
pub(super) struct Term {
    pub(super) env: Env,
    pub(super) config: GroupsConfig,
    pub(super) handle: Arc<PartitionHandle>,
    pub(super) leader_epoch: LeaderEpoch,
    /// When nobody can send to it any more, the term is over.
    pub(super) inbox: mpsc::Receiver<Asked>,
    pub(super) topics: watch::Receiver<Arc<TopicTable>>,
    /// How often its log was read to the end.
    pub(super) readings: u64,
    pub(super) overrides: watch::Receiver<Arc<OverridesTable>>,
}

/// Why serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Somebody else leads, or the broker stops.
    Resigned,
    /// The disk did not keep a batch that it had taken: what was replayed is more than the log holds.
    LogCutBack,
}

impl Term {
    /// Runs until the term is over.
    pub(super) async fn run(mut self) {
        let mut topics = self.topics.borrow_and_update().clone();
        let (partition, leader_epoch) = (self.handle.partition().clone(), self.leader_epoch);
        while let Some(loaded) = self.load().await {
            tracing::info!(%partition, %leader_epoch, records = loaded.records, "groups are coordinated");
            match self.serve(loaded, &mut topics).await {
                Ended::Resigned => break,
                Ended::LogCutBack => {
                    crate::mark!(
                        "a group coordinator reads its log anew after its disk lost a batch"
                    );
                    tracing::warn!(%partition, "the log lost a batch: it is read anew");
                }
            }
        }
        tracing::info!(%partition, %leader_epoch, "groups are coordinated no longer");
    }

    /// Reads the log, again and again where it cannot be read. `None` where the term ends before.
    async fn load(&mut self) -> Option<Loaded> {
        let mut timer = self.env.clock.timer();
        let mut attempts = 0u64;
        loop {
            attempts += 1;
            let loading = load(self.handle.clone(), self.leader_epoch, self.config.load_bytes);
            let mut loading: BoxFuture<'static, _> = Box::pin(loading);
            let result = tokio::select! {
                biased;
                result = &mut loading => result,
                () = refuse_all(&mut self.inbox, ErrorCode::CoordinatorLoadInProgress) => return None,
            };
            match result {
                Ok(loaded) => {
                    self.readings += 1;
                    return Some(loaded);
                }
                Err(error) if attempts == 1 => {
                    let partition = self.handle.partition();
                    tracing::error!(%partition, %error, "groups are not coordinated: their log is not loaded");
                }
                Err(error) => {
                    let partition = self.handle.partition();
                    tracing::debug!(%partition, %error, attempts, "groups are not coordinated yet");
                }
            }
            let retry = self.env.clock.now().monotonic + LOAD_RETRY_SPAN;
            tokio::select! {
                biased;
                () = wait_until(timer.as_mut(), Some(retry)) => {}
                () = refuse_all(&mut self.inbox, ErrorCode::NotCoordinator) => return None,
            }
        }
    }

    async fn serve(&mut self, loaded: Loaded, topics: &mut Arc<TopicTable>) -> Ended {
        let mut timer = self.env.clock.timer();
        let mut serving = Serving::begin(self, loaded, topics);
        loop {
            let now = self.env.clock.now();
            serving.on_time(now);
            let deadline = serving.deadline();
            tokio::select! {
                biased;
                released = serving.held.next() => {
                    if serving.release(released) == Some(Ended::LogCutBack) {
                        serving.resign();
                        return Ended::LogCutBack;
                    }
                }
                changed = self.topics.changed() => {
                    if changed.is_err() {
                        serving.resign();
                        return Ended::Resigned;
                    }
                    let before = std::mem::replace(topics, self.topics.borrow_and_update().clone());
                    serving.on_topics(&before, topics);
                }
                changed = self.overrides.changed() => {
                    if changed.is_err() {
                        serving.resign();
                        return Ended::Resigned;
                    }
                    serving.coordinator.on_overrides(self.overrides.borrow_and_update().clone());
                }
                asked = self.inbox.recv() => {
                    let Some(asked) = asked else {
                        serving.resign();
                        return Ended::Resigned;
                    };
                    serving.on_asked(asked);
                }
                () = wait_until(timer.as_mut(), deadline) => {}
            }
        }
    }
}

impl Term {
    /// What ids of members are drawn from. Those that an earlier reading of this term drew may stand in the log: never the same again.
    fn rng(&self) -> StdRng {
        let (index, epoch) = (self.handle.id().partition, self.leader_epoch);
        match self.readings {
            ..=1 => self.env.rng(&format!("group coordinator {index} {epoch}")),
            again => self.env.rng(&format!("group coordinator {index} {epoch} {again}")),
        }
    }
}

/// Answers all that comes with `error`, until nobody can send any more. Cancel-safe.
async fn refuse_all(inbox: &mut mpsc::Receiver<Asked>, error: ErrorCode) {
    while let Some(Asked { request, asker }) = inbox.recv().await {
        // Who asked may be gone.
        let _ = asker.send(request.refused(error));
    }
}

/// A coordinator whose log is read, with what it has to do with the world.
struct Serving {
    env: Env,
    handle: Arc<PartitionHandle>,
    leader_epoch: LeaderEpoch,
    compression: Compression,
    commit_timeout: Duration,
    coordinator: GroupCoordinator,
    held: Held,
    askers: BTreeMap<Token, oneshot::Sender<Reply>>,
    /// What is to be said when a reply is sent as it was decided.
    told: BTreeMap<Token, Vec<GroupObservation>>,
    tokens: u64,
}

impl Serving {
    fn begin(term: &Term, loaded: Loaded, topics: &Arc<TopicTable>) -> Self {
        let Loaded { coordinator, end_offset, records: _ } = loaded;
        let rng = term.rng();
        let now = term.env.clock.now();
        let coordinator = coordinator.with_overrides(term.overrides.borrow().clone());
        let (coordinator, outcome) = coordinator.finish(term.config.coordinator.clone(), rng, now);
        let mut serving = Self {
            env: term.env.clone(),
            handle: term.handle.clone(),
            leader_epoch: term.leader_epoch,
            compression: Compression::of(term.config.offsets_topic.compression),
            commit_timeout: term.config.commit_timeout,
            coordinator,
            held: Held::default(),
            askers: BTreeMap::new(),
            told: BTreeMap::new(),
            tokens: 0,
        };
        let tail = until_committed(term.handle.clone(), term.leader_epoch, end_offset);
        serving.held.hold(Some(Box::pin(tail)), now.monotonic, Vec::new());
        serving.coordinator.on_topics(topics.clone());
        for what in serving.coordinator.loaded() {
            serving.say(what);
        }
        serving.say(GroupObservation::Loaded { partition: term.handle.id(), end_offset });
        serving.perform(now, outcome);
        serving
    }

    fn deadline(&self) -> Option<Monotonic> {
        let both = [self.coordinator.deadline(), self.held.deadline()];
        both.into_iter().flatten().min()
    }

    /// Does what time demands: one timer at most, so that requests have their turn between two.
    fn on_time(&mut self, now: Now) {
        for (token, reply) in self.held.take_overdue(now.monotonic) {
            crate::mark!("a group's request is not committed in time");
            self.refuse(token, reply.failed(ErrorCode::RequestTimedOut));
        }
        if self.coordinator.deadline().is_some_and(|deadline| deadline <= now.monotonic) {
            let outcome = self.coordinator.tick(now);
            self.perform(now, outcome);
        }
    }

    fn on_asked(&mut self, asked: Asked) {
        let now = self.env.clock.now();
        self.tokens += 1;
        let token = Token(self.tokens);
        self.askers.insert(token, asked.asker);
        let outcome = self.coordinator.decide(now, token, asked.request);
        self.perform(now, outcome);
    }

    fn on_topics(&mut self, before: &TopicTable, topics: &Arc<TopicTable>) {
        self.coordinator.on_topics(topics.clone());
        let deleted = deleted_topics(before, topics);
        if !deleted.is_empty() {
            let outcome = self.coordinator.on_topics_deleted(&deleted);
            self.perform(self.env.clock.now(), outcome);
        }
    }

    /// Appends, replays, and holds the replies. Where the log refuses, what the ledger then wants is performed the same way.
    fn perform(&mut self, now: Now, outcome: Outcome) {
        let deadline = now.monotonic + self.commit_timeout;
        let mut next = Some(outcome);
        while let Some(Outcome { records, replies, said, told }) = next.take() {
            for (token, what) in told {
                self.told.entry(token).or_default().push(what);
            }
            if records.is_empty() {
                said.into_iter().for_each(|what| self.say(what));
                self.held.hold(None, deadline, replies);
                continue;
            }
            match self.append(now, deadline, &records) {
                Ok(committed) => {
                    said.into_iter().for_each(|what| self.say(what));
                    // They wait for the last of what was appended.
                    self.held.hold(Some(committed), deadline, replies);
                }
                Err((missing, error)) => {
                    let said = self.coordinator.said_without(said, missing);
                    said.into_iter().for_each(|what| self.say(what));
                    next = Some(self.on_refused(now, missing, replies, error));
                }
            }
        }
    }

    /// Appends and replays. What is returned ends when the last batch is committed.
    ///
    /// # Errors
    /// The log did not take the rest.
    fn append<'a>(
        &mut self,
        now: Now,
        deadline: Monotonic,
        records: &'a [CoordinatorRecord],
    ) -> Result<Committed, (&'a [CoordinatorRecord], ErrorCode)> {
        let unwritable = |error: EncodeError| {
            tracing::debug!(partition = %self.handle.partition(), %error, "a group cannot be written");
            ErrorCode::UnknownServerError
        };
        let pieces = pieces(records).map_err(|error| (records, unwritable(error)))?;
        let (mut missing, mut last) = (records, None);
        for piece in pieces {
            let written = batch_of(piece, now.wall, self.compression).map_err(unwritable);
            let appended = written.and_then(|batch| append(&self.handle, batch));
            let committed = appended.map_err(|error| (missing, error))?;
            for record in piece {
                self.coordinator.replay(record);
            }
            missing = &missing[piece.len()..];
            if let Some(before) = last.replace(committed) {
                self.held.hold(Some(before), deadline, Vec::new());
            }
        }
        Ok(last.expect("there are records"))
    }

    fn on_refused(
        &mut self,
        now: Now,
        records: &[CoordinatorRecord],
        replies: Vec<(Token, Reply)>,
        error: ErrorCode,
    ) -> Outcome {
        crate::mark!("a group coordinator's log refuses records");
        let (partition, count) = (self.handle.partition(), records.len());
        tracing::debug!(%partition, %error, records = count, "records of groups are not appended");
        for (token, reply) in replies {
            self.refuse(token, reply.failed(error));
        }
        self.coordinator.on_append_failed(now, records)
    }

    /// Sends what may be sent. Whether the log must be read anew.
    fn release(&mut self, released: Released) -> Option<Ended> {
        let Released { committed, replies } = released;
        let is_lost = committed == Some(Err(ErrorCode::KafkaStorageError));
        // What no record of its own vouches for is true only while this broker leads.
        let result = committed
            .unwrap_or_else(|| self.handle.check_leader(Some(self.leader_epoch)).map(|_| ()));
        for (token, reply) in replies {
            match result {
                Ok(()) => self.answer(token, reply),
                // An epoch that is not ours any more.
                Err(ErrorCode::FencedLeaderEpoch | ErrorCode::UnknownLeaderEpoch) => {
                    self.refuse(token, reply.failed(ErrorCode::NotLeaderOrFollower));
                }
                Err(error) => self.refuse(token, reply.failed(error)),
            }
        }
        is_lost.then_some(Ended::LogCutBack)
    }

    /// Refuses all that waits.
    fn resign(mut self) {
        for (token, reply) in self.held.take_all() {
            self.refuse(token, reply.failed(ErrorCode::NotLeaderOrFollower));
        }
        self.say(GroupObservation::Unloaded);
        let Self { coordinator, mut askers, .. } = self;
        for (token, reply) in coordinator.resign() {
            if let Some(asker) = askers.remove(&token) {
                let _ = asker.send(reply);
            }
        }
        assert!(askers.is_empty(), "each request is answered once");
    }

    /// Sends a reply as it was decided.
    fn answer(&mut self, token: Token, reply: Reply) {
        let told = self.told.remove(&token).into_iter().flatten();
        told.for_each(|what| self.say(what));
        self.send(token, reply);
    }

    /// Sends a refusal instead of what was decided.
    fn refuse(&mut self, token: Token, refusal: Reply) {
        self.told.remove(&token);
        self.send(token, refusal);
    }

    fn say(&self, what: GroupObservation) {
        let (partition, leader_epoch) = (self.handle.id().partition, self.leader_epoch);
        let term = CoordinatorTerm { partition, leader_epoch };
        self.env.observe(Observation::Group { term, what });
    }

    fn send(&mut self, token: Token, reply: Reply) {
        let asker = self.askers.remove(&token).expect("each request is answered once");
        // Who asked may be gone.
        let _ = asker.send(reply);
    }
}

/// The topics of `before` that are not there any more, or only under the same name.
fn deleted_topics(before: &TopicTable, now: &TopicTable) -> Vec<(Arc<str>, TopicId)> {
    let gone =
        before.iter().filter(|(name, info)| now.get(*name).is_none_or(|known| known.id != info.id));
    gone.map(|(name, info)| (Arc::clone(name), info.id)).collect()
}
