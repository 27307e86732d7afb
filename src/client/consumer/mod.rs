//! The consumer, a member of a group or with partitions assigned by hand: it fetches ahead, [`Consumer::poll`] hands out what has
//! arrived.

pub mod assignors;
mod completed_fetch;
mod config;
mod driver;
mod fetcher;
mod listener;
mod membership;
mod offsets;
mod record;
#[cfg(test)]
mod tests;

pub use config::{ConsumerConfig, OffsetReset};
pub use driver::{CloseOptions, CommitCallback, Consumer, Wakeup};
pub use listener::RebalanceListener;
pub use offsets::{OffsetAndMetadata, OffsetAndTimestamp, Offsets};
pub use record::ConsumerRecord;
