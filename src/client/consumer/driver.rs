//! The consumer's task, and the calls on it.

use std::time::Duration;

use crate::client::error::ClientError;
use crate::runtime::Env;
use crate::types::{Offset, TopicPartition};

use super::{ConsumerConfig, ConsumerRecord};

/// Reads records of assigned partitions. For one owner: calls take `&mut self`.
#[derive(Debug)]
pub struct Consumer {
    env: Env,
}

impl Consumer {
    /// A consumer without partitions; starts its task at once.
    #[must_use]
    pub fn new(config: ConsumerConfig, env: Env) -> Self {
        let _ = config;
        Self { env }
    }

    /// Reads these partitions from now on, and no others. Those that stay keep their position; new ones start where
    /// `auto.offset.reset` says until they are sought.
    pub fn assign(&mut self, partitions: Vec<TopicPartition>) {
        let _ = (partitions, &self.env);
    }

    /// What is assigned, sorted.
    #[must_use]
    pub fn assignment(&self) -> Vec<TopicPartition> {
        Vec::new()
    }

    /// The next poll goes on at `offset`.
    ///
    /// Errors: [`ClientError::NotAssigned`].
    pub fn seek(&mut self, partition: &TopicPartition, offset: Offset) -> Result<(), ClientError> {
        let _ = offset;
        Err(ClientError::NotAssigned(partition.clone()))
    }

    /// The next poll goes on at the start of the log; all assigned partitions where `partitions` is empty.
    ///
    /// Errors: [`ClientError::NotAssigned`].
    pub fn seek_to_beginning(&mut self, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        let _ = partitions;
        Ok(())
    }

    /// The next poll goes on at the end of the log (with `read_committed`, the last stable offset); all assigned partitions
    /// where `partitions` is empty.
    ///
    /// Errors: [`ClientError::NotAssigned`].
    pub fn seek_to_end(&mut self, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        let _ = partitions;
        Ok(())
    }

    /// The offset of the next record that `poll` will hand out. Waits where it must be asked for.
    ///
    /// Errors: [`ClientError::NotAssigned`], [`ClientError::TimedOut`] after `default.api.timeout.ms`.
    pub async fn position(&mut self, partition: &TopicPartition) -> Result<Offset, ClientError> {
        Err(ClientError::NotAssigned(partition.clone()))
    }

    /// Keeps these partitions out of `poll` without losing what was fetched.
    ///
    /// Errors: [`ClientError::NotAssigned`].
    pub fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        let _ = partitions;
        Ok(())
    }

    /// Takes these partitions into `poll` again.
    ///
    /// Errors: [`ClientError::NotAssigned`].
    pub fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        let _ = partitions;
        Ok(())
    }

    /// Hands out what has arrived, at most `max.poll.records`, at once; waits only while there is nothing, at most `timeout`.
    /// Records of one partition come in the order of their offsets. The next fetch runs meanwhile.
    ///
    /// Errors: [`ClientError::OffsetOutOfRange`] with `auto.offset.reset=none`, [`ClientError::CorruptBatch`],
    /// [`ClientError::Answer`] for what will not get better by itself. Positions stay where they were.
    pub async fn poll(&mut self, timeout: Duration) -> Result<Vec<ConsumerRecord>, ClientError> {
        let _ = timeout;
        Err(ClientError::Closed)
    }

    /// Ends the task and closes the connections.
    pub async fn close(self) {}
}
