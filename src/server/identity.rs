//! What a node's directories say of its place in a cluster, before anything runs.

use super::Config;
use crate::runtime::Env;
use crate::storage::{MetaProperties, StorageError, lock_log_dir};
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
    /// Held until the node ends.
    _lock: Box<dyn Send + Sync>,
}

impl MetadataDir {
    /// Locks the directory, and reads whose it is.
    ///
    /// # Errors
    /// It is unformatted, foreign, damaged or locked.
    pub(super) async fn enter(config: &Config, env: &Env) -> Result<Self, StorageError> {
        let (disk, dir) = (env.disk.as_ref(), &config.metadata_log_dir);
        let meta = MetaProperties::read(disk, dir).await?;
        let meta = meta.ok_or_else(|| StorageError::Unformatted { path: dir.clone() })?;
        meta.check(dir, config.node_id, None)?;
        let lock = lock_log_dir(disk, dir).await?;
        let MetaProperties { cluster_id, directory_id, .. } = meta;
        Ok(Self { cluster_id, directory_id, _lock: lock })
    }
}
