//! Appending a producer's batch.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::{PartitionHandle, Slot};
use crate::log::validator::{RecordError, Rejection, ValidationRules, validate_produced};
use crate::protocol::Records;
use crate::replica::{Append, AppendAnswer, Event, WaiterId};
use crate::types::{Acks, ErrorCode, Observation};

/// Why a producer's batch is not stored, or not known to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendError {
    /// What the producer is answered.
    pub code: ErrorCode,
    /// In words, where there are any.
    pub message: Option<String>,
    /// Which records are wrong, where single ones are.
    pub record_errors: Vec<RecordError>,
}

impl From<ErrorCode> for AppendError {
    fn from(code: ErrorCode) -> Self {
        Self { code, message: None, record_errors: Vec::new() }
    }
}

impl From<Rejection> for AppendError {
    fn from(rejection: Rejection) -> Self {
        let Rejection { code, message, record_errors } = rejection;
        Self { code, message: Some(message), record_errors }
    }
}

/// The answer to an append, now or later. Dropping it stops waiting, not the append: its fate is then unknown.
#[must_use = "the producer waits for the answer"]
pub struct Appending(State);

enum State {
    Ready(Option<Result<AppendAnswer, AppendError>>),
    Waiting { handle: Arc<PartitionHandle>, waiter: WaiterId },
}

impl fmt::Debug for Appending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            State::Ready(_) => "Appending::Ready",
            State::Waiting { .. } => "Appending::Waiting",
        })
    }
}

impl Appending {
    fn ready(result: Result<AppendAnswer, AppendError>) -> Self {
        Self(State::Ready(Some(result)))
    }

    /// The answer, where it is there already: the usual case with `acks=1`.
    pub fn take_ready(&mut self) -> Option<Result<AppendAnswer, AppendError>> {
        match &mut self.0 {
            State::Ready(result) => result.take(),
            State::Waiting { handle, waiter } => {
                let result = handle.take_result(*waiter)?;
                self.0 = State::Ready(None);
                Some(result.map_err(AppendError::from))
            }
        }
    }
}

impl Future for Appending {
    type Output = Result<AppendAnswer, AppendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = match &mut self.0 {
            State::Ready(result) => {
                return Poll::Ready(result.take().expect("not polled after its end"));
            }
            State::Waiting { handle, waiter } => handle.poll_result(*waiter, cx),
        };
        match result {
            Poll::Ready(result) => {
                self.0 = State::Ready(None);
                Poll::Ready(result.map_err(AppendError::from))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Appending {
    fn drop(&mut self) {
        if let State::Waiting { handle, waiter } = &self.0 {
            handle.forget(*waiter);
        }
    }
}

impl PartitionHandle {
    /// Appends a producer's records. The batch is checked without the lock; written on the calling task, unless another
    /// task is writing to this log: then that one writes it too.
    ///
    /// With `acks=0` the answer comes as soon as the batch has its place. Whoever waits sets the deadline.
    pub fn append(self: &Arc<Self>, records: &Records, acks: Acks) -> Appending {
        let now = self.env.clock.now();
        let config = self.log_config();
        let rules = ValidationRules::new(&config, now.wall);
        let batch = match validate_produced(&records.to_bytes(), rules) {
            Ok(batch) => batch,
            Err(rejection) => {
                let (partition, error) = (self.id, rejection.code);
                self.env.observe(Observation::ProduceFailed { partition, error });
                return Appending::ready(Err(rejection.into()));
            }
        };
        let mut inner = self.lock();
        let waiter = inner.new_result();
        self.run(inner, now, Some(Event::Append(Append { waiter, acks, batch })));
        match self.take_result(waiter) {
            Some(result) => Appending::ready(result.map_err(AppendError::from)),
            None => Appending(State::Waiting { handle: self.clone(), waiter }),
        }
    }
    fn take_result(&self, waiter: WaiterId) -> Option<Result<AppendAnswer, ErrorCode>> {
        let mut inner = self.lock();
        match inner.results.get(&waiter) {
            Some(Slot::Done(result)) => {
                let result = *result;
                inner.results.remove(&waiter);
                Some(result)
            }
            Some(Slot::Waiting(_)) | None => None,
        }
    }

    fn poll_result(
        &self,
        waiter: WaiterId,
        cx: &mut Context<'_>,
    ) -> Poll<Result<AppendAnswer, ErrorCode>> {
        if let Some(result) = self.take_result(waiter) {
            return Poll::Ready(result);
        }
        let mut inner = self.lock();
        match inner.results.get_mut(&waiter) {
            Some(Slot::Waiting(waker)) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(Slot::Done(result)) => Poll::Ready(*result),
            None => unreachable!("a result is taken once"),
        }
    }
}
