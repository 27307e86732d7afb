//! Replies that wait until what they speak of is committed.
//!
//! They stand in the order of the decisions, each behind the records that its decision or an earlier one appended: since logs are committed
//! in order, the front is all that needs to be waited for.
//!
//! Kafka: `DeferredEventQueue`.

use std::collections::VecDeque;
use std::future::{pending, ready};

use crate::coordinator::group::{Reply, Token};
use crate::runtime::BoxFuture;
use crate::types::{ErrorCode, Monotonic};

/// Ends when records are committed; or with how that failed.
pub(super) type Committed = BoxFuture<'static, Result<(), ErrorCode>>;

/// What one decision has to say, and what it waits for.
struct Entry {
    /// `None` where it waits only for what stands before it.
    committed: Option<Committed>,
    deadline: Monotonic,
    replies: Vec<(Token, Reply)>,
}

/// Replies that may be sent.
pub(super) struct Released {
    /// Whether records of their own are committed; `None` where they had none.
    pub(super) committed: Option<Result<(), ErrorCode>>,
    /// The replies, in order.
    pub(super) replies: Vec<(Token, Reply)>,
}

/// The replies that wait.
#[derive(Default)]
pub(super) struct Held {
    queue: VecDeque<Entry>,
}

impl Held {
    /// Holds `replies` until all before them, and what `committed` waits for, is committed; at most until `deadline`. Deadlines do not go back.
    pub(super) fn hold(
        &mut self,
        committed: Option<Committed>,
        deadline: Monotonic,
        replies: Vec<(Token, Reply)>,
    ) {
        if committed.is_some() || !replies.is_empty() {
            self.queue.push_back(Entry { committed, deadline, replies });
        }
    }

    /// Waits for what may be sent next; for ever where nothing is held. Cancel-safe.
    pub(super) async fn next(&mut self) -> Released {
        let Some(front) = self.queue.front_mut() else { return pending().await };
        let committed = match &mut front.committed {
            Some(committed) => Some(committed.await),
            None => ready(None).await,
        };
        let entry = self.queue.pop_front().expect("it was just there");
        Released { committed, replies: entry.replies }
    }

    /// When the first reply has waited for too long.
    pub(super) fn deadline(&self) -> Option<Monotonic> {
        let mut waiting = self.queue.iter().filter(|entry| !entry.replies.is_empty());
        waiting.next().map(|entry| entry.deadline)
    }

    /// Takes the replies that have waited for too long. What they waited for goes on being waited for, by those behind them.
    pub(super) fn take_overdue(&mut self, now: Monotonic) -> Vec<(Token, Reply)> {
        let due = self.queue.iter_mut().take_while(|entry| entry.deadline <= now);
        let overdue: Vec<_> = due.flat_map(|entry| std::mem::take(&mut entry.replies)).collect();
        if !overdue.is_empty() {
            // Members go on asking while nothing is committed, for hours perhaps.
            self.queue.retain(|entry| entry.committed.is_some() || !entry.replies.is_empty());
        }
        overdue
    }

    /// Takes all replies.
    pub(super) fn take_all(&mut self) -> Vec<(Token, Reply)> {
        std::mem::take(&mut self.queue).into_iter().flat_map(|entry| entry.replies).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::test_disk::run;

    fn at(millis: u64) -> Monotonic {
        Monotonic::from_nanos(millis * 1_000_000)
    }

    fn beat(token: u64) -> Vec<(Token, Reply)> {
        vec![(Token(token), Reply::Heartbeat(Ok(())))]
    }

    #[test]
    fn replies_come_in_order_behind_what_they_wait_for() {
        let mut held = Held::default();
        held.hold(Some(Box::pin(ready(Ok(())))), at(1), beat(1));
        held.hold(None, at(2), beat(2));
        held.hold(None, at(3), Vec::new());
        held.hold(Some(Box::pin(ready(Err(ErrorCode::KafkaStorageError)))), at(4), Vec::new());
        assert_eq!(held.deadline(), Some(at(1)));
        let first = run(held.next());
        assert_eq!((first.committed, first.replies), (Some(Ok(())), beat(1)));
        let second = run(held.next());
        assert_eq!((second.committed, second.replies), (None, beat(2)));
        let third = run(held.next());
        let failed = Some(Err(ErrorCode::KafkaStorageError));
        assert_eq!((third.committed, third.replies), (failed, Vec::new()));
        assert_eq!(held.deadline(), None);
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_let_go() {
        let mut held = Held::default();
        held.hold(Some(Box::pin(pending())), at(1), beat(1));
        for token in 2..100 {
            held.hold(None, at(token), beat(token));
        }
        assert_eq!(held.take_overdue(at(0)), []);
        assert_eq!(held.take_overdue(at(98)).len(), 98);
        assert_eq!(held.queue.len(), 2, "what is to be committed, and who still waits for it");
        assert_eq!(held.deadline(), Some(at(99)));
        assert_eq!(held.take_all(), beat(99));
    }
}
