//! What an application gives a producer beside its properties: interceptors, and a way of its own to choose partitions.

use std::fmt;

use super::ProducerRecord;
use crate::client::interceptor::{ProducerInterceptor, ProducerInterceptors};
use crate::types::PartitionIndex;

/// Chooses the partition of a record that names none, among as many as its topic has (Kafka: `Partitioner`).
///
/// The record has no headers here. The partition must be one of `0..partitions`: `send` refuses another one
/// ([`crate::client::ClientError::InvalidPartition`]), and sends nothing.
pub type ChoosePartition = Box<dyn Fn(&ProducerRecord, u32) -> PartitionIndex + Send + Sync>;

/// See the module. Nothing by default.
///
/// ```
/// use ottla::client::{Producer, ProducerConfig, ProducerHooks};
/// use ottla::runtime::Env;
/// use ottla::types::PartitionIndex;
///
/// /// Orders of the largest customer go to partition 0, and nobody else's.
/// fn producer(config: ProducerConfig, env: Env) -> Producer {
///     let hooks = ProducerHooks::default().choose_partition(|record, partitions| {
///         let is_largest = record.key.as_deref() == Some(b"customer-7");
///         let others = i32::try_from(partitions).expect("a count of partitions") - 1;
///         let length = record.key.as_deref().map_or(0, <[u8]>::len);
///         let other = i32::try_from(length).expect("a short key") % others.max(1) + 1;
///         PartitionIndex::new(if is_largest || others == 0 { 0 } else { other })
///     });
///     Producer::with_hooks(config, env, hooks)
/// }
/// ```
#[derive(Default)]
pub struct ProducerHooks {
    pub(super) interceptors: ProducerInterceptors,
    pub(super) choose_partition: Option<ChoosePartition>,
}

impl ProducerHooks {
    /// With one more interceptor, behind those that are there.
    #[must_use]
    pub fn interceptor(mut self, interceptor: impl ProducerInterceptor + 'static) -> Self {
        self.interceptors.0.push(Box::new(interceptor));
        self
    }

    /// With a partitioner of the application's own, in place of the one that `partitioner` names.
    #[must_use]
    pub fn choose_partition(
        mut self,
        choose: impl Fn(&ProducerRecord, u32) -> PartitionIndex + Send + Sync + 'static,
    ) -> Self {
        self.choose_partition = Some(Box::new(choose));
        self
    }
}

impl fmt::Debug for ProducerHooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerHooks")
            .field("interceptors", &self.interceptors.0.len())
            .field("chooses_partition", &self.choose_partition.is_some())
            .finish()
    }
}
