//! The consumer, with partitions assigned by hand: it fetches ahead, [`Consumer::poll`] hands out what has arrived.

mod config;
mod driver;
mod record;

pub use config::{ConsumerConfig, IsolationLevel, OffsetReset};
pub use driver::Consumer;
pub use record::ConsumerRecord;
