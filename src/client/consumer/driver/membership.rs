//! The calls of a group's member: subscribing, committing, leaving.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use regex_lite::Regex;
use tokio::sync::Notify;

use super::{Consumer, Waited};
use crate::client::consumer::listener::{NoListener, RebalanceListener};
use crate::client::consumer::membership::{CommitId, Effect, Event, ReadId};
use crate::client::consumer::offsets::Offsets;
use crate::client::error::ClientError;
use crate::types::{ErrorCode, GenerationId, GroupProtocol, TopicPartition};

/// How long closing may take (Kafka: `ConsumerUtils.DEFAULT_CLOSE_TIMEOUT_MS`).
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// What is called when a commit ended.
pub type CommitCallback = Box<dyn FnOnce(Result<(), ClientError>) + Send>;

/// Ends a consumer's waiting from somewhere else.
///
/// A call that waits, or the next one that would, fails with [`ClientError::WokenUp`] (Kafka: `Consumer.wakeup`).
#[derive(Clone)]
pub struct Wakeup(Arc<Notify>);

impl Wakeup {
    /// Wakes the consumer up.
    pub fn wakeup(&self) {
        self.0.notify_one();
    }
}

impl fmt::Debug for Wakeup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wakeup")
    }
}

/// How a consumer is closed (Kafka: `CloseOptions`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseOptions {
    /// How long it may take to commit and to leave.
    pub timeout: Duration,
    /// Whether to leave the group. `None`: a static member (`group.instance.id`) stays, so that its next process takes its place without
    /// a rebalance; others leave.
    pub leave: Option<bool>,
}

impl Default for CloseOptions {
    fn default() -> Self {
        Self { timeout: CLOSE_TIMEOUT, leave: None }
    }
}

impl Consumer {
    /// Reads these topics from now on, and no others, together with the other members of its group. It joins with the next `poll`. Nobody is
    /// told of what is assigned and taken away: a former listener is forgotten (as in Kafka).
    ///
    /// Nothing to read: as [`Consumer::unsubscribe`], which the next calls carry out.
    ///
    /// Errors: [`ClientError::Answer`] with `INVALID_GROUP_ID` without `group.id`.
    pub fn subscribe<T: Into<Arc<str>>>(
        &mut self,
        topics: impl IntoIterator<Item = T>,
    ) -> Result<(), ClientError> {
        self.subscribe_with(topics, NoListener)
    }

    /// The same, with somebody to be told of what is assigned and taken away.
    ///
    /// Errors: as [`Consumer::subscribe`].
    pub fn subscribe_with<T: Into<Arc<str>>>(
        &mut self,
        topics: impl IntoIterator<Item = T>,
        listener: impl RebalanceListener + 'static,
    ) -> Result<(), ClientError> {
        let topics: BTreeSet<Arc<str>> = topics.into_iter().map(Into::into).collect();
        self.check_group("subscribe")?;
        self.forget_pattern();
        if topics.is_empty() {
            self.unsubscribe();
        } else {
            self.listener = Box::new(listener);
            self.subscribe_to(topics);
        }
        Ok(())
    }

    /// Reads all topics whose whole name matches `pattern` from now on, and no others, except internal ones. Topics that come or go are
    /// noticed when metadata is asked for anew, at the latest after `metadata.max.age.ms`; each time the group rebalances.
    ///
    /// The client matches, in the language of the `regex-lite` crate: no look-around and no back-references, unlike in Java.
    ///
    /// Errors: [`ClientError::Answer`] with `INVALID_REGULAR_EXPRESSION`, or with `INVALID_GROUP_ID` without `group.id`; then all is as it was.
    pub fn subscribe_pattern(&mut self, pattern: &str) -> Result<(), ClientError> {
        self.subscribe_pattern_with(pattern, NoListener)
    }

    /// The same, with somebody to be told of what is assigned and taken away.
    ///
    /// Errors: as [`Consumer::subscribe_pattern`].
    pub fn subscribe_pattern_with(
        &mut self,
        pattern: &str,
        listener: impl RebalanceListener + 'static,
    ) -> Result<(), ClientError> {
        self.check_group("subscribe")?;
        let whole_name = Regex::new(&format!("^(?:{pattern})$")).map_err(|error| {
            let message = Some(format!("{pattern:?}: {error}"));
            ClientError::Answer { error: ErrorCode::InvalidRegularExpression, message }
        })?;
        self.listener = Box::new(listener);
        self.pattern = Some(whole_name);
        self.machine.want_all_topics(true);
        Ok(())
    }

    /// Reads all topics whose whole name fits `regex` from now on, and no others. The coordinator matches, in its own language: RE2/J in
    /// Kafka, `regex-lite` in ottla. Topics that come or go are noticed by the coordinator (Kafka: `Consumer.subscribe(SubscriptionPattern)`,
    /// KIP-848).
    ///
    /// Errors: [`ClientError::Answer`] with `INVALID_REQUEST` unless `group.protocol=consumer`, or with `INVALID_GROUP_ID` without `group.id`.
    /// Whether the expression is a good one the coordinator says: then `poll` fails with `INVALID_REGULAR_EXPRESSION`.
    pub fn subscribe_regex(&mut self, regex: &str) -> Result<(), ClientError> {
        self.subscribe_regex_with(regex, NoListener)
    }

    /// The same, with somebody to be told of what is assigned and taken away.
    ///
    /// Errors: as [`Consumer::subscribe_regex`].
    pub fn subscribe_regex_with(
        &mut self,
        regex: &str,
        listener: impl RebalanceListener + 'static,
    ) -> Result<(), ClientError> {
        self.check_group("subscribe")?;
        let refused = |why: &str| {
            let message = Some(format!("subscribe to {regex:?}: {why}"));
            Err(ClientError::Answer { error: ErrorCode::InvalidRequest, message })
        };
        if self.machine.group_protocol() != GroupProtocol::Consumer {
            return refused("only a coordinator of group.protocol=consumer matches expressions");
        }
        if regex.is_empty() {
            return refused("the expression is empty");
        }
        self.listener = Box::new(listener);
        self.forget_pattern();
        self.begin_to_subscribe();
        self.tell_group(Event::SubscribedToRegex(regex.into()));
        Ok(())
    }

    fn forget_pattern(&mut self) {
        if self.pattern.take().is_some() {
            self.machine.want_all_topics(false);
        }
    }

    fn subscribe_to(&mut self, topics: BTreeSet<Arc<str>>) {
        self.begin_to_subscribe();
        self.tell_group(Event::Subscribed(topics));
    }

    fn begin_to_subscribe(&mut self) {
        if !self.machine.is_subscribed() {
            // What was chosen by hand is not the group's.
            self.machine.assign(Vec::new());
            self.tell_group(Event::AssignedByHand(BTreeSet::new()));
        }
        self.machine.set_subscribed(true);
    }

    /// Subscribes to what the pattern stands for now.
    fn follow_pattern(&mut self) {
        let Some(pattern) = &self.pattern else { return };
        let Some(all) = self.machine.all_topics() else { return };
        let matching = all.iter().filter(|topic| pattern.is_match(topic)).cloned().collect();
        self.subscribe_to(matching);
    }

    /// Reads nothing any more, and leaves the group (a static member stays in it until its session ends). What was read is committed with
    /// `enable.auto.commit`, and the listener is told.
    pub fn unsubscribe(&mut self) {
        self.forget_pattern();
        self.tell_group(Event::Unsubscribed);
        self.machine.set_subscribed(false);
        self.machine.assign(Vec::new());
    }

    /// The member's id and the generation it is in (its member epoch, in the consumer protocol), as far as it has them.
    #[must_use]
    pub fn group_metadata(&self) -> (Option<Arc<str>>, Option<GenerationId>) {
        self.group.as_ref().map(super::Group::identity).unwrap_or_default()
    }

    /// Commits what `poll` has handed out, and waits until it is stored.
    ///
    /// Errors: as [`Consumer::commit_offsets`].
    pub async fn commit(&mut self) -> Result<(), ClientError> {
        let offsets = self.machine.consumed();
        self.commit_offsets(offsets).await
    }

    /// Commits these offsets: in each partition that of the next record to be read. Tries again what may come better, up to
    /// `default.api.timeout.ms`.
    ///
    /// Errors: [`ClientError::Answer`] with `REBALANCE_IN_PROGRESS` (poll, then commit what is still assigned), `UNKNOWN_MEMBER_ID`,
    /// `ILLEGAL_GENERATION` or `STALE_MEMBER_EPOCH` (out of the group, or it was taken away: others read what was not committed), `INVALID_GROUP_ID` without `group.id`;
    /// [`ClientError::TimedOut`], [`ClientError::WokenUp`]: it may be stored, or not.
    pub async fn commit_offsets(&mut self, offsets: Offsets) -> Result<(), ClientError> {
        self.check_group("commit")?;
        let id = CommitId(self.next_id());
        self.commits_ended.clear();
        self.tell_group(Event::Commit { id, offsets });
        self.outcome("commit of offsets", |this| this.commits_ended.remove(&id)).await
    }

    /// Commits these offsets and does not wait: `done` is called within a later call of this consumer. Callbacks come in the order in
    /// which coordinators answer.
    ///
    /// A commit that failed is tried again only as long as no newer one was made: an old offset never overwrites a newer one.
    ///
    /// Errors: [`ClientError::Answer`] with `INVALID_GROUP_ID` without `group.id`; others are told to `done`.
    pub fn commit_async(
        &mut self,
        offsets: Offsets,
        done: impl FnOnce(Result<(), ClientError>) + Send + 'static,
    ) -> Result<(), ClientError> {
        self.check_group("commit")?;
        let id = CommitId(self.next_id());
        self.callbacks.insert(id, Box::new(done));
        self.tell_group(Event::Commit { id, offsets });
        Ok(())
    }

    /// How far `poll` has handed out what is assigned.
    #[must_use]
    pub fn positions(&self) -> Offsets {
        self.machine.consumed()
    }

    /// What the group has committed of these partitions; those of which nothing is are left out.
    ///
    /// Errors: [`ClientError::Answer`] with `INVALID_GROUP_ID` without `group.id`, or what the coordinator says; [`ClientError::TimedOut`]
    /// after `default.api.timeout.ms`.
    pub async fn committed(
        &mut self,
        partitions: &[TopicPartition],
    ) -> Result<Offsets, ClientError> {
        self.check_group("ask what is committed")?;
        let id = ReadId(self.next_id());
        self.reads_ended.clear();
        self.tell_group(Event::Read { id, partitions: partitions.iter().cloned().collect() });
        self.outcome("committed offsets", |this| this.reads_ended.remove(&id)).await
    }

    /// Something with which others end this consumer's waiting.
    #[must_use]
    pub fn wakeup(&self) -> Wakeup {
        Wakeup(Arc::clone(&self.wakeup))
    }

    /// Commits (with `enable.auto.commit`), leaves the group, closes the connections. Takes at most 30 s. Commits that have not ended by then
    /// may be stored, or not: their callbacks are told [`ClientError::Closed`].
    ///
    /// Dropping the consumer closes the connections only: its group waits for `session.timeout.ms`.
    pub async fn close(self) {
        self.close_with(CloseOptions::default()).await;
    }

    /// The same, as `options` say.
    pub async fn close_with(mut self, options: CloseOptions) {
        let deadline = self.env.clock.now().monotonic + options.timeout;
        if self.group.is_some() {
            self.tell_group(Event::Close { leave: options.leave });
            while !self.is_closed {
                self.advance();
                if self.is_closed || self.wait(deadline).await == Waited::Late {
                    break;
                }
            }
        }
        self.nodes.clear();
        // Nobody will hear how these end.
        for done in std::mem::take(&mut self.callbacks).into_values() {
            done(Err(ClientError::Closed));
        }
    }

    // ---- the link to the group ----

    fn check_group(&self, what: &str) -> Result<(), ClientError> {
        if self.group.is_some() {
            return Ok(());
        }
        let message = Some(format!("cannot {what} without group.id"));
        Err(ClientError::Answer { error: ErrorCode::InvalidGroupId, message })
    }

    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Waits until what was asked of the group has ended.
    async fn outcome<R>(
        &mut self,
        what: &str,
        mut ended: impl FnMut(&mut Self) -> Option<Result<R, ClientError>>,
    ) -> Result<R, ClientError> {
        // The link ends it in time; this is for the case that it does not come to it.
        let deadline = self.env.clock.now().monotonic + self.api_timeout.saturating_mul(2);
        self.until(deadline, what, |this| ended(this).transpose()).await
    }

    /// Tells the group's link, and does what comes of it.
    pub(super) fn tell_group(&mut self, event: Event) {
        if let Some(group) = &self.group {
            group.handle(event);
            self.perform_group_effects();
        }
    }

    /// What is known of the cluster changed.
    pub(super) fn tell_group_of_cluster(&mut self) {
        if self.group.is_some() {
            self.tell_group(Event::Brokers(self.machine.nodes()));
            self.tell_group_of_topics();
            self.follow_pattern();
        }
    }

    fn tell_group_of_topics(&mut self) {
        self.tell_group(Event::TopicNames(self.machine.known_names()));
        self.tell_group(Event::Topics(self.machine.known_topics()));
    }

    pub(super) fn with_brokers_known(mut self) -> Self {
        self.tell_group_of_cluster();
        self
    }

    pub(super) fn perform_group_effects(&mut self) {
        while let Some(effect) = self.group.as_ref().and_then(super::Group::next_effect) {
            self.perform_group_effect(effect);
        }
    }

    fn perform_group_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Ask { .. } => unreachable!("the link asks by itself"),
            Effect::Revoke(revoked) => {
                let mut consumed = self.machine.consumed();
                consumed.retain(|partition, _| revoked.contains(partition));
                let by_listener = self.listener.on_partitions_revoked(&revoked, &consumed);
                self.machine.unassign(&revoked);
                self.tell_group(Event::Revoked { by_listener, consumed });
            }
            Effect::Lose(lost) => {
                self.listener.on_partitions_lost(&lost);
                self.machine.unassign(&lost);
            }
            Effect::Assign { all, added } => {
                self.machine.assign(all);
                for (partition, offset) in self.listener.on_partitions_assigned(&added) {
                    if let Err(error) = self.machine.seek(&partition, offset) {
                        self.failures.push_back(error);
                    }
                }
            }
            Effect::Start(offsets, partitions) => self.machine.start_at(&offsets, &partitions),
            Effect::Consumed => {
                let consumed = self.machine.consumed();
                self.tell_group(Event::Consumed(consumed));
            }
            Effect::Watch(topics) => {
                self.machine.watch(topics);
                self.tell_group_of_topics();
            }
            Effect::WatchIds(ids) => {
                self.machine.watch_ids(&ids);
                self.tell_group_of_topics();
            }
            Effect::Committed(offsets) => self.interceptors.on_commit(&offsets),
            Effect::CommitEnded(id, result) => match self.callbacks.remove(&id) {
                Some(done) => done(result),
                None => _ = self.commits_ended.insert(id, result),
            },
            Effect::ReadEnded(id, result) => _ = self.reads_ended.insert(id, result),
            Effect::Fail(error) => self.failures.push_back(error),
            Effect::Closed => self.is_closed = true,
        }
    }
}
