//! Tests of the whole ledger: stories, and what holds of every story.

mod goldens;
mod properties;
