//! How a partition's machine is fed, and what it wants is done: in the order in which it was decided, outside the lock.

use std::cell::Cell;
use std::sync::{Arc, MutexGuard};
use std::task::{Context, Poll, Waker};

use super::work::{TruncateFiles, Work};
use super::{After, Inner, PartitionHandle};
use crate::log::LeaderEpochCache;
use crate::replica::{Checkpoint, Effect, Event, Role};
use crate::runtime::{BoxFuture, File, Io, SyncDone};
use crate::storage::{
    StorageError, Suffix, remove_keeping_producers, start_sync, write_leader_epochs,
};
use crate::types::{Now, Offset};

thread_local! {
    /// The list that effects are written to, empty between two events: a thread feeds one machine at a time, and an idle partition
    /// owns none.
    static EFFECTS: Cell<Vec<Effect>> = const { Cell::new(Vec::new()) };
}
/// Work that was taken off the queue.
enum Started {
    Work(Work),
    Sync { files: Vec<Arc<dyn File>>, done: SyncDone },
}

/// How far a piece of work went.
enum Performed {
    Done(Option<Event>),
    Later(BoxFuture<'static, Option<Event>>),
}
impl PartitionHandle {
    /// Feeds the machine.
    pub(super) fn handle(self: &Arc<Self>, event: Event) {
        self.run(self.lock(), self.env.clock.now(), Some(event));
    }

    /// Feeds the machine, then performs what is queued until nothing is left or somebody else does.
    pub(super) fn run<'a>(
        self: &'a Arc<Self>,
        mut inner: MutexGuard<'a, Inner>,
        now: Now,
        mut event: Option<Event>,
    ) {
        loop {
            if let Some(event) = event.take() {
                self.decide(&mut inner, now, event);
            }
            let work = inner.next_work().map(|work| self.prepare(work, &mut inner));
            let waiting = std::mem::take(&mut inner.waiting_for_condition);
            inner.after.wakers.extend(waiting);
            let after = std::mem::take(&mut inner.after);
            drop(inner);
            self.perform_after(after);
            let Some(work) = work else { return };
            // A sync is only started here, by whoever: also by the disk's thread, which may not wait for anything. So
            // nobody counts on its starter to drain the queue.
            let drains = !matches!(work, Started::Sync { .. });
            match work {
                Started::Sync { files, done } => start_sync(files, done),
                Started::Work(work) => match self.perform(work) {
                    Performed::Done(done) => event = done,
                    Performed::Later(future) => return self.finish_later(future),
                },
            }
            inner = self.lock();
            if drains {
                inner.draining = false;
            }
        }
    }

    /// Waits for work that is under way, then goes on draining. As a task of the directory: the caller's runtime may end
    /// before, and the queue would never be drained again.
    fn finish_later(self: &Arc<Self>, future: BoxFuture<'static, Option<Event>>) {
        let this = self.clone();
        self.dir.spawn(Box::pin(async move {
            let event = future.await;
            let mut inner = this.lock();
            inner.draining = false;
            this.run(inner, this.env.clock.now(), event);
        }));
    }

    /// Lets the machine decide, and takes in its effects from top to bottom.
    fn decide(&self, inner: &mut Inner, now: Now, mut event: Event) {
        if let Event::WriteFailed { sync_dropped, .. } = &mut event {
            *sync_dropped = inner.drop_queued();
        }
        let mut effects = EFFECTS.take();
        inner.machine.handle(now, event, &mut effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Write {
                    segment,
                    position,
                    slices,
                    base_offset,
                    end_offset,
                    generation,
                } => {
                    let slices = inner.remember(base_offset, end_offset, slices);
                    inner.queue.push(Work::Write {
                        segment,
                        position,
                        slices,
                        end_offset,
                        generation,
                    });
                }
                Effect::SaveEpochs { epochs, version } => {
                    inner.queue.push(Work::SaveEpochs { epochs, version });
                }
                Effect::Truncate {
                    segment,
                    position,
                    later,
                    end_offset,
                    lowers_recovery_point,
                    number,
                } => {
                    let mut indexes = inner.machine.log().unsaved_indexes();
                    indexes.retain(|part| part.segment == segment);
                    inner.queue.push(Work::Truncate(Box::new(TruncateFiles {
                        segment,
                        position,
                        later,
                        indexes,
                        end_offset,
                        lowers_recovery_point,
                        number,
                    })));
                }
                Effect::Restart { segments, start_offset, number } => {
                    inner.queue.push(Work::Restart { segments, start_offset, number });
                }
                Effect::ProposeIsr(proposal) => inner.after.proposals.push(proposal),
                Effect::Roll { segment } => inner.queue.push(Work::Roll { segment }),
                Effect::Cut { segment, position, later } => {
                    inner.tail.truncate(inner.machine.log().log_end_offset());
                    inner.queue.push_front(Work::Cut { segment, position, later });
                }
                Effect::Sync { segments, end_offset, generation } => {
                    inner.queue.push(Work::Sync { segments, end_offset, generation });
                }
                Effect::RemoveSegments { segments, log_start_offset } => {
                    inner.queue.push(Work::Remove { segments, log_start_offset });
                }
                Effect::SaveCheckpoint(checkpoint) => inner.after.checkpoint = Some(checkpoint),
                Effect::FailDir => inner.after.dir_failed = true,
                Effect::Answer { waiter, result } => inner.answer(waiter, result),
                Effect::Readable { waiter, bytes } => {
                    if let Some(watch) = inner.watches.get(&waiter) {
                        inner.after.readable.push((watch.clone(), bytes));
                    }
                }
                Effect::Observe(observation) => self.env.observe(observation),
            }
        }
        EFFECTS.set(effects);
        if !matches!(inner.machine.role(), Role::Leader { .. }) {
            inner.tail.clear();
        }
        let machine = &inner.machine;
        self.progress.store(
            machine.log().log_start_offset(),
            machine.recovery_point(),
            machine.high_watermark(),
        );
    }

    /// Performs what waits for the lock to be free.
    fn perform_after(self: &Arc<Self>, after: After) {
        let After { wakers, readable, checkpoint, proposals, dir_failed } = after;
        for proposal in proposals {
            self.options.isr_changes.tell(self.id, proposal);
        }
        wakers.into_iter().for_each(Waker::wake);
        for (watch, bytes) in readable {
            watch.add(bytes);
        }
        if let Some(checkpoint) = checkpoint {
            let this = self.clone();
            self.dir.submit(Box::pin(async move { this.save(checkpoint).await }));
        }
        if dir_failed {
            let path = self.dir.path().to_owned();
            let said = self.disk_error.lock().expect("no panic while it is locked").take();
            self.dir.fail(&said.unwrap_or(StorageError::Offline { path }));
        }
    }

    /// Saves a checkpoint, on the directory's worker.
    async fn save(self: Arc<Self>, checkpoint: Checkpoint) -> Result<(), StorageError> {
        let Checkpoint { end_offset, snapshot, indexes } = checkpoint;
        let points = [self.progress.written_recovery_point(), self.progress.settled()];
        match self.files.save_checkpoint(end_offset, &indexes, snapshot, &points).await {
            Ok(()) => {
                self.handle(Event::CheckpointSaved { end_offset });
                self.dir.want_checkpoints();
                Ok(())
            }
            Err(error) if error.is_no_space() => {
                self.handle(Event::CheckpointDropped);
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes what a sync needs while the lock is held: another task may remove a segment as soon as it is free.
    fn prepare(self: &Arc<Self>, work: Work, inner: &mut Inner) -> Started {
        let Work::Sync { segments, end_offset, generation } = work else {
            inner.draining = true;
            return Started::Work(work);
        };
        let this = self.clone();
        let done: SyncDone = Box::new(move |result| {
            this.handle(match result {
                Ok(()) => Event::Synced { end_offset, generation },
                Err(error) => this.sync_failed(error),
            });
        });
        Started::Sync { files: self.files.opened_segments(&segments), done }
    }

    /// Performs a piece of work, without the lock.
    fn perform(self: &Arc<Self>, work: Work) -> Performed {
        match work {
            Work::Write { segment, position, slices, end_offset, generation } => {
                let done = Event::Written { end_offset, generation };
                match self.files.write(segment, position, slices) {
                    Io::Ready(Ok(())) => Performed::Done(Some(done)),
                    Io::Ready(Err(error)) => {
                        Performed::Done(Some(self.write_failed(self.append_error(segment, error))))
                    }
                    Io::Pending(future) => {
                        let this = self.clone();
                        Performed::Later(Box::pin(async move {
                            match future.await {
                                Ok(()) => Some(done),
                                Err(error) => {
                                    Some(this.write_failed(this.append_error(segment, error)))
                                }
                            }
                        }))
                    }
                }
            }
            Work::Sync { .. } => unreachable!("a sync is started, not performed"),
            Work::Roll { segment } => {
                let this = self.clone();
                start_future(Box::pin(async move {
                    let failed = this.files.create_segment(segment).await.err();
                    failed.map(|error| this.write_failed(error))
                }))
            }
            Work::Cut { segment, position, later } => {
                let this = self.clone();
                start_future(Box::pin(async move {
                    let failed = this.files.cut(segment, position, &later).await.err();
                    failed.map(|error| this.failed_for_good(error))
                }))
            }
            Work::SaveEpochs { epochs, version } => {
                let this = self.clone();
                start_future(Box::pin(async move { this.save_epochs(epochs, version).await }))
            }
            Work::Truncate(cut) => {
                let this = self.clone();
                start_future(Box::pin(async move {
                    let done = this.truncate_files(&cut).await;
                    this.truncated(cut.number, done)
                }))
            }
            Work::Restart { segments, start_offset, number } => {
                let this = self.clone();
                start_future(Box::pin(async move {
                    let done = this.restart_files(&segments, start_offset).await;
                    this.truncated(number, done)
                }))
            }
            Work::Remove { segments, log_start_offset } => {
                let this = self.clone();
                start_future(Box::pin(async move {
                    let failed = this.remove(&segments, log_start_offset).await.err();
                    failed.map(|error| this.failed_for_good(error))
                }))
            }
        }
    }

    /// A write failed: for want of space, or for good.
    fn write_failed(&self, error: StorageError) -> Event {
        let no_space = error.is_no_space();
        self.note(error);
        Event::WriteFailed { no_space, sync_dropped: false }
    }

    /// What is in the files is not known any more.
    pub(super) fn failed_for_good(&self, error: StorageError) -> Event {
        self.note(error);
        Event::WriteFailed { no_space: false, sync_dropped: false }
    }

    fn sync_failed(&self, error: std::io::Error) -> Event {
        self.note(StorageError::io("sync a segment", self.files.dir(), error));
        Event::SyncFailed
    }

    fn note(&self, error: StorageError) {
        *self.disk_error.lock().expect("no panic while it is locked") = Some(error);
    }

    async fn remove(&self, segments: &[Offset], start: Offset) -> Result<(), StorageError> {
        remove_keeping_producers(&self.files, segments, self.progress.settled()).await?;
        for segment in segments {
            self.files.remove(*segment, Suffix::Snapshot).await?;
        }
        let epochs = self.lock().machine.epochs().clone();
        if epochs.earliest().is_some_and(|earliest| earliest.start_offset == start) {
            match write_leader_epochs(self.files.disk(), self.files.dir(), &epochs).await {
                // The file names more than is needed: the next open cuts that off.
                Err(error) if error.is_no_space() => {}
                written => written?,
            }
        }
        self.dir.want_checkpoints();
        Ok(())
    }

    /// Saves the leader epochs. For want of space they are saved before the next write.
    async fn save_epochs(&self, epochs: LeaderEpochCache, version: u64) -> Option<Event> {
        let saved = write_leader_epochs(self.files.disk(), self.files.dir(), &epochs).await;
        self.lock().epochs_version = version;
        saved.err().map(|error| self.write_failed(error))
    }

    fn append_error(&self, segment: Offset, error: std::io::Error) -> StorageError {
        let path = self.files.path(segment, Suffix::Log);
        StorageError::io("append to a segment", &path, error)
    }
}

/// Work that is done at the call in the real world is finished here; only what must wait becomes a task.
fn start_future(mut future: BoxFuture<'static, Option<Event>>) -> Performed {
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(event) => Performed::Done(event),
        Poll::Pending => Performed::Later(future),
    }
}
