//! Layer 5: assembly of a node; no decisions.
//!
//! `config/` reads `server.properties`, `format.rs` prepares the directories, `node.rs` puts the parts together,
//! `connection.rs` serves a socket, `api/` answers one kind of request a file.

mod alter_partition;
mod api;
mod broker;
pub mod config;
mod connection;
mod fetch_sessions;
mod format;
mod frame_reader;
mod housekeeping;
mod leader_hints;
mod lifecycle;
mod node;
mod replica_fetchers;
mod replica_manager;

pub use api::apis_served;
pub use config::{Config, ConfigError, ConfigWarning, ParseOptions};
pub use format::{FormatError, FormatOptions, Formatted, format};
pub use node::{Node, NodeEnd, StartError};
