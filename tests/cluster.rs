//! Clusters of several nodes in one process, on loopback: they form, agree, and go on when some of them are gone.
#![cfg(not(madsim))]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests: a failure is a panic; nodes run in threads of their own"
)]

#[allow(dead_code, reason = "other tests use the rest of it")]
mod support;

#[path = "cluster/consumers.rs"]
mod consumers;
#[path = "cluster/groups.rs"]
mod groups;
#[path = "cluster/isolate.rs"]
mod isolate;
#[path = "cluster/members.rs"]
mod members;
#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "support/members.rs"]
mod members_support;
#[path = "cluster/quorum.rs"]
mod quorum;
#[path = "cluster/setup.rs"]
mod setup;
#[path = "cluster/snapshots.rs"]
mod snapshots;
