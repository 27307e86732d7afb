//! Layer 5: assembly of a node; no decisions.
//!
//! `config.rs` reads `server.properties`, `format.rs` prepares the directories, `node.rs` puts the parts together,
//! `connection.rs` serves a socket, `api/` answers one kind of request a file.

pub mod config;
pub mod config_error;
pub mod config_table;
pub mod endpoint;
mod format;
mod node;
pub mod properties;

pub use config::{Config, ParseOptions};
pub use config_error::{ConfigError, ConfigWarning};
pub use format::{FormatError, FormatOptions, Formatted, format};
pub use node::{Node, NodeEnd, StartError};
