//! Layer 3: a broker's life in the cluster, as a machine.
//!
//! [`Lifecycle`] registers the broker with the controller, keeps its session alive, and leads it out again in good order. Its driver
//! is the serving side, which knows how to reach the controller. [`alter_partition`] carries what its leaders propose of their in-sync
//! replicas, [`assignments`] in which log directories its replicas are.

pub mod alter_partition;
pub mod assignments;
mod lifecycle;

pub use lifecycle::{Effect, Event, HeartbeatAnswer, Lifecycle, LifecycleConfig, State};
