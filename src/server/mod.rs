//! Layer 5: assembly of a node; no decisions.
//!
//! `config/` reads `server.properties`, `format.rs` prepares the directories, `node.rs` puts the parts together,
//! `connection.rs` serves a socket, `api/` answers one kind of request a file, `controller_api/` those of the controller listener.

mod alter_partition;
mod assignments;
mod answer;
mod api;
mod broker;
mod broker_server;
pub mod config;
mod connection;
mod controller_api;
mod controller_channel;
mod fetch_sessions;
mod format;
mod frame_reader;
mod group_coordinator;
mod housekeeping;
mod identity;
mod leader_hints;
mod lifecycle;
mod listeners;
mod node;
mod replica_fetchers;
mod replica_manager;

pub use api::apis_served;
pub use config::{Config, ConfigError, ConfigWarning, ParseOptions};
pub use format::{FormatError, FormatOptions, Formatted, format};
pub use node::{Node, NodeEnd, StartError};
