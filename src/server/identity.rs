//! What a node's directories say of its place in a cluster, before anything runs.

use super::Config;
use crate::runtime::Env;
use crate::storage::{MetaProperties, StorageError};
use crate::types::{BrokerEpoch, Uuid};

/// What a broker's directories say, all together.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// The cluster's id.
    pub(super) cluster_id: String,
    /// The ids of the log directories that work.
    pub(super) log_directories: Vec<Uuid>,
    /// The broker epoch in which the last stop was clean; `None` where it was not.
    pub(super) previous_broker_epoch: Option<BrokerEpoch>,
}

/// The directory of the metadata log, which every node has.
pub(super) struct MetadataDir {
    /// The cluster's id.
    pub(super) cluster_id: String,
    /// The directory's id.
    pub(super) directory_id: Uuid,
    /// Held until the node ends; `None` where it is a log directory too, and locked with those.
    _lock: Option<Box<dyn Send + Sync>>,
}

impl MetadataDir {
    /// Reads whose the directory is, and locks it unless the broker does that.
    ///
    /// # Errors
    /// It is unformatted, foreign, damaged or locked.
    pub(super) async fn enter(config: &Config, env: &Env) -> Result<Self, StorageError> {
        let dir = &config.metadata_log_dir;
        let meta = MetaProperties::read(env.disk.as_ref(), dir).await?;
        let meta = meta.ok_or_else(|| StorageError::Unformatted { path: dir.clone() })?;
        meta.check(dir, config.node_id, None)?;
        let is_locked_by_broker = config.roles.has_broker() && config.log_dirs.contains(dir);
        let lock = if is_locked_by_broker { None } else { Some(lock(config, env).await?) };
        let MetaProperties { cluster_id, directory_id, .. } = meta;
        Ok(Self { cluster_id, directory_id, _lock: lock })
    }
}

async fn lock(config: &Config, env: &Env) -> Result<Box<dyn Send + Sync>, StorageError> {
    let dir = &config.metadata_log_dir;
    let path = dir.join(".lock");
    env.disk.lock(&path).await.map_err(|error| {
        if error.kind() == std::io::ErrorKind::WouldBlock {
            StorageError::Locked { path }
        } else {
            StorageError::io("lock the metadata directory", dir, error)
        }
    })
}
