//! Layer 1: bytes. Messages, frames, record batches; pure.

pub mod compression;
pub mod record_batch;
