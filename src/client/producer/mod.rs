//! The producer: partitioner → accumulator → sender, as Kafka's. `send` waits only for buffer space; the sender's task
//! batches, sends, retries and completes the deliveries of each partition in order.
//!
//! `machine` files are pure; `driver.rs` holds the task and the futures.

mod accumulator;
mod batch;
mod config;
mod driver;
mod hooks;
mod partitioner;
mod record;
mod sender;
mod sequences;
#[cfg(test)]
mod lingering;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod model;
#[cfg(test)]
mod model_cluster;

pub use config::{PartitionerKind, ProducerConfig};
pub use driver::{Delivery, Producer};
pub use hooks::{ChoosePartition, ProducerHooks};
pub use record::{ProducerRecord, RecordIdentity, RecordMetadata, Serializer};
