//! ottla: a Kafka-compatible log cluster whose complete logic runs unchanged on a simulated and on a real world.
//!
//! The modules stand in layer order: each may use only what the table in `ARCHITECTURE.md` allows, and
//! `tests/architecture.rs` checks it.

pub mod types;
pub mod protocol;
pub mod log;
pub mod metadata;
pub mod rpc;
pub mod raft;
pub mod replica;
pub mod broker;
pub mod controller;
pub mod coordinator;
pub mod client;
pub mod runtime;
pub mod storage;
pub mod server;
