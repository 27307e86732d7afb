//! `ottla format`: prepares the log directories of a node that has none yet.
//!
//! Each directory gets a `meta.properties` that says whose it is; the metadata directory gets, before that, the records a new
//! cluster begins with (`bootstrap.checkpoint`). So a directory that says it is formatted is: a crash in between leaves one
//! that is not, and formatting again finishes the work.
//!
//! Kafka: `Formatter`, `StorageTool`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Config;
use crate::controller::bootstrap_records;
use crate::controller::driver::{ControllerError, format_metadata};
use crate::raft::Voter;
use crate::runtime::Env;
use crate::storage::{MetaProperties, StorageError};
use crate::types::Uuid;

/// What to format as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FormatOptions {
    /// The cluster's id; that of the directories that are formatted already where `None`, else a random one where the node is
    /// all of its quorum.
    pub cluster_id: Option<Uuid>,
    /// Leave directories alone that are formatted already (`-g`).
    pub ignore_formatted: bool,
    /// Levels of features that differ from the default ones (`-f`).
    pub feature_levels: Vec<(String, i16)>,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formatted {
    /// The cluster's id.
    pub cluster_id: String,
    /// The directories that were formatted.
    pub formatted: Vec<PathBuf>,
    /// The directories that were formatted before, and left alone.
    pub skipped: Vec<PathBuf>,
}

/// Why nothing, or not everything, was formatted. Prints four lines.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FormatError {
    /// The directory is formatted already.
    #[error(
        "a log directory is formatted already\n  where: {}\n  why:   it belongs to cluster {cluster_id}, \
         node {node_id}\n  next:  ottla format -g leaves it alone and formats the others",
        path.display()
    )]
    AlreadyFormatted {
        /// The directory.
        path: PathBuf,
        /// Its cluster.
        cluster_id: String,
        /// Its node.
        node_id: i32,
    },
    /// A feature that is not known, or a level of it that is not supported.
    #[error(
        "a feature level is refused\n  where: -f\n  why:   {0}\n  next:  leave it out for the default"
    )]
    Feature(String),
    /// Nodes of one cluster that are formatted apart must be told the cluster's id.
    #[error(
        "the cluster's id is not given\n  where: -t\n  why:   this node is one of several: if each drew an id, each would \
         belong to a cluster of its own\n  next:  ottla format -t {drawn}, on every node of the cluster"
    )]
    ClusterIdMissing {
        /// One that nobody has.
        drawn: String,
    },
    /// The disk, or a directory of somebody else.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The disk, at the metadata log.
    #[error(transparent)]
    Metadata(#[from] ControllerError),
}

/// Formats the log directories of `config` that are not formatted yet.
///
/// # Errors
/// `AlreadyFormatted` where one is and `ignore_formatted` is not set; `ClusterIdMissing` where the node is one of several; what
/// the disk says; what is wrong with the options.
/// Nothing is written where a directory is refused.
pub async fn format(
    config: &Config,
    options: FormatOptions,
    env: &Env,
) -> Result<Formatted, FormatError> {
    let bootstrap = bootstrap_records(&options.feature_levels).map_err(FormatError::Feature)?;
    let dirs = directories(config);
    let mut skipped = Vec::new();
    let mut to_format = Vec::new();
    let mut cluster_id = options.cluster_id.map(|id| id.to_string());
    for dir in dirs {
        match MetaProperties::read(env.disk.as_ref(), &dir).await? {
            None => to_format.push(dir),
            Some(found) if options.ignore_formatted => {
                found.check(&dir, config.node_id, cluster_id.as_deref())?;
                cluster_id = Some(found.cluster_id);
                skipped.push(dir);
            }
            Some(found) => {
                return Err(FormatError::AlreadyFormatted {
                    path: dir,
                    cluster_id: found.cluster_id,
                    node_id: found.node_id.value(),
                });
            }
        }
    }
    let is_alone = is_alone(config);
    let cluster_id = match cluster_id {
        Some(cluster_id) => cluster_id,
        None => {
            let drawn = Uuid::random(&mut env.rng("cluster id")).to_string();
            if !is_alone {
                return Err(FormatError::ClusterIdMissing { drawn });
            }
            drawn
        }
    };
    for dir in &to_format {
        create(env, dir).await?;
        let directory_id = directory_id(env, dir);
        if *dir == config.metadata_log_dir {
            // Voters that are several are named by the configuration, without their directories.
            let voter = is_alone.then(|| Voter::new(config.node_id, directory_id));
            let now = env.clock.now().wall;
            format_metadata(env.disk.as_ref(), dir, voter, &bootstrap, now).await?;
        }
        let (cluster_id, node_id) = (cluster_id.clone(), config.node_id);
        let meta = MetaProperties { cluster_id, node_id, directory_id };
        meta.write(env.disk.as_ref(), dir).await?;
    }
    Ok(Formatted { cluster_id, formatted: to_format, skipped })
}

/// Whether the node is a whole cluster, or all of its quorum.
fn is_alone(config: &Config) -> bool {
    config.roles.has_controller() && config.quorum.voters.len() == 1
}

/// The log directories and the metadata directory, each once, in order.
pub(super) fn directories(config: &Config) -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    let all = config.log_dirs.iter().chain([&config.metadata_log_dir]);
    all.filter(|dir| seen.insert((*dir).clone())).cloned().collect()
}

/// A directory's id: never two alike, whoever formats them in whichever order.
///
/// Kafka keeps a hundred ids for itself (`DirectoryId.reserved`); a random id has version bits set, which those have not.
fn directory_id(env: &Env, dir: &Path) -> Uuid {
    Uuid::random(&mut env.rng(&format!("directory {}", dir.display())))
}

async fn create(env: &Env, dir: &Path) -> Result<(), StorageError> {
    let on = |error| StorageError::io("make a log directory", dir, error);
    env.disk.create_dir_all(dir).await.map_err(on)?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        env.disk.sync_dir(parent).await.map_err(on)?;
    }
    Ok(())
}
