//! Layer 1: bytes. Messages, frames, record batches; pure.
