//! What many seeds reach together, and which seeds to try next: `cargo sim explore`, `--shard`, `cargo sim merge`.
//!
//! ```text
//! run ─ Reached ─► Coverage ─┐
//!   └── violations ► groups ─┴► Summary ─ merge ─► text, JSON
//! Reached that nobody reached before ─► Corpus ─ vary ─► the same seed with other settings
//! ```
//!
//! Nothing here runs a seed or waits: `cli/explore.rs` does. A summary is a sum, so that those of shards add up to that of all.

pub mod corpus;
pub mod coverage;
pub mod groups;
pub mod rounds;
pub mod shard;
pub mod states;
pub mod summary;
pub mod text;
pub mod vary;

pub use coverage::{Coverage, Reached};
pub use shard::Shard;
pub use summary::Summary;
