//! A member that processes beside polling: what polls gave waits in a queue for a task of its own. While the queue is full the member's
//! partitions are paused, and it polls on, so that its group does not take it for one that hangs (`max.poll.interval.ms`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use ottla::client::ConsumerRecord;
use ottla::client::consumer::{OffsetAndMetadata, Offsets};
use ottla::runtime::{clock, task, watch};
use ottla::types::TopicPartition;

use super::Client;
use super::consumer::{PAUSE, note_call, note_error};
use super::member::{Member, Processing, note_processed, tell_processed};
use crate::scenario::plan::CommitStyle;

/// What a member has in hand.
#[derive(Clone)]
pub(super) struct Queue {
    held: Arc<Mutex<Held>>,
    /// Told whenever something is added, done, taken away, or all is to end.
    state: Arc<watch::Sender<State>>,
}

#[derive(Default)]
struct Held {
    waiting: VecDeque<ConsumerRecord>,
    /// The partition of the record that is worked on; none where it was taken away meanwhile.
    in_work: Option<TopicPartition>,
    /// How far each partition is done and not committed.
    done: Offsets,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    /// How many records are in hand.
    held: usize,
    /// What is left is to be done without taking time, and no more will come.
    is_ending: bool,
}

impl Default for Queue {
    fn default() -> Self {
        Self { held: Arc::default(), state: Arc::new(watch::Sender::new(State::default())) }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("nothing panics with it locked")
    }

    fn len(&self) -> usize {
        self.state.borrow().held
    }

    fn count(&self, held: &Held) {
        let count = held.waiting.len() + usize::from(held.in_work.is_some());
        self.state.send_modify(|state| state.held = count);
    }

    fn push(&self, records: Vec<ConsumerRecord>) {
        let mut held = self.lock();
        held.waiting.extend(records);
        self.count(&held);
    }

    /// The record that is next.
    fn begin(&self) -> Option<ConsumerRecord> {
        let mut held = self.lock();
        let record = held.waiting.pop_front()?;
        held.in_work = Some(record.topic_partition());
        Some(record)
    }

    /// The record that was begun is done. Returns false where its partition was taken away meanwhile.
    fn end(&self, record: &ConsumerRecord) -> bool {
        let mut held = self.lock();
        let Some(partition) = held.in_work.take() else { return false };
        let next = OffsetAndMetadata {
            leader_epoch: record.leader_epoch,
            ..OffsetAndMetadata::new(record.offset + 1)
        };
        held.done.insert(partition, next);
        self.count(&held);
        true
    }

    /// How far partitions are done since it was asked last.
    fn take_done(&self) -> Offsets {
        std::mem::take(&mut self.lock().done)
    }

    /// Drops what is in hand of partitions that are the member's no longer. Returns how far they are done.
    pub(super) fn take_away(&self, partitions: &[TopicPartition]) -> Offsets {
        let mut held = self.lock();
        held.waiting.retain(|record| !partitions.contains(&record.topic_partition()));
        if held.in_work.as_ref().is_some_and(|at| partitions.contains(at)) {
            held.in_work = None;
        }
        self.count(&held);
        let done = partitions.iter().filter_map(|at| held.done.remove_entry(at));
        done.collect()
    }
}

/// Works on what is in hand until all is to end and nothing is left.
async fn work(queue: Queue, mut processing: Processing, client: Client, group: Arc<str>) {
    let mut state = queue.state.subscribe();
    loop {
        let is_ending = until(&mut state, |state| state.held > 0 || state.is_ending).await;
        let Some(record) = queue.begin() else {
            if is_ending {
                return;
            }
            continue;
        };
        let time = processing();
        tokio::select! {
            biased;
            _ = until(&mut state, |state| state.is_ending) => {}
            () = clock::sleep(client.env.clock.as_ref(), time) => {}
        }
        if queue.end(&record) {
            note_processed(&client, &group, &record);
            tell_processed(&client, &mut BTreeMap::from([(record.topic_partition(), 1)]));
        }
    }
}

/// Waits for a state. Whether all is to end; that it is, too, where nobody tells any more.
async fn until(state: &mut watch::Receiver<State>, is_it: impl Fn(&State) -> bool) -> bool {
    state.wait_for(is_it).await.map_or(true, |now| now.is_ending)
}

impl Member {
    /// Polls, and processes beside it, until it is asked to stop.
    pub(super) async fn run_beside(mut self, queue: Queue) {
        let pause_at = self.work.pause_at.unwrap_or(usize::MAX);
        let processing = std::mem::replace(&mut self.work.processing, Box::new(|| PAUSE));
        let group = Arc::clone(&self.work.group);
        let worker = task::spawn(work(queue.clone(), processing, self.client.clone(), group));
        let mut is_paused = false;
        loop {
            let asked_at = (self.client.now)();
            let polled = tokio::select! {
                biased;
                () = self.client.asked_to_stop() => break,
                polled = self.consumer.poll(self.work.poll_timeout) => polled,
            };
            self.look_at_generation();
            match polled {
                Ok(records) => {
                    note_call(&self.client, asked_at, records.len());
                    self.note_given(&records);
                    queue.push(records);
                    self.client.history.note_in_hand(&self.client.name, queue.len());
                }
                Err(error) => {
                    note_error(&self.client, &error);
                    clock::sleep(self.client.env.clock.as_ref(), PAUSE).await;
                }
            }
            is_paused = self.hold_back(is_paused, queue.len(), pause_at);
            self.commit_done(&queue).await;
        }
        queue.state.send_modify(|state| state.is_ending = true);
        until(&mut queue.state.subscribe(), |state| state.held == 0).await;
        drop(worker);
        self.commit_done(&queue).await;
        self.consumer.close().await;
        (self.client.tell)("member.left", &|event| event);
    }

    async fn commit_done(&mut self, queue: &Queue) {
        if self.work.commit == CommitStyle::AfterProcessing {
            self.commit(queue.take_done()).await;
        }
    }

    /// Pauses what is assigned while too much is in hand, also what was assigned since; takes it in again once half of that is left.
    /// Returns whether it is paused.
    fn hold_back(&mut self, is_paused: bool, held: usize, pause_at: usize) -> bool {
        let assignment = self.consumer.assignment();
        if held >= pause_at || (is_paused && held > pause_at / 2) {
            self.consumer.pause(&assignment).expect("it is assigned");
            if !is_paused {
                let words = format!("{held} records in hand");
                (self.client.tell)("member.paused", &|event| event.note(words.clone()));
            }
            return true;
        }
        if is_paused {
            self.consumer.resume(&assignment).expect("it is assigned");
            let words = format!("{held} records in hand");
            (self.client.tell)("member.resumed", &|event| event.note(words.clone()));
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use ottla::types::{Offset, PartitionIndex};

    use super::*;

    fn record(partition: i32, offset: i64) -> ConsumerRecord {
        ConsumerRecord {
            topic: "orders".into(),
            partition: PartitionIndex::new(partition),
            offset: Offset::new(offset),
            leader_epoch: None,
            timestamp: ottla::types::Timestamp::from_millis(0),
            key: None,
            value: None,
            headers: Vec::new(),
        }
    }

    fn offsets(all: &Offsets) -> Vec<(i32, i64)> {
        all.iter().map(|(at, of)| (at.partition.value(), of.offset.value())).collect()
    }

    #[test]
    fn what_is_done_is_committed_once_and_what_is_taken_away_is_neither_done_nor_committed() {
        let queue = Queue::default();
        queue.push(vec![record(0, 5), record(1, 7), record(0, 6), record(1, 8)]);
        assert_eq!(queue.len(), 4);
        let first = queue.begin().unwrap();
        assert!(queue.end(&first));
        assert_eq!((queue.len(), offsets(&queue.take_done())), (3, vec![(0, 6)]));
        assert_eq!(offsets(&queue.take_done()), []);
        // Partition 1 is taken away while one of its records is worked on.
        let second = queue.begin().unwrap();
        let away = [second.topic_partition()];
        assert_eq!(offsets(&queue.take_away(&away)), []);
        assert!(!queue.end(&second));
        assert_eq!(queue.len(), 1);
        let third = queue.begin().unwrap();
        assert_eq!(third.offset, Offset::new(6));
        assert!(queue.end(&third));
        // Done and not committed yet: that is handed over with it.
        assert_eq!(offsets(&queue.take_away(&[third.topic_partition()])), [(0, 7)]);
        assert_eq!(offsets(&queue.take_done()), []);
        assert!(queue.begin().is_none());
    }
}
