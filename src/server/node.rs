//! A node: its parts put together, started and stopped.

use std::net::SocketAddr;

use super::Config;
use crate::runtime::Env;

/// A running node.
#[derive(Debug)]
pub struct Node {
    listeners: Vec<(String, SocketAddr)>,
}

/// Why a node did not start: four lines.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// Why a node ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeEnd {
    /// Every log directory failed.
    LogDirsFailed,
    /// The directory of the metadata log failed.
    MetadataDirFailed,
}

impl NodeEnd {
    /// What the process exits with.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        1
    }
}

impl Node {
    /// Starts a node: returns when it serves.
    pub async fn start(_config: Config, _env: Env) -> Result<Self, StartError> {
        Err(StartError("a node does not start yet".to_owned()))
    }

    /// The broker's listeners: their names and the addresses they are bound to.
    #[must_use]
    pub fn listeners(&self) -> Vec<(String, SocketAddr)> {
        self.listeners.clone()
    }

    /// Stops the node in good order: nothing accepted any more, what is under way is answered, logs are synced.
    pub async fn shutdown(self) {}

    /// Waits until the node ends by itself. Cancel-safe.
    pub async fn ended(&self) -> NodeEnd {
        std::future::pending().await
    }
}
