//! The consumer, with partitions assigned by hand: it fetches ahead, [`Consumer::poll`] hands out what has arrived.

pub mod assignors;
mod completed_fetch;
mod config;
mod driver;
mod fetcher;
mod record;
#[cfg(test)]
mod tests;

pub use config::{ConsumerConfig, OffsetReset};
pub use driver::Consumer;
pub use record::ConsumerRecord;
